#include "mixers/softmax_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "base/aligned_buffer.h"
#include "kernels/recurrent.h"

namespace lcsm {
namespace {

// Multiply-adds worth handing to another thread.
constexpr size_t kGrainProducts = 16384;
// Positions to store: sines and cosines for each.
constexpr size_t kGrainStores = 4;
// Known positions whose keys and values are stored before their queries are
// answered, all heads of all of them at once. A ring has that much room beside
// its window.
constexpr size_t kPositions = 64;

// Heads and their widths: products of these and a horizon can be counted.
constexpr size_t kLargest = size_t{1} << 14;

// Positions that the cache holds.
size_t Rows(const SoftmaxAttentionOptions& o, size_t horizon) {
  if (o.window >= horizon) return horizon;
  return std::min(horizon, o.window + kPositions - 1);
}
size_t QueryFloats(const SoftmaxAttentionOptions& o, size_t horizon) {
  return std::min(horizon, kPositions) * o.heads * o.key;
}

class State final : public MixerState {
 public:
  State(const SoftmaxAttention& mixer, size_t rows, size_t queries,
        FloatBuffer keys, FloatBuffer values, FloatBuffer query,
        ThreadPool& pool)
      : mixer_(mixer),
        o_(mixer.options()),
        rows_(rows),
        queries_(queries),
        keys_(std::move(keys)),
        values_(std::move(values)),
        query_(std::move(query)),
        pool_(pool) {}

  size_t bytes() const override {
    return keys_.bytes() + values_.bytes() + query_.bytes();
  }
  Status Save(io::SectionWriter& writer) const override {
    const size_t rows = std::min(rows_, position());
    for (size_t g = 0; g < o_.kv_heads; ++g) {
      LCSM_RETURN_IF_ERROR(writer.PutArray(
          "keys", std::span<const float>(keys_.data() + g * rows_ * o_.key,
                                         rows * o_.key)));
      LCSM_RETURN_IF_ERROR(writer.PutArray(
          "values",
          std::span<const float>(values_.data() + g * rows_ * o_.value,
                                 rows * o_.value)));
    }
    return OkStatus();
  }

 private:
  void DoStep(const float* x, float* y) noexcept override {
    Take(position(), 1, x, y);
  }
  Status DoPrefill(size_t count, const float* x, float* y) override {
    for (size_t first = 0; first < count; first += queries_) {
      Take(position() + first, std::min(queries_, count - first),
           x + first * mixer_.in_width(), y + first * mixer_.out_width());
    }
    return OkStatus();
  }
  // Positions [from, from + count), count <= queries_.
  void Take(size_t from, size_t count, const float* x, float* y) noexcept {
    pool_.ParallelFor(count, kGrainStores,
                      [&](size_t begin, size_t end, size_t) {
                        for (size_t t = begin; t < end; ++t) {
                          Store(from + t, x + t * mixer_.in_width(),
                                query_.data() + t * o_.heads * o_.key);
                        }
                      });
    const size_t rows = std::min(from + count, o_.window);
    pool_.ParallelFor(count * o_.heads,
                      kGrainProducts / (rows * (o_.key + o_.value)) + 1,
                      [&](size_t begin, size_t end, size_t) {
                        for (size_t i = begin; i < end; ++i) {
                          const size_t t = i / o_.heads, h = i % o_.heads;
                          Answer(from + t, h, query_.data() + i * o_.key,
                                 y + t * mixer_.out_width() + h * o_.value);
                        }
                      });
  }
  // Keys and values into the cache, queries and keys turned.
  void Store(size_t at, const float* x, float* queries) noexcept {
    std::copy_n(x, o_.heads * o_.key, queries);
    const float* const keys = x + o_.heads * o_.key;
    const float* const values = keys + o_.kv_heads * o_.key;
    const size_t row = at % rows_;
    for (size_t g = 0; g < o_.kv_heads; ++g) {
      std::copy_n(keys + g * o_.key, o_.key, Key(g, row));
      std::copy_n(values + g * o_.value, o_.value, Value(g, row));
    }
    const double position = static_cast<double>(at) / o_.position_scale;
    const size_t half = o_.rotary / 2;
    for (size_t j = 0; j < half; ++j) {
      const double angle = position * o_.frequencies[j];
      const float cosine = static_cast<float>(std::cos(angle));
      const float sine = static_cast<float>(std::sin(angle));
      const auto turn = [&](float* head) {
        const float a = head[j], b = head[j + half];
        head[j] = a * cosine - b * sine;
        head[j + half] = b * cosine + a * sine;
      };
      for (size_t h = 0; h < o_.heads; ++h) turn(queries + h * o_.key);
      for (size_t g = 0; g < o_.kv_heads; ++g) turn(Key(g, row));
    }
  }
  void Answer(size_t at, size_t h, const float* query, float* y) noexcept {
    const RecurrentKernels& kernels = GetRecurrentKernels();
    const size_t g = h / (o_.heads / o_.kv_heads);
    AttentionScore score = {o_.scale, o_.soft_cap,
                            o_.slopes.empty() ? 0 : o_.slopes[h]};
    AttentionSum sum;
    // A ring's rows come in up to two runs, older ones first.
    for (size_t i = at + 1 - std::min(at + 1, o_.window); i <= at;) {
      const size_t row = i % rows_;
      const size_t run = std::min(at + 1 - i, rows_ - row);
      kernels.attend(score, query, Key(g, row), Value(g, row), o_.key, o_.value,
                     run, static_cast<float>(at - i), &sum, y);
      i += run;
    }
    for (size_t j = 0; j < o_.value; ++j) y[j] /= sum.sum;
  }
  float* Key(size_t g, size_t row) noexcept {
    return keys_.data() + (g * rows_ + row) * o_.key;
  }
  float* Value(size_t g, size_t row) noexcept {
    return values_.data() + (g * rows_ + row) * o_.value;
  }
  Status DoPretend(size_t at) override {
    const size_t rows = std::min(rows_, at);
    for (size_t g = 0; g < o_.kv_heads; ++g) {
      FillPast(Key(g, 0), rows * o_.key);
      FillPast(Value(g, 0), rows * o_.value);
    }
    return OkStatus();
  }
  void DoReset() noexcept override {}  // Nobody reads rows not yet stored.
  Status DoCopyFrom(const MixerState& other) override {
    const auto& from = static_cast<const State&>(other);
    const size_t rows = std::min(rows_, from.position());
    for (size_t g = 0; g < o_.kv_heads; ++g) {
      const size_t key = g * rows_ * o_.key, value = g * rows_ * o_.value;
      std::copy_n(from.keys_.data() + key, rows * o_.key, keys_.data() + key);
      std::copy_n(from.values_.data() + value, rows * o_.value,
                  values_.data() + value);
    }
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState& shorter) override {
    const auto& from = static_cast<const State&>(shorter);
    // Where a ring is longer now, rows lie elsewhere in it.
    const size_t at = from.position();
    for (size_t i = at - std::min(from.rows_, at); i < at; ++i) {
      const size_t row = i % rows_, old = i % from.rows_;
      for (size_t g = 0; g < o_.kv_heads; ++g) {
        std::copy_n(from.keys_.data() + (g * from.rows_ + old) * o_.key, o_.key,
                    Key(g, row));
        std::copy_n(from.values_.data() + (g * from.rows_ + old) * o_.value,
                    o_.value, Value(g, row));
      }
    }
    return OkStatus();
  }
  Status DoLoad(io::SectionReader& reader, size_t at) override {
    const size_t rows = std::min(rows_, at);
    for (size_t g = 0; g < o_.kv_heads; ++g) {
      LCSM_RETURN_IF_ERROR(
          reader.GetArray("keys", std::span<float>(Key(g, 0), rows * o_.key)));
      LCSM_RETURN_IF_ERROR(reader.GetArray(
          "values", std::span<float>(Value(g, 0), rows * o_.value)));
    }
    return OkStatus();
  }

  const SoftmaxAttention& mixer_;
  const SoftmaxAttentionOptions& o_;
  const size_t rows_, queries_;
  FloatBuffer keys_;    // [kv_heads][rows][key], row = position % rows.
  FloatBuffer values_;  // [kv_heads][rows][value]
  FloatBuffer query_;   // Turned, [queries][heads][key].
  ThreadPool& pool_;
};

Status Check(const SoftmaxAttentionOptions& o) {
  const auto fits = [](size_t n) { return n >= 1 && n <= kLargest; };
  if (!fits(o.heads) || !fits(o.kv_heads) || !fits(o.key) || !fits(o.value) ||
      o.window == 0) {
    return InvalidInput(fmt::format(
        "attention of {} heads and {} of keys {} and values {} wide with a "
        "window of {}, expected 1 to {} of each, and a window of at least 1",
        o.heads, o.kv_heads, o.key, o.value, o.window, kLargest));
  }
  if (o.heads % o.kv_heads != 0) {
    return InvalidInput(fmt::format(
        "attention of {} heads with {} heads of keys and values, expected a "
        "number that divides it",
        o.heads, o.kv_heads));
  }
  if (o.rotary % 2 != 0 || o.rotary > o.key) {
    return InvalidInput(fmt::format(
        "rotary positions on {} elements of a head of {}, expected an even "
        "number of at most that",
        o.rotary, o.key));
  }
  if (!(o.rotary_base > 0) || !std::isfinite(o.rotary_base) ||
      !(o.position_scale > 0) || !std::isfinite(o.position_scale)) {
    return InvalidInput(fmt::format(
        "rotary positions of base {}, divided by {}, expected finite numbers "
        "above 0",
        o.rotary_base, o.position_scale));
  }
  if (!o.frequencies.empty() && o.frequencies.size() != o.rotary / 2) {
    return InvalidInput(
        fmt::format("{} rotary frequencies for {} elements of a head, expected "
                    "one for each two",
                    o.frequencies.size(), o.rotary));
  }
  if (!o.slopes.empty() && o.slopes.size() != o.heads) {
    return InvalidInput(fmt::format(
        "{} slopes for attention of {} heads, expected one for each",
        o.slopes.size(), o.heads));
  }
  const auto finite = [](double f) { return std::isfinite(f); };
  if (!std::all_of(o.frequencies.begin(), o.frequencies.end(), finite) ||
      !std::all_of(o.slopes.begin(), o.slopes.end(), finite) ||
      !finite(o.scale) || !finite(o.soft_cap) || o.soft_cap < 0) {
    return InvalidInput(fmt::format(
        "attention with a scale of {}, a soft cap of {}, or a rotary frequency "
        "or slope that is not a finite number, expected all finite and the cap "
        "at least 0",
        o.scale, o.soft_cap));
  }
  return OkStatus();
}

}  // namespace

std::vector<float> AlibiSlopes(size_t heads, double factor) {
  size_t power = 1;
  while (2 * power <= heads) power *= 2;
  const auto slope = [factor](double h, double of) {
    return static_cast<float>(factor * std::exp2(-8 * (h + 1) / of));
  };
  std::vector<float> slopes;
  for (size_t h = 0; h < power; ++h) {
    slopes.push_back(slope(static_cast<double>(h), static_cast<double>(power)));
  }
  for (size_t h = 0; slopes.size() < heads; h += 2) {
    slopes.push_back(
        slope(static_cast<double>(h), static_cast<double>(2 * power)));
  }
  return slopes;
}

StatusOr<std::shared_ptr<const SoftmaxAttention>> SoftmaxAttention::Create(
    SoftmaxAttentionOptions options) {
  LCSM_RETURN_IF_ERROR(Check(options));
  if (options.scale == 0) {
    options.scale =
        static_cast<float>(1 / std::sqrt(static_cast<double>(options.key)));
  }
  if (options.frequencies.empty()) {
    for (size_t j = 0; j < options.rotary / 2; ++j) {
      options.frequencies.push_back(std::pow(
          options.rotary_base,
          -2.0 * static_cast<double>(j) / static_cast<double>(options.rotary)));
    }
  }
  std::shared_ptr<SoftmaxAttention> mixer(new SoftmaxAttention);
  mixer->options_ = std::move(options);
  return std::shared_ptr<const SoftmaxAttention>(std::move(mixer));
}

size_t SoftmaxAttention::in_width() const {
  return options_.heads * options_.key +
         options_.kv_heads * (options_.key + options_.value);
}

MixerTraits SoftmaxAttention::traits() const {
  return {true, false, options_.window != SoftmaxAttentionOptions::kNoWindow};
}

std::string SoftmaxAttention::Describe() const {
  std::string text = fmt::format("softmax attention, {} heads of {}",
                                 options_.heads, options_.key);
  if (options_.kv_heads != options_.heads) {
    text += fmt::format(" sharing {}", options_.kv_heads);
  }
  if (options_.window != SoftmaxAttentionOptions::kNoWindow) {
    text += fmt::format(", window {}", options_.window);
  }
  if (options_.rotary != 0) text += ", rotary";
  if (!options_.slopes.empty()) text += ", ALiBi";
  if (options_.soft_cap != 0) {
    text += fmt::format(", soft cap {}", options_.soft_cap);
  }
  return text;
}

MixerMemory SoftmaxAttention::Memory(size_t horizon, size_t) const {
  const SoftmaxAttentionOptions& o = options_;
  return {
      o.slopes.size() * sizeof(float) + o.frequencies.size() * sizeof(double),
      (o.kv_heads * Rows(o, horizon) * (o.key + o.value) +
       QueryFloats(o, horizon)) *
          sizeof(float)};
}

StatusOr<std::unique_ptr<MixerState>> SoftmaxAttention::NewState(
    const Resources& resources) const {
  const SoftmaxAttentionOptions& o = options_;
  const size_t rows = Rows(o, resources.horizon);
  const size_t queries = std::min(resources.horizon, kPositions);
  const char* const what = "keys and values";
  LCSM_ASSIGN_OR_RETURN(FloatBuffer keys,
                        FloatBuffer::Allocate(o.kv_heads * rows * o.key, what));
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer values,
      FloatBuffer::Allocate(o.kv_heads * rows * o.value, what));
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer query,
      FloatBuffer::Allocate(QueryFloats(o, resources.horizon), what));
  return std::unique_ptr<MixerState>(
      new State(*this, rows, queries, std::move(keys), std::move(values),
                std::move(query), *resources.pool));
}

}  // namespace lcsm
