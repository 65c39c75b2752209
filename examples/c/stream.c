/*
 * Prints segments and progress of a recording as they come. Ctrl-C ends the request and not the program, so what was
 * heard so far stays.
 *
 *     stream commands-en order.wav
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <tenon.h>

static tenon_error *error;
static volatile sig_atomic_t interrupted;

/* Ends the program when a call failed. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "stream: %s\n", tenon_error_message(error));
        exit(1);
    }
}

static void interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

static void print(const tenon_event *event) {
    const double start = (double)event->start_us / 1e6, end = (double)event->end_us / 1e6;
    switch (event->kind) {
    case TENON_EVENT_SEGMENT: printf("[%.2f - %.2f]%s\n", start, end, event->text); break;
    case TENON_EVENT_LANGUAGE: printf("language %s\n", event->text); break;
    case TENON_EVENT_PROGRESS: fprintf(stderr, "%3.0f %%\n", (double)event->fraction * 100); break;
    case TENON_EVENT_NOTE: fprintf(stderr, "note: %s\n", event->text); break;
    default: break; /* Later versions may send other kinds. */
    }
}

/* Reads to the end. A signal handler may call nothing of Tenon, so the loop looks at its flag ten times a second. */
static tenon_status read_all(tenon_stream *stream) {
    tenon_event event = tenon_event_init();
    tenon_status status;
    for (;;) {
        status = tenon_stream_next(stream, 100000, &event, &error);
        if (status == TENON_OK)
            print(&event);
        else if (status != TENON_E_TIMEOUT)
            return status;
        if (interrupted)
            check(tenon_stream_cancel(stream, &error));
    }
}

static int stream_file(tenon_session *session, const char *path) {
    tenon_request *request;
    tenon_stream *stream;
    tenon_result *result;
    tenon_run_usage usage = tenon_run_usage_init();
    tenon_status status;
    check(tenon_request_new("transcribe", &request, &error));
    check(tenon_request_add_audio_file(request, path, &error));
    check(tenon_stream_start(session, request, &stream, &error));
    tenon_request_free(request);
    status = read_all(stream);
    if (status == TENON_E_CANCELLED) {
        fprintf(stderr, "stopped\n");
        tenon_error_free(error);
        tenon_stream_free(stream);
        return 130;
    }
    if (status != TENON_E_END)
        check(status);
    check(tenon_stream_result(stream, &result, &error));
    check(tenon_result_usage(result, &usage, &error));
    fprintf(stderr, "%.1f s of audio in %.2f s\n", (double)usage.audio_us / 1e6, (double)usage.total_us / 1e6);
    tenon_result_free(result);
    tenon_stream_free(stream);
    return 0;
}

int main(int count, char **arguments) {
    tenon_engine *engine;
    tenon_model *model;
    tenon_session *session;
    int status;
    if (count != 3) {
        fprintf(stderr, "usage: stream MODEL AUDIO\n");
        return 2;
    }
    signal(SIGINT, interrupt);
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_model_load(engine, arguments[1], NULL, NULL, NULL, &model, &error));
    check(tenon_session_new(model, &session, &error));
    status = stream_file(session, arguments[2]);
    tenon_session_free(session);
    tenon_model_free(model);
    tenon_engine_free(engine);
    return status;
}
