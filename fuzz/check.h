// Promises that a fuzzer holds its reader to.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "lcsm/status.h"

// Always on, unlike assert.
#define FUZZ_CHECK(condition)                                              \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (0)

// A refusal says why, in one line.
inline void CheckSentence(const lcsm::Status& status) {
  FUZZ_CHECK(!status.ok());
  FUZZ_CHECK(!status.message().empty());
  FUZZ_CHECK(status.message().find('\n') == std::string::npos);
  FUZZ_CHECK(status.code() != lcsm::StatusCode::kInternal);
}
