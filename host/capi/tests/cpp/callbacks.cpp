// Callbacks: what they throw, how long they live, and what may be done in one.

#include "check.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace {

using namespace std::chrono_literals;

// Thrown by a callback, and to come out where tenon.hpp says.
struct thrown_by_test {};

// A stream that repeats a text, slowly.
tenon::stream repeats(tenon::session &session, std::string_view text, int delay_ms) {
    tenon::request request("generate");
    tenon::options options;
    ask(request, options, text, delay_ms);
    return session.stream(request);
}

// Runs something that is to throw a `Thrown`.
template <class Thrown, class Body> void check_throws(int line, Body body) {
    try {
        body();
        complain(line, "nothing was thrown");
    } catch (const Thrown &) {
    }
}

// An engine that hashes at every load, so that there is a verification to hear of.
tenon::engine suspicious() {
    tenon::engine_options asked;
    asked.verify = tenon::verify_mode::always;
    return tenon::engine(asked);
}

void progress_hears_both_phases_and_may_cancel() {
    tenon::engine engine = suspicious();
    float verified = 0, loaded = 0;
    engine.load("echo-with-file", [&](tenon::phase phase, float fraction) {
        (phase == tenon::phase::verify ? verified : loaded) = fraction;
        return true;
    });
    CHECK(verified == 1 && loaded == 1);
    FAILS(TENON_E_CANCELLED, engine.load("echo-with-file", [](tenon::phase, float) { return false; }));
    tenon::options options;
    options.set("delay_ms", 1);
    CHECK(engine.load("echo", options, [](tenon::phase, float) { return true; }));
    options.set("delay_ms", "long");
    FAILS(TENON_E_OPTIONS, engine.load("echo", options));
}

// What is here needs no network: the files are hashed, and that is all.
void a_pull_hears_of_verification_and_says_what_it_misses() {
    tenon::engine engine = suspicious();
    tenon::pull_options asked;
    asked.offline = true;
    engine.pull("echo-with-file", asked, [](tenon::phase, float) { return true; });
    FAILS(TENON_E_NOT_FOUND, engine.pull("no-such-model"));
    asked.endpoint = "no address";
    FAILS(TENON_E_INVALID_ARGUMENT, engine.pull("echo-with-file", asked));
}

void what_progress_throws_cancels_and_comes_out_of_the_call() {
    tenon::engine engine = suspicious();
    int calls = 0;
    const tenon::progress throws = [&](tenon::phase, float) -> bool {
        calls++;
        throw thrown_by_test();
    };
    check_throws<thrown_by_test>(__LINE__, [&] { engine.load("echo", throws); });
    check_throws<thrown_by_test>(__LINE__, [&] { engine.load("echo-with-file", throws); });
    CHECK(calls == 2);
    const auto mode = tenon::verify_mode::always;
    check_throws<thrown_by_test>(__LINE__, [&] { engine.verify("echo-with-file", mode, throws); });
    CHECK(calls == 3);
    const tenon::progress late = [](tenon::phase phase, float fraction) {
        if (phase == tenon::phase::load && fraction == 1) throw std::runtime_error("at the very end");
        return true;
    };
    check_throws<std::runtime_error>(__LINE__, [&] { engine.load("echo", late); });
    CHECK(engine.load("echo"));
}

void a_callback_that_calls_back_is_refused() {
    tenon::engine engine;
    FAILS(TENON_E_BUSY, engine.load("echo", [&](tenon::phase, float) { return engine.models().rows() > 0; }));
}

void what_a_wakeup_throws_comes_out_of_the_next_read() {
    tenon::session session = tenon::engine().load("echo").session();
    tenon::stream stream = repeats(session, "one two three", 1);
    std::atomic<int> calls{0};
    stream.set_wakeup([&] {
        if (calls++ == 0) throw thrown_by_test();
    });
    tenon::event event;
    std::string read;
    const auto read_on = [&] {
        while (stream.next(event)) read += event.text;
    };
    check_throws<thrown_by_test>(__LINE__, read_on);
    read_on();
    // No event went with the exception.
    CHECK(read == "one two three" && stream.result().text() == read);
}

void what_a_wakeup_throws_hides_no_error_of_the_request() {
    tenon::session session = tenon::engine().load("echo").session();
    tenon::stream stream = repeats(session, many_words(), 1);
    stream.set_wakeup([] { throw thrown_by_test(); });
    stream.cancel();
    tenon::event event;
    FAILS(TENON_E_CANCELLED, [&] {
        for (bool goes_on = true; goes_on;) {
            try {
                goes_on = stream.next(event);
            } catch (const thrown_by_test &) {
            }
        }
    }());
}

void what_a_wakeup_throws_comes_out_where_it_is_replaced() {
    tenon::session session = tenon::engine().load("echo").session();
    tenon::stream stream = repeats(session, "one", 0);
    std::atomic<bool> called{false};
    stream.set_wakeup([&] {
        called = true;
        throw thrown_by_test();
    });
    while (!called) std::this_thread::yield();
    check_throws<thrown_by_test>(__LINE__, [&] { stream.set_wakeup({}); });
    stream.set_wakeup({});
    for (auto &event : stream) CHECK(event.text == "one");
}

void a_wakeup_never_runs_once_it_was_replaced() {
    tenon::session session = tenon::engine().load("echo").session();
    tenon::stream stream = repeats(session, many_words(), 1);
    auto alive = std::make_shared<std::atomic<int>>(0);
    const std::weak_ptr<std::atomic<int>> watched = alive;
    tenon::event event;
    for (int round = 0; round < 50; round++) {
        auto valid = std::make_unique<std::atomic<bool>>(true);
        stream.set_wakeup([&valid = *valid, alive] { CHECK(valid); });
        stream.next(event);
        stream.set_wakeup(round % 2 == 0 ? std::function<void()>() : [] {});
        *valid = false;
    }
    alive.reset();
    CHECK(watched.expired());
}

void a_stream_may_be_destroyed_by_its_own_wakeup() {
    const tenon::model model = tenon::engine().load("echo");
    for (int round = 0; round < 20; round++) {
        // The backend may still be ending when the wakeup has returned, so each round has a session of its own.
        tenon::session session = model.session();
        auto stream = std::make_unique<tenon::stream>(repeats(session, many_words(), 1));
        std::atomic<bool> armed{false}, gone{false};
        // What the function holds lives while it runs, and goes with it: here a stream that has a wakeup as well.
        tenon::session other = model.session();
        auto held = std::make_shared<tenon::stream>(repeats(other, many_words(), 1));
        held->set_wakeup([] {});
        stream->set_wakeup([&stream, &armed, &gone, held = std::move(held)] {
            if (!armed || gone) return;
            stream->cancel();
            stream.reset();
            CHECK(*held);
            gone = true;
        });
        armed = true;
        while (!gone) std::this_thread::yield();
    }
}

void a_wakeup_may_cancel_and_look() {
    tenon::session session = tenon::engine().load("echo").session();
    tenon::stream stream = repeats(session, many_words(), 1);
    stream.set_wakeup([&] {
        stream.cancel();
        stream.is_ready();
        FAILS(TENON_E_BUSY, stream.result());
    });
    FAILS(TENON_E_CANCELLED, [&] {
        for (auto &event : stream) CHECK(event.text == "word ");
    }());
    stream.set_wakeup({});
}

// An engine whose log lines are counted, and what tells whether the sink still lives.
struct logged {
    std::shared_ptr<std::atomic<int>> lines = std::make_shared<std::atomic<int>>(0);
    std::optional<tenon::engine> engine;

    logged() {
        tenon::engine_options asked;
        asked.log_most = tenon::log_level::trace;
        asked.log = [lines = lines](tenon::log_level level, std::string_view target, std::string_view line) {
            CHECK(level >= tenon::log_level::error && level <= tenon::log_level::trace);
            CHECK(!target.empty() && !line.empty());
            ++*lines;
        };
        engine.emplace(asked);
    }
};

void a_log_sink_lives_as_long_as_what_may_log() {
    logged log;
    std::optional<tenon::model> model = log.engine->load("echo");
    CHECK(*log.lines > 0);
    log.engine.reset();
    CHECK(log.lines.use_count() == 2);
    std::optional<tenon::session> session = model->session();
    model.reset();
    std::optional<tenon::stream> stream = repeats(*session, many_words(), 1);
    session.reset();
    CHECK(log.lines.use_count() == 2);
    stream.reset();
    CHECK(log.lines.use_count() == 1);
}

void each_engine_has_a_sink_of_its_own_and_throws_are_lost() {
    logged first, second;
    const int before = *first.lines, elsewhere = *second.lines;
    first.engine->load("echo");
    CHECK(*first.lines > before && *second.lines == elsewhere);
    tenon::engine_options asked;
    std::atomic<int> thrown{0};
    asked.log_most = tenon::log_level::trace;
    asked.log = [&](tenon::log_level, std::string_view, std::string_view) {
        thrown++;
        throw thrown_by_test();
    };
    CHECK(tenon::engine(asked).load("echo"));
    CHECK(thrown > 0);
    asked.log_most = tenon::log_level::off;
    asked.log = [](tenon::log_level, std::string_view, std::string_view) { CHECK(false); };
    CHECK(tenon::engine(asked).load("echo"));
}

void many_threads_log_at_once_and_nothing_is_heard_after_the_last_is_gone() {
    for (int round = 0; round < 10; round++) {
        std::mutex mutex;
        auto heard = std::make_unique<std::string>();
        tenon::engine_options asked;
        asked.log_most = tenon::log_level::trace;
        asked.log = [&](tenon::log_level, std::string_view, std::string_view line) {
            const std::lock_guard<std::mutex> lock(mutex);
            heard->assign(line);
        };
        std::vector<std::thread> threads;
        {
            tenon::engine engine(asked);
            for (int count = 0; count < 4; count++) {
                threads.emplace_back([session = engine.load("echo").session()]() mutable {
                    tenon::request request("generate");
                    request.add_text("one two");
                    CHECK(session.run(request).text() == "one two");
                });
            }
        }
        for (std::thread &thread : threads) thread.join();
        threads.clear();
        heard.reset();
    }
}

}  // namespace

int main() {
    progress_hears_both_phases_and_may_cancel();
    a_pull_hears_of_verification_and_says_what_it_misses();
    what_progress_throws_cancels_and_comes_out_of_the_call();
    a_callback_that_calls_back_is_refused();
    what_a_wakeup_throws_comes_out_of_the_next_read();
    what_a_wakeup_throws_hides_no_error_of_the_request();
    what_a_wakeup_throws_comes_out_where_it_is_replaced();
    a_wakeup_never_runs_once_it_was_replaced();
    a_stream_may_be_destroyed_by_its_own_wakeup();
    a_wakeup_may_cancel_and_look();
    a_log_sink_lives_as_long_as_what_may_log();
    each_engine_has_a_sink_of_its_own_and_throws_are_lost();
    many_threads_log_at_once_and_nothing_is_heard_after_the_last_is_gone();
    return verdict("callbacks");
}
