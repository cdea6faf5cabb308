// lcsm bench contract: what the contract of mixers costs, and what the generic
// tiling gains.
#include "bench_contract.h"

#include <fmt/format.h>

#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "bench/contract_bench.h"
#include "bench/machine.h"
#include "bench_output.h"
#include "interrupt.h"
#include "model_options.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

struct Options {
  bench::ContractCase contract;
  size_t tiled_channels = 4;
  std::string json_file;
};

std::string Line(const char* what, const bench::Spread& ns) {
  return fmt::format("{:<34} {:>12.2f} {:>22}\n", what, ns.median,
                     fmt::format("{:.2f} .. {:.2f}", ns.min, ns.max));
}

Status Run(const Options& options) {
  LetInterruptsEnd();
  const bench::NoiseWatch noise;
  LCSM_ASSIGN_OR_RETURN(const bench::ContractResult contract,
                        bench::RunContract(options.contract));
  LCSM_ASSIGN_OR_RETURN(
      const bench::TiledResult tiled,
      bench::RunTiled({options.tiled_channels, options.contract.length,
                       options.contract.repeats}));
  const std::string table =
      fmt::format("{:<34} {:>12} {:>22}\n", "", "ns/token/ch", "min .. max") +
      Line("long convolutions, directly", contract.direct) +
      Line("through the contract", contract.contract) +
      fmt::format("{:<34} {:>12.4f}\n", "  ratio, median of pairs",
                  contract.ratio) +
      Line("max-plus convolution, lazy", tiled.lazy) +
      Line("tiled", tiled.tiled) +
      fmt::format("{:<34} {:>12.1f}\n", "  lazy / tiled", tiled.ratio);
  const Json json = {{"machine", bench::MachineJson()},
                     {"channels", options.contract.channels},
                     {"mixers", options.contract.mixers},
                     {"length", options.contract.length},
                     {"threads", options.contract.threads},
                     {"repeats", options.contract.repeats},
                     {"plan", contract.plan},
                     {"direct_ns", SpreadJson(contract.direct)},
                     {"contract_ns", SpreadJson(contract.contract)},
                     {"contract_ratio", contract.ratio},
                     {"tiled_channels", options.tiled_channels},
                     {"max_plus_lazy_ns", SpreadJson(tiled.lazy)},
                     {"max_plus_tiled_ns", SpreadJson(tiled.tiled)},
                     {"max_plus_ratio", tiled.ratio},
                     {"max_plus_error", tiled.error}};
  Say("{}; {}\n", contract.plan, noise.Report());
  return TableThenFiles(table, {options.json_file, json}, {});
}

}  // namespace

void AddBenchContract(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "contract",
      "Mixers by their contract against the executor, tiled "
      "against lazy");
  bench::ContractCase& contract = options->contract;
  app->add_option("--channels", contract.channels, "channels of one mixer")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--mixers", contract.mixers,
                  "long convolutions that share an executor (layers)")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--length", contract.length, "positions of each run")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--max-plus-channels", options->tiled_channels,
                  "channels of the max-plus convolution")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--threads", contract.threads, "threads")
      ->check(WholeIn(1, ThreadPool::kMaxThreads))
      ->capture_default_str();
  app->add_option("--repeats", contract.repeats, "runs of each case; medians")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  AddJsonOption(*app, options->json_file);
  app->footer(
      "Example:\n"
      "  lcsm bench contract --channels 256 --mixers 8 --length 65536");
  commands.push_back({app, [options] { return Answer(Run(*options)); }});
}

}  // namespace lcsm::cli
