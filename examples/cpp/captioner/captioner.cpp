// Shows captions of a playing recording as they come: README.md tells how to use it.
//
// One thread plays the sound: it pushes it in steps of 100 ms, at the pace of a player. The main thread reads events
// and draws. A stream may be used in just this way: pushed by one thread, read by another, cancelled by any.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <string>
#include <string_view>
#include <thread>

#include <tenon.hpp>

#include "captions.hpp"
#include "player.hpp"

namespace {

using namespace std::chrono_literals;

struct arguments {
    std::string model, sound, srt;
    double speed = 1;
    int window = 5;
    bool are_good = true;

    arguments(int count, char **values) {
        for (int at = 1; at < count; at++) {
            const std::string_view name = values[at];
            const char *value = at + 1 < count ? values[at + 1] : "";
            if (name.substr(0, 2) != "--") {
                (model.empty() ? model : sound) = name;
                continue;
            }
            at++;
            if (name == "--speed") {
                speed = std::atof(value);
            } else if (name == "--srt") {
                srt = value;
            } else if (name == "--window") {
                window = std::atoi(value);
            } else {
                are_good = false;
            }
        }
        are_good = are_good && !model.empty() && !sound.empty() && speed > 0 && window > 0;
    }
};

tenon::stream start(const tenon::model &model, tenon::session &session, int window) {
    tenon::request request("transcribe");
    request.add_live_audio();
    // A backend that hears sound in windows gives text when one is full: the shorter, the sooner, but the more often a
    // cut falls into a word. Others have no such option, and an option that a backend does not know is an error.
    if (model.info("options:transcribe").value_or("").find("\"window_s\"") != std::string_view::npos) {
        tenon::options options;
        options.set("window_s", window);
        request.set_options(options);
    }
    return session.stream(request);
}

void show(const arguments &asked) {
    const wav sound(asked.sound);
    const tenon::model model = tenon::engine().load(asked.model);
    tenon::session session = model.session();
    tenon::stream stream = start(model, session, asked.window);
    captions captions(asked.srt);
    const player_clock clock(asked.speed);
    const auto player = std::async(std::launch::async, [&] { play(stream, sound, clock); });
    tenon::event event;
    bool ended = false;
    while (!ended || !(captions.done(clock.now()) || interrupted)) {
        // A signal handler may call nothing of Tenon, so its flag is looked at here.
        if (interrupted) stream.cancel();
        if (ended) std::this_thread::sleep_for(50ms);
        const tenon::step came = stream.next(event, 50ms);
        ended = came == tenon::step::end;
        if (came == tenon::step::event && event.kind == tenon::event_kind::segment)
            captions.add(event.start, event.end, event.text);
        captions.draw(clock.now());
    }
}

}  // namespace

int main(int count, char **values) {
    const arguments asked(count, values);
    if (!asked.are_good) {
        std::fprintf(stderr, "usage: captioner MODEL WAV [--speed N] [--window SECONDS] [--srt FILE]\n");
        return 2;
    }
    std::signal(SIGINT, [](int) { interrupted = 1; });
    try {
        show(asked);
        return interrupted ? 130 : 0;
    } catch (const std::exception &problem) {
        if (interrupted) return 130;
        std::fprintf(stderr, "captioner: %s\n", problem.what());
        return 1;
    }
}
