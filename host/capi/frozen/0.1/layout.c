/* The frozen C interface of version 0.1 on 64-bit targets, for C11 and C++11: a header that moves or resizes a
 * field, gives a constant another value, or declares a function differently does not compile. Frozen. */

#include "tenon.h"

#ifdef __cplusplus
#define HOLDS(what) static_assert(what, #what)
#else
#define HOLDS(what) _Static_assert(what, #what)
#endif

/* Structs. A later version may add fields behind these and so make a struct larger, never smaller. */

HOLDS(sizeof(tenon_engine_options) >= 112);
HOLDS(offsetof(tenon_engine_options, struct_size) == 0);
HOLDS(offsetof(tenon_engine_options, flags) == 4);
HOLDS(offsetof(tenon_engine_options, verify) == 8);
HOLDS(offsetof(tenon_engine_options, threads) == 12);
HOLDS(offsetof(tenon_engine_options, patience_us) == 16);
HOLDS(offsetof(tenon_engine_options, manifest_dirs) == 24);
HOLDS(offsetof(tenon_engine_options, plugin_dirs) == 32);
HOLDS(offsetof(tenon_engine_options, model_dirs) == 40);
HOLDS(offsetof(tenon_engine_options, store_dir) == 48);
HOLDS(offsetof(tenon_engine_options, state_dir) == 56);
HOLDS(offsetof(tenon_engine_options, log) == 64);
HOLDS(offsetof(tenon_engine_options, log_data) == 72);
HOLDS(offsetof(tenon_engine_options, log_level) == 80);
HOLDS(offsetof(tenon_engine_options, reserved) == 84);
HOLDS(offsetof(tenon_engine_options, lock_file) == 88);
HOLDS(offsetof(tenon_engine_options, worker_program) == 96);
HOLDS(offsetof(tenon_engine_options, worker_grace_us) == 104);

HOLDS(sizeof(tenon_estimate) >= 72);
HOLDS(offsetof(tenon_estimate, struct_size) == 0);
HOLDS(offsetof(tenon_estimate, fits) == 4);
HOLDS(offsetof(tenon_estimate, weights) == 8);
HOLDS(offsetof(tenon_estimate, cache) == 16);
HOLDS(offsetof(tenon_estimate, compute) == 24);
HOLDS(offsetof(tenon_estimate, other) == 32);
HOLDS(offsetof(tenon_estimate, total) == 40);
HOLDS(offsetof(tenon_estimate, session) == 48);
HOLDS(offsetof(tenon_estimate, available) == 56);
HOLDS(offsetof(tenon_estimate, reserve) == 64);

HOLDS(sizeof(tenon_pull_options) >= 40);
HOLDS(offsetof(tenon_pull_options, struct_size) == 0);
HOLDS(offsetof(tenon_pull_options, flags) == 4);
HOLDS(offsetof(tenon_pull_options, rate_limit) == 8);
HOLDS(offsetof(tenon_pull_options, deadline_us) == 16);
HOLDS(offsetof(tenon_pull_options, endpoint) == 24);
HOLDS(offsetof(tenon_pull_options, connections) == 32);
HOLDS(offsetof(tenon_pull_options, reserved) == 36);

HOLDS(sizeof(tenon_timed_segment) >= 48);
HOLDS(offsetof(tenon_timed_segment, struct_size) == 0);
HOLDS(offsetof(tenon_timed_segment, word_count) == 4);
HOLDS(offsetof(tenon_timed_segment, start_us) == 8);
HOLDS(offsetof(tenon_timed_segment, end_us) == 16);
HOLDS(offsetof(tenon_timed_segment, text) == 24);
HOLDS(offsetof(tenon_timed_segment, text_size) == 32);
HOLDS(offsetof(tenon_timed_segment, confidence) == 40);
HOLDS(offsetof(tenon_timed_segment, no_speech) == 44);

HOLDS(sizeof(tenon_timed_word) >= 40);
HOLDS(offsetof(tenon_timed_word, struct_size) == 0);
HOLDS(offsetof(tenon_timed_word, confidence) == 4);
HOLDS(offsetof(tenon_timed_word, start_us) == 8);
HOLDS(offsetof(tenon_timed_word, end_us) == 16);
HOLDS(offsetof(tenon_timed_word, text) == 24);
HOLDS(offsetof(tenon_timed_word, text_size) == 32);

HOLDS(sizeof(tenon_run_usage) >= 72);
HOLDS(offsetof(tenon_run_usage, struct_size) == 0);
HOLDS(offsetof(tenon_run_usage, reserved) == 4);
HOLDS(offsetof(tenon_run_usage, prompt_tokens) == 8);
HOLDS(offsetof(tenon_run_usage, cached_tokens) == 16);
HOLDS(offsetof(tenon_run_usage, generated_tokens) == 24);
HOLDS(offsetof(tenon_run_usage, audio_us) == 32);
HOLDS(offsetof(tenon_run_usage, prompt_us) == 40);
HOLDS(offsetof(tenon_run_usage, generate_us) == 48);
HOLDS(offsetof(tenon_run_usage, first_us) == 56);
HOLDS(offsetof(tenon_run_usage, total_us) == 64);

HOLDS(sizeof(tenon_event) >= 88);
HOLDS(offsetof(tenon_event, struct_size) == 0);
HOLDS(offsetof(tenon_event, kind) == 4);
HOLDS(offsetof(tenon_event, text) == 8);
HOLDS(offsetof(tenon_event, text_size) == 16);
HOLDS(offsetof(tenon_event, start_us) == 24);
HOLDS(offsetof(tenon_event, end_us) == 32);
HOLDS(offsetof(tenon_event, confidence) == 40);
HOLDS(offsetof(tenon_event, no_speech) == 44);
HOLDS(offsetof(tenon_event, fraction) == 48);
HOLDS(offsetof(tenon_event, logprob) == 52);
HOLDS(offsetof(tenon_event, token) == 56);
HOLDS(offsetof(tenon_event, index) == 60);
HOLDS(offsetof(tenon_event, values) == 64);
HOLDS(offsetof(tenon_event, value_count) == 72);
HOLDS(offsetof(tenon_event, json) == 80);

/* Constants. */

HOLDS(TENON_OK == 0);
HOLDS(TENON_E_INVALID_ARGUMENT == 1);
HOLDS(TENON_E_NOT_FOUND == 2);
HOLDS(TENON_E_UNSUPPORTED == 3);
HOLDS(TENON_E_BUSY == 4);
HOLDS(TENON_E_CANCELLED == 5);
HOLDS(TENON_E_DEADLINE == 6);
HOLDS(TENON_E_TIMEOUT == 7);
HOLDS(TENON_E_END == 8);
HOLDS(TENON_E_OUT_OF_MEMORY == 9);
HOLDS(TENON_E_IO == 10);
HOLDS(TENON_E_HASH_MISMATCH == 11);
HOLDS(TENON_E_ABI_MISMATCH == 12);
HOLDS(TENON_E_PLUGIN == 13);
HOLDS(TENON_E_BACKEND == 14);
HOLDS(TENON_E_PANIC == 15);
HOLDS(TENON_E_CONTEXT_OVERFLOW == 16);
HOLDS(TENON_E_MANIFEST == 17);
HOLDS(TENON_E_OPTIONS == 18);
HOLDS(TENON_E_AUDIO == 19);
HOLDS(TENON_E_MODEL == 20);
HOLDS(TENON_E_NETWORK == 21);
HOLDS(TENON_E_WORKER_DIED == 22);
HOLDS(TENON_E_INTERNAL == 23);
HOLDS(TENON_E_STALE_HANDLE == 24);
HOLDS(TENON_E_SHUTDOWN == 25);
HOLDS(TENON_LOG_OFF == 0);
HOLDS(TENON_LOG_ERROR == 1);
HOLDS(TENON_LOG_WARN == 2);
HOLDS(TENON_LOG_INFO == 3);
HOLDS(TENON_LOG_DEBUG == 4);
HOLDS(TENON_LOG_TRACE == 5);
HOLDS(TENON_ENGINE_ONLY_NAMED_PLACES == 1);
HOLDS(TENON_ENGINE_IGNORE_MEMORY == 2);
HOLDS(TENON_ENGINE_WORKERS == 4);
HOLDS(TENON_VERIFY_CACHED == 0);
HOLDS(TENON_VERIFY_ALWAYS == 1);
HOLDS(TENON_VERIFY_NEVER == 2);
HOLDS(TENON_PHASE_VERIFY == 1);
HOLDS(TENON_PHASE_LOAD == 2);
HOLDS(TENON_PHASE_PULL == 3);
HOLDS(TENON_PULL_ACCEPT_LICENSE == 1);
HOLDS(TENON_PULL_OFFLINE == 2);
HOLDS(TENON_PULL_NO_OPTIONAL == 4);
HOLDS(TENON_EVENT_SEGMENT == 1);
HOLDS(TENON_EVENT_TEXT == 2);
HOLDS(TENON_EVENT_TOKEN == 3);
HOLDS(TENON_EVENT_EMBEDDING == 4);
HOLDS(TENON_EVENT_LANGUAGE == 5);
HOLDS(TENON_EVENT_PROGRESS == 6);
HOLDS(TENON_EVENT_NOTE == 7);

/* Callbacks: the types of this version again, which a compiler takes as the same or not at all. */

typedef void (*tenon_log_fn)(void *data, int32_t level, const char *target, const char *line) TENON_NOEXCEPT;
typedef tenon_status (*tenon_entry_fn)(const struct tenon_host_v1 *host, const struct tenon_plugin_v1 **plugin);
typedef int32_t (*tenon_progress_fn)(void *data, int32_t phase, float fraction) TENON_NOEXCEPT;
typedef void (*tenon_wakeup_fn)(void *data) TENON_NOEXCEPT;

/* Functions, declared once more: a compiler takes it only when nothing differs. */

#ifdef __cplusplus
extern "C" {
#endif

TENON_API uint32_t tenon_version(void);
TENON_API const char *tenon_version_string(void);
TENON_API const char *tenon_status_name(tenon_status status);
TENON_API tenon_status tenon_error_status(const tenon_error *error);
TENON_API const char *tenon_error_message(const tenon_error *error);
TENON_API const char *tenon_error_detail(const tenon_error *error, const char *key);
TENON_API void tenon_error_free(tenon_error *error);
TENON_API tenon_status tenon_options_new(tenon_options **options, tenon_error **error);
TENON_API tenon_status tenon_options_set_string(tenon_options *options, const char *name, const char *value,
    tenon_error **error);
TENON_API tenon_status tenon_options_set_number(tenon_options *options, const char *name, double value,
    tenon_error **error);
TENON_API tenon_status tenon_options_set_integer(tenon_options *options, const char *name, int64_t value,
    tenon_error **error);
TENON_API tenon_status tenon_options_set_bool(tenon_options *options, const char *name, int32_t value,
    tenon_error **error);
TENON_API tenon_status tenon_options_set_json(tenon_options *options, const char *name, const char *json,
    tenon_error **error);
TENON_API void tenon_options_free(tenon_options *options);
TENON_API size_t tenon_table_rows(const tenon_table *table);
TENON_API size_t tenon_table_columns(const tenon_table *table);
TENON_API const char *tenon_table_column(const tenon_table *table, size_t column);
TENON_API const char *tenon_table_get(const tenon_table *table, size_t row, const char *column);
TENON_API void tenon_table_free(tenon_table *table);
TENON_API tenon_status tenon_engine_new(const struct tenon_engine_options *options, tenon_engine **engine,
    tenon_error **error);
TENON_API tenon_status tenon_engine_add_manifest(tenon_engine *engine, const char *path, tenon_error **error);
TENON_API tenon_status tenon_engine_add_manifest_text(tenon_engine *engine, const char *manifest, const char *origin,
    tenon_error **error);
TENON_API tenon_status tenon_engine_load_plugin(tenon_engine *engine, const char *path, const char *sha256,
    tenon_error **error);
TENON_API tenon_status tenon_engine_register_plugin(tenon_engine *engine, tenon_entry_fn entry, tenon_error **error);
TENON_API tenon_status tenon_engine_models(const tenon_engine *engine, tenon_table **models, tenon_error **error);
TENON_API tenon_status tenon_engine_plugins(const tenon_engine *engine, tenon_table **plugins, tenon_error **error);
TENON_API tenon_status tenon_model_verify(const tenon_engine *engine, const char *name, int32_t verify,
    tenon_progress_fn progress, void *data, tenon_error **error);
TENON_API tenon_status tenon_engine_shutdown(tenon_engine *engine, int64_t timeout_us, tenon_error **error);
TENON_API void tenon_engine_free(tenon_engine *engine);
TENON_API tenon_status tenon_engine_estimate(const tenon_engine *engine, const char *name,
    const tenon_options *load_options, uint32_t sessions, struct tenon_estimate *estimate, tenon_table **devices,
    tenon_error **error);
TENON_API tenon_status tenon_model_load(tenon_engine *engine, const char *name, const tenon_options *load_options,
    tenon_progress_fn progress, void *data, tenon_model **model, tenon_error **error);
TENON_API const char *tenon_model_info(const tenon_model *model, const char *key);
TENON_API void tenon_model_free(tenon_model *model);
TENON_API tenon_status tenon_engine_pull(tenon_engine *engine, const char *name,
    const struct tenon_pull_options *options, tenon_progress_fn progress, void *data, tenon_error **error);
TENON_API tenon_status tenon_session_new(const tenon_model *model, tenon_session **session, tenon_error **error);
TENON_API tenon_status tenon_run(tenon_session *session, const tenon_request *request, tenon_result **result,
    tenon_error **error);
TENON_API tenon_status tenon_session_cancel(const tenon_session *session, tenon_error **error);
TENON_API tenon_status tenon_session_reset(tenon_session *session, tenon_error **error);
TENON_API void tenon_session_free(tenon_session *session);
TENON_API tenon_status tenon_request_new(const char *task, tenon_request **request, tenon_error **error);
TENON_API tenon_status tenon_request_add_text(tenon_request *request, const char *role, const char *content,
    tenon_error **error);
TENON_API tenon_status tenon_request_add_text_n(tenon_request *request, const char *role, const char *content,
    size_t size, tenon_error **error);
TENON_API tenon_status tenon_request_add_audio(tenon_request *request, const float *samples, size_t frames,
    uint32_t rate, uint32_t channels, tenon_error **error);
TENON_API tenon_status tenon_request_add_audio_i16(tenon_request *request, const int16_t *samples, size_t frames,
    uint32_t rate, uint32_t channels, tenon_error **error);
TENON_API tenon_status tenon_request_add_audio_file(tenon_request *request, const char *path, tenon_error **error);
TENON_API tenon_status tenon_request_add_audio_bytes(tenon_request *request, const uint8_t *bytes, size_t size,
    tenon_error **error);
TENON_API tenon_status tenon_request_add_live_audio(tenon_request *request, tenon_error **error);
TENON_API tenon_status tenon_request_set_options(tenon_request *request, const tenon_options *options,
    tenon_error **error);
TENON_API tenon_status tenon_request_set_preset(tenon_request *request, const char *preset, tenon_error **error);
TENON_API tenon_status tenon_request_set_deadline(tenon_request *request, int64_t after_us, tenon_error **error);
TENON_API void tenon_request_free(tenon_request *request);
TENON_API const char *tenon_result_text(const tenon_result *result);
TENON_API size_t tenon_result_text_size(const tenon_result *result);
TENON_API const char *tenon_result_json(const tenon_result *result);
TENON_API const char *tenon_result_info(const tenon_result *result, const char *key);
TENON_API size_t tenon_result_segment_count(const tenon_result *result);
TENON_API tenon_status tenon_result_segment(const tenon_result *result, size_t index,
    struct tenon_timed_segment *segment, tenon_error **error);
TENON_API tenon_status tenon_result_word(const tenon_result *result, size_t segment, size_t index,
    struct tenon_timed_word *word, tenon_error **error);
TENON_API size_t tenon_result_embedding_count(const tenon_result *result);
TENON_API tenon_status tenon_result_embedding(const tenon_result *result, size_t index, const float **values,
    size_t *size, tenon_error **error);
TENON_API tenon_status tenon_result_tokens(const tenon_result *result, tenon_table **tokens, tenon_error **error);
TENON_API tenon_status tenon_result_notes(const tenon_result *result, tenon_table **notes, tenon_error **error);
TENON_API tenon_status tenon_result_usage(const tenon_result *result, struct tenon_run_usage *usage,
    tenon_error **error);
TENON_API void tenon_result_free(tenon_result *result);
TENON_API tenon_status tenon_stream_start(tenon_session *session, const tenon_request *request, tenon_stream **stream,
    tenon_error **error);
TENON_API tenon_status tenon_stream_next(tenon_stream *stream, int64_t timeout_us, struct tenon_event *event,
    tenon_error **error);
TENON_API tenon_status tenon_stream_push_audio(tenon_stream *stream, const float *samples, size_t frames, uint32_t rate,
    uint32_t channels, tenon_error **error);
TENON_API tenon_status tenon_stream_push_audio_i16(tenon_stream *stream, const int16_t *samples, size_t frames,
    uint32_t rate, uint32_t channels, tenon_error **error);
TENON_API tenon_status tenon_stream_finish_input(tenon_stream *stream, tenon_error **error);
TENON_API tenon_status tenon_stream_set_wakeup(tenon_stream *stream, tenon_wakeup_fn wakeup, void *data,
    tenon_error **error);
TENON_API tenon_status tenon_stream_descriptor(tenon_stream *stream, int32_t *descriptor, tenon_error **error);
TENON_API tenon_status tenon_stream_cancel(const tenon_stream *stream, tenon_error **error);
TENON_API tenon_status tenon_stream_result(const tenon_stream *stream, tenon_result **result, tenon_error **error);
TENON_API int32_t tenon_stream_is_ready(const tenon_stream *stream);
TENON_API void tenon_stream_free(tenon_stream *stream);

#ifdef __cplusplus
}
#endif
