#include "bench/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace lcsm::bench {
namespace {

constexpr double kWidth = 860, kHeight = 520;
constexpr double kLeft = 76, kRight = 190, kTop = 48, kBottom = 84;
// Okabe and Ito's palette, told apart by colour-blind readers too.
constexpr const char* kColours[] = {"#000000", "#D55E00", "#0072B2", "#009E73",
                                    "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"};

std::string Escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

// 0.5, 10, 2 000: as a person writes an axis.
std::string TickLabel(double v) {
  if (v < 1) {
    // 0.001, not 1e-03; and not 9.9999e-07 for what repeated division gave.
    const int decimals = static_cast<int>(std::ceil(-std::log10(v) - 1e-9));
    return fmt::format("{:.{}f}", v, decimals);
  }
  const std::string digits = fmt::format("{:.0f}", v);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += "\u202f";
    out += digits[i];
  }
  return out;
}

// One logarithmic axis from a value range to pixels.
struct Axis {
  double low, high, from, to;
  double operator()(double v) const {
    return from + (std::log(v) - std::log(low)) /
                      (std::log(high) - std::log(low)) * (to - from);
  }
};

}  // namespace

std::string LogLogSvg(const Chart& chart) {
  double x_low = std::numeric_limits<double>::max(), x_high = 0, y_low = x_low,
         y_high = 0;
  for (const Series& s : chart.series) {
    for (double x : s.x)
      x_low = std::min(x_low, x), x_high = std::max(x_high, x);
    for (double y : s.y)
      y_low = std::min(y_low, y), y_high = std::max(y_high, y);
  }
  if (x_high <= 0 || y_high <= 0) return "";
  if (x_low == x_high) x_low /= 2, x_high *= 2;
  y_low = std::pow(10, std::floor(std::log10(y_low)));
  y_high = std::pow(10, std::ceil(std::log10(y_high) + 1e-9));
  const Axis ax{x_low, x_high, kLeft, kWidth - kRight};
  const Axis ay{y_low, y_high, kHeight - kBottom, kTop};

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" "
      "width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n"
      "<text x=\"{2}\" y=\"26\" font-size=\"16\" "
      "font-weight=\"bold\">{3}</text>\n",
      kWidth, kHeight, kLeft, Escape(chart.title));
  for (double y = y_low; y <= y_high * 1.001; y *= 10) {
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
        "stroke=\"#dddddd\"/>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
        kLeft, ay(y), kWidth - kRight, ay(y), kLeft - 8, ay(y) + 4,
        TickLabel(y));
  }
  std::vector<double> ticks = chart.x_ticks;
  for (const Series& s : chart.series) {
    for (double x : s.x) {
      if (!chart.x_ticks.empty()) break;
      if (std::find(ticks.begin(), ticks.end(), x) == ticks.end())
        ticks.push_back(x);
    }
  }
  for (double x : ticks) {
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" "
        "stroke=\"#eeeeee\"/>"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" text-anchor=\"middle\">{4}</text>\n",
        ax(x), kTop, kHeight - kBottom, kHeight - kBottom + 18, TickLabel(x));
  }
  svg += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n"
      "<text transform=\"translate(20 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">{}</text>\n"
      "<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"#666666\" "
      "font-size=\"11\">{}</text>\n",
      (kLeft + kWidth - kRight) / 2, kHeight - kBottom + 40,
      Escape(chart.x_label), (kTop + kHeight - kBottom) / 2,
      Escape(chart.y_label), kLeft, kHeight - 14, Escape(chart.note));

  // Labels stand at the lines' right ends, pushed apart where the ends are
  // close: downwards, then back up from the bottom of the chart.
  std::vector<std::pair<double, size_t>> ends;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    if (!chart.series[i].y.empty())
      ends.emplace_back(ay(chart.series[i].y.back()) + 4, i);
  }
  std::sort(ends.begin(), ends.end());
  constexpr double kLine = 16;
  for (size_t k = 1; k < ends.size(); ++k)
    ends[k].first = std::max(ends[k].first, ends[k - 1].first + kLine);
  double lowest = kHeight - kBottom + 4;
  for (size_t k = ends.size(); k-- > 0; lowest -= kLine)
    lowest = ends[k].first = std::min(ends[k].first, lowest);
  for (const auto& [label_y, i] : ends) {
    const Series& s = chart.series[i];
    const size_t index = s.colour < 0 ? i : static_cast<size_t>(s.colour);
    const char* colour = kColours[index % std::size(kColours)];
    std::string points;
    for (size_t k = 0; k < s.x.size(); ++k) {
      points += fmt::format("{:.1f},{:.1f} ", ax(s.x[k]), ay(s.y[k]));
      if (!chart.markers) continue;
      svg += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n",
          ax(s.x[k]), ay(s.y[k]), colour);
    }
    svg += fmt::format(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" "
        "stroke-width=\"2\"{}/>\n",
        points, colour, s.dashed ? " stroke-dasharray=\"6 4\"" : "");
    svg +=
        fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"{}\">{}</text>\n",
                    ax(s.x.back()) + 8, label_y, colour, Escape(s.label));
  }
  return svg + "</svg>\n";
}

}  // namespace lcsm::bench
