/* A child of a fork is refused at every door and can end or call exec; one forked before the first use is free. */

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static int exit_status(pid_t child) {
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* In the child: each call says what to do instead, and frees do nothing. */
static int refused(struct chain *all, const tenon_request *request, tenon_stream *stream) {
    tenon_engine *engine = (tenon_engine *)&failures;
    tenon_result *result = (tenon_result *)&failures;
    WANT(TENON_E_UNSUPPORTED, tenon_engine_new(NULL, &engine, &problem));
    WANT(TENON_E_UNSUPPORTED, tenon_run(all->session, request, &result, &problem));
    CHECK(engine == NULL && result == NULL);
    tenon_error *error = NULL;
    CHECK(tenon_session_reset(all->session, &error) == TENON_E_UNSUPPORTED);
    CHECK(strstr(tenon_error_message(error), "exec") != NULL);
    CHECK(tenon_error_detail(error, "file") == NULL);
    tenon_error_free(error);
    tenon_event event = tenon_event_init();
    WANT(TENON_E_UNSUPPORTED, tenon_stream_next(stream, -1, &event, &problem));
    WANT(TENON_E_UNSUPPORTED, tenon_stream_cancel(stream, &problem));
    WANT(TENON_E_UNSUPPORTED, tenon_session_cancel(all->session, &problem));
    WANT(TENON_E_UNSUPPORTED, tenon_engine_shutdown(all->engine, -1, &problem));
    WANT(TENON_E_UNSUPPORTED, tenon_session_reset(all->session, &problem));
    CHECK(tenon_model_info(all->model, "name") == NULL && tenon_stream_is_ready(stream) == 0);
    CHECK(strcmp(tenon_version_string(), TENON_VERSION_STRING) == 0);
    tenon_stream_free(stream);
    chain_free(all);
    return failures == 0 ? 0 : 1;
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "after-exec") == 0) {
        struct chain all = chain_new();
        chain_free(&all);
        return failures;
    }
    pid_t early = fork();
    if (early == 0) {
        struct chain own = chain_new();
        chain_free(&own);
        exit(failures);
    }
    struct chain all = chain_new();
    tenon_request *request = words(many_words(), 5);
    tenon_stream *stream = NULL;
    WANT(TENON_OK, tenon_stream_start(all.session, request, &stream, &problem));
    pid_t child = fork();
    if (child == 0)
        exit(refused(&all, request, stream)); /* exit, not _exit: what runs at exit must not hang either. */
    pid_t second = fork();
    if (second == 0) {
        execl("/proc/self/exe", arguments[0], "after-exec", (char *)NULL);
        _exit(99);
    }
    CHECK(exit_status(early) == 0);
    CHECK(exit_status(child) == 0);
    CHECK(exit_status(second) == 0);
    /* The parent has noticed nothing. */
    tenon_event event = tenon_event_init();
    WANT(TENON_OK, tenon_stream_next(stream, -1, &event, &problem));
    CHECK(strcmp(tenon_model_info(all.model, "name"), "echo") == 0);
    tenon_stream_free(stream);
    tenon_request_free(request);
    chain_free(&all);
    return verdict("fork");
}
