// Half of a program that links its own backend: this file writes it, with tenon_plugin.hpp, and also includes the
// header for those who embed, without exceptions. linked.cpp is the other half.

#define TENON_NO_EXCEPTIONS

#include "backend.hpp"
#include "tenon.hpp"
#include "tenon_plugin.hpp"

namespace {

namespace plugin = tenon::plugin;

struct shouting {
    static constexpr const char *id = "shouting", *version = "1.0.0", *build_info = "";
    static constexpr std::uint32_t caps = 0;

    static std::string description() {
        return R"({"summary": "says it louder", "engine": "none", "files": [],
                   "tasks": [{"task": "generate", "schema": {"type": "object", "properties": {}}}],
                   "load_schema": {"type": "object", "properties": {}}})";
    }

    struct model {
        model(plugin::call &, const plugin::files &, plugin::options) {}
    };

    struct session {
        session(plugin::call &, std::shared_ptr<model>, plugin::options) {}
        void run(plugin::call &call, std::string_view, const plugin::items &items, plugin::options) {
            const std::string_view text = plugin::view(plugin::as_text(items[0]).text);
            if (text.empty()) throw plugin::error(TENON_E_CONTEXT_OVERFLOW, "nothing is too little");
            call.emit_text(std::string(text) + "!");
        }
        void reset(plugin::call &) {}
    };
};

}  // namespace

TENON_EXPORT_BACKEND(shouting);

std::string said_without_exceptions(std::string_view text) {
    auto engine = *tenon::engine::make();
    if (!engine.register_plugin(tenon_plugin_entry_v1) || !engine.add_manifest_text(manifest)) return "";
    auto request = *tenon::request::make("generate");
    if (!request.add_text(text)) return "";
    auto result = engine.load("loud")->session()->run(request);
    return result ? std::string(result->text()) : std::string(tenon::status_name(result.status()));
}
