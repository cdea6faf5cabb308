#include "variants_options.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "data_output.h"

namespace lcsm::cli {
namespace {

std::optional<double> ParseNumber(std::string_view text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

void AddInputOptions(App& app, VariantsArguments& a) {
  const std::string group = "What is scored";
  app.add_option("--reference", a.reference,
                 "The genome, FASTA, plain or bgzip (or gzip, if it fits into "
                 "memory)")
      ->type_name("REF.fa")
      ->required()
      ->group(group);
  app.add_option("--vcf", a.vcf,
                 "The variants, plain, gzip or bgzip; - is standard input")
      ->type_name("IN.vcf")
      ->required()
      ->group(group);
  app.add_option("--window", a.window,
                 "Bases that an allele is scored on (default: 8192, or the "
                 "model's limit if that is less)")
      ->type_name("W")
      ->check(WholeIn(2, UINT64_MAX))
      ->group(group);
  app.add_option("--place", a.place,
                 "The part of the window before the variant: middle, or a "
                 "fraction such as 7/8 or 0.875")
      ->type_name("FRACTION")
      ->check(Check([](std::string& text) -> std::string {
        return ParsePlace(text)
                   ? ""
                   : text +
                         " is not middle or a fraction from 0 to below "
                         "1";
      }))
      ->capture_default_str()
      ->group(group);
  app.add_option("--strand", a.strand,
                 "forward, or both: the mean of the window and of that on the "
                 "reverse strand")
      ->type_name("NAME")
      ->check(OneOf({"forward", "both"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--on-mismatch", a.on_mismatch,
                 "A variant that does not fit the genome: error, or skip it "
                 "and count")
      ->type_name("NAME")
      ->check(OneOf({"error", "skip"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--save-index", a.save_index,
               "Write REF.fa.fai, so that the next run need not make it")
      ->group(group);
}

void AddOutputOptions(App& app, VariantsArguments& a) {
  const std::string group = "What comes out";
  app.add_option("--output", a.output, "Where a line an allele goes")
      ->type_name("FILE")
      ->capture_default_str()
      ->group(group);
  app.add_option("--format", a.format,
                 "tsv, or vcf: the input with scores among its INFO")
      ->type_name("NAME")
      ->check(OneOf({"tsv", "vcf"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--comments", a.comments,
               "Begin TSV with # lines on program, model and settings")
      ->group(group);
  app.add_option("--stats", a.stats, "Write figures of the run as JSON")
      ->type_name("FILE")
      ->group(group);
  AddQuietOption(app, a.quiet)->group(group);
}

}  // namespace

void AddVariantsOptions(App& app, VariantsArguments& arguments) {
  AddRequiredModel(app, arguments.model);
  AddInputOptions(app, arguments);
  AddOutputOptions(app, arguments);
  AddExecutionOptions(app, arguments.execution);
  app.add_flag("--no-share", arguments.no_share,
               "Score every allele whole, for comparison: the same ratios, "
               "slower")
      ->group("How it is computed (never what)");
}

std::string CheckArguments(const VariantsArguments& a) {
  if (a.reference == "-" && a.vcf == "-") {
    return "--reference and --vcf cannot both be standard input";
  }
  if (a.comments && a.format != "tsv") {
    return "--comments goes with --format tsv; a VCF file's header says the "
           "same always";
  }
  if (a.save_index && a.reference == "-") {
    return "--save-index needs a --reference that is a file";
  }
  if (!a.stats.empty() && a.stats == a.output) {
    return "--stats and --output name the same file";
  }
  return CheckExecution(a.execution);
}

std::optional<double> ParsePlace(const std::string& text) {
  if (text == "middle") return 0.5;
  const std::string_view whole = text;
  const size_t slash = whole.find('/');
  std::optional<double> value = ParseNumber(whole.substr(0, slash));
  if (value && slash != std::string_view::npos) {
    const std::optional<double> below = ParseNumber(whole.substr(slash + 1));
    if (!below || *below <= 0) return std::nullopt;
    *value /= *below;
  }
  // Not a number fails both.
  if (!value || !(*value >= 0 && *value < 1)) return std::nullopt;
  return value;
}

}  // namespace lcsm::cli
