/* Pulls a model from a server of the test's: what the options do, how a pull is cancelled, and that it goes on. */

#include "check.h"

static tenon_engine *engine;

struct heard {
    int calls;
    float most;
    float stop_at;
    int phases;
};

static int32_t hears(void *data, int32_t phase, float fraction) {
    struct heard *heard = data;
    CHECK(fraction >= 0 && fraction <= 1);
    CHECK(phase == TENON_PHASE_PULL || phase == TENON_PHASE_VERIFY);
    heard->calls++;
    heard->phases |= 1 << phase;
    if (phase == TENON_PHASE_PULL && fraction > heard->most)
        heard->most = fraction;
    return heard->most >= heard->stop_at;
}

static const char *state_of(const char *name) {
    static char state[16];
    tenon_table *models = NULL;
    WANT(TENON_OK, tenon_engine_models(engine, &models, &problem));
    for (size_t row = 0; row < tenon_table_rows(models); row++)
        if (strcmp(tenon_table_get(models, row, "name"), name) == 0)
            snprintf(state, sizeof state, "%s", tenon_table_get(models, row, "state"));
    tenon_table_free(models);
    return state;
}

static void refuses(void) {
    tenon_pull_options options = tenon_pull_options_init();
    WANT(TENON_E_NOT_FOUND, tenon_engine_pull(engine, "fa", NULL, NULL, NULL, &problem));
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_pull(engine, "own", NULL, NULL, NULL, &problem));
    options.flags = TENON_PULL_OFFLINE;
    WANT(TENON_E_NETWORK, tenon_engine_pull(engine, "far", &options, NULL, NULL, &problem));
    options = tenon_pull_options_init();
    options.endpoint = "no address";
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_pull(engine, "far", &options, NULL, NULL, &problem));
    options.endpoint = "\xff";
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_pull(engine, "far", &options, NULL, NULL, &problem));
    options = tenon_pull_options_init();
    options.deadline_us = -1;
    WANT(TENON_E_INVALID_ARGUMENT, tenon_engine_pull(engine, "far", &options, NULL, NULL, &problem));
    options.deadline_us = 1;
    WANT(TENON_E_DEADLINE, tenon_engine_pull(engine, "far", &options, NULL, NULL, &problem));
}

static void cancels_and_goes_on(void) {
    struct heard heard = {0, 0, 0, 0};
    WANT(TENON_E_CANCELLED, tenon_engine_pull(engine, "far", NULL, hears, &heard, &problem));
    CHECK(heard.calls > 0 && strcmp(state_of("far"), "missing") == 0);
    heard = (struct heard){0, 0, 2, 0};
    tenon_pull_options options = tenon_pull_options_init();
    options.rate_limit = 100000000, options.connections = 2, options.deadline_us = 60000000;
    WANT(TENON_OK, tenon_engine_pull(engine, "far", &options, hears, &heard, &problem));
    CHECK(heard.most == 1 && (heard.phases & 1 << TENON_PHASE_PULL) != 0);
    CHECK(strcmp(state_of("far"), "present") == 0);
    tenon_model *model = NULL;
    WANT(TENON_OK, tenon_model_load(engine, "far", NULL, NULL, NULL, &model, &problem));
    tenon_model_free(model);
    /* What is here needs no network. */
    options.flags = TENON_PULL_OFFLINE;
    WANT(TENON_OK, tenon_engine_pull(engine, "far", &options, NULL, NULL, &problem));
}

static void accepts_and_leaves_out(void) {
    tenon_pull_options options = tenon_pull_options_init();
    options.flags = TENON_PULL_ACCEPT_LICENSE | TENON_PULL_NO_OPTIONAL;
    WANT(TENON_OK, tenon_engine_pull(engine, "own", &options, NULL, NULL, &problem));
    CHECK(strcmp(state_of("own"), "present") == 0);
}

int main(void) {
    WANT(TENON_OK, tenon_engine_new(NULL, &engine, &problem));
    refuses();
    cancels_and_goes_on();
    accepts_and_leaves_out();
    tenon_engine_free(engine);
    return verdict("pull");
}
