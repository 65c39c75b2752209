/*
 * Several streams in one thread: a poll() loop over their descriptors, as it stands in the middle of a server or of a
 * program with windows. Nothing here waits for a model.
 *
 *     event_loop commands-en order.wav other.wav
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <tenon.h>

enum { MOST = 16 };

static tenon_error *error;

/* Ends the program when a call failed. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "event_loop: %s\n", tenon_error_message(error));
        exit(1);
    }
}

/* One session for each stream: a session runs one request at a time. */
static tenon_stream *start(const tenon_model *model, const char *path, struct pollfd *watched) {
    tenon_session *session;
    tenon_request *request;
    tenon_stream *stream;
    check(tenon_session_new(model, &session, &error));
    check(tenon_request_new("transcribe", &request, &error));
    check(tenon_request_add_audio_file(request, path, &error));
    check(tenon_stream_start(session, request, &stream, &error));
    check(tenon_stream_descriptor(stream, &watched->fd, &error));
    watched->events = POLLIN;
    tenon_request_free(request);
    /* The stream keeps its session alive. */
    tenon_session_free(session);
    return stream;
}

/* Reads what is there now. Whether the stream goes on; otherwise `failed` counts those that failed. */
static int read_ready(tenon_stream *stream, const char *path, int *failed) {
    tenon_event event = tenon_event_init();
    tenon_status status;
    while ((status = tenon_stream_next(stream, 0, &event, &error)) == TENON_OK)
        if (event.kind == TENON_EVENT_SEGMENT)
            printf("%s:%s\n", path, event.text);
    if (status == TENON_E_TIMEOUT)
        return 1;
    if (status != TENON_E_END) {
        fprintf(stderr, "%s: %s\n", path, tenon_error_message(error));
        tenon_error_free(error);
        *failed += 1;
    }
    return 0;
}

static int run(const tenon_model *model, char **paths, int count) {
    struct pollfd watched[MOST];
    tenon_stream *streams[MOST];
    int index, going = count, failed = 0;
    for (index = 0; index < count; index++)
        streams[index] = start(model, paths[index], &watched[index]);
    while (going > 0) {
        if (poll(watched, (nfds_t)count, -1) < 0)
            return 1;
        for (index = 0; index < count; index++) {
            if (watched[index].revents == 0 || read_ready(streams[index], paths[index], &failed))
                continue;
            /* poll() passes over negative descriptors; this one is closed with its stream. */
            watched[index].fd = -1;
            tenon_stream_free(streams[index]);
            going--;
        }
    }
    return failed == 0 ? 0 : 1;
}

int main(int count, char **arguments) {
    tenon_engine *engine;
    tenon_model *model;
    int status;
    if (count < 3 || count - 2 > MOST) {
        fprintf(stderr, "usage: event_loop MODEL AUDIO... (at most %d)\n", MOST);
        return 2;
    }
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_model_load(engine, arguments[1], NULL, NULL, NULL, &model, &error));
    status = run(model, arguments + 2, count - 2);
    tenon_model_free(model);
    tenon_engine_free(engine);
    return status;
}
