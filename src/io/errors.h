// The sentences that file trouble has in common. For the .cc files of io.
#pragma once

#include <exception>
#include <filesystem>
#include <new>
#include <stdexcept>
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

// Runs `body`, which gives a Status or StatusOr, and turns what it or the
// standard library throws into a sentence about `file`: memory, in practice,
// because a file may ask for more than there is.
template <typename Body>
auto CatchAll(const std::filesystem::path& file, Body&& body)
    -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted(file.string() +
                             ": needs more memory than the system gives");
  } catch (const std::length_error&) {
    return ResourceExhausted(file.string() +
                             ": needs more memory than can be counted");
  } catch (const std::exception& error) {
    return InternalError(file.string() + ": " + error.what());
  }
}

}  // namespace lcsm::io
