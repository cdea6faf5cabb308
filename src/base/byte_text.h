// Bytes for people: in tables, and in the sentences that refuse a run.
#pragma once

#include <cstddef>
#include <string>

namespace lcsm {

// "512 B", "16.4 MiB", "19.84 GiB".
std::string ByteText(size_t bytes);

}  // namespace lcsm
