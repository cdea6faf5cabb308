// Opens a checkpoint, reads all of it and checks what comes out.
#pragma once

#include <cstddef>
#include <span>

#include "check.h"
#include "io/torch_checkpoint.h"

inline void ReadCheckpoint(std::span<const std::byte> file) {
  using namespace lcsm::io;
  CheckpointLimits limits;  // Small ones: the fuzzer has little memory.
  limits.slack_bytes = 1 << 16;
  limits.pickle.nodes = 1 << 16;
  limits.pickle.stack = 1 << 14;
  limits.pickle.memo = 1 << 14;
  auto checkpoint = TorchCheckpoint::OpenBytes(file, "f", limits);
  if (!checkpoint.ok()) {
    CheckSentence(checkpoint.status());
    return;
  }
  for (size_t i = 0; i < (*checkpoint)->tensors().size(); ++i) {
    const TorchCheckpoint::Tensor& tensor = (*checkpoint)->tensors()[i];
    const auto bytes = (*checkpoint)->Read(i);
    if (!bytes.ok()) {
      CheckSentence(bytes.status());
      continue;
    }
    FUZZ_CHECK(bytes->size() == tensor.elements * DTypeSize(tensor.dtype));
  }
}
