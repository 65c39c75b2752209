// Prints segments and progress of a recording as they come. Ctrl-C ends the request and not the program, so what was
// heard so far stays.
//
//     stream commands-en order.wav

#include <csignal>
#include <cstdio>
#include <exception>

#include <tenon.hpp>

namespace {

using namespace std::chrono_literals;

volatile std::sig_atomic_t interrupted = 0;

double seconds(tenon::microseconds time) { return std::chrono::duration<double>(time).count(); }

void print(const tenon::event &event) {
    const int size = static_cast<int>(event.text.size());
    const char *text = event.text.data();
    switch (event.kind) {
    case tenon::event_kind::segment:
        std::printf("[%.2f - %.2f]%.*s\n", seconds(event.start), seconds(event.end), size, text);
        break;
    case tenon::event_kind::language: std::printf("language %.*s\n", size, text); break;
    case tenon::event_kind::progress:
        std::fprintf(stderr, "%3.0f %%\n", static_cast<double>(event.fraction) * 100);
        break;
    case tenon::event_kind::note: std::fprintf(stderr, "note: %.*s\n", size, text); break;
    default: break;  // Later versions may send other kinds.
    }
}

// Reads to the end. A signal handler may call nothing of Tenon, so the loop looks at its flag ten times a second; where
// nothing interrupts, `for (auto &event : stream)` does it.
void read_all(tenon::stream &stream) {
    tenon::event event;
    for (tenon::step came = tenon::step::timeout; came != tenon::step::end;) {
        came = stream.next(event, 100ms);
        if (came == tenon::step::event) print(event);
        if (interrupted) stream.cancel();
    }
}

void stream_file(tenon::session &session, const char *path) {
    tenon::request request("transcribe");
    request.add_audio_file(path);
    tenon::stream stream = session.stream(request);
    read_all(stream);
    const tenon::usage usage = stream.result().usage();
    std::fprintf(stderr, "%.1f s of audio in %.2f s\n", seconds(usage.audio), seconds(usage.total));
}

}  // namespace

int main(int count, char **arguments) {
    if (count != 3) {
        std::fprintf(stderr, "usage: stream MODEL AUDIO\n");
        return 2;
    }
    std::signal(SIGINT, [](int) { interrupted = 1; });
    try {
        tenon::session session = tenon::engine().load(arguments[1]).session();
        stream_file(session, arguments[2]);
        return 0;
    } catch (const tenon::error &problem) {
        if (problem.status() == TENON_E_CANCELLED) {
            std::fprintf(stderr, "stopped\n");
            return 130;
        }
        std::fprintf(stderr, "stream: %s\n", problem.what());
        return 1;
    } catch (const std::exception &problem) {
        std::fprintf(stderr, "stream: %s\n", problem.what());
        return 1;
    }
}
