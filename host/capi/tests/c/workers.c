/* A backend in a worker crashes: its request is told how, the program goes on, and the next request starts another. */

#include "check.h"

static tenon_engine *an_engine(const char *worker, int64_t grace_us) {
    const char *manifests[] = {getenv("TENON_MANIFESTS"), NULL}, *plugins[] = {getenv("TENON_PLUGIN_PATH"), NULL};
    tenon_engine *engine = NULL;
    tenon_engine_options options = tenon_engine_options_init();
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES | TENON_ENGINE_WORKERS;
    options.manifest_dirs = manifests, options.plugin_dirs = plugins;
    options.state_dir = getenv("XDG_STATE_HOME");
    options.worker_program = worker;
    options.worker_grace_us = grace_us;
    WANT(grace_us < 0 ? TENON_E_INVALID_ARGUMENT : TENON_OK, tenon_engine_new(&options, &engine, &problem));
    return engine;
}

/* Runs a request, with a fault unless that is NULL. Gives the error for the caller to free. */
static tenon_status run(tenon_session *session, const char *fault, tenon_error **error) {
    tenon_request *request = NULL;
    tenon_options *options = NULL;
    tenon_result *result = NULL;
    WANT(TENON_OK, tenon_request_new("generate", &request, &problem));
    WANT(TENON_OK, tenon_request_add_text(request, NULL, "one two", &problem));
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    if (fault != NULL)
        WANT(TENON_OK, tenon_options_set_string(options, "fault", fault, &problem));
    WANT(TENON_OK, tenon_request_set_options(request, options, &problem));
    const tenon_status status = tenon_run(session, request, &result, error);
    if (status == TENON_OK)
        CHECK(strstr(tenon_result_json(result), "\"isolation\":\"worker\"") != NULL);
    tenon_result_free(result);
    tenon_options_free(options);
    tenon_request_free(request);
    return status;
}

static void crash_and_go_on(tenon_session *session, tenon_session *other) {
    tenon_error *error = NULL;
    CHECK(run(session, NULL, NULL) == TENON_OK);
    CHECK(run(session, "abort", &error) == TENON_E_WORKER_DIED);
    CHECK(strstr(tenon_error_message(error), "crashed with SIGABRT") != NULL);
    const char *signal = tenon_error_detail(error, "signal");
    CHECK(signal != NULL && strcmp(signal, "SIGABRT") == 0);
    CHECK(tenon_error_detail(error, "worker_pid") != NULL);
    tenon_error_free(error);
    CHECK(run(session, NULL, NULL) == TENON_OK);
    CHECK(run(other, NULL, NULL) == TENON_OK);
}

static void a_program_that_is_not_there(void) {
    tenon_engine *engine = an_engine("/nowhere/tenon-worker", 0);
    tenon_model *model = NULL;
    tenon_error *error = NULL;
    CHECK(tenon_model_load(engine, "faulty", NULL, NULL, NULL, &model, &error) == TENON_E_NOT_FOUND);
    CHECK(model == NULL && strstr(tenon_error_message(error), "/nowhere/tenon-worker") != NULL);
    tenon_error_free(error);
    tenon_engine_free(engine);
}

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    tenon_engine *engine = an_engine(arguments[1], 2000000);
    tenon_model *model = NULL;
    tenon_session *session = NULL, *other = NULL;
    a_program_that_is_not_there();
    CHECK(an_engine(arguments[1], -1) == NULL);
    WANT(TENON_OK, tenon_model_load(engine, "faulty", NULL, NULL, NULL, &model, &problem));
    CHECK(strcmp(tenon_model_info(model, "isolation"), "worker") == 0);
    CHECK(tenon_model_info(model, "sandbox") != NULL);
    WANT(TENON_OK, tenon_session_new(model, &session, &problem));
    WANT(TENON_OK, tenon_session_new(model, &other, &problem));
    crash_and_go_on(session, other);
    tenon_session_free(other);
    tenon_session_free(session);
    tenon_model_free(model);
    WANT(TENON_OK, tenon_engine_shutdown(engine, -1, &problem));
    tenon_engine_free(engine);
    return verdict("workers");
}
