#include "mixers/max_plus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/max_plus.h"

namespace lcsm {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// Tiles of fewer inputs or outputs are not worth a search: 128 sums an output
// at 8 or 16 a cycle.
constexpr size_t kSmallestSearch = 256;

// So few sums are over before a call into a kernel is.
constexpr size_t kFewInputs = 4;

// Whether f lies within `slack` of its least concave majorant.
bool IsConcave(const float* f, size_t count, double slack) {
  // Corners of the majorant so far.
  std::vector<size_t> hull;
  const auto value = [f](size_t d) { return static_cast<double>(f[d]); };
  const auto at = [](size_t d) { return static_cast<double>(d); };
  for (size_t d = 0; d < count; ++d) {
    while (hull.size() >= 2) {
      const size_t a = hull[hull.size() - 2], b = hull.back();
      // b stays a corner only if it is above the line from a to d.
      if ((value(b) - value(a)) * (at(d) - at(a)) >
          (value(d) - value(a)) * (at(b) - at(a))) {
        break;
      }
      hull.pop_back();
    }
    hull.push_back(d);
  }
  for (size_t h = 0; h + 1 < hull.size(); ++h) {
    const size_t a = hull[h], b = hull[h + 1];
    const double slope = (value(b) - value(a)) / (at(b) - at(a));
    for (size_t d = a; d < b; ++d) {
      if (value(a) + slope * (at(d) - at(a)) - value(d) > slack) return false;
    }
  }
  return true;
}

}  // namespace

// Inputs 0 .. inputs-1 and outputs 0 .. outputs-1 of a tile; `distance` is that
// from input 0 to output 0.
struct MaxPlusConvolution::Tile {
  const float* in = nullptr;
  float* out = nullptr;
  size_t inputs = 0, outputs = 0, distance = 0;
  const float *forward = nullptr, *backward = nullptr;
  size_t taps = 0;

  // The first input that has a tap to this output.
  size_t First(size_t output) const {
    const size_t far = distance + output + 1;
    return far > taps ? far - taps : 0;
  }
  // x[i] meets tap Backward(output)[i].
  const float* Backward(size_t output, size_t input) const {
    return backward + (taps - 1 + input) - (distance + output);
  }
};

StatusOr<std::shared_ptr<const MaxPlusConvolution>> MaxPlusConvolution::Create(
    size_t channels, const std::vector<float>& taps) {
  if (channels == 0 || taps.empty() || taps.size() % channels != 0) {
    return InvalidInput(fmt::format(
        "a max-plus convolution of {} channels has {} taps in all, expected at "
        "least one for each channel and as many for each",
        channels, taps.size()));
  }
  for (size_t i = 0; i < taps.size(); ++i) {
    if (!std::isfinite(taps[i])) {
      return InvalidInput(fmt::format(
          "tap {} of channel {} of a max-plus convolution is {}, expected a "
          "finite number",
          i / channels, i % channels, taps[i]));
    }
  }
  std::shared_ptr<MaxPlusConvolution> mixer(new MaxPlusConvolution);
  const size_t count = taps.size() / channels, room = count + kMaxPlusRows;
  mixer->channels_ = channels;
  mixer->taps_ = count;
  LCSM_ASSIGN_OR_RETURN(
      mixer->forward_,
      FloatBuffer::Allocate(channels * room, "taps of a max-plus convolution"));
  LCSM_ASSIGN_OR_RETURN(
      mixer->backward_,
      FloatBuffer::Allocate(channels * count,
                            "taps of a max-plus convolution"));
  for (size_t c = 0; c < channels; ++c) {
    float* const forward = mixer->forward_.data() + c * room;
    float* const backward = mixer->backward_.data() + c * count;
    double most = 0;
    for (size_t d = 0; d < count; ++d) {
      const float tap = taps[d * channels + c];
      forward[d] = backward[count - 1 - d] = tap;
      most = std::max(most, std::abs(static_cast<double>(tap)));
    }
    std::fill_n(forward + count, kMaxPlusRows, kNothing);
    mixer->concave_.push_back(
        IsConcave(forward, count, kSlack * std::exp2(-24) * most));
  }
  return std::shared_ptr<const MaxPlusConvolution>(std::move(mixer));
}

float MaxPlusConvolution::None() const noexcept { return kNothing; }

MaxPlusConvolution::Tile MaxPlusConvolution::MakeTile(
    size_t unit, size_t first_in, std::span<const float> in, size_t first_out,
    std::span<float> out) const noexcept {
  return {in.data(),
          out.data(),
          in.size(),
          out.size(),
          first_out - first_in,
          forward_.data() + unit * (taps_ + kMaxPlusRows),
          backward_.data() + unit * taps_,
          taps_};
}

void MaxPlusConvolution::Rows(const Tile& tile, size_t block, size_t low,
                              size_t high) const noexcept {
  const size_t row = block * kMaxPlusRows;
  low = std::max(low, tile.First(row));
  if (low > high) return;
  const size_t rows = std::min(kMaxPlusRows, tile.outputs - row);
  float y[kMaxPlusRows] = {};
  std::copy_n(tile.out + row, rows, y);
  GetMaxPlusKernels().rows(tile.in + low,
                           tile.forward + (tile.distance + row - low),
                           high - low + 1, y);
  std::copy_n(y, rows, tile.out + row);
}

void MaxPlusConvolution::Search(const Tile& tile, size_t from, size_t to,
                                size_t low, size_t high) const noexcept {
  if (from + 1 == to) {
    Rows(tile, from, low, high);
    return;
  }
  const size_t middle = (from + to) / 2, row = middle * kMaxPlusRows;
  const size_t first = std::max(low, tile.First(row));
  // Where no input reaches this row, none reaches a later one.
  size_t best = high;
  if (first <= high) {
    float most;
    best = first + GetMaxPlusKernels().argbest(tile.in + first,
                                               tile.Backward(row, first),
                                               high - first + 1, &most);
  }
  Search(tile, from, middle, low, best);
  Search(tile, middle, to, best, high);
}

void MaxPlusConvolution::ContDirect(size_t unit, size_t first_in,
                                    std::span<const float> in, size_t first_out,
                                    std::span<float> out) const noexcept {
  const Tile tile = MakeTile(unit, first_in, in, first_out, out);
  if (out.size() == 1) {
    const size_t first = tile.First(0);
    if (first >= in.size()) return;
    const float* const taps = tile.Backward(0, first);
    const float* const x = in.data() + first;
    const size_t count = in.size() - first;
    if (count <= kFewInputs) {
      for (size_t i = 0; i < count; ++i) Aggregate(x[i] + taps[i], &out[0]);
    } else {
      Aggregate(GetMaxPlusKernels().best(x, taps, count), &out[0]);
    }
    return;
  }
  const size_t blocks = (out.size() + kMaxPlusRows - 1) / kMaxPlusRows;
  for (size_t block = 0; block < blocks; ++block) {
    Rows(tile, block, 0, in.size() - 1);
  }
}

void MaxPlusConvolution::Cont(size_t unit, size_t first_in,
                              std::span<const float> in, size_t first_out,
                              std::span<float> out) const noexcept {
  if (!concave_[unit] || in.size() < kSmallestSearch ||
      out.size() < kSmallestSearch) {
    ContDirect(unit, first_in, in, first_out, out);
    return;
  }
  const Tile tile = MakeTile(unit, first_in, in, first_out, out);
  Search(tile, 0, (out.size() + kMaxPlusRows - 1) / kMaxPlusRows, 0,
         in.size() - 1);
}

StatusOr<std::shared_ptr<const Mixer>> MaxPlusMixer(
    size_t channels, const std::vector<float>& taps, Tiling tiling) {
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const MaxPlusConvolution> mixer,
                        MaxPlusConvolution::Create(channels, taps));
  const std::string describe = fmt::format(
      "max-plus convolution, {} channels, {} taps", channels, mixer->taps());
  const size_t bytes = mixer->bytes();
  return std::shared_ptr<const Mixer>(
      std::make_shared<TiledAsMixer<MaxPlusConvolution>>(
          std::move(mixer), describe, bytes, tiling));
}

}  // namespace lcsm
