// What made an output: every one of them says so where its format has room.
#pragma once

#include <cstddef>
#include <string>

#include "runtime/model.h"

namespace lcsm::cli {

// "lcsm 0.1.0, model ecoli-hyenadna 5d41402abc4b2a76b9719d911017c592": version,
// name and fingerprint.
std::string Provenance(const ModelInfo& info);

// The last line of a summary: the same, and "; 2 threads, AVX2".
std::string ComputedBy(const ModelInfo& info, size_t threads);

}  // namespace lcsm::cli
