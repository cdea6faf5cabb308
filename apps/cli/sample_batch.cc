#include "sample_batch.h"

#include <algorithm>
#include <utility>

namespace lcsm::cli {
namespace {

constexpr size_t kBytesUnasked = size_t{1} << 30;

// Rows that there is room for beside a state.
size_t RowsThatFit(const ModelMemory& memory, size_t limit) {
  size_t room =
      limit != 0 ? limit - std::min(limit, memory.Total()) : kBytesUnasked;
  if (!memory.device.empty()) {
    // All that the run leaves of the device, and no more than that.
    const size_t taken = memory.Total() - memory.weights;
    const size_t left =
        memory.device_free - std::min(memory.device_free, taken);
    room = limit != 0 ? std::min(room, left) : left;
  }
  return room / std::max<size_t>(SampleBytes(memory), 1);
}

}  // namespace

size_t SampleBytes(const ModelMemory& memory) {
  return memory.convolution.Session() + memory.activations;
}

StatusOr<size_t> SamplesAtOnce(const Model& model,
                               const PrepareOptions& prepare, size_t wanted,
                               size_t most) {
  most = std::min(wanted, most);
  if (most == 1) return 1;
  auto estimate = model.EstimateMemory(prepare, prepare.plan.threads);
  // A device that has no room for a second such state may have had it for the
  // first; if not, whoever prepares the model says so.
  if (estimate.status().code() == StatusCode::kResourceExhausted) return 1;
  LCSM_ASSIGN_OR_RETURN(const ModelMemory memory, std::move(estimate));
  // Of several devices each has its part of every sample.
  size_t fit = RowsThatFit(memory, prepare.memory_limit);
  for (const ModelMemory& rank : memory.ranks) {
    fit = std::min(fit, RowsThatFit(rank, prepare.memory_limit));
  }
  return std::clamp<size_t>(fit, 1, most);
}

SampleGroup::SampleGroup(size_t first, size_t count,
                         const SampleBatchHooks& hooks, SampleWriter& writer,
                         Output& out)
    : first_(first), hooks_(hooks), writer_(writer), out_(out) {
  GenerateHooks counted;
  counted.on_token = [this](int32_t, double) { return hooks_.on_token(); };
  generate_.assign(count, counted);
  GenerateHooks& live = generate_[0];
  live.on_prefill = hooks.on_prefill;
  live.on_token = [this](int32_t id, double) -> Status {
    LCSM_RETURN_IF_ERROR(Begin(first_));
    LCSM_RETURN_IF_ERROR(hooks_.on_token());
    return Checked(writer_.Token(id));
  };
  live.on_text = [this](std::string_view text) {
    return Checked(writer_.Text(text));
  };
}

Status SampleGroup::Begin(size_t k) {
  if (begun_ > k) return OkStatus();
  begun_ = k + 1;
  hooks_.on_begin(k);
  return writer_.Begin(k);
}

// Nobody reads any more: the sample ends as if the user had said so.
Status SampleGroup::Checked(Status status) const {
  if (status.ok() && out_.reader_gone()) return Cancelled("nobody reads");
  return status;
}

Status SampleGroup::Finish(std::span<GeneratedSample> samples,
                           SampleBatchResult* result) {
  for (size_t r = 0; r < samples.size(); ++r) {
    GeneratedSample& sample = samples[r];
    const bool live = r == 0;
    // One that a reader left in the middle of was a sample all the same.
    if (!live && out_.reader_gone()) break;
    result->finish = Name(sample.finish);
    // Cut off before its first token: no sample at all. One that ended so by
    // itself (a stop text at once) is a whole, empty one.
    if (sample.tokens.empty() && sample.finish == FinishReason::kCancelled) {
      continue;
    }
    LCSM_RETURN_IF_ERROR(Begin(first_ + r));
    if (!live) {
      for (int32_t id : sample.tokens) {
        LCSM_RETURN_IF_ERROR(writer_.Token(id));
      }
      LCSM_RETURN_IF_ERROR(writer_.Text(sample.text));
    }
    SampleRecord record;
    record.sample = first_ + r;
    record.tokens = std::move(sample.tokens);
    record.text = std::move(sample.text);
    record.logprobs = std::move(sample.logprobs);
    record.finish_reason = result->finish;
    LCSM_RETURN_IF_ERROR(writer_.End(record));
    ++result->samples;
  }
  return OkStatus();
}

StatusOr<SampleBatchResult> WriteSamples(Generator& generator,
                                         std::span<const int32_t> prompt,
                                         uint64_t first_stream, size_t count,
                                         size_t at_once,
                                         const SampleBatchHooks& hooks,
                                         SampleWriter& writer, Output& out) {
  SampleBatchResult result;
  GenerateHooks reading;
  reading.on_prefill = hooks.on_prefill;
  LCSM_ASSIGN_OR_RETURN(const bool read, generator.ReadPrompt(prompt, reading));
  if (!read) {
    result.finish = Name(FinishReason::kCancelled);
    return result;
  }
  for (size_t k = 0; k < count && !hooks.stop(); k += at_once) {
    SampleGroup group(k, std::min(at_once, count - k), hooks, writer, out);
    LCSM_ASSIGN_OR_RETURN(std::vector<GeneratedSample> samples,
                          generator.Samples(first_stream + k, group.hooks()));
    LCSM_RETURN_IF_ERROR(group.Finish(samples, &result));
  }
  return result;
}

}  // namespace lcsm::cli
