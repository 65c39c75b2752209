/* A backend in C99 as it was written for version 1.0 of the contract. Frozen. */

#include <stdlib.h>
#include <string.h>

#include "tenon_plugin.h"

#define STR(literal) ((tenon_str){literal, sizeof(literal) - 1})

static const tenon_host_v1 *host;
static const tenon_host_options_v1 *options;

struct tenon_bmodel { char *greeting; };
struct tenon_bsession { const tenon_bmodel *model; };

static const char description[] =
    "{\"summary\": \"reverses the words of a prompt\", \"engine\": \"C99\","
    " \"tasks\": [{\"task\": \"generate\", \"schema\": {\"type\": \"object\", \"properties\": {"
    "   \"max_tokens\": {\"type\": [\"integer\", \"null\"], \"minimum\": 1, \"description\": \"Most words to answer with.\"},"
    "   \"greet\": {\"type\": \"boolean\", \"default\": true, \"description\": \"Greet before the answer.\"}}}}],"
    " \"load_schema\": {\"type\": \"object\", \"properties\": {"
    "   \"greeting\": {\"type\": \"string\", \"default\": \"Hello!\", \"description\": \"What to say first.\"}}},"
    " \"files\": [{\"role\": \"model\", \"required\": false, \"many\": true}]}";

static tenon_status emit_document(tenon_call *call, tenon_str name, tenon_str text) {
    const tenon_document document = {name, text};
    const tenon_item item = {TENON_KIND_DOCUMENT, sizeof document, &document};
    return host->emit(call, &item);
}

static tenon_status emit_text(tenon_call *call, const char *text, size_t length) {
    const tenon_text piece = {STR(""), {text, length}};
    const tenon_item item = {TENON_KIND_TEXT, sizeof piece, &piece};
    return host->emit(call, &item);
}

static tenon_status describe(tenon_call *call) {
    return emit_document(call, STR("backend"), STR(description));
}

static tenon_status model_open(tenon_call *call, const tenon_file *files, uint32_t file_count, tenon_str load_options,
                               tenon_bmodel **out) {
    tenon_str greeting = STR("Hello!");
    const tenon_status status = options->get_string(call, load_options, STR("greeting"), &greeting);
    tenon_bmodel *model;
    (void)files, (void)file_count; /* this model needs no weights */
    if (status != TENON_OK && status != TENON_E_NOT_FOUND)
        return host->fail(call, TENON_E_OPTIONS, STR("option `greeting` must be text"));
    model = malloc(sizeof *model + greeting.len + 1);
    if (model == NULL)
        return host->fail(call, TENON_E_OUT_OF_MEMORY, STR("no memory for the model"));
    model->greeting = (char *)(model + 1);
    if (greeting.len > 0)
        memcpy(model->greeting, greeting.ptr, greeting.len);
    model->greeting[greeting.len] = '\0';
    *out = model;
    return TENON_OK;
}

static void model_close(tenon_bmodel *model) { free(model); }

static tenon_status session_open(tenon_call *call, tenon_bmodel *model, tenon_str ignored, tenon_bsession **out) {
    tenon_bsession *session = malloc(sizeof *session);
    (void)ignored;
    if (session == NULL)
        return host->fail(call, TENON_E_OUT_OF_MEMORY, STR("no memory for the session"));
    session->model = model;
    *out = session;
    return TENON_OK;
}

static tenon_status session_reset(tenon_call *call, tenon_bsession *session) {
    (void)call, (void)session; /* a session remembers nothing */
    return TENON_OK;
}

static void session_close(tenon_bsession *session) { free(session); }

/* Emits the words of `text`, the last one first; stops when the host says so. */
static tenon_status answer(tenon_call *call, tenon_str text, int64_t most, const char *gap) {
    size_t end = text.len;
    tenon_status status = TENON_OK;
    for (; end > 0 && most > 0 && status == TENON_OK; most--) {
        size_t start = end;
        while (start > 0 && text.ptr[start - 1] != ' ')
            start--;
        if (host->cancelled(call))
            return TENON_E_CANCELLED;
        status = emit_text(call, gap, strlen(gap));
        if (status == TENON_OK)
            status = emit_text(call, text.ptr + start, end - start);
        gap = " ";
        for (end = start; end > 0 && text.ptr[end - 1] == ' ';)
            end--;
    }
    if (status != TENON_OK)
        return status;
    return emit_document(call, STR("finish"), end > 0 ? STR("{\"reason\": \"length\"}") : STR("{\"reason\": \"stop\"}"));
}

static tenon_status run(tenon_call *call, tenon_bsession *session, tenon_str task, const tenon_item *items,
                        uint32_t item_count, tenon_str asked) {
    const char *greeting = session->model->greeting;
    int64_t most = INT64_MAX;
    int32_t greet = 1;
    tenon_status status;
    if (task.len != 8 || memcmp(task.ptr, "generate", 8) != 0)
        return host->fail(call, TENON_E_UNSUPPORTED, STR("this backend only has the task `generate`"));
    if (item_count != 1 || items[0].kind != TENON_KIND_TEXT || items[0].size != sizeof(tenon_text))
        return host->fail(call, TENON_E_INVALID_ARGUMENT, STR("`generate` takes one text"));
    status = options->get_integer(call, asked, STR("max_tokens"), &most);
    if (status != TENON_OK && status != TENON_E_NOT_FOUND)
        return host->fail(call, TENON_E_OPTIONS, STR("option `max_tokens` must be a whole number"));
    status = options->get_bool(call, asked, STR("greet"), &greet);
    if (status != TENON_OK && status != TENON_E_NOT_FOUND)
        return host->fail(call, TENON_E_OPTIONS, STR("option `greet` must be true or false"));
    if (greet && (status = emit_text(call, greeting, strlen(greeting))) != TENON_OK)
        return status;
    return answer(call, ((const tenon_text *)items[0].data)->text, most, greet ? " " : "");
}

static const void *get_interface(const char *id) {
    static const tenon_backend_v1 backend = {sizeof backend, TENON_CAP_CONCURRENT_SESSIONS, describe, model_open,
                                             model_close, session_open, session_reset, session_close, run};
    return strcmp(id, TENON_BACKEND_INTERFACE) == 0 ? &backend : NULL;
}

static void shutdown_plugin(void) { /* no threads to join */ }

tenon_status tenon_plugin_entry_v1(const tenon_host_v1 *given, const tenon_plugin_v1 **out) {
    static const tenon_plugin_v1 plugin = {sizeof plugin, TENON_ABI_MAJOR, TENON_ABI_MINOR, "frozen-c", "0.1.0",
                                           "plain C99", get_interface, shutdown_plugin};
    if (given == NULL || out == NULL)
        return TENON_E_INVALID_ARGUMENT;
    if (given->struct_size != sizeof *given || given->abi_major != TENON_ABI_MAJOR)
        return TENON_E_ABI_MISMATCH;
    host = given;
    options = host->get_interface(TENON_HOST_OPTIONS_INTERFACE);
    if (options == NULL)
        return TENON_E_UNSUPPORTED;
    *out = &plugin;
    return TENON_OK;
}
