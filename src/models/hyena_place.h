// Where a session of a Hyena model stands, which is what its file says first;
// shared by states on the CPU and on devices, which read each other's files.
#pragma once

#include <cstddef>

#include "io/section_file.h"
#include "lcsm/status.h"

namespace lcsm {

struct HyenaPlace {
  // Positions that went in layer by layer. Steps are counted from here on by
  // the convolution, in its own part of the file.
  size_t origin = 0;
  // Positions that the session may have in all.
  size_t horizon = 0;
  // Positions from `origin` on for which contributions of earlier ones are
  // there: in memory apart from the convolution, or else in its accumulators.
  size_t pending = 0;
  bool apart = false;

  Status Save(io::SectionWriter& writer) const;
  // Of a file for a session of up to `horizon` positions, `steps` of them by
  // steps. Errors: the file's; a place that such a session cannot stand at.
  static StatusOr<HyenaPlace> Load(io::SectionReader& reader, size_t horizon,
                                   size_t steps);
  // After the convolution's part: that `position` is within the horizon.
  Status CheckPosition(const io::SectionReader& reader, size_t position) const;
};

}  // namespace lcsm
