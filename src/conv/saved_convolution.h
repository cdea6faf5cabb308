// A convolution's sections of a session file. OnlineConvolution::Save and Load
// write and read them; what is here does the same for who keeps a convolution
// elsewhere, on a device for example.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "conv/plan.h"
#include "io/section_file.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// Inputs that the convolution has taken in whose sections `reader`, which stays
// where it is, stands before. Errors: the file's.
StatusOr<uint64_t> SavedPosition(const io::SectionReader& reader);

// What a session of `plan` would save that has taken no inputs in, and whose
// accumulators hold what came before: [history] rows of HistoryLines(plan)
// lines. `fill` writes them, zeros elsewhere, into rows `stride` floats apart;
// its error is this one's. Other errors: the file's; memory.
Status SaveAccumulators(
    io::SectionWriter& writer, const Plan& plan,
    const std::function<Status(float* lines, size_t stride)>& fill);

// Reads such sections. The first `count` lines of each history go to rows
// `to_stride` floats apart. Errors: the file's, one of a session that has taken
// inputs in or of fewer lines among them; memory.
Status LoadAccumulators(io::SectionReader& reader, const Plan& plan,
                        size_t count, float* to, size_t to_stride);

}  // namespace lcsm::conv
