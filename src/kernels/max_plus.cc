#include "kernels/max_plus.h"

#include <algorithm>
#include <limits>

#include "base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/max_plus.cc"
#include "hwy/foreach_target.h"  // Compiles this file once a target.
// After foreach_target.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr float kNone = -std::numeric_limits<float>::infinity();

HWY_NOINLINE float Best(const float* x, const float* f, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Set(d, kNone), b = a, c = a, e = a;
  size_t i = 0;
  const auto sum = [=](size_t at) HWY_ATTR {
    return hn::Add(hn::LoadU(d, x + at), hn::LoadU(d, f + at));
  };
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    a = hn::Max(sum(i), a);
    b = hn::Max(sum(i + lanes), b);
    c = hn::Max(sum(i + 2 * lanes), c);
    e = hn::Max(sum(i + 3 * lanes), e);
  }
  for (; i + lanes <= count; i += lanes) a = hn::Max(sum(i), a);
  // Not MaxOfLanes: that of Highway 1.0.3's EMU128 begins at the lowest finite
  // number, so that nothing would come out as something.
  HWY_ALIGN float each[hn::MaxLanes(d)];
  hn::Store(hn::Max(hn::Max(a, b), hn::Max(c, e)), d, each);
  float most = kNone;
  for (size_t lane = 0; lane < lanes; ++lane) {
    most = std::max(most, each[lane]);
  }
  for (; i < count; ++i) most = std::max(most, x[i] + f[i]);
  return most;
}

// In blocks: the maximum of each first, then the place in the block that has it
// last, so that the loop over all holds no indices.
HWY_NOINLINE size_t ArgBest(const float* x, const float* f, size_t count,
                            float* most) {
  constexpr size_t kBlock = 128;
  size_t block = 0;
  *most = kNone;
  for (size_t from = 0; from < count; from += kBlock) {
    const float here = Best(x + from, f + from, std::min(kBlock, count - from));
    if (here >= *most) {
      *most = here;
      block = from;
    }
  }
  size_t i = std::min(block + kBlock, count);
  while (i-- > block) {
    if (x[i] + f[i] == *most) return i;
  }
  return count - 1;  // Not a number anywhere.
}

HWY_NOINLINE void Rows(const float* x, const float* f, size_t count, float* y) {
  const hn::CappedTag<float, kMaxPlusRows> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t j = 0; j < kMaxPlusRows; j += 2 * lanes) {
    // Two registers where the rows fill them.
    if (lanes < kMaxPlusRows) {
      auto a = hn::LoadU(d, y + j), b = hn::LoadU(d, y + j + lanes);
      for (size_t i = 0; i < count; ++i) {
        const auto at = hn::Set(d, x[i]);
        const float* const taps = f + j - i;
        a = hn::Max(hn::Add(at, hn::LoadU(d, taps)), a);
        b = hn::Max(hn::Add(at, hn::LoadU(d, taps + lanes)), b);
      }
      hn::StoreU(a, d, y + j);
      hn::StoreU(b, d, y + j + lanes);
    } else {
      auto a = hn::LoadU(d, y + j), b = a;
      size_t i = 0;
      for (; i + 2 <= count; i += 2) {
        a = hn::Max(hn::Add(hn::Set(d, x[i]), hn::LoadU(d, f + j - i)), a);
        b = hn::Max(hn::Add(hn::Set(d, x[i + 1]), hn::LoadU(d, f + j - i - 1)),
                    b);
      }
      if (i < count) {
        a = hn::Max(hn::Add(hn::Set(d, x[i]), hn::LoadU(d, f + j - i)), a);
      }
      hn::StoreU(hn::Max(a, b), d, y + j);
    }
  }
}

const MaxPlusKernels* MaxPlusTable() {
  static const MaxPlusKernels table = {
      hwy::TargetName(HWY_TARGET),
      Best,
      ArgBest,
      Rows,
  };
  return &table;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lcsm {
namespace {

HWY_EXPORT(MaxPlusTable);

}  // namespace

const MaxPlusKernels& GetMaxPlusKernels() {
  return *HWY_DYNAMIC_DISPATCH(MaxPlusTable)();
}

}  // namespace lcsm
#endif  // HWY_ONCE
