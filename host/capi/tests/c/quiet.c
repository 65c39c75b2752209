/*
 * The library leaves the process as it is: signal handlers and mask, locale, environment, working directory, umask.
 * With the argument "closed" it does so without the three standard descriptors, and keeps nothing open in their place
 * that a printf could write to. The program writes nothing itself, so that the test sees whether anybody else does;
 * what is wrong is the exit status.
 */

#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

extern char **environ;

struct state {
    struct sigaction signals[64];
    sigset_t mask;
    stack_t stack;
    char locale[256];
    char folder[4096];
    char environment[1 << 16];
    mode_t umask;
};

static void look(struct state *state) {
    memset(state, 0, sizeof *state);
    for (int signal = 1; signal < 64; signal++)
        (void)sigaction(signal, NULL, &state->signals[signal]);
    pthread_sigmask(SIG_SETMASK, NULL, &state->mask);
    sigaltstack(NULL, &state->stack);
    snprintf(state->locale, sizeof state->locale, "%s", setlocale(LC_ALL, NULL));
    if (getcwd(state->folder, sizeof state->folder) == NULL)
        _exit(3);
    size_t used = 0;
    for (char **one = environ; *one != NULL && used < sizeof state->environment; one++)
        used += (size_t)snprintf(state->environment + used, sizeof state->environment - used, "%p %s\n",
                                 (void *)*one, *one);
    state->umask = umask(0);
    umask(state->umask);
}

static int same(const struct state *before, const struct state *after) {
    for (int signal = 1; signal < 64; signal++)
        if (before->signals[signal].sa_handler != after->signals[signal].sa_handler
            || before->signals[signal].sa_flags != after->signals[signal].sa_flags)
            return 10;
    if (memcmp(&before->mask, &after->mask, sizeof before->mask) != 0)
        return 11;
    if (before->stack.ss_sp != after->stack.ss_sp || before->stack.ss_flags != after->stack.ss_flags)
        return 12;
    if (strcmp(before->locale, after->locale) != 0)
        return 13;
    if (strcmp(before->folder, after->folder) != 0 || before->umask != after->umask)
        return 14;
    return strcmp(before->environment, after->environment) == 0 ? 0 : 15;
}

/* A whole life, with everything that goes wrong in it as well. */
static int use(void) {
    struct chain all = {engine_new(), NULL, NULL};
    tenon_model *missing = NULL;
    tenon_request *request = words("one two", 0), *wrong = words("one", -1);
    tenon_result *result = NULL;
    int well = tenon_model_load(all.engine, "echo", NULL, NULL, NULL, &all.model, NULL) == TENON_OK;
    well &= tenon_session_new(all.model, &all.session, NULL) == TENON_OK;
    well &= tenon_run(all.session, request, &result, NULL) == TENON_OK;
    well &= strcmp(tenon_result_text(result), "one two") == 0;
    tenon_result_free(result);
    well &= tenon_run(all.session, wrong, &result, NULL) == TENON_E_OPTIONS;
    well &= tenon_model_load(all.engine, "missing", NULL, NULL, NULL, &missing, NULL) == TENON_E_NOT_FOUND;
    well &= tenon_session_reset((tenon_session *)(void *)request, NULL) == TENON_E_STALE_HANDLE;
    tenon_request_free(request);
    tenon_request_free(wrong);
    chain_free(&all);
    return well && failures == 0;
}

int main(int count, char **arguments) {
    static struct state before, after;
    const int closed = count > 1 && strcmp(arguments[1], "closed") == 0;
    (void)setlocale(LC_ALL, "C.UTF-8");
    if (closed)
        for (int descriptor = 0; descriptor < 3; descriptor++)
            close(descriptor);
    look(&before);
    if (!use())
        return 2;
    look(&after);
    if (closed)
        for (int descriptor = 0; descriptor < 3; descriptor++) {
            /* The file of a loaded plugin stays open, for reading. */
            const int flags = fcntl(descriptor, F_GETFL);
            if (flags != -1 && (flags & O_ACCMODE) != O_RDONLY)
                return 4;
        }
    return same(&before, &after);
}
