// A line chart on logarithmic axes as an SVG text: enough for cost against
// length, nothing more.
#pragma once

#include <string>
#include <vector>

namespace lcsm::bench {

struct Series {
  std::string label;
  std::vector<double> x, y;  // Of equal length; values must be above zero.
};

struct Chart {
  std::string title;
  std::string x_label, y_label;
  std::string note;  // Below the chart: machine and command.
  std::vector<Series> series;
};

// Light and dark viewers both get the white ground that the file carries.
std::string LogLogSvg(const Chart& chart);

}  // namespace lcsm::bench
