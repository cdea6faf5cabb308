#include "memory_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/byte_text.h"
#include "model_options.h"

namespace lcsm::cli {
namespace {

using Json = nlohmann::ordered_json;

Json BytesJson(const ModelMemory& memory) {
  const auto& convolution = memory.convolution;
  Json json = {
      {"weights", memory.weights},
      {"making", convolution.making},
      {"taps", convolution.taps},
      {"spectra", convolution.spectra},
      {"histories", convolution.histories},
      {"blocks", convolution.blocks},
      {"scratch", convolution.scratch},
      {"activations", memory.activations},
      {"total", memory.Total()},
  };
  if (!memory.device.empty()) {
    json["device_free"] = memory.device_free;
    json["host"] = memory.host;
  }
  return json;
}

}  // namespace

Rows MemoryRows(const ModelMemory& memory) {
  const auto& convolution = memory.convolution;
  Rows rows;
  const auto add = [&rows](const char* label, size_t bytes) {
    rows.emplace_back(
        label, fmt::format("{:>10}  {:>15} bytes", ByteText(bytes), bytes));
  };
  // Convolutions without a model have neither these nor activations.
  if (memory.weights != 0) add("weights", memory.weights);
  add("while spectra are made", convolution.making);
  add("filter taps", convolution.taps);
  add("filter spectra", convolution.spectra);
  add("histories", convolution.histories);
  add("kept blocks", convolution.blocks);
  add("scratch", convolution.scratch);
  if (memory.activations != 0) add("activations", memory.activations);
  if (memory.prefill != 0) add("known tokens", memory.prefill);
  add("at most at a time", memory.Total());
  if (memory.device.empty()) return rows;
  add(memory.weights != 0 ? "left there, beside the weights" : "left there",
      memory.device_free);
  if (memory.host != 0) add("on the host, while preparing", memory.host);
  rows.emplace_back("not counted", memory.uncounted);
  return rows;
}

std::string WhereText(const ModelMemory& memory, size_t threads) {
  return memory.device.empty() ? Count(threads, "thread") : memory.device;
}

std::string Table(const std::string& title, const Rows& rows) {
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  std::string text = title + "\n";
  for (const auto& [label, value] : rows) {
    text += fmt::format("  {:<{}}  {}\n", label, width, value);
  }
  return text;
}

std::string MemoryTables(const std::string& title, const ModelMemory& memory,
                         size_t threads) {
  std::string text;
  for (const ModelMemory& rank : memory.ranks) {
    if (!text.empty()) text += '\n';
    text += MemoryTables(title, rank, threads);
  }
  if (!text.empty()) return text;
  return Table(fmt::format("{} on {}", title, WhereText(memory, threads)),
               MemoryRows(memory));
}

void AddMemoryJson(const ModelMemory& memory, Json& json) {
  json["memory_bytes"] = BytesJson(memory);
  if (!memory.device.empty()) json["not_counted"] = memory.uncounted;
  // What stands above is of the device with the least to spare.
  for (const ModelMemory& rank : memory.ranks) {
    json["devices"].push_back(
        {{"device", rank.device}, {"memory_bytes", BytesJson(rank)}});
  }
}

}  // namespace lcsm::cli
