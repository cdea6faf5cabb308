// What `lcsm bench paper` shows: a table, JSON, and pictures in the manner of
// the paper's figures.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/paper_bench.h"
#include "bench/tiles_bench.h"

namespace lcsm::bench {

std::string PaperTable(const PaperCase& wanted, const PaperResult& result);
// `tiles` may be empty.
nlohmann::ordered_json PaperJson(const PaperCase& wanted,
                                 const PaperResult& result,
                                 const std::vector<TileRow>& tiles);

// Pairs of a name ("mixers", "cumulative", "latency", "tau") and an SVG text;
// those with nothing to show are left out. Cumulative times and latencies are
// those of the longest sequence.
std::vector<std::pair<std::string, std::string>> PaperPictures(
    const PaperCase& wanted, const PaperResult& result,
    const std::vector<TileRow>& tiles);

}  // namespace lcsm::bench
