/*
 * Gets a model that is not here yet, shows how far it is, and loads it.
 *
 *     pull whisper-base [--accept-license]
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon.h>

static tenon_error *error;

/* Ends the program when a call failed. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "pull: %s\n", tenon_error_message(error));
        exit(1);
    }
}

/* Called some ten times a second, also while nothing comes. Anything but 0 would cancel. */
static int32_t show(void *data, int32_t phase, float fraction) {
    int *shown = data, percent = (int)(fraction * 100);
    if (phase == TENON_PHASE_PULL && percent != *shown)
        fprintf(stderr, "pulling %d%%\n", *shown = percent);
    return 0;
}

int main(int argc, char **argv) {
    tenon_pull_options options = tenon_pull_options_init();
    tenon_engine *engine;
    tenon_model *model;
    int shown = -1;
    if (argc < 2) {
        fprintf(stderr, "usage: pull MODEL [--accept-license]\n");
        return 2;
    }
    if (argc > 2 && strcmp(argv[2], "--accept-license") == 0)
        options.flags |= TENON_PULL_ACCEPT_LICENSE;
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_engine_pull(engine, argv[1], &options, show, &shown, &error));
    check(tenon_model_load(engine, argv[1], NULL, NULL, NULL, &model, &error));
    printf("%s is here: %s, %s bytes\n", argv[1], tenon_model_info(model, "license"), tenon_model_info(model, "size"));
    tenon_model_free(model);
    tenon_engine_free(engine);
    return 0;
}
