// A program that links its own backend. This file has exceptions and backend.cpp has not, which must not mix them up.

#include "check.hpp"

#include "backend.hpp"
#include "tenon_plugin.hpp"

int main() {
    tenon::engine engine;
    engine.register_plugin(tenon_plugin_entry_v1);
    engine.add_manifest_text(manifest);
    tenon::session session = engine.load("loud").session();
    tenon::request request("generate");
    FAILS(TENON_E_INVALID_ARGUMENT, session.run(request));
    request.add_text("hello");
    CHECK(session.run(request).text() == "hello!");
    CHECK(said_without_exceptions("hello") == "hello!");
    tenon::request empty("generate");
    empty.add_text("");
    FAILS(TENON_E_CONTEXT_OVERFLOW, session.run(empty));
    CHECK(said_without_exceptions("") == "TENON_E_CONTEXT_OVERFLOW");
    return verdict("linked");
}
