#include "bench/gpu_model.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "bench/timing.h"
#include "cuda/hyena_device_state.h"
#include "models/hyena_synthetic.h"

namespace lcsm::bench {

std::vector<int32_t> SomeTokens(size_t n, size_t vocab) {
  std::vector<int32_t> tokens(n);
  for (size_t i = 0; i < n; ++i) {
    tokens[i] = static_cast<int32_t>((i * 2654435761u >> 7) % vocab);
  }
  return tokens;
}

StatusOr<std::vector<float>> LogitsBySteps(const Model& model,
                                           ModelState& state,
                                           std::span<const int32_t> tokens) {
  const size_t vocab = state.padded_vocab();
  std::vector<float> all(tokens.size() * vocab);
  for (size_t t = 0; t < tokens.size(); ++t) {
    state.Step(tokens[t], all.data() + t * vocab);
  }
  LCSM_RETURN_IF_ERROR(model.CheckWeights());
  return all;
}

StatusOr<double> CompareLogits(std::span<const float> want,
                               std::span<const float> got) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double off = std::abs(static_cast<double>(want[i]) - got[i]);
    if (!(off <= 1e-4)) {
      return InternalError("logits on the device are wrong: off by " +
                           std::to_string(off));
    }
    worst = std::max(worst, off);
  }
  return worst;
}

namespace {

using nlohmann::ordered_json;

constexpr size_t kRounds = 5;
constexpr size_t kCheckedTokens = 96;

StatusOr<std::unique_ptr<ModelState>> NewState(const Model& model,
                                               size_t horizon, size_t steps,
                                               ThreadPool& pool) {
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const PreparedModel> prepared,
      model.Prepare({.horizon = horizon, .steps = steps, .plan = {}}, pool,
                    nullptr));
  return prepared->NewState(pool);
}

// The largest difference of logits between the two, by known tokens and steps.
StatusOr<double> Compare(const Model& host, const Model& device,
                         ThreadPool& pool) {
  const size_t vocab = host.info().padded_vocab;
  const auto tokens = SomeTokens(kCheckedTokens, host.info().vocab);
  const auto run = [&](const Model& model) -> StatusOr<std::vector<float>> {
    LCSM_ASSIGN_OR_RETURN(
        const std::unique_ptr<ModelState> state,
        NewState(model, kCheckedTokens, kCheckedTokens / 2, pool));
    std::vector<float> all;
    LCSM_RETURN_IF_ERROR(state->Prefill(
        std::span(tokens.data(), kCheckedTokens / 2),
        {.on_logits = [&](size_t, std::span<const float> logits) {
          all.insert(all.end(), logits.begin(), logits.end());
          return OkStatus();
        }}));
    state->BeginSteps();
    for (size_t t = kCheckedTokens / 2; t < kCheckedTokens; ++t) {
      all.resize((t + 1) * vocab);
      state->Step(tokens[t], all.data() + t * vocab);
    }
    LCSM_RETURN_IF_ERROR(model.CheckWeights());
    return all;
  };
  LCSM_ASSIGN_OR_RETURN(const std::vector<float> want, run(host));
  LCSM_ASSIGN_OR_RETURN(const std::vector<float> got, run(device));
  return CompareLogits(want, got);
}

ordered_json Microseconds(const std::vector<double>& seconds, size_t steps) {
  const Spread spread = Summarize(seconds);
  const double scale = 1e6 / static_cast<double>(steps);
  return {{"median", spread.median * scale},
          {"min", spread.min * scale},
          {"max", spread.max * scale}};
}

// Rounds of `steps` steps from where the state stands, after one that warms up.
StatusOr<ordered_json> TimeSteps(const Model& model, ModelState& state,
                                 bool device_samples, size_t steps) {
  const size_t vocab = model.info().vocab;
  std::vector<int32_t> ids(vocab), tokens(steps);
  for (size_t id = 0; id < vocab; ++id) ids[id] = static_cast<int32_t>(id);
  std::vector<float> logits(model.info().padded_vocab);
  std::vector<double> seconds;
  for (size_t round = 0; round <= kRounds; ++round) {
    const Stopwatch clock;
    if (device_samples) {
      LCSM_RETURN_IF_ERROR(
          state.SampleSteps(1, {.seed = round}, 0, ids, tokens));
    } else {
      for (size_t k = 0; k < steps; ++k) {
        const auto best = std::max_element(
            logits.begin(),
            logits.begin() + static_cast<std::ptrdiff_t>(vocab));
        state.Step(static_cast<int32_t>(best - logits.begin()), logits.data());
      }
      LCSM_RETURN_IF_ERROR(model.CheckWeights());
    }
    if (round > 0) seconds.push_back(clock.Seconds());
  }
  return Microseconds(seconds, steps);
}

}  // namespace

StatusOr<ordered_json> MeasureGpuModel(
    const std::shared_ptr<cuda::Device>& device, const GpuModelCase& wanted) {
  ThreadPool pool(0);
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> host,
                        MakeSyntheticModel(wanted.shape, 1));
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                        cuda::MakeDeviceModel(host, device));
  ordered_json result = {{"shape", wanted.shape},
                         {"horizon", wanted.horizon},
                         {"launches_overlap", wanted.launches_overlap}};
  LCSM_ASSIGN_OR_RETURN(result["max_logit_difference"],
                        Compare(*host, *model, pool));
  const double bytes = static_cast<double>(model->info().step_bytes);
  result["weight_bytes_a_step"] = bytes;
  result["results"] = ordered_json::array();
  const size_t room = 3 * (kRounds + 1) * wanted.steps;
  for (const size_t position : wanted.positions) {
    if (position + room > wanted.horizon) continue;
    LCSM_ASSIGN_OR_RETURN(
        const std::unique_ptr<ModelState> state,
        NewState(*model, wanted.horizon, wanted.horizon - position, pool));
    const auto tokens = SomeTokens(position, model->info().vocab);
    const Stopwatch clock;
    LCSM_RETURN_IF_ERROR(state->Prefill(tokens, {}));
    ordered_json row = {{"position", position},
                        {"prefill_seconds", clock.Seconds()}};
    state->BeginSteps();
    LCSM_ASSIGN_OR_RETURN(row["step_us"],
                          TimeSteps(*model, *state, false, wanted.steps));
    const bool samples = state->SamplesItself();
    if (samples) {
      LCSM_ASSIGN_OR_RETURN(row["step_us_device_samples"],
                            TimeSteps(*model, *state, true, wanted.steps));
    }
    state->SkipMixers(true);
    LCSM_ASSIGN_OR_RETURN(row["step_us_without_mixers"],
                          TimeSteps(*model, *state, samples, wanted.steps));
    const double best =
        row[samples ? "step_us_device_samples" : "step_us"]["median"];
    row["weight_gigabytes_a_second"] = bytes / best / 1e3;
    result["results"].push_back(std::move(row));
  }
  if (wanted.score_tokens != 0) {
    const Stopwatch preparing;
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                          NewState(*model, wanted.score_tokens, 0, pool));
    // Nearly all of it filters.
    result["score_prepare_seconds"] = preparing.Seconds();
    const auto tokens = SomeTokens(wanted.score_tokens, model->info().vocab);
    std::vector<double> seconds;
    for (int round = 0; round < 2; ++round) {
      state->Reset();
      double sum = 0;
      const Stopwatch clock;
      LCSM_RETURN_IF_ERROR(state->Prefill(
          tokens, {.on_logits = [&](size_t, std::span<const float> logits) {
            sum += static_cast<double>(logits[0]);
            return OkStatus();
          }}));
      seconds.push_back(clock.Seconds());
      if (!std::isfinite(sum)) return InternalError("a logit is no number");
    }
    result["score_tokens"] = wanted.score_tokens;
    result["score_seconds"] = seconds.back();
    result["score_seconds_first_call"] = seconds.front();
  }
  return result;
}

}  // namespace lcsm::bench
