#include "conv/filter_bank.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace lcsm::conv {
namespace {

size_t GroupStride(size_t taps) {
  return ((taps + kTapSlack) | 1) *
         kLanes;  // Odd, for the reason given at HistoryStride.
}

// Subnormal taps count as zero. Filters that decay exponentially end in
// thousands of them, each of which costs many CPUs a hundred cycles a product;
// what is lost is below 2^-126 of an input. The floating-point mode of the
// caller's threads is never touched.
float FlushSubnormal(float tap) {
  return std::abs(tap) < std::numeric_limits<float>::min() ? 0.0f : tap;
}

}  // namespace

size_t FilterBank::BytesFor(const Problem& problem, size_t taps) {
  const size_t groups = problem.mixers * GroupsFor(problem.channels);
  return groups *
         (GroupStride(std::min(taps, problem.length)) + kHeadTaps * kLanes) *
         sizeof(float);
}

StatusOr<std::unique_ptr<FilterBank>> FilterBank::Create(
    const Problem& problem) {
  std::unique_ptr<FilterBank> bank(new FilterBank);
  bank->mixers_ = problem.mixers;
  bank->channels_ = problem.channels;
  bank->groups_ = GroupsFor(problem.channels);
  bank->taps_ = std::min(problem.taps, problem.length);
  bank->group_stride_ = GroupStride(bank->taps_);
  const size_t all_groups = bank->mixers_ * bank->groups_;
  LCSM_ASSIGN_OR_RETURN(bank->buffer_,
                        FloatBuffer::Allocate(all_groups * bank->group_stride_,
                                              "the filters' taps"));
  LCSM_ASSIGN_OR_RETURN(bank->head_,
                        FloatBuffer::Allocate(all_groups * kHeadTaps * kLanes,
                                              "the filters' first taps"));
  return bank;
}

StatusOr<std::unique_ptr<FilterBank>> FilterBank::First(const FilterBank& bank,
                                                        size_t taps,
                                                        ThreadPool& pool) {
  Problem problem;
  problem.mixers = bank.mixers_;
  problem.channels = bank.channels_;
  problem.length = problem.taps = taps;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<FilterBank> first, Create(problem));
  first->CopyFirst(bank, taps, pool);
  return first;
}

void FilterBank::CopyTaps(const FilterBank& shorter, ThreadPool& pool) {
  assert(shorter.mixers_ == mixers_ && shorter.channels_ == channels_ &&
         shorter.taps_ <= taps_);
  CopyFirst(shorter, shorter.taps_, pool);
}

void FilterBank::CopyFirst(const FilterBank& bank, size_t taps,
                           ThreadPool& pool) {
  pool.ParallelFor(mixers_ * groups_, 1, [&](size_t begin, size_t end, size_t) {
    for (size_t g = begin; g < end; ++g) {
      std::copy_n(bank.FlatGroup(g), taps * kLanes,
                  buffer_.data() + g * group_stride_);
      // The rest of the head taps is zero: whoever keeps fewer needs no
      // more.
      std::copy_n(bank.head_.data() + g * kHeadTaps * kLanes,
                  std::min(taps, kHeadTaps) * kLanes,
                  head_.data() + g * kHeadTaps * kLanes);
    }
  });
}

void FilterBank::SetTaps(size_t mixer, size_t first, size_t count,
                         const float* values) {
  constexpr size_t kLines = 64;
  float lines[kLines * kLanes] = {};
  for (size_t g = 0; g < groups_; ++g) {
    const size_t lanes = std::min(kLanes, channels_ - g * kLanes);
    if (lanes < kLanes) std::fill_n(lines, kLines * kLanes, 0.0f);
    for (size_t n = 0; n < count; n += kLines) {
      const size_t now = std::min(kLines, count - n);
      for (size_t i = 0; i < now; ++i) {
        std::copy_n(values + (n + i) * channels_ + g * kLanes, lanes,
                    lines + i * kLanes);
      }
      SetGroupTaps(mixer, g, first + n, now, lines);
    }
  }
}

void FilterBank::SetGroupTaps(size_t mixer, size_t group, size_t first,
                              size_t count, const float* lines) {
  assert(mixer < mixers_ && group < groups_ && first + count <= taps_);
  const size_t at = mixer * groups_ + group;
  float* const taps = buffer_.data() + at * group_stride_;
  std::transform(lines, lines + count * kLanes, taps + first * kLanes,
                 FlushSubnormal);
  if (first >= kHeadTaps) return;
  std::copy_n(taps + first * kLanes,
              (std::min(first + count, kHeadTaps) - first) * kLanes,
              head_.data() + (at * kHeadTaps + first) * kLanes);
}

}  // namespace lcsm::conv
