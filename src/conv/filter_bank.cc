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
                                                        size_t taps) {
  Problem problem;
  problem.mixers = bank.mixers_;
  problem.channels = bank.channels_;
  problem.length = problem.taps = taps;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<FilterBank> first, Create(problem));
  for (size_t g = 0; g < bank.mixers_ * bank.groups_; ++g) {
    std::copy_n(bank.buffer_.data() + g * bank.group_stride_, taps * kLanes,
                first->buffer_.data() + g * first->group_stride_);
    // The rest of the head taps is zero: whoever keeps fewer needs no more.
    std::copy_n(bank.head_.data() + g * kHeadTaps * kLanes,
                std::min(taps, kHeadTaps) * kLanes,
                first->head_.data() + g * kHeadTaps * kLanes);
  }
  return first;
}

void FilterBank::SetTaps(size_t mixer, size_t first, size_t count,
                         const float* values) {
  assert(mixer < mixers_ && first + count <= taps_);
  for (size_t g = 0; g < groups_; ++g) {
    const size_t lanes = std::min(kLanes, channels_ - g * kLanes);
    float* group = buffer_.data() + (mixer * groups_ + g) * group_stride_;
    for (size_t n = 0; n < count; ++n) {
      std::transform(values + n * channels_ + g * kLanes,
                     values + n * channels_ + g * kLanes + lanes,
                     group + (first + n) * kLanes, FlushSubnormal);
    }
    for (size_t n = first; n < std::min(first + count, kHeadTaps); ++n) {
      std::copy_n(
          group + n * kLanes, kLanes,
          head_.data() + ((mixer * groups_ + g) * kHeadTaps + n) * kLanes);
    }
  }
}

}  // namespace lcsm::conv
