#include "mixers/linear_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "base/aligned_buffer.h"
#include "kernels/recurrent.h"

namespace lcsm {
namespace {

using Feature = LinearAttentionOptions::Feature;
using Gate = LinearAttentionOptions::Gate;

// Heads and their widths: products of these can be counted.
constexpr size_t kLargest = size_t{1} << 14;

// State updates worth handing to another thread.
constexpr size_t kGrainUpdates = 16384;

// The normaliser is one more column of values, always 1: then one kernel moves
// S and z on and finds both products with the query.
size_t Columns(const LinearAttentionOptions& options) {
  return options.value + (options.normalise ? 1 : 0);
}
size_t StateFloats(const LinearAttentionOptions& options) {
  return options.heads * options.key * Columns(options);
}
// Of each head: features of q and k, the value with its 1, the outputs.
size_t ScratchFloats(const LinearAttentionOptions& options) {
  return options.heads * 2 * (options.key + Columns(options));
}

const char* Name(Gate gate) {
  switch (gate) {
    case Gate::kNone:
      return "no";
    case Gate::kConstant:
      return "constant";
    case Gate::kHead:
      return "head";
    case Gate::kKey:
      return "key";
  }
  return "";
}

class State final : public RowMixerState {
 public:
  State(const LinearAttention& mixer, FloatBuffer state, FloatBuffer scratch,
        ThreadPool& pool)
      : mixer_(mixer),
        o_(mixer.options()),
        state_(std::move(state)),
        scratch_(std::move(scratch)),
        pool_(pool) {}

  size_t bytes() const override { return state_.bytes() + scratch_.bytes(); }
  Status Save(io::SectionWriter& writer) const override {
    return writer.PutArray(
        "linear attention",
        std::span<const float>(state_.data(), state_.size()));
  }

 private:
  void Take(size_t count, const float* x, float* y) noexcept override {
    const size_t updates = count * o_.key * Columns(o_);
    pool_.ParallelFor(o_.heads, kGrainUpdates / updates + 1,
                      [&](size_t begin, size_t end, size_t) {
                        for (size_t h = begin; h < end; ++h) {
                          for (size_t t = 0; t < count; ++t) {
                            Position(h, x + t * mixer_.in_width(),
                                     y + t * mixer_.out_width());
                          }
                        }
                      });
  }
  void Map(const float* from, float scale, float* to) const noexcept {
    switch (o_.feature) {
      case Feature::kIdentity:
        for (size_t i = 0; i < o_.key; ++i) to[i] = scale * from[i];
        break;
      case Feature::kRelu:
        for (size_t i = 0; i < o_.key; ++i) {
          const float a = scale * from[i];
          to[i] = a > 0 ? a : 0;
        }
        break;
      case Feature::kEluPlusOne:
        GetRecurrentKernels().elu_plus_one(from, scale, o_.key, to);
        break;
    }
  }
  void Position(size_t h, const float* x, float* y) noexcept {
    const size_t key = o_.key, value = o_.value, columns = Columns(o_);
    const float* const keys = x + o_.heads * key;
    const float* const values = keys + o_.heads * key;
    const float* const gates = values + o_.heads * value;
    float* const q = scratch_.data() + h * 2 * (key + columns);
    float* const k = q + key;
    float* const v = k + key;
    float* const out = v + columns;
    Map(x + h * key, o_.scale, q);
    Map(keys + h * key, 1, k);
    std::copy_n(values + h * value, value, v);
    if (o_.normalise) v[value] = 1;
    float gate = 1;
    if (o_.gate == Gate::kConstant) gate = o_.decay[h];
    if (o_.gate == Gate::kHead) gate = gates[h];
    GetRecurrentKernels().outer(
        q, k, v, o_.gate == Gate::kKey ? gates + h * key : nullptr, gate, key,
        columns, state_.data() + h * key * columns, out);
    float* const mine = y + h * value;
    const float over = o_.normalise ? 1 / (out[value] + o_.epsilon) : 1;
    for (size_t j = 0; j < value; ++j) mine[j] = over * out[j];
  }
  Status DoPretend(size_t) override {
    FillPast(state_.data(), state_.size());
    return OkStatus();
  }
  void DoReset() noexcept override { state_.Zero(); }
  Status DoCopyFrom(const MixerState& other) override {
    const auto& from = static_cast<const State&>(other);
    std::copy_n(from.state_.data(), state_.size(), state_.data());
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState& shorter) override {
    return DoCopyFrom(shorter);
  }
  Status DoLoad(io::SectionReader& reader, size_t) override {
    return reader.GetArray("linear attention",
                           std::span<float>(state_.data(), state_.size()));
  }

  const LinearAttention& mixer_;
  const LinearAttentionOptions& o_;
  FloatBuffer state_;    // [heads][key][columns]
  FloatBuffer scratch_;  // [heads], see ScratchFloats.
  ThreadPool& pool_;
};

}  // namespace

StatusOr<std::shared_ptr<const LinearAttention>> LinearAttention::Create(
    LinearAttentionOptions options) {
  const auto fits = [](size_t n) { return n >= 1 && n <= kLargest; };
  if (!fits(options.heads) || !fits(options.key) || !fits(options.value)) {
    return InvalidInput(fmt::format(
        "linear attention of {} heads with keys of {} and values of {}, "
        "expected 1 to {} of each",
        options.heads, options.key, options.value, kLargest));
  }
  const size_t decays = options.gate == Gate::kConstant ? options.heads : 0;
  if (options.decay.size() != decays) {
    return InvalidInput(fmt::format(
        "linear attention of {} heads with {} gate has {} decays, expected {}",
        options.heads, Name(options.gate), options.decay.size(), decays));
  }
  for (float decay : options.decay) {
    if (!(decay >= 0 && decay <= 1)) {
      return InvalidInput(fmt::format(
          "a decay of {} in linear attention, expected one from 0 to 1",
          decay));
    }
  }
  if (!(options.epsilon >= 0) || !std::isfinite(options.scale)) {
    return InvalidInput(fmt::format(
        "an epsilon of {} and a scale of {} in linear attention, expected the "
        "first at least 0 and the second finite",
        options.epsilon, options.scale));
  }
  std::shared_ptr<LinearAttention> mixer(new LinearAttention);
  mixer->options_ = std::move(options);
  return std::shared_ptr<const LinearAttention>(std::move(mixer));
}

size_t LinearAttention::in_width() const {
  const LinearAttentionOptions& o = options_;
  size_t gates = 0;
  if (o.gate == Gate::kHead) gates = 1;
  if (o.gate == Gate::kKey) gates = o.key;
  return o.heads * (2 * o.key + o.value + gates);
}

std::string LinearAttention::Describe() const {
  return fmt::format("linear attention, {} heads of {} x {}{}, {} gate",
                     options_.heads, options_.key, options_.value,
                     options_.normalise ? ", normalised" : "",
                     Name(options_.gate));
}

MixerMemory LinearAttention::Memory(size_t, size_t) const {
  return {options_.decay.size() * sizeof(float),
          (StateFloats(options_) + ScratchFloats(options_)) * sizeof(float)};
}

StatusOr<std::unique_ptr<MixerState>> LinearAttention::NewState(
    const Resources& resources) const {
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer state,
      FloatBuffer::Allocate(StateFloats(options_), "linear attention"));
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer scratch,
      FloatBuffer::Allocate(ScratchFloats(options_), "linear attention"));
  return std::unique_ptr<MixerState>(
      new State(*this, std::move(state), std::move(scratch), *resources.pool));
}

}  // namespace lcsm
