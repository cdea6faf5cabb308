// lcsm convert: a PyTorch checkpoint to a folder that all commands take.
#include <fmt/format.h>
#include <stdio.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "base/byte_text.h"
#include "command.h"
#include "io/convert.h"
#include "model_options.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

struct Options {
  std::string weights;
  std::string output;
  std::string config;
  std::optional<double> filter_shift;
  std::string filter_layout;  // Empty: as the file's kind suggests.
  bool overwrite = false;
  bool quiet = false;
};

// Each dropped key with its reason would fill the screen for an optimizer's
// worth of them; a few show what kind they are.
constexpr size_t kDroppedShown = 5;

std::string Tell(const io::ConvertReport& report, const std::string& output) {
  std::string text = fmt::format(
      "{}: {} ({}) written to {}\n", report.weights.string(),
      Count(report.kept.size(), "tensor"), ByteText(report.bytes), output);
  if (!report.is_stack) {
    text += fmt::format("filter shift {:g}, filter layout {}\n",
                        report.filter_shift,
                        io::FilterLayoutName(report.filter_layout));
  }
  if (!report.converted.empty()) {
    text += fmt::format("{} converted to F32, the first of them {} from {}\n",
                        Count(report.converted.size(), "tensor"),
                        report.converted[0].name,
                        io::DTypeName(report.converted[0].from));
  }
  for (const std::string& name : report.copied) {
    text += fmt::format("{} taken along\n", name);
  }
  const size_t shown = std::min(report.dropped.size(), kDroppedShown);
  for (size_t i = 0; i < shown; ++i) {
    text += fmt::format("left out {}: {}\n", report.dropped[i].key,
                        report.dropped[i].why);
  }
  if (report.dropped.size() > shown) {
    text += fmt::format("left out {} more\n", report.dropped.size() - shown);
  }
  return text;
}

Status Run(const Options& options) {
  io::ConvertOptions convert;
  convert.filter_shift = options.filter_shift;
  convert.config = options.config;
  convert.overwrite = options.overwrite;
  io::FilterLayout layout;
  if (io::ParseFilterLayout(options.filter_layout, &layout)) {
    convert.filter_layout = layout;
  }
  LCSM_ASSIGN_OR_RETURN(
      const io::ConvertReport report,
      io::ConvertCheckpoint(options.weights, options.output, convert));
  // What a converter guessed or left out matters more than that it is done.
  if (!options.quiet) {
    Say("{}", Tell(report, options.output));
  }
  return OkStatus();
}

}  // namespace

void AddConvert(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "convert", "Turn a PyTorch checkpoint into a model folder");
  app->add_option("WEIGHTS", options->weights,
                  "A .ckpt, .pt or .bin file, or the folder that holds it")
      ->type_name("WEIGHTS")
      ->required();
  app->add_option("--output", options->output, "The model folder to make")
      ->type_name("DIR")
      ->required();
  app->add_option("--config", options->config,
                  "The model's config.json (default: beside the weights)")
      ->type_name("FILE");
  app->add_option("--filter-shift", options->filter_shift,
                  "Added to the filters' decay window; no file tells it "
                  "(default: 0.05 for HyenaDNA, 0 for safari models)")
      ->type_name("S")
      ->check(FiniteIn(-1e3, 1e3, "a number from -1000 to 1000"));
  app->add_option("--filter-layout", options->filter_layout,
                  "Order of the filters' channels, for Hyena order above 2 "
                  "(default: by the kind of file)")
      ->type_name("NAME")
      ->check(OneOf({"order_slowest", "order_fastest"}));
  app->add_flag("--overwrite", options->overwrite,
                "Replace a model that stands in DIR");
  app->add_flag("--quiet", options->quiet, "No report on stderr");
  app->footer(
      "Example:\n"
      "  lcsm convert weights.ckpt --output my-model");
  commands.push_back({app, [options] { return Answer(Run(*options)); }});
}

}  // namespace lcsm::cli
