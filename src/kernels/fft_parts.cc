#include "kernels/fft_parts.h"

#include <algorithm>
#include <bit>

namespace lcsm {
namespace {

class Maker {
 public:
  Maker(size_t grain, std::vector<FftPart>& parts)
      : grain_(std::max<size_t>(grain, 4)), parts_(parts) {}

  // A pass over `points` points in four (or two) parts of `width` each.
  void Pass(FftPart part, size_t width) {
    const size_t step = std::max<size_t>(1, grain_ / 4);
    for (size_t begin = 0; begin < width; begin += step) {
      part.begin = begin;
      part.end = std::min(width, begin + step);
      parts_.push_back(part);
    }
  }

  void Block(size_t depth, size_t index, size_t points) {
    if (points <= grain_) {
      parts_.push_back({FftPart::Kind::kDescend, depth, index, points, 0, 0});
      return;
    }
    Pass({FftPart::Kind::kSplit, depth, index, points, 0, 0}, points / 4);
    for (size_t k = 0; k < 4; ++k) {
      Block(depth + 1, 4 * index + k, points / 4);
    }
    Pass({FftPart::Kind::kJoin, depth, index, points, 0, 0}, points / 4);
  }

 private:
  const size_t grain_;
  std::vector<FftPart>& parts_;
};

}  // namespace

std::vector<FftPart> MakeFftParts(const FftTables& tables, size_t grain) {
  std::vector<FftPart> parts;
  Maker maker(grain, parts);
  const size_t ways = tables.starts_with_two() ? 2 : 4;
  const size_t width = tables.block() / ways;
  maker.Pass({FftPart::Kind::kInput, 0, 0, tables.block(), 0, 0}, width);
  for (size_t k = 0; k < ways; ++k) {
    maker.Block(tables.starts_with_two() ? 0 : 1, k, width);
  }
  maker.Pass({FftPart::Kind::kOutput, 0, 0, tables.block(), 0, 0}, width);
  return parts;
}

FftPartWork WorkOf(const FftTables& tables, const FftPart& part) {
  constexpr size_t kFar = 2, kProduct = 4;
  switch (part.kind) {
    case FftPart::Kind::kDescend:
      // log4 of the points passes each way.
      return {
          part.points * std::max<size_t>(1, std::bit_width(part.points) - 1),
          kProduct * part.points};
    case FftPart::Kind::kInput:
    case FftPart::Kind::kOutput:
      return {
          kFar * (tables.starts_with_two() ? 2 : 4) * (part.end - part.begin),
          0};
    case FftPart::Kind::kSplit:
    case FftPart::Kind::kJoin:
      break;
  }
  return {kFar * 4 * (part.end - part.begin), 0};
}

}  // namespace lcsm
