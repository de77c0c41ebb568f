// The smallest test frame that says where it failed.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "../src/memory/failure.h"

#define CHECK(condition)                                                                  \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #condition);  \
      std::exit(1);                                                                       \
    }                                                                                     \
  } while (0)

/** `run` throws a Failure with this code. */
#define CHECK_FAILS(expected, run) CHECK(codeOf([&] { run; }) == (expected))

inline std::string codeOf(const std::function<void()>& run) {
  try {
    run();
  } catch (const virtcft::Failure& failure) {
    return failure.code();
  }
  return "no failure";
}

inline void test(const char* name, const std::function<void()>& run) {
  std::printf("  %s\n", name);
  std::fflush(stdout);
  run();
}
