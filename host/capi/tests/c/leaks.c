/* Two hundred lives of an engine leave nothing behind: no thread, no descriptor, no memory. */

#include <dirent.h>
#include <unistd.h>

#include "check.h"

/* Entries of a folder of /proc/self. */
static int entries(const char *folder) {
    DIR *opened = opendir(folder);
    int count = 0;
    if (opened == NULL)
        return -1;
    for (const struct dirent *entry = readdir(opened); entry != NULL; entry = readdir(opened))
        count += entry->d_name[0] != '.';
    closedir(opened);
    return count;
}

static long resident_kib(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &pages, &resident) == 2);
    if (file != NULL)
        fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int32_t goes_on(void *data, int32_t phase, float fraction) {
    (void)data, (void)phase, (void)fraction;
    return 0;
}

static void on_wakeup(void *data) { (void)data; }

static void stream(struct chain *all, int cycle) {
    tenon_request *request = cycle % 2 == 0 ? words("one two three", 0) : live();
    tenon_stream *stream = NULL;
    tenon_event event = tenon_event_init();
    tenon_result *result = NULL;
    int32_t descriptor = -1;
    static const int16_t sound[16000];
    WANT(TENON_OK, tenon_stream_start(all->session, request, &stream, &problem));
    WANT(TENON_OK, tenon_stream_descriptor(stream, &descriptor, &problem));
    WANT(TENON_OK, tenon_stream_set_wakeup(stream, on_wakeup, NULL, &problem));
    if (cycle % 2 == 1) {
        WANT(TENON_OK, tenon_stream_push_audio_i16(stream, sound, 16000, 16000, 1, &problem));
        WANT(TENON_OK, tenon_stream_finish_input(stream, &problem));
    }
    /* Every fourth is given up in the middle. */
    while (cycle % 4 != 3 && tenon_stream_next(stream, -1, &event, &problem) == TENON_OK)
        continue;
    if (cycle % 4 != 3)
        WANT(TENON_OK, tenon_stream_result(stream, &result, &problem));
    tenon_result_free(result);
    tenon_stream_free(stream);
    tenon_request_free(request);
}

static void live_once(int cycle) {
    struct chain all = {engine_new(), NULL, NULL};
    tenon_model *missing = NULL;
    tenon_table *table = NULL;
    tenon_result *result = NULL;
    tenon_error *error = NULL;
    tenon_request *request = words("a b c", 0);
    WANT(TENON_OK, tenon_engine_models(all.engine, &table, &problem));
    WANT(TENON_OK, tenon_model_load(all.engine, "echo", NULL, goes_on, NULL, &all.model, &problem));
    CHECK(tenon_model_load(all.engine, "missing", NULL, NULL, NULL, &missing, &error) == TENON_E_NOT_FOUND);
    WANT(TENON_OK, tenon_session_new(all.model, &all.session, &problem));
    WANT(TENON_OK, tenon_run(all.session, request, &result, &problem));
    CHECK(tenon_result_json(result) != NULL && tenon_result_info(result, "engine") != NULL);
    stream(&all, cycle);
    tenon_error_free(error);
    tenon_table_free(table);
    tenon_result_free(result);
    tenon_request_free(request);
    if (cycle % 3 == 0)
        WANT(TENON_OK, tenon_engine_shutdown(all.engine, -1, &problem));
    chain_free(&all);
}

int main(int count, char **arguments) {
    const int cycles = count > 1 ? atoi(arguments[1]) : 200;
    int descriptors = 0;
    long resident = 0;
    for (int cycle = 0; cycle < cycles; cycle++) {
        live_once(cycle);
        /* The first ones load the plugin, which stays, and fill the allocator's pools. */
        if (cycle == cycles / 4) {
            descriptors = entries("/proc/self/fd");
            resident = resident_kib();
        }
    }
    /* A thread that was joined may be listed for a moment more. */
    for (int tries = 0; tries < 1000 && entries("/proc/self/task") > 1; tries++)
        usleep(1000);
    CHECK(entries("/proc/self/task") == 1);
    CHECK(entries("/proc/self/fd") == descriptors);
    const long grown = resident_kib() - resident;
    if (grown > 2048)
        fprintf(stderr, "%ld KiB more than after a quarter of the cycles\n", grown);
    /* Few cycles are for valgrind, which counts memory itself and has its own idea of what is resident. */
    CHECK(grown <= 2048 || cycles < 100);
    return verdict("leaks");
}
