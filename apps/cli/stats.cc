#include "stats.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/cpu_info.h"
#include "bench/timing.h"
#include "io/atomic_file.h"
#include "lcsm/version.h"
#include "model_options.h"

namespace lcsm::cli {
namespace {

double PerSecond(size_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0;
}

double TokenMs(const RunFigures& figures, double q) {
  return bench::Quantile({figures.token_ms.begin(), figures.token_ms.end()}, q);
}

}  // namespace

Status WriteStats(const RunFigures& figures, const std::string& path) {
  const nlohmann::ordered_json json = {
      {"version", LCSM_VERSION},
      {"model", figures.model},
      {"model_hash", figures.model_hash},
      {"tokens", figures.tokens},
      {"samples", figures.samples},
      {"prompt_tokens", figures.prompt_tokens},
      {"finish_reason", figures.finish_reason},
      {"seconds", figures.seconds},
      {"tokens_per_second", PerSecond(figures.tokens, figures.seconds)},
      {"load_seconds", figures.load_seconds},
      {"prepare_seconds", figures.prepare_seconds},
      {"prefill_seconds", figures.prefill_seconds},
      {"per_token_ms",
       {{"p50", TokenMs(figures, 0.5)},
        {"p90", TokenMs(figures, 0.9)},
        {"p99", TokenMs(figures, 0.99)},
        {"p99.9", TokenMs(figures, 0.999)},
        {"max", TokenMs(figures, 1)}}},
      {"seconds_in",
       {{"mixers", figures.mixer_seconds},
        {"blocks", figures.block_seconds},
        {"head", figures.head_seconds},
        {"sampler", figures.sampler_seconds}}},
      {"peak_rss_bytes", PeakRssBytes()},
      {"plan", figures.plan},
      {"method", figures.method},
      {"tau", figures.tau},
      {"schedule", figures.schedule},
      {"weights", figures.weights},
      {"threads", figures.threads},
      {"simd_target", figures.simd_target},
      {"seed", figures.seed},
  };
  using Handler = nlohmann::ordered_json::error_handler_t;
  const std::string text = json.dump(2, ' ', false, Handler::replace) + "\n";
  return io::WriteFileAtomically(path, text);
}

std::string Summary(const RunFigures& figures) {
  std::string text = fmt::format(
      "{} in {:.2f} s, {:.0f} tokens/s; p50 {:.3f} ms, p99 {:.3f} ms",
      Count(figures.tokens, "token"), figures.seconds,
      PerSecond(figures.tokens, figures.seconds), TokenMs(figures, 0.5),
      TokenMs(figures, 0.99));
  if (figures.seconds > 0) {
    text += fmt::format("; {:.0f}% of it in mixers",
                        100 * figures.mixer_seconds / figures.seconds);
  }
  text += fmt::format("\n{} prefilled in {:.2f} s; {}, {}, seed {}",
                      Count(figures.prompt_tokens, "prompt token"),
                      figures.prefill_seconds, Count(figures.threads, "thread"),
                      figures.simd_target, figures.seed);
  return text;
}

}  // namespace lcsm::cli
