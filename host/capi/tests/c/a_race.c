/* A race of the program's own, which ThreadSanitizer must find although it overlooks the library's insides. */

#include <unistd.h>

#include "check.h"

static int woken;

static void on_wakeup(void *data) {
    (void)data;
    woken++;
}

int main(void) {
    struct chain all = chain_new();
    tenon_request *request = words(many_words(), 1);
    tenon_stream *stream = NULL;
    WANT(TENON_OK, tenon_stream_start(all.session, request, &stream, &problem));
    WANT(TENON_OK, tenon_stream_set_wakeup(stream, on_wakeup, NULL, &problem));
    for (int look = 0; look < 20; look++, woken++)
        usleep(1000);
    tenon_stream_free(stream);
    tenon_request_free(request);
    chain_free(&all);
    return verdict("a_race");
}
