#include "kernels/recurrent.h"

#include <algorithm>

#include "base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/recurrent.cc"
#include "hwy/foreach_target.h"  // Compiles this file once a target.
// After foreach_target.
#include "hwy/highway.h"
#include "kernels/cpu/dense_sums-inl.h"
#include "kernels/cpu/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Rows of keys whose scores are held at a time.
constexpr size_t kRowBlock = 64;

HWY_NOINLINE void ModesReal(const ModeWeights& w, size_t begin, size_t end,
                            size_t count, const float* x, float* state,
                            float* y) {
  ForEach<float>(end - begin, [=](auto d, size_t from) HWY_ATTR {
    const size_t c = begin + from;
    const auto skip = hn::LoadU(d, w.skip + c);
    for (size_t t = 0; t < count; ++t) {
      const auto u = hn::LoadU(d, x + t * w.stride + c);
      auto sum = hn::Mul(skip, u);
      for (size_t k = 0; k < w.modes; ++k) {
        const size_t at = k * w.stride + c;
        const auto s = hn::MulAdd(hn::LoadU(d, w.pole_re + at),
                                  hn::LoadU(d, state + at), u);
        hn::StoreU(s, d, state + at);
        sum = hn::MulAdd(hn::LoadU(d, w.residue_re + at), s, sum);
      }
      hn::StoreU(sum, d, y + t * w.stride + c);
    }
  });
}

HWY_NOINLINE void ModesComplex(const ModeWeights& w, size_t begin, size_t end,
                               size_t count, const float* x, float* state,
                               float* y) {
  float* const imaginary = state + w.modes * w.stride;
  ForEach<float>(end - begin, [=](auto d, size_t from) HWY_ATTR {
    const size_t c = begin + from;
    const auto skip = hn::LoadU(d, w.skip + c);
    for (size_t t = 0; t < count; ++t) {
      const auto u = hn::LoadU(d, x + t * w.stride + c);
      auto sum = hn::Mul(skip, u);
      for (size_t k = 0; k < w.modes; ++k) {
        const size_t at = k * w.stride + c;
        const auto p_re = hn::LoadU(d, w.pole_re + at);
        const auto p_im = hn::LoadU(d, w.pole_im + at);
        const auto s_re = hn::LoadU(d, state + at);
        const auto s_im = hn::LoadU(d, imaginary + at);
        const auto re = hn::MulAdd(p_re, s_re, hn::NegMulAdd(p_im, s_im, u));
        const auto im = hn::MulAdd(p_re, s_im, hn::Mul(p_im, s_re));
        hn::StoreU(re, d, state + at);
        hn::StoreU(im, d, imaginary + at);
        sum = hn::MulAdd(hn::LoadU(d, w.residue_re + at), re, sum);
        sum = hn::NegMulAdd(hn::LoadU(d, w.residue_im + at), im, sum);
      }
      hn::StoreU(sum, d, y + t * w.stride + c);
    }
  });
}

HWY_NOINLINE void Selective(const SelectiveWeights& w, size_t begin, size_t end,
                            const SelectiveRow& row, float* state, float* y) {
  ForEach<float>(end - begin, [=](auto d, size_t from) HWY_ATTR {
    const size_t c = begin + from;
    const auto x = hn::LoadU(d, row.x + c);
    const auto delta = hn::LoadU(d, row.delta + c);
    const auto input = hn::Mul(delta, x);
    auto sum = hn::Mul(hn::LoadU(d, w.skip + c), x);
    for (size_t n = 0; n < w.states; ++n) {
      const size_t at = n * w.stride + c;
      const auto decay = Exp(d, hn::Mul(delta, hn::LoadU(d, w.a + at)));
      const auto s = hn::MulAdd(decay, hn::LoadU(d, state + at),
                                hn::Mul(input, hn::Set(d, row.b[n])));
      hn::StoreU(s, d, state + at);
      sum = hn::MulAdd(hn::Set(d, row.c[n]), s, sum);
    }
    hn::StoreU(sum, d, y + c);
  });
}

HWY_NOINLINE void Outer(const float* q, const float* k, const float* v,
                        const float* gates, float gate, size_t key,
                        size_t value, float* s, float* y) {
  ForEach<float>(value, [=](auto d, size_t j) HWY_ATTR {
    const auto input = hn::LoadU(d, v + j);
    auto sum = hn::Zero(d);
    for (size_t i = 0; i < key; ++i) {
      float* const at = s + i * value + j;
      const auto g = hn::Set(d, gates == nullptr ? gate : gates[i]);
      const auto now =
          hn::MulAdd(g, hn::LoadU(d, at), hn::Mul(hn::Set(d, k[i]), input));
      hn::StoreU(now, d, at);
      sum = hn::MulAdd(hn::Set(d, q[i]), now, sum);
    }
    hn::StoreU(sum, d, y + j);
  });
}

HWY_NOINLINE void EluPlusOne(const float* x, float scale, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto a = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale));
    const auto zero = hn::Zero(d);
    const auto above = hn::Add(a, hn::Set(d, 1.0f));
    hn::StoreU(hn::IfThenElse(hn::Gt(a, zero), above, Exp(d, hn::Min(a, zero))),
               d, y + i);
  });
}

// Products of q with kRows rows, each summed by lanes and then across, in the
// same order however many there are.
template <size_t kRows>
HWY_INLINE void Dots(const float* q, const float* keys, size_t key,
                     float* scores) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  const size_t whole = key - key % lanes;
  for (size_t j = 0; j < whole; j += lanes) {
    const auto a = hn::LoadU(d, q + j);
    const float* const at = keys + j;
    s0 = hn::MulAdd(a, hn::LoadU(d, at), s0);
    if constexpr (kRows == 4) {
      s1 = hn::MulAdd(a, hn::LoadU(d, at + key), s1);
      s2 = hn::MulAdd(a, hn::LoadU(d, at + 2 * key), s2);
      s3 = hn::MulAdd(a, hn::LoadU(d, at + 3 * key), s3);
    }
  }
  if constexpr (kRows == 4) {
    StoreQuad(SumOfEach(s0, s1, s2, s3), scores);
  } else {
    float sums[4];
    StoreQuad(SumOfEach(s0, s0, s0, s0), sums);
    scores[0] = sums[0];
  }
  // What is left, less than a register.
  const hn::CappedTag<float, 1> one;
  for (size_t j = whole; j < key; ++j) {
    const auto a = hn::Set(one, q[j]);
    for (size_t r = 0; r < kRows; ++r) {
      const auto row = hn::Set(one, keys[r * key + j]);
      scores[r] = hn::GetLane(hn::MulAdd(a, row, hn::Set(one, scores[r])));
    }
  }
}

// Scores of up to kRowBlock products in place, the rest of the block far below;
// the largest is returned.
HWY_INLINE float Scores(const AttentionScore& score, size_t count,
                        float distance, float* scores) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  std::fill(scores + count, scores + kRowBlock, 0.0f);
  const auto far = hn::Set(d, -3.0e38f);
  const auto n = hn::Set(d, static_cast<float>(count));
  auto most = far;
  for (size_t i = 0; i < kRowBlock; i += lanes) {
    const auto index =
        hn::Add(hn::Iota(d, 0.0f), hn::Set(d, static_cast<float>(i)));
    auto s = hn::Mul(hn::LoadU(d, scores + i), hn::Set(d, score.scale));
    if (score.cap != 0) {
      // cap tanh(s / cap) = cap - 2 cap / (exp(2 s / cap) + 1)
      const auto cap = hn::Set(d, score.cap);
      const auto e = Exp(d, hn::Mul(s, hn::Set(d, 2 / score.cap)));
      s = hn::Sub(cap,
                  hn::Div(hn::Add(cap, cap), hn::Add(e, hn::Set(d, 1.0f))));
    }
    s = hn::NegMulAdd(hn::Set(d, score.slope),
                      hn::Sub(hn::Set(d, distance), index), s);
    s = hn::IfThenElse(hn::Lt(index, n), s, far);
    hn::StoreU(s, d, scores + i);
    most = hn::Max(most, s);
  }
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

// exp(score - max) in place, zeros beyond `count`; their sum.
HWY_INLINE float Weights(size_t count, float max, float* scores) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const auto n = hn::Set(d, static_cast<float>(count));
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < kRowBlock; i += lanes) {
    const auto index =
        hn::Add(hn::Iota(d, 0.0f), hn::Set(d, static_cast<float>(i)));
    auto e = Exp(d, hn::Sub(hn::LoadU(d, scores + i), hn::Set(d, max)));
    e = hn::IfThenElseZero(hn::Lt(index, n), e);
    hn::StoreU(e, d, scores + i);
    sum = hn::Add(sum, e);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// kVecs registers of Mix, at `values` and `y`: a weight is broadcast once for
// all of them.
template <size_t kVecs, class D>
HWY_INLINE void MixVecs(D d, const float* weights, const float* values,
                        size_t value, size_t count, float scale, float* y) {
  const size_t lanes = hn::Lanes(d);
  hn::Vec<D> even[kVecs], odd[kVecs];
#pragma GCC unroll 4
  for (size_t v = 0; v < kVecs; ++v) even[v] = odd[v] = hn::Zero(d);
  size_t r = 0;
  for (; r + 2 <= count; r += 2) {
    const float* const at = values + r * value;
    const auto first = hn::Set(d, weights[r]);
    const auto second = hn::Set(d, weights[r + 1]);
#pragma GCC unroll 4
    for (size_t v = 0; v < kVecs; ++v) {
      even[v] = hn::MulAdd(first, hn::LoadU(d, at + v * lanes), even[v]);
      odd[v] = hn::MulAdd(second, hn::LoadU(d, at + value + v * lanes), odd[v]);
    }
  }
#pragma GCC unroll 4
  for (size_t v = 0; v < kVecs; ++v) {
    if (r < count) {
      even[v] =
          hn::MulAdd(hn::Set(d, weights[r]),
                     hn::LoadU(d, values + r * value + v * lanes), even[v]);
    }
    // What stands in y before the first row may be anything.
    auto before = hn::Zero(d);
    if (scale != 0) before = hn::LoadU(d, y + v * lanes);
    hn::StoreU(hn::MulAdd(before, hn::Set(d, scale), hn::Add(even[v], odd[v])),
               d, y + v * lanes);
  }
}

// y <- scale y + sum_r weights[r] values[r], the sum by itself first: that
// keeps errors from growing with the number of rows.
HWY_INLINE void Mix(const float* weights, const float* values, size_t value,
                    size_t count, float scale, float* y) {
  const FloatTag d;
  const size_t tile = 4 * hn::Lanes(d);
  size_t j = 0;
  for (; j + tile <= value; j += tile) {
    MixVecs<4>(d, weights, values + j, value, count, scale, y + j);
  }
  ForEach<float>(value - j, [=](auto tag, size_t i) HWY_ATTR {
    MixVecs<1>(tag, weights, values + j + i, value, count, scale, y + j + i);
  });
}

HWY_NOINLINE void Attend(const AttentionScore& score, const float* q,
                         const float* keys, const float* values, size_t key,
                         size_t value, size_t count, float distance,
                         AttentionSum* sum, float* y) {
  HWY_ALIGN float scores[kRowBlock];
  for (size_t first = 0; first < count; first += kRowBlock) {
    const size_t rows = std::min(kRowBlock, count - first);
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      Dots<4>(q, keys + (first + r) * key, key, scores + r);
    }
    for (; r < rows; ++r) {
      Dots<1>(q, keys + (first + r) * key, key, scores + r);
    }
    float max =
        Scores(score, rows, distance - static_cast<float>(first), scores);
    float scale = 0;
    if (sum->sum != 0) {
      max = std::max(max, sum->max);
      const hn::CappedTag<float, 1> one;
      scale = hn::GetLane(Exp(one, hn::Set(one, sum->max - max)));
    }
    const float weights = Weights(rows, max, scores);
    sum->sum = scale == 0 ? weights : sum->sum * scale + weights;
    sum->max = max;
    Mix(scores, values + first * value, value, rows, scale, y);
  }
}

const RecurrentKernels* RecurrentTable() {
  static const RecurrentKernels table = {
      hwy::TargetName(HWY_TARGET),
      ModesReal,
      ModesComplex,
      Selective,
      Outer,
      EluPlusOne,
      Attend,
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

HWY_EXPORT(RecurrentTable);

}  // namespace

const RecurrentKernels& GetRecurrentKernels() {
  return *HWY_DYNAMIC_DISPATCH(RecurrentTable)();
}

}  // namespace lcsm
#endif  // HWY_ONCE
