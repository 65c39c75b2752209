// Plays a recording without a loudspeaker: its clock, and its sound as a player or a microphone would give it.

#ifndef CAPTIONER_PLAYER_HPP
#define CAPTIONER_PLAYER_HPP

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include <tenon.hpp>

#include "wav.hpp"

// Set by Ctrl-C.
inline volatile std::sig_atomic_t interrupted = 0;

// The clock of the recording: runs as fast as it is played, and starts when it is made.
class player_clock {
    using time = std::chrono::steady_clock;

public:
    explicit player_clock(double speed) : speed_(speed) {}
    tenon::microseconds now() const {
        return std::chrono::duration_cast<tenon::microseconds>((time::now() - began_) * speed_);
    }
    void wait_for(double seconds) const {
        const std::chrono::duration<double> after(seconds / speed_);
        std::this_thread::sleep_until(began_ + std::chrono::duration_cast<time::duration>(after));
    }

private:
    double speed_;
    time::time_point began_ = time::now();
};

// Pushes the sound in the steps and at the pace of its player.
inline void play(tenon::stream &stream, const wav &sound, const player_clock &clock) try {
    const std::size_t step = sound.rate / 10 * sound.channels;
    for (std::size_t at = 0; at < sound.samples.size() && !interrupted; at += step) {
        clock.wait_for(static_cast<double>(at / sound.channels) / sound.rate);
        const std::size_t size = std::min(step, sound.samples.size() - at);
        stream.push_audio({sound.samples.data() + at, size}, sound.rate, sound.channels);
    }
    stream.finish_input();
} catch (const tenon::error &) {
    // The request has ended before the sound, and its reader hears why; if it has not, there is nothing more to hear.
    stream.cancel();
}

#endif
