// What the two halves of a program with a backend of its own share.

#ifndef BACKEND_HPP
#define BACKEND_HPP

#include <string>
#include <string_view>

// A model without files on the backend that the program links.
inline constexpr std::string_view manifest =
    "name = \"loud\"\ntask = \"generate\"\nbackend = \"shouting\"\nlicense = \"MIT\"\n";

// What the model says to a text, or the name of a status, by the functions that return their errors.
std::string said_without_exceptions(std::string_view text);

#endif
