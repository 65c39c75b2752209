/*
 * One model, many threads: the weights are loaded once, each thread has a session of its own, and all get the same
 * text. Tenon shares the processors out between the requests, so there may be more threads than processors.
 *
 *     many_threads commands-en order.wav 8
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon.h>

enum { MOST = 64 };

/* What one thread works on, and what came out. */
struct worker {
    pthread_t thread;
    const tenon_model *model;
    const tenon_request *request;
    tenon_result *result;
    tenon_error *error;
};

static tenon_error *error;

/* Ends the program when a call of the main thread failed. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "many_threads: %s\n", tenon_error_message(error));
        exit(1);
    }
}

/* Model and request are shared: what a function takes as const may be used by all threads at once. */
static void *work(void *data) {
    struct worker *worker = data;
    tenon_session *session;
    if (tenon_session_new(worker->model, &session, &worker->error) == TENON_OK)
        (void)tenon_run(session, worker->request, &worker->result, &worker->error);
    tenon_session_free(session);
    return NULL;
}

/* How many texts are not that of the first thread, requests that failed included. */
static int compare(struct worker *workers, int count) {
    int index, others = 0;
    for (index = 0; index < count; index++) {
        const char *first = tenon_result_text(workers[0].result), *text = tenon_result_text(workers[index].result);
        if (text == NULL)
            fprintf(stderr, "thread %d: %s\n", index, tenon_error_message(workers[index].error));
        others += first == NULL || text == NULL || strcmp(first, text) != 0;
    }
    return others;
}

static int run_all(struct worker *workers, int count) {
    int index, others;
    for (index = 0; index < count; index++)
        if (pthread_create(&workers[index].thread, NULL, work, &workers[index]) != 0)
            exit(1);
    for (index = 0; index < count; index++)
        pthread_join(workers[index].thread, NULL);
    others = compare(workers, count);
    if (others == 0)
        printf("%d threads heard:%s\n", count, tenon_result_text(workers[0].result));
    else
        fprintf(stderr, "%d of %d threads heard something else\n", others, count);
    for (index = 0; index < count; index++) {
        tenon_result_free(workers[index].result);
        tenon_error_free(workers[index].error);
    }
    return others == 0 ? 0 : 1;
}

int main(int count, char **arguments) {
    static struct worker workers[MOST];
    const int threads = count == 4 ? atoi(arguments[3]) : 0;
    tenon_engine *engine;
    tenon_model *model;
    tenon_request *request;
    int index, status;
    if (threads < 1 || threads > MOST) {
        fprintf(stderr, "usage: many_threads MODEL AUDIO N (1 to %d)\n", MOST);
        return 2;
    }
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_model_load(engine, arguments[1], NULL, NULL, NULL, &model, &error));
    check(tenon_request_new("transcribe", &request, &error));
    check(tenon_request_add_audio_file(request, arguments[2], &error));
    for (index = 0; index < threads; index++) {
        workers[index].model = model;
        workers[index].request = request;
    }
    status = run_all(workers, threads);
    tenon_request_free(request);
    tenon_model_free(model);
    tenon_engine_free(engine);
    return status;
}
