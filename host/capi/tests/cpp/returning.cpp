// tenon.hpp without exceptions: everything that can fail returns a value or an error.

#include "check.hpp"

#include <type_traits>

static_assert(!TENON_HPP_THROWS);
static_assert(!std::is_default_constructible_v<tenon::engine>, "without exceptions objects are made by make");
static_assert(std::is_same_v<tenon::outcome<bool>, tenon::expected<bool>>);

namespace {

using namespace std::chrono_literals;

void a_value_or_an_error_comes_back() {
    auto engine = tenon::engine::make();
    CHECK(engine && engine.status() == TENON_OK);
    const auto missing = engine->load("no-such-model");
    CHECK(!missing && missing.status() == TENON_E_NOT_FOUND);
    CHECK(missing.error().detail("model") == "no-such-model" && *missing.error().what() != '\0');
    const auto stopped = engine->load("echo", [](tenon::phase, float) { return false; });
    CHECK(stopped.status() == TENON_E_CANCELLED);
    CHECK(engine->verify("no-such-model").status() == TENON_E_NOT_FOUND);
    CHECK(engine->models().value().rows() >= 1);
    CHECK(engine->shutdown(10s));
}

tenon::expected<std::string> answer(std::string_view text) {
    auto engine = tenon::engine::make();
    if (!engine) return engine.error();
    auto model = engine->load("echo");
    if (!model) return model.error();
    auto session = model->session();
    auto request = tenon::request::make("generate");
    if (!session || !request) return tenon::error(TENON_E_INTERNAL, "a session and a request");
    if (auto added = request->add_text(text); !added) return added.error();
    auto result = session->run(*request);
    if (!result) return result.error();
    return std::string(result->text());
}

void errors_are_handed_on() {
    CHECK(*answer("one two") == "one two");
    CHECK(answer("\xff").status() == TENON_E_INVALID_ARGUMENT);
}

void a_loop_ends_at_an_error_and_the_result_tells_it() {
    auto session = *tenon::engine::make()->load("echo")->session();
    auto request = *tenon::request::make("generate");
    auto options = *tenon::options::make();
    ask(request, options, "one two", 0);
    auto stream = *session.stream(request);
    std::string text;
    for (auto &event : stream) text += event.text;
    CHECK(text == "one two" && stream.result()->text() == "one two");
    CHECK(session.stream(*tenon::request::make("generate")).status() == TENON_E_INVALID_ARGUMENT);
    request = *tenon::request::make("generate");
    ask(request, options, many_words(), 5);
    stream = *session.stream(request);
    for (auto &event : stream) {
        CHECK(event.text == "word ");
        CHECK(stream.cancel());
    }
    CHECK(stream.result().status() == TENON_E_CANCELLED);
    tenon::event event;
    CHECK(*stream.next(event, 0s) == tenon::step::end && !*stream.next(event));
}

void an_object_that_was_moved_from_is_an_error() {
    auto engine = *tenon::engine::make();
    const auto taken = std::move(engine);
    CHECK(engine.load("echo").status() == TENON_E_INVALID_ARGUMENT);
    CHECK(taken.models());
}

void callbacks_are_heard() {
    tenon::engine_options asked;
    int lines = 0;
    asked.log_most = tenon::log_level::trace;
    asked.log = [&](tenon::log_level, std::string_view, std::string_view) { lines++; };
    CHECK(tenon::engine::make(asked)->load("echo") && lines > 0);
}

}  // namespace

int main() {
    a_value_or_an_error_comes_back();
    errors_are_handed_on();
    a_loop_ends_at_an_error_and_the_result_tells_it();
    an_object_that_was_moved_from_is_an_error();
    callbacks_are_heard();
    return verdict("returning");
}
