#include "variants_writer.h"

#include <fmt/format.h>

#include <string_view>

#include "lcsm/version.h"
#include "provenance.h"

namespace lcsm::cli {
namespace {

constexpr std::string_view kFieldPrefix = "LCSM_";

std::string Settings(const VariantsArguments& a, const VariantOptions& o) {
  return fmt::format("variants --window {} --place {} --strand {}", o.window,
                     o.place, a.strand);
}

// Six decimals are a thousand times finer than float32 logits can tell.
std::string VcfNumber(double x) {
  std::string text = fmt::format("{:.6f}", x);
  return text == "-0.000000" ? "0.000000" : text;
}

// A value for each ALT, "." for those that have none.
std::string PerAllele(const VariantRow& row,
                      const std::vector<double>& values) {
  std::string text;
  size_t next = 0;
  for (size_t alt = 0; alt < row.record.alts.size(); ++alt) {
    if (alt > 0) text += ',';
    if (next < row.scored.size() && row.scored[next] == alt) {
      text += VcfNumber(values[next++]);
    } else {
      text += '.';
    }
  }
  return text;
}

// INFO without what an earlier run put there.
std::string OtherFields(std::string_view info) {
  std::string kept;
  while (!info.empty()) {
    const size_t end = info.find(';');
    const std::string_view field = info.substr(0, end);
    info.remove_prefix(end == std::string_view::npos ? info.size() : end + 1);
    if (field.empty() || field == "." || field.starts_with(kFieldPrefix)) {
      continue;
    }
    if (!kept.empty()) kept += ';';
    kept += field;
  }
  return kept;
}

std::string FormatVcf(const VariantRow& row) {
  std::string info = OtherFields(row.record.Column(io::VcfRecord::kInfoColumn));
  if (!row.scored.empty()) {
    info += fmt::format("{}LCSM_REF={};LCSM_ALT={};LCSM_LLR={}",
                        info.empty() ? "" : ";", VcfNumber(row.scores.ref),
                        PerAllele(row, row.scores.alts),
                        PerAllele(row, row.scores.ratios));
  }
  if (info.empty()) info = ".";
  const std::string_view text = row.record.text;
  size_t begin = 0;
  for (size_t i = 0; i < io::VcfRecord::kInfoColumn; ++i) {
    begin = text.find('\t', begin) + 1;
  }
  const size_t end = text.find('\t', begin);
  std::string line = fmt::format("{}{}", text.substr(0, begin), info);
  if (end != std::string_view::npos) line += text.substr(end);
  return line + "\n";
}

std::string FormatTsv(const VariantRow& row) {
  std::string lines;
  for (size_t i = 0; i < row.scored.size(); ++i) {
    lines += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\n", row.record.chrom,
                         row.record.pos, row.record.ref_text,
                         row.record.alts[row.scored[i]].text, row.scores.ref,
                         row.scores.alts[i], row.scores.ratios[i]);
  }
  return lines;
}

std::string VcfHeader(const VariantsArguments& a, const VariantOptions& o,
                      const ModelInfo& info, const io::VcfReader& input) {
  std::string text;
  for (const std::string& line : input.header()) {
    // Of an earlier run.
    if (line.starts_with("##lcsm_") || line.starts_with("##INFO=<ID=LCSM_")) {
      continue;
    }
    text += line + "\n";
  }
  text += fmt::format(
      "##lcsm_version={}\n##lcsm_model={}\n##lcsm_model_hash={}\n"
      "##lcsm_command={}\n",
      LCSM_VERSION, info.name, info.hash, Settings(a, o));
  const auto field = [&text](std::string_view id, std::string_view number,
                             std::string_view description) {
    text +=
        fmt::format("##INFO=<ID={},Number={},Type=Float,Description=\"{}\">\n",
                    id, number, description);
  };
  field("LCSM_REF", "1",
        "Natural log-likelihood of the window with REF under the model");
  field("LCSM_ALT", "A",
        "Natural log-likelihood of the window with ALT under the model");
  field("LCSM_LLR", "A", "Log-likelihood ratio, LCSM_ALT - LCSM_REF");
  return text + input.column_names() + "\n";
}

}  // namespace

std::string VariantsHeader(const VariantsArguments& arguments,
                           const VariantOptions& options, const ModelInfo& info,
                           const io::VcfReader& input) {
  if (arguments.format == "vcf") {
    return VcfHeader(arguments, options, info, input);
  }
  std::string text;
  if (arguments.comments) {
    text = fmt::format("# {}\n# {}\n", Provenance(info),
                       Settings(arguments, options));
  }
  return text + "chrom\tpos\tref\talt\tscore_ref\tscore_alt\tllr\n";
}

std::string FormatVariant(const VariantsArguments& arguments,
                          const VariantRow& row) {
  return arguments.format == "vcf" ? FormatVcf(row) : FormatTsv(row);
}

}  // namespace lcsm::cli
