#include "bench/paper_sampling.h"

#include <algorithm>
#include <bit>

#include "kernels/tile_kernels.h"

namespace lcsm::bench {
namespace {

constexpr size_t kMost = 8;  // Samples of a class.
// Below this, blocks are met by running positions one after another.
constexpr size_t kRun = 64;
// Sequences up to this are run whole.
constexpr size_t kShort = 16 * kRun;
constexpr size_t kWarm = 8;
// Lazy's and eager's stretches: linear ones, the first of them cut at powers of
// two so that short prefixes have a cost of their own.
constexpr size_t kStretches = 12;
// A later position's history does not fit into any cache.
constexpr size_t kCold = 4096;

bool IsLinear(const conv::Plan& plan) {
  return plan.method == conv::Method::kLazy ||
         plan.method == conv::Method::kEager;
}

std::vector<size_t> Stretches(size_t length) {
  std::vector<size_t> edges = {0};
  for (size_t edge = 64; edge < length / kStretches; edge *= 2)
    edges.push_back(edge);
  for (size_t k = 1; k <= kStretches; ++k) {
    const size_t edge = k * length / kStretches;
    if (edge > edges.back()) edges.push_back(edge);
  }
  return edges;
}

// The k-th of `n` things, n >= 16: spread over all n, and the eight of them
// over all remainders modulo 8.
size_t Spread(size_t k, size_t n) {
  constexpr size_t kOrder[kMost] = {3, 6, 0, 5, 2, 7, 1, 4};
  return kMost * ((2 * kOrder[k] + 1) * (n / kMost) / (2 * kMost)) + k;
}

// The numbers below kMost that `count` samples take.
size_t Choice(size_t k, size_t count) { return k * kMost / count; }

// Whether the step at t passes on what eager has gathered.
bool IsFlush(size_t t) { return (t + 1) % kSumBlock == 0; }

}  // namespace

CostClasses::CostClasses(const conv::Plan& plan)
    : length_(plan.problem.length),
      eager_(plan.method == conv::Method::kEager) {
  if (IsLinear(plan)) {
    edges_ = Stretches(length_);
    size_ = (edges_.size() - 1) * (eager_ ? 2 : 1);
  } else {
    size_ = std::bit_width(length_);
  }
}

size_t CostClasses::Of(size_t position) const noexcept {
  if (edges_.empty()) {
    const size_t r = position + 1;
    // After the last position nothing falls due, as after most.
    return r < length_ ? static_cast<size_t>(std::countr_zero(r)) : 0;
  }
  const size_t stretch =
      std::upper_bound(edges_.begin(), edges_.end(), position) -
      edges_.begin() - 1;
  return eager_ ? 2 * stretch + (IsFlush(position) ? 1 : 0) : stretch;
}

std::vector<Window> SampledPositions(const conv::Plan& plan, size_t windows,
                                     size_t samples) {
  const size_t length = plan.problem.length;
  std::vector<Window> chosen;
  const auto add_one = [&](size_t t, size_t warm) {
    warm = std::min(warm, t);
    chosen.push_back({t - warm, warm, t, 1});
  };
  if (IsLinear(plan)) {
    const std::vector<size_t> edges = Stretches(length);
    for (size_t i = 0; i + 1 < edges.size(); ++i) {
      // The middle, where the cost is the mean of the stretch's, and the flush
      // next to it if the stretch has one.
      size_t middle = (edges[i] + edges[i + 1]) / 2;
      const size_t flush = middle / kSumBlock * kSumBlock + kSumBlock - 1;
      if (plan.method == conv::Method::kEager) {
        for (const size_t t : {flush, flush - kSumBlock}) {
          if (t < edges[i] || t >= edges[i + 1]) continue;
          add_one(t, 0);
          break;
        }
        if (IsFlush(middle) && middle > edges[i]) --middle;
      }
      add_one(middle, middle < kCold ? 1 : 0);
    }
    return chosen;
  }
  if (length <= kShort) return WholeSequence(plan);
  windows = std::clamp<size_t>(windows, 1, kMost);
  samples = std::clamp<size_t>(samples, 1, kMost);
  for (size_t k = 0; k < windows; ++k) {
    const size_t first = kRun * Spread(Choice(k, windows), length / kRun);
    // What stands before may be the largest tile of all: warm up within.
    chosen.push_back({first, kWarm, first, kRun - 1});
  }
  for (size_t block = kRun; block < length; block *= 2) {
    const size_t tiles = ((length - 1) / block + 1) / 2;  // Odd multiples.
    // Of fewer than 16 no eight stand for all remainders.
    const bool all =
        tiles <= samples || (samples == kMost && tiles < 2 * kMost);
    const size_t count = all ? tiles : samples;
    for (size_t k = 0; k < count; ++k) {
      const size_t index = tiles < 2 * kMost ? k * tiles / count
                                             : Spread(Choice(k, count), tiles);
      add_one(block * (2 * index + 1) - 1, kWarm);
    }
  }
  return chosen;
}

std::vector<Window> WholeSequence(const conv::Plan& plan) {
  return {{0, 0, 0, plan.problem.length}};
}

}  // namespace lcsm::bench
