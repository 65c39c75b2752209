// Streams: loops, waiting, live audio, wakeups, and what is left when one is left early.

#include "check.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <poll.h>

namespace {

using namespace std::chrono_literals;

tenon::session echo_session() { return tenon::engine().load("echo").session(); }

// A stream that repeats a text, slowly.
tenon::stream repeats(tenon::session &session, std::string_view text, int delay_ms) {
    tenon::request request("generate");
    tenon::options options;
    ask(request, options, text, delay_ms);
    return session.stream(request);
}

void a_loop_hears_every_event_and_then_the_result_is_there() {
    tenon::session session = echo_session();
    tenon::stream stream = repeats(session, "one two three", 0);
    std::string text;
    for (auto &event : stream) {
        if (event.kind == tenon::event_kind::text) text += event.text;
        CHECK(event.json.front() == '{');
    }
    CHECK(text == "one two three" && stream.result().text() == text && stream.result().text() == text);
    CHECK(stream.begin() == stream.end());
    for (auto &event : repeats(session, "of a temporary", 0)) text = event.text;
    CHECK(text == "temporary");
}

void a_stream_that_is_left_early_is_cancelled_and_frees_its_session() {
    tenon::session session = echo_session();
    int heard = 0;
    for (auto &event : repeats(session, many_words(), 5)) {
        CHECK(event.text == "word ");
        if (++heard == 3) break;
    }
    CHECK(heard == 3);
    tenon::stream stream = repeats(session, "after all", 0);
    FAILS(TENON_E_BUSY, stream.result());
    for (auto &event : stream) CHECK(event.text == "after " || event.text == "all");
    CHECK(stream.result().text() == "after all");
}

void an_error_comes_after_the_last_event_and_is_thrown_by_the_loop() {
    tenon::session session = echo_session();
    tenon::stream stream = repeats(session, many_words(), 5);
    int heard = 0;
    FAILS(TENON_E_CANCELLED, [&] {
        for (auto &event : stream) {
            heard += event.kind == tenon::event_kind::text;
            stream.cancel();
        }
    }());
    CHECK(heard >= 1);
    tenon::event event;
    CHECK(!stream.next(event));
    FAILS(TENON_E_CANCELLED, stream.result());
}

void a_session_answers_one_request_at_a_time() {
    tenon::session session = echo_session();
    tenon::stream stream = repeats(session, many_words(), 5);
    FAILS(TENON_E_BUSY, repeats(session, "too much", 0));
    session.cancel();
    tenon::event event;
    FAILS(TENON_E_CANCELLED, [&] {
        while (stream.next(event)) continue;
    }());
}

void waiting_has_an_end() {
    tenon::session session = echo_session();
    tenon::event event;
    {
        tenon::stream stream = repeats(session, "one", 30000);
        CHECK(stream.next(event, 0s) == tenon::step::timeout);
        CHECK(stream.next(event, -1s) == tenon::step::timeout);
        CHECK(stream.next(event, 1ms) == tenon::step::timeout && !stream.is_ready());
    }
    tenon::stream stream = repeats(session, "two", 0);
    CHECK(stream.next(event, 1min) == tenon::step::event && event.text == "two");
    CHECK(stream.next(event, 1min) == tenon::step::end && stream.next(event, 0s) == tenon::step::end);
    CHECK(stream.is_ready());
}

void events_say_what_their_kind_names() {
    tenon::session session = echo_session();
    tenon::request request("embed");
    request.add_text("abc");
    int vectors = 0;
    for (auto &event : session.stream(request)) {
        vectors += event.kind == tenon::event_kind::embedding && event.values.size() == 8 && event.index == 0;
    }
    CHECK(vectors == 1);
    tenon::options options;
    options.set("tokens", true);
    request = tenon::request("generate");
    request.add_text("one two");
    request.set_options(options);
    std::string tokens;
    for (auto &event : session.stream(request)) {
        if (event.kind == tenon::event_kind::token) tokens += std::to_string(event.token) + std::string(event.text);
        CHECK(event.logprob.has_value() == (event.kind == tenon::event_kind::token) && !event.confidence);
    }
    CHECK(tokens == "0one 1two");
}

void live_audio_is_pushed_by_one_thread_and_heard_by_another() {
    tenon::session session = echo_session();
    tenon::request request("transcribe");
    request.add_live_audio();
    tenon::stream stream = session.stream(request);
    std::atomic<int> heard{0};
    std::thread pushes([&] {
        const std::vector<float> tenth(1600, 0.25F);
        for (int count = 0; count < 10; count++) stream.push_audio(tenth, 16000);
        // What was pushed is heard before the input ends.
        while (heard == 0) std::this_thread::yield();
        const std::vector<std::int16_t> half(8000, 16384);
        FAILS(TENON_E_INVALID_ARGUMENT, stream.push_audio(half, 8000));
        stream.push_audio(half, 16000);
        stream.finish_input();
        stream.finish_input();
        FAILS(TENON_E_INVALID_ARGUMENT, stream.push_audio(tenth, 16000));
    });
    std::string text;
    for (auto &event : stream) {
        if (event.kind == tenon::event_kind::segment) text += event.text;
        heard += event.kind == tenon::event_kind::segment;
        CHECK(event.kind != tenon::event_kind::language || event.text == "en");
        CHECK(event.no_speech.has_value() == (event.kind == tenon::event_kind::segment));
    }
    pushes.join();
    CHECK(text == " second 1 peak 25 second 2 peak 50");
    request = tenon::request("transcribe");
    request.add_audio(std::vector<float>(100), 16000);
    FAILS(TENON_E_INVALID_ARGUMENT, session.stream(request).push_audio(std::vector<float>(100), 16000));
}

void a_wakeup_tells_when_there_is_something_to_read() {
    tenon::session session = echo_session();
    std::mutex mutex;
    std::condition_variable changed;
    int wakeups = 0;
    tenon::stream stream = repeats(session, "one two three", 10);
    stream.set_wakeup([&] {
        const std::lock_guard<std::mutex> lock(mutex);
        wakeups++;
        changed.notify_one();
    });
    std::string text;
    tenon::event event;
    for (bool ended = false; !ended;) {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return wakeups > 0; });
        wakeups = 0;
        lock.unlock();
        tenon::step came;
        while ((came = stream.next(event, 0s)) == tenon::step::event) text += event.text;
        ended = came == tenon::step::end;
    }
    CHECK(text == "one two three");
}

void a_descriptor_can_be_watched() {
    tenon::session session = echo_session();
    tenon::stream stream = repeats(session, "one two", 10);
    pollfd watched{stream.descriptor(), POLLIN, 0};
    std::string text;
    tenon::event event;
    for (tenon::step came = tenon::step::timeout; came != tenon::step::end;) {
        CHECK(poll(&watched, 1, 60000) == 1);
        while ((came = stream.next(event, 0s)) == tenon::step::event) text += event.text;
    }
    CHECK(text == "one two");
}

void a_stream_goes_on_without_its_session_and_engine() {
    std::optional<tenon::session> session = echo_session();
    tenon::stream stream = repeats(*session, "one two three", 5);
    session.reset();
    std::string text;
    for (auto &event : stream) text += event.text;
    CHECK(text == "one two three");
}

}  // namespace

int main() {
    a_loop_hears_every_event_and_then_the_result_is_there();
    a_stream_that_is_left_early_is_cancelled_and_frees_its_session();
    an_error_comes_after_the_last_event_and_is_thrown_by_the_loop();
    a_session_answers_one_request_at_a_time();
    waiting_has_an_end();
    events_say_what_their_kind_names();
    live_audio_is_pushed_by_one_thread_and_heard_by_another();
    a_wakeup_tells_when_there_is_something_to_read();
    a_descriptor_can_be_watched();
    a_stream_goes_on_without_its_session_and_engine();
    return verdict("streams");
}
