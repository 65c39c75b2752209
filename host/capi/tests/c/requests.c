/* Texts of every kind, and everything that ends a request: deadline, cancel, shutdown, a wrong option. */

#include <math.h>

#include "check.h"

static struct chain all;

/* What echo makes of a text of so many bytes. */
static tenon_result *echo(const char *text, size_t size) {
    tenon_request *request = NULL;
    tenon_result *result = NULL;
    WANT(TENON_OK, tenon_request_new("generate", &request, &problem));
    WANT(TENON_OK, tenon_request_add_text_n(request, NULL, text, size, &problem));
    WANT(TENON_OK, tenon_run(all.session, request, &result, &problem));
    tenon_request_free(request);
    return result;
}

static void a_text_of_a_mebibyte(void) {
    const size_t size = 1 << 20;
    char *text = malloc(size + 1);
    if (text == NULL)
        exit(2);
    for (size_t at = 0; at < size; at++)
        text[at] = at % 1024 == 1023 ? ' ' : (char)('a' + at % 26);
    text[size] = '\0';
    tenon_result *result = echo(text, size);
    CHECK(tenon_result_text_size(result) == size && strcmp(tenon_result_text(result), text) == 0);
    CHECK(strlen(tenon_result_json(result)) > size);
    tenon_result_free(result);
    free(text);
}

/* A NUL cannot cross in a C text: it comes back as U+FFFD, and size and text agree. */
static void a_text_with_a_nul(void) {
    tenon_result *result = echo("a\0b \0", 5);
    CHECK(strcmp(tenon_result_text(result), "a\xef\xbf\xbd" "b \xef\xbf\xbd") == 0);
    CHECK(tenon_result_text_size(result) == strlen(tenon_result_text(result)));
    CHECK(strstr(tenon_result_json(result), "\\u0000") != NULL);
    tenon_result_free(result);
    result = echo("\xf0\x9f\x8e\x99 \xc3\xa9", 7);
    CHECK(strcmp(tenon_result_text(result), "\xf0\x9f\x8e\x99 \xc3\xa9") == 0);
    tenon_result_free(result);
    tenon_request *request = NULL;
    WANT(TENON_OK, tenon_request_new("generate", &request, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_request_add_text_n(request, NULL, "\xc3\xa9", 1, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_request_add_text_n(request, NULL, NULL, 1, &problem));
    /* Nothing of it was taken: the request still has no text. */
    WANT(TENON_E_INVALID_ARGUMENT, tenon_run(all.session, request, &result, &problem));
    WANT(TENON_OK, tenon_request_add_text_n(request, NULL, NULL, 0, &problem));
    WANT(TENON_OK, tenon_run(all.session, request, &result, &problem));
    CHECK(result != NULL && tenon_result_text_size(result) == 0 && *tenon_result_text(result) == '\0');
    tenon_result_free(result);
    tenon_request_free(request);
}

/* Runs with one option and a deadline; the error stays for WANT. */
static tenon_status run_with(const char *name, const char *json, int64_t deadline_us) {
    tenon_request *request = words(many_words(), 20);
    tenon_options *options = NULL;
    tenon_result *result = (tenon_result *)&failures;
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    if (name != NULL) {
        WANT(TENON_OK, tenon_options_set_json(options, name, json, &problem));
        WANT(TENON_OK, tenon_request_set_options(request, options, &problem));
    }
    WANT(TENON_OK, tenon_request_set_deadline(request, deadline_us, &problem));
    const tenon_status status = tenon_run(all.session, request, &result, &problem);
    CHECK(result == NULL);
    tenon_options_free(options);
    tenon_request_free(request);
    return status;
}

static void deadlines_and_options(void) {
    WANT(TENON_E_DEADLINE, run_with(NULL, NULL, 0));
    WANT(TENON_E_DEADLINE, run_with(NULL, NULL, 1));
    WANT(TENON_E_DEADLINE, run_with(NULL, NULL, 30000));
    WANT(TENON_E_OPTIONS, run_with("temprature", "1", -1));
    WANT(TENON_E_OPTIONS, run_with("max_tokens", "\"many\"", -1));
    tenon_options *options = NULL;
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_options_set_json(options, "max_tokens", "{oops", &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_options_set_number(options, "temperature", NAN, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_options_set_number(options, "temperature", INFINITY, &problem));
    tenon_options_free(options);
}

static void audio_that_is_none(void) {
    tenon_request *request = NULL;
    tenon_result *result = NULL;
    const float sample = 0;
    WANT(TENON_OK, tenon_request_new("transcribe", &request, &problem));
    /* Refused here and not when it runs: rates and channels that no audio is accepted with. */
    const uint32_t formats[][2] = {{0, 1}, {999, 1}, {768001, 1}, {16000, 0}, {16000, 65}};
    for (int at = 0; at < 5; at++) {
        const uint32_t rate = formats[at][0], channels = formats[at][1];
        WANT(TENON_E_INVALID_ARGUMENT, tenon_request_add_audio(request, NULL, 0, rate, channels, &problem));
        WANT(TENON_E_INVALID_ARGUMENT, tenon_request_add_audio_i16(request, NULL, 0, rate, channels, &problem));
    }
    WANT(TENON_OK, tenon_request_add_audio(request, NULL, 0, 16000, 1, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_request_add_audio(request, &sample, 1, 16000, 1, &problem));
    WANT(TENON_E_AUDIO, tenon_run(all.session, request, &result, &problem));
    tenon_request_free(request);
    WANT(TENON_OK, tenon_request_new("transcribe", &request, &problem));
    WANT(TENON_OK, tenon_request_add_audio_bytes(request, (const uint8_t *)"no audio", 8, &problem));
    WANT(TENON_E_AUDIO, tenon_run(all.session, request, &result, &problem));
    tenon_request_free(request);
    WANT(TENON_OK, tenon_request_new("transcribe", &request, &problem));
    WANT(TENON_OK, tenon_request_add_audio_file(request, "/no/such/file.wav", &problem));
    const tenon_status status = tenon_run(all.session, request, &result, &problem);
    CHECK(strstr(tenon_error_message(problem), "/no/such/file.wav") != NULL);
    CHECK(status == TENON_E_NOT_FOUND || status == TENON_E_IO);
    tenon_error_free(problem);
    problem = NULL;
    tenon_request_free(request);
    request = live();
    WANT(TENON_E_INVALID_ARGUMENT, tenon_run(all.session, request, &result, &problem));
    tenon_request_free(request);
}

static void live_audio(void) {
    static const int16_t sound[8000] = {16384};
    tenon_request *request = live();
    tenon_stream *stream = NULL;
    tenon_event event = tenon_event_init();
    tenon_result *result = NULL;
    WANT(TENON_OK, tenon_stream_start(all.session, request, &stream, &problem));
    WANT(TENON_E_AUDIO, tenon_stream_push_audio_i16(stream, sound, 1, 0, 1, &problem));
    for (int half = 0; half < 5; half++)
        WANT(TENON_OK, tenon_stream_push_audio_i16(stream, sound, 8000, 16000, 1, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_stream_push_audio_i16(stream, sound, 8000, 8000, 1, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_stream_push_audio_i16(stream, sound, 4000, 16000, 2, &problem));
    WANT(TENON_E_BUSY, tenon_stream_result(stream, &result, &problem));
    WANT(TENON_OK, tenon_stream_finish_input(stream, &problem));
    WANT(TENON_OK, tenon_stream_finish_input(stream, &problem));
    while (tenon_stream_next(stream, -1, &event, &problem) == TENON_OK)
        CHECK(event.json != NULL && event.json[0] == '{');
    WANT(TENON_E_END, tenon_stream_next(stream, 0, &event, &problem));
    const tenon_status late = tenon_stream_push_audio_i16(stream, sound, 8000, 16000, 1, NULL);
    CHECK(late == TENON_E_END || late == TENON_E_INVALID_ARGUMENT);
    for (int time = 0; time < 2; time++) {
        WANT(TENON_OK, tenon_stream_result(stream, &result, &problem));
        CHECK(strcmp(tenon_result_text(result), " second 1 peak 50 second 2 peak 50 second 3 peak 50") == 0);
        tenon_result_free(result);
    }
    tenon_stream_free(stream);
    tenon_request_free(request);
}

/* Cancelled before its thread has done anything, and read once more after its error. */
static void cancel_at_once(void) {
    tenon_request *request = words(many_words(), 5);
    tenon_stream *stream = NULL;
    tenon_event event = tenon_event_init();
    WANT(TENON_OK, tenon_session_cancel(all.session, &problem));
    WANT(TENON_OK, tenon_stream_start(all.session, request, &stream, &problem));
    WANT(TENON_OK, tenon_stream_cancel(stream, &problem));
    tenon_status status;
    while ((status = tenon_stream_next(stream, -1, &event, &problem)) == TENON_OK)
        continue;
    WANT(TENON_E_CANCELLED, status);
    WANT(TENON_E_END, tenon_stream_next(stream, -1, &event, &problem));
    CHECK(tenon_stream_is_ready(stream) == 1);
    tenon_stream_free(stream);
    tenon_request_free(request);
}

static void after_shutdown(void) {
    tenon_request *request = words(many_words(), 5), *brief = words("one", 0);
    tenon_stream *stream = NULL, *none = NULL;
    tenon_event event = tenon_event_init();
    tenon_model *model = NULL;
    tenon_session *session = NULL, *other = NULL;
    tenon_result *result = NULL;
    WANT(TENON_OK, tenon_session_new(all.model, &other, &problem));
    WANT(TENON_OK, tenon_stream_start(all.session, request, &stream, &problem));
    WANT(TENON_OK, tenon_engine_shutdown(all.engine, -1, &problem));
    WANT(TENON_OK, tenon_engine_shutdown(all.engine, 0, &problem));
    WANT(TENON_E_SHUTDOWN, tenon_run(other, brief, &result, &problem));
    WANT(TENON_E_SHUTDOWN, tenon_stream_start(other, brief, &none, &problem));
    WANT(TENON_E_SHUTDOWN, tenon_session_new(all.model, &session, &problem));
    WANT(TENON_E_SHUTDOWN, tenon_model_load(all.engine, "echo", NULL, NULL, NULL, &model, &problem));
    CHECK(result == NULL && none == NULL && session == NULL && model == NULL);
    tenon_status status;
    while ((status = tenon_stream_next(stream, -1, &event, &problem)) == TENON_OK)
        continue;
    WANT(TENON_E_SHUTDOWN, status);
    CHECK(strcmp(tenon_model_info(all.model, "name"), "echo") == 0);
    tenon_stream_free(stream);
    tenon_session_free(other);
    tenon_request_free(request);
    tenon_request_free(brief);
}

int main(void) {
    all = chain_new();
    a_text_of_a_mebibyte();
    a_text_with_a_nul();
    deadlines_and_options();
    audio_that_is_none();
    live_audio();
    cancel_at_once();
    after_shutdown();
    chain_free(&all);
    return verdict("requests");
}
