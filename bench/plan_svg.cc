// A tiling as a picture.
#include <fmt/format.h>

#include <algorithm>

#include "bench/plan_bench.h"

namespace lcsm::bench {
namespace {

constexpr double kSide = 640, kLeft = 84, kTop = 64, kLegend = 400;
constexpr double kBottom = 76;
// Okabe and Ito's palette without black, which the diagonal's text needs.
constexpr const char* kColours[] = {"#56B4E9", "#E69F00", "#009E73", "#CC79A7",
                                    "#0072B2", "#D55E00", "#F0E442", "#999999"};
// Tiles narrower than this many pixels are drawn as one staircase.
constexpr double kSmallest = 3;

const char* Colour(size_t level) {
  return kColours[level % std::size(kColours)];
}

class Drawing {
 public:
  explicit Drawing(const conv::Plan& plan)
      : plan_(plan), length_(static_cast<double>(plan.problem.length)) {}

  std::string Draw() {
    const double width = kLeft + kSide + kLegend;
    const double height = kTop + kSide + kBottom;
    svg_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" "
        "width=\"{0}\" height=\"{1}\" font-family=\"sans-serif\" "
        "font-size=\"13\">\n<rect width=\"{0}\" height=\"{1}\" "
        "fill=\"white\"/>\n",
        width, height);
    Text(kLeft, 28, "start", 17,
         fmt::format("Tiling of {} positions", plan_.problem.length));
    Rect(kLeft, kTop, kSide, kSide, "#F7F7F7", "#999999");
    // Large levels first: the small ones lie along the diagonal, on top.
    for (size_t k = plan_.levels.size(); k-- > 0;) Level(k);
    svg_ += fmt::format(
        "<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" "
        "stroke=\"#D00000\" stroke-width=\"2\"/>\n",
        kLeft, kTop, kLeft + kSide, kTop + kSide);
    Axes();
    Legend();
    return svg_ + "</svg>\n";
  }

 private:
  double X(double position) const { return kLeft + position / length_ * kSide; }
  double Y(double position) const { return kTop + position / length_ * kSide; }

  void Rect(double x, double y, double w, double h, const char* fill,
            const char* stroke) {
    svg_ += fmt::format(
        "<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" "
        "fill=\"{}\" stroke=\"{}\" stroke-width=\"0.7\"/>\n",
        x, y, w, h, fill, stroke);
  }
  void Text(double x, double y, const char* anchor, int size,
            const std::string& text) {
    svg_ += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" "
        "font-size=\"{}\">{}</text>\n",
        x, y, anchor, size, text);
  }

  void Level(size_t k) {
    const conv::Level& level = plan_.levels[k];
    const double block = static_cast<double>(level.block);
    if (block / length_ * kSide < kSmallest) {
      Band(k);
      return;
    }
    const bool distant = level.serves == conv::Serves::kDistant;
    for (size_t known = level.block; known < plan_.problem.length;
         known += level.block) {
      if (!distant && conv::DueLevel(plan_.levels, known) != k) continue;
      const conv::Tile tile = conv::TileAt(plan_.problem, level, known);
      if (tile.terms == 0) continue;
      const double first = static_cast<double>(tile.newest + 1 - tile.terms);
      const double target = static_cast<double>(tile.target) * block;
      const double outputs = static_cast<double>(tile.outputs);
      Rect(X(target), Y(first * block), X(outputs) - X(0),
           Y(static_cast<double>(tile.terms) * block) - Y(0), Colour(k),
           "white");
    }
  }

  // What is too small to see, as the area that it fills along the diagonal.
  void Band(size_t k) {
    const conv::Level& level = plan_.levels[k];
    double reach = static_cast<double>(level.block);
    if (level.radix != conv::Level::kToTheEnd) {
      reach *= static_cast<double>(level.radix);
    }
    if (level.serves == conv::Serves::kNeighbours) reach *= 2;
    reach = std::min(reach, length_);
    svg_ += fmt::format(
        "<polygon points=\"{:.2f},{:.2f} {:.2f},{:.2f} {:.2f},{:.2f} "
        "{:.2f},{:.2f}\" fill=\"{}\"/>\n",
        X(0), Y(0), X(reach), Y(0), X(length_), Y(length_ - reach), X(length_),
        Y(length_), Colour(k));
  }

  void Axes() {
    constexpr int kTicks = 4;
    for (int i = 0; i <= kTicks; ++i) {
      const double position = length_ * i / kTicks;
      Text(X(position), kTop + kSide + 18, "middle", 12,
           fmt::format("{:.0f}", position));
      Text(kLeft - 8, Y(position) + 4, "end", 12,
           fmt::format("{:.0f}", position));
    }
    Text(kLeft + kSide / 2, kTop + kSide + 40, "middle", 13,
         "outputs; a tile is due at its left edge");
    svg_ += fmt::format(
        "<text x=\"18\" y=\"{0:.1f}\" text-anchor=\"middle\" "
        "transform=\"rotate(-90 18 {0:.1f})\">inputs</text>\n",
        kTop + kSide / 2);
  }

  void Legend() {
    double y = kTop + 12;
    const double x = kLeft + kSide + 24;
    svg_ += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
        "stroke=\"#D00000\" stroke-width=\"2\"/>\n",
        x, y - 5, x + 18, y - 5);
    Text(x + 28, y, "start", 13, "red cells: needed within the step");
    for (size_t k = 0; k < plan_.levels.size(); ++k) {
      y += 24;
      const conv::Level& level = plan_.levels[k];
      Rect(x, y - 12, 18, 14, Colour(k), "white");
      std::string text = fmt::format("blocks of {}", level.block);
      if (level.serves == conv::Serves::kNeighbours) {
        text += " to the next block";
      } else if (level.radix != conv::Level::kToTheEnd) {
        text += fmt::format(", {} a parent", level.radix);
      }
      text += fmt::format(", {}", conv::Name(level.tau));
      if (level.serves == conv::Serves::kDistant) text += ", deferred";
      Text(x + 28, y, "start", 13, text);
    }
    if (plan_.Deferred()) {
      y += 30;
      Text(x, y, "start", 12, "Work for a deferred tile may begin one block");
      Text(x, y + 16, "start", 12, "before its left edge, where it is due.");
    }
  }

  const conv::Plan& plan_;
  const double length_;
  std::string svg_;
};

}  // namespace

std::string PlanSvg(const conv::Plan& plan) { return Drawing(plan).Draw(); }

}  // namespace lcsm::bench
