// Several samples of one prompt, generated side by side and written in order.
//
// Of each group the first sample is written as it comes. The others come at the
// same time and are written when it is whole, so what stands on stdout is the
// same as if they had come one after another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "lcsm/status.h"
#include "output.h"
#include "runtime/generator.h"
#include "runtime/model.h"
#include "sample_writer.h"

namespace lcsm::cli {

// Of each sample of a group, on top of what a run takes.
size_t SampleBytes(const ModelMemory& memory);

// How many of `wanted` samples may be generated at a time: at most `most`, and
// no more than fit into what the memory limit leaves or, without one, into a
// GiB. One means one after another, in one state. Errors: the model's.
StatusOr<size_t> SamplesAtOnce(const Model& model,
                               const PrepareOptions& prepare, size_t wanted,
                               size_t most);

struct SampleBatchHooks {
  std::function<void(double done)> on_prefill;
  // Of any sample, as it is generated.
  std::function<void()> on_token;
  // Before anything of sample k is written.
  std::function<void(size_t k)> on_begin;
  // Whether to leave the groups that have not begun.
  std::function<bool()> stop;
};

struct SampleBatchResult {
  size_t samples = 0;  // Written.
  std::string finish;  // How the last one ended; empty: there was none.
};

// Samples 0 .. count - 1 of `prompt`; sample k takes random stream
// first_stream + k. Errors: the generator's and the writer's.
StatusOr<SampleBatchResult> WriteSamples(Generator& generator,
                                         std::span<const int32_t> prompt,
                                         uint64_t first_stream, size_t count,
                                         size_t at_once,
                                         const SampleBatchHooks& hooks,
                                         SampleWriter& writer, Output& out);

}  // namespace lcsm::cli
