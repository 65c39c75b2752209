/*
 * Prints what is said in recordings, with times:
 *
 *     transcribe commands-en order.wav
 *     [0.00 - 1.62] turn the basement lamps off
 */

#include <stdio.h>
#include <stdlib.h>

#include <tenon.h>

static tenon_error *error;

/* Ends the program when a call failed. Everything is freed by the system then. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "transcribe: %s\n", tenon_error_message(error));
        exit(1);
    }
}

static void print_segments(const tenon_result *result) {
    size_t index;
    for (index = 0; index < tenon_result_segment_count(result); index++) {
        tenon_timed_segment segment = tenon_timed_segment_init();
        const char *text;
        check(tenon_result_segment(result, index, &segment, &error));
        /* Models write a space before the first word. */
        text = segment.text[0] == ' ' ? segment.text + 1 : segment.text;
        printf("[%.2f - %.2f] %s\n", (double)segment.start_us / 1e6, (double)segment.end_us / 1e6, text);
    }
}

/* What was lost of a damaged file stands in no segment, so it is told. */
static void print_notes(const tenon_result *result, const char *path) {
    tenon_table *notes;
    size_t row;
    check(tenon_result_notes(result, &notes, &error));
    for (row = 0; row < tenon_table_rows(notes); row++)
        fprintf(stderr, "%s: %s\n", path, tenon_table_get(notes, row, "message"));
    tenon_table_free(notes);
}

static void transcribe(tenon_session *session, const char *path) {
    tenon_request *request;
    tenon_result *result;
    check(tenon_request_new("transcribe", &request, &error));
    check(tenon_request_add_audio_file(request, path, &error));
    check(tenon_run(session, request, &result, &error));
    print_segments(result);
    print_notes(result, path);
    tenon_result_free(result);
    tenon_request_free(request);
}

int main(int count, char **arguments) {
    tenon_engine *engine;
    tenon_model *model;
    tenon_session *session;
    int index;
    if (count < 3) {
        fprintf(stderr, "usage: transcribe MODEL AUDIO...\n");
        return 2;
    }
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_model_load(engine, arguments[1], NULL, NULL, NULL, &model, &error));
    check(tenon_session_new(model, &session, &error));
    for (index = 2; index < count; index++)
        transcribe(session, arguments[index]);
    tenon_session_free(session);
    tenon_model_free(model);
    tenon_engine_free(engine);
    return 0;
}
