// Reads a wav file of 16-bit samples: samples are what a player or a microphone has in hand. To transcribe a file of
// any kind in one go, `tenon::request::add_audio_file` needs none of this.

#ifndef CAPTIONER_WAV_HPP
#define CAPTIONER_WAV_HPP

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

struct wav {
    std::uint32_t rate = 0, channels = 0;
    std::vector<std::int16_t> samples;  // interleaved, whole frames

    explicit wav(const std::string &path) {
        std::ifstream file(path, std::ios::binary);
        if (!file) throw std::runtime_error(path + " cannot be opened");
        const std::string bytes{std::istreambuf_iterator<char>(file), {}};
        if (bytes.compare(0, 4, "RIFF") != 0 || bytes.size() < 12) throw std::runtime_error(path + " is no wav file");
        // Chunks: a name, a size, and as many bytes, filled up to an even number.
        for (std::size_t at = 12; at + 8 <= bytes.size();) {
            const std::string name = bytes.substr(at, 4);
            const std::string body = bytes.substr(at + 8, number(bytes, at + 4, 4));
            if (name == "fmt " && body.size() >= 16) format(path, body);
            if (name == "data" && channels != 0) sound(body);
            at += 8 + body.size() + body.size() % 2;
        }
        if (samples.empty()) throw std::runtime_error(path + " has no sound in it");
    }

private:
    // Numbers of wav are little-endian, whatever this machine is.
    static std::uint32_t number(const std::string &bytes, std::size_t at, std::size_t size) {
        std::uint32_t value = 0;
        while (size-- > 0) value = value << 8 | static_cast<unsigned char>(bytes[at + size]);
        return value;
    }

    void format(const std::string &path, const std::string &body) {
        const std::uint32_t plain = 1;
        if (number(body, 0, 2) != plain || number(body, 14, 2) != 16)
            throw std::runtime_error(path + " is not of 16-bit samples: convert it first");
        channels = number(body, 2, 2);
        rate = number(body, 4, 4);
        if (channels == 0 || rate < 1000) throw std::runtime_error(path + " has no rate and channels of sound");
    }

    void sound(const std::string &body) {
        samples.resize(body.size() / 2 / channels * channels);
        for (std::size_t at = 0; at < samples.size(); at++)
            samples[at] = static_cast<std::int16_t>(number(body, at * 2, 2));
    }
};

#endif
