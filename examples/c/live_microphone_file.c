/*
 * Live audio: one thread pushes sound as a microphone gives it, in pieces of 20 ms, while another one reads what is
 * heard. The microphone is a wav file of 16-bit samples, played in real time; with IN_HASTE set, without pauses.
 *
 *     live_microphone_file commands-en order.wav
 */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tenon.h>

struct microphone {
    FILE *file;
    uint32_t rate, channels;
    int in_haste;
    tenon_stream *stream;
};

/* The main thread's: an error belongs to the thread that made the call. */
static tenon_error *error;

/* Ends the program when a call failed. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "live_microphone_file: %s\n", tenon_error_message(error));
        exit(1);
    }
}

static uint32_t number(const unsigned char *bytes, int size) {
    uint32_t value = 0;
    while (size-- > 0)
        value = value << 8 | bytes[size];
    return value;
}

/* Finds rate, channels and the first sample. Whether that worked. */
static int open_microphone(struct microphone *microphone, const char *path) {
    unsigned char head[8], format[16] = {0};
    microphone->file = fopen(path, "rb");
    if (microphone->file == NULL || fseek(microphone->file, 12, SEEK_SET) != 0)
        return 0;
    while (fread(head, 1, 8, microphone->file) == 8 && memcmp(head, "data", 4) != 0) {
        long rest = (long)number(head + 4, 4);
        if (memcmp(head, "fmt ", 4) == 0 && fread(format, 1, 16, microphone->file) == 16)
            rest -= 16;
        if (fseek(microphone->file, rest + rest % 2, SEEK_CUR) != 0)
            return 0;
    }
    microphone->channels = number(format + 2, 2), microphone->rate = number(format + 4, 4);
    /* 1 is plain samples. */
    return number(format, 2) == 1 && number(format + 14, 2) == 16 && microphone->rate >= 50 && microphone->channels > 0;
}

static void *record(void *data) {
    static int16_t piece[1 << 16];
    const struct timespec pause = {0, 20000000};
    struct microphone *microphone = data;
    const size_t frame = microphone->channels * sizeof(int16_t), most = sizeof piece / frame;
    const size_t wanted = microphone->rate / 50 < most ? microphone->rate / 50 : most;
    tenon_status status = TENON_OK;
    size_t frames;
    /* An error here means that the request has ended before the sound has; the reader hears why. */
    while (status == TENON_OK && (frames = fread(piece, frame, wanted, microphone->file)) > 0) {
        status = tenon_stream_push_audio_i16(microphone->stream, piece, frames, microphone->rate,
                                             microphone->channels, NULL);
        if (!microphone->in_haste)
            nanosleep(&pause, NULL);
    }
    (void)tenon_stream_finish_input(microphone->stream, NULL);
    return NULL;
}

static void listen_to(struct microphone *microphone) {
    tenon_event event = tenon_event_init();
    pthread_t recorder;
    tenon_status status;
    if (pthread_create(&recorder, NULL, record, microphone) != 0)
        exit(1);
    while ((status = tenon_stream_next(microphone->stream, -1, &event, &error)) == TENON_OK)
        if (event.kind == TENON_EVENT_SEGMENT)
            printf("[%.2f - %.2f]%s\n", (double)event.start_us / 1e6, (double)event.end_us / 1e6, event.text);
    pthread_join(recorder, NULL);
    if (status != TENON_E_END)
        check(status);
}

int main(int count, char **arguments) {
    struct microphone microphone = {NULL, 0, 0, getenv("IN_HASTE") != NULL, NULL};
    tenon_engine *engine;
    tenon_model *model;
    tenon_session *session;
    tenon_request *request;
    if (count != 3 || !open_microphone(&microphone, arguments[2])) {
        fprintf(stderr, "usage: live_microphone_file MODEL WAV (of 16-bit samples)\n");
        return 2;
    }
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_model_load(engine, arguments[1], NULL, NULL, NULL, &model, &error));
    check(tenon_session_new(model, &session, &error));
    check(tenon_request_new("transcribe", &request, &error));
    check(tenon_request_add_live_audio(request, &error));
    check(tenon_stream_start(session, request, &microphone.stream, &error));
    listen_to(&microphone);
    tenon_stream_free(microphone.stream);
    tenon_request_free(request);
    tenon_session_free(session);
    tenon_model_free(model);
    tenon_engine_free(engine);
    return fclose(microphone.file);
}
