// A decode step's blocks: matrix-vector products for one to eight rows, with
// what comes before (LayerNorm) and after (short FIR, gates, red cells; GELU;
// the residual) in the same launch. Four launches a layer, since a launch in a
// captured step costs a microsecond or more and a product of these shapes as
// much.
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

enum class LinearThen : uint32_t {
  kStore,  // y = W x + b
  kAdd,    // y += W x + b
  kGelu,   // y = gelu(W x + b)
  kMix,    // W x + b are streams: y = FIR, gates and red cells of them.
};

// What kMix needs. Rows are batch rows at one position.
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

// Everything behind the projection of one channel and row: `streams` are the
// values of its N + 1 streams, kStride floats apart. Gives the mixed value.
template <int kStride>
LCSM_HD float MixChannel(const MixWork& mix, uint32_t row, uint32_t channel,
                         float* streams) {
  const uint64_t all = uint64_t{mix.order + 1} * mix.width;
  for (uint32_t k = 0; k <= mix.order; ++k) {
    const uint64_t s = uint64_t{k} * mix.width + channel;
    const float now = streams[k * kStride];
    float* const tail = mix.tail + row * mix.tail_rows * all + s;
    float q = mix.fir_bias[s];
    for (uint32_t j = 0; j + 1 < mix.fir_taps; ++j) {
      q = Fma(mix.fir[j * all + s], tail[j * all], q);
    }
    q = Fma(mix.fir[(mix.fir_taps - 1) * all + s], now, q);
    for (uint32_t j = 0; j + 1 < mix.tail_rows; ++j) {
      tail[j * all] = tail[(j + 1) * all];
    }
    tail[(mix.tail_rows - 1) * all] = now;
    streams[k * kStride] = q;
  }
  const uint64_t known = mix.control->known;
  float v = streams[mix.order * kStride];
  const uint64_t group = channel / kLanes, lane = channel % kLanes;
  for (uint32_t o = 0; o + 1 < mix.order; ++o) {
    v *= streams[(mix.order - 1 - o) * kStride];
    if (mix.control->skip_mixers != 0) continue;
    const uint64_t filter = (mix.first_mixer + o) * mix.groups + group;
    v = RedCellOf(mix, known, filter * mix.batch + row, filter, lane, v);
  }
  return v * streams[0];
}

struct LinearWork {
  const void* weight = nullptr;  // [out][in]
  const float* bias = nullptr;   // [out]; null: none.
  uint32_t in = 0, out = 0;
  uint32_t rows = 1;                   // At most the kernel's kRows.
  uint32_t rounds = 1;                 // kMix: N + 1.
  const float* x = nullptr;            // [rows][in]
  const float* norm_weight = nullptr;  // Null: x as it is.
  const float* norm_bias = nullptr;
  float eps = 0;
  float* y = nullptr;  // [rows][out]; kMix: [rows][D]
  LinearThen then = LinearThen::kStore;
  MixWork mix;
};

// Eight teams of 32 threads, each with a row of W at a time; `rounds` rows one
// after another, four of them side by side so that their loads overlap.
template <typename Weight, int kRows>
struct LinearKernel {
  using Args = LinearWork;
  static constexpr int kThreads = 256;
  static constexpr int kTeam = 32, kTeams = kThreads / kTeam;
  // With many rows of x the registers are theirs.
  static constexpr int kTogether = 4, kHeld = kRows == 1 ? 2 : 1;
  struct Four {
    float v[4] = {};
  };
  // The first weights of the first rows, fetched before anything else: they
  // are on their way while the rows of x are normed.
  struct Thread {
    Four held[kTogether][kHeld];
  };

  // Shared memory: rows of x, normed; then sums of the norm, over which the
  // products' partial sums go, and behind those the products.
  LCSM_HD static size_t SumsAt(const Args& work) {
    return CeilDiv(uint64_t{work.rows} * work.in, 4) * 4;
  }
  // One float more a team, so that the sums' readers meet different banks.
  LCSM_HD static size_t Partials(const Args& work) {
    return size_t{work.rounds} * work.rows * kTeams * (kTeam + 1);
  }
  static size_t SharedFloats(const Args& work) {
    const size_t norm = work.norm_weight == nullptr
                            ? 0
                            : size_t{4} * work.rows * (kThreads + kTeam);
    return SumsAt(work) + Max(norm, Partials(work)) +
           size_t{work.rounds} * work.rows * kTeams;
  }
  static uint64_t Blocks(const Args& work) {
    const uint64_t units = work.then == LinearThen::kMix
                               ? work.mix.width
                               : CeilDiv(work.out, work.rounds);
    return CeilDiv(units, kTeams);
  }
  LCSM_HD static int First(const Args& work) {
    return work.norm_weight == nullptr ? 2 : 0;
  }
  LCSM_HD static int Phases(const Args& work, uint32_t) {
    return (work.then == LinearThen::kMix ? 6 : 5) - First(work);
  }
  // The row of W that a team has in a round; at or beyond `out`: none.
  LCSM_HD static uint32_t RowOf(const Args& work, uint32_t block, uint32_t team,
                                uint32_t round) {
    if (work.then == LinearThen::kMix) {
      const uint32_t channel = block * kTeams + team;
      return channel < work.mix.width ? round * work.mix.width + channel
                                      : work.out;
    }
    return (block * work.rounds + round) * kTeams + team;
  }

  LCSM_HD static void Run(int phase, const Args& work, uint32_t block,
                          int thread, Thread& state, float* shared) {
    if (phase == 0) Fetch(work, block, thread, state);
    switch (phase + First(work)) {
      case 0:
        return NormPartials(work, thread, shared);
      case 1:
        return NormTeams(work, thread, shared);
      case 2:
        return LoadRows(work, thread, shared);
      case 3:
        return Products(work, block, thread, state, shared);
      case 4:
        return Finish(work, block, thread, shared);
      default:
        return Mix(work, block, thread, shared);
    }
  }

 private:
  // Sums and sums of squares in float64: one pass, and no digit lost that
  // float32 would show.
  LCSM_HD static double* NormSums(const Args& work, float* shared) {
    return reinterpret_cast<double*>(shared + SumsAt(work));
  }
  LCSM_HD static void NormPartials(const Args& work, int thread,
                                   float* shared) {
    double* const sums = NormSums(work, shared);
    for (uint32_t row = 0; row < work.rows; ++row) {
      double sum = 0, squares = 0;
      for (uint32_t i = static_cast<uint32_t>(thread); i < work.in;
           i += kThreads) {
        const double v = work.x[uint64_t{row} * work.in + i];
        sum += v;
        squares += v * v;
      }
      double* const at =
          sums + 2 * (row * (kThreads + kTeam) + static_cast<uint32_t>(thread));
      at[0] = sum;
      at[1] = squares;
    }
  }
  LCSM_HD static void NormTeams(const Args& work, int thread, float* shared) {
    if (thread >= kTeam) return;
    for (uint32_t row = 0; row < work.rows; ++row) {
      double* const sums =
          NormSums(work, shared) + 2 * row * (kThreads + kTeam);
      double sum = 0, squares = 0;
      for (int k = thread; k < kThreads; k += kTeam) {
        sum += sums[2 * k];
        squares += sums[2 * k + 1];
      }
      sums[2 * (kThreads + thread)] = sum;
      sums[2 * (kThreads + thread) + 1] = squares;
    }
  }
  LCSM_HD static void LoadRows(const Args& work, int thread, float* shared) {
    for (uint32_t row = 0; row < work.rows; ++row) {
      const float* const x = work.x + uint64_t{row} * work.in;
      float* const u = shared + uint64_t{row} * work.in;
      if (work.norm_weight == nullptr) {
        for (uint32_t i = static_cast<uint32_t>(thread); i < work.in;
             i += kThreads) {
          u[i] = x[i];
        }
        continue;
      }
      const double* const sums =
          NormSums(work, shared) + 2 * (row * (kThreads + kTeam) + kThreads);
      double sum = 0, squares = 0;
      for (int k = 0; k < kTeam; ++k) {
        sum += sums[2 * k];
        squares += sums[2 * k + 1];
      }
      const double mean = sum / work.in;
      const double variance = Max(squares / work.in - mean * mean, 0.0);
      const auto scale = static_cast<float>(
          1 / sqrt(variance + static_cast<double>(work.eps)));
      const auto middle = static_cast<float>(mean);
      for (uint32_t i = static_cast<uint32_t>(thread); i < work.in;
           i += kThreads) {
        u[i] = Fma((x[i] - middle) * scale, work.norm_weight[i],
                   work.norm_bias[i]);
      }
    }
  }

  LCSM_HD static Four LoadFour(const float* p) {
#if defined(__CUDA_ARCH__)
    const float4 w = *reinterpret_cast<const float4*>(p);
    return {{w.x, w.y, w.z, w.w}};
#else
    return {{p[0], p[1], p[2], p[3]}};
#endif
  }
  LCSM_HD static Four LoadFour(const Bfloat16* p) {
#if defined(__CUDA_ARCH__)
    const uint2 w = *reinterpret_cast<const uint2*>(p);
    return {{__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u),
             __uint_as_float(w.y << 16), __uint_as_float(w.y & 0xffff0000u)}};
#else
    return {{ToFloat(p[0]), ToFloat(p[1]), ToFloat(p[2]), ToFloat(p[3])}};
#endif
  }

  // Null: the team has none in this round.
  LCSM_HD static const Weight* WeightRow(const Args& work, uint32_t block,
                                         uint32_t team, uint32_t round) {
    const uint32_t row =
        round < work.rounds ? RowOf(work, block, team, round) : work.out;
    return row < work.out ? static_cast<const Weight*>(work.weight) +
                                uint64_t{row} * work.in
                          : nullptr;
  }
  LCSM_HD static void Fetch(const Args& work, uint32_t block, int thread,
                            Thread& state) {
    if (work.in % 4 != 0) return;
    const auto team = static_cast<uint32_t>(thread / kTeam);
    const auto place = static_cast<uint32_t>(thread % kTeam);
    LCSM_UNROLL
    for (int k = 0; k < kTogether; ++k) {
      const Weight* const row =
          WeightRow(work, block, team, static_cast<uint32_t>(k));
      LCSM_UNROLL
      for (int h = 0; h < kHeld; ++h) {
        const uint32_t i = 4 * (place + static_cast<uint32_t>(h) * kTeam);
        if (row != nullptr && i < work.in) {
          state.held[k][h] = LoadFour(row + i);
        }
      }
    }
  }
  // Four columns from i on of one row of W, with all rows of x.
  LCSM_HD static void AddProducts(const Args& work, const Four& w, uint32_t i,
                                  const float* shared, float* sums) {
    LCSM_UNROLL
    for (int t = 0; t < kRows; ++t) {
      if (t >= static_cast<int>(work.rows)) break;
      const Four u = LoadFour(shared + static_cast<uint32_t>(t) * work.in + i);
      LCSM_UNROLL
      for (int e = 0; e < 4; ++e) sums[t] = Fma(w.v[e], u.v[e], sums[t]);
    }
  }

  LCSM_HD static void Products(const Args& work, uint32_t block, int thread,
                               const Thread& state, float* shared) {
    const auto team = static_cast<uint32_t>(thread / kTeam);
    const auto place = static_cast<uint32_t>(thread % kTeam);
    float* const partials = shared + SumsAt(work);
    for (uint32_t round = 0; round < work.rounds; round += kTogether) {
      float sums[kTogether][kRows] = {};
      const Weight* rows[kTogether];
      LCSM_UNROLL
      for (int k = 0; k < kTogether; ++k) {
        rows[k] =
            WeightRow(work, block, team, round + static_cast<uint32_t>(k));
      }
      if (work.in % 4 == 0) {
        uint32_t begin = 4 * place;
        if (round == 0) {
          LCSM_UNROLL
          for (int h = 0; h < kHeld; ++h) {
            if (begin < work.in) {
              LCSM_UNROLL
              for (int k = 0; k < kTogether; ++k) {
                AddProducts(work, state.held[k][h], begin, shared, sums[k]);
              }
            }
            begin += 4 * kTeam;
          }
        }
        for (uint32_t i = begin; i < work.in; i += 4 * kTeam) {
          LCSM_UNROLL
          for (int k = 0; k < kTogether; ++k) {
            if (rows[k] == nullptr) continue;
            AddProducts(work, LoadFour(rows[k] + i), i, shared, sums[k]);
          }
        }
      } else {
        for (uint32_t i = place; i < work.in; i += kTeam) {
          LCSM_UNROLL
          for (int k = 0; k < kTogether; ++k) {
            if (rows[k] == nullptr) continue;
            const float w = ToFloat(rows[k][i]);
            LCSM_UNROLL
            for (int t = 0; t < kRows; ++t) {
              if (t >= static_cast<int>(work.rows)) break;
              sums[k][t] =
                  Fma(w, shared[static_cast<uint32_t>(t) * work.in + i],
                      sums[k][t]);
            }
          }
        }
      }
      LCSM_UNROLL
      for (int k = 0; k < kTogether; ++k) {
        const uint32_t ahead = round + static_cast<uint32_t>(k);
        if (ahead >= work.rounds) break;
        LCSM_UNROLL
        for (int t = 0; t < kRows; ++t) {
          if (t >= static_cast<int>(work.rows)) break;
          partials[((ahead * work.rows + static_cast<uint32_t>(t)) * kTeams +
                    team) *
                       (kTeam + 1) +
                   place] = sums[k][t];
        }
      }
    }
  }

  // Product `id` is that of round id / (rows * kTeams), row of x
  // id / kTeams % rows, team id % kTeams.
  LCSM_HD static void Finish(const Args& work, uint32_t block, int thread,
                             float* shared) {
    float* const partials = shared + SumsAt(work);
    const uint32_t products = work.rounds * work.rows * kTeams;
    for (uint32_t id = static_cast<uint32_t>(thread); id < products;
         id += kThreads) {
      float sum = 0;
      LCSM_UNROLL
      for (int k = 0; k < kTeam; ++k) sum += partials[id * (kTeam + 1) + k];
      const uint32_t team = id % kTeams, t = id / kTeams % work.rows;
      const uint32_t row = RowOf(work, block, team, id / kTeams / work.rows);
      if (row >= work.out) continue;
      if (work.bias != nullptr) sum += work.bias[row];
      float* const y = work.y + uint64_t{t} * work.out + row;
      switch (work.then) {
        case LinearThen::kStore:
          *y = sum;
          break;
        case LinearThen::kAdd:
          *y += sum;
          break;
        case LinearThen::kGelu:
          *y = Gelu(sum);
          break;
        case LinearThen::kMix:
          MixedAt(work, shared)[t * kTeams + team +
                                id / kTeams / work.rows * work.rows * kTeams] =
              sum;
          break;
      }
    }
  }
  LCSM_HD static float* MixedAt(const Args& work, float* shared) {
    const size_t norm = work.norm_weight == nullptr
                            ? 0
                            : size_t{4} * work.rows * (kThreads + kTeam);
    return shared + SumsAt(work) + Max(norm, Partials(work));
  }
  LCSM_HD static void Mix(const Args& work, uint32_t block, int thread,
                          float* shared) {
    const uint32_t all = work.rows * kTeams;
    for (uint32_t id = static_cast<uint32_t>(thread); id < all;
         id += kThreads) {
      const uint32_t channel = block * kTeams + id % kTeams;
      const uint32_t row = id / kTeams;
      if (channel >= work.mix.width) continue;
      // Gathered first: how far the streams of a channel lie apart depends on
      // the number of rows.
      float streams[kMaxStreams];
      for (uint32_t k = 0; k <= work.mix.order; ++k) {
        streams[k] = MixedAt(work, shared)[k * all + id];
      }
      work.y[uint64_t{row} * work.mix.width + channel] =
          MixChannel<1>(work.mix, row, channel, streams);
    }
  }

 public:
  // Orders up to 7; published models have 2, and 3 or 4 in papers.
  static constexpr int kMaxStreams = 8;
};

}  // namespace lcsm::cuda
