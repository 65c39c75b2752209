// Objects of tenon.hpp: what they give, how they fail, and that one which was moved from is an error and no more.

#include "check.hpp"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#if __cplusplus >= 202002L
#include <span>
#endif
#include <type_traits>

namespace {

using namespace std::chrono_literals;

template <class Type> constexpr bool moves_only =
    std::is_nothrow_move_constructible_v<Type> && std::is_nothrow_move_assignable_v<Type> &&
    !std::is_copy_constructible_v<Type> && !std::is_copy_assignable_v<Type>;

static_assert(moves_only<tenon::engine> && moves_only<tenon::model> && moves_only<tenon::session>);
static_assert(moves_only<tenon::request> && moves_only<tenon::stream> && moves_only<tenon::result>);
static_assert(moves_only<tenon::options> && moves_only<tenon::table>);
static_assert(std::is_nothrow_copy_constructible_v<tenon::error>);

// Whether a view into a temporary can be had.
template <class Result, class = void> constexpr bool gives_segments = false;
template <class Result>
constexpr bool gives_segments<Result, std::void_t<decltype(std::declval<Result>().segments())>> = true;
static_assert(gives_segments<tenon::result &> && !gives_segments<tenon::result>);
static_assert(std::is_same_v<decltype(std::declval<tenon::result>().text()), std::string>);

tenon::session echo_session() { return tenon::engine().load("echo").session(); }

// A second and a half of a square wave, and what echo hears in it.
const std::vector<float> &wave() {
    static const std::vector<float> samples(24000, 0.5F);
    return samples;
}
constexpr std::string_view heard = " second 1 peak 50 second 2 peak 50";

void the_version_is_that_of_the_header() {
    CHECK(tenon::version() == TENON_VERSION_STRING);
    CHECK(tenon::status_name(TENON_E_BUSY) == "TENON_E_BUSY");
}

void tables_list_models_and_plugins() {
    const tenon::engine engine;
    const tenon::table models = engine.models();
    CHECK(models.rows() >= 1 && models.columns() == 9);
    CHECK(models.column(0) == "name" && !models.column(9));
    std::size_t row = 0;
    while (row < models.rows() && models.at(row, "name") != "echo") row++;
    CHECK(models.at(row, "backend") == "echo" && models.at(row, "state") == "present");
    CHECK(!models.at(row, "colour") && !models.at(models.rows(), "name"));
    const tenon::table plugins = engine.plugins();
    CHECK(plugins.at(0, "id") == "echo" && plugins.at(0, "problem") == "");
}

void an_error_tells_its_status_its_sentence_and_its_details() {
    tenon::engine engine;
    std::optional<tenon::error> kept;
    try {
        engine.add_manifest_text("name = \"x\"\ntusk = \"generate\"\n", "made here");
    } catch (const tenon::error &problem) {
        kept = problem;
    }
    CHECK(kept && kept->status() == TENON_E_MANIFEST);
    CHECK(kept && std::string_view(kept->what()).find("made here:2:1") != std::string_view::npos);
    CHECK(kept && kept->detail("file") == "made here" && kept->detail("line") == "1" && !kept->detail("colour"));
    const tenon::error own(TENON_E_BUSY, "a sentence");
    CHECK(own.status() == TENON_E_BUSY && own.what() == std::string_view("a sentence") && !own.detail("line"));
    FAILS(TENON_E_NOT_FOUND, engine.load("no-such-model"));
    FAILS(TENON_E_NOT_FOUND, engine.verify("no-such-model"));
    FAILS(TENON_E_PLUGIN, engine.load_plugin("/no/such/plugin.so"));
    FAILS(TENON_E_INVALID_ARGUMENT, engine.load_plugin("/no/such/plugin.so", "no digest"));
    FAILS(TENON_E_INVALID_ARGUMENT, engine.register_plugin(nullptr));
}

void texts_need_no_nul_and_are_not_cut_at_one() {
    tenon::engine engine;
    const std::string_view longer = "echo and more";
    const tenon::model model = engine.load(longer.substr(0, 4));
    CHECK(model.info("name") == "echo" && model.info("backend") == "echo" && !model.info("colour"));
    FAILS(TENON_E_INVALID_ARGUMENT, engine.load(std::string_view("echo\0more", 9)));
    FAILS(TENON_E_INVALID_ARGUMENT, engine.load("\xff"));
    tenon::request request("generate");
    request.add_text(std::string_view("one two three").substr(0, 7));
    CHECK(model.session().run(request).text() == "one two");
}

void an_engine_looks_where_it_is_told_to() {
    tenon::engine_options asked;
    asked.only_named_places = true;
    FAILS(TENON_E_NOT_FOUND, tenon::engine(asked).load("echo"));
    asked.manifest_dirs = {"/no/such/folder", std::getenv("TENON_MANIFESTS")};
    asked.plugin_dirs = {std::getenv("TENON_PLUGIN_PATH")};
    asked.threads = 1;
    asked.patience = 5s;
    asked.verify = tenon::verify_mode::always;
    tenon::engine engine(asked);
    engine.add_manifest_text("name = \"again\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"MIT\"\n");
    CHECK(engine.load("echo").session() && engine.load("again").session());
    engine.verify("again", tenon::verify_mode::cached);
    asked.lock_file = "/no/such/tenon.lock";
    FAILS(TENON_E_NOT_FOUND, tenon::engine(asked));
    asked.lock_file.clear();
    asked.patience = -1us;
    FAILS(TENON_E_INVALID_ARGUMENT, tenon::engine(asked));
}

void memory_is_estimated_and_a_model_that_does_not_fit_is_refused() {
    const tenon::engine engine;
    const tenon::memory_estimate one = engine.estimate("echo"), three = engine.estimate("echo", 3);
    CHECK(one.cache == 4096 && one.compute == 8192 && one.other == 0 && one.total == 12288 && one.session == 12288);
    CHECK(three.total == 3 * one.total && one.fits && one.available > one.total && one.reserve > 0);
    tenon::options greedy;
    greedy.set("memory_mb", 1000000000);
    const tenon::memory_estimate most = engine.estimate("echo", greedy);
    CHECK(most.other == 1000000000000000 && !most.fits);
    FAILS(TENON_E_OUT_OF_MEMORY, tenon::engine().load("echo", greedy));
    FAILS(TENON_E_NOT_FOUND, engine.estimate("no-such-model"));
    tenon::engine_options careless;
    careless.ignore_memory = true;
    CHECK(tenon::engine(careless).load("echo", greedy));
}

void what_was_made_outlives_what_it_was_made_of() {
    tenon::session session = echo_session();
    tenon::request request("generate");
    request.add_text("still here");
    const tenon::result result = session.run(request);
    session = echo_session();
    CHECK(result.text() == "still here");
}

void options_are_of_every_kind() {
    tenon::session session = echo_session();
    tenon::options options;
    const std::string name = "delay_ms";
    options.set(name, 0);
    options.set("temperature", 0.5);
    options.set("max_tokens", std::int64_t{3});
    options.set("tokens", true);
    options.set_json("stop", R"(["four"])");
    tenon::request request("generate");
    request.add_text("one two three four");
    request.set_options(options);
    const tenon::result result = session.run(request);
    CHECK(result.text() == "one two three " && result.info("finish") == "stop");
    const tenon::table tokens = result.tokens();
    CHECK(tokens.rows() == 3 && tokens.at(1, "text") == "two ");
    CHECK(result.notes().rows() == 0);
    FAILS(TENON_E_INVALID_ARGUMENT, options.set("temperature", std::nan("")));
    FAILS(TENON_E_INVALID_ARGUMENT, options.set_json("stop", "[1"));
    options.set("colour", "green");
    request.set_options(options);
    FAILS(TENON_E_OPTIONS, session.run(request));
}

void a_result_tells_text_json_and_usage() {
    tenon::session session = echo_session();
    tenon::request request("chat");
    request.add_text("system", "be brief");
    request.add_text("user", "hello there");
    const tenon::result result = session.run(request);
    CHECK(result.text() == "hello there");
    CHECK(result.json().find("\"hello there\"") != std::string_view::npos);
    CHECK(session.run(request).json().find("\"hello there\"") != std::string::npos);
    const tenon::usage usage = result.usage();
    CHECK(usage.generated_tokens == 2 && usage.total > 0us && usage.first && *usage.first <= usage.total);
    CHECK(result.info("model") == "echo" && !result.info("colour") && result.info("task") == "chat");
    FAILS(TENON_E_NOT_FOUND, result.embedding(0));
    session.reset();
    request.set_preset("no-such-preset");
    FAILS(TENON_E_NOT_FOUND, session.run(request));
    request.set_preset("");
    CHECK(session.run(request).text() == "hello there");
    FAILS(TENON_E_INVALID_ARGUMENT, session.run(tenon::request("generate")));
}

void audio_comes_from_vectors_pointers_arrays_and_files() {
    tenon::session session = echo_session();
    const auto transcript = [&](auto add) {
        tenon::request request("transcribe");
        add(request);
        return session.run(request).text();
    };
    const std::vector<std::int16_t> whole(24000, 16384);
    const std::vector<float> stereo(48000, 0.5F);
    static const float still[16000] = {};
    CHECK(transcript([](auto &request) { request.add_audio(wave(), 16000); }) == heard);
    CHECK(transcript([](auto &request) { request.add_audio({wave().data(), wave().size()}, 16000); }) == heard);
    CHECK(transcript([&](auto &request) { request.add_audio(whole, 16000); }) == heard);
    CHECK(transcript([&](auto &request) { request.add_audio(stereo, 16000, 2); }) == heard);
    CHECK(transcript([&](auto &request) { request.add_audio(still, 16000); }) == " second 1 peak 0");
    const std::filesystem::path file = std::getenv("TENON_TEST_WAV");
    CHECK(transcript([&](auto &request) { request.add_audio_file(file); }) == heard);
    std::ifstream bytes(file, std::ios::binary);
    const std::vector<std::uint8_t> read{std::istreambuf_iterator<char>(bytes), {}};
    CHECK(transcript([&](auto &request) { request.add_audio_bytes(read); }) == heard);
    FAILS(TENON_E_INVALID_ARGUMENT, tenon::request("transcribe").add_audio({stereo.data(), 47999}, 16000, 2));
    FAILS(TENON_E_INVALID_ARGUMENT, tenon::request("transcribe").add_audio(stereo, 16000, 0));
    const auto missing = file.parent_path() / "nothing";
    FAILS(TENON_E_NOT_FOUND, transcript([&](auto &request) { request.add_audio_file(missing); }));
}

void segments_have_times_and_words() {
    tenon::session session = echo_session();
    tenon::options options;
    options.set("words", true);
    tenon::request request("transcribe");
    request.add_audio(wave(), 16000);
    request.set_options(options);
    const tenon::result result = session.run(request);
    const std::vector<tenon::segment> segments = result.segments();
    CHECK(segments.size() == 2 && segments[1].text == " second 2 peak 50");
    CHECK(segments[1].start == 1s && segments[1].end == 1500ms && segments[1].confidence == 1.0F);
    CHECK(segments[1].words.size() == 4 && segments[1].words[3].text == "50" && segments[1].words[3].end == 1500ms);
    CHECK(result.info("language") == "en" && result.usage().audio == 1500ms);
}

void embeddings_are_one_vector_for_each_text() {
    tenon::session session = echo_session();
    tenon::request request("embed");
    request.add_text("abc");
    request.add_text("abd");
    const tenon::result result = session.run(request);
    CHECK(result.embedding_count() == 2);
    float length = 0;
    for (const float value : result.embedding(0)) length += value * value;
    CHECK(std::abs(length - 1) < 1e-5F && result.embedding(1).size() == 8);
    CHECK(result.embedding(0)[2] != result.embedding(1)[2]);
#if __cplusplus >= 202002L
    const std::span<const float> standard = result.embedding(1);
    CHECK(standard.size() == 8 && standard.data() == result.embedding(1).data());
#endif
    FAILS(TENON_E_NOT_FOUND, result.embedding(2));
}

void a_deadline_ends_a_request_and_can_be_taken_away() {
    tenon::session session = echo_session();
    tenon::request request("generate");
    tenon::options options;
    ask(request, options, "one two", 20);
    request.set_deadline(1us);
    FAILS(TENON_E_DEADLINE, session.run(request));
    request.set_deadline(-1s);
    FAILS(TENON_E_DEADLINE, session.run(request));
    request.set_deadline(std::nullopt);
    CHECK(session.run(request).text() == "one two");
}

void an_engine_that_shuts_down_refuses_what_comes_later() {
    tenon::engine engine;
    tenon::session session = engine.load("echo").session();
    tenon::request request("generate");
    request.add_text("one");
    engine.shutdown(10s);
    FAILS(TENON_E_SHUTDOWN, session.run(request));
    engine.shutdown();
}

// The object that is left when another one has been moved out of it.
template <class Object> Object &emptied(Object &from) {
    const Object taken = std::move(from);
    CHECK(taken && !from && from.get() == nullptr);
    return from;
}

void an_object_that_was_moved_from_is_an_error_and_no_more() {
    tenon::engine engine;
    tenon::model model = engine.load("echo");
    tenon::session session = model.session();
    tenon::options options;
    tenon::request request("generate");
    ask(request, options, "one two", 0);
    tenon::result result = session.run(request);
    tenon::table table = engine.models();
    tenon::stream stream = session.stream(request);
    tenon::event event;
    FAILS(TENON_E_INVALID_ARGUMENT, emptied(stream).next(event));
    FAILS(TENON_E_INVALID_ARGUMENT, stream.next(event, 1s));
    FAILS(TENON_E_INVALID_ARGUMENT, stream.begin());
    FAILS(TENON_E_INVALID_ARGUMENT, stream.result());
    FAILS(TENON_E_INVALID_ARGUMENT, stream.cancel());
    FAILS(TENON_E_INVALID_ARGUMENT, stream.set_wakeup([] {}));
    FAILS(TENON_E_INVALID_ARGUMENT, stream.push_audio(wave(), 16000));
    CHECK(!stream.is_ready());
    FAILS(TENON_E_INVALID_ARGUMENT, emptied(result).segments());
    FAILS(TENON_E_INVALID_ARGUMENT, result.usage());
    CHECK(result.text().empty() && result.json().empty() && !result.info("task") && result.embedding_count() == 0);
    CHECK(emptied(table).rows() == 0 && !table.at(0, "name") && !table.column(0));
    FAILS(TENON_E_INVALID_ARGUMENT, session.run(emptied(request)));
    FAILS(TENON_E_INVALID_ARGUMENT, request.add_text("more"));
    FAILS(TENON_E_INVALID_ARGUMENT, emptied(options).set("delay_ms", 1));
    FAILS(TENON_E_INVALID_ARGUMENT, engine.load("echo", options));
    FAILS(TENON_E_INVALID_ARGUMENT, engine.estimate("echo", options));
    FAILS(TENON_E_INVALID_ARGUMENT, emptied(session).run(request));
    FAILS(TENON_E_INVALID_ARGUMENT, session.reset());
    FAILS(TENON_E_INVALID_ARGUMENT, emptied(model).session());
    CHECK(!model.info("name"));
    FAILS(TENON_E_INVALID_ARGUMENT, emptied(engine).load("echo"));
    FAILS(TENON_E_INVALID_ARGUMENT, engine.models());
    engine = tenon::engine();
    CHECK(engine.load("echo"));
}

void a_handle_of_tenon_h_can_be_owned() {
    tenon_request *raw = nullptr;
    CHECK(tenon_request_new("generate", &raw, nullptr) == TENON_OK);
    tenon::request request(raw);
    CHECK(request.get() == raw && tenon_request_add_text(request.get(), nullptr, "one", nullptr) == TENON_OK);
    CHECK(echo_session().run(request).text() == "one");
}

}  // namespace

int main() {
    the_version_is_that_of_the_header();
    tables_list_models_and_plugins();
    an_error_tells_its_status_its_sentence_and_its_details();
    texts_need_no_nul_and_are_not_cut_at_one();
    an_engine_looks_where_it_is_told_to();
    memory_is_estimated_and_a_model_that_does_not_fit_is_refused();
    what_was_made_outlives_what_it_was_made_of();
    options_are_of_every_kind();
    a_result_tells_text_json_and_usage();
    audio_comes_from_vectors_pointers_arrays_and_files();
    segments_have_times_and_words();
    embeddings_are_one_vector_for_each_text();
    a_deadline_ends_a_request_and_can_be_taken_away();
    an_engine_that_shuts_down_refuses_what_comes_later();
    an_object_that_was_moved_from_is_an_error_and_no_more();
    a_handle_of_tenon_h_can_be_owned();
    return verdict("objects");
}
