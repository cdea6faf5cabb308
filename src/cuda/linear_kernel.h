// A decode step's products: a matrix with one to eight rows of activations,
// with what comes before (LayerNorm) and after (GELU; the residual; short FIR,
// gates and red cells, block_kernels.h) in the same launch.
//
// What bounds it is how soon the weights are there. Each is read once, so they
// go straight to registers, and as many as these hold are asked for before
// anything else, even before the launch in front has ended (Fetch; portable.h).
// Rows that are too long for a team are shared by several, so that all of a
// matrix of a few MB is on its way at once: by Little's law 4.8 TB/s of an H200
// and 700 ns are 25 KB a multiprocessor, and a block asks for up to 32.
#pragma once

#include <cstring>

#include "cuda/block_kernels.h"

namespace lcsm::cuda {

enum class LinearThen : uint32_t {
  kStore,  // y = W x + b
  kAdd,    // y += W x + b
  kGelu,   // y = gelu(W x + b)
  kMix,    // W x + b are streams: y = FIR, gates and red cells of them.
};

struct LinearWork {
  const void* weight = nullptr;  // [out][in]; no launch may write it.
  const float* bias = nullptr;   // [out]; null: none.
  uint32_t in = 0, out = 0;
  uint32_t rows = 1;                   // At most the kernel's kRows.
  uint32_t rounds = 1;                 // kMix: N + 1.
  uint32_t log_teams = 0;              // See LogTeams.
  const float* x = nullptr;            // [rows][in]
  const float* norm_weight = nullptr;  // Null: x as it is.
  const float* norm_bias = nullptr;
  float eps = 0;
  float* y = nullptr;  // [rows][out]; kMix: [rows][D]
  LinearThen then = LinearThen::kStore;
  MixWork mix;
};

// Eight teams of 32 threads. 2^log_teams of them have a row of W together, in
// each of `rounds` rounds, four of which go side by side.
template <typename Weight, int kRows>
struct LinearKernel {
  using Args = LinearWork;
  static constexpr int kThreads = 256;
  // One that computes and one that has fetched. Three would spill.
  static constexpr int kBlocksAtLeast = 2;
  static constexpr bool kLetsNextIn = true;
  static constexpr uint32_t kTeam = 32, kTeams = kThreads / kTeam;
  // Orders up to 7 are tested; published models have 2, and 3 or 4 in papers.
  static constexpr int kMaxStreams = 8;
  // Four columns of a row, as they are stored: what widens weights would wait
  // for them.
  struct Packed {
    uint32_t words[sizeof(Weight)];
    LCSM_HD float Column(int k) const {
      if constexpr (sizeof(Weight) == 4) return FloatOf(words[k]);
      const uint32_t word = words[k / 2];
      return FloatOf(k % 2 == 0 ? word << 16 : word & 0xffff0000u);
    }
  };
  struct Four {
    float v[4] = {};
  };
  // Of each thread, before anything else. With many rows of x the registers
  // are theirs.
  static constexpr int kHeld = kRows == 1 ? 8 : 4;
  static constexpr uint32_t kTogether = 4;
  static constexpr int kHeldARound = kHeld / 4;
  struct Thread {
    Packed held[kHeld];
    double share = 0;     // Of a column in a mean: division takes its time.
    StepControl control;  // kMix.
  };

  // How many teams share a row, as a logarithm: until a thread of a single row
  // of x holds its columns, and there are as many blocks as large GPUs have
  // multiprocessors (108 to 148); at least four columns a thread. The same for
  // any number of rows, since sums follow it.
  static uint32_t LogTeams(const Args& work) {
    constexpr uint64_t kHeldOfOneRow = 8, kManyBlocks = 128;
    const uint64_t columns = uint64_t{4} * kTeam;
    const uint64_t held =
        columns * (work.rounds == 1 ? kHeldOfOneRow : kHeldOfOneRow / 4);
    uint32_t log = 0;
    while ((1u << log) < kTeams && (2 * columns << log) <= work.in &&
           (work.in > held << log ||
            CeilDiv(Units(work) << log, kTeams) < kManyBlocks)) {
      ++log;
    }
    return log;
  }

  // Shared memory: rows of x, normed; then sums of the norm, over which the
  // products' partial sums go, one of each thread; behind those kParts of each
  // team.
  static constexpr uint32_t kParts = 4;
  LCSM_HD static size_t SumsAt(const Args& work) {
    return CeilDiv(uint64_t{work.rows} * work.in, 4) * 4;
  }
  // One float more a team, so that the sums' readers meet different banks.
  LCSM_HD static size_t Partials(const Args& work) {
    return size_t{work.rounds} * work.rows * kTeams * (kTeam + 1);
  }
  static size_t SharedFloats(const Args& work) {
    return SumsAt(work) + Max(NormFloats(work), Partials(work)) +
           size_t{work.rounds} * work.rows * kTeams * kParts;
  }
  static uint64_t Blocks(const Args& work) {
    return CeilDiv(Units(work) << work.log_teams, kTeams);
  }
  static constexpr int kPhases = 7;
  LCSM_HD static int FirstPhase(const Args& work) {
    return work.norm_weight == nullptr ? 2 : 0;
  }

  // Rows, or channels, that a block has in a round.
  LCSM_HD static uint32_t UnitsABlock(const Args& work) {
    return kTeams >> work.log_teams;
  }
  // The row of W that a unit has in a round; at or beyond `out`: none.
  LCSM_HD static uint32_t RowOf(const Args& work, uint32_t block, uint32_t unit,
                                uint32_t round) {
    const uint32_t units = UnitsABlock(work);
    if (work.then == LinearThen::kMix) {
      const uint32_t channel = block * units + unit;
      return channel < work.mix.width ? round * work.mix.width + channel
                                      : work.out;
    }
    return (block * work.rounds + round) * units + unit;
  }

  LCSM_HD static void Fetch(const Args& work, uint32_t block, int thread,
                            Thread& state) {
    state.share = 1.0 / work.in;
    if (work.in % 4 != 0) return;
    const Place at(work, thread);
    if (work.rounds == 1) {
      FetchRow<kHeld>(work, WeightRow(work, block, at.unit, 0), at, state.held);
      return;
    }
    LCSM_UNROLL
    for (uint32_t k = 0; k < kTogether; ++k) {
      FetchRow<kHeldARound>(work, WeightRow(work, block, at.unit, k), at,
                            state.held + k * kHeldARound);
    }
  }
  LCSM_HD static void Run(int phase, const Args& work, uint32_t block,
                          int thread, Thread& state, float* shared) {
    // Asked for long before it is wanted.
    if (phase == FirstPhase(work) && work.then == LinearThen::kMix) {
      state.control = *work.mix.control;
    }
    switch (phase) {
      case 0:
        return NormPartials(work, thread, shared);
      case 1:
        return NormTeams(work, thread, shared);
      case 2:
        return LoadRows(work, thread, state.share, shared);
      case 3:
        return Products(work, block, thread, state, shared);
      case 4:
        return AddUp(work, thread, shared);
      case 5:
        return work.then == LinearThen::kMix
                   ? Fir(work, block, thread, shared)
                   : Finish(work, block, thread, shared);
      default:
        if (work.then == LinearThen::kMix) {
          Mix(work, block, thread, state.control, shared);
        }
    }
  }

 private:
  // Where a thread stands: its row among those of a round in this block, and
  // its columns, four from `first` on and each `step` further.
  struct Place {
    LCSM_HD Place(const Args& work, int thread) {
      const uint32_t team = static_cast<uint32_t>(thread) / kTeam;
      lanes = kTeam << work.log_teams;
      unit = team >> work.log_teams;
      lane = static_cast<uint32_t>(thread) & (lanes - 1);
      first = 4 * lane;
      step = 4 * lanes;
    }
    uint32_t unit, lane, lanes, first, step;
  };
  // Rows of a round; kMix: channels.
  static uint64_t Units(const Args& work) {
    return work.then == LinearThen::kMix ? work.mix.width
                                         : CeilDiv(work.out, work.rounds);
  }
  // Null: the unit has none in this round.
  LCSM_HD static const Weight* WeightRow(const Args& work, uint32_t block,
                                         uint32_t unit, uint32_t round) {
    const uint32_t row =
        round < work.rounds ? RowOf(work, block, unit, round) : work.out;
    return row < work.out ? static_cast<const Weight*>(work.weight) +
                                uint64_t{row} * work.in
                          : nullptr;
  }

  // The norm: sums and sums of squares in float64, so in one pass and with no
  // digit lost that float32 would show. First one of each thread, then
  // kNormParts, which each thread adds up for itself. Loads go kTogether at a
  // time: one after another would wait for each other.
  static constexpr uint32_t kNormParts = 16;
  static constexpr size_t kNormSums = kThreads + kNormParts;  // Of a row.
  LCSM_HD static size_t NormFloats(const Args& work) {
    return work.norm_weight == nullptr ? 0 : 4 * work.rows * kNormSums;
  }
  LCSM_HD static double* NormSumsOf(const Args& work, uint32_t row,
                                    float* shared) {
    return reinterpret_cast<double*>(shared + SumsAt(work)) +
           2 * row * kNormSums;
  }
  // values[k] = x[i + k * kThreads], where there are such.
  LCSM_HD static void LoadColumns(const Args& work, const float* x, uint32_t i,
                                  float* values) {
    LCSM_UNROLL
    for (uint32_t k = 0; k < kTogether; ++k) {
      const uint32_t column = i + k * kThreads;
      values[k] = column < work.in ? x[column] : 0.0f;
    }
  }
  LCSM_HD static void NormPartials(const Args& work, int thread,
                                   float* shared) {
    const auto place = static_cast<uint32_t>(thread);
    LCSM_NO_UNROLL
    for (uint32_t row = 0; row < work.rows; ++row) {
      double sum = 0, squares = 0;
      LCSM_NO_UNROLL
      for (uint32_t i = place; i < work.in; i += kTogether * kThreads) {
        float values[kTogether];
        LoadColumns(work, work.x + uint64_t{row} * work.in, i, values);
        LCSM_UNROLL
        for (uint32_t k = 0; k < kTogether; ++k) {
          const double v = values[k];
          sum += v;
          squares = Fma(v, v, squares);
        }
      }
      double* const at = NormSumsOf(work, row, shared) + 2 * place;
      at[0] = sum;
      at[1] = squares;
    }
  }
  LCSM_HD static void NormTeams(const Args& work, int thread, float* shared) {
    const auto place = static_cast<uint32_t>(thread);
    if (place >= kNormParts) return;
    LCSM_NO_UNROLL
    for (uint32_t row = 0; row < work.rows; ++row) {
      double* const sums = NormSumsOf(work, row, shared);
      double sum = 0, squares = 0;
      LCSM_UNROLL_BY_4
      for (uint32_t k = place; k < kThreads; k += kNormParts) {
        sum += sums[2 * k];
        squares += sums[2 * k + 1];
      }
      sums[2 * (kThreads + place)] = sum;
      sums[2 * (kThreads + place) + 1] = squares;
    }
  }
  LCSM_HD static void LoadRows(const Args& work, int thread, double share,
                               float* shared) {
    LCSM_NO_UNROLL
    for (uint32_t row = 0; row < work.rows; ++row) {
      const float* const x = work.x + uint64_t{row} * work.in;
      float* const u = shared + uint64_t{row} * work.in;
      float middle = 0, scale = 1;
      if (work.norm_weight != nullptr) {
        const double* const sums = NormSumsOf(work, row, shared) + 2 * kThreads;
        double sum = 0, squares = 0;
        LCSM_UNROLL_BY_4
        for (uint32_t k = 0; k < kNormParts; ++k) {
          sum += sums[2 * k];
          squares += sums[2 * k + 1];
        }
        const double mean = sum * share;
        const double variance = Max(squares * share - mean * mean, 0.0);
        middle = static_cast<float>(mean);
        scale =
            1.0f /
            sqrtf(static_cast<float>(variance + static_cast<double>(work.eps)));
      }
      LCSM_NO_UNROLL
      for (uint32_t i = static_cast<uint32_t>(thread); i < work.in;
           i += kTogether * kThreads) {
        float values[kTogether], weights[kTogether], biases[kTogether];
        LoadColumns(work, x, i, values);
        if (work.norm_weight != nullptr) {
          LoadColumns(work, work.norm_weight, i, weights);
          LoadColumns(work, work.norm_bias, i, biases);
        }
        LCSM_UNROLL
        for (uint32_t k = 0; k < kTogether; ++k) {
          const uint32_t column = i + k * kThreads;
          if (column >= work.in) break;
          u[column] =
              work.norm_weight == nullptr
                  ? values[k]
                  : Fma((values[k] - middle) * scale, weights[k], biases[k]);
        }
      }
    }
  }

  LCSM_HD static Packed Load(const Weight* p) {
    Packed packed;
#if defined(__CUDA_ARCH__)
    if constexpr (sizeof(Weight) == 4) {
      const uint4 w = *reinterpret_cast<const uint4*>(p);
      packed.words[2] = w.z, packed.words[3] = w.w;
      packed.words[0] = w.x, packed.words[1] = w.y;
    } else {
      const uint2 w = *reinterpret_cast<const uint2*>(p);
      packed.words[0] = w.x, packed.words[1] = w.y;
    }
#else
    std::memcpy(&packed, p, sizeof(packed));
#endif
    return packed;
  }
  LCSM_HD static Four LoadFour(const float* p) {
#if defined(__CUDA_ARCH__)
    const float4 w = *reinterpret_cast<const float4*>(p);
    return {{w.x, w.y, w.z, w.w}};
#else
    return {{p[0], p[1], p[2], p[3]}};
#endif
  }
  // Four columns from i on of one row of W, with all rows of x.
  LCSM_HD static void AddProducts(const Args& work, const Packed& w, uint32_t i,
                                  const float* shared, float* sums) {
    LCSM_UNROLL
    for (int t = 0; t < kRows; ++t) {
      if (t >= static_cast<int>(work.rows)) break;
      const Four u = LoadFour(shared + static_cast<uint32_t>(t) * work.in + i);
      LCSM_UNROLL
      for (int e = 0; e < 4; ++e) sums[t] = Fma(w.Column(e), u.v[e], sums[t]);
    }
  }
  LCSM_HD static void Keep(const Args& work, uint32_t round, int thread,
                           const float* sums, float* partials) {
    const uint32_t team = static_cast<uint32_t>(thread) / kTeam;
    LCSM_UNROLL
    for (int t = 0; t < kRows; ++t) {
      if (t >= static_cast<int>(work.rows)) break;
      partials[((round * work.rows + static_cast<uint32_t>(t)) * kTeams +
                team) *
                   (kTeam + 1) +
               static_cast<uint32_t>(thread) % kTeam] = sums[t];
    }
  }

  template <int kCount>
  LCSM_HD static void FetchRow(const Args& work, const Weight* row,
                               const Place& at, Packed* held) {
    if (row == nullptr) return;
    uint32_t i = at.first;
    LCSM_UNROLL
    for (int k = 0; k < kCount; ++k) {
      if (i < work.in) held[k] = Load(row + i);
      i += at.step;
    }
  }
  LCSM_HD static void Products(const Args& work, uint32_t block, int thread,
                               const Thread& state, float* shared) {
    float* const partials = shared + SumsAt(work);
    const Place at(work, thread);
    if (work.in % 4 == 0 && work.rounds == 1) {
      float sums[kRows] = {};
      OneRow(work, WeightRow(work, block, at.unit, 0), at, state, shared, sums);
      return Keep(work, 0, thread, sums, partials);
    }
    LCSM_NO_UNROLL
    for (uint32_t round = 0; round < work.rounds; round += kTogether) {
      float sums[kTogether][kRows] = {};
      const Weight* rows[kTogether];
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        rows[k] = WeightRow(work, block, at.unit, round + k);
      }
      if (work.in % 4 == 0) {
        FourRows(work, rows, at, round == 0, state, shared, sums);
      } else {
        AnyColumns(work, rows, at, shared, sums);
      }
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        const uint32_t ahead = round + k;
        if (ahead < work.rounds) Keep(work, ahead, thread, sums[k], partials);
      }
    }
  }
  LCSM_HD static void OneRow(const Args& work, const Weight* row,
                             const Place& at, const Thread& state,
                             const float* shared, float* sums) {
    if (row == nullptr) return;
    uint32_t i = at.first;
    LCSM_UNROLL
    for (int k = 0; k < kHeld; ++k) {
      if (i < work.in) AddProducts(work, state.held[k], i, shared, sums);
      i += at.step;
    }
    // What did not fit, four loads at a time.
    LCSM_NO_UNROLL
    while (i < work.in) {
      Packed w[kTogether];
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        const uint32_t at_k = i + k * at.step;
        if (at_k < work.in) w[k] = Load(row + at_k);
      }
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        if (i < work.in) AddProducts(work, w[k], i, shared, sums);
        i += at.step;
      }
    }
  }
  // `held`: of the first rounds, which hold their first columns.
  LCSM_HD static void FourRows(const Args& work, const Weight* const* rows,
                               const Place& at, bool held, const Thread& state,
                               const float* shared, float (*sums)[kRows]) {
    uint32_t i = at.first;
    if (held) {
      LCSM_UNROLL
      for (int h = 0; h < kHeldARound; ++h) {
        LCSM_UNROLL
        for (uint32_t k = 0; k < kTogether; ++k) {
          if (rows[k] == nullptr || i >= work.in) continue;
          AddProducts(work, state.held[k * kHeldARound + h], i, shared,
                      sums[k]);
        }
        i += at.step;
      }
    }
    LCSM_NO_UNROLL
    for (; i < work.in; i += at.step) {
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        if (rows[k] == nullptr) continue;
        AddProducts(work, Load(rows[k] + i), i, shared, sums[k]);
      }
    }
  }
  // Where rows of W begin at odd places.
  LCSM_HD static void AnyColumns(const Args& work, const Weight* const* rows,
                                 const Place& at, const float* shared,
                                 float (*sums)[kRows]) {
    LCSM_NO_UNROLL
    for (uint32_t i = at.lane; i < work.in; i += at.lanes) {
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        if (rows[k] == nullptr) continue;
        const float w = ToFloat(rows[k][i]);
        LCSM_UNROLL
        for (int t = 0; t < kRows; ++t) {
          if (t >= static_cast<int>(work.rows)) break;
          sums[k][t] = Fma(w, shared[static_cast<uint32_t>(t) * work.in + i],
                           sums[k][t]);
        }
      }
    }
  }

  // In few threads rather than one, since sums wait for each other.
  LCSM_HD static void AddUp(const Args& work, int thread, float* shared) {
    const float* const partials = shared + SumsAt(work);
    const uint32_t parts = work.rounds * work.rows * kTeams * kParts;
    LCSM_NO_UNROLL
    for (uint32_t id = static_cast<uint32_t>(thread); id < parts;
         id += kThreads) {
      constexpr uint32_t kCount = kTeam / kParts;
      const float* const of =
          partials + id / kParts * (kTeam + 1) + id % kParts * kCount;
      float sum = 0;
      LCSM_UNROLL
      for (uint32_t k = 0; k < kCount; ++k) sum += of[k];
      PartsAt(work, shared)[id] = sum;
    }
  }
  LCSM_HD static float* PartsAt(const Args& work, float* shared) {
    return shared + SumsAt(work) + Max(NormFloats(work), Partials(work));
  }
  // Product `id` is that of unit id % units, row of x id / units % rows, and
  // round id / (rows * units). The teams of a unit follow each other.
  LCSM_HD static float ProductOf(const Args& work, uint32_t id, uint32_t row,
                                 float* shared) {
    const uint32_t count = kParts << work.log_teams;
    const float* const parts = PartsAt(work, shared) + id * count;
    float sum = 0;
    LCSM_UNROLL_BY_4
    for (uint32_t k = 0; k < count; ++k) sum += parts[k];
    return work.bias == nullptr ? sum : sum + work.bias[row];
  }
  LCSM_HD static void Finish(const Args& work, uint32_t block, int thread,
                             float* shared) {
    const uint32_t units = UnitsABlock(work);
    const uint32_t products = work.rounds * work.rows * units;
    LCSM_NO_UNROLL
    for (uint32_t id = static_cast<uint32_t>(thread); id < products;
         id += kThreads) {
      const uint32_t row =
          RowOf(work, block, id % units, id / units / work.rows);
      if (row >= work.out) continue;
      const float sum = ProductOf(work, id, row, shared);
      float* const y =
          work.y + uint64_t{id / units % work.rows} * work.out + row;
      if (work.then == LinearThen::kAdd) {
        *y += sum;
      } else {
        *y = work.then == LinearThen::kGelu ? Gelu(sum) : sum;
      }
    }
  }
  // Streams lie where the threads' partial sums were, [k][row][unit].
  LCSM_HD static void Fir(const Args& work, uint32_t block, int thread,
                          float* shared) {
    const uint32_t units = UnitsABlock(work);
    const uint32_t streams = work.rounds * work.rows * units;
    LCSM_NO_UNROLL
    for (uint32_t id = static_cast<uint32_t>(thread); id < streams;
         id += kThreads) {
      const uint32_t channel = block * units + id % units;
      if (channel >= work.mix.width) continue;
      const uint32_t stream = id / units / work.rows * work.mix.width + channel;
      shared[SumsAt(work) + id] =
          FirOfStream(work.mix, id / units % work.rows, stream,
                      ProductOf(work, id, stream, shared));
    }
  }
  LCSM_HD static void Mix(const Args& work, uint32_t block, int thread,
                          const StepControl& control, float* shared) {
    const uint32_t units = UnitsABlock(work), all = work.rows * units;
    LCSM_NO_UNROLL
    for (uint32_t id = static_cast<uint32_t>(thread); id < all;
         id += kThreads) {
      const uint32_t channel = block * units + id % units;
      const uint32_t row = id / units;
      if (channel >= work.mix.width) continue;
      work.y[uint64_t{row} * work.mix.width + channel] = MixChannel(
          work.mix, control, row, channel, shared + SumsAt(work) + id, all);
    }
  }
};

}  // namespace lcsm::cuda
