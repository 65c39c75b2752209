// Tenon for C++17: a header over tenon.h, with nothing to link but libtenon.
//
//     tenon::engine engine;
//     auto model = engine.load("commands-en");
//     auto session = model.session();
//     tenon::request request("transcribe");
//     request.add_audio_file("order.wav");
//     for (auto &event : session.stream(request))
//         if (event.kind == tenon::event_kind::segment) std::cout << event.text << '\n';
//
// What holds for everything here; docs/embedding.md is the guide, and tenon.h says more of each function:
//
// - Errors. What can fail throws tenon::error. With TENON_NO_EXCEPTIONS defined, or exceptions switched off in the
//   compiler, it returns a tenon::expected<T> instead, and objects are made by `make` instead of a constructor:
//   `tenon::request::make("transcribe")`. `outcome<T>` below stands for both. Memory that runs out inside this header
//   throws std::bad_alloc, or ends a program without exceptions.
// - Objects own what they are of: they move and do not copy, and free it in the end. The order does not matter: what
//   needs another object keeps it alive. One that was moved from is empty; asking something of it is an error of
//   TENON_E_INVALID_ARGUMENT (getters say nothing), never undefined behaviour. Only assigning to an object and moving
//   from it need that nobody else uses it meanwhile.
// - Texts are UTF-8 in std::string_view, and need no NUL. What goes in is copied or used during the call only. What
//   comes out belongs to the object that it was asked of: where a view into a temporary could be had, it does not
//   compile, or it is a std::string.
// - Threads. Member functions that are const may be called by several threads at once; others by one at a time, unless
//   they say otherwise. Breaking this is TENON_E_BUSY.
// - Callbacks are std::function. What they throw never passes through Tenon: it is kept, and thrown again at the place
//   that the function which takes the callback names. Without exceptions a throw ends the program. From a callback
//   only `cancel`, getters and destructors may be called.
// - Times are std::chrono::microseconds.

#ifndef TENON_HPP
#define TENON_HPP

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "tenon.h"

#if defined(TENON_NO_EXCEPTIONS) || !(defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND))
#define TENON_HPP_THROWS 0
#else
#define TENON_HPP_THROWS 1
#endif

namespace tenon {

// One program may have files of both kinds: their functions differ in what they return, and so must their names.
#if TENON_HPP_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

using std::chrono::microseconds;

// ------------------------------------------------------ Errors -------------------------------------------------------

namespace detail {

/// Frees what a handle of tenon.h stands for.
struct deleter {
    void operator()(tenon_error *raw) const noexcept { tenon_error_free(raw); }
    void operator()(tenon_options *raw) const noexcept { tenon_options_free(raw); }
    void operator()(tenon_table *raw) const noexcept { tenon_table_free(raw); }
    void operator()(tenon_engine *raw) const noexcept { tenon_engine_free(raw); }
    void operator()(tenon_model *raw) const noexcept { tenon_model_free(raw); }
    void operator()(tenon_session *raw) const noexcept { tenon_session_free(raw); }
    void operator()(tenon_request *raw) const noexcept { tenon_request_free(raw); }
    void operator()(tenon_result *raw) const noexcept { tenon_result_free(raw); }
    void operator()(tenon_stream *raw) const noexcept { tenon_stream_free(raw); }
};

/// A place for a handle that C gives out; frees it unless it was taken.
template <class Raw> class out {
public:
    out() = default;
    out(const out &) = delete;
    out &operator=(const out &) = delete;
    ~out() { deleter()(raw_); }
    Raw **place() noexcept { return &raw_; }
    Raw *take() noexcept { return std::exchange(raw_, nullptr); }

private:
    Raw *raw_ = nullptr;
};

/// What C says, where NULL is nothing.
inline std::string_view view(const char *text) noexcept { return text == nullptr ? std::string_view() : text; }
inline std::optional<std::string_view> optional_view(const char *text) noexcept {
    return text == nullptr ? std::nullopt : std::optional<std::string_view>(text);
}

/// A text for C, ended by a NUL. A NUL inside would cut it off, so that becomes bytes that are no UTF-8: Tenon refuses
/// the text and says where.
class c_text {
public:
    explicit c_text(std::string_view text) : text_(text) {
        for (std::size_t at = 0; (at = text_.find('\0', at)) != std::string::npos;) text_.replace(at, 1, "\xC0\x80");
    }
    explicit c_text(const std::filesystem::path &path) : c_text(std::string_view(utf8(path))) {}
    const char *get() const noexcept { return text_.c_str(); }
    /// NULL for the empty text.
    const char *get_or_null() const noexcept { return text_.empty() ? nullptr : text_.c_str(); }

private:
    static std::string utf8(const std::filesystem::path &path) {
        const auto text = path.u8string();  // of char8_t from C++20 on
        return std::string(reinterpret_cast<const char *>(text.data()), text.size());
    }

    std::string text_;
};

}  // namespace detail

/// What went wrong: a status, a sentence (`what`) that says what, where and what to do, and details. Copies share them.
class error : public std::runtime_error {
public:
    /// An error of the program's own, for what it throws from a callback or returns beside Tenon's.
    error(tenon_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    /// The error that a function of tenon.h gave together with a status; owns it. It may be NULL.
    error(tenon_status status, tenon_error *owned)
        : std::runtime_error(owned == nullptr ? tenon_status_name(status) : tenon_error_message(owned)),
          status_(status),
          raw_(owned, detail::deleter()) {}

    /// A TENON_E_ number.
    tenon_status status() const noexcept { return status_; }
    /// A detail such as "file", "line", "model", "plugin", "backend", "native", "expected" or "actual". Valid until the
    /// last copy of the error is gone.
    std::optional<std::string_view> detail(std::string_view key) const {
        return detail::optional_view(tenon_error_detail(raw_.get(), tenon::detail::c_text(key).get()));
    }

private:
    tenon_status status_;
    std::shared_ptr<tenon_error> raw_;
};

#if TENON_HPP_THROWS

/// What a function that can fail returns: the value, since an error is thrown.
template <class T> using outcome = T;

#else

/// A value or an error. Asking for the one that is not there ends the program (std::terminate).
template <class T> class [[nodiscard]] expected {
public:
    expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    expected(tenon::error why) : state_(std::in_place_index<1>, std::move(why)) {}

    /// Whether the value is there.
    explicit operator bool() const noexcept { return state_.index() == 0; }
    T &value() & noexcept { return checked(std::get_if<0>(&state_)); }
    const T &value() const & noexcept { return checked(std::get_if<0>(&state_)); }
    T value() && noexcept { return std::move(checked(std::get_if<0>(&state_))); }
    T &operator*() & noexcept { return value(); }
    const T &operator*() const & noexcept { return value(); }
    T operator*() && noexcept { return std::move(*this).value(); }
    T *operator->() noexcept { return &value(); }
    const T *operator->() const noexcept { return &value(); }
    const tenon::error &error() const noexcept { return checked(std::get_if<1>(&state_)); }
    /// The error's status, or TENON_OK.
    tenon_status status() const noexcept { return *this ? TENON_OK : error().status(); }

private:
    template <class Part> static Part &checked(Part *part) noexcept {
        if (part == nullptr) std::terminate();
        return *part;
    }

    std::variant<T, tenon::error> state_;
};

/// Nothing or an error.
template <> class [[nodiscard]] expected<void> {
public:
    expected() = default;
    expected(tenon::error why) : error_(std::move(why)) {}

    /// Whether there is no error.
    explicit operator bool() const noexcept { return !error_; }
    const tenon::error &error() const noexcept {
        if (!error_) std::terminate();
        return *error_;
    }
    /// The error's status, or TENON_OK.
    tenon_status status() const noexcept { return error_ ? error_->status() : TENON_OK; }

private:
    std::optional<tenon::error> error_;
};

/// What a function that can fail returns.
template <class T> using outcome = expected<T>;

#endif

namespace detail {

// The only functions that differ with and without exceptions.
#if TENON_HPP_THROWS

template <class T> [[noreturn]] outcome<T> fail(error why) { throw why; }
inline bool is_true(bool value) noexcept { return value; }
inline void rethrow(const std::exception_ptr &thrown) {
    if (thrown) std::rethrow_exception(thrown);
}
/// Runs a function of the caller's and gives what it threw.
template <class Body> std::exception_ptr caught(Body &&body) noexcept {
    try {
        std::forward<Body>(body)();
        return nullptr;
    } catch (...) {
        return std::current_exception();
    }
}

#else

template <class T> outcome<T> fail(error why) { return outcome<T>(std::move(why)); }
inline bool is_true(const expected<bool> &value) noexcept { return value && *value; }
inline void rethrow(const std::exception_ptr &) noexcept {}
template <class Body> std::exception_ptr caught(Body &&body) noexcept {
    std::forward<Body>(body)();
    return nullptr;
}

#endif

/// Calls a function of tenon.h, which gets a place for its error; where it succeeds, makes the value.
template <class Call, class Make> auto attempt(Call call, Make make) -> outcome<decltype(make())> {
    using value = decltype(make());
    out<tenon_error> problem;
    const tenon_status status = call(problem.place());
    if (status != TENON_OK) return fail<value>(error(status, problem.take()));
    return outcome<value>(make());
}

/// As above, where there is no value to make.
template <class Call> outcome<void> attempt(Call call) {
    out<tenon_error> problem;
    const tenon_status status = call(problem.place());
    if (status != TENON_OK) return fail<void>(error(status, problem.take()));
    return outcome<void>();
}

// ----------------------------------------------------- Callbacks -----------------------------------------------------

/// Marks that this thread is inside of a callback of Tenon, for as long as it lives.
class inside_mark {
public:
    inside_mark() noexcept { ++depth(); }
    inside_mark(const inside_mark &) = delete;
    inside_mark &operator=(const inside_mark &) = delete;
    ~inside_mark() { --depth(); }
    static bool is_set() noexcept { return depth() > 0; }

private:
    static int &depth() noexcept {
        thread_local int depth_of_thread = 0;
        return depth_of_thread;
    }
};

/// A function that C calls at any time and on any thread. C holds its number, which is looked up at each call: a call
/// that comes after the end finds nothing, and one that runs keeps the function alive.
template <class... Arguments> class hook {
public:
    using function = std::function<void(Arguments...)>;

    explicit hook(function body) : state_(std::make_shared<state>()) {
        state_->body = std::move(body);
        const std::lock_guard<std::mutex> lock(all().mutex);
        number_ = ++all().last;
        all().states.emplace(number_, state_);
    }
    hook(const hook &) = delete;
    hook &operator=(const hook &) = delete;
    /// Waits for calls that run; not inside of a callback, which may be what would be waited for. Then the last call
    /// takes the function along.
    ~hook() {
        // Goes last and without the lock: what it holds may be hooks as well.
        function body;
        std::unique_lock<std::mutex> lock(all().mutex);
        all().states.erase(number_);
        if (!inside_mark::is_set()) all().ended.wait(lock, [this] { return state_->running == 0; });
        if (state_->running == 0) body.swap(state_->body);
    }

    /// What C hands back.
    void *data() const noexcept { return reinterpret_cast<void *>(number_); }

    /// Throws what a call threw, once.
    void rethrow() {
        std::unique_lock<std::mutex> lock(all().mutex);
        const std::exception_ptr thrown = std::exchange(state_->thrown, nullptr);
        lock.unlock();
        detail::rethrow(thrown);
    }

    /// Calls the function of a number, if it is still there.
    static void call(void *data, Arguments... arguments) noexcept {
        const inside_mark mark;
        // These two go without the lock, as above.
        std::shared_ptr<state> known;
        std::exception_ptr thrown;
        {
            const std::lock_guard<std::mutex> lock(all().mutex);
            const auto found = all().states.find(reinterpret_cast<std::uintptr_t>(data));
            if (found == all().states.end()) return;
            known = found->second;
            ++known->running;
        }
        thrown = caught([&] { known->body(arguments...); });
        const std::lock_guard<std::mutex> lock(all().mutex);
        if (!known->thrown) known->thrown.swap(thrown);
        if (--known->running == 0) all().ended.notify_all();
    }

private:
    struct state {
        function body;
        int running = 0;
        std::exception_ptr thrown;
    };
    struct registry {
        std::mutex mutex;
        std::condition_variable ended;
        std::unordered_map<std::uintptr_t, std::shared_ptr<state>> states;
        std::uintptr_t last = 0;
    };
    /// Never freed: threads may call while the program ends.
    static registry &all() {
        static registry &instance = *new registry;
        return instance;
    }

    std::shared_ptr<state> state_;
    std::uintptr_t number_ = 0;
};

}  // namespace detail

// ------------------------------------------------------ Objects ------------------------------------------------------

/// What is logged at most, and how bad a log line is.
enum class log_level : std::int32_t {
    off = TENON_LOG_OFF,
    error = TENON_LOG_ERROR,
    warn = TENON_LOG_WARN,
    info = TENON_LOG_INFO,
    debug = TENON_LOG_DEBUG,
    trace = TENON_LOG_TRACE,
};

namespace detail {

using log_hook = hook<log_level, std::string_view, std::string_view>;

/// The owner of a handle of tenon.h, and of what the handle's object may still call.
template <class Raw> class object {
public:
    /// Owns a handle that a function of tenon.h gave. `log` is for this header only.
    explicit object(Raw *owned, std::shared_ptr<log_hook> log = nullptr) noexcept
        : log_(std::move(log)), raw_(owned) {}
    object(object &&) noexcept = default;
    object &operator=(object &&other) noexcept {
        // In this order, so that what is freed can still log.
        raw_ = std::move(other.raw_);
        log_ = std::move(other.log_);
        return *this;
    }

    /// The handle, for functions of tenon.h; it stays this object's. NULL when this was moved from.
    Raw *get() const noexcept { return raw_.get(); }
    /// Whether this was not moved from.
    explicit operator bool() const noexcept { return raw_ != nullptr; }

protected:
    ~object() = default;
    const std::shared_ptr<log_hook> &log() const noexcept { return log_; }

private:
    std::shared_ptr<log_hook> log_;
    std::unique_ptr<Raw, deleter> raw_;
};

/// Calls a function of tenon.h that gives out a handle, and makes the object of it.
template <class Object, class Raw, class Call>
outcome<Object> create(Call call, std::shared_ptr<log_hook> log = nullptr) {
    out<Raw> made;
    return attempt([&](tenon_error **problem) { return call(made.place(), problem); },
                   [&] { return Object(made.take(), std::move(log)); });
}

inline std::optional<float> probability(float value) noexcept {
    return value < 0 ? std::nullopt : std::optional<float>(value);
}

}  // namespace detail

/// The version of the library that is running, such as "0.1.0".
inline std::string_view version() noexcept { return tenon_version_string(); }

/// The name of a status, such as "TENON_E_BUSY".
inline std::string_view status_name(tenon_status status) noexcept { return tenon_status_name(status); }

/// Values that lie one after the other in memory of somebody else's, as std::span of C++20, to which it converts.
template <class T> class span {
public:
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// Of an array, or anything with `data` and `size`, such as a std::vector.
    template <class Range, class Data = decltype(std::data(std::declval<const Range &>())),
              class = std::enable_if_t<std::is_convertible_v<Data, T *>>>
    constexpr span(const Range &range) noexcept : span(std::data(range), std::size(range)) {}

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

// ------------------------------------------------ Options and tables -------------------------------------------------

/// Options for a load or a request: only what is set is asked for. Names, kinds and ranges are the backend's own and
/// are checked when the options are used: an unknown one is TENON_E_OPTIONS there.
class options : public detail::object<tenon_options> {
public:
    using object::object;
    /// Options in which nothing is set.
    static outcome<options> make() { return detail::create<options, tenon_options>(tenon_options_new); }
#if TENON_HPP_THROWS
    options() : options(make()) {}
#endif

    /// Sets an option to a bool, a number that is whole or not, or a text.
    template <class Value> outcome<void> set(std::string_view name, const Value &value) {
        const detail::c_text key(name);
        return detail::attempt([&](tenon_error **problem) {
            if constexpr (std::is_same_v<Value, bool>) {
                return tenon_options_set_bool(get(), key.get(), value, problem);
            } else if constexpr (std::is_integral_v<Value>) {
                static_assert(sizeof(Value) < sizeof(std::int64_t) || std::is_signed_v<Value>,
                              "cast to std::int64_t: that is the widest number that an option can be");
                return tenon_options_set_integer(get(), key.get(), value, problem);
            } else if constexpr (std::is_floating_point_v<Value>) {
                return tenon_options_set_number(get(), key.get(), static_cast<double>(value), problem);
            } else {
                const detail::c_text text{std::string_view(value)};
                return tenon_options_set_string(get(), key.get(), text.get(), problem);
            }
        });
    }
    /// Sets an option to any JSON value, such as a list of texts or a JSON schema.
    outcome<void> set_json(std::string_view name, std::string_view json) {
        const detail::c_text key(name), value(json);
        return detail::attempt([&](tenon_error **problem) {
            return tenon_options_set_json(get(), key.get(), value.get(), problem);
        });
    }
};

/// Rows of texts in named columns. Immutable.
class table : public detail::object<tenon_table> {
public:
    using object::object;

    /// The number of rows.
    std::size_t rows() const noexcept { return tenon_table_rows(get()); }
    /// The number of columns.
    std::size_t columns() const noexcept { return tenon_table_columns(get()); }
    /// The name of a column, counted from 0. Belongs to the table.
    std::optional<std::string_view> column(std::size_t index) const & noexcept {
        return detail::optional_view(tenon_table_column(get(), index));
    }
    /// The text in a row, counted from 0, and a column; nothing where there is no such row or column. Belongs to the
    /// table.
    std::optional<std::string_view> at(std::size_t row, std::string_view column) const & {
        return detail::optional_view(tenon_table_get(get(), row, detail::c_text(column).get()));
    }

    std::optional<std::string_view> column(std::size_t) && = delete;
    std::optional<std::string_view> at(std::size_t, std::string_view) && = delete;
};

// ------------------------------------------------------ Results ------------------------------------------------------

/// A timed word. The text belongs to the result.
struct word {
    /// The word, without surrounding space.
    std::string_view text;
    microseconds start{0}, end{0};
    /// Probability, 0 to 1, where the backend tells it.
    std::optional<float> confidence;
};

/// A timed piece of a transcript. The texts belong to the result.
struct segment {
    /// The text as the model wrote it, surrounding space included.
    std::string_view text;
    microseconds start{0}, end{0};
    /// Probability of the text, 0 to 1, where the backend tells it.
    std::optional<float> confidence;
    /// Probability that this is no speech, 0 to 1, where the backend tells it.
    std::optional<float> no_speech;
    /// The words, where the request's options asked for them.
    std::vector<word> words;
};

/// What a request consumed and produced, and where its time went.
struct usage {
    /// Tokens of the input, those of them that the session remembered, and tokens generated.
    std::uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
    /// Audio consumed.
    microseconds audio{0};
    /// Time spent on the input (prefill or encoder), on generating or decoding, and from start to end.
    microseconds prompt{0}, generate{0}, total{0};
    /// Time until the first thing came, if something did.
    std::optional<microseconds> first;
};

/// What a request answered. Immutable. The texts and vectors that it gives belong to it.
class result : public detail::object<tenon_result> {
public:
    using object::object;

    /// The text: what was generated, or the segments' texts joined.
    std::string_view text() const & noexcept {
        const char *text = tenon_result_text(get());
        return text == nullptr ? std::string_view() : std::string_view(text, tenon_result_text_size(get()));
    }
    std::string text() && { return std::string(static_cast<const result &>(*this).text()); }
    /// Everything as one JSON object, the same that `tenon --json` prints.
    std::string_view json() const & noexcept { return detail::view(tenon_result_json(get())); }
    std::string json() && { return std::string(static_cast<const result &>(*this).json()); }
    /// What is known of it: "task", "language", "finish", "model", "plugin", "options" and others, as
    /// tenon_result_info lists them.
    std::optional<std::string_view> info(std::string_view key) const & {
        return detail::optional_view(tenon_result_info(get(), detail::c_text(key).get()));
    }
    /// The segments of a transcript, with their words.
    outcome<std::vector<segment>> segments() const & {
        std::vector<segment> all;
        return detail::attempt(
            [&](tenon_error **problem) {
                tenon_status status = TENON_OK;
                // One that was moved from has no segments either, but that is an error, which C tells.
                const std::size_t count = *this ? tenon_result_segment_count(get()) : 1;
                for (std::size_t index = 0; status == TENON_OK && index < count; index++)
                    status = add_segment(all, index, problem);
                return status;
            },
            [&] { return std::move(all); });
    }
    /// The number of vectors that embed made: one for each text.
    std::size_t embedding_count() const noexcept { return tenon_result_embedding_count(get()); }
    /// The vector of a text, counted from 0. TENON_E_NOT_FOUND where there is none.
    outcome<span<const float>> embedding(std::size_t index) const & {
        const float *values = nullptr;
        std::size_t size = 0;
        return detail::attempt(
            [&](tenon_error **problem) { return tenon_result_embedding(get(), index, &values, &size, problem); },
            [&] { return span<const float>(values, size); });
    }
    /// The tokens of a text, where the request's options asked for them. Columns: id, text, logprob, start_us, end_us.
    outcome<table> tokens() const { return listed(tenon_result_tokens); }
    /// What the reader should know: notes of the backend, and parts of the audio that were lost. Nothing is left out of
    /// a result without a row here. Columns: code, message, at_us, lost_us.
    outcome<table> notes() const { return listed(tenon_result_notes); }
    /// What the request consumed and produced.
    outcome<tenon::usage> usage() const {
        tenon_run_usage raw = tenon_run_usage_init();
        return detail::attempt([&](tenon_error **problem) { return tenon_result_usage(get(), &raw, problem); },
                               [&] {
                                   tenon::usage made;
                                   made.prompt_tokens = raw.prompt_tokens;
                                   made.cached_tokens = raw.cached_tokens;
                                   made.generated_tokens = raw.generated_tokens;
                                   made.audio = microseconds(raw.audio_us);
                                   made.prompt = microseconds(raw.prompt_us);
                                   made.generate = microseconds(raw.generate_us);
                                   made.total = microseconds(raw.total_us);
                                   if (raw.first_us >= 0) made.first = microseconds(raw.first_us);
                                   return made;
                               });
    }

    std::optional<std::string_view> info(std::string_view) && = delete;
    outcome<std::vector<segment>> segments() && = delete;
    outcome<span<const float>> embedding(std::size_t) && = delete;

private:
    template <class List> outcome<table> listed(List list) const {
        return detail::create<table, tenon_table>(
            [&](tenon_table **made, tenon_error **problem) { return list(get(), made, problem); });
    }

    tenon_status add_segment(std::vector<segment> &all, std::size_t index, tenon_error **problem) const {
        tenon_timed_segment raw = tenon_timed_segment_init();
        tenon_status status = tenon_result_segment(get(), index, &raw, problem);
        if (status != TENON_OK) return status;
        all.push_back({std::string_view(raw.text, raw.text_size), microseconds(raw.start_us), microseconds(raw.end_us),
                       detail::probability(raw.confidence), detail::probability(raw.no_speech), {}});
        for (std::uint32_t at = 0; status == TENON_OK && at < raw.word_count; at++)
            status = add_word(all.back().words, index, at, problem);
        return status;
    }

    tenon_status add_word(std::vector<word> &all, std::size_t segment, std::size_t index, tenon_error **problem) const {
        tenon_timed_word raw = tenon_timed_word_init();
        const tenon_status status = tenon_result_word(get(), segment, index, &raw, problem);
        if (status != TENON_OK) return status;
        all.push_back({std::string_view(raw.text, raw.text_size), microseconds(raw.start_us), microseconds(raw.end_us),
                       detail::probability(raw.confidence)});
        return status;
    }
};

// ------------------------------------------------------ Streams ------------------------------------------------------

/// What an event is of. Skip kinds that you do not know: later versions may send others.
enum class event_kind : std::int32_t {
    /// A piece of a transcript: text, start, end, confidence, no_speech.
    segment = TENON_EVENT_SEGMENT,
    /// A piece of generated text, whole code points: text.
    text = TENON_EVENT_TEXT,
    /// A token, where they were asked for: text, token, logprob; start and end where it is timed.
    token = TENON_EVENT_TOKEN,
    /// The vector of an input text: index, values.
    embedding = TENON_EVENT_EMBEDDING,
    /// The language that was detected or used: its code is the text, its probability the confidence.
    language = TENON_EVENT_LANGUAGE,
    /// How far the request is: fraction.
    progress = TENON_EVENT_PROGRESS,
    /// What the reader should know about this answer: text.
    note = TENON_EVENT_NOTE,
};

/// What happens while a request runs. What a kind does not name is empty. Texts and values are valid until the next
/// event of the stream is asked for.
struct event {
    event_kind kind{};
    std::string_view text;
    microseconds start{0}, end{0};
    std::optional<float> confidence, no_speech;
    /// 0 to 1.
    float fraction = 0;
    /// Natural logarithm of the token's probability, where the backend tells it.
    std::optional<float> logprob;
    /// Id of the token in the model's vocabulary.
    std::int32_t token = 0;
    /// Which input text the vector belongs to, from 0.
    std::uint32_t index = 0;
    span<const float> values;
    /// The event as one JSON object, with all that it has (words of a segment, code of a note).
    std::string_view json;
};

/// What came of waiting for an event.
enum class step {
    /// An event.
    event,
    /// Nothing yet; ask again.
    timeout,
    /// The request has succeeded, and nothing more comes.
    end,
};

/// A request that runs, read event by event. One thread at a time may read it; any thread may cancel it, and push
/// audio.
///
/// Destroying it while the request runs cancels that and waits until its backend has ended.
class stream : public detail::object<tenon_stream> {
public:
    using object::object;
    class iterator;
    /// The end of a loop over the events.
    struct sentinel {};

    /// Waits for the next event. False at the end of a request that succeeded, and from then on; a request that failed
    /// gives its error once, after its last event.
    outcome<bool> next(event &into) {
        step came = step::end;
        return detail::attempt([&](tenon_error **problem) { return read(into, -1, came, problem); },
                               [&] { return came == step::event; });
    }
    /// As above, but waits no longer than `timeout`; not at all when that is not positive.
    outcome<step> next(event &into, microseconds timeout) {
        step came = step::end;
        const std::int64_t wait = timeout.count() < 0 ? 0 : timeout.count();
        return detail::attempt([&](tenon_error **problem) { return read(into, wait, came, problem); },
                               [&] { return came; });
    }
    /// `for (auto &event : stream)`: the events that are still to come. An error is thrown when it is come to; without
    /// exceptions the loop ends there, and `result` returns the error.
    inline iterator begin();
    sentinel end() const noexcept { return {}; }

    /// Hands over live audio: interleaved samples of whole frames, which are copied; rate and channels must stay as
    /// they were in the first call. Waits while the backend is more than 30 seconds behind. TENON_E_INVALID_ARGUMENT
    /// once the input was finished; otherwise TENON_E_END when the request has ended, and TENON_E_CANCELLED or its
    /// like when it was asked to end. Any thread, also while another one reads.
    outcome<void> push_audio(span<const float> samples, std::uint32_t rate, std::uint32_t channels = 1);
    outcome<void> push_audio(span<const std::int16_t> samples, std::uint32_t rate, std::uint32_t channels = 1);
    /// Says that no more live audio comes, so that the request can end. A second time does nothing. Any thread.
    outcome<void> finish_input() {
        return detail::attempt([&](tenon_error **problem) { return tenon_stream_finish_input(get(), problem); });
    }

    /// Has a function called on any thread, one call at a time, whenever the stream has something to read, and at once
    /// if it has something now; an empty function for none. Once this or the destructor has returned, the function set
    /// before is not running and never runs again, except that they do not wait inside of a callback. What it throws is
    /// thrown by the next `next` or `set_wakeup`.
    outcome<void> set_wakeup(std::function<void()> wakeup) {
        std::shared_ptr<detail::hook<>> hook;
        if (wakeup) hook = std::make_shared<detail::hook<>>(std::move(wakeup));
        return detail::attempt([&](tenon_error **problem) {
            const auto function = hook ? &detail::hook<>::call : nullptr;
            const tenon_status status =
                tenon_stream_set_wakeup(get(), function, hook ? hook->data() : nullptr, problem);
            if (status == TENON_OK) {
                wakeup_.swap(hook);
                if (hook) hook->rethrow();
            }
            return status;
        });
    }
    /// A file descriptor to watch with poll and its like: readable while there may be something to read, the end
    /// included. Then read with a timeout of 0 until there is none or the end. It belongs to the stream: never read,
    /// write or close it. TENON_E_UNSUPPORTED on Windows.
    outcome<int> descriptor() {
        std::int32_t number = -1;
        return detail::attempt(
            [&](tenon_error **problem) { return tenon_stream_descriptor(get(), &number, problem); },
            [&] { return int{number}; });
    }
    /// Whether the stream can be read without waiting. The end counts as something to read. True as well while another
    /// thread reads it.
    bool is_ready() const noexcept { return tenon_stream_is_ready(get()) != 0; }
    /// Asks the request to end. Events that it has given out can still be read; its last word is then
    /// TENON_E_CANCELLED, unless it was done before. Returns at once. Any thread, any number of times.
    outcome<void> cancel() const {
        return detail::attempt([&](tenon_error **problem) { return tenon_stream_cancel(get(), problem); });
    }
    /// The whole result after the end, as often as it is asked for. TENON_E_BUSY before the end; the request's own
    /// error when it failed.
    outcome<tenon::result> result() const {
        return detail::create<tenon::result, tenon_result>(
            [&](tenon_result **made, tenon_error **problem) { return tenon_stream_result(get(), made, problem); });
    }

private:
    tenon_status read(event &into, std::int64_t timeout_us, step &came, tenon_error **problem) {
        tenon_event raw = tenon_event_init();
        // Before the event is taken: it would be lost, or the error of the request, which is told once.
        if (wakeup_) wakeup_->rethrow();
        const tenon_status status = tenon_stream_next(get(), timeout_us, &raw, problem);
        came = status == TENON_OK ? step::event : status == TENON_E_TIMEOUT ? step::timeout : step::end;
        if (status == TENON_OK) into = event_of(raw);
        if (status != TENON_E_TIMEOUT && status != TENON_E_END) return status;
        // Nothing was taken, and after the end nobody may ask again.
        if (wakeup_) wakeup_->rethrow();
        return TENON_OK;
    }

    static event event_of(const tenon_event &raw) noexcept {
        event made;
        made.kind = static_cast<event_kind>(raw.kind);
        if (raw.text != nullptr) made.text = std::string_view(raw.text, raw.text_size);
        made.start = microseconds(raw.start_us);
        made.end = microseconds(raw.end_us);
        // What a kind does not name is 0 in C, which would be a probability.
        const bool is_segment = made.kind == event_kind::segment;
        if (is_segment) made.no_speech = detail::probability(raw.no_speech);
        if (is_segment || made.kind == event_kind::language) made.confidence = detail::probability(raw.confidence);
        if (made.kind == event_kind::token && raw.logprob <= 0) made.logprob = raw.logprob;
        made.fraction = raw.fraction;
        made.token = raw.token;
        made.index = raw.index;
        made.values = span<const float>(raw.values, raw.value_count);
        made.json = detail::view(raw.json);
        return made;
    }

    std::shared_ptr<detail::hook<>> wakeup_;
};

/// Goes through the events of a stream, once. The stream must stay where it is meanwhile.
class stream::iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = event;
    using difference_type = std::ptrdiff_t;
    using pointer = const event *;
    using reference = const event &;

    explicit iterator(stream &from) : stream_(&from) { ++*this; }
    reference operator*() const noexcept { return event_; }
    pointer operator->() const noexcept { return &event_; }
    iterator &operator++() {
        if (!detail::is_true(stream_->next(event_))) stream_ = nullptr;
        return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator &left, sentinel) noexcept { return left.stream_ == nullptr; }
    friend bool operator!=(const iterator &left, sentinel) noexcept { return left.stream_ != nullptr; }

private:
    stream *stream_;
    event event_;
};

inline stream::iterator stream::begin() { return iterator(*this); }

// ----------------------------------------------- Requests and sessions -----------------------------------------------

namespace detail {

/// Calls a function that takes audio as frames, after a look at whether the samples are whole frames.
template <class Sample, class Call>
outcome<void> with_frames(span<const Sample> samples, std::uint32_t channels, Call call) {
    if (channels != 0 && samples.size() % channels != 0) {
        return fail<void>(error(TENON_E_INVALID_ARGUMENT, std::to_string(samples.size()) +
                                                              " samples are no whole frames of " +
                                                              std::to_string(channels) + " channels"));
    }
    const std::size_t frames = channels == 0 ? samples.size() : samples.size() / channels;
    return attempt([&](tenon_error **problem) { return call(samples.data(), frames, problem); });
}

}  // namespace detail

inline outcome<void> stream::push_audio(span<const float> samples, std::uint32_t rate, std::uint32_t channels) {
    return detail::with_frames(samples, channels, [&](const float *first, std::size_t frames, tenon_error **problem) {
        return tenon_stream_push_audio(get(), first, frames, rate, channels, problem);
    });
}

inline outcome<void> stream::push_audio(span<const std::int16_t> samples, std::uint32_t rate, std::uint32_t channels) {
    return detail::with_frames(
        samples, channels, [&](const std::int16_t *first, std::size_t frames, tenon_error **problem) {
            return tenon_stream_push_audio_i16(get(), first, frames, rate, channels, problem);
        });
}

/// What is asked of a session. Built step by step; whoever runs it copies it, so it may be changed and used again.
class request : public detail::object<tenon_request> {
public:
    using object::object;
    /// A request for a task: "transcribe", "translate", "detect-language", "generate", "chat", "embed", or another one
    /// of the model's backend.
    static outcome<request> make(std::string_view task) {
        const detail::c_text name(task);
        return detail::create<request, tenon_request>([&](tenon_request **made, tenon_error **problem) {
            return tenon_request_new(name.get(), made, problem);
        });
    }
#if TENON_HPP_THROWS
    explicit request(std::string_view task) : request(make(task)) {}
#endif

    /// Adds a message of a chat, in the order of the conversation. `role` is "system", "user" or "assistant".
    outcome<void> add_text(std::string_view role, std::string_view content) {
        const detail::c_text name(role);
        return detail::attempt([&](tenon_error **problem) {
            // An empty view may have no place at all, and NULL is no text.
            const char *first = content.empty() ? "" : content.data();
            return tenon_request_add_text_n(get(), name.get_or_null(), first, content.size(), problem);
        });
    }
    /// Adds a text without a role: one for generate, any number for embed.
    outcome<void> add_text(std::string_view content) { return add_text(std::string_view(), content); }

    /// Gives the request its audio: interleaved samples of whole frames at `rate` frames per second, nominally within
    /// -1 to 1: 1000 to 768000 of them, and 1 to 64 channels. Copied once, here.
    outcome<void> add_audio(span<const float> samples, std::uint32_t rate, std::uint32_t channels = 1) {
        return detail::with_frames(
            samples, channels, [&](const float *first, std::size_t frames, tenon_error **problem) {
                return tenon_request_add_audio(get(), first, frames, rate, channels, problem);
            });
    }
    /// As above, for signed samples of 16 bits.
    outcome<void> add_audio(span<const std::int16_t> samples, std::uint32_t rate, std::uint32_t channels = 1) {
        return detail::with_frames(
            samples, channels, [&](const std::int16_t *first, std::size_t frames, tenon_error **problem) {
                return tenon_request_add_audio_i16(get(), first, frames, rate, channels, problem);
            });
    }
    /// Gives the request its audio by the path of a file, of any common format. It is opened when the request runs.
    outcome<void> add_audio_file(const std::filesystem::path &path) {
        const detail::c_text text(path);
        return detail::attempt(
            [&](tenon_error **problem) { return tenon_request_add_audio_file(get(), text.get(), problem); });
    }
    /// As above, for a whole file in memory, which is copied.
    outcome<void> add_audio_bytes(span<const std::uint8_t> bytes) {
        return detail::attempt([&](tenon_error **problem) {
            return tenon_request_add_audio_bytes(get(), bytes.data(), bytes.size(), problem);
        });
    }
    /// Says that the audio comes while the request runs, by `stream::push_audio`. Such a request needs a stream.
    outcome<void> add_live_audio() {
        return detail::attempt([&](tenon_error **problem) { return tenon_request_add_live_audio(get(), problem); });
    }

    /// Asks for these options, which are copied and replace those set before. They lie over the preset's.
    outcome<void> set_options(const options &asked) {
        return detail::attempt(
            [&](tenon_error **problem) { return tenon_request_set_options(get(), asked.get(), problem); });
    }
    /// Takes the options of this preset of the manifest, such as "fast"; those of "default" for an empty name.
    outcome<void> set_preset(std::string_view preset) {
        const detail::c_text name(preset);
        return detail::attempt(
            [&](tenon_error **problem) { return tenon_request_set_preset(get(), name.get_or_null(), problem); });
    }
    /// Ends the request with TENON_E_DEADLINE when it is not done this long after its start; at once when that is not
    /// positive. Without a value it takes the deadline away.
    outcome<void> set_deadline(std::optional<microseconds> after) {
        const std::int64_t wait = !after ? -1 : after->count() < 0 ? 0 : after->count();
        return detail::attempt([&](tenon_error **problem) { return tenon_request_set_deadline(get(), wait, problem); });
    }
};

/// A session on a model: one conversation or one audio stream, one request at a time. Another request meanwhile, on
/// whatever thread, is TENON_E_BUSY.
class session : public detail::object<tenon_session> {
public:
    using object::object;

    /// Runs a request and waits for its result. After an error the session can be used as before.
    outcome<result> run(const request &asked) {
        return detail::create<result, tenon_result>([&](tenon_result **made, tenon_error **problem) {
            return tenon_run(get(), asked.get(), made, problem);
        });
    }
    /// Starts a request whose events are read while it runs. Errors here are those that can be told before the backend
    /// runs.
    outcome<tenon::stream> stream(const request &asked) {
        return detail::create<tenon::stream, tenon_stream>(
            [&](tenon_stream **made, tenon_error **problem) {
                return tenon_stream_start(get(), asked.get(), made, problem);
            },
            log());
    }
    /// Asks the request that runs on this session now, if one does, to end with TENON_E_CANCELLED. Returns at once.
    /// Later requests are not affected. Any thread, any number of times.
    outcome<void> cancel() const {
        return detail::attempt([&](tenon_error **problem) { return tenon_session_cancel(get(), problem); });
    }
    /// Makes the session as good as new: it forgets everything. TENON_E_BUSY while a request runs on it.
    outcome<void> reset() {
        return detail::attempt([&](tenon_error **problem) { return tenon_session_reset(get(), problem); });
    }
};

// ------------------------------------------------ Models and engines -------------------------------------------------

/// A loaded model. Its weights are shared by all of its sessions.
class model : public detail::object<tenon_model> {
public:
    using object::object;

    /// Opens a session.
    outcome<tenon::session> session() const {
        return detail::create<tenon::session, tenon_session>(
            [&](tenon_session **made, tenon_error **problem) { return tenon_session_new(get(), made, problem); },
            log());
    }
    /// What is known of it: "name", "task", "tasks", "presets", "backend", "sample_rate", "options:TASK" and others, as
    /// tenon_model_info lists them. Belongs to the model.
    std::optional<std::string_view> info(std::string_view key) const & {
        return detail::optional_view(tenon_model_info(get(), detail::c_text(key).get()));
    }

    std::optional<std::string_view> info(std::string_view) && = delete;
};

/// When model files are hashed.
enum class verify_mode : std::int32_t {
    /// When the ledger of verified files does not know them as they are.
    cached = TENON_VERIFY_CACHED,
    /// At every load.
    always = TENON_VERIFY_ALWAYS,
    /// Never; their sizes are still checked. For those who verified them in another way.
    never = TENON_VERIFY_NEVER,
};

/// What a load is doing.
enum class phase : std::int32_t {
    /// Files are being hashed.
    verify = TENON_PHASE_VERIFY,
    /// The backend reads the model.
    load = TENON_PHASE_LOAD,
    /// Files come over the network.
    pull = TENON_PHASE_PULL,
};

/// Hears how far a load, a verification or a pull is, with the fraction of the phase, 0 to 1. Returns true to go on, false to
/// cancel. Called on a thread of the engine's while the caller waits. What it throws cancels as well, and is thrown by
/// the function that was waited for.
using progress = std::function<bool(phase, float)>;

/// How a model is pulled.
struct pull_options {
    /// The user accepts a licence for research or non-commercial use only; without it such a model is refused.
    bool accept_license = false;
    /// Open no connection: what is not here is TENON_E_NETWORK.
    bool offline = false;
    /// Fetch also the files that the model loads without.
    bool optional_files = true;
    /// Most bytes per second; 0 for no limit.
    std::uint64_t rate_limit = 0;
    /// Connections for one large file, where the server allows several; 0 for the usual number.
    std::uint32_t connections = 0;
    /// Where files of huggingface.co are fetched from, such as a mirror; empty for HF_ENDPOINT, or else the hub.
    std::string endpoint;
    /// The pull ends with TENON_E_DEADLINE after this time; 0 for none.
    microseconds deadline{0};
};

/// What a model and its sessions are going to need of memory, in bytes, on all devices together.
struct memory_estimate {
    /// It fits on every device now; loading it is refused when not.
    bool fits = false;
    /// Weights, once for all sessions; keys and values of their tokens; buffers of the computation; everything else.
    std::uint64_t weights = 0, cache = 0, compute = 0, other = 0;
    /// All of it, and what of it each session more adds.
    std::uint64_t total = 0, session = 0;
    /// Memory of the machine that can be had now, where somebody can tell, and what of it is left to others.
    std::optional<std::uint64_t> available;
    std::uint64_t reserve = 0;
};

/// Hears a log line: how bad it is, where it comes from, and the line. Both texts are valid during the call. Called on
/// any thread, also on several at once. What it throws is lost.
using log_sink = std::function<void(log_level, std::string_view target, std::string_view line)>;

/// How an engine works.
struct engine_options {
    /// Folders of manifests, plugins and model files. They come before the standard places.
    std::vector<std::filesystem::path> manifest_dirs, plugin_dirs, model_dirs;
    /// Look only there, and not in the standard places.
    bool only_named_places = false;
    /// Load models that do not fit into memory, too. Otherwise that is TENON_E_OUT_OF_MEMORY with the numbers.
    bool ignore_memory = false;
    /// Run every model in a worker, a process of its own, also where its manifest does not ask for that. When a worker
    /// dies its requests end with TENON_E_WORKER_DIED, and the next one starts another.
    bool workers = false;
    /// The program `tenon-worker`; empty to take the one that TENON_WORKER names, or to look around the library.
    std::filesystem::path worker_program;
    /// How long a worker may take to end a request after cancel or deadline before it is killed; 0 for 5 seconds.
    microseconds worker_grace{0};
    /// Folder of the store, and of the ledger that remembers which files were verified; empty for the user's.
    std::filesystem::path store_dir, state_dir;
    /// A lock file, as `tenon lock` writes it; empty for none. Every model and plugin that it does not pin is refused with
    /// TENON_E_HASH_MISMATCH before anything of it runs.
    std::filesystem::path lock_file;
    verify_mode verify = verify_mode::cached;
    /// Most threads that one request is granted; 0 for all that the process may use.
    std::uint32_t threads = 0;
    /// How long a backend may take to end after cancel or deadline before its thread is left behind; 0 for 30 seconds.
    microseconds patience{0};
    /// Hears what the engine logs, up to `log_most`. It lives as long as the engine and everything made from it; the
    /// last of these to go waits for calls that run.
    log_sink log;
    log_level log_most = log_level::info;
};

namespace detail {

/// Folders for C.
class folders {
public:
    explicit folders(const std::vector<std::filesystem::path> &paths) : texts_(paths.begin(), paths.end()) {
        for (const c_text &text : texts_) pointers_.push_back(text.get());
        pointers_.push_back(nullptr);
    }
    const char *const *get() const noexcept { return pointers_.data(); }

private:
    std::vector<c_text> texts_;
    std::vector<const char *> pointers_;
};

inline void hear_log(void *data, std::int32_t level, const char *target, const char *line) noexcept {
    log_hook::call(data, static_cast<log_level>(level), view(target), view(line));
}

/// Where C takes NULL for no options, one that was moved from would pass for it.
inline error moved_options() { return error(TENON_E_INVALID_ARGUMENT, "the options were moved from"); }

/// The progress of one call, which waits while this is used.
class progress_call {
public:
    explicit progress_call(const progress &body) noexcept : body_(body) {}
    tenon_progress_fn function() const noexcept { return body_ ? hear : nullptr; }
    /// Throws what the function threw.
    void rethrow() const { detail::rethrow(thrown_); }

private:
    static std::int32_t hear(void *data, std::int32_t phase, float fraction) noexcept {
        auto &call = *static_cast<progress_call *>(data);
        if (call.thrown_) return 1;
        bool goes_on = false;
        const inside_mark mark;
        call.thrown_ = caught([&] { goes_on = call.body_(static_cast<tenon::phase>(phase), fraction); });
        return goes_on ? 0 : 1;
    }

    const progress &body_;
    std::exception_ptr thrown_;
};

}  // namespace detail

/// An engine: manifests, plugins and the store. Several live side by side; they share the loaded plugins and the
/// threads that the process may use. Any number of threads may use one, its functions that are not const included.
///
/// Models, sessions and streams of it go on after it is gone; with the last of them its last thread ends.
class engine : public detail::object<tenon_engine> {
public:
    using object::object;
    /// An engine: reads the manifests and the plugins' sidecars and loads nothing. A manifest or plugin that cannot be
    /// used is no error here: `models` and `plugins` tell of it. tenon_engine_new says which the standard places are.
    static outcome<engine> make(const engine_options &asked = {}) {
        const detail::folders manifests(asked.manifest_dirs), plugins(asked.plugin_dirs), models(asked.model_dirs);
        const detail::c_text store(asked.store_dir), state(asked.state_dir), lock(asked.lock_file);
        const detail::c_text worker(asked.worker_program);
        const auto log = asked.log ? std::make_shared<detail::log_hook>(asked.log) : nullptr;
        tenon_engine_options raw = tenon_engine_options_init();
        raw.flags = (asked.only_named_places ? TENON_ENGINE_ONLY_NAMED_PLACES : 0) |
                    (asked.ignore_memory ? TENON_ENGINE_IGNORE_MEMORY : 0) |
                    (asked.workers ? TENON_ENGINE_WORKERS : 0);
        raw.verify = static_cast<std::int32_t>(asked.verify);
        raw.threads = asked.threads;
        raw.patience_us = asked.patience.count();
        raw.manifest_dirs = manifests.get();
        raw.plugin_dirs = plugins.get();
        raw.model_dirs = models.get();
        raw.store_dir = store.get_or_null();
        raw.state_dir = state.get_or_null();
        raw.lock_file = lock.get_or_null();
        raw.worker_program = worker.get_or_null();
        raw.worker_grace_us = asked.worker_grace.count();
        if (log) {
            raw.log = detail::hear_log;
            raw.log_data = log->data();
            raw.log_level = static_cast<std::int32_t>(asked.log_most);
        }
        return detail::create<engine, tenon_engine>(
            [&](tenon_engine **made, tenon_error **problem) { return tenon_engine_new(&raw, made, problem); }, log);
    }
#if TENON_HPP_THROWS
    explicit engine(const engine_options &asked = {}) : engine(make(asked)) {}
#endif

    /// Adds the manifest of a file, before those of folders. TENON_E_MANIFEST with everything that is wrong with it.
    outcome<void> add_manifest(const std::filesystem::path &path) {
        const detail::c_text text(path);
        return detail::attempt(
            [&](tenon_error **problem) { return tenon_engine_add_manifest(get(), text.get(), problem); });
    }
    /// Adds a manifest that lies in memory. `origin` is what errors call it.
    outcome<void> add_manifest_text(std::string_view manifest, std::string_view origin = "(text)") {
        const detail::c_text text(manifest), name(origin);
        return detail::attempt([&](tenon_error **problem) {
            return tenon_engine_add_manifest_text(get(), text.get(), name.get(), problem);
        });
    }
    /// Loads a plugin by the path of its library or sidecar and puts it before those that were found. `sha256` (64
    /// hexadecimal digits, or empty) must be that of the library and of the sidecar; without a sidecar it is needed.
    outcome<void> load_plugin(const std::filesystem::path &path, std::string_view sha256 = {}) {
        const detail::c_text text(path), digest(sha256);
        return detail::attempt([&](tenon_error **problem) {
            return tenon_engine_load_plugin(get(), text.get(), digest.get_or_null(), problem);
        });
    }
    /// Adds a backend that is linked into the program, by its `tenon_plugin_entry_v1`; TENON_EXPORT_BACKEND of
    /// tenon_plugin.hpp makes one.
    outcome<void> register_plugin(tenon_entry_fn entry) {
        return detail::attempt(
            [&](tenon_error **problem) { return tenon_engine_register_plugin(get(), entry, problem); });
    }
    /// The models of all manifests, by name. Columns: name, task, backend, state, size, license, manifest, problem,
    /// restricted.
    outcome<table> models() const { return listed(tenon_engine_models); }
    /// The plugins that were found, in search order. Columns: id, version, abi, path, sha256, tasks, cpu, license,
    /// description, loaded, problem.
    outcome<table> plugins() const { return listed(tenon_engine_plugins); }

    /// Verifies the files of a model by SHA-256, loads its plugin, and loads the model. `name` is that of its manifest.
    /// Waits until it is done.
    outcome<model> load(std::string_view name, const progress &hears = {}) { return load(name, nullptr, hears); }
    /// As above, with load options of the backend's.
    outcome<model> load(std::string_view name, const options &asked, const progress &hears = {}) {
        if (!asked) return detail::fail<model>(detail::moved_options());
        return load(name, asked.get(), hears);
    }
    /// Estimates what a model is going to need of memory with so many sessions. Its files are verified and their heads
    /// read; it is not loaded. TENON_E_UNSUPPORTED where its backend estimates nothing.
    outcome<memory_estimate> estimate(std::string_view name, std::uint32_t sessions = 1) const {
        return estimate(name, nullptr, sessions);
    }
    /// As above, with load options of the backend's.
    outcome<memory_estimate> estimate(std::string_view name, const options &asked, std::uint32_t sessions = 1) const {
        if (!asked) return detail::fail<memory_estimate>(detail::moved_options());
        return estimate(name, asked.get(), sessions);
    }
    /// Compares the files of a model with its manifest, and loads nothing. They are hashed whether or not the ledger
    /// knows them, unless `mode` says otherwise. The error is that of the first file that is not as it should be.
    outcome<void> verify(std::string_view name, verify_mode mode = verify_mode::always,
                         const progress &hears = {}) const {
        const detail::c_text text(name);
        detail::progress_call call(hears);
        return detail::attempt([&](tenon_error **problem) {
            const tenon_status status = tenon_model_verify(get(), text.get(), static_cast<std::int32_t>(mode),
                                                           call.function(), &call, problem);
            call.rethrow();
            return status;
        });
    }
    /// Fetches what a model lacks into the store, every byte verified: `load` finds it at once. Waits until it is done;
    /// `hears` can cancel. What ended early goes on at the byte where it stopped. tenon_engine_pull tells which parts
    /// of the environment count.
    outcome<void> pull(std::string_view name, const pull_options &asked = {}, const progress &hears = {}) {
        const detail::c_text text(name), endpoint{std::string_view(asked.endpoint)};
        tenon_pull_options raw = tenon_pull_options_init();
        raw.flags = (asked.accept_license ? TENON_PULL_ACCEPT_LICENSE : 0) |
                    (asked.offline ? TENON_PULL_OFFLINE : 0) | (asked.optional_files ? 0 : TENON_PULL_NO_OPTIONAL);
        raw.rate_limit = asked.rate_limit;
        raw.deadline_us = asked.deadline.count();
        raw.endpoint = endpoint.get_or_null();
        raw.connections = asked.connections;
        detail::progress_call call(hears);
        return detail::attempt([&](tenon_error **problem) {
            const tenon_status status =
                tenon_engine_pull(get(), text.get(), &raw, call.function(), &call, problem);
            call.rethrow();
            return status;
        });
    }
    /// Asks every request of the engine to end with TENON_E_SHUTDOWN, refuses new ones, and waits until all of its
    /// threads have ended, but no longer than `timeout`: then it is TENON_E_TIMEOUT. Without a value: as long as it
    /// takes.
    outcome<void> shutdown(std::optional<microseconds> timeout = std::nullopt) {
        const std::int64_t wait = !timeout ? -1 : timeout->count() < 0 ? 0 : timeout->count();
        return detail::attempt([&](tenon_error **problem) { return tenon_engine_shutdown(get(), wait, problem); });
    }

private:
    outcome<memory_estimate> estimate(std::string_view name, const tenon_options *asked,
                                      std::uint32_t sessions) const {
        const detail::c_text text(name);
        tenon_estimate raw = tenon_estimate_init();
        return detail::attempt(
            [&](tenon_error **problem) {
                return tenon_engine_estimate(get(), text.get(), asked, sessions, &raw, nullptr, problem);
            },
            [&] {
                memory_estimate made;
                made.fits = raw.fits != 0;
                made.weights = raw.weights;
                made.cache = raw.cache;
                made.compute = raw.compute;
                made.other = raw.other;
                made.total = raw.total;
                made.session = raw.session;
                if (raw.available > 0) made.available = raw.available;
                made.reserve = raw.reserve;
                return made;
            });
    }

    outcome<model> load(std::string_view name, const tenon_options *asked, const progress &hears) {
        const detail::c_text text(name);
        detail::progress_call call(hears);
        return detail::create<model, tenon_model>(
            [&](tenon_model **made, tenon_error **problem) {
                const tenon_status status =
                    tenon_model_load(get(), text.get(), asked, call.function(), &call, made, problem);
                call.rethrow();
                return status;
            },
            log());
    }

    template <class List> outcome<table> listed(List list) const {
        return detail::create<table, tenon_table>(
            [&](tenon_table **made, tenon_error **problem) { return list(get(), made, problem); });
    }
};

}  // inline namespace
}  // namespace tenon

#endif  // TENON_HPP
