// A decode step's blocks, but for their products (linear_kernel.h): the
// embedding, and what becomes of a channel's streams. Four launches a layer,
// since a launch in a captured step costs a microsecond or more and a product
// of these shapes as much.
//
// Why that fits together: the mixer is local to a channel, so a block of
// threads that projects all N + 1 streams of a few channels can take them
// through FIR, gates and red cells without asking anybody. What the blocks
// share is the norm of the rows, which each works out for itself.
#pragma once

#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

// x[row] = embedding[tokens[row]], or zeros on a rank without embedding; the
// first launch of a step counts it.
struct EmbedKernel : Elementwise<EmbedKernel> {
  static constexpr bool kLetsNextIn = true;
  struct Args {
    StepControl* control = nullptr;  // Null: only looks up.
    const int32_t* tokens = nullptr;
    const float* embedding = nullptr;  // [vocab][width]; null: none.
    uint64_t rows = 0, width = 0;
    float* x = nullptr;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.rows * args.width;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    if (id == 0 && args.control != nullptr) ++args.control->known;
    if (args.embedding == nullptr) {
      args.x[id] = 0;
      return;
    }
    const auto token = static_cast<uint64_t>(args.tokens[id / args.width]);
    args.x[id] = args.embedding[token * args.width + id % args.width];
  }
};

LCSM_HD float Gelu(float a) {
  // As a quotient: 1 + tanh loses all digits where tanh is near -1.
  const float u = 0.7978845608028654f * (a + 0.044715f * a * a * a);
  return a / (1.0f + expf(-2.0f * u));
}

// What LinearThen::kMix needs. Rows are batch rows at one position.
struct MixWork {
  const StepControl* control = nullptr;
  uint32_t width = 0, order = 2;  // D, N
  uint32_t fir_taps = 1, tail_rows = 1;
  const float* fir = nullptr;       // [fir_taps][(N+1) D]
  const float* fir_bias = nullptr;  // [(N+1) D]
  float* tail = nullptr;            // [row][tail_rows][(N+1) D]
  float* lines = nullptr;           // Histories, see conv/layout.h.
  uint64_t stride = 0;
  const float* head = nullptr;  // [mixer][group][kHeadTaps][kLanes]
  uint64_t first_mixer = 0, groups = 0, batch = 1, length = 0;
  uint32_t folds_tiny = 0;
};

// One of a row's streams through its short FIR; `now` is its value behind the
// projection. As in RedCell, loads come together.
LCSM_HD float FirOfStream(const MixWork& mix, uint32_t row, uint64_t stream,
                          float now) {
  constexpr uint32_t kTogether = 4;
  const uint64_t all = uint64_t{mix.order + 1} * mix.width;
  float* const tail = mix.tail + row * mix.tail_rows * all + stream;
  const float* const fir = mix.fir + stream;
  const float newest = fir[(mix.fir_taps - 1) * all];
  float q = mix.fir_bias[stream];
  LCSM_NO_UNROLL
  for (uint32_t j = 0; j < mix.tail_rows; j += kTogether) {
    // Behind the last of the past comes the present.
    float past[kTogether + 1], taps[kTogether];
    LCSM_UNROLL
    for (uint32_t k = 0; k <= kTogether; ++k) {
      past[k] = j + k < mix.tail_rows ? tail[(j + k) * all] : now;
    }
    LCSM_UNROLL
    for (uint32_t k = 0; k < kTogether; ++k) {
      taps[k] = j + k + 1 < mix.fir_taps ? fir[(j + k) * all] : 0.0f;
    }
    LCSM_UNROLL
    for (uint32_t k = 0; k < kTogether; ++k) {
      if (j + k + 1 < mix.fir_taps) q = Fma(taps[k], past[k], q);
      if (j + k < mix.tail_rows) tail[(j + k) * all] = past[k + 1];
    }
  }
  return Fma(newest, now, q);
}

// What comes behind the short FIRs of one channel and row: its N + 1 streams
// lie `stride` floats apart. Gives the mixed value.
LCSM_HD float MixChannel(const MixWork& mix, const StepControl& control,
                         uint32_t row, uint32_t channel, const float* streams,
                         uint32_t stride) {
  float v = streams[mix.order * stride];
  const uint64_t group = channel / kLanes, lane = channel % kLanes;
  LCSM_NO_UNROLL
  for (uint32_t o = 0; o + 1 < mix.order; ++o) {
    v *= streams[(mix.order - 1 - o) * stride];
    if (control.skip_mixers != 0) continue;
    const uint64_t filter = (mix.first_mixer + o) * mix.groups + group;
    v = RedCellOf(mix, control.known, filter * mix.batch + row, filter, lane,
                  v);
  }
  return v * streams[0];
}

}  // namespace lcsm::cuda
