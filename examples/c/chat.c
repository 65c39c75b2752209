/*
 * A conversation on the terminal: each line that is read is said to the model, whose reply is printed as it is made.
 * Ends with the input.
 *
 *     chat intents-en
 *     chat qwen2.5-0.5b-instruct-q4_k_m "Answer in one sentence."
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon.h>

static tenon_error *error;

/* Ends the program when a call failed. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "chat: %s\n", tenon_error_message(error));
        exit(1);
    }
}

/* Prints the reply piece by piece. Gives the result, or NULL when the request failed, which a conversation survives. */
static tenon_result *reply(tenon_session *session, const tenon_request *conversation) {
    tenon_stream *stream;
    tenon_event event = tenon_event_init();
    tenon_result *result = NULL;
    tenon_status status;
    check(tenon_stream_start(session, conversation, &stream, &error));
    while ((status = tenon_stream_next(stream, -1, &event, &error)) == TENON_OK) {
        if (event.kind == TENON_EVENT_TEXT) {
            fputs(event.text, stdout);
            fflush(stdout);
        } else if (event.kind == TENON_EVENT_NOTE) {
            fprintf(stderr, "(%s)\n", event.text);
        }
    }
    putchar('\n');
    if (status == TENON_E_END) {
        check(tenon_stream_result(stream, &result, &error));
    } else {
        fprintf(stderr, "chat: %s\n", tenon_error_message(error));
        tenon_error_free(error);
    }
    tenon_stream_free(stream);
    return result;
}

/* A reply that was cut off is said to be so: it looks complete and is not. */
static void warn_when_cut(const tenon_result *result) {
    const char *finish = tenon_result_info(result, "finish");
    if (finish != NULL && strcmp(finish, "length") == 0)
        fprintf(stderr, "(the reply was cut off)\n");
}

/* Whether every reply came. */
static int converse(tenon_session *session, const char *system) {
    /* The request holds the whole conversation and grows by two messages with each turn; the session remembers what
     * it has read already, so only what is new is read each time. */
    tenon_request *conversation;
    static char line[65536];
    int good = 1;
    check(tenon_request_new("chat", &conversation, &error));
    if (system != NULL)
        check(tenon_request_add_text(conversation, "system", system, &error));
    while (fgets(line, sizeof line, stdin) != NULL) {
        tenon_result *result;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '\0')
            continue;
        check(tenon_request_add_text(conversation, "user", line, &error));
        result = reply(session, conversation);
        good = result != NULL;
        if (!good)
            break;
        warn_when_cut(result);
        check(tenon_request_add_text(conversation, "assistant", tenon_result_text(result), &error));
        tenon_result_free(result);
    }
    tenon_request_free(conversation);
    return good;
}

int main(int count, char **arguments) {
    tenon_engine *engine;
    tenon_model *model;
    tenon_session *session;
    int good;
    if (count < 2 || count > 3) {
        fprintf(stderr, "usage: chat MODEL [SYSTEM]\n");
        return 2;
    }
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_model_load(engine, arguments[1], NULL, NULL, NULL, &model, &error));
    check(tenon_session_new(model, &session, &error));
    good = converse(session, arguments[2]);
    tenon_session_free(session);
    tenon_model_free(model);
    tenon_engine_free(engine);
    return good ? 0 : 1;
}
