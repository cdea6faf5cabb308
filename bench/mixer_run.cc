#include "bench/mixer_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "conv/reference.h"

namespace lcsm::bench {
namespace {

// Inputs repeat with this period (a prime, so that it divides no block): making
// or streaming L rows of fresh numbers would be timed along with the
// convolution.
constexpr size_t kRows = 1021;
// Outputs are checked at this many positions, for up to kCheckChannels
// channels.
constexpr size_t kCheckPositions = 6;
constexpr size_t kCheckChannels = 48;

}  // namespace

StatusOr<std::unique_ptr<MixerRun>> MixerRun::Create(const conv::Plan& plan,
                                                     ThreadPool& pool) {
  std::unique_ptr<MixerRun> run(new MixerRun(plan));
  const conv::Problem& problem = plan.problem;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> filters,
                        conv::FilterBank::Create(problem));
  std::mt19937 rng(20250721);
  std::normal_distribution<float> normal;
  // A period of noise serves as taps too, shifted per mixer; a different prime
  // from kRows.
  std::vector<float> noise(2039 * problem.channels);
  for (float& v : noise) v = normal(rng);
  for (size_t m = 0; m < problem.mixers; ++m) {
    for (size_t n = 0; n < filters->taps(); ++n) {
      filters->SetTaps(m, n, 1,
                       noise.data() + (n + 17 * m) % 2039 * problem.channels);
    }
  }
  run->filters_ = std::move(filters);
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const conv::PreparedConvolution> prepared,
      conv::PreparedConvolution::Create(plan, run->filters_, pool));
  LCSM_ASSIGN_OR_RETURN(run->session_,
                        conv::OnlineConvolution::Create(prepared, pool));
  run->rows_.resize(kRows * run->Width());
  for (float& v : run->rows_) v = normal(rng);
  run->outputs_.resize(run->Width());
  return run;
}

void MixerRun::RedCells() {
  const float* x = rows_.data() + session_->position() % kRows * Width();
  for (size_t m = 0; m < plan_.problem.mixers; ++m)
    session_->Step(m, x, outputs_.data());
}

void MixerRun::OnePosition() {
  RedCells();
  session_->Advance();
}

void MixerRun::Pretend() {
  session_->PretendHistory(plan_.problem.length, rows_.data(), kRows);
}

StatusOr<double> MixerRun::Check() {
  const conv::Problem& problem = plan_.problem;
  const size_t length = problem.length;
  std::vector<size_t> positions = {0, length - 1};
  for (size_t k = 1; k + 1 < kCheckPositions; ++k) {
    positions.push_back((length - 1) * k / (kCheckPositions - 1));
  }
  double error = 0, largest = 0;
  std::vector<float> x(length), rho(filters_->taps());
  const size_t mixer = problem.mixers - 1;
  session_->Reset();
  for (size_t t = 0; t < length; ++t) {
    OnePosition();
    if (std::find(positions.begin(), positions.end(), t) == positions.end())
      continue;
    const size_t step = std::max<size_t>(1, Width() / kCheckChannels);
    for (size_t c = 0; c < Width(); c += step) {
      const size_t channel = c % problem.channels;
      const float* group = filters_->Group(mixer, channel / kLanes);
      for (size_t n = 0; n < rho.size(); ++n)
        rho[n] = group[n * kLanes + channel % kLanes];
      for (size_t i = 0; i <= t; ++i) x[i] = rows_[i % kRows * Width() + c];
      const double want =
          conv::ReferenceOutput(x.data(), t, rho.data(), rho.size());
      largest = std::max(largest, std::abs(want));
      error = std::max(error, std::abs(outputs_[c] - want));
    }
  }
  if (largest > 0) error /= largest;
  if (!(error <= 2e-6)) {
    return InternalError(fmt::format(
        "{} is off by {:.2e} of max |y| at length {}, more than the 2e-6 that "
        "every method must keep",
        plan_.Print(), error, length));
  }
  return error;
}

}  // namespace lcsm::bench
