/* What the test programs share: checks that name their place, and the way to a session on the echo model. */

#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

#if defined(__GNUC__)
#define UNUSED __attribute__((unused))
#else
#define UNUSED
#endif

static int failures = 0;

/* Notes a check that does not hold; the program goes on, so that one run shows all of them. */
#define CHECK(what) ((what) ? (void)0 : complain(__LINE__, #what))

/* Notes a status that is not the wanted one, with the sentence of its error. */
#define WANT(wanted, call) want(__LINE__, wanted, call, #call)

/* The place for an error that WANT reads; each test has one thread that uses it. */
static tenon_error *problem = NULL;

UNUSED static void complain(int line, const char *what) {
    fprintf(stderr, "line %d: %s does not hold\n", line, what);
    failures++;
}

/* Statuses that make no tenon_error although they are not TENON_OK. */
UNUSED static int is_calm(tenon_status status) {
    return status == TENON_OK || status == TENON_E_TIMEOUT || status == TENON_E_END;
}

UNUSED static void want(int line, tenon_status wanted, tenon_status status, const char *call) {
    if (status != wanted) {
        fprintf(stderr, "line %d: %s is %s and not %s: %s\n", line, call, tenon_status_name(status),
                tenon_status_name(wanted), tenon_error_message(problem));
        failures++;
    }
    if (problem != NULL && (tenon_error_status(problem) != status || *tenon_error_message(problem) == '\0')) {
        fprintf(stderr, "line %d: %s: the error does not say what the status says\n", line, call);
        failures++;
    }
    if (problem == NULL && !is_calm(status)) {
        fprintf(stderr, "line %d: %s: %s without an error\n", line, call, tenon_status_name(status));
        failures++;
    }
    tenon_error_free(problem);
    problem = NULL;
}

/* An engine, a loaded model and a session. */
struct chain {
    tenon_engine *engine;
    tenon_model *model;
    tenon_session *session;
};

/* Only what the environment names, so that no test meets the manifests of the machine. */
UNUSED static tenon_engine *engine_new(void) {
    const char *manifests[] = {getenv("TENON_MANIFESTS"), NULL}, *plugins[] = {getenv("TENON_PLUGIN_PATH"), NULL};
    tenon_engine *engine = NULL;
    tenon_engine_options options = tenon_engine_options_init();
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    options.manifest_dirs = manifests;
    options.plugin_dirs = plugins;
    options.state_dir = getenv("XDG_STATE_HOME");
    WANT(TENON_OK, tenon_engine_new(&options, &engine, &problem));
    return engine;
}

/* On the model `echo`, which the environment leads to. Ends the program where that fails. */
UNUSED static struct chain chain_new(void) {
    struct chain chain = {engine_new(), NULL, NULL};
    WANT(TENON_OK, tenon_model_load(chain.engine, "echo", NULL, NULL, NULL, &chain.model, &problem));
    WANT(TENON_OK, tenon_session_new(chain.model, &chain.session, &problem));
    if (failures > 0)
        exit(2);
    return chain;
}

UNUSED static void chain_free(struct chain *chain) {
    tenon_session_free(chain->session);
    tenon_model_free(chain->model);
    tenon_engine_free(chain->engine);
}

/* A request to repeat a text, slowly: so many milliseconds before each word. */
UNUSED static tenon_request *words(const char *text, int64_t delay_ms) {
    tenon_request *request = NULL;
    tenon_options *options = NULL;
    WANT(TENON_OK, tenon_request_new("generate", &request, &problem));
    WANT(TENON_OK, tenon_request_add_text(request, NULL, text, &problem));
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    WANT(TENON_OK, tenon_options_set_integer(options, "delay_ms", delay_ms, &problem));
    WANT(TENON_OK, tenon_request_set_options(request, options, &problem));
    tenon_options_free(options);
    return request;
}

/* Enough words that a request with a delay is still running when it is looked at. */
UNUSED static const char *many_words(void) {
    static char text[4096];
    if (text[0] == '\0')
        for (size_t at = 0; at + 6 < sizeof text; at += 5)
            memcpy(text + at, "word ", 6);
    return text;
}

/* A request that takes live audio. */
UNUSED static tenon_request *live(void) {
    tenon_request *request = NULL;
    WANT(TENON_OK, tenon_request_new("transcribe", &request, &problem));
    WANT(TENON_OK, tenon_request_add_live_audio(request, &problem));
    return request;
}

/* To be returned from main. */
UNUSED static int verdict(const char *name) {
    if (failures == 0)
        printf("%s: all is well\n", name);
    return failures == 0 ? 0 : 1;
}

#endif
