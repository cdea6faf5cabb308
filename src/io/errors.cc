#include "io/errors.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

#include "io/utf8.h"

namespace lcsm::io {

Status FileError(const std::filesystem::path& file, std::string_view action,
                 int error) {
  std::string message =
      fmt::format("{}: cannot be {}: {}", file.string(), action,
                  std::generic_category().message(error));
  switch (error) {
    case ENOENT:
      return NotFound(std::move(message));
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return ResourceExhausted(std::move(message));
    default:
      return InvalidInput(std::move(message));
  }
}

std::string Quoted(std::string_view text, size_t limit) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    if (i >= limit) {
      out += "...";
      break;
    }
    const CodePoint c = DecodeUtf8(text, i);
    const std::string_view bytes = text.substr(i, c.bytes);
    if (!c.valid || c.value < 0x20 || (c.value >= 0x7f && c.value < 0xa0)) {
      for (char byte : bytes) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    } else {
      out += bytes;
    }
    i += c.bytes;
  }
  out += '"';
  return out;
}

}  // namespace lcsm::io
