// What the plugin asks of whisper.cpp, with every C++ exception and failed assertion turned into an error.
//
// The Rust side is src/native.rs. A call is guarded: while it runs, ggml_abort() on the same thread throws instead of
// ending the process, and whatever is thrown is caught here and described in a tenon_fault. What was being worked on
// is then in an unknown state and must not be used again. Faults on ggml's worker threads, segmentation faults and
// stack overflows still end the process.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "ggml-backend-impl.h"  // ggml_backend_device, to reach the CPU backends that whisper.cpp keeps to itself
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include "whisper.h"

extern "C" {

enum tenon_fault_kind : int32_t {
    TENON_FAULT_NONE = 0,
    TENON_FAULT_EXCEPTION = 1,
    TENON_FAULT_MEMORY = 2,
    TENON_FAULT_ASSERTION = 3,
};

struct tenon_fault {
    int32_t kind;
    char text[508];
};

}  // extern "C"

// A plugin stays loaded until its process ends, and a request may run even then, when a program leaves main: what the
// exit handlers of this library would destroy stays. Found before the C library's, and by this library alone.
#if defined(__linux__)
extern "C" __attribute__((visibility("hidden"))) int __cxa_atexit(void (*)(void *), void *, void *) { return 0; }
#endif

namespace {

// Guarded calls that are under way on this thread.
thread_local int guarded = 0;

struct guarded_scope {
    guarded_scope() { ++guarded; }
    ~guarded_scope() { --guarded; }
    guarded_scope(const guarded_scope &) = delete;
    guarded_scope & operator=(const guarded_scope &) = delete;
};

struct failed_assertion {
    char text[508];
};

void describe(tenon_fault * fault, tenon_fault_kind kind, const char * text) {
    fault->kind = kind;
    std::snprintf(fault->text, sizeof fault->text, "%s", text);
}

// Runs `body`; what it throws is described in `fault`, and the answer is then zero.
template <typename Body>
auto guard(tenon_fault * fault, Body && body) noexcept -> decltype(body()) {
    const guarded_scope scope;
    fault->kind = TENON_FAULT_NONE;
    try {
        return body();
    } catch (const failed_assertion & failed) {
        describe(fault, TENON_FAULT_ASSERTION, failed.text);
    } catch (const std::bad_alloc &) {
        describe(fault, TENON_FAULT_MEMORY, "out of memory");
    } catch (const std::exception & error) {
        describe(fault, TENON_FAULT_EXCEPTION, error.what());
    } catch (...) {
        describe(fault, TENON_FAULT_EXCEPTION, "an exception of unknown type");
    }
    return decltype(body())();
}

ggml_log_callback write_log = nullptr;

// Called by ggml_abort(), which ends the process if this returns.
void on_abort(const char * message) {
    if (guarded > 0) {
        failed_assertion failed;
        std::snprintf(failed.text, sizeof failed.text, "%s", message);
        throw failed;
    }
    if (write_log != nullptr) {
        write_log(GGML_LOG_LEVEL_ERROR, message, nullptr);
    }
}

// whisper.cpp 1.8.3 asks its abort callback only between a whole encoder pass and the next, and hands it to no
// backend. The backend would ask after every node of a graph; so the CPU backends that a call opens are noted here
// and given the callback directly.
struct noted_backends {
    ggml_backend_t all[8];
    int count;
};

thread_local noted_backends * noting = nullptr;

ggml_backend_t (*init_cpu)(ggml_backend_dev_t device, const char * params) = nullptr;

ggml_backend_t init_cpu_and_note(ggml_backend_dev_t device, const char * params) {
    ggml_backend_t backend = init_cpu(device, params);
    if (backend != nullptr && noting != nullptr && noting->count < 8) {
        noting->all[noting->count++] = backend;
    }
    return backend;
}

struct noting_scope {
    explicit noting_scope(noted_backends * backends) { noting = backends; }
    ~noting_scope() { noting = nullptr; }
    noting_scope(const noting_scope &) = delete;
    noting_scope & operator=(const noting_scope &) = delete;
};

template <typename Open>
auto open_with_abort(ggml_abort_callback abort, void * data, Open && open) -> decltype(open()) {
    noted_backends backends = {};
    const noting_scope scope(&backends);
    auto * opened = open();
    for (int i = 0; opened != nullptr && i < backends.count; i++) {
        ggml_backend_cpu_set_abort_callback(backends.all[i], abort, data);
    }
    return opened;
}

#if defined(__ELF__)
// ggml replaces the process's terminate handler by one that starts a debugger. A library has no business with it:
// remember the handler before ggml's own initialisers run, put it back in tenon_whisper_setup().
struct remembered_handler {
    std::terminate_handler handler = std::get_terminate();
};
__attribute__((init_priority(101))) remembered_handler terminate_before;
#endif

}  // namespace

extern "C" {

// Once per process, before anything else. False when ggml has no CPU device.
bool tenon_whisper_setup(ggml_log_callback log, tenon_fault * fault) {
    return guard(fault, [&] {
        write_log = log;
        whisper_log_set(log, nullptr);
        ggml_log_set(log, nullptr);
        ggml_set_abort_callback(on_abort);
#if defined(__ELF__)
        std::set_terminate(terminate_before.handler);
#endif
        ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
        if (cpu == nullptr || cpu->iface.init_backend == nullptr) {
            return false;
        }
        if (cpu->iface.init_backend != init_cpu_and_note) {
            init_cpu = cpu->iface.init_backend;
            cpu->iface.init_backend = init_cpu_and_note;
        }
        return true;
    });
}

whisper_context * tenon_whisper_open(whisper_model_loader * loader, bool flash_attn, tenon_fault * fault) {
    return guard(fault, [&] {
        whisper_context_params params = whisper_context_default_params();
        params.use_gpu = false;
        params.flash_attn = flash_attn;
        return whisper_init_with_params_no_state(loader, params);
    });
}

whisper_state * tenon_whisper_state_open(
        whisper_context * context, ggml_abort_callback abort, void * data, tenon_fault * fault) {
    return guard(fault, [&] { return open_with_abort(abort, data, [&] { return whisper_init_state(context); }); });
}

void tenon_whisper_state_close(whisper_state * state, tenon_fault * fault) {
    guard(fault, [&] { whisper_free_state(state); });
}

void tenon_whisper_close(whisper_context * context, tenon_fault * fault) {
    guard(fault, [&] { whisper_free(context); });
}

// Makes the spectrogram alone: whisper_full without samples then takes it, as it would have made it itself.
int32_t tenon_whisper_spectrogram(
        whisper_context * context, whisper_state * state, const float * samples, int32_t count, int32_t threads,
        tenon_fault * fault) {
    return guard(fault, [&] {
        return static_cast<int32_t>(whisper_pcm_to_mel_with_state(context, state, samples, count, threads));
    });
}

int32_t tenon_whisper_full(
        whisper_context * context, whisper_state * state, const whisper_full_params * params, const float * samples,
        int32_t count, tenon_fault * fault) {
    return guard(fault, [&] {
        return static_cast<int32_t>(whisper_full_with_state(context, state, *params, samples, count));
    });
}

// Scores of the first `languages` languages for the first 30 seconds. 0, or the number of the step that failed.
int32_t tenon_whisper_languages(
        whisper_context * context, whisper_state * state, const float * samples, int32_t count, int32_t threads,
        float * scores, int32_t languages, tenon_fault * fault) {
    return guard(fault, [&]() -> int32_t {
        if (whisper_pcm_to_mel_with_state(context, state, samples, count, threads) != 0) {
            return 1;
        }
        if (whisper_encode_with_state(context, state, 0, threads) != 0) {
            return 2;
        }
        const whisper_token start = whisper_token_sot(context);
        if (whisper_decode_with_state(context, state, &start, 1, 0, threads) != 0) {
            return 3;
        }
        const float * logits = whisper_get_logits_from_state(state);
        for (int32_t i = 0; i < languages; i++) {
            scores[i] = logits[whisper_token_lang(context, i)];
        }
        return 0;
    });
}

whisper_vad_context * tenon_whisper_vad_open(
        whisper_model_loader * loader, ggml_abort_callback abort, void * data, tenon_fault * fault) {
    return guard(fault, [&] {
        whisper_vad_context_params params = whisper_vad_default_context_params();
        params.n_threads = 1;
        params.use_gpu = false;
        return open_with_abort(abort, data, [&] { return whisper_vad_init_with_params(loader, params); });
    });
}

void tenon_whisper_vad_close(whisper_vad_context * vad, tenon_fault * fault) {
    guard(fault, [&] { whisper_vad_free(vad); });
}

// The stretches of speech, or NULL; free with whisper_vad_free_segments().
whisper_vad_segments * tenon_whisper_vad_segments(
        whisper_vad_context * vad, const whisper_vad_params * params, const float * samples, int32_t count,
        tenon_fault * fault) {
    return guard(fault, [&] { return whisper_vad_segments_from_samples(vad, *params, samples, count); });
}

// For tests of the guard: fails as ggml does when it finds itself in a state that cannot be.
void tenon_whisper_fail_an_assertion(tenon_fault * fault) {
    guard(fault, [] { ggml_abort(__FILE__, __LINE__, "a test asked for a failed assertion"); });
}

}  // extern "C"
