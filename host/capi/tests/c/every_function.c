/*
 * Every function of the library with everything that C can pass wrongly. Each function stands in one table with
 * arguments that are good; then one argument after the other is made bad, and the status must say so. The program
 * prints the names of the table, which the test compares with the list of exports.
 */

#include <stdint.h>

#include "check.h"

/* Everything that any function takes. */
struct arguments {
    void *handle;
    void *other;
    const char *first;
    const char *second;
    const void *values;
    size_t size;
    uint32_t rate;
    uint32_t channels;
    int64_t time;
    void *out;
    void *out_too;
    tenon_error **error;
};

typedef struct arguments *A;

enum kind { NONE, ERROR, OPTIONS, ENGINE, TABLE, MODEL, SESSION, REQUEST, STREAM, RESULT, KINDS };

/* Which arguments a function uses, and whether it can do without. */
enum {
    FIRST = 1,       /* a text */
    FIRST_ANY = 2,   /* a text or NULL */
    SECOND = 4,      /* a text */
    SECOND_ANY = 8,  /* a text or NULL */
    VALUES = 16,     /* an array of `size` values, aligned */
    BYTES = 32,      /* an array of `size` bytes */
    OUT = 64,        /* a place for a pointer */
    OUT_TOO = 128,   /* another place */
    STRUCT = 256,    /* a struct that begins with its size */
    VALUE = 512,     /* gives a value and no status; TENON_OK stands for something, TENON_E_END for nothing */
    FREE = 1024      /* a function that gives nothing */
};

static tenon_progress_fn no_progress;
static tenon_wakeup_fn no_wakeup;

/* The entry of a plugin that does not want to start. */
static tenon_status refuses(const struct tenon_host_v1 *host, const struct tenon_plugin_v1 **plugin) {
    (void)host;
    *plugin = NULL;
    return TENON_E_BACKEND;
}

/* A function of the library as a function of `a`: one that gives a status, one that gives a value, one that frees. */
#define DOES(name, call) static tenon_status name(A a) { return call; }
#define GIVES(name, something) static tenon_status name(A a) { (void)a; return something ? TENON_OK : TENON_E_END; }
#define FREES(name, call) static tenon_status name(A a) { call; return TENON_OK; }

#define NUMBER (TENON_VERSION_MAJOR << 16 | TENON_VERSION_MINOR << 8 | TENON_VERSION_PATCH)

GIVES(version, tenon_version() == NUMBER)
GIVES(version_string, strcmp(tenon_version_string(), TENON_VERSION_STRING) == 0)
GIVES(status_name, strcmp(tenon_status_name(-1), tenon_status_name(4)) != 0)

GIVES(error_status, tenon_error_status(a->handle) != TENON_E_STALE_HANDLE)
GIVES(error_message, *tenon_error_message(a->handle) != '\0')
GIVES(error_detail, tenon_error_detail(a->handle, a->first) != NULL)
FREES(error_free, tenon_error_free(a->handle))

DOES(options_new, tenon_options_new(a->out, a->error))
DOES(set_string, tenon_options_set_string(a->handle, a->first, a->second, a->error))
DOES(set_number, tenon_options_set_number(a->handle, a->first, 0.5, a->error))
DOES(set_integer, tenon_options_set_integer(a->handle, a->first, 5, a->error))
DOES(set_bool, tenon_options_set_bool(a->handle, a->first, 2, a->error))
DOES(set_json, tenon_options_set_json(a->handle, a->first, a->second, a->error))
FREES(options_free, tenon_options_free(a->handle))

GIVES(table_rows, tenon_table_rows(a->handle) > 0)
GIVES(table_columns, tenon_table_columns(a->handle) > 0)
GIVES(table_column, tenon_table_column(a->handle, a->size) != NULL)
GIVES(table_get, tenon_table_get(a->handle, 0, a->first) != NULL)
FREES(table_free, tenon_table_free(a->handle))

DOES(new_engine, tenon_engine_new(a->values, a->out, a->error))
DOES(add_manifest, tenon_engine_add_manifest(a->handle, a->first, a->error))
DOES(add_manifest_text, tenon_engine_add_manifest_text(a->handle, a->first, a->second, a->error))
DOES(load_plugin, tenon_engine_load_plugin(a->handle, a->first, a->second, a->error))
DOES(register_plugin, tenon_engine_register_plugin(a->handle, refuses, a->error))
DOES(models, tenon_engine_models(a->handle, a->out, a->error))
DOES(plugins, tenon_engine_plugins(a->handle, a->out, a->error))
DOES(verify, tenon_model_verify(a->handle, a->first, (int32_t)a->rate, no_progress, NULL, a->error))
DOES(estimate, tenon_engine_estimate(a->handle, a->first, NULL, 1, a->out, NULL, a->error))
DOES(pull, tenon_engine_pull(a->handle, a->first, NULL, no_progress, NULL, a->error))
DOES(engine_shutdown, tenon_engine_shutdown(a->handle, a->time, a->error))
FREES(engine_free, tenon_engine_free(a->handle))

DOES(load, tenon_model_load(a->handle, a->first, a->other, no_progress, NULL, a->out, a->error))
GIVES(model_info, tenon_model_info(a->handle, a->first) != NULL)
FREES(model_free, tenon_model_free(a->handle))

DOES(session_new, tenon_session_new(a->handle, a->out, a->error))
DOES(run, tenon_run(a->handle, a->other, a->out, a->error))
DOES(session_cancel, tenon_session_cancel(a->handle, a->error))
DOES(session_reset, tenon_session_reset(a->handle, a->error))
FREES(session_free, tenon_session_free(a->handle))

DOES(request_new, tenon_request_new(a->first, a->out, a->error))
DOES(add_text, tenon_request_add_text(a->handle, a->second, a->first, a->error))
DOES(add_text_n, tenon_request_add_text_n(a->handle, a->second, a->values, a->size, a->error))
DOES(add_audio, tenon_request_add_audio(a->handle, a->values, a->size, a->rate, a->channels, a->error))
DOES(add_audio_i16, tenon_request_add_audio_i16(a->handle, a->values, a->size, a->rate, a->channels, a->error))
DOES(add_audio_file, tenon_request_add_audio_file(a->handle, a->first, a->error))
DOES(add_audio_bytes, tenon_request_add_audio_bytes(a->handle, a->values, a->size, a->error))
DOES(add_live_audio, tenon_request_add_live_audio(a->handle, a->error))
DOES(set_options, tenon_request_set_options(a->handle, a->other, a->error))
DOES(set_preset, tenon_request_set_preset(a->handle, a->first, a->error))
DOES(set_deadline, tenon_request_set_deadline(a->handle, a->time, a->error))
FREES(request_free, tenon_request_free(a->handle))

GIVES(result_text, tenon_result_text(a->handle) != NULL)
GIVES(result_text_size, tenon_result_text_size(a->handle) > 0)
GIVES(result_json, tenon_result_json(a->handle) != NULL)
GIVES(result_info, tenon_result_info(a->handle, a->first) != NULL)
GIVES(segment_count, tenon_result_segment_count(a->handle) > 0)
DOES(segment, tenon_result_segment(a->handle, 0, a->out, a->error))
DOES(word, tenon_result_word(a->handle, 0, 0, a->out, a->error))
GIVES(embedding_count, tenon_result_embedding_count(a->handle) > 0)
DOES(embedding, tenon_result_embedding(a->handle, 0, a->out, a->out_too, a->error))
DOES(tokens, tenon_result_tokens(a->handle, a->out, a->error))
DOES(notes, tenon_result_notes(a->handle, a->out, a->error))
DOES(usage, tenon_result_usage(a->handle, a->out, a->error))
FREES(result_free, tenon_result_free(a->handle))

DOES(start, tenon_stream_start(a->handle, a->other, a->out, a->error))
DOES(next, tenon_stream_next(a->handle, a->time, a->out, a->error))
DOES(push, tenon_stream_push_audio(a->handle, a->values, a->size, a->rate, a->channels, a->error))
DOES(push_i16, tenon_stream_push_audio_i16(a->handle, a->values, a->size, a->rate, a->channels, a->error))
DOES(finish_input, tenon_stream_finish_input(a->handle, a->error))
DOES(set_wakeup, tenon_stream_set_wakeup(a->handle, no_wakeup, NULL, a->error))
DOES(descriptor, tenon_stream_descriptor(a->handle, a->out, a->error))
DOES(stream_cancel, tenon_stream_cancel(a->handle, a->error))
DOES(stream_result, tenon_stream_result(a->handle, a->out, a->error))
GIVES(is_ready, tenon_stream_is_ready(a->handle) != 0)
FREES(stream_free, tenon_stream_free(a->handle))

/* The manifest of a model that needs no file. */
#define MANIFEST "name = \"second\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"MIT\"\n"

/* A function, the kind of its handle and of the second one, what it uses, good texts, and what it then says. */
static const struct function {
    const char *name;
    tenon_status (*call)(A);
    enum kind handle, other;
    int uses;
    const char *first, *second;
    tenon_status status;
    enum kind gives;
} functions[] = {
    {"tenon_version", version, NONE, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_version_string", version_string, NONE, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_status_name", status_name, NONE, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_error_status", error_status, ERROR, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_error_message", error_message, ERROR, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_error_detail", error_detail, ERROR, NONE, VALUE | FIRST, "model", 0, TENON_OK, NONE},
    {"tenon_options_new", options_new, NONE, NONE, OUT, 0, 0, TENON_OK, OPTIONS},
    {"tenon_options_set_string", set_string, OPTIONS, NONE, FIRST | SECOND, "language", "en", TENON_OK, NONE},
    {"tenon_options_set_number", set_number, OPTIONS, NONE, FIRST, "temperature", 0, TENON_OK, NONE},
    {"tenon_options_set_integer", set_integer, OPTIONS, NONE, FIRST, "delay_ms", 0, TENON_OK, NONE},
    {"tenon_options_set_bool", set_bool, OPTIONS, NONE, FIRST, "words", 0, TENON_OK, NONE},
    {"tenon_options_set_json", set_json, OPTIONS, NONE, FIRST | SECOND, "stop", "[\"x\"]", TENON_OK, NONE},
    {"tenon_table_rows", table_rows, TABLE, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_table_columns", table_columns, TABLE, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_table_column", table_column, TABLE, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_table_get", table_get, TABLE, NONE, VALUE | FIRST, "name", 0, TENON_OK, NONE},
    {"tenon_engine_new", new_engine, NONE, NONE, OUT, 0, 0, TENON_OK, ENGINE},
    {"tenon_engine_add_manifest", add_manifest, ENGINE, NONE, FIRST, "no-such.toml", 0, TENON_E_NOT_FOUND, NONE},
    {"tenon_engine_add_manifest_text", add_manifest_text, ENGINE, NONE, FIRST | SECOND_ANY,
     MANIFEST, "here", TENON_OK, NONE},
    {"tenon_engine_load_plugin", load_plugin, ENGINE, NONE, FIRST | SECOND_ANY, "no-such.so", 0, TENON_E_PLUGIN, NONE},
    {"tenon_engine_register_plugin", register_plugin, ENGINE, NONE, 0, 0, 0, TENON_E_BACKEND, NONE},
    {"tenon_engine_models", models, ENGINE, NONE, OUT, 0, 0, TENON_OK, TABLE},
    {"tenon_engine_plugins", plugins, ENGINE, NONE, OUT, 0, 0, TENON_OK, TABLE},
    {"tenon_model_verify", verify, ENGINE, NONE, FIRST, "echo", 0, TENON_OK, NONE},
    {"tenon_engine_estimate", estimate, ENGINE, NONE, FIRST | STRUCT, "echo", 0, TENON_OK, NONE},
    {"tenon_engine_pull", pull, ENGINE, NONE, FIRST, "echo", 0, TENON_OK, NONE},
    {"tenon_model_load", load, ENGINE, NONE, FIRST | OUT, "echo", 0, TENON_OK, MODEL},
    {"tenon_model_info", model_info, MODEL, NONE, VALUE | FIRST, "options:chat", 0, TENON_OK, NONE},
    {"tenon_session_new", session_new, MODEL, NONE, OUT, 0, 0, TENON_OK, SESSION},
    {"tenon_run", run, SESSION, REQUEST, OUT, 0, 0, TENON_OK, RESULT},
    {"tenon_session_cancel", session_cancel, SESSION, NONE, 0, 0, 0, TENON_OK, NONE},
    {"tenon_session_reset", session_reset, SESSION, NONE, 0, 0, 0, TENON_OK, NONE},
    {"tenon_request_new", request_new, NONE, NONE, FIRST | OUT, "chat", 0, TENON_OK, REQUEST},
    {"tenon_request_add_text", add_text, REQUEST, NONE, FIRST | SECOND_ANY, "text", "user", TENON_OK, NONE},
    {"tenon_request_add_text_n", add_text_n, REQUEST, NONE, BYTES | SECOND_ANY, 0, "user", TENON_OK, NONE},
    {"tenon_request_add_audio", add_audio, REQUEST, NONE, VALUES, 0, 0, TENON_OK, NONE},
    {"tenon_request_add_audio_i16", add_audio_i16, REQUEST, NONE, VALUES, 0, 0, TENON_OK, NONE},
    {"tenon_request_add_audio_file", add_audio_file, REQUEST, NONE, FIRST, "a.wav", 0, TENON_OK, NONE},
    {"tenon_request_add_audio_bytes", add_audio_bytes, REQUEST, NONE, BYTES, 0, 0, TENON_OK, NONE},
    {"tenon_request_add_live_audio", add_live_audio, REQUEST, NONE, 0, 0, 0, TENON_OK, NONE},
    {"tenon_request_set_options", set_options, REQUEST, OPTIONS, 0, 0, 0, TENON_OK, NONE},
    {"tenon_request_set_preset", set_preset, REQUEST, NONE, FIRST_ANY, "fast", 0, TENON_OK, NONE},
    {"tenon_request_set_deadline", set_deadline, REQUEST, NONE, 0, 0, 0, TENON_OK, NONE},
    {"tenon_result_text", result_text, RESULT, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_result_text_size", result_text_size, RESULT, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_result_json", result_json, RESULT, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_result_info", result_info, RESULT, NONE, VALUE | FIRST, "task", 0, TENON_OK, NONE},
    {"tenon_result_segment_count", segment_count, RESULT, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_result_segment", segment, RESULT, NONE, STRUCT, 0, 0, TENON_OK, NONE},
    {"tenon_result_word", word, RESULT, NONE, STRUCT, 0, 0, TENON_OK, NONE},
    {"tenon_result_embedding_count", embedding_count, RESULT, NONE, VALUE, 0, 0, TENON_E_END, NONE},
    {"tenon_result_embedding", embedding, RESULT, NONE, OUT | OUT_TOO, 0, 0, TENON_E_NOT_FOUND, NONE},
    {"tenon_result_tokens", tokens, RESULT, NONE, OUT, 0, 0, TENON_OK, TABLE},
    {"tenon_result_notes", notes, RESULT, NONE, OUT, 0, 0, TENON_OK, TABLE},
    {"tenon_result_usage", usage, RESULT, NONE, STRUCT, 0, 0, TENON_OK, NONE},
    {"tenon_stream_start", start, SESSION, REQUEST, OUT, 0, 0, TENON_OK, STREAM},
    {"tenon_stream_push_audio", push, STREAM, NONE, VALUES, 0, 0, TENON_OK, NONE},
    {"tenon_stream_push_audio_i16", push_i16, STREAM, NONE, VALUES, 0, 0, TENON_OK, NONE},
    {"tenon_stream_set_wakeup", set_wakeup, STREAM, NONE, 0, 0, 0, TENON_OK, NONE},
    {"tenon_stream_descriptor", descriptor, STREAM, NONE, OUT, 0, 0, TENON_OK, NONE},
    {"tenon_stream_result", stream_result, STREAM, NONE, OUT, 0, 0, TENON_E_BUSY, NONE},
    {"tenon_stream_next", next, STREAM, NONE, STRUCT, 0, 0, TENON_OK, NONE},
    {"tenon_stream_finish_input", finish_input, STREAM, NONE, 0, 0, 0, TENON_OK, NONE},
    {"tenon_stream_cancel", stream_cancel, STREAM, NONE, 0, 0, 0, TENON_OK, NONE},
    /* From here on the table takes its own objects away. */
    {"tenon_engine_shutdown", engine_shutdown, ENGINE, NONE, 0, 0, 0, TENON_OK, NONE},
    {"tenon_stream_is_ready", is_ready, STREAM, NONE, VALUE, 0, 0, TENON_OK, NONE},
    {"tenon_stream_free", stream_free, STREAM, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_result_free", result_free, RESULT, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_session_free", session_free, SESSION, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_request_free", request_free, REQUEST, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_table_free", table_free, TABLE, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_options_free", options_free, OPTIONS, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_error_free", error_free, ERROR, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_model_free", model_free, MODEL, NONE, FREE, 0, 0, TENON_OK, NONE},
    {"tenon_engine_free", engine_free, ENGINE, NONE, FREE, 0, 0, TENON_OK, NONE},
};

#define COUNT (sizeof functions / sizeof functions[0])

/* One living object of each kind, and one of each kind that was freed. */
static void *alive[KINDS], *dead[KINDS];
static float sound[16000];

/* Room for anything that a function writes, with a struct size in front. */
union room {
    void *pointer;
    uint32_t struct_size;
    tenon_event event;
    unsigned char bytes[512];
};

static void free_one(enum kind kind, void *handle) {
    switch (kind) {
    case ERROR: tenon_error_free(handle); break;
    case OPTIONS: tenon_options_free(handle); break;
    case ENGINE: tenon_engine_free(handle); break;
    case TABLE: tenon_table_free(handle); break;
    case MODEL: tenon_model_free(handle); break;
    case SESSION: tenon_session_free(handle); break;
    case REQUEST: tenon_request_free(handle); break;
    case STREAM: tenon_stream_free(handle); break;
    case RESULT: tenon_result_free(handle); break;
    default: break;
    }
}

/* A request with a second of sound, of which the answer has segments with words. */
static tenon_request *hear(void) {
    tenon_request *request = NULL;
    tenon_options *options = NULL;
    WANT(TENON_OK, tenon_request_new("transcribe", &request, &problem));
    WANT(TENON_OK, tenon_request_add_audio(request, sound, 16000, 16000, 1, &problem));
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    WANT(TENON_OK, tenon_options_set_bool(options, "words", 1, &problem));
    WANT(TENON_OK, tenon_request_set_options(request, options, &problem));
    tenon_options_free(options);
    return request;
}

static void make_objects(void **all) {
    struct chain chain = chain_new();
    tenon_request *request = hear(), *stays_open = live();
    all[ENGINE] = chain.engine, all[MODEL] = chain.model, all[SESSION] = chain.session;
    WANT(TENON_OK, tenon_run(chain.session, request, (tenon_result **)&all[RESULT], &problem));
    WANT(TENON_OK, tenon_options_new((tenon_options **)&all[OPTIONS], &problem));
    WANT(TENON_OK, tenon_engine_models(chain.engine, (tenon_table **)&all[TABLE], &problem));
    tenon_model *none = NULL;
    (void)tenon_model_load(chain.engine, "ech", NULL, NULL, NULL, &none, (tenon_error **)&all[ERROR]);
    CHECK(none == NULL && all[ERROR] != NULL);
    tenon_session *streaming = NULL;
    WANT(TENON_OK, tenon_session_new(chain.model, &streaming, &problem));
    WANT(TENON_OK, tenon_stream_start(streaming, stays_open, (tenon_stream **)&all[STREAM], &problem));
    tenon_session_free(streaming);
    tenon_request_free(stays_open);
    all[REQUEST] = request;
}

/* Calls with arguments of which one is bad, and checks what comes: the status, its error, and nothing given out. */
static void call_badly(const struct function *function, A arguments, tenon_status wanted, const char *what) {
    union room *room = arguments->out;
    const int gives = (function->uses & OUT) != 0 && room != NULL && (uintptr_t)room % sizeof(void *) == 0;
    tenon_status wish = function->uses & FREE ? TENON_OK : function->uses & VALUE ? TENON_E_END : wanted;
    tenon_error *error = NULL;
    arguments->error = &error;
    if (gives)
        room->pointer = &failures;
    tenon_status status = function->call(arguments);
    if (status != wish) {
        fprintf(stderr, "%s with %s: %s and not %s: %s\n", function->name, what, tenon_status_name(status),
                tenon_status_name(wish), tenon_error_message(error));
        failures++;
    }
    if (!(function->uses & (FREE | VALUE))) {
        if (tenon_error_status(error) != wish || *tenon_error_message(error) == '\0') {
            fprintf(stderr, "%s with %s: no good error\n", function->name, what);
            failures++;
        }
        if (gives && function->handle != NONE && function->gives != NONE && room->pointer != NULL) {
            fprintf(stderr, "%s with %s: the out-parameter is not NULL after an error\n", function->name, what);
            failures++;
        }
        tenon_error_free(error);
        arguments->error = NULL;
        if (function->call(arguments) != wish) {
            fprintf(stderr, "%s with %s: another status without a place for the error\n", function->name, what);
            failures++;
        }
    }
}

static uint64_t random_bits(void) {
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

/* All that is no handle of this kind. */
static void try_handles(const struct function *function, A arguments, void **place, enum kind kind) {
    void *good = *place;
    *place = NULL;
    call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "NULL for a handle");
    for (int other = ERROR; other < KINDS; other++) {
        if (other != (int)kind) {
            *place = alive[other];
            call_badly(function, arguments, TENON_E_STALE_HANDLE, "a handle of another kind");
        }
        *place = dead[other];
        call_badly(function, arguments, TENON_E_STALE_HANDLE, "a handle that was freed");
    }
    for (int tries = 0; tries < 64; tries++) {
        const uint64_t one_bit_off = (uint64_t)(uintptr_t)good ^ (uint64_t)1 << (random_bits() % 64);
        const uint64_t bits = tries == 0 ? UINT64_MAX : tries < 32 ? random_bits() : one_bit_off;
        int living = 0;
        for (int other = ERROR; other < KINDS; other++)
            living |= (uint64_t)(uintptr_t)alive[other] == bits;
        if (living)
            continue;
        *place = (void *)(uintptr_t)bits;
        call_badly(function, arguments, TENON_E_STALE_HANDLE, "a number for a handle");
    }
    *place = good;
}

static void try_text(const struct function *function, A arguments, const char **place, int may_be_null) {
    const char *good = *place;
    if (!may_be_null) {
        *place = NULL;
        call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "NULL for a text");
    }
    *place = "a\xff\xfe";
    call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a text that is not UTF-8");
    *place = "\xed\xa0\x80";
    call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a surrogate for a text");
    *place = good;
}

static void try_values(const struct function *function, A arguments) {
    const void *good = arguments->values;
    const size_t size = arguments->size;
    arguments->values = NULL;
    call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "NULL for an array");
    arguments->values = good;
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4 + 1, (size_t)1 << 62, ((size_t)1 << 30) + 1};
    for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        arguments->size = sizes[at];
        call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a size that nothing has");
    }
    arguments->size = size;
    if (function->uses & BYTES)
        return;
    arguments->values = (const char *)good + 1;
    call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a misaligned array");
    arguments->values = good;
    const uint32_t bad_channels[] = {0, 65536, UINT32_MAX};
    for (int at = 0; at < 3; at++) {
        arguments->channels = bad_channels[at];
        call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a number of channels");
    }
    arguments->channels = 1;
}

static void try_places(const struct function *function, A arguments) {
    void *good = arguments->out;
    arguments->out = NULL;
    call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "no place for what comes out");
    arguments->out = (char *)good + 1;
    call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a misaligned place for what comes out");
    arguments->out = good;
    if (function->uses & OUT_TOO) {
        void *too = arguments->out_too;
        arguments->out_too = NULL;
        call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "no place for the second thing");
        arguments->out_too = (char *)too + 1;
        call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a misaligned place for the second thing");
        arguments->out_too = too;
    }
    if (function->uses & STRUCT) {
        const uint32_t sizes[] = {0, 1, 3, 65537, UINT32_MAX};
        for (int at = 0; at < 5; at++) {
            ((union room *)good)->struct_size = sizes[at];
            call_badly(function, arguments, TENON_E_INVALID_ARGUMENT, "a struct without its size");
        }
        ((union room *)good)->struct_size = sizeof(union room);
    }
}

/* A misaligned place for the error cannot be written to, but the status is told. */
static void try_error_place(const struct function *function, A arguments) {
    static tenon_error *places[2];
    arguments->error = (tenon_error **)(void *)((char *)places + 1);
    CHECK(function->call(arguments) == TENON_E_INVALID_ARGUMENT);
    CHECK(places[0] == NULL && places[1] == NULL);
}

static struct arguments good_arguments(const struct function *function, union room *room) {
    struct arguments arguments = {0};
    memset(room, 0, 2 * sizeof *room);
    arguments.handle = alive[function->handle], arguments.other = alive[function->other];
    arguments.first = function->first, arguments.second = function->second;
    arguments.values = function->uses & (VALUES | BYTES) ? (const void *)sound : NULL;
    arguments.size = function->uses & (VALUES | BYTES) ? 160 : 0;
    arguments.rate = function->uses & VALUES ? 16000 : 0, arguments.channels = 1;
    arguments.time = 1000000;
    arguments.out = &room[0], arguments.out_too = &room[1];
    if (function->uses & STRUCT)
        room[0].struct_size = sizeof(union room);
    return arguments;
}

static void try_function(const struct function *function) {
    static union room room[2];
    /* What an earlier function did to the request shall not matter. */
    if (function->handle == REQUEST && !(function->uses & FREE)) {
        tenon_request_free(alive[REQUEST]);
        WANT(TENON_OK, tenon_request_new("chat", (tenon_request **)&alive[REQUEST], &problem));
    } else if (function->other == REQUEST) {
        tenon_request_free(alive[REQUEST]);
        alive[REQUEST] = hear();
    }
    struct arguments arguments = good_arguments(function, room);
    if (function->handle != NONE)
        try_handles(function, &arguments, &arguments.handle, function->handle);
    if (function->other != NONE)
        try_handles(function, &arguments, &arguments.other, function->other);
    if (function->uses & (FIRST | FIRST_ANY))
        try_text(function, &arguments, &arguments.first, function->uses & FIRST_ANY);
    if (function->uses & (SECOND | SECOND_ANY))
        try_text(function, &arguments, &arguments.second, function->uses & SECOND_ANY);
    if (function->uses & (VALUES | BYTES))
        try_values(function, &arguments);
    if (function->uses & (OUT | STRUCT))
        try_places(function, &arguments);
    if (!(function->uses & (VALUE | FREE)))
        try_error_place(function, &arguments);
    /* With everything good it works: the arguments were refused for their one fault. */
    arguments = good_arguments(function, room);
    arguments.error = &problem;
    tenon_status status = function->call(&arguments);
    if (status != function->status)
        fprintf(stderr, "%s: ", function->name);
    want(__LINE__, function->status, status, function->name);
    if (status == TENON_OK && function->gives != NONE)
        free_one(function->gives, room[0].pointer);
    printf("%s\n", function->name);
}

int main(void) {
    make_objects(dead);
    for (int kind = ERROR; kind < KINDS; kind++)
        free_one((enum kind)kind, dead[kind]);
    make_objects(alive);
    for (size_t at = 0; at < COUNT; at++)
        try_function(&functions[at]);
    return failures == 0 ? 0 : 1;
}
