#include "stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/cpu_info.h"
#include "io/atomic_file.h"
#include "lcsm/version.h"
#include "model_options.h"

namespace lcsm::cli {
namespace {

double PerSecond(size_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0;
}

}  // namespace

double Quantile(std::vector<float>& values, double q) {
  if (values.empty()) return 0;
  const double rank = std::ceil(q * static_cast<double>(values.size()));
  const size_t index =
      std::min(values.size() - 1, static_cast<size_t>(std::max(rank, 1.0)) - 1);
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(index);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

Status WriteStats(const RunFigures& figures, const std::string& path) {
  std::vector<float> ms = figures.token_ms;
  const nlohmann::ordered_json json = {
      {"version", LCSM_VERSION},
      {"model", figures.model},
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
       {{"p50", Quantile(ms, 0.5)},
        {"p90", Quantile(ms, 0.9)},
        {"p99", Quantile(ms, 0.99)},
        {"p99.9", Quantile(ms, 0.999)},
        {"max", Quantile(ms, 1)}}},
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
      {"threads", figures.threads},
      {"simd_target", figures.simd_target},
      {"seed", figures.seed},
  };
  using Handler = nlohmann::ordered_json::error_handler_t;
  const std::string text = json.dump(2, ' ', false, Handler::replace) + "\n";
  return io::WriteFileAtomically(path, text);
}

std::string Summary(const RunFigures& figures) {
  std::vector<float> ms = figures.token_ms;
  std::string text = fmt::format(
      "{} in {:.2f} s, {:.0f} tokens/s; p50 {:.3f} ms, p99 {:.3f} ms",
      Count(figures.tokens, "token"), figures.seconds,
      PerSecond(figures.tokens, figures.seconds), Quantile(ms, 0.5),
      Quantile(ms, 0.99));
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
