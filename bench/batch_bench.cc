#include "bench/batch_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "bench/timing.h"

namespace lcsm::bench {
namespace {

// The same for every number of rows.
int32_t TokenOf(size_t row, size_t step, size_t vocab) {
  return static_cast<int32_t>((row * 7919 + step * 104729) % vocab);
}

// Steps all rows `steps` times; the last logits stay.
void TakeSteps(BatchState& batch, size_t steps, size_t vocab,
               std::vector<int32_t>& tokens, std::vector<float>& logits) {
  for (size_t k = 0; k < steps; ++k) {
    for (size_t r = 0; r < tokens.size(); ++r) tokens[r] = TokenOf(r, k, vocab);
    batch.Step(tokens.data(), logits.data());
  }
}

Status CheckRows(const ModelState& trunk, const ModelInfo& info, size_t steps,
                 const std::vector<float>& logits) {
  const size_t rows = logits.size() / info.padded_vocab;
  for (size_t r = 0; r < rows; ++r) {
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> alone,
                          trunk.Fork());
    std::vector<float> want(info.padded_vocab);
    for (size_t k = 0; k < steps; ++k) {
      alone->Step(TokenOf(r, k, info.vocab), want.data());
    }
    if (!std::equal(
            want.begin(), want.end(),
            logits.begin() + static_cast<ptrdiff_t>(r * info.padded_vocab))) {
      return InternalError(fmt::format(
          "row {} of {} has other logits than a state by itself", r, rows));
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::vector<BatchResult>> RunBatch(
    const Model& model, const BatchCase& wanted, PrepareOptions prepare,
    ThreadPool& pool, const std::function<bool(double)>& progress) {
  const ModelInfo& info = model.info();
  prepare.horizon = wanted.prompt + wanted.steps;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model.Prepare(prepare, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> trunk,
                        prepared->NewState(pool));
  std::mt19937 rng(11);
  std::vector<int32_t> prompt(wanted.prompt);
  for (int32_t& id : prompt) id = static_cast<int32_t>(rng() % info.vocab);
  LCSM_RETURN_IF_ERROR(trunk->Prefill(prompt, {}));
  trunk->BeginSteps();
  const size_t cases = wanted.rows.size();
  std::vector<std::vector<double>> step(cases), mixers(cases);
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    for (size_t c = 0; c < cases; ++c) {
      const size_t rows = wanted.rows[c];
      LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<BatchState> batch,
                            trunk->Spread(rows));
      std::vector<int32_t> tokens(rows);
      std::vector<float> logits(rows * info.padded_vocab);
      const Stopwatch watch;
      TakeSteps(*batch, wanted.steps, info.vocab, tokens, logits);
      const double each = 1e3 / static_cast<double>(wanted.steps);
      step[c].push_back(watch.Seconds() * each);
      mixers[c].push_back(batch->times().mixers * each);
      if (repeat == 0) {
        LCSM_RETURN_IF_ERROR(CheckRows(*trunk, info, wanted.steps, logits));
      }
      if (progress && !progress(static_cast<double>(repeat * cases + c + 1) /
                                static_cast<double>(wanted.repeats * cases))) {
        return Cancelled("stopped while measuring");
      }
    }
  }
  std::vector<BatchResult> results;
  for (size_t c = 0; c < cases; ++c) {
    BatchResult result;
    result.rows = wanted.rows[c];
    result.step_ms = Quantile(step[c], 0.5);
    result.mixer_ms = Quantile(mixers[c], 0.5);
    result.tokens_per_second =
        1e3 * static_cast<double>(result.rows) / result.step_ms;
    results.push_back(result);
  }
  return results;
}

}  // namespace lcsm::bench
