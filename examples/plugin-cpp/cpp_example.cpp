// A whole Tenon backend in C++17: tells how loud each second of audio is, or counts the letters of a text.

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "tenon_plugin.hpp"

namespace plugin = tenon::plugin;

struct loudness {
    static constexpr const char *id = "cpp-example", *version = "0.1.0", *build_info = "C++17";
    static constexpr std::uint32_t caps = TENON_CAP_CONCURRENT_SESSIONS;

    static std::string description() {
        return R"({
            "summary": "tells how loud audio is, and how long a text", "engine": "C++17",
            "tasks": [
                {"task": "transcribe", "schema": {"type": "object", "properties": {
                    "unit": {"type": "string", "enum": ["percent", "fraction"], "default": "percent",
                             "description": "How to write the level."}}}},
                {"task": "generate", "schema": {"type": "object", "properties": {}}}],
            "load_schema": {"type": "object", "properties": {}},
            "files": [{"role": "model", "required": false, "many": true}],
            "audio": {"rate": 16000}})";
    }

    /// Nothing here takes memory that is worth counting; a real backend reads the heads of the files.
    static std::string estimate(plugin::call &, const plugin::files &files, plugin::options) {
        std::uint64_t weights = 0;
        for (const tenon_file &file : files) weights += file.size;
        return R"({"devices": [{"device": "cpu", "session": {}, "model": {"weights": )" + std::to_string(weights) +
               "}}]}";
    }

    struct model {
        model(plugin::call &, const plugin::files &, plugin::options) {}
    };

    class session {
    public:
        session(plugin::call &, std::shared_ptr<model> model, plugin::options) : model_(std::move(model)) {}

        void run(plugin::call &call, std::string_view task, const plugin::items &items, plugin::options asked) {
            if (items.size() != 1) throw std::invalid_argument("one input item is needed");
            if (task == "transcribe") return transcribe(call, plugin::as_audio(items[0]), asked);
            if (task == "generate") return count(call, plugin::view(plugin::as_text(items[0]).text));
            throw plugin::error(TENON_E_UNSUPPORTED, "no task `" + std::string(task) + "`");
        }
        void reset(plugin::call &) {}

    private:
        static void transcribe(plugin::call &call, const tenon_audio &audio, plugin::options asked) {
            const bool percent = asked.text("unit").value_or("percent") == "percent";
            for (std::uint64_t start = 0; start < audio.frames; start += audio.rate) {
                call.check();
                const std::uint64_t end = std::min(audio.frames, start + audio.rate);
                float peak = 0;
                for (std::uint64_t i = start; i < end; i++) peak = std::max(peak, std::abs(audio.samples[i]));
                const std::string level = percent ? std::to_string(std::lround(peak * 100)) : std::to_string(peak);
                const std::string text = " level " + level;
                tenon_segment segment{};
                segment.start_us = microseconds(start, audio.rate);
                segment.end_us = microseconds(end, audio.rate);
                segment.text = plugin::str(text);
                segment.confidence = segment.no_speech = NAN;
                call.emit_segment(segment);
            }
        }
        static void count(plugin::call &call, std::string_view text) {
            call.emit_text(std::to_string(text.size()) + " bytes");
            call.emit_document("finish", R"({"reason": "stop"})");
        }
        static std::int64_t microseconds(std::uint64_t frames, std::uint32_t rate) {
            return static_cast<std::int64_t>(frames * 1000000 / rate);
        }

        std::shared_ptr<model> model_;
    };
};

TENON_EXPORT_BACKEND(loudness);
