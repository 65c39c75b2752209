// What the test programs in C++ share: checks that name their place, and the way to the echo model.

#ifndef CHECK_HPP
#define CHECK_HPP

#include <atomic>
#include <cstdio>
#include <string>
#include <string_view>

#include "tenon.hpp"

inline std::atomic<int> failures{0};

inline void complain(int line, const std::string &what) {
    std::fprintf(stderr, "line %d: %s\n", line, what.c_str());
    failures++;
}

// Notes a check that does not hold; the program goes on, so that one run shows all of them.
#define CHECK(what) ((what) ? (void)0 : complain(__LINE__, #what " does not hold"))

#if TENON_HPP_THROWS

template <class Body> void check_fails(int line, tenon_status wanted, const char *what, Body body) {
    try {
        body();
        complain(line, std::string(what) + " does not fail");
    } catch (const tenon::error &problem) {
        if (problem.status() != wanted || *problem.what() == '\0') {
            complain(line, std::string(what) + " is " + tenon_status_name(problem.status()) + ": " + problem.what());
        }
    }
}

// Notes an expression that does not throw an error of this status.
#define FAILS(status, ...) check_fails(__LINE__, status, #__VA_ARGS__, [&] { (void)(__VA_ARGS__); })

#endif

// A request to repeat a text, slowly: so many milliseconds before each word.
inline void ask(tenon::request &request, tenon::options &options, std::string_view text, int delay_ms) {
    (void)options.set("delay_ms", delay_ms);
    (void)request.add_text(text);
    (void)request.set_options(options);
}

// Enough words that a request with a delay is still running when it is looked at.
inline std::string many_words() {
    std::string text;
    for (int count = 0; count < 800; count++) text += "word ";
    return text;
}

// To be returned from main.
inline int verdict(const char *name) {
    if (failures == 0) std::printf("%s: all is well\n", name);
    return failures == 0 ? 0 : 1;
}

#endif
