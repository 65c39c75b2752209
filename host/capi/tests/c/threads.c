/* Threads that get in each other's way: busy sessions and streams, and frees and cancels at any moment. */

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

static atomic_int oddities;

#define EXPECT(what) ((what) ? (void)0 : (void)(fprintf(stderr, "line %d: %s\n", __LINE__, #what), oddities++))

/* What one thread does to objects that another one uses too. */
struct work {
    struct chain chain;
    tenon_request *request;
    tenon_stream *stream;
    atomic_int at_work;
    tenon_status status;
};

static pthread_t go(void *(*body)(void *), struct work *work) {
    pthread_t thread;
    work->at_work = 0;
    CHECK(pthread_create(&thread, NULL, body, work) == 0);
    while (work->at_work == 0)
        usleep(100);
    return thread;
}

static tenon_status joined(pthread_t thread, const struct work *work) {
    CHECK(pthread_join(thread, NULL) == 0);
    return work->status;
}

static void *runs(void *data) {
    struct work *work = data;
    tenon_result *result = NULL;
    work->at_work = 1;
    /* Again where the other thread was in the session just then. */
    do
        work->status = tenon_run(work->chain.session, work->request, &result, NULL);
    while (work->status == TENON_E_BUSY);
    EXPECT((result != NULL) == (work->status == TENON_OK));
    tenon_result_free(result);
    return NULL;
}

/* Reads to the end; the texts of the events are not looked at, since the stream may be freed meanwhile. */
static void *reads(void *data) {
    struct work *work = data;
    tenon_event event = tenon_event_init();
    work->at_work = 1;
    do
        work->status = tenon_stream_next(work->stream, -1, &event, NULL);
    while (work->status == TENON_OK || work->status == TENON_E_BUSY);
    return NULL;
}

/* Pushes faster than the backend hears, so that it waits for room. */
static void *pushes(void *data) {
    static const int16_t second[16000];
    struct work *work = data;
    do {
        work->status = tenon_stream_push_audio_i16(work->stream, second, 16000, 16000, 1, NULL);
        work->at_work++;
    } while (work->status == TENON_OK);
    return NULL;
}

/* A call that finds the session or the stream in use; tries until the other thread has come so far. */
static void busy_session(struct work *work) {
    pthread_t thread = go(runs, work);
    tenon_result *result = NULL;
    tenon_stream *stream = NULL;
    tenon_status status;
    do {
        status = tenon_session_reset(work->chain.session, NULL);
        EXPECT(status == TENON_OK || status == TENON_E_BUSY);
    } while (status != TENON_E_BUSY);
    WANT(TENON_E_BUSY, tenon_run(work->chain.session, work->request, &result, &problem));
    WANT(TENON_E_BUSY, tenon_stream_start(work->chain.session, work->request, &stream, &problem));
    CHECK(result == NULL && stream == NULL);
    /* More than once: the first may come when the session is taken and its request has not begun. */
    do {
        WANT(TENON_OK, tenon_session_cancel(work->chain.session, &problem));
        usleep(1000);
    } while (pthread_tryjoin_np(thread, NULL) != 0);
    CHECK(work->status == TENON_E_CANCELLED);
}

static void busy_stream(struct work *work) {
    WANT(TENON_OK, tenon_stream_start(work->chain.session, work->request, &work->stream, &problem));
    pthread_t thread = go(reads, work);
    tenon_event event = tenon_event_init();
    tenon_status status;
    do {
        status = tenon_stream_next(work->stream, 0, &event, NULL);
        EXPECT(status == TENON_OK || status == TENON_E_TIMEOUT || status == TENON_E_BUSY);
    } while (status != TENON_E_BUSY);
    /* A session with a stream is in use too, whoever asks. */
    tenon_result *result = NULL;
    WANT(TENON_E_BUSY, tenon_run(work->chain.session, work->request, &result, &problem));
    WANT(TENON_E_BUSY, tenon_session_reset(work->chain.session, &problem));
    WANT(TENON_E_BUSY, tenon_stream_result(work->stream, &result, &problem));
    WANT(TENON_OK, tenon_stream_cancel(work->stream, &problem));
    WANT(TENON_OK, tenon_stream_cancel(work->stream, &problem));
    CHECK(joined(thread, work) == TENON_E_CANCELLED);
    WANT(TENON_E_CANCELLED, tenon_stream_result(work->stream, &result, &problem));
    tenon_stream_free(work->stream);
}

/* Each is freed under the hands of the thread that uses it, at ever later moments. */
static void frees_meanwhile(struct work *work, int rounds) {
    for (int round = 0; round < rounds; round++) {
        tenon_session *session = NULL;
        struct work mine = {work->chain, work->request, NULL, 0, TENON_E_INTERNAL};
        WANT(TENON_OK, tenon_session_new(work->chain.model, &session, &problem));
        mine.chain.session = session;
        pthread_t thread = go(runs, &mine);
        usleep(round * 50);
        tenon_session_free(session);
        tenon_status status = joined(thread, &mine);
        CHECK(status == TENON_E_CANCELLED || status == TENON_E_STALE_HANDLE);

        WANT(TENON_OK, tenon_stream_start(work->chain.session, work->request, &mine.stream, &problem));
        thread = go(reads, &mine);
        usleep(round * 50);
        tenon_stream_free(mine.stream);
        /* The backend has ended, also where the other thread is still on its way out. */
        WANT(TENON_OK, tenon_session_reset(work->chain.session, &problem));
        status = joined(thread, &mine);
        CHECK(status == TENON_E_CANCELLED || status == TENON_E_STALE_HANDLE);
    }
}

static void frees_while_pushing(struct work *work, int rounds) {
    tenon_request *request = live();
    tenon_options *options = NULL;
    WANT(TENON_OK, tenon_options_new(&options, &problem));
    WANT(TENON_OK, tenon_options_set_integer(options, "delay_ms", 60000, &problem));
    WANT(TENON_OK, tenon_request_set_options(request, options, &problem));
    for (int round = 0; round < rounds; round++) {
        struct work mine = {work->chain, request, NULL, 0, TENON_E_INTERNAL};
        WANT(TENON_OK, tenon_stream_start(work->chain.session, request, &mine.stream, &problem));
        pthread_t thread = go(pushes, &mine);
        /* In the later rounds the buffer of 30 seconds is full and the pushing thread waits. */
        while (round > rounds / 2 && mine.at_work < 30)
            usleep(100);
        usleep(round * 50);
        tenon_stream_free(mine.stream);
        tenon_status status = joined(thread, &mine);
        CHECK(status == TENON_E_CANCELLED || status == TENON_E_STALE_HANDLE || status == TENON_E_END);
    }
    tenon_options_free(options);
    tenon_request_free(request);
}

/* The end is the request's own or the cancel's, never another one, and the session is as good as before. */
static void cancels_at_any_moment(struct work *work, int rounds) {
    tenon_request *brief = words("one two three four", 1);
    for (int round = 0; round < rounds; round++) {
        struct work mine = {work->chain, brief, NULL, 0, TENON_E_INTERNAL};
        WANT(TENON_OK, tenon_stream_start(work->chain.session, brief, &mine.stream, &problem));
        if (round % 8 == 0)
            WANT(TENON_OK, tenon_stream_cancel(mine.stream, &problem));
        pthread_t thread = go(reads, &mine);
        usleep(round * 7919 % 7000);
        WANT(TENON_OK, tenon_stream_cancel(mine.stream, &problem));
        tenon_status status = joined(thread, &mine);
        CHECK(status == TENON_E_CANCELLED || status == TENON_E_END);
        tenon_result *result = NULL;
        CHECK(tenon_stream_result(mine.stream, &result, NULL) == (status == TENON_E_END ? TENON_OK : status));
        tenon_result_free(result);
        tenon_stream_free(mine.stream);
    }
    tenon_request_free(brief);
}

/* What is const may be asked by all at once. */
static void *asks(void *data) {
    struct work *work = data;
    work->at_work = 1;
    for (int time = 0; time < 200; time++) {
        tenon_result *result = NULL;
        EXPECT(tenon_stream_result(work->stream, &result, NULL) == TENON_OK);
        EXPECT(strcmp(tenon_result_text(result), "one two") == 0);
        EXPECT(strcmp(tenon_result_info(result, "task"), "generate") == 0);
        EXPECT(strcmp(tenon_model_info(work->chain.model, "name"), "echo") == 0);
        tenon_result_free(result);
    }
    return NULL;
}

static void all_ask_at_once(struct work *work) {
    enum { THREADS = 4 };
    struct work each[THREADS];
    pthread_t threads[THREADS];
    tenon_request *brief = words("one two", 0);
    struct work first = {work->chain, brief, NULL, 0, TENON_E_INTERNAL};
    WANT(TENON_OK, tenon_stream_start(work->chain.session, brief, &first.stream, &problem));
    CHECK(joined(go(reads, &first), &first) == TENON_E_END);
    for (int at = 0; at < THREADS; at++) {
        each[at] = (struct work){first.chain, NULL, first.stream, 0, TENON_OK};
        threads[at] = go(asks, &each[at]);
    }
    for (int at = 0; at < THREADS; at++)
        (void)joined(threads[at], &each[at]);
    tenon_stream_free(first.stream);
    tenon_request_free(brief);
}

int main(int count, char **arguments) {
    const int rounds = count > 1 ? atoi(arguments[1]) : 40;
    struct work work = {chain_new(), words(many_words(), 5), NULL, 0, TENON_E_INTERNAL};
    busy_session(&work);
    busy_stream(&work);
    frees_meanwhile(&work, rounds);
    frees_while_pushing(&work, rounds);
    cancels_at_any_moment(&work, rounds);
    all_ask_at_once(&work);
    tenon_request_free(work.request);
    WANT(TENON_OK, tenon_engine_shutdown(work.chain.engine, -1, &problem));
    chain_free(&work.chain);
    CHECK(oddities == 0);
    return verdict("threads");
}
