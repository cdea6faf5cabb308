#include "bench/paper_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/cpu_info.h"
#include "bench/machine.h"
#include "bench/svg_plot.h"

namespace lcsm::bench {
namespace {

using Json = nlohmann::ordered_json;

const char* Name(PaperSetting setting) {
  return setting == PaperSetting::kHyena ? "hyena" : "synthetic";
}

// 0.0123 s, 95.2 s, 8.8 h: totals go from milliseconds to days.
std::string Duration(double seconds) {
  if (seconds < 1) return fmt::format("{:.3g} ms", 1e3 * seconds);
  if (seconds < 120) return fmt::format("{:.3g} s", seconds);
  if (seconds < 7200) return fmt::format("{:.3g} min", seconds / 60);
  return fmt::format("{:.3g} h", seconds / 3600);
}

std::string Ratio(double ratio) {
  return ratio == 0 ? "-" : fmt::format("{:.4g}x", ratio);
}

Json SpreadJson(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

bool IsTiled(const PaperRow& row) { return !IsBaseline(row.method.method); }

// "hybrid (measured)": what a line of a chart is called.
std::string SeriesLabel(const PaperRow& row) { return Label(row.method); }

size_t Longest(const PaperResult& result) {
  size_t longest = 0;
  for (const PaperRow& row : result.rows)
    longest = std::max(longest, row.length);
  return longest;
}

std::string Shape(const PaperCase& wanted) {
  return fmt::format("M = {}, D = {}, B = {}", wanted.layers, wanted.width,
                     wanted.batch);
}

std::string Note(const PaperResult& result) {
  return fmt::format(
      "{}, {}, {} threads; lcsm bench paper; medians, sampled positions",
      GetCpuInfo().model, SimdTarget(),
      result.rows.empty() ? 0 : result.rows.front().threads);
}

std::vector<double> PowersOfTwo(double from, double to, double factor) {
  std::vector<double> ticks;
  for (double x = from; x <= to; x *= factor) ticks.push_back(x);
  return ticks;
}

Series& SeriesNamed(Chart& chart, const std::string& label) {
  for (Series& series : chart.series) {
    if (series.label == label) return series;
  }
  chart.series.push_back({label, {}, {}});
  return chart.series.back();
}

Chart MixersChart(const PaperCase& wanted, const PaperResult& result) {
  Chart chart;
  chart.title = fmt::format("All mixers of a sequence, {}", Shape(wanted));
  chart.x_label = "sequence length L (tokens)";
  chart.y_label = "seconds";
  chart.note = Note(result);
  for (const PaperRow& row : result.rows) {
    Series& series = SeriesNamed(chart, SeriesLabel(row));
    series.dashed = row.method.schedule == conv::Schedule::kPerLayer;
    series.x.push_back(static_cast<double>(row.length));
    series.y.push_back(row.mixer_seconds.median);
  }
  return chart;
}

Chart CumulativeChart(const PaperCase& wanted, const PaperResult& result) {
  const size_t longest = Longest(result);
  Chart chart;
  chart.title = fmt::format("Time since the first token, {}, L = {}",
                            Shape(wanted), longest);
  chart.x_label = "position (tokens generated)";
  chart.y_label = "seconds";
  chart.note = Note(result) + "; solid: end to end, dashed: mixers alone";
  chart.markers = false;
  chart.x_ticks = PowersOfTwo(16, static_cast<double>(longest), 4);
  for (const PaperRow& row : result.rows) {
    if (row.length != longest ||
        row.method.schedule == conv::Schedule::kPerLayer) {
      continue;
    }
    Series whole{SeriesLabel(row), {}, {}};
    Series mixers{SeriesLabel(row) + ", mixers", {}, {}};
    mixers.dashed = true;
    mixers.colour = whole.colour = static_cast<int>(chart.series.size() / 2);
    for (const CurvePoint& point : row.curve) {
      whole.x.push_back(static_cast<double>(point.position));
      whole.y.push_back(point.end_to_end_seconds);
      mixers.x.push_back(static_cast<double>(point.position));
      mixers.y.push_back(point.mixer_seconds);
    }
    chart.series.push_back(std::move(whole));
    chart.series.push_back(std::move(mixers));
  }
  return chart;
}

Chart LatencyChart(const PaperCase& wanted, const PaperResult& result) {
  const size_t longest = Longest(result);
  Chart chart;
  chart.title = fmt::format("One step, mixers and blocks, {}, L = {}",
                            Shape(wanted), longest);
  chart.x_label = "position (median and worst of the octave that ends here)";
  chart.y_label = "milliseconds";
  chart.note = Note(result) + "; solid: median, dashed: worst";
  for (const PaperRow& row : result.rows) {
    if (row.length != longest ||
        row.method.schedule == conv::Schedule::kPerLayer) {
      continue;
    }
    Series median{SeriesLabel(row), {}, {}};
    Series worst{SeriesLabel(row) + ", worst", {}, {}};
    worst.dashed = true;
    // Two series for each method before this one, or one for a baseline, whose
    // worst step is hardly worse.
    worst.colour = median.colour = static_cast<int>(
        std::count_if(chart.series.begin(), chart.series.end(),
                      [](const Series& s) { return !s.dashed; }));
    for (const LatencyPoint& point : row.latency) {
      median.x.push_back(static_cast<double>(point.position));
      median.y.push_back(point.median_ms);
      worst.x.push_back(static_cast<double>(point.position));
      worst.y.push_back(point.worst_ms);
    }
    chart.series.push_back(std::move(median));
    if (IsTiled(row)) chart.series.push_back(std::move(worst));
  }
  return chart;
}

Chart TauChart(const PaperResult& result, const std::vector<TileRow>& tiles) {
  Chart chart;
  chart.title = "Each tau alone: one level of the tiling, one thread";
  chart.x_label = "block size U";
  chart.y_label = "ns per token and channel";
  chart.note =
      fmt::format("{}, {}, lcsm bench paper", GetCpuInfo().model, SimdTarget());
  const std::pair<const char*, double TileRow::*> taus[] = {
      {"direct", &TileRow::direct},
      {"direct-blocked", &TileRow::direct_blocked},
      {"fft-library", &TileRow::fft_library},
      {"fft-fused", &TileRow::fft_fused}};
  for (const auto& [name, ns] : taus) {
    for (const TileRow& tile : tiles) {
      if (tile.*ns <= 0) continue;
      Series& series = SeriesNamed(chart, name);
      series.x.push_back(static_cast<double>(tile.block));
      series.y.push_back(tile.*ns);
    }
  }
  return chart;
}

}  // namespace

std::string PaperTable(const PaperCase& wanted, const PaperResult& result) {
  std::string table = fmt::format(
      "{} setting, {}\n{:<24} {:>7} {:>10} {:>10} {:>17} {:>10} {:>9} {:>9} "
      "{:>8} {:>8} {:>8}\n",
      Name(wanted.setting), Shape(wanted), "method", "length", "mixers",
      "ns/tok/ch", "min .. max", "end to end", "p50 ms", "worst ms", "mixers",
      "end/end", "error");
  for (const PaperRow& row : result.rows) {
    const double ns = row.ns_per_token_channel / row.mixer_seconds.median;
    table += fmt::format(
        "{:<24} {:>7} {:>10} {:>10.4g} {:>17} {:>10} {:>9.4g} {:>9.4g} {:>8} "
        "{:>8} {:>8.1e}{}\n",
        Label(row.method), row.length, Duration(row.mixer_seconds.median),
        row.ns_per_token_channel,
        fmt::format("{:.4g} .. {:.4g}", ns * row.mixer_seconds.min,
                    ns * row.mixer_seconds.max),
        Duration(row.end_to_end_seconds.median), row.step_p50_ms,
        row.step_worst_ms, Ratio(row.mixers_vs_lazy), Ratio(row.vs_lazy),
        row.max_relative_error,
        row.sampled ? fmt::format("  sampled, {} of {} mixers",
                                  row.mixers_measured, wanted.layers)
                    : "");
  }
  return table + "Ratios are to the fastest lazy row of the same length.\n";
}

Json PaperJson(const PaperCase& wanted, const PaperResult& result,
               const std::vector<TileRow>& tiles) {
  Json rows = Json::array();
  for (const PaperRow& row : result.rows) {
    const bool tiled = IsTiled(row);
    Json entry = {
        {"method", conv::Name(row.method.method)},
        {"tau", tiled ? conv::Name(row.method.tau) : "-"},
        {"schedule", conv::Name(row.method.schedule)},
        {"layers", wanted.layers},
        {"width", wanted.width},
        {"batch", wanted.batch},
        {"length", row.length},
        {"threads", row.threads},
        {"sampled", row.sampled},
        {"mixers_measured", row.mixers_measured},
        {"mixer_seconds_total", SpreadJson(row.mixer_seconds)},
        {"ns_per_token_channel", row.ns_per_token_channel},
        {"end_to_end_seconds_total", SpreadJson(row.end_to_end_seconds)},
        {"block_seconds_total", row.block_seconds},
        {"speedup",
         {{"mixers_vs_lazy", row.mixers_vs_lazy},
          {"mixers_vs_eager", row.mixers_vs_eager},
          {"end_to_end_vs_lazy", row.vs_lazy},
          {"end_to_end_vs_eager", row.vs_eager}}},
        {"max_relative_error", row.max_relative_error},
        {"checked_length", row.checked_length},
        {"stack_error", row.stack_error},
        {"bytes", row.bytes},
        {"step_ms",
         {{"p50", row.step_p50_ms},
          {"p99", row.step_p99_ms},
          {"worst", row.step_worst_ms}}},
        {"plan", row.plan}};
    Json& curve = entry["cumulative"] = Json::array();
    for (const CurvePoint& point : row.curve) {
      curve.push_back({{"position", point.position},
                       {"mixer_seconds", point.mixer_seconds},
                       {"end_to_end_seconds", point.end_to_end_seconds}});
    }
    Json& latency = entry["latency"] = Json::array();
    for (const LatencyPoint& point : row.latency) {
      latency.push_back({{"position", point.position},
                         {"median_ms", point.median_ms},
                         {"worst_ms", point.worst_ms},
                         {"mixer_median_ms", point.mixer_median_ms},
                         {"mixer_worst_ms", point.mixer_worst_ms}});
    }
    rows.push_back(std::move(entry));
  }
  Json json = {{"machine", MachineJson()},
               {"setting", Name(wanted.setting)},
               {"repeats", wanted.quick ? 1 : wanted.repeats},
               {"results", rows},
               {"notes", result.notes}};
  if (!tiles.empty()) {
    Json& taus = json["taus"] = Json::array();
    for (const TileRow& tile : tiles) {
      Json entry = {{"block", tile.block}};
      if (tile.direct > 0) entry["direct"] = tile.direct;
      if (tile.direct_blocked > 0)
        entry["direct-blocked"] = tile.direct_blocked;
      if (tile.fft_library > 0) entry["fft-library"] = tile.fft_library;
      if (tile.fft_fused > 0) entry["fft-fused"] = tile.fft_fused;
      taus.push_back(std::move(entry));
    }
  }
  return json;
}

std::vector<std::pair<std::string, std::string>> PaperPictures(
    const PaperCase& wanted, const PaperResult& result,
    const std::vector<TileRow>& tiles) {
  std::vector<std::pair<std::string, std::string>> pictures;
  const auto add = [&](const char* name, const Chart& chart) {
    std::string svg = LogLogSvg(chart);
    if (!svg.empty()) pictures.emplace_back(name, std::move(svg));
  };
  add("mixers", MixersChart(wanted, result));
  add("cumulative", CumulativeChart(wanted, result));
  add("latency", LatencyChart(wanted, result));
  add("tau", TauChart(result, tiles));
  return pictures;
}

}  // namespace lcsm::bench
