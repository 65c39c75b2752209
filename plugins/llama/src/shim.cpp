// Guarded calls into llama.cpp: every function here catches what llama.cpp throws, and ggml's assertions, which would
// end the process, become exceptions while a guarded call is on the same thread. The other side is native.rs.
//
// An assertion on a worker thread of ggml's pool cannot be caught and still ends the process.

#include "llama.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

// From llama-cpp-sys-2's wrapper over llama.cpp's JSON Schema converter.
extern "C" int llama_rs_json_schema_to_grammar(const char * schema, bool force_gbnf, char ** grammar);

// A plugin stays loaded until its process ends, and a request may run even then, when a program leaves main: what the
// exit handlers of this library would destroy stays. Found before the C library's, and by this library alone.
#if defined(__linux__)
extern "C" __attribute__((visibility("hidden"))) int __cxa_atexit(void (*)(void *), void *, void *) { return 0; }
#endif

namespace {

// What a guarded call came to. native.rs has the same numbers.
enum status : int32_t { done = 0, thrown = 1, asserted = 2, no_memory = 3 };

struct assertion {
    std::string message;
};

thread_local int guards = 0;

void on_abort(const char * message) {
    if (guards > 0) {
        throw assertion{message};
    }
    // Returning ends the process: nobody on this thread could go on. ggml leaves the words to this function.
    std::fprintf(stderr, "%s\n", message);
    std::fflush(stderr);
}

struct guard {
    guard() { ++guards; }
    ~guard() { --guards; }
};

void copy(const char * from, char * message, size_t capacity) {
    if (capacity > 0) {
        std::strncpy(message, from, capacity - 1);
        message[capacity - 1] = '\0';
    }
}

template <typename Body> int32_t guarded(char * message, size_t capacity, Body body) {
    guard here;
    try {
        body();
        return done;
    } catch (const assertion & failed) {
        copy(failed.message.c_str(), message, capacity);
        return asserted;
    } catch (const std::bad_alloc &) {
        copy("out of memory", message, capacity);
        return no_memory;
    } catch (const std::exception & failed) {
        copy(failed.what(), message, capacity);
        return thrown;
    } catch (...) {
        copy("an exception without words", message, capacity);
        return thrown;
    }
}

} // namespace

extern "C" {

void tenon_llama_install(void) {
    ggml_set_abort_callback(on_abort);
}

int32_t tenon_llama_model_load(const char ** paths, size_t count, const llama_model_params * params, llama_model ** out,
                               char * message, size_t capacity) {
    return guarded(message, capacity, [&] {
        *out = count == 1 ? llama_model_load_from_file(paths[0], *params)
                          : llama_model_load_from_splits(paths, count, *params);
    });
}

int32_t tenon_llama_context_new(llama_model * model, const llama_context_params * params, llama_context ** out,
                                char * message, size_t capacity) {
    return guarded(message, capacity, [&] { *out = llama_init_from_model(model, *params); });
}

int32_t tenon_llama_pool_new(ggml_threadpool_params * params, ggml_threadpool ** out, char * message, size_t capacity) {
    return guarded(message, capacity, [&] { *out = ggml_threadpool_new(params); });
}

int32_t tenon_llama_compute(llama_context * context, const llama_batch * batch, bool encode, int32_t * result,
                            char * message, size_t capacity) {
    return guarded(message, capacity,
                   [&] { *result = encode ? llama_encode(context, *batch) : llama_decode(context, *batch); });
}

int32_t tenon_llama_forget(llama_context * context, llama_pos from, bool * removed, char * message, size_t capacity) {
    return guarded(message, capacity, [&] {
        llama_memory_t memory = llama_get_memory(context);
        *removed = memory != nullptr && from > 0 && llama_memory_seq_rm(memory, 0, from, -1);
        if (memory != nullptr && !*removed) {
            llama_memory_clear(memory, false);
        }
    });
}

int32_t tenon_llama_logits(llama_context * context, int32_t row, float ** out, char * message, size_t capacity) {
    return guarded(message, capacity, [&] { *out = llama_get_logits_ith(context, row); });
}

int32_t tenon_llama_pooled(llama_context * context, float ** out, char * message, size_t capacity) {
    return guarded(message, capacity, [&] { *out = llama_get_embeddings_seq(context, 0); });
}

int32_t tenon_llama_tokenize(const llama_vocab * vocab, const char * text, int32_t length, llama_token * tokens,
                             int32_t room, bool add_special, bool parse_special, int32_t * count, char * message,
                             size_t capacity) {
    return guarded(message, capacity, [&] {
        *count = llama_tokenize(vocab, text, length, tokens, room, add_special, parse_special);
    });
}

int32_t tenon_llama_piece(const llama_vocab * vocab, llama_token token, char * text, int32_t room, bool special,
                          int32_t * length, char * message, size_t capacity) {
    return guarded(message, capacity,
                   [&] { *length = llama_token_to_piece(vocab, token, text, room, 0, special); });
}

int32_t tenon_llama_schema(const char * schema, char ** grammar, char * message, size_t capacity) {
    return guarded(message, capacity, [&] {
        if (llama_rs_json_schema_to_grammar(schema, false, grammar) != 0) {
            *grammar = nullptr;
        }
    });
}

int32_t tenon_llama_grammar_new(const llama_vocab * vocab, const char * grammar, llama_sampler ** out, char * message,
                                size_t capacity) {
    return guarded(message, capacity, [&] { *out = llama_sampler_init_grammar(vocab, grammar, "root"); });
}

int32_t tenon_llama_grammar_apply(llama_sampler * grammar, llama_token_data_array * candidates, char * message,
                                  size_t capacity) {
    return guarded(message, capacity, [&] { llama_sampler_apply(grammar, candidates); });
}

int32_t tenon_llama_grammar_accept(llama_sampler * grammar, llama_token token, char * message, size_t capacity) {
    return guarded(message, capacity, [&] { llama_sampler_accept(grammar, token); });
}

} // extern "C"
