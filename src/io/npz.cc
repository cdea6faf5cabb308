#include "io/npz.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <limits>

#include "io/errors.h"
#include "io/npy.h"

namespace lcsm::io {
namespace {

// Numbers of PKWARE's APPNOTE.TXT.
constexpr uint32_t kLocalMagic = 0x04034b50, kCentralMagic = 0x02014b50,
                   kEndMagic = 0x06054b50, kEnd64Magic = 0x06064b50,
                   kLocator64Magic = 0x07064b50;
constexpr uint16_t kVersion = 20, kVersion64 = 45;
constexpr uint16_t kMadeOnUnix = 3 << 8;
constexpr uint32_t kMode = 0100644u << 16;
constexpr uint16_t kZip64Extra = 1;
// The first of January 1980, midnight, the least there is: archives of the same
// arrays are the same bytes.
constexpr uint16_t kTime = 0, kDate = (1 << 5) | 1;
constexpr size_t kMaxNameBytes = 200, kMaxCommentBytes = 65535;
constexpr size_t kChecksumAt = 14;  // In the local header.

template <typename T>
void Put(std::string* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out->push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}

template <typename T>
T Capped(uint64_t value, bool zip64) {
  return zip64 ? std::numeric_limits<T>::max() : static_cast<T>(value);
}

uint32_t Checksum(uint32_t checksum, std::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(
      checksum, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

bool IsSafe(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

}  // namespace

StatusOr<NpzWriter> NpzWriter::Create(const std::filesystem::path& path) {
  LCSM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  if (!file.CanOverwrite()) {
    return InvalidInput(fmt::format(
        "{}: is a pipe or device, expected a regular file, because the "
        "checksum of each array stands before its data",
        path.string()));
  }
  return NpzWriter(std::move(file));
}

std::string NpzWriter::UniqueName(std::string_view name) {
  std::string safe(name.substr(0, kMaxNameBytes));
  for (char& c : safe) {
    if (!IsSafe(c)) c = '_';
  }
  if (safe.empty() || safe.front() == '.') safe.insert(safe.begin(), '_');
  std::string unique = safe;
  // The count goes on where it stood: a file of a million equal names is not
  // tried a million times a million.
  size_t& count = names_[safe];
  while (count++ > 0) {
    unique = fmt::format("{}_{}", safe, count);
    if (names_.emplace(unique, 1).second) break;
  }
  return unique;
}

Status NpzWriter::Write(std::string_view bytes) {
  offset_ += bytes.size();
  return file_.Write(bytes);
}

std::string NpzWriter::LocalHeader(const Entry& entry) const {
  const bool zip64 = NeedsZip64(entry.bytes);
  std::string out;
  Put(&out, kLocalMagic);
  Put(&out, zip64 ? kVersion64 : kVersion);
  Put(&out, uint16_t{0});  // Flags.
  Put(&out, uint16_t{0});  // Stored.
  Put(&out, kTime);
  Put(&out, kDate);
  Put(&out, entry.checksum);
  Put(&out, Capped<uint32_t>(entry.bytes, zip64));
  Put(&out, Capped<uint32_t>(entry.bytes, zip64));
  Put(&out, static_cast<uint16_t>(entry.name.size()));
  Put(&out, static_cast<uint16_t>(zip64 ? 20 : 0));
  out += entry.name;
  if (zip64) {
    Put(&out, kZip64Extra);
    Put(&out, uint16_t{16});
    Put(&out, entry.bytes);
    Put(&out, entry.bytes);
  }
  return out;
}

Status NpzWriter::Begin(std::string_view name, std::span<const size_t> shape) {
  if (open_) return InternalError("an array was begun inside another");
  const std::string header = NpyHeader(shape);
  uint64_t bytes = sizeof(float);
  for (const size_t n : shape) bytes *= n;
  Entry entry;
  entry.name = UniqueName(name);
  if (entry.name != name) entry.comment = name.substr(0, kMaxCommentBytes);
  entry.name += ".npy";
  entry.offset = offset_;
  entry.bytes = header.size() + bytes;
  LCSM_RETURN_IF_ERROR(Write(LocalHeader(entry)));
  entry.checksum = Checksum(0, header);
  entries_.push_back(std::move(entry));
  open_ = true;
  missing_ = bytes;
  return Write(header);
}

Status NpzWriter::Append(std::span<const float> values) {
  const std::string_view bytes(reinterpret_cast<const char*>(values.data()),
                               values.size_bytes());
  if (!open_ || bytes.size() > missing_) {
    return InternalError("more values than the array has room for");
  }
  missing_ -= bytes.size();
  entries_.back().checksum = Checksum(entries_.back().checksum, bytes);
  return Write(bytes);
}

Status NpzWriter::End() {
  if (!open_ || missing_ > 0) {
    return InternalError(fmt::format("an array ends {} bytes short", missing_));
  }
  open_ = false;
  std::string checksum;
  Put(&checksum, entries_.back().checksum);
  return file_.Overwrite(entries_.back().offset + kChecksumAt,
                         std::as_bytes(std::span(checksum)));
}

std::string NpzWriter::CentralHeader(const Entry& entry) const {
  const bool large = NeedsZip64(entry.bytes), far = NeedsZip64(entry.offset);
  std::string extra;
  if (large || far) {
    Put(&extra, kZip64Extra);
    Put(&extra, static_cast<uint16_t>((large ? 16 : 0) + (far ? 8 : 0)));
    if (large) {
      Put(&extra, entry.bytes);
      Put(&extra, entry.bytes);
    }
    if (far) Put(&extra, entry.offset);
  }
  std::string out;
  Put(&out, kCentralMagic);
  Put(&out, static_cast<uint16_t>(kMadeOnUnix | kVersion64));
  Put(&out, large || far ? kVersion64 : kVersion);
  Put(&out, uint16_t{0});
  Put(&out, uint16_t{0});
  Put(&out, kTime);
  Put(&out, kDate);
  Put(&out, entry.checksum);
  Put(&out, Capped<uint32_t>(entry.bytes, large));
  Put(&out, Capped<uint32_t>(entry.bytes, large));
  Put(&out, static_cast<uint16_t>(entry.name.size()));
  Put(&out, static_cast<uint16_t>(extra.size()));
  Put(&out, static_cast<uint16_t>(entry.comment.size()));
  Put(&out, uint16_t{0});  // Disk.
  Put(&out, uint16_t{0});  // Binary data.
  Put(&out, kMode);
  Put(&out, Capped<uint32_t>(entry.offset, far));
  return out + entry.name + extra + entry.comment;
}

std::string NpzWriter::EndRecords(uint64_t directory_offset,
                                  std::string_view comment) const {
  const uint64_t count = entries_.size();
  const uint64_t bytes = offset_ - directory_offset;
  const bool many = count >= std::min<uint64_t>(zip64_from_, 0xffff);
  const bool large = NeedsZip64(bytes), far = NeedsZip64(directory_offset);
  std::string out;
  if (many || large || far) {
    Put(&out, kEnd64Magic);
    Put(&out, uint64_t{44});  // Bytes of the rest of this record.
    Put(&out, static_cast<uint16_t>(kMadeOnUnix | kVersion64));
    Put(&out, kVersion64);
    Put(&out, uint32_t{0});
    Put(&out, uint32_t{0});
    Put(&out, count);
    Put(&out, count);
    Put(&out, bytes);
    Put(&out, directory_offset);
    Put(&out, kLocator64Magic);
    Put(&out, uint32_t{0});
    Put(&out, offset_);
    Put(&out, uint32_t{1});
  }
  comment = comment.substr(0, kMaxCommentBytes);
  Put(&out, kEndMagic);
  Put(&out, uint16_t{0});
  Put(&out, uint16_t{0});
  Put(&out, Capped<uint16_t>(count, many));
  Put(&out, Capped<uint16_t>(count, many));
  Put(&out, Capped<uint32_t>(bytes, large));
  Put(&out, Capped<uint32_t>(directory_offset, far));
  Put(&out, static_cast<uint16_t>(comment.size()));
  return out.append(comment);
}

Status NpzWriter::Finish(std::string_view comment) {
  if (open_) return InternalError("the last array was not ended");
  const uint64_t directory_offset = offset_;
  for (const Entry& entry : entries_) {
    LCSM_RETURN_IF_ERROR(Write(CentralHeader(entry)));
  }
  LCSM_RETURN_IF_ERROR(Write(EndRecords(directory_offset, comment)));
  return file_.Commit();
}

}  // namespace lcsm::io
