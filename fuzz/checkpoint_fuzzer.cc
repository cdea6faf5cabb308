// Whole torch checkpoints: the zip archive around the pickle. Its checksums
// keep most mutations out of the pickle, which has a fuzzer of its own.
#include <cstdint>

#include "read_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ReadCheckpoint(std::as_bytes(std::span<const uint8_t>(data, size)));
  return 0;
}
