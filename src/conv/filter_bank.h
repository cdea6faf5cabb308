// The taps of all filters, in the layout that tiles read:
// [mixer][group][tap][kLanes].
//
// Filled once, then immutable and shared by every session. Thread safety:
// taps may be set by several threads at a time for distinct mixers or disjoint
// ranges of taps; after the last are set all use is const.
#pragma once

#include <cstddef>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/problem.h"
#include "kernels/lanes.h"
#include "lcsm/status.h"

namespace lcsm::conv {

class FilterBank {
 public:
  // All taps zero. Holds min(problem.taps, problem.length) taps a channel.
  static StatusOr<std::unique_ptr<FilterBank>> Create(const Problem& problem);
  // The first taps of another one, for when spectra say the rest.
  // 1 <= taps <= bank.taps().
  static StatusOr<std::unique_ptr<FilterBank>> First(const FilterBank& bank,
                                                     size_t taps,
                                                     ThreadPool& pool);

  // Sets the first taps of all mixers to those of another bank of the same
  // mixers and channels, which has at most as many.
  void CopyTaps(const FilterBank& shorter, ThreadPool& pool);

  size_t mixers() const { return mixers_; }
  size_t channels() const { return channels_; }
  size_t groups() const {
    return groups_;
  }  // Of one mixer: ceil(channels / kLanes).
  size_t taps() const { return taps_; }

  // Sets taps [first, first + count) of one mixer for all its channels;
  // `values` is [count][channels], i.e. values[n * channels + c] = rho_c[first
  // + n]. Requires first + count <= taps().
  // Subnormal taps become zero.
  void SetTaps(size_t mixer, size_t first, size_t count, const float* values);
  // The same for one group, `lines` being [count][kLanes], zero in lanes beyond
  // the channels.
  void SetGroupTaps(size_t mixer, size_t group, size_t first, size_t count,
                    const float* lines);

  // One group's taps, [taps() + slack][kLanes]; zero beyond taps() (see
  // kTapSlack).
  const float* Group(size_t mixer, size_t group) const {
    return FlatGroup(mixer * groups_ + group);
  }
  // The same, groups of all mixers counted through.
  const float* FlatGroup(size_t filter_group) const {
    return buffer_.data() + filter_group * group_stride_;
  }
  // The first taps of one mixer, [groups()][kHeadTaps][kLanes], kept apart so
  // that red cells read few lines; zero beyond taps().
  const float* HeadTaps(size_t mixer) const {
    return head_.data() + mixer * groups_ * kHeadTaps * kLanes;
  }
  size_t bytes() const { return buffer_.bytes() + head_.bytes(); }
  // Of a bank that holds min(taps, problem.length) taps a channel.
  static size_t BytesFor(const Problem& problem, size_t taps);
  // Of the bank of all taps that is kept, besides what a plan keeps of them, to
  // make longer problems from; 0 where there are to be none.
  static size_t BytesToGrow(const Problem& problem) {
    return problem.growable ? BytesFor(problem, problem.taps) : 0;
  }

 private:
  FilterBank() = default;
  void CopyFirst(const FilterBank& bank, size_t taps, ThreadPool& pool);

  size_t mixers_ = 0, channels_ = 0, groups_ = 0, taps_ = 0, group_stride_ = 0;
  FloatBuffer buffer_;
  FloatBuffer head_;
};

}  // namespace lcsm::conv
