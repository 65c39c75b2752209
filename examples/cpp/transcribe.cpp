// Prints what is said in recordings, with times:
//
//     transcribe commands-en order.wav
//     [0.00 - 1.62] turn the basement lamps off

#include <cstdio>
#include <exception>
#include <string_view>

#include <tenon.hpp>

namespace {

double seconds(tenon::microseconds time) { return std::chrono::duration<double>(time).count(); }

void print_segments(const tenon::result &result) {
    for (const tenon::segment &segment : result.segments()) {
        std::string_view text = segment.text;
        // Models write a space before the first word.
        if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        std::printf("[%.2f - %.2f] %.*s\n", seconds(segment.start), seconds(segment.end), static_cast<int>(text.size()),
                    text.data());
    }
}

// What was lost of a damaged file stands in no segment, so it is told.
void print_notes(const tenon::result &result, const char *path) {
    const tenon::table notes = result.notes();
    for (std::size_t row = 0; row < notes.rows(); row++) {
        const std::string_view message = notes.at(row, "message").value_or("");
        std::fprintf(stderr, "%s: %.*s\n", path, static_cast<int>(message.size()), message.data());
    }
}

void transcribe(tenon::session &session, const char *path) {
    tenon::request request("transcribe");
    request.add_audio_file(path);
    // The texts of segments and notes belong to the result, so it has a name and stays.
    const tenon::result result = session.run(request);
    print_segments(result);
    print_notes(result, path);
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 3) {
        std::fprintf(stderr, "usage: transcribe MODEL AUDIO...\n");
        return 2;
    }
    try {
        tenon::engine engine;
        tenon::session session = engine.load(arguments[1]).session();
        for (int index = 2; index < count; index++) transcribe(session, arguments[index]);
        return 0;
    } catch (const std::exception &problem) {
        std::fprintf(stderr, "transcribe: %s\n", problem.what());
        return 1;
    }
}
