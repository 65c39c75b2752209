// Write a Tenon backend in C++17: a header over tenon_plugin.h, with nothing to link.
//
// A backend is a class with these members; TENON_EXPORT_BACKEND(my_backend) makes the plugin's entry of it. Everything
// is in the namespace tenon::plugin, so that a program may include tenon.hpp as well and link a backend of its own:
// `engine.register_plugin(plugin::export_backend<my_backend>)`.
//
//   namespace plugin = tenon::plugin;
//   struct my_backend {
//       static constexpr const char *id = "mine", *version = "0.1.0", *build_info = "";
//       static constexpr std::uint32_t caps = 0;                        // TENON_CAP_ flags
//       static std::string description();                                // the JSON document `backend`
//       // Where the backend can tell what a model will need of memory: the JSON document `estimate`.
//       static std::string estimate(plugin::call &, const plugin::files &, plugin::options);
//
//       struct model {
//           model(plugin::call &, const plugin::files &, plugin::options);
//       };
//       struct session {
//           session(plugin::call &, std::shared_ptr<model>, plugin::options);
//           void run(plugin::call &, std::string_view task, const plugin::items &, plugin::options);
//           void reset(plugin::call &);
//       };
//   };
//
// Throw plugin::error to fail with a status of your choice. Every other exception becomes TENON_E_BACKEND, except
// std::bad_alloc, which becomes TENON_E_OUT_OF_MEMORY. No exception leaves the plugin.

#ifndef TENON_PLUGIN_HPP
#define TENON_PLUGIN_HPP

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon_plugin.h"

namespace tenon::plugin {

inline tenon_str str(std::string_view text) noexcept { return tenon_str{text.data(), text.size()}; }

inline std::string_view view(tenon_str text) noexcept {
    return text.len == 0 ? std::string_view() : std::string_view(text.ptr, text.len);
}

/// A failure with a status of the contract.
class error : public std::runtime_error {
public:
    error(tenon_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    tenon_status status() const noexcept { return status_; }

private:
    tenon_status status_;
};

namespace detail {

/// A status of the host that goes back as it is. Not a std::exception, so that `catch (std::exception &)` lets it by.
struct stop {
    tenon_status status;
};

/// What the host gave to the entry.
struct connection {
    const tenon_host_v1 *host = nullptr;
    const tenon_host_options_v1 *options = nullptr;
};

/// One per backend, and so one per plugin.
template <class Backend> connection &connected() noexcept {
    static connection instance;
    return instance;
}

}  // namespace detail

/// The options document of a call, read by the host. What was not asked for is empty.
class options {
public:
    options(const detail::connection &host, tenon_call *raw, tenon_str document) noexcept
        : connection_(&host), raw_(raw), document_(document) {}

    /// The JSON text itself.
    std::string_view json() const noexcept { return view(document_); }

    std::optional<std::string_view> text(std::string_view key) const {
        tenon_str out{nullptr, 0};
        return read(key, connection_->options->get_string, out) ? std::optional(view(out)) : std::nullopt;
    }
    std::optional<double> number(std::string_view key) const {
        double out = 0;
        return read(key, connection_->options->get_number, out) ? std::optional(out) : std::nullopt;
    }
    std::optional<std::int64_t> integer(std::string_view key) const {
        std::int64_t out = 0;
        return read(key, connection_->options->get_integer, out) ? std::optional(out) : std::nullopt;
    }
    std::optional<bool> flag(std::string_view key) const {
        std::int32_t out = 0;
        return read(key, connection_->options->get_bool, out) ? std::optional(out != 0) : std::nullopt;
    }

private:
    template <class Read, class Value> bool read(std::string_view key, Read get, Value &out) const {
        switch (get(raw_, document_, str(key), &out)) {
        case TENON_OK: return true;
        case TENON_E_NOT_FOUND: return false;
        default: throw error(TENON_E_OPTIONS, "option `" + std::string(key) + "` is of another kind");
        }
    }

    const detail::connection *connection_;
    tenon_call *raw_;
    tenon_str document_;
};

/// One call of the host: takes what the backend makes and knows whether it is still wanted.
class call {
public:
    call(const detail::connection &host, tenon_call *raw) noexcept : connection_(&host), raw_(raw) {}

    /// Hands out an item. Leaves the function by an exception when the host has had enough; let it pass.
    template <class Payload> void emit(std::uint32_t kind, const Payload &payload) {
        const tenon_item item{kind, sizeof payload, &payload};
        const tenon_status status = host().emit(raw_, &item);
        if (status != TENON_OK) throw detail::stop{status};
    }
    void emit_text(std::string_view text) { emit(TENON_KIND_TEXT, tenon_text{str(""), str(text)}); }
    void emit_segment(const tenon_segment &segment) { emit(TENON_KIND_SEGMENT, segment); }
    void emit_token(const tenon_token &token) { emit(TENON_KIND_TOKEN, token); }
    void emit_usage(const tenon_usage &usage) { emit(TENON_KIND_USAGE, usage); }
    void emit_document(std::string_view name, std::string_view json) {
        emit(TENON_KIND_DOCUMENT, tenon_document{str(name), str(json)});
    }
    void emit_embedding(std::uint32_t index, const std::vector<float> &values) {
        emit(TENON_KIND_EMBEDDING, tenon_embedding{values.data(), values.size(), index, 0});
    }

    void progress(float fraction) const noexcept { host().progress(raw_, fraction); }
    bool cancelled() const noexcept { return host().cancelled(raw_) != 0; }
    /// Leaves the function when the result is no longer wanted. Ask once per token or step.
    void check() const {
        if (cancelled()) throw detail::stop{TENON_E_CANCELLED};
    }
    /// Waits for live input without a limit; empty at its end. The item is valid until the next pull.
    std::optional<tenon_item> pull() {
        tenon_item item{0, 0, nullptr};
        switch (const tenon_status status = host().pull(raw_, -1, &item)) {
        case TENON_OK: return item;
        case TENON_E_END: return std::nullopt;
        default: throw detail::stop{status};
        }
    }
    void log(std::int32_t level, std::string_view target, std::string_view message) const noexcept {
        host().log(level, str(target), str(message));
    }
    tenon_call *raw() const noexcept { return raw_; }

private:
    const tenon_host_v1 &host() const noexcept { return *connection_->host; }

    const detail::connection *connection_;
    tenon_call *raw_;
};

/// A borrowed array of the host.
template <class Value> class array {
public:
    array(const Value *values, std::uint32_t count) noexcept : values_(values), count_(values == nullptr ? 0 : count) {}
    const Value *begin() const noexcept { return values_; }
    const Value *end() const noexcept { return values_ + count_; }
    std::uint32_t size() const noexcept { return count_; }
    bool empty() const noexcept { return count_ == 0; }
    const Value &operator[](std::uint32_t index) const noexcept { return values_[index]; }

private:
    const Value *values_;
    std::uint32_t count_;
};

using files = array<tenon_file>;
using items = array<tenon_item>;

/// The payload of an item, checked for its kind and size.
inline const tenon_text &as_text(const tenon_item &item) {
    if (item.kind != TENON_KIND_TEXT || item.size != sizeof(tenon_text) || item.data == nullptr)
        throw error(TENON_E_INVALID_ARGUMENT, "the input is not text");
    return *static_cast<const tenon_text *>(item.data);
}
inline const tenon_audio &as_audio(const tenon_item &item) {
    if (item.kind != TENON_KIND_AUDIO || item.size != sizeof(tenon_audio) || item.data == nullptr)
        throw error(TENON_E_INVALID_ARGUMENT, "the input is not audio");
    return *static_cast<const tenon_audio *>(item.data);
}

namespace detail {

/// Whether a backend has a function `estimate`.
template <class Backend, class = void> struct estimates : std::false_type {};
template <class Backend>
struct estimates<Backend, std::void_t<decltype(Backend::estimate(std::declval<call &>(), std::declval<files>(),
                                                                 std::declval<options>()))>> : std::true_type {};

/// The C functions of a backend. None of them lets an exception out.
template <class Backend> struct thunks {
    using model = typename Backend::model;
    using session = typename Backend::session;
    using shared = std::shared_ptr<model>;

    template <class Body> static tenon_status boundary(tenon_call *raw, Body &&body) noexcept {
        if (raw == nullptr) return TENON_E_INVALID_ARGUMENT;
        try {
            call here(connected<Backend>(), raw);
            std::forward<Body>(body)(here);
            return TENON_OK;
        } catch (const stop &stopped) {
            return stopped.status;
        } catch (const error &failed) {
            return fail(raw, failed.status() == TENON_OK ? TENON_E_INTERNAL : failed.status(), failed.what());
        } catch (const std::bad_alloc &) {
            return fail(raw, TENON_E_OUT_OF_MEMORY, "no memory");
        } catch (const std::exception &failed) {
            return fail(raw, TENON_E_BACKEND, failed.what());
        } catch (...) {
            return fail(raw, TENON_E_PANIC, "an exception without words");
        }
    }
    static tenon_status fail(tenon_call *raw, tenon_status status, const char *message) noexcept {
        return connected<Backend>().host->fail(raw, status, tenon_str{message, std::strlen(message)});
    }
    static options read(const call &here, tenon_str document) noexcept {
        return options(connected<Backend>(), here.raw(), document);
    }
    static tenon_bmodel *raw(shared *model) noexcept { return reinterpret_cast<tenon_bmodel *>(model); }
    static shared *own(tenon_bmodel *model) noexcept { return reinterpret_cast<shared *>(model); }
    static tenon_bsession *raw(session *session) noexcept { return reinterpret_cast<tenon_bsession *>(session); }
    static session *own(tenon_bsession *raw) noexcept { return reinterpret_cast<session *>(raw); }

    static tenon_status describe(tenon_call *raw) noexcept {
        return boundary(raw, [](call &here) { here.emit_document("backend", Backend::description()); });
    }
    static tenon_status model_open(tenon_call *given, const tenon_file *list, uint32_t count, tenon_str load_options,
                                   tenon_bmodel **out) noexcept {
        if (out == nullptr) return TENON_E_INVALID_ARGUMENT;
        return boundary(given, [=](call &here) {
            auto opened = std::make_shared<model>(here, files(list, count), read(here, load_options));
            *out = raw(new shared(std::move(opened)));
        });
    }
    static tenon_status estimate(tenon_call *given, const tenon_file *list, uint32_t count,
                                 tenon_str load_options) noexcept {
        return boundary(given, [=](call &here) {
            here.emit_document("estimate", Backend::estimate(here, files(list, count), read(here, load_options)));
        });
    }
    static void model_close(tenon_bmodel *model) noexcept { delete own(model); }
    static tenon_status session_open(tenon_call *given, tenon_bmodel *model, tenon_str asked,
                                     tenon_bsession **out) noexcept {
        if (model == nullptr || out == nullptr) return TENON_E_INVALID_ARGUMENT;
        return boundary(given, [=](call &here) { *out = raw(new session(here, *own(model), read(here, asked))); });
    }
    static tenon_status session_reset(tenon_call *given, tenon_bsession *session) noexcept {
        if (session == nullptr) return TENON_E_INVALID_ARGUMENT;
        return boundary(given, [=](call &here) { own(session)->reset(here); });
    }
    static void session_close(tenon_bsession *session) noexcept { delete own(session); }
    static tenon_status run(tenon_call *given, tenon_bsession *session, tenon_str task, const tenon_item *list,
                            uint32_t count, tenon_str asked) noexcept {
        if (session == nullptr) return TENON_E_INVALID_ARGUMENT;
        return boundary(given, [=](call &here) {
            own(session)->run(here, view(task), items(list, count), read(here, asked));
        });
    }
    static const void *get_interface(const char *id) noexcept {
        static const tenon_backend_v1 backend{sizeof(tenon_backend_v1), Backend::caps, describe,      model_open, model_close,
                                              session_open,             session_reset, session_close, run};
        if (id == nullptr) return nullptr;
        if (std::strcmp(id, TENON_BACKEND_INTERFACE) == 0) return &backend;
        if constexpr (estimates<Backend>::value) {
            static const tenon_memory_v1 memory{sizeof(tenon_memory_v1), 0, estimate};
            if (std::strcmp(id, TENON_MEMORY_INTERFACE) == 0) return &memory;
        }
        return nullptr;
    }
    static void shutdown() noexcept {}
};

}  // namespace detail

/// The body of the plugin's entry.
template <class Backend>
tenon_status export_backend(const tenon_host_v1 *host, const tenon_plugin_v1 **out) noexcept {
    static const tenon_plugin_v1 plugin{sizeof(tenon_plugin_v1),
                                        TENON_ABI_MAJOR,
                                        TENON_ABI_MINOR,
                                        Backend::id,
                                        Backend::version,
                                        Backend::build_info,
                                        detail::thunks<Backend>::get_interface,
                                        detail::thunks<Backend>::shutdown};
    if (host == nullptr || out == nullptr) return TENON_E_INVALID_ARGUMENT;
    if (host->struct_size != sizeof *host || host->abi_major != TENON_ABI_MAJOR) return TENON_E_ABI_MISMATCH;
    auto *options = static_cast<const tenon_host_options_v1 *>(host->get_interface(TENON_HOST_OPTIONS_INTERFACE));
    if (options == nullptr) return TENON_E_UNSUPPORTED;
    detail::connected<Backend>() = detail::connection{host, options};
    *out = &plugin;
    return TENON_OK;
}

}  // namespace tenon::plugin

/// Defines the plugin's entry for a backend.
#define TENON_EXPORT_BACKEND(Backend)                                                                                  \
    extern "C" tenon_status tenon_plugin_entry_v1(const tenon_host_v1 *host, const tenon_plugin_v1 **out) {            \
        return tenon::plugin::export_backend<Backend>(host, out);                                                      \
    }                                                                                                                  \
    static_assert(true, "ends with a semicolon")

#endif  // TENON_PLUGIN_HPP
