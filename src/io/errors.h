// The sentences that file trouble has in common. For the .cc files of io.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "lcsm/status.h"

namespace lcsm::io {

// "FILE: cannot be ACTION: REASON", from an errno: NotFound for a missing file,
// ResourceExhausted for a full disk, quota or memory, else InvalidInput.
Status FileError(const std::filesystem::path& file, std::string_view action,
                 int error);

// `text` fit for a message: in double quotes, at most `limit` bytes of it,
// control characters and broken UTF-8 as \xNN.
std::string Quoted(std::string_view text, size_t limit = 60);

}  // namespace lcsm::io
