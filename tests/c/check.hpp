// Shared by the C++ test programs: checks that count failures and print their line.

#ifndef CHECK_HPP
#define CHECK_HPP

#include <fcn.hpp>

#include <cstdio>
#include <cstring>

static int failures = 0;

static void check(int line, bool holds, const char *what) {
    if (holds) return;
    failures++;
    std::fprintf(stderr, "line %d: %s does not hold\n", line, what);
}

#define CHECK(...) check(__LINE__, (__VA_ARGS__), #__VA_ARGS__)

/* The call throws fcn::Error with this status and these words. */
template <typename Call>
static bool throws(fcn_status status, const char *words, Call call) {
    try {
        call();
    } catch (const fcn::Error &error) {
        if (error.status() == status && std::strstr(error.what(), words)) return true;
        std::fprintf(stderr, "%s: %s\n", fcn_status_name(error.status()), error.what());
    }
    return false;
}

#endif  // CHECK_HPP
