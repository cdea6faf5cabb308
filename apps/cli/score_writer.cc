#include "score_writer.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>

#include "lcsm/version.h"
#include "provenance.h"

namespace lcsm::cli {
namespace {

std::string Comments(const ScoreArguments& a, const ModelInfo& info) {
  if (!a.comments) return "";
  std::string settings = fmt::format("score --strand {}", a.strand);
  if (a.window != 0) {
    settings += fmt::format(" --window {} --stride {}", a.window, a.stride);
  }
  return fmt::format("# {}\n# {}\n", Provenance(info), settings);
}

// JSON has no NaN.
nlohmann::ordered_json NumberOrNull(double x) {
  if (std::isnan(x)) return nullptr;
  return x;
}

}  // namespace

double ScoreRow::Mean() const {
  return scored == 0 ? std::numeric_limits<double>::quiet_NaN()
                     : sum_logprob / static_cast<double>(scored);
}

double ScoreRow::Bits() const {
  // 0 - x and not -x: a certain text has 0 bits, not -0.
  return 0 - Mean() / std::numbers::ln2;
}

std::string ShortestDecimal(double x) {
  return std::isnan(x) ? "NaN" : fmt::format("{}", x);
}

void FormatHeader(const ScoreArguments& a, const ModelInfo& info,
                  std::string* out) {
  out->clear();
  if (a.format == "jsonl") return;
  *out = Comments(a, info) +
         "id\tlength\tscored\tsum_logprob\tmean_logprob\tbits_per_token\n";
}

void FormatTokenHeader(const ScoreArguments& a, const ModelInfo& info,
                       std::string* out) {
  *out = Comments(a, info) + "id\tposition\ttoken\tlogprob\n";
}

void FormatRow(const ScoreArguments& a, const ModelInfo& info,
               const ScoreRow& row, std::string* out) {
  if (a.format == "tsv") {
    *out =
        fmt::format("{}\t{}\t{}\t{}\t{}\t{}\n", row.id, row.length, row.scored,
                    ShortestDecimal(row.sum_logprob),
                    ShortestDecimal(row.Mean()), ShortestDecimal(row.Bits()));
    return;
  }
  nlohmann::ordered_json json = {
      {"id", row.id},
      {"length", row.length},
      {"scored", row.scored},
      {"sum_logprob", row.sum_logprob},
      {"mean_logprob", NumberOrNull(row.Mean())},
      {"bits_per_token", NumberOrNull(row.Bits())},
      {"score", NumberOrNull(a.reduce == "sum" ? row.sum_logprob : row.Mean())},
      {"reduce", a.reduce},
      {"strand", a.strand},
  };
  if (a.window != 0) {
    json["window"] = a.window;
    json["stride"] = a.stride;
  }
  json["model"] = info.name;
  json["model_hash"] = info.hash;
  json["version"] = LCSM_VERSION;
  // Bytes that are no UTF-8 are shown as U+FFFD.
  using Handler = nlohmann::ordered_json::error_handler_t;
  *out = json.dump(-1, ' ', false, Handler::replace) + "\n";
}

}  // namespace lcsm::cli
