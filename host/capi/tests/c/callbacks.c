/* What callbacks may do: cancel, free and get. Everything else is refused with TENON_E_BUSY, and nothing hangs. */

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

static struct chain all;
static tenon_request *request;
static tenon_result *result;
static tenon_stream *stream;
static atomic_int logged, told, woken, oddities;

/* A check inside a callback, which may run on several threads at once. */
#define EXPECT(what) ((what) ? (void)0 : (void)(fprintf(stderr, "line %d: %s\n", __LINE__, #what), oddities++))

/* Each call that could wait is refused, gives nothing out, and says why. */
static void try_all(void) {
    tenon_error *error = NULL;
    tenon_engine *engine = (tenon_engine *)&oddities;
    EXPECT(tenon_engine_new(NULL, &engine, &error) == TENON_E_BUSY);
    EXPECT(engine == NULL && strstr(tenon_error_message(error), "callback") != NULL);
    tenon_error_free(error);
    tenon_model *model = (tenon_model *)&oddities;
    EXPECT(tenon_model_load(all.engine, "echo", NULL, NULL, NULL, &model, NULL) == TENON_E_BUSY && model == NULL);
    tenon_session *session = (tenon_session *)&oddities;
    EXPECT(tenon_session_new(all.model, &session, NULL) == TENON_E_BUSY && session == NULL);
    tenon_result *given = (tenon_result *)&oddities;
    EXPECT(tenon_run(all.session, request, &given, NULL) == TENON_E_BUSY && given == NULL);
    tenon_stream *started = (tenon_stream *)&oddities;
    EXPECT(tenon_stream_start(all.session, request, &started, NULL) == TENON_E_BUSY && started == NULL);
    EXPECT(tenon_session_reset(all.session, NULL) == TENON_E_BUSY);
    EXPECT(tenon_engine_shutdown(all.engine, 0, NULL) == TENON_E_BUSY);
    EXPECT(tenon_model_verify(all.engine, "echo", TENON_VERIFY_CACHED, NULL, NULL, NULL) == TENON_E_BUSY);
    EXPECT(tenon_stream_set_wakeup(stream, NULL, NULL, NULL) == TENON_E_BUSY);
    tenon_event event = tenon_event_init();
    EXPECT(tenon_stream_next(stream, 0, &event, NULL) == TENON_E_BUSY);
    const float sample = 0;
    EXPECT(tenon_stream_push_audio(stream, &sample, 1, 16000, 1, NULL) == TENON_E_BUSY);
    /* Getters. */
    EXPECT(strcmp(tenon_model_info(all.model, "name"), "echo") == 0);
    EXPECT(strcmp(tenon_result_text(result), "a result") == 0);
    EXPECT(tenon_result_segment_count(result) == 0 && tenon_version() != 0);
    tenon_run_usage usage = tenon_run_usage_init();
    EXPECT(tenon_result_usage(result, &usage, NULL) == TENON_OK && usage.generated_tokens == 2);
    EXPECT(tenon_session_cancel(all.session, NULL) == TENON_OK);
}

static void on_log(void *data, int32_t level, const char *target, const char *line) {
    EXPECT(data == &logged && level >= TENON_LOG_ERROR && level <= TENON_LOG_TRACE);
    EXPECT(strlen(target) > 0 && strlen(line) > 0);
    if (logged++ == 0 && all.session != NULL)
        try_all();
}

static int32_t on_progress(void *data, int32_t phase, float fraction) {
    EXPECT(data == &told && (phase == TENON_PHASE_VERIFY || phase == TENON_PHASE_LOAD));
    EXPECT(fraction >= 0 && fraction <= 1);
    if (told++ == 0)
        try_all();
    return 0;
}

static int32_t stops(void *data, int32_t phase, float fraction) {
    (void)phase, (void)fraction;
    *(int *)data += 1;
    return 1;
}

static void on_wakeup(void *data) {
    EXPECT(data == &woken);
    if (woken++ == 0)
        try_all();
}

static void asks_whether_it_is_ready(void *data) {
    if (tenon_stream_is_ready(stream) != 0)
        atomic_fetch_add((atomic_int *)data, 1);
}

static void cancels(void *data) {
    (void)data;
    EXPECT(tenon_stream_cancel(stream, NULL) == TENON_OK);
}

/* The handle is freed for good at once; what it stood for ends on another thread. */
static void frees(void *data) {
    tenon_stream_free(stream);
    tenon_session_free(all.session);
    EXPECT(tenon_stream_cancel(stream, NULL) == TENON_E_STALE_HANDLE);
    atomic_store((atomic_int *)data, 1);
}

static void wait_for(atomic_int *place) {
    while (atomic_load(place) == 0)
        usleep(1000);
}

static void start(int64_t delay_ms) {
    tenon_request *slow = words(many_words(), delay_ms);
    WANT(TENON_OK, tenon_stream_start(all.session, slow, &stream, &problem));
    tenon_request_free(slow);
}

static tenon_status last_word(void) {
    tenon_event event = tenon_event_init();
    tenon_status status;
    do {
        tenon_error_free(problem);
        status = tenon_stream_next(stream, -1, &event, &problem);
    } while (status == TENON_OK);
    return status;
}

static void an_engine_that_logs(void) {
    const char *manifests[] = {getenv("TENON_MANIFESTS"), NULL}, *plugins[] = {getenv("TENON_PLUGIN_PATH"), NULL};
    tenon_engine_options options = tenon_engine_options_init();
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    options.manifest_dirs = manifests, options.plugin_dirs = plugins;
    options.state_dir = getenv("XDG_STATE_HOME");
    options.log = on_log, options.log_data = &logged, options.log_level = TENON_LOG_TRACE;
    WANT(TENON_OK, tenon_engine_new(&options, &all.engine, &problem));
    WANT(TENON_OK, tenon_model_load(all.engine, "echo", NULL, NULL, NULL, &all.model, &problem));
    WANT(TENON_OK, tenon_session_new(all.model, &all.session, &problem));
}

static void log_and_progress(void) {
    tenon_model *second = NULL;
    tenon_options *unknown = NULL;
    int calls = 0;
    WANT(TENON_OK, tenon_options_new(&unknown, &problem));
    logged = 0;
    WANT(TENON_OK, tenon_model_load(all.engine, "echo", NULL, on_progress, &told, &second, &problem));
    CHECK(told > 0 && logged > 0);
    tenon_model_free(second);
    second = (tenon_model *)&calls;
    WANT(TENON_E_CANCELLED, tenon_model_load(all.engine, "echo", NULL, stops, &calls, &second, &problem));
    CHECK(calls > 0 && second == NULL);
    tenon_options_free(unknown);
}

static void wakeups(void) {
    start(1);
    WANT(TENON_OK, tenon_stream_set_wakeup(stream, on_wakeup, &woken, &problem));
    wait_for(&woken);
    WANT(TENON_OK, tenon_stream_set_wakeup(stream, NULL, NULL, &problem));
    WANT(TENON_E_CANCELLED, last_word()); /* try_all cancelled the session's request. */
    /* What can be read already is told at once, by a wakeup that sees it. */
    atomic_int ready = 0;
    WANT(TENON_OK, tenon_stream_set_wakeup(stream, asks_whether_it_is_ready, &ready, &problem));
    CHECK(ready > 0);
    int before = ready;
    tenon_stream_free(stream);
    CHECK(ready == before);
    start(1);
    WANT(TENON_OK, tenon_stream_set_wakeup(stream, cancels, NULL, &problem));
    WANT(TENON_E_CANCELLED, last_word());
    WANT(TENON_E_END, tenon_stream_next(stream, -1, &(tenon_event){.struct_size = sizeof(tenon_event)}, &problem));
    tenon_stream_free(stream);
}

static void free_in_a_wakeup(void) {
    atomic_int freed = 0;
    start(1);
    (void)tenon_stream_set_wakeup(stream, frees, &freed, NULL);
    wait_for(&freed);
    WANT(TENON_E_STALE_HANDLE, tenon_stream_cancel(stream, &problem));
    WANT(TENON_E_STALE_HANDLE, tenon_session_cancel(all.session, &problem));
}

int main(void) {
    an_engine_that_logs();
    request = words("a result", 0);
    WANT(TENON_OK, tenon_run(all.session, request, &result, &problem));
    start(1);
    tenon_stream *first = stream;
    log_and_progress();
    tenon_stream_free(first);
    wakeups();
    free_in_a_wakeup();
    WANT(TENON_OK, tenon_engine_shutdown(all.engine, -1, &problem));
    tenon_request_free(request);
    tenon_result_free(result);
    chain_free(&all);
    CHECK(oddities == 0);
    return verdict("callbacks");
}
