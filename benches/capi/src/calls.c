/* The C side: prints what each call costs. Arguments: folders of manifests (one, a hundred) and of plugins. */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tenon.h"

enum { RUNS = 5000, WORDS = 200000, GETS = 5000000, FRAMES = 600 * 16000, ENGINES = 50, THREADS = 2 };

static tenon_error *error;

static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "%s: %s\n", tenon_status_name(status), tenon_error_message(error));
        exit(1);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void print(const char *what, double start, double times, double unit, const char *unit_name) {
    printf("C     %-44s %9.3f %s\n", what, (now() - start) / times * unit, unit_name);
}

static tenon_engine *engine_on(const char *manifests, const char *plugins) {
    const char *manifest_dirs[] = {manifests, NULL}, *plugin_dirs[] = {plugins, NULL};
    tenon_engine_options options = tenon_engine_options_init();
    tenon_engine *engine;
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    options.manifest_dirs = manifest_dirs, options.plugin_dirs = plugin_dirs;
    options.state_dir = manifests;
    check(tenon_engine_new(&options, &engine, &error));
    return engine;
}

static tenon_request *ask(const char *text) {
    tenon_request *request;
    check(tenon_request_new("generate", &request, &error));
    check(tenon_request_add_text(request, NULL, text, &error));
    return request;
}

static tenon_result *runs(tenon_session *session) {
    tenon_request *request = ask("word");
    tenon_result *result = NULL;
    const double start = now();
    for (int run = 0; run < RUNS; run++) {
        tenon_result_free(result);
        check(tenon_run(session, request, &result, &error));
    }
    print("run of one word", start, RUNS, 1e6, "us");
    tenon_request_free(request);
    return result;
}

static void streams(tenon_session *session) {
    char *text = calloc(WORDS, 5);
    size_t events = 0;
    tenon_stream *stream;
    tenon_event event = tenon_event_init();
    if (text == NULL)
        exit(1);
    for (size_t word = 0; word + 1 < WORDS; word++)
        memcpy(text + word * 5, "word ", 5);
    tenon_request *request = ask(text);
    const double start = now();
    check(tenon_stream_start(session, request, &stream, &error));
    while (tenon_stream_next(stream, -1, &event, &error) == TENON_OK)
        events++;
    print("event of a stream", start, (double)events, 1e6, "us");
    tenon_stream_free(stream);
    tenon_request_free(request);
    free(text);
}

static void *gets(void *data) {
    const tenon_result *result = data;
    size_t sum = 0;
    for (int get = 0; get < GETS; get++)
        sum += tenon_result_text_size(result);
    if (sum != (size_t)GETS * 4)
        exit(1);
    return NULL;
}

static void getters(tenon_result *result) {
    pthread_t threads[THREADS];
    uint32_t sum = 0;
    double start = now();
    for (int get = 0; get < GETS; get++)
        sum ^= tenon_version();
    print("tenon_version, which looks nothing up", start, GETS, 1e9, "ns");
    start = now();
    (void)gets(result);
    print("tenon_result_text_size, which looks one up", start, GETS, 1e9, "ns");
    start = now();
    for (int at = 0; at < THREADS; at++)
        pthread_create(&threads[at], NULL, gets, result);
    for (int at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
    print("the same in two threads at once", start, GETS, 1e9, "ns");
    tenon_run_usage usage = tenon_run_usage_init();
    start = now();
    for (int get = 0; get < GETS; get++)
        sum += (uint32_t)tenon_result_usage(result, &usage, NULL);
    print("tenon_result_usage, which fills a struct", start, GETS, 1e9, "ns");
    if (sum == 1)
        puts("");
}

/* Ten minutes of sound: what the library does with them, and what one copy to fresh memory takes. */
static void audio(void) {
    float *sound = malloc(FRAMES * sizeof *sound);
    tenon_request *request;
    if (sound == NULL)
        exit(1);
    for (size_t at = 0; at < FRAMES; at++)
        sound[at] = 0.25f;
    for (int time = 0; time < 3; time++) {
        check(tenon_request_new("transcribe", &request, &error));
        double start = now();
        check(tenon_request_add_audio(request, sound, FRAMES, 16000, 1, &error));
        print("ten minutes of audio into a request", start, 1, 1e3, "ms");
        tenon_request_free(request);
        start = now();
        volatile float *copy = memcpy(malloc(FRAMES * sizeof *sound), sound, FRAMES * sizeof *sound);
        print("one memcpy of them to fresh memory", start, 1, 1e3, "ms");
        free((void *)copy);
    }
    free(sound);
}

int main(int count, char **arguments) {
    tenon_model *model;
    tenon_session *session;
    if (count != 4)
        return 2;
    double start = now();
    for (int at = 0; at < ENGINES; at++)
        tenon_engine_free(engine_on(arguments[2], arguments[3]));
    print("engine on a hundred manifests", start, ENGINES, 1e3, "ms");
    tenon_engine *engine = engine_on(arguments[1], arguments[3]);
    check(tenon_model_load(engine, "bench", NULL, NULL, NULL, &model, &error));
    check(tenon_session_new(model, &session, &error));
    tenon_result *result = runs(session);
    streams(session);
    getters(result);
    audio();
    tenon_result_free(result);
    tenon_session_free(session);
    tenon_model_free(model);
    tenon_engine_free(engine);
    return 0;
}
