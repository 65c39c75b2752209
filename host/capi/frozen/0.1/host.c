/* A program as it was written for version 0.1 of the C interface: uses what there is, each struct included. Frozen.
 *
 *     host words PLUGIN SHA256 BACKEND    loads a plugin of its own and has it generate
 *     host sound MODEL                    transcribes, whole and live, on a model that is found
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

static tenon_error *error;
static int lines;

static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "%s: %s\n", tenon_status_name(status), tenon_error_message(error));
        exit(1);
    }
}

static void on_log(void *data, int32_t level, const char *target, const char *line) {
    (void)level, (void)target, (void)line;
    *(int *)data += 1;
}

static int32_t on_progress(void *data, int32_t phase, float fraction) {
    (void)data, (void)phase, (void)fraction;
    return 0;
}

static void on_wakeup(void *data) { (void)data; }

static tenon_session *open_model(tenon_engine *engine, const char *name) {
    tenon_model *model;
    tenon_session *session;
    check(tenon_model_load(engine, name, NULL, on_progress, NULL, &model, &error));
    check(tenon_session_new(model, &session, &error));
    tenon_model_free(model);
    return session;
}

static void say_words(const char *plugin, const char *digest, const char *backend) {
    char manifest[256];
    tenon_engine *engine;
    tenon_engine_options options = tenon_engine_options_init();
    tenon_session *session;
    tenon_request *request;
    tenon_result *result;
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    options.state_dir = getenv("XDG_STATE_HOME");
    options.log = on_log, options.log_data = &lines, options.log_level = TENON_LOG_ERROR;
    check(tenon_engine_new(&options, &engine, &error));
    check(tenon_engine_load_plugin(engine, plugin, digest, &error));
    snprintf(manifest, sizeof manifest, "name = \"m\"\ntask = \"generate\"\nbackend = \"%s\"\nlicense = \"MIT\"\n",
             backend);
    check(tenon_engine_add_manifest_text(engine, manifest, NULL, &error));
    session = open_model(engine, "m");
    check(tenon_request_new("generate", &request, &error));
    check(tenon_request_add_text(request, NULL, "one two", &error));
    check(tenon_run(session, request, &result, &error));
    printf("%s\n", tenon_result_text(result));
    tenon_result_free(result);
    tenon_request_free(request);
    tenon_session_free(session);
    check(tenon_engine_shutdown(engine, -1, &error));
    tenon_engine_free(engine);
}

static tenon_request *ask(const float *sound, size_t frames) {
    tenon_request *request;
    tenon_options *options;
    check(tenon_options_new(&options, &error));
    check(tenon_options_set_bool(options, "words", 1, &error));
    check(tenon_request_new("transcribe", &request, &error));
    check(tenon_request_set_options(request, options, &error));
    check(tenon_request_set_deadline(request, 60000000, &error));
    if (sound != NULL)
        check(tenon_request_add_audio(request, sound, frames, 16000, 1, &error));
    else
        check(tenon_request_add_live_audio(request, &error));
    tenon_options_free(options);
    return request;
}

static void hear_whole(tenon_session *session, const float *sound, size_t frames) {
    tenon_request *request = ask(sound, frames);
    tenon_result *result;
    tenon_timed_segment segment = tenon_timed_segment_init();
    tenon_timed_word word = tenon_timed_word_init();
    tenon_run_usage usage = tenon_run_usage_init();
    check(tenon_run(session, request, &result, &error));
    check(tenon_result_segment(result, 1, &segment, &error));
    check(tenon_result_word(result, 1, 1, &word, &error));
    check(tenon_result_usage(result, &usage, &error));
    printf("%lu segments, the second%s from %ld to %ld, %u words, a word %s, %ld us, language %s\n",
           (unsigned long)tenon_result_segment_count(result), segment.text, (long)segment.start_us,
           (long)segment.end_us, segment.word_count, word.text, (long)usage.audio_us,
           tenon_result_info(result, "language"));
    tenon_result_free(result);
    tenon_request_free(request);
}

static void hear_live(tenon_session *session, const float *sound, size_t frames) {
    tenon_request *request = ask(NULL, 0);
    tenon_stream *stream;
    tenon_event event = tenon_event_init();
    struct pollfd watched = {-1, POLLIN, 0};
    tenon_status status;
    check(tenon_stream_start(session, request, &stream, &error));
    check(tenon_stream_set_wakeup(stream, on_wakeup, NULL, &error));
    check(tenon_stream_descriptor(stream, &watched.fd, &error));
    check(tenon_stream_push_audio(stream, sound, frames, 16000, 1, &error));
    check(tenon_stream_finish_input(stream, &error));
    do {
        if (poll(&watched, 1, 60000) != 1)
            exit(2);
        while ((status = tenon_stream_next(stream, 0, &event, &error)) == TENON_OK)
            if (event.kind == TENON_EVENT_SEGMENT)
                printf("%ld:%s (%.2f)\n", (long)event.end_us, event.text, (double)event.confidence);
    } while (status == TENON_E_TIMEOUT);
    printf("%s\n", tenon_status_name(status));
    tenon_stream_free(stream);
    tenon_request_free(request);
}

int main(int count, char **arguments) {
    static float sound[24000];
    tenon_engine *engine;
    tenon_session *session;
    sound[0] = 0.5f;
    if (count == 5 && strcmp(arguments[1], "words") == 0) {
        say_words(arguments[2], arguments[3], arguments[4]);
        return 0;
    }
    if (count != 3)
        return 2;
    check(tenon_engine_new(NULL, &engine, &error));
    session = open_model(engine, arguments[2]);
    hear_whole(session, sound, 24000);
    hear_live(session, sound, 24000);
    tenon_session_free(session);
    tenon_engine_free(engine);
    return 0;
}
