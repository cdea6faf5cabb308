// From logits to a token on the device, with the arithmetic of
// runtime/sampler.h: the same weights, orders and sums in float64, one thread
// doing what is a running sum, so that the same logits give the same token as
// on the host, bit for bit. That suits vocabularies of bases, amino acids or
// bytes; beyond kMaxVocab the logits go to the host, whose sampler does not
// care.
//
// Device code is compiled without contraction of multiply-adds, as the host's.
#pragma once

#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

// Twins of runtime/portable_math.h, log_softmax.h and philox.h;
// sampler_kernels_test.cc compares bits.
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
  struct Thread {};
  static constexpr int kThreads = 256;

  // In shared memory.
  struct Candidates {
    double weight[kMaxVocab];
    double best[kThreads];
    uint32_t best_at[kThreads];
    uint32_t by_rank[kMaxVocab];  // Candidate of each rank, likeliest first.
    uint8_t keep[kMaxVocab];
  };
  static size_t SharedFloats(const Args&) {
    return CeilDiv(sizeof(Candidates), sizeof(float));
  }
  static uint64_t Blocks(const Args&) { return 1; }
  LCSM_HD static int Phases(const Args&, uint32_t) { return 5; }

  LCSM_HD static void Run(int phase, const Args& args, uint32_t, int thread,
                          Thread&, float* shared) {
    Candidates& c = *reinterpret_cast<Candidates*>(shared);
    const SampleOptions& options = *args.options;
    const auto n = static_cast<uint32_t>(options.count);
    const auto self = static_cast<uint32_t>(thread);
    switch (phase) {
      case 0: {
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
        return;
      }
      case 1: {
        if (self != 0) return;
        for (uint32_t k = 1; k < Min<uint32_t>(n, kThreads); ++k) {
          // Ties go to the lowest id, i.e. the lowest candidate.
          if (c.best[k] > c.best[0] ||
              (c.best[k] == c.best[0] && c.best_at[k] < c.best_at[0])) {
            c.best[0] = c.best[k];
            c.best_at[0] = c.best_at[k];
          }
        }
        return;
      }
      case 2: {
        if (options.temperature == 0) return;
        for (uint32_t i = self; i < n; i += kThreads) {
          const double distance =
              SaneLogit(args.logits[args.ids[i]]) - c.best[0];
          c.weight[i] =
              distance == 0 ? 1.0 : PortableExp(distance / options.temperature);
          c.keep[i] = 1;
        }
        return;
      }
      case 3: {
        if (options.temperature == 0 || !Ranks(options)) return;
        for (uint32_t i = self; i < n; i += kThreads) {
          uint32_t rank = 0;
          for (uint32_t k = 0; k < n; ++k) {
            rank += c.weight[k] > c.weight[i] ||
                            (c.weight[k] == c.weight[i] && k < i)
                        ? 1u
                        : 0u;
          }
          c.by_rank[rank] = i;
        }
        return;
      }
      default:
        if (self == 0) Choose(args, c, n);
        return;
    }
  }

 private:
  LCSM_HD static bool Ranks(const SampleOptions& options) {
    return options.top_p < 1 ||
           (options.top_k != 0 && options.top_k < options.count);
  }
  LCSM_HD static void Choose(const Args& args, Candidates& c, uint32_t n) {
    const SampleOptions& options = *args.options;
    const uint64_t position = args.control->origin + args.control->known;
    uint32_t chosen = c.best_at[0];
    if (options.temperature != 0) {
      Filter(options, c, n);
      double total = 0;
      for (uint32_t i = 0; i < n; ++i) {
        if (c.keep[i] != 0) total += c.weight[i];
      }
      const double target =
          UniformAt(options.seed, options.sample, position) * total;
      double sum = 0;
      for (uint32_t i = 0; i < n; ++i) {
        if (c.keep[i] == 0 || c.weight[i] == 0) continue;
        sum += c.weight[i];
        chosen = i;
        if (target < sum) break;
      }
    }
    *args.token = args.ids[chosen];
    args.sampled[position % args.ring] = args.ids[chosen];
  }
  // Top-k, then top-p, then min-p, as Sampler::Sample has them.
  LCSM_HD static void Filter(const SampleOptions& options, Candidates& c,
                             uint32_t n) {
    uint32_t kept = n;
    if (options.top_k != 0 && options.top_k < n) {
      kept = static_cast<uint32_t>(options.top_k);
      for (uint32_t rank = kept; rank < n; ++rank) c.keep[c.by_rank[rank]] = 0;
    }
    if (options.top_p < 1) {
      double total = 0;
      for (uint32_t i = 0; i < n; ++i) {
        if (c.keep[i] != 0) total += c.weight[i];
      }
      const double dust =
          (1 - options.top_p) * total / static_cast<double>(kept) * 0.999;
      double share = 0;
      bool enough = false;
      for (uint32_t rank = 0; rank < n; ++rank) {
        const uint32_t i = c.by_rank[rank];
        if (c.keep[i] == 0) continue;
        if (enough || c.weight[i] < dust) {
          c.keep[i] = 0;
          continue;
        }
        share += c.weight[i];
        enough = share >= options.top_p * total;
      }
    }
    if (options.min_p > 0) {
      for (uint32_t i = 0; i < n; ++i) {
        if (c.weight[i] < options.min_p) c.keep[i] = 0;
      }
    }
  }
};

}  // namespace lcsm::cuda
