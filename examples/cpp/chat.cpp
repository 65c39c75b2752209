// A conversation on the terminal: each line that is read is said to the model, whose reply is printed as it is made.
// Ends with the input.
//
//     chat intents-en
//     chat qwen2.5-0.5b-instruct-q4_k_m "Answer in one sentence."

#include <iostream>
#include <string>

#include <tenon.hpp>

namespace {

// Prints the reply piece by piece and gives the whole of it.
tenon::result reply(tenon::session &session, const tenon::request &conversation) {
    tenon::stream stream = session.stream(conversation);
    for (const auto &event : stream) {
        if (event.kind == tenon::event_kind::text) {
            std::cout << event.text << std::flush;
        } else if (event.kind == tenon::event_kind::note) {
            std::cerr << '(' << event.text << ")\n";
        }
    }
    std::cout << std::endl;
    return stream.result();
}

void converse(tenon::session &session, const char *system) {
    // The request holds the whole conversation and grows by two messages with each turn; the session remembers what it
    // has read already, so only what is new is read each time.
    tenon::request conversation("chat");
    if (system != nullptr) conversation.add_text("system", system);
    for (std::string line; std::getline(std::cin, line);) {
        if (!line.empty() && line.back() == '\r') line.pop_back();
        if (line.empty()) continue;
        conversation.add_text("user", line);
        const tenon::result result = reply(session, conversation);
        // A reply that was cut off is said to be so: it looks complete and is not.
        if (result.info("finish") == "length") std::cerr << "(the reply was cut off)\n";
        conversation.add_text("assistant", result.text());
    }
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 2 || count > 3) {
        std::cerr << "usage: chat MODEL [SYSTEM]\n";
        return 2;
    }
    try {
        tenon::session session = tenon::engine().load(arguments[1]).session();
        converse(session, arguments[2]);
        return 0;
    } catch (const std::exception &problem) {
        std::cerr << "chat: " << problem.what() << '\n';
        return 1;
    }
}
