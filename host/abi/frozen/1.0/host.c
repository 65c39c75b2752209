/* A host as it was written for version 1.0: opens a plugin, asks `generate` once, prints what comes. Frozen. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon_plugin.h"

struct tenon_call { int described; };

static int32_t log_level(void) { return 0; }
static void log_nothing(int32_t level, tenon_str target, tenon_str message) { (void)level, (void)target, (void)message; }
static tenon_status fail(tenon_call *call, tenon_status status, tenon_str message) {
    (void)call;
    fprintf(stderr, "%.*s\n", (int)message.len, message.ptr);
    return status;
}
static int32_t cancelled(const tenon_call *call) { (void)call; return 0; }
static void progress(tenon_call *call, float fraction) { (void)call, (void)fraction; }
static tenon_status pull(tenon_call *call, int64_t timeout_us, tenon_item *out) {
    (void)call, (void)timeout_us, (void)out;
    return TENON_E_END;
}
static tenon_status emit(tenon_call *call, const tenon_item *item) {
    if (item->kind == TENON_KIND_TEXT) {
        const tenon_text *text = item->data;
        fwrite(text->text.ptr, 1, text->text.len, stdout);
    } else if (item->kind == TENON_KIND_DOCUMENT) {
        const tenon_document *document = item->data;
        call->described += document->name.len == 7 && memcmp(document->name.ptr, "backend", 7) == 0;
    }
    return TENON_OK;
}

/* Options are always absent here. */
static tenon_status no_string(tenon_call *c, tenon_str d, tenon_str k, tenon_str *out) {
    (void)c, (void)d, (void)k, (void)out;
    return TENON_E_NOT_FOUND;
}
static tenon_status no_number(tenon_call *c, tenon_str d, tenon_str k, double *out) {
    (void)c, (void)d, (void)k, (void)out;
    return TENON_E_NOT_FOUND;
}
static tenon_status no_integer(tenon_call *c, tenon_str d, tenon_str k, int64_t *out) {
    (void)c, (void)d, (void)k, (void)out;
    return TENON_E_NOT_FOUND;
}
static tenon_status no_bool(tenon_call *c, tenon_str d, tenon_str k, int32_t *out) {
    (void)c, (void)d, (void)k, (void)out;
    return TENON_E_NOT_FOUND;
}
static const void *get_interface(const char *id) {
    static const tenon_host_options_v1 options = {sizeof options, 0, no_string, no_number, no_integer, no_bool};
    return strcmp(id, TENON_HOST_OPTIONS_INTERFACE) == 0 ? &options : NULL;
}

static void need(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

int main(int argc, char **argv) {
    static const tenon_host_v1 host = {sizeof host, TENON_ABI_MAJOR, TENON_ABI_MINOR, log_level, log_nothing, fail,
                                       cancelled, progress, emit, pull, get_interface};
    const tenon_text prompt = {{"prompt", 6}, {"one two", 7}};
    const tenon_item item = {TENON_KIND_TEXT, sizeof prompt, &prompt};
    const tenon_str nothing = {"{}", 2}, task = {"generate", 8};
    const tenon_plugin_v1 *plugin = NULL;
    const tenon_backend_v1 *backend;
    tenon_plugin_entry entry;
    tenon_call call = {0};
    tenon_bmodel *model = NULL;
    tenon_bsession *session = NULL;
    void *library, *symbol;

    need(argc == 2, "usage: host PLUGIN");
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    need(library != NULL, "dlopen");
    symbol = dlsym(library, TENON_PLUGIN_ENTRY_SYMBOL);
    need(symbol != NULL, "dlsym");
    memcpy(&entry, &symbol, sizeof entry);
    need(entry(&host, &plugin) == TENON_OK && plugin->struct_size == sizeof *plugin, "entry");
    backend = plugin->get_interface(TENON_BACKEND_INTERFACE);
    need(backend != NULL && backend->struct_size == sizeof *backend, "backend");
    need(backend->describe(&call) == TENON_OK && call.described == 1, "describe");
    need(backend->model_open(&call, NULL, 0, nothing, &model) == TENON_OK, "model_open");
    need(backend->session_open(&call, model, nothing, &session) == TENON_OK, "session_open");
    need(backend->run(&call, session, task, &item, 1, nothing) == TENON_OK, "run");
    need(backend->session_reset(&call, session) == TENON_OK, "session_reset");
    backend->session_close(session);
    backend->model_close(model);
    plugin->shutdown();
    return 0;
}
