/* The frozen layout of version 1.0 on 64-bit targets, for C11 and C++11: a header that moves or resizes anything does
 * not compile. The numbers are those of host/abi/src/layout.rs. Frozen. */

#include "tenon_plugin.h"

#ifdef __cplusplus
#define HOLDS(what) static_assert(what, #what)
#else
#define HOLDS(what) _Static_assert(what, #what)
#endif


HOLDS(sizeof(tenon_str) == 16);
HOLDS(offsetof(tenon_str, ptr) == 0);
HOLDS(offsetof(tenon_str, len) == 8);

HOLDS(sizeof(tenon_file) == 80);
HOLDS(offsetof(tenon_file, role) == 0);
HOLDS(offsetof(tenon_file, path) == 16);
HOLDS(offsetof(tenon_file, size) == 32);
HOLDS(offsetof(tenon_file, sha256) == 40);
HOLDS(offsetof(tenon_file, fd) == 72);
HOLDS(offsetof(tenon_file, reserved) == 76);

HOLDS(sizeof(tenon_item) == 16);
HOLDS(offsetof(tenon_item, kind) == 0);
HOLDS(offsetof(tenon_item, size) == 4);
HOLDS(offsetof(tenon_item, data) == 8);

HOLDS(sizeof(tenon_text) == 32);
HOLDS(offsetof(tenon_text, role) == 0);
HOLDS(offsetof(tenon_text, text) == 16);

HOLDS(sizeof(tenon_audio) == 24);
HOLDS(offsetof(tenon_audio, samples) == 0);
HOLDS(offsetof(tenon_audio, frames) == 8);
HOLDS(offsetof(tenon_audio, rate) == 16);
HOLDS(offsetof(tenon_audio, channels) == 20);

HOLDS(sizeof(tenon_word) == 40);
HOLDS(offsetof(tenon_word, start_us) == 0);
HOLDS(offsetof(tenon_word, end_us) == 8);
HOLDS(offsetof(tenon_word, text) == 16);
HOLDS(offsetof(tenon_word, confidence) == 32);
HOLDS(offsetof(tenon_word, reserved) == 36);

HOLDS(sizeof(tenon_segment) == 72);
HOLDS(offsetof(tenon_segment, start_us) == 0);
HOLDS(offsetof(tenon_segment, end_us) == 8);
HOLDS(offsetof(tenon_segment, text) == 16);
HOLDS(offsetof(tenon_segment, words) == 32);
HOLDS(offsetof(tenon_segment, word_count) == 40);
HOLDS(offsetof(tenon_segment, token_count) == 44);
HOLDS(offsetof(tenon_segment, tokens) == 48);
HOLDS(offsetof(tenon_segment, confidence) == 56);
HOLDS(offsetof(tenon_segment, no_speech) == 60);
HOLDS(offsetof(tenon_segment, reserved) == 64);

HOLDS(sizeof(tenon_token) == 40);
HOLDS(offsetof(tenon_token, text) == 0);
HOLDS(offsetof(tenon_token, start_us) == 16);
HOLDS(offsetof(tenon_token, end_us) == 24);
HOLDS(offsetof(tenon_token, id) == 32);
HOLDS(offsetof(tenon_token, logprob) == 36);

HOLDS(sizeof(tenon_usage) == 48);
HOLDS(offsetof(tenon_usage, prompt_tokens) == 0);
HOLDS(offsetof(tenon_usage, cached_tokens) == 8);
HOLDS(offsetof(tenon_usage, generated_tokens) == 16);
HOLDS(offsetof(tenon_usage, audio_us) == 24);
HOLDS(offsetof(tenon_usage, prompt_us) == 32);
HOLDS(offsetof(tenon_usage, generate_us) == 40);

HOLDS(sizeof(tenon_document) == 32);
HOLDS(offsetof(tenon_document, name) == 0);
HOLDS(offsetof(tenon_document, text) == 16);

HOLDS(sizeof(tenon_embedding) == 24);
HOLDS(offsetof(tenon_embedding, values) == 0);
HOLDS(offsetof(tenon_embedding, count) == 8);
HOLDS(offsetof(tenon_embedding, index) == 16);
HOLDS(offsetof(tenon_embedding, reserved) == 20);

HOLDS(sizeof(tenon_host_v1) == 72);
HOLDS(offsetof(tenon_host_v1, struct_size) == 0);
HOLDS(offsetof(tenon_host_v1, abi_major) == 4);
HOLDS(offsetof(tenon_host_v1, abi_minor) == 6);
HOLDS(offsetof(tenon_host_v1, log_level) == 8);
HOLDS(offsetof(tenon_host_v1, log) == 16);
HOLDS(offsetof(tenon_host_v1, fail) == 24);
HOLDS(offsetof(tenon_host_v1, cancelled) == 32);
HOLDS(offsetof(tenon_host_v1, progress) == 40);
HOLDS(offsetof(tenon_host_v1, emit) == 48);
HOLDS(offsetof(tenon_host_v1, pull) == 56);
HOLDS(offsetof(tenon_host_v1, get_interface) == 64);

HOLDS(sizeof(tenon_host_options_v1) == 40);
HOLDS(offsetof(tenon_host_options_v1, struct_size) == 0);
HOLDS(offsetof(tenon_host_options_v1, reserved) == 4);
HOLDS(offsetof(tenon_host_options_v1, get_string) == 8);
HOLDS(offsetof(tenon_host_options_v1, get_number) == 16);
HOLDS(offsetof(tenon_host_options_v1, get_integer) == 24);
HOLDS(offsetof(tenon_host_options_v1, get_bool) == 32);

HOLDS(sizeof(tenon_host_error_v1) == 16);
HOLDS(offsetof(tenon_host_error_v1, struct_size) == 0);
HOLDS(offsetof(tenon_host_error_v1, reserved) == 4);
HOLDS(offsetof(tenon_host_error_v1, detail) == 8);

HOLDS(sizeof(tenon_backend_v1) == 64);
HOLDS(offsetof(tenon_backend_v1, struct_size) == 0);
HOLDS(offsetof(tenon_backend_v1, caps) == 4);
HOLDS(offsetof(tenon_backend_v1, describe) == 8);
HOLDS(offsetof(tenon_backend_v1, model_open) == 16);
HOLDS(offsetof(tenon_backend_v1, model_close) == 24);
HOLDS(offsetof(tenon_backend_v1, session_open) == 32);
HOLDS(offsetof(tenon_backend_v1, session_reset) == 40);
HOLDS(offsetof(tenon_backend_v1, session_close) == 48);
HOLDS(offsetof(tenon_backend_v1, run) == 56);

HOLDS(sizeof(tenon_plugin_v1) == 48);
HOLDS(offsetof(tenon_plugin_v1, struct_size) == 0);
HOLDS(offsetof(tenon_plugin_v1, abi_major) == 4);
HOLDS(offsetof(tenon_plugin_v1, abi_minor) == 6);
HOLDS(offsetof(tenon_plugin_v1, id) == 8);
HOLDS(offsetof(tenon_plugin_v1, version) == 16);
HOLDS(offsetof(tenon_plugin_v1, build_info) == 24);
HOLDS(offsetof(tenon_plugin_v1, get_interface) == 32);
HOLDS(offsetof(tenon_plugin_v1, shutdown) == 40);
