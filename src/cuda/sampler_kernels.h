// From logits to a token on the device, with the arithmetic of
// runtime/sampler.h: the same weights, orders and sums in float64, so that the
// same logits give the same token as on the host, bit for bit. Running sums are
// one thread's, with loads ahead of the additions; all else is done by all.
// That suits vocabularies of bases, amino acids or bytes; beyond kMaxVocab the
// logits go to the host, whose sampler does not care.
//
// Device code is compiled without contraction of multiply-adds, as the host's.
#pragma once

#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

// Twins of runtime/portable_math.h, log_softmax.h and philox.h;
// block_kernels_test.cc compares what comes of them.
LCSM_HD double BitsToDouble(uint64_t bits) {
  union {
    uint64_t bits;
    double value;
  } u = {bits};
  return u.value;
}
LCSM_HD uint64_t DoubleToBits(double value) {
  union {
    double value;
    uint64_t bits;
  } u = {value};
  return u.bits;
}

LCSM_HD double PortableExp(double x) {
  if (x != x) return x;
  if (x > 709.0) return BitsToDouble(0x7ff0000000000000u);
  if (x < -708.0) return 0;
  constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
  const double shifted = x * 1.4426950408889634 + kMagic;
  const double n = shifted - kMagic;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 1.0 / 2.0;
  p = p * r + 1.0;
  p = p * r + 1.0;
  return BitsToDouble(DoubleToBits(p) + (DoubleToBits(shifted) << 52));
}

LCSM_HD double SaneLogit(float logit) {
  constexpr double kMax = 3.4028234663852886e38;
  if (logit != logit) return -1.7976931348623157e308;
  return Max(Min(static_cast<double>(logit), kMax), -kMax);
}

LCSM_HD double UniformAt(uint64_t seed, uint64_t sample, uint64_t position) {
  uint32_t c[4] = {
      static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
      static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)};
  uint32_t key[2] = {static_cast<uint32_t>(seed),
                     static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t c1 = c[1], c3 = c[3];
    c[0] = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key[0];
    c[1] = static_cast<uint32_t>(p1);
    c[2] = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key[1];
    c[3] = static_cast<uint32_t>(p0);
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  const uint64_t bits = (uint64_t{c[1]} << 32 | c[0]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

// Of a run; in device memory, since a captured step outlives it.
struct SampleOptions {
  double temperature = 1, top_p = 1, min_p = 0;
  uint64_t top_k = 0, seed = 0, sample = 0;
  uint64_t count = 0;  // Of the ids that may be chosen.
};

struct SampleKernel {
  static constexpr uint64_t kMaxVocab = 1024;
  struct Args {
    const StepControl* control = nullptr;
    const SampleOptions* options = nullptr;
    const int32_t* ids = nullptr;  // That may be chosen, ascending.
    const float* logits = nullptr;
    int32_t* token = nullptr;    // What the next step takes in.
    int32_t* sampled = nullptr;  // [ring]; that of position p at p % ring.
    uint64_t ring = 1;
  };
  // Fetched by the first phase: from memory once, not in each.
  struct Thread {
    SampleOptions options;
    uint64_t position = 0;
  };
  static constexpr int kThreads = 256;

  // In shared memory.
  struct Candidates {
    double weight[kMaxVocab];  // 0 once it is filtered out.
    double sum[kMaxVocab];     // Of all weights up to this one.
    double best[kThreads];
    double uniform;
    uint32_t best_at[kThreads];
    uint32_t by_rank[kMaxVocab];  // Candidate of each rank, likeliest first,
    uint32_t rank_of[kMaxVocab];  // and the other way round.
    uint32_t kept;                // Ranks that top-k and top-p keep.
  };
  static size_t SharedFloats(const Args&) {
    return CeilDiv(sizeof(Candidates), sizeof(float));
  }
  static uint64_t Blocks(const Args&) { return 1; }
  static constexpr int kPhases = 8;
  LCSM_HD static int FirstPhase(const Args&) { return 0; }

  LCSM_HD static void Run(int phase, const Args& args, uint32_t, int thread,
                          Thread& state, float* shared) {
    Candidates& c = *reinterpret_cast<Candidates*>(shared);
    const auto self = static_cast<uint32_t>(thread);
    if (phase == 0) {
      state.options = *args.options;
      state.position = args.control->origin + args.control->known;
    }
    const SampleOptions& options = state.options;
    const auto n = static_cast<uint32_t>(options.count);
    const bool draws = options.temperature != 0;
    switch (phase) {
      case 0:
        return LikeliestOfThread(args, c, n, self);
      case 1:
        return LikeliestOfParts(c, n, self);
      case 2:
        if (draws) Weigh(args, options, c, n, self);
        return;
      case 3:
        if (draws && Ranks(options)) Rank(c, n, self);
        return;
      case 4:
        if (!draws) return;
        if (self == 0) c.kept = Ranks(options) ? KeptRanks(options, c, n) : n;
        // Meanwhile, in another warp.
        if (self == kThreads / 2) {
          c.uniform = UniformAt(options.seed, options.sample, state.position);
        }
        return;
      case 5:
        if (draws) Filter(options, c, n, self);
        return;
      case 6:
        if (draws && self == 0) AddUp(c, n);
        return;
      default:
        return Choose(args, state, c, n, self);
    }
  }

 private:
  // Parts that the threads' likeliest candidates are taken together in.
  static constexpr uint32_t kParts = 16;
  // Loads that are under way together in a running sum.
  static constexpr uint32_t kTogether = 8;

  LCSM_HD static void LikeliestOfThread(const Args& args, Candidates& c,
                                        uint32_t n, uint32_t self) {
    double best = 0;
    uint32_t at = n;
    for (uint32_t i = self; i < n; i += kThreads) {
      const double logit = SaneLogit(args.logits[args.ids[i]]);
      if (at == n || logit > best) {
        best = logit;
        at = i;
      }
    }
    c.best[self] = best;
    c.best_at[self] = at;
  }
  // The likeliest of those at `first`, first + step, .. below `end`. Ties go to
  // the lowest id, i.e. the lowest candidate.
  LCSM_HD static uint32_t Likeliest(const Candidates& c, uint32_t first,
                                    uint32_t step, uint32_t end) {
    uint32_t likeliest = first;
    for (uint32_t k = first + step; k < end; k += step) {
      if (c.best[k] > c.best[likeliest] ||
          (c.best[k] == c.best[likeliest] &&
           c.best_at[k] < c.best_at[likeliest])) {
        likeliest = k;
      }
    }
    return likeliest;
  }
  LCSM_HD static void LikeliestOfParts(Candidates& c, uint32_t n,
                                       uint32_t self) {
    const uint32_t threads = Min<uint32_t>(n, kThreads);
    if (self >= Min(threads, kParts)) return;
    const uint32_t likeliest = Likeliest(c, self, kParts, threads);
    const double best = c.best[likeliest];
    const uint32_t at = c.best_at[likeliest];
    c.best[self] = best;
    c.best_at[self] = at;
  }
  LCSM_HD static uint32_t LikeliestOfAll(const Candidates& c, uint32_t n) {
    return Likeliest(c, 0, 1, Min(n, kParts));
  }

  LCSM_HD static void Weigh(const Args& args, const SampleOptions& options,
                            Candidates& c, uint32_t n, uint32_t self) {
    const double best = c.best[LikeliestOfAll(c, n)];
    for (uint32_t i = self; i < n; i += kThreads) {
      const double distance = SaneLogit(args.logits[args.ids[i]]) - best;
      c.weight[i] =
          distance == 0 ? 1.0 : PortableExp(distance / options.temperature);
    }
  }

  LCSM_HD static bool Ranks(const SampleOptions& options) {
    return options.top_p < 1 || HasTopK(options);
  }
  LCSM_HD static bool HasTopK(const SampleOptions& options) {
    return options.top_k != 0 && options.top_k < options.count;
  }
  LCSM_HD static void Rank(Candidates& c, uint32_t n, uint32_t self) {
    for (uint32_t i = self; i < n; i += kThreads) {
      uint32_t rank = 0;
      for (uint32_t k = 0; k < n; ++k) {
        rank +=
            c.weight[k] > c.weight[i] || (c.weight[k] == c.weight[i] && k < i)
                ? 1u
                : 0u;
      }
      c.by_rank[rank] = i;
      c.rank_of[i] = rank;
    }
  }

  // Calls visit(i, sum of value(0) to value(i)) in order, and gives the last
  // sum. Values come in time for the additions, which alone wait for each
  // other.
  template <typename Value, typename Visit>
  LCSM_HD static double RunningSum(uint32_t n, Value&& value, Visit&& visit) {
    double sum = 0;
    LCSM_NO_UNROLL
    for (uint32_t i = 0; i < n; i += kTogether) {
      double values[kTogether];
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        values[k] = i + k < n ? value(i + k) : 0.0;
      }
      LCSM_UNROLL
      for (uint32_t k = 0; k < kTogether; ++k) {
        sum += values[k];
        if (i + k < n) visit(i + k, sum);
      }
    }
    return sum;
  }
  // Top-k, then top-p, as Sampler::Sample has them: how many of the likeliest.
  LCSM_HD static uint32_t KeptRanks(const SampleOptions& options,
                                    const Candidates& c, uint32_t n) {
    const uint32_t kept =
        HasTopK(options) ? static_cast<uint32_t>(options.top_k) : n;
    if (options.top_p >= 1) return kept;
    const double total = RunningSum(
        n, [&](uint32_t i) { return c.rank_of[i] < kept ? c.weight[i] : 0.0; },
        [](uint32_t, double) {});
    const double dust =
        (1 - options.top_p) * total / static_cast<double>(kept) * 0.999;
    double share = 0;
    uint32_t rank = 0;
    while (rank < kept) {
      const double weight = c.weight[c.by_rank[rank]];
      if (weight < dust) break;
      ++rank;
      share += weight;
      if (share >= options.top_p * total) break;
    }
    return rank;
  }
  LCSM_HD static void Filter(const SampleOptions& options, Candidates& c,
                             uint32_t n, uint32_t self) {
    for (uint32_t i = self; i < n; i += kThreads) {
      const bool ranked_out = Ranks(options) && c.rank_of[i] >= c.kept;
      if (ranked_out || (options.min_p > 0 && c.weight[i] < options.min_p)) {
        c.weight[i] = 0;
      }
    }
  }
  LCSM_HD static void AddUp(Candidates& c, uint32_t n) {
    (void)RunningSum(
        n, [&](uint32_t i) { return c.weight[i]; },
        [&](uint32_t i, double sum) { c.sum[i] = sum; });
  }

  // The first candidate whose running sum exceeds the target: each thread looks
  // whether it is one of its own.
  LCSM_HD static void Choose(const Args& args, const Thread& state,
                             const Candidates& c, uint32_t n, uint32_t self) {
    if (state.options.temperature == 0) {
      if (self == 0) Take(args, state, c.best_at[LikeliestOfAll(c, n)]);
      return;
    }
    const double target = c.uniform * c.sum[n - 1];
    for (uint32_t i = self; i < n; i += kThreads) {
      const double before = i == 0 ? 0.0 : c.sum[i - 1];
      if (target < c.sum[i] && !(target < before)) Take(args, state, i);
    }
    // Where the target was rounded up to the sum of all: the last that counts.
    if (self != 0 || target < c.sum[n - 1]) return;
    uint32_t last = n - 1;
    while (last > 0 && c.weight[last] == 0) --last;
    Take(args, state, last);
  }
  LCSM_HD static void Take(const Args& args, const Thread& state,
                           uint32_t candidate) {
    *args.token = args.ids[candidate];
    args.sampled[state.position % args.ring] = args.ids[candidate];
  }
};

}  // namespace lcsm::cuda
