/* Frees the objects of a whole request in each of the 720 orders, twice each, while others still need them. */

#include "check.h"

enum { OBJECTS = 6 };

struct objects {
    struct chain chain;
    tenon_request *request;
    tenon_stream *stream;
    tenon_result *result;
};

static struct objects make(void) {
    struct objects all = {{NULL, NULL, NULL}, NULL, NULL, NULL};
    tenon_session *second = NULL;
    all.chain = chain_new();
    WANT(TENON_OK, tenon_session_new(all.chain.model, &second, &problem));
    all.request = words("one two", 0);
    WANT(TENON_OK, tenon_run(second, all.request, &all.result, &problem));
    tenon_session_free(second);
    WANT(TENON_OK, tenon_stream_start(all.chain.session, all.request, &all.stream, &problem));
    return all;
}

static void free_one(const struct objects *all, int which) {
    switch (which) {
    case 0: tenon_engine_free(all->chain.engine); break;
    case 1: tenon_model_free(all->chain.model); break;
    case 2: tenon_session_free(all->chain.session); break;
    case 3: tenon_stream_free(all->stream); break;
    case 4: tenon_result_free(all->result); break;
    default: tenon_request_free(all->request); break;
    }
}

/* What is still there works, whatever is gone. */
static void still_works(const struct objects *all, const int *freed) {
    tenon_session *session = NULL;
    if (!freed[4])
        CHECK(strcmp(tenon_result_text(all->result), "one two") == 0);
    if (!freed[3]) {
        tenon_event event = tenon_event_init();
        tenon_status status = tenon_stream_next(all->stream, -1, &event, NULL);
        CHECK(status == TENON_OK || status == TENON_E_END);
    }
    if (!freed[1]) {
        CHECK(strcmp(tenon_model_info(all->chain.model, "name"), "echo") == 0);
        WANT(TENON_OK, tenon_session_new(all->chain.model, &session, &problem));
        tenon_session_free(session);
    }
}

static void try_order(const int *order) {
    const struct objects all = make();
    int freed[OBJECTS] = {0};
    for (int at = 0; at < OBJECTS; at++) {
        free_one(&all, order[at]);
        free_one(&all, order[at]);
        freed[order[at]] = 1;
        still_works(&all, freed);
    }
}

static void permute(int *order, int from, int *left) {
    if (from == OBJECTS) {
        *left -= 1;
        try_order(order);
    }
    for (int at = from; at < OBJECTS && *left > 0; at++) {
        int other = order[from];
        order[from] = order[at], order[at] = other;
        permute(order, from + 1, left);
        other = order[from], order[from] = order[at], order[at] = other;
    }
}

int main(int count, char **arguments) {
    int order[OBJECTS] = {0, 1, 2, 3, 4, 5};
    /* The first argument says how many orders to try; all without. */
    int left = count > 1 ? atoi(arguments[1]) : 720;
    permute(order, 0, &left);
    CHECK(left == 0);
    return verdict("free_orders");
}
