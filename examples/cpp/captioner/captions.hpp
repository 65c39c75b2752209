// Shows captions: one line that is updated in place on a terminal, plain lines elsewhere, and subtitles in a file.

#ifndef CAPTIONER_CAPTIONS_HPP
#define CAPTIONER_CAPTIONS_HPP

#include <chrono>
#include <cstdio>
#include <deque>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include <sys/ioctl.h>
#include <unistd.h>

class captions {
public:
    using time = std::chrono::microseconds;

    // `srt` is where subtitles go; empty for nowhere.
    explicit captions(const std::string &srt) : terminal_(isatty(STDOUT_FILENO) == 1) {
        if (srt.empty()) return;
        srt_.open(srt);
        if (!srt_) throw std::runtime_error(srt + " cannot be written");
    }
    // The last caption stays where it is, and what comes next begins a line.
    ~captions() {
        if (terminal_) std::puts("");
    }

    void add(time start, time end, std::string_view text) {
        while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        if (text.empty()) return;
        // Flushed at once, so that a player can follow the file, and nothing is lost when the program is stopped.
        if (srt_.is_open())
            srt_ << ++count_ << '\n' << stamp(start, ',', 3) << " --> " << stamp(end, ',', 3) << '\n' << text << "\n\n"
                 << std::flush;
        if (terminal_) {
            waiting_.push_back({std::string(text), end - start});
        } else {
            std::printf("%s %.*s\n", stamp(start, '.', 2).c_str(), static_cast<int>(text.size()), text.data());
            std::fflush(stdout);
        }
    }

    // Redraws the line of a terminal; `now` is the clock of the sound. Captions come in bursts, when a piece of the
    // sound has been heard: each stays for as long as it was spoken before the next one takes its place.
    void draw(time now) {
        if (!terminal_) return;
        if (!waiting_.empty() && now >= until_) {
            text_ = waiting_.front().text;
            until_ = now + waiting_.front().length;
            waiting_.pop_front();
        }
        const std::string line = stamp(now, '.', 1) + "  " + text_;
        std::printf("\r\x1b[2K%s", fitting(line).c_str());
        std::fflush(stdout);
    }

    // Whether everything was shown.
    bool done(time now) const { return waiting_.empty() && (!terminal_ || now >= until_); }

private:
    struct caption {
        std::string text;
        time length;
    };

    // hh:mm:ss and as many digits of a second.
    static std::string stamp(time at, char point, int digits) {
        const long long ms = at.count() / 1000, s = ms / 1000;
        char text[64];
        std::snprintf(text, sizeof text, "%02lld:%02lld:%02lld%c%03lld", s / 3600, s / 60 % 60, s % 60, point,
                      ms % 1000);
        return std::string(text).substr(0, std::string_view("hh:mm:ss.").size() + static_cast<std::size_t>(digits));
    }

    // As much of a line as the terminal is wide: a longer one would wrap, and could not be overwritten. Counts code
    // points, which is right for all scripts but those with wide or combining characters.
    static std::string fitting(const std::string &line) {
        winsize size{};
        const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
        std::size_t room = known ? size.ws_col - 1U : 79U, at = 0;
        for (; at < line.size(); at++) {
            const bool starts = (static_cast<unsigned char>(line[at]) & 0xC0U) != 0x80U;
            if (starts && room-- == 0) break;
        }
        return line.substr(0, at);
    }

    bool terminal_;
    std::ofstream srt_;
    int count_ = 0;
    std::deque<caption> waiting_;
    std::string text_;
    time until_{0};
};

#endif
