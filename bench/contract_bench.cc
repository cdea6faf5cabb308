#include "bench/contract_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/online_convolution.h"
#include "conv/plan.h"
#include "mixers/long_convolution.h"
#include "mixers/max_plus.h"
#include "mixers/mixer_set.h"

namespace lcsm::bench {
namespace {

// Positions that are compared before anything is timed.
constexpr size_t kChecked = 2048;
// Rows of inputs, used over and over.
constexpr size_t kRows = 512;

std::vector<float> Normal(size_t n, unsigned seed, float scale) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> v(n);
  for (float& f : v) f = normal(rng);
  return v;
}

// Both ways to run the same convolutions.
struct Both {
  std::unique_ptr<conv::OnlineConvolution> direct;
  std::unique_ptr<MixerStates> contract;
  std::vector<float> x, y;
  size_t mixers = 0, width = 0;

  const float* Row(size_t t) const { return x.data() + t % kRows * width; }
  void StepDirect(size_t t) {
    const float* row = Row(t);
    for (size_t m = 0; m < mixers; ++m) {
      direct->Step(m, row, y.data());
      row = y.data();
    }
    direct->Advance();
  }
  void StepContract(size_t t) {
    const float* row = Row(t);
    for (size_t m = 0; m < mixers; ++m) {
      (*contract)[m].Step(row, y.data());
      row = y.data();
    }
    contract->Advance();
  }
};

StatusOr<Both> MakeBoth(const ContractCase& wanted, ThreadPool& pool,
                        std::string* plan) {
  Both both;
  both.mixers = wanted.mixers;
  both.width = wanted.channels;
  both.x = Normal(kRows * wanted.channels, 1, 1);
  both.y.resize(wanted.channels);
  // Small, so that activations stay about 1 from layer to layer.
  const LongConvolution::TapSource taps = [&wanted](size_t first, size_t count,
                                                    float* values) {
    for (size_t n = 0; n < count; ++n) {
      for (size_t c = 0; c < wanted.channels; ++c) {
        const double t = static_cast<double>(first + n);
        values[n * wanted.channels + c] = static_cast<float>(
            std::cos(t * 0.1 * static_cast<double>(c + 1)) / ((t + 1) * 2));
      }
    }
  };
  std::vector<MixerEntry> entries;
  for (size_t m = 0; m < wanted.mixers; ++m) {
    LCSM_ASSIGN_OR_RETURN(
        const std::shared_ptr<const Mixer> mixer,
        LongConvolution::Create(wanted.channels, wanted.length, taps));
    entries.push_back({mixer, {}});
  }
  MixerSetOptions options;
  options.horizon = wanted.length;
  options.plan.method = conv::Method::kPlanned;
  options.plan.threads = wanted.threads;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedMixers> prepared,
                        PreparedMixers::Create(entries, options, pool));
  LCSM_ASSIGN_OR_RETURN(both.contract, prepared->NewStates(pool));

  const conv::Plan& same = prepared->schedule().groups[0].plan;
  *plan = same.Print();
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(same.problem));
  std::vector<float> values(wanted.length * wanted.channels);
  taps(0, wanted.length, values.data());
  for (size_t m = 0; m < wanted.mixers; ++m) {
    bank->SetTaps(m, 0, wanted.length, values.data());
  }
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const conv::PreparedConvolution> convolution,
      conv::PreparedConvolution::Create(same, std::move(bank), pool));
  LCSM_ASSIGN_OR_RETURN(both.direct,
                        conv::OnlineConvolution::Create(convolution, pool));
  return both;
}

}  // namespace

StatusOr<ContractResult> RunContract(const ContractCase& wanted) {
  ThreadPool pool(wanted.threads);
  ContractResult result;
  LCSM_ASSIGN_OR_RETURN(Both both, MakeBoth(wanted, pool, &result.plan));
  std::vector<float> direct(wanted.channels);
  for (size_t t = 0; t < std::min(kChecked, wanted.length); ++t) {
    both.StepDirect(t);
    direct = both.y;
    both.StepContract(t);
    if (std::memcmp(direct.data(), both.y.data(),
                    direct.size() * sizeof(float)) != 0) {
      return InternalError(fmt::format(
          "position {} through the contract has other bits than directly", t));
    }
  }
  std::vector<double> ns[2], ratios;
  const double scale =
      1e9 /
      static_cast<double>(wanted.length * wanted.channels * wanted.mixers);
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    double seconds[2] = {};
    for (size_t turn = 0; turn < 2; ++turn) {
      const bool contract = (repeat + turn) % 2 == 1;
      both.direct->Reset();
      both.contract->Reset();
      const Stopwatch watch;
      for (size_t t = 0; t < wanted.length; ++t) {
        if (contract) {
          both.StepContract(t);
        } else {
          both.StepDirect(t);
        }
      }
      seconds[contract] = watch.Seconds();
    }
    for (size_t way : {0, 1}) ns[way].push_back(seconds[way] * scale);
    ratios.push_back(seconds[1] / seconds[0]);
  }
  result.direct = Summarize(ns[0]);
  result.contract = Summarize(ns[1]);
  result.ratio = Quantile(ratios, 0.5);
  return result;
}

StatusOr<TiledResult> RunTiled(const TiledCase& wanted) {
  const size_t channels = wanted.channels, length = wanted.length;
  std::vector<float> taps(channels * length);
  for (size_t d = 0; d < length; ++d) {
    for (size_t c = 0; c < channels; ++c) {
      // Falls by 8 over the length, in straight lines and parabolas.
      const double share = static_cast<double>(d) / static_cast<double>(length);
      taps[d * channels + c] =
          static_cast<float>(c % 2 == 0 ? -8 * share : -8 * share * share);
    }
  }
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const MaxPlusConvolution> mixer,
                        MaxPlusConvolution::Create(channels, taps));
  const std::vector<float> x = Normal(length * channels, 2, 1);
  ThreadPool pool(1);
  TiledResult result;
  std::vector<float> y[2];
  std::vector<double> ns[2];
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    for (const Tiling tiling : {Tiling::kBinary, Tiling::kLazy}) {
      const size_t way = tiling == Tiling::kLazy ? 1 : 0;
      LCSM_ASSIGN_OR_RETURN(
          const std::unique_ptr<TiledDriver<MaxPlusConvolution>> driver,
          TiledDriver<MaxPlusConvolution>::Create(mixer, length, tiling, pool));
      y[way].assign(x.size(), 0);
      const Stopwatch watch;
      for (size_t t = 0; t < length; ++t) {
        driver->Step(x.data() + t * channels, y[way].data() + t * channels);
        driver->Advance();
      }
      ns[way].push_back(watch.Seconds() * 1e9 /
                        static_cast<double>(length * channels));
    }
  }
  for (size_t i = 0; i < x.size(); ++i) {
    result.error = std::max(result.error,
                            std::abs(static_cast<double>(y[0][i]) - y[1][i]));
  }
  // Sums below 16 in size; the bound of max_plus.h with 16 levels.
  const double bound =
      16 * (MaxPlusConvolution::kSlack + 2) * 16 * std::exp2(-24);
  if (result.error > bound) {
    return InternalError(
        fmt::format("tiled and lazy maxima differ by {:.2g}, expected at most "
                    "{:.2g}",
                    result.error, bound));
  }
  result.tiled = Summarize(ns[0]);
  result.lazy = Summarize(ns[1]);
  result.ratio = result.lazy.median / result.tiled.median;
  return result;
}

}  // namespace lcsm::bench
