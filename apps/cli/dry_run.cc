#include "dry_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/byte_text.h"
#include "base/thread_pool.h"
#include "conv/planner.h"
#include "conv/tuning.h"
#include "memory_rows.h"
#include "model_options.h"
#include "sample_batch.h"

namespace lcsm::cli {
namespace {

// Steps that are timed: some 30 milliseconds with 8 layers of 256 channels.
constexpr size_t kSteps = 32;

// Seconds of a step but for its long convolutions.
StatusOr<double> BlocksSeconds(const Model& model,
                               const PrepareOptions& prepare) {
  ThreadPool pool(prepare.plan.threads);
  PrepareOptions small;
  small.horizon = std::min(prepare.horizon, 2 * kSteps);
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model.Prepare(small, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  state->SkipMixers(true);
  std::vector<float> logits(model.info().padded_vocab);
  std::vector<double> seconds;
  while (state->position() < state->horizon()) {
    const auto start = std::chrono::steady_clock::now();
    state->Step(0, logits.data());
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count());
  }
  const auto middle =
      seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

// Seconds of one known token, layer by layer.
StatusOr<double> KnownSeconds(const Model& model, const PrepareOptions& prepare,
                              size_t known) {
  constexpr size_t kKnown = 512;
  ThreadPool pool(prepare.plan.threads);
  PrepareOptions small;
  small.horizon = std::min(known, kKnown);
  small.steps = 0;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model.Prepare(small, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  const std::vector<int32_t> tokens(small.horizon);
  double best = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    state->Reset();
    const auto start = std::chrono::steady_clock::now();
    LCSM_RETURN_IF_ERROR(state->Prefill(tokens, {}));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    if (repeat == 0 || seconds < best) best = seconds;
  }
  return best / static_cast<double>(tokens.size());
}

// Seconds of a position's long convolutions, as measurements foretell them, if
// there are any.
std::optional<double> MixerSeconds(const ModelMemory& memory,
                                   const PrepareOptions& prepare) {
  if (!memory.device.empty()) {
    const DeviceTileCosts* const there = memory.tile_costs.get();
    if (there == nullptr || !there->measured.measured()) return std::nullopt;
    // Of the device with the most channels, which the others wait for.
    conv::Plan own = memory.plan;
    own.problem = there->problem;
    return 1e-9 * conv::PlanNs(own, there->all);
  }
  const conv::TileCosts* const costs =
      prepare.plan.tuning != nullptr
          ? prepare.plan.tuning->For(memory.plan.problem)
          : nullptr;
  if (costs == nullptr) return std::nullopt;
  // Measured on one thread; tiles are shared out among all.
  return 1e-9 * conv::PlanNs(memory.plan, *costs) /
         static_cast<double>(prepare.plan.threads);
}

std::string Duration(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", 1e3 * seconds);
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  return fmt::format("{:.1f} min", seconds / 60);
}

}  // namespace

StatusOr<std::string> DryRun(const Model& model, const PrepareOptions& prepare,
                             size_t samples, size_t batch) {
  LCSM_ASSIGN_OR_RETURN(const ModelMemory memory,
                        model.EstimateMemory(prepare, prepare.plan.threads));
  std::string text = MemoryTables(
      fmt::format("memory of {}", Count(prepare.horizon, "position")), memory,
      prepare.plan.threads);
  // Of a stack all of its mixers have something to say.
  text += memory.schedule.empty()
              ? fmt::format("\nplan: {}\n", memory.plan.Print())
              : "\n" + memory.schedule;
  LCSM_ASSIGN_OR_RETURN(const size_t at_once,
                        SamplesAtOnce(model, prepare, samples, batch));
  if (at_once > 1) {
    text += fmt::format(
        "samples: {} side by side, {} more{}; times are those of one after "
        "another\n",
        at_once, ByteText(at_once * SampleBytes(memory)),
        memory.ranks.empty() ? "" : " on " + memory.device);
  }
  LCSM_ASSIGN_OR_RETURN(const double blocks, BlocksSeconds(model, prepare));
  const size_t steps = std::min(prepare.steps, prepare.horizon);
  const double positions = static_cast<double>(steps * samples);
  if (const size_t known = prepare.horizon - steps; known != 0) {
    LCSM_ASSIGN_OR_RETURN(const double seconds,
                          KnownSeconds(model, prepare, known));
    const size_t times = at_once > 1 ? 1 : samples;
    text += fmt::format("prompt: about {} for {}, and filters\n",
                        Duration(seconds * static_cast<double>(known * times)),
                        Count(known, "known token"));
  }
  const std::optional<double> mixers = MixerSeconds(memory, prepare);
  if (!mixers) {
    text += fmt::format(
        "time: {} for all but the long convolutions; {}\n",
        Duration(blocks * positions),
        memory.device.empty()
            ? "'lcsm plan --tune' with this model\nmeasures what those take"
            : "what those take was not measured there");
    return text;
  }
  text += fmt::format(
      "time: about {} ({} long convolutions, {} everything else; filters come "
      "on top)\n",
      Duration((blocks + *mixers) * positions), Duration(*mixers * positions),
      Duration(blocks * positions));
  return text;
}

}  // namespace lcsm::cli
