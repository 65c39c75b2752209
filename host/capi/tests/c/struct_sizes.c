/* Structs that are shorter or longer than the library knows them, as older and newer programs have them. */

#include <stddef.h>

#include "check.h"

/* A struct of a version to come: what is known today, and more. */
union longer {
    tenon_engine_options options;
    tenon_pull_options pull;
    tenon_event event;
    tenon_timed_segment segment;
    tenon_timed_word word;
    tenon_run_usage usage;
    tenon_estimate estimate;
    uint32_t struct_size;
    unsigned char bytes[1024];
};

static tenon_status new_engine(const union longer *options) {
    tenon_engine *engine = NULL;
    const tenon_status status = tenon_engine_new(&options->options, &engine, &problem);
    CHECK((status == TENON_OK) == (engine != NULL));
    tenon_engine_free(engine);
    return status;
}

static void reads_what_it_knows(void) {
    union longer options;
    memset(&options, 0, sizeof options);
    options.options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    const uint32_t refused[] = {0, 1, 2, 3, 65537, UINT32_MAX};
    for (int at = 0; at < 6; at++) {
        options.struct_size = refused[at];
        WANT(TENON_E_INVALID_ARGUMENT, new_engine(&options));
    }
    /* Every size of an older program, down to the size alone. */
    for (options.struct_size = 4; options.struct_size <= sizeof(tenon_engine_options); options.struct_size += 4)
        WANT(TENON_OK, new_engine(&options));
    for (; options.struct_size <= sizeof options; options.struct_size += 220)
        WANT(TENON_OK, new_engine(&options));
    for (size_t at = sizeof(tenon_engine_options); at < sizeof options; at += 183) {
        options.options = tenon_engine_options_init();
        options.options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
        options.struct_size = sizeof options;
        options.bytes[at] = 1;
        WANT(TENON_E_UNSUPPORTED, new_engine(&options));
        /* Behind the size that the program says, nobody looks. */
        options.struct_size = (uint32_t)at;
        WANT(TENON_OK, new_engine(&options));
        options.bytes[at] = 0;
    }
}

/* A model without files: what the options say is all that can be wrong. */
static void pulls_with_options_of_every_size(tenon_engine *engine) {
    union longer options;
    memset(&options, 0, sizeof options);
    const uint32_t refused[] = {0, 1, 2, 3, 65537, UINT32_MAX};
    for (int at = 0; at < 6; at++) {
        options.struct_size = refused[at];
        WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_pull(engine, "echo", &options.pull, NULL, NULL, &problem));
    }
    for (options.struct_size = 4; options.struct_size <= sizeof options; options.struct_size += 4)
        WANT(TENON_OK, tenon_engine_pull(engine, "echo", &options.pull, NULL, NULL, &problem));
    options.struct_size = sizeof options;
    options.bytes[sizeof(tenon_pull_options)] = 1;
    WANT(TENON_E_UNSUPPORTED, tenon_engine_pull(engine, "echo", &options.pull, NULL, NULL, &problem));
    tenon_pull_options known = tenon_pull_options_init();
    known.flags = 8;
    WANT(TENON_E_UNSUPPORTED, tenon_engine_pull(engine, "echo", &known, NULL, NULL, &problem));
    known.flags = 0, known.reserved = 1;
    CHECK(tenon_engine_pull(engine, "echo", &known, NULL, NULL, &problem) == TENON_E_UNSUPPORTED);
    CHECK(strstr(tenon_error_message(problem), "reserved of the tenon_pull_options is 1") != NULL);
    tenon_error_free(problem);
    problem = NULL;
}

static void refuses_what_it_does_not_know(void) {
    tenon_engine *engine = NULL;
    tenon_engine_options options = tenon_engine_options_init();
    options.flags = 8;
    WANT(TENON_E_UNSUPPORTED, tenon_engine_new(&options, &engine, &problem));
    options = tenon_engine_options_init();
    options.reserved = 1;
    CHECK(tenon_engine_new(&options, &engine, &problem) == TENON_E_UNSUPPORTED);
    CHECK(strstr(tenon_error_message(problem), "reserved of the tenon_engine_options is 1") != NULL);
    tenon_error_free(problem);
    problem = NULL;
    options = tenon_engine_options_init();
    options.verify = 3;
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_new(&options, &engine, &problem));
    options = tenon_engine_options_init();
    options.patience_us = -1;
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_new(&options, &engine, &problem));
    const char *const folders[] = {"here", "\xff", NULL};
    options = tenon_engine_options_init();
    options.manifest_dirs = folders;
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_new(&options, &engine, &problem));
    options.manifest_dirs = (const char *const *)(const void *)((const char *)folders + 1);
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_new(&options, &engine, &problem));
    /* Nothing is found when nothing is named, and that is no error. */
    options = tenon_engine_options_init();
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    WANT(TENON_OK, tenon_engine_new(&options, &engine, &problem));
    tenon_table *models = NULL;
    WANT(TENON_OK, tenon_engine_models(engine, &models, &problem));
    CHECK(tenon_table_rows(models) == 0);
    tenon_table_free(models);
    tenon_engine_free(engine);
}

typedef tenon_status (*writer)(const void *from, void *to);

static tenon_status write_segment(const void *from, void *to) {
    return tenon_result_segment((const tenon_result *)from, 1, to, &problem);
}
static tenon_status write_word(const void *from, void *to) {
    return tenon_result_word((const tenon_result *)from, 1, 1, to, &problem);
}
static tenon_status write_usage(const void *from, void *to) {
    return tenon_result_usage((const tenon_result *)from, to, &problem);
}

/* Writes as much as there is room for, zeroes what it does not know, and leaves the size and what lies behind alone. */
static void writes_what_there_is_room_for(writer write, const void *from, size_t known) {
    union longer whole, part;
    memset(&whole, 0xaa, sizeof whole);
    whole.struct_size = sizeof whole;
    WANT(TENON_OK, write(from, &whole));
    CHECK(whole.struct_size == sizeof whole);
    for (size_t at = known; at < sizeof whole; at++)
        CHECK(whole.bytes[at] == 0);
    for (uint32_t size = 4; size <= sizeof part; size += 4) {
        memset(&part, 0xaa, sizeof part);
        part.struct_size = size;
        WANT(TENON_OK, write(from, &part));
        CHECK(part.struct_size == size);
        CHECK(memcmp(part.bytes + 4, whole.bytes + 4, size - 4) == 0);
        for (size_t at = size; at < sizeof part; at++)
            CHECK(part.bytes[at] == 0xaa);
    }
}

/* What is available changes from call to call; everything before it does not. */
static void estimates_of_every_size(const tenon_engine *engine) {
    union longer made;
    for (uint32_t size = 4; size <= sizeof made; size += 4) {
        memset(&made, 0xaa, sizeof made);
        made.struct_size = size;
        WANT(TENON_OK, tenon_engine_estimate(engine, "echo", NULL, 2, &made.estimate, NULL, &problem));
        CHECK(made.struct_size == size);
        CHECK(size < 16 || (made.estimate.fits == 1 && made.estimate.weights == 0));
        CHECK(size < 56 || (made.estimate.total == 24576 && made.estimate.session == 12288));
        for (size_t at = sizeof(tenon_estimate); at < size; at++)
            CHECK(made.bytes[at] == 0);
        for (size_t at = size; at < sizeof made; at++)
            CHECK(made.bytes[at] == 0xaa);
    }
    made.struct_size = 2;
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_estimate(engine, "echo", NULL, 2, &made.estimate, NULL, &problem));
    tenon_table *devices = NULL;
    tenon_estimate whole = tenon_estimate_init();
    WANT(TENON_OK, tenon_engine_estimate(engine, "echo", NULL, 0, &whole, &devices, &problem));
    CHECK(whole.total == 0 && whole.reserve > 0 && tenon_table_rows(devices) == 1);
    CHECK(strcmp(tenon_table_get(devices, 0, "device"), "cpu") == 0);
    CHECK(strcmp(tenon_table_get(devices, 0, "fits"), "yes") == 0);
    tenon_table_free(devices);
}

static void events_of_every_size(tenon_session *session, const tenon_request *request) {
    tenon_stream *stream = NULL;
    WANT(TENON_OK, tenon_stream_start(session, request, &stream, &problem));
    union longer event;
    memset(&event, 0xaa, sizeof event);
    event.struct_size = 7;
    WANT(TENON_OK, tenon_stream_next(stream, -1, &event.event, &problem));
    CHECK(event.bytes[7] == 0xaa && event.struct_size == 7);
    event.struct_size = 2;
    WANT(TENON_E_INVALID_ARGUMENT, tenon_stream_next(stream, -1, &event.event, &problem));
    /* An event that cannot be given out is not lost: the first second comes next. */
    event.struct_size = sizeof event;
    WANT(TENON_OK, tenon_stream_next(stream, -1, &event.event, &problem));
    CHECK(event.event.kind == TENON_EVENT_SEGMENT && strcmp(event.event.text, " second 1 peak 25") == 0);
    CHECK(event.event.text_size == strlen(event.event.text) && event.event.end_us == 1000000);
    for (size_t at = sizeof(tenon_event); at < sizeof event; at++)
        CHECK(event.bytes[at] == 0);
    tenon_stream_free(stream);
}

int main(void) {
    reads_what_it_knows();
    refuses_what_it_does_not_know();
    struct chain chain = chain_new();
    pulls_with_options_of_every_size(chain.engine);
    static float sound[40000];
    sound[0] = 0.25f;
    tenon_request *request = NULL;
    tenon_options *options = NULL;
    tenon_result *result = NULL;
    WANT(TENON_OK, tenon_request_new("transcribe", &request, &problem));
    WANT(TENON_OK, tenon_request_add_audio(request, sound, 40000, 16000, 1, &problem));
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    WANT(TENON_OK, tenon_options_set_bool(options, "words", 1, &problem));
    WANT(TENON_OK, tenon_request_set_options(request, options, &problem));
    WANT(TENON_OK, tenon_run(chain.session, request, &result, &problem));
    writes_what_there_is_room_for(write_segment, result, sizeof(tenon_timed_segment));
    writes_what_there_is_room_for(write_word, result, sizeof(tenon_timed_word));
    writes_what_there_is_room_for(write_usage, result, sizeof(tenon_run_usage));
    estimates_of_every_size(chain.engine);
    events_of_every_size(chain.session, request);
    tenon_result_free(result);
    tenon_options_free(options);
    tenon_request_free(request);
    chain_free(&chain);
    return verdict("struct_sizes");
}
