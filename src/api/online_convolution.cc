// Before the public header: both have an OnlineConvolution, and the engine's
// headers must not meet the facades' names.
#include "conv/online_convolution.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "api/execution.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/plan.h"
#include "lcsm/online_convolution.h"

namespace lcsm {
inline namespace v0 {
namespace {

// The caller's taps are [channels][H]; the bank takes [taps][channels]. Turned
// in pieces, so that a long filter needs no second copy.
constexpr size_t kTapsAtOnce = 1024;

StatusOr<std::shared_ptr<const conv::FilterBank>> MakeBank(
    std::span<const float> taps, const conv::Problem& problem) {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(problem));
  const size_t channels = problem.channels;
  const size_t given = taps.size() / channels;
  std::vector<float> block(kTapsAtOnce * channels);
  for (size_t first = 0; first < bank->taps(); first += kTapsAtOnce) {
    const size_t count = std::min(kTapsAtOnce, bank->taps() - first);
    for (size_t c = 0; c < channels; ++c) {
      for (size_t n = 0; n < count; ++n) {
        block[n * channels + c] = taps[c * given + first + n];
      }
    }
    bank->SetTaps(0, first, count, block.data());
  }
  return std::shared_ptr<const conv::FilterBank>(std::move(bank));
}

// One bad tap would spoil every output from its lag on, and each tile's whole
// block with it.
Status CheckFinite(std::span<const float> taps, size_t channels) {
  const auto bad = std::find_if_not(taps.begin(), taps.end(),
                                    [](float x) { return std::isfinite(x); });
  if (bad == taps.end()) return OkStatus();
  const size_t given = taps.size() / channels;
  const auto at = static_cast<size_t>(bad - taps.begin());
  return InvalidInput("tap " + std::to_string(at % given) + " of channel " +
                      std::to_string(at / given) + " is " +
                      (std::isnan(*bad) ? "NaN" : "infinite") +
                      ", expected a finite number");
}

}  // namespace

struct OnlineConvolution::Impl {
  explicit Impl(size_t threads) : pool(threads) {}

  ThreadPool pool;
  conv::PlanOptions plan_options;
  std::vector<float> taps;  // As they were given, where the stream may grow.
  std::shared_ptr<const conv::PreparedConvolution> prepared;
  std::unique_ptr<conv::OnlineConvolution> state;  // Before the pool dies.
};

OnlineConvolution::OnlineConvolution(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
OnlineConvolution::OnlineConvolution(OnlineConvolution&&) noexcept = default;
OnlineConvolution& OnlineConvolution::operator=(OnlineConvolution&&) noexcept =
    default;
OnlineConvolution::~OnlineConvolution() = default;

StatusOr<OnlineConvolution> OnlineConvolution::Create(
    std::span<const float> taps, const ConvolutionOptions& options) {
  return api::NoThrow([&]() -> StatusOr<OnlineConvolution> {
    if (options.channels == 0) {
      return InvalidInput("ConvolutionOptions::channels is 0, expected 1 up");
    }
    if (options.max_length == 0) {
      return InvalidInput("ConvolutionOptions::max_length is 0, expected 1 up");
    }
    if (taps.empty() || taps.size() % options.channels != 0) {
      return InvalidInput("the number of taps is " +
                          std::to_string(taps.size()) +
                          ", expected a positive multiple of the " +
                          std::to_string(options.channels) + " channels");
    }
    LCSM_RETURN_IF_ERROR(CheckFinite(taps, options.channels));
    LCSM_ASSIGN_OR_RETURN(const conv::PlanOptions plan_options,
                          api::ToPlanOptions(options.execution));
    conv::Problem problem;
    problem.channels = options.channels;
    problem.length = options.max_length;
    problem.taps = taps.size() / options.channels;
    problem.growable = options.growable;
    LCSM_ASSIGN_OR_RETURN(conv::Plan plan,
                          conv::MakePlan(problem, plan_options));
    LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const conv::FilterBank> bank,
                          MakeBank(taps, problem));

    auto impl = std::make_unique<Impl>(options.execution.threads);
    LCSM_ASSIGN_OR_RETURN(impl->prepared,
                          conv::PreparedConvolution::Create(
                              std::move(plan), std::move(bank), impl->pool));
    LCSM_ASSIGN_OR_RETURN(impl->state, conv::OnlineConvolution::Create(
                                           impl->prepared, impl->pool));
    if (options.growable) {
      impl->plan_options = plan_options;
      impl->taps.assign(taps.begin(), taps.end());
    }
    return OnlineConvolution(std::move(impl));
  });
}

Status OnlineConvolution::Reserve(size_t max_length) {
  return api::NoThrow([&]() -> Status {
    const conv::PreparedConvolution& now = *impl_->prepared;
    const conv::Problem& problem = now.plan().problem;
    if (max_length < problem.length) {
      return InvalidInput(
          "the stream has room for " + std::to_string(problem.length) +
          " samples and cannot shrink to " + std::to_string(max_length));
    }
    if (max_length == problem.length) return OkStatus();
    if (!problem.growable) {
      return InvalidInput(
          "the stream was not made to grow, see ConvolutionOptions::growable");
    }
    LCSM_ASSIGN_OR_RETURN(
        conv::Plan plan,
        conv::GrowPlan(now.plan(), max_length, impl_->plan_options));
    LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const conv::FilterBank> bank,
                          MakeBank(impl_->taps, plan.problem));
    LCSM_ASSIGN_OR_RETURN(
        std::shared_ptr<const conv::PreparedConvolution> longer,
        conv::PreparedConvolution::Create(std::move(plan), std::move(bank),
                                          impl_->pool, &now));
    LCSM_RETURN_IF_ERROR(impl_->state->Reserve(longer));
    impl_->prepared = std::move(longer);
    return OkStatus();
  });
}

void OnlineConvolution::Step(const float* x, float* y) noexcept {
  impl_->state->Step(0, x, y);
  impl_->state->Advance();
}

void OnlineConvolution::Process(size_t count, const float* x,
                                float* y) noexcept {
  impl_->state->StepMany(0, count, x, y);
  impl_->state->AdvanceMany(count);
}

size_t OnlineConvolution::position() const noexcept {
  return impl_->state->position();
}
size_t OnlineConvolution::max_length() const noexcept {
  return impl_->state->length();
}
void OnlineConvolution::Reset() noexcept { impl_->state->Reset(); }

std::string OnlineConvolution::DescribePlan() const {
  return impl_->prepared->plan().Print();
}

}  // namespace v0
}  // namespace lcsm
