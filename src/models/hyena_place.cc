#include "models/hyena_place.h"

#include <fmt/format.h>

#include <cstdint>
#include <span>

namespace lcsm {

Status HyenaPlace::Save(io::SectionWriter& writer) const {
  const uint64_t numbers[] = {origin, horizon, pending, apart};
  return writer.PutArray("state", std::span<const uint64_t>(numbers));
}

StatusOr<HyenaPlace> HyenaPlace::Load(io::SectionReader& reader, size_t horizon,
                                      size_t steps) {
  uint64_t numbers[4] = {};
  LCSM_RETURN_IF_ERROR(reader.GetArray("state", std::span<uint64_t>(numbers)));
  const HyenaPlace place = {numbers[0], numbers[1], numbers[2],
                            numbers[3] != 0};
  if (place.origin > place.horizon || place.horizon > horizon ||
      place.pending > place.horizon - place.origin ||
      (place.apart && place.pending == 0) ||
      (!place.apart && place.pending > steps)) {
    return InvalidInput(fmt::format(
        "{}: stands at {} of {} positions with {} prepared, expected a place "
        "that the session's {} positions and {} steps allow",
        reader.name(), place.origin, place.horizon, place.pending, horizon,
        steps));
  }
  return place;
}

Status HyenaPlace::CheckPosition(const io::SectionReader& reader,
                                 size_t position) const {
  if (position <= horizon) return OkStatus();
  return InvalidInput(
      fmt::format("{}: stands at position {}, expected at most {}",
                  reader.name(), position, horizon));
}

}  // namespace lcsm
