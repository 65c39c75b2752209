/* A backend that panics, hangs and lies: each is a status, the process goes on, and nobody writes to its streams. */

#include <unistd.h>

#include "check.h"

static tenon_engine *an_impatient_engine(void) {
    const char *manifests[] = {getenv("TENON_MANIFESTS"), NULL}, *plugins[] = {getenv("TENON_PLUGIN_PATH"), NULL};
    tenon_engine *engine = NULL;
    tenon_engine_options options = tenon_engine_options_init();
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    options.manifest_dirs = manifests, options.plugin_dirs = plugins;
    options.state_dir = getenv("XDG_STATE_HOME");
    options.patience_us = 100000;
    WANT(TENON_OK, tenon_engine_new(&options, &engine, &problem));
    return engine;
}

static tenon_request *with_fault(const char *fault, double seconds) {
    tenon_request *request = NULL;
    tenon_options *options = NULL;
    WANT(TENON_OK, tenon_request_new("generate", &request, &problem));
    WANT(TENON_OK, tenon_request_add_text(request, NULL, "text", &problem));
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    if (fault != NULL)
        WANT(TENON_OK, tenon_options_set_string(options, "fault", fault, &problem));
    if (seconds > 0)
        WANT(TENON_OK, tenon_options_set_number(options, "seconds", seconds, &problem));
    WANT(TENON_OK, tenon_request_set_options(request, options, &problem));
    tenon_options_free(options);
    return request;
}

static tenon_status run(tenon_session *session, const char *fault) {
    tenon_request *request = with_fault(fault, 0);
    tenon_result *result = NULL;
    const tenon_status status = tenon_run(session, request, &result, &problem);
    CHECK((status == TENON_OK) == (result != NULL));
    tenon_result_free(result);
    tenon_request_free(request);
    return status;
}

/* A stream over a backend that hears nothing is given up after the engine's patience. The session is the backend's
 * until that ends, and says so. */
static void give_up(tenon_session *session) {
    tenon_request *request = with_fault("hang", 2), *brief = with_fault(NULL, 0);
    tenon_result *result = NULL;
    tenon_status status = TENON_OK;
    /* The backend must have begun: cancelled before, there is nothing to give up. */
    for (useconds_t delay = 10000; status == TENON_OK; delay *= 2) {
        tenon_stream *stream = NULL;
        WANT(TENON_OK, tenon_stream_start(session, request, &stream, &problem));
        usleep(delay);
        tenon_stream_free(stream);
        status = tenon_run(session, brief, &result, NULL);
        tenon_result_free(result);
    }
    CHECK(status == TENON_E_BUSY);
    WANT(TENON_E_BUSY, tenon_session_reset(session, &problem));
    tenon_request_free(request);
    tenon_request_free(brief);
}

static tenon_session *open_session(const tenon_model *model) {
    tenon_session *session = NULL;
    WANT(TENON_OK, tenon_session_new(model, &session, &problem));
    return session;
}

static int32_t goes_on(void *data, int32_t phase, float fraction) {
    (void)phase, (void)fraction;
    *(int *)data += 1;
    return 0;
}

static void loads_that_fail(tenon_engine *engine) {
    tenon_options *options = NULL;
    tenon_model *model = (tenon_model *)&failures;
    int calls = 0;
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    WANT(TENON_OK, tenon_options_set_string(options, "fault", "open-panic", &problem));
    WANT(TENON_E_PANIC, tenon_model_load(engine, "faulty", options, goes_on, &calls, &model, &problem));
    CHECK(model == NULL);
    WANT(TENON_OK, tenon_options_set_string(options, "fault", "no-such-fault", &problem));
    WANT(TENON_E_OPTIONS, tenon_model_load(engine, "faulty", options, NULL, NULL, &model, &problem));
    tenon_options_free(options);
}

int main(void) {
    tenon_engine *engine = an_impatient_engine();
    tenon_model *model = NULL;
    WANT(TENON_OK, tenon_model_load(engine, "faulty", NULL, NULL, NULL, &model, &problem));
    tenon_session *session = open_session(model);
    WANT(TENON_OK, run(session, NULL));
    WANT(TENON_E_PANIC, run(session, "panic"));
    WANT(TENON_OK, run(session, NULL));
    WANT(TENON_E_PANIC, run(session, "panic-twice"));
    WANT(TENON_OK, run(session, NULL));
    give_up(session);
    loads_that_fail(engine);
    tenon_session *other = open_session(model);
    WANT(TENON_OK, run(other, NULL));
    tenon_session_free(other);
    tenon_session_free(session);
    tenon_model_free(model);
    /* The thread that hangs is the engine's still, so a shutdown that waits for nobody tells of it. */
    WANT(TENON_E_TIMEOUT, tenon_engine_shutdown(engine, 0, NULL));
    WANT(TENON_OK, tenon_engine_shutdown(engine, -1, &problem));
    tenon_engine_free(engine);
    return verdict("faults");
}
