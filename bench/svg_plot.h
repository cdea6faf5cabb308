// A line chart on logarithmic axes as an SVG text: enough for cost against
// length, nothing more.
#pragma once

#include <string>
#include <vector>

namespace lcsm::bench {

struct Series {
  std::string label;
  std::vector<double> x, y;  // Of equal length; values must be above zero.
  bool dashed = false;
  int colour = -1;  // Of the palette; below 0: the next one.
};

struct Chart {
  std::string title;
  std::string x_label, y_label;
  std::string note;  // Below the chart: machine and command.
  std::vector<Series> series;
  bool markers = true;          // A dot at each value.
  std::vector<double> x_ticks;  // Empty: wherever there is a value.
};

// Light and dark viewers both get the white ground that the file carries.
std::string LogLogSvg(const Chart& chart);

}  // namespace lcsm::bench
