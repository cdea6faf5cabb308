#include "io/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "io/errors.h"

namespace lcsm::io {
namespace {

constexpr size_t kHeaderBytes = 128;  // Room for any three numbers.
constexpr size_t kMaxIdFileBytes = size_t{1} << 30;

}  // namespace

// Version 1.0: magic, version, length of the rest, a Python dict, blanks and a
// newline, a multiple of 64 bytes in all.
std::string NpyHeader(std::span<const size_t> shape) {
  std::string header("\x93NUMPY\x01\x00", 8);
  const uint16_t rest = kHeaderBytes - 10;
  header.push_back(static_cast<char>(rest & 0xff));
  header.push_back(static_cast<char>(rest >> 8));
  header += fmt::format(
      "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{}), }}",
      fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  header.resize(kHeaderBytes - 1, ' ');
  header.push_back('\n');
  return header;
}

StatusOr<NpyWriter> NpyWriter::Create(const std::filesystem::path& path,
                                      size_t columns,
                                      std::optional<size_t> rows) {
  if (columns == 0) return InternalError("a .npy file of rows without columns");
  LCSM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  if (!rows.has_value() && !file.CanOverwrite()) {
    return InvalidInput(fmt::format(
        "{}: is a pipe or device, expected a regular file, because the number "
        "of rows is only known at the end",
        path.string()));
  }
  NpyWriter writer(std::move(file), columns, rows);
  LCSM_RETURN_IF_ERROR(
      writer.file_.Write(NpyHeader(std::array{rows.value_or(0), columns})));
  return writer;
}

Status NpyWriter::Append(std::span<const float> values) {
  if (values.size() % columns_ != 0) {
    return InternalError(fmt::format("{} values are no whole rows of {}",
                                     values.size(), columns_));
  }
  rows_ += values.size() / columns_;
  if (announced_.has_value() && rows_ > *announced_) {
    return InternalError(
        fmt::format("more than the announced {} rows", *announced_));
  }
  return file_.Write(std::as_bytes(values));
}

Status NpyWriter::Finish() {
  if (!announced_.has_value()) {
    const std::string header = NpyHeader(std::array{rows_, columns_});
    LCSM_RETURN_IF_ERROR(file_.Overwrite(0, std::as_bytes(std::span(header))));
  } else if (rows_ != *announced_) {
    return InternalError(
        fmt::format("{} rows instead of the announced {}", rows_, *announced_));
  }
  return file_.Commit();
}

StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text,
                                             const std::string& file,
                                             size_t vocab) {
  const auto is_space = [](char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' ||
           c == '\f';
  };
  const size_t limit =
      std::min(vocab, size_t{std::numeric_limits<int32_t>::max()});
  std::vector<int32_t> ids;
  size_t line = 1;
  for (size_t i = 0; i < text.size();) {
    if (is_space(text[i])) {
      line += text[i++] == '\n';
      continue;
    }
    const size_t begin = i;
    while (i < text.size() && !is_space(text[i])) ++i;
    const std::string_view word = text.substr(begin, i - begin);
    size_t id = 0;
    const auto [end, error] =
        std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() ||
        id >= limit) {
      return InvalidInput(
          fmt::format("{}: line {} has {}, expected token ids from 0 to {}",
                      file, line, Quoted(word), limit == 0 ? 0 : limit - 1));
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  if (ids.empty()) {
    return InvalidInput(fmt::format(
        "{}: holds no token ids, expected whitespace-separated numbers", file));
  }
  return ids;
}

StatusOr<std::vector<int32_t>> ReadTokenIds(const std::filesystem::path& file,
                                            size_t vocab) {
  return CatchAll(file, [&]() -> StatusOr<std::vector<int32_t>> {
    LCSM_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(file, kMaxIdFileBytes));
    return ParseTokenIds(text, file.string(), vocab);
  });
}

}  // namespace lcsm::io
