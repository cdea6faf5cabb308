#include "io/section_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "io/errors.h"
#include "io/hash.h"

namespace lcsm::io {
namespace {

// A magic that a transfer as text would change, as in PNG.
constexpr std::array<char, 8> kMagic = {'L',  'C',  'S',    'M',
                                        '\r', '\n', '\x1a', '\n'};
constexpr uint64_t kVersion = 1;
constexpr size_t kMaxHeader = size_t{1} << 24;
constexpr size_t kMaxName = 256;

using Number = std::array<std::byte, 8>;

Number ToBytes(uint64_t number) {
  Number bytes;
  for (size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<std::byte>(number >> (8 * i));
  }
  return bytes;
}

uint64_t FromBytes(const std::byte* bytes) {
  uint64_t number = 0;
  for (size_t i = 0; i < 8; ++i) {
    number |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  }
  return number;
}

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Name and contents: a section that is whole but in another's place is not
// right either.
uint64_t SectionChecksum(std::string_view name,
                         std::span<const std::byte> bytes) {
  return Checksum(bytes) ^ (Checksum(Bytes(name)) * 0x9E3779B97F4A7C15u);
}

}  // namespace

StatusOr<SectionWriter> SectionWriter::Create(const std::filesystem::path& path,
                                              std::string_view header) {
  LCSM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  SectionWriter writer(std::move(file));
  std::string front(kMagic.begin(), kMagic.end());
  const auto number = [&front](uint64_t n) {
    const Number bytes = ToBytes(n);
    front.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  number(kVersion);
  number(header.size());
  front += header;
  number(Checksum(Bytes(front)));
  LCSM_RETURN_IF_ERROR(writer.file_.Write(front));
  return writer;
}

Status SectionWriter::Put(std::string_view name,
                          std::span<const std::byte> bytes) {
  LCSM_RETURN_IF_ERROR(file_.Write(ToBytes(name.size())));
  LCSM_RETURN_IF_ERROR(file_.Write(name));
  LCSM_RETURN_IF_ERROR(file_.Write(ToBytes(bytes.size())));
  LCSM_RETURN_IF_ERROR(file_.Write(bytes));
  return file_.Write(ToBytes(SectionChecksum(name, bytes)));
}

Status SectionWriter::Finish() {
  LCSM_RETURN_IF_ERROR(file_.Write(ToBytes(0)));
  LCSM_RETURN_IF_ERROR(
      file_.Write(std::string_view(kMagic.data(), kMagic.size())));
  return file_.Commit();
}

Status SectionReader::Damaged(std::string_view what) const {
  return InvalidInput(fmt::format(
      "{}: {}, expected a whole session file as it was written", name_, what));
}

StatusOr<SectionReader::Section> SectionReader::SectionAt(size_t at,
                                                          size_t* next) const {
  const std::span<const std::byte> all = file_->bytes();
  const Status cut = Damaged("is cut short");
  const auto take = [&](size_t n) { return n <= all.size() - at; };
  Section section;
  if (!take(8)) return cut;
  const uint64_t name_size = FromBytes(all.data() + at);
  at += 8;
  if (name_size == 0) {
    if (!take(kMagic.size())) return cut;
    if (std::memcmp(all.data() + at, kMagic.data(), kMagic.size()) != 0 ||
        at + kMagic.size() != all.size()) {
      return Damaged("does not end where it should");
    }
    *next = all.size();
    return section;
  }
  if (name_size > kMaxName) return Damaged("has a damaged section");
  if (!take(name_size)) return cut;
  section.name = {reinterpret_cast<const char*>(all.data() + at), name_size};
  at += name_size;
  if (!take(8)) return cut;
  const uint64_t size = FromBytes(all.data() + at);
  at += 8;
  if (size > all.size() - at) return cut;
  section.bytes = all.subspan(at, size);
  at += size;
  if (!take(8)) return cut;
  section.checksum = FromBytes(all.data() + at);
  *next = at + 8;
  return section;
}

StatusOr<SectionReader> SectionReader::Open(const std::filesystem::path& path) {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file,
                        MappedFile::Open(path));
  SectionReader reader;
  reader.file_ = std::move(file);
  reader.name_ = path.string();
  const std::span<const std::byte> all = reader.file_->bytes();
  if (all.size() < kMagic.size() ||
      std::memcmp(all.data(), kMagic.data(), kMagic.size()) != 0) {
    return reader.Damaged("is no session file");
  }
  const size_t front = kMagic.size() + 16;
  if (all.size() < front) return reader.Damaged("is cut short");
  const uint64_t version = FromBytes(all.data() + kMagic.size());
  if (version != kVersion) {
    return Unsupported(fmt::format(
        "{}: is a session file of version {}, expected version {}, which is "
        "what this program reads",
        reader.name_, version, kVersion));
  }
  const uint64_t size = FromBytes(all.data() + kMagic.size() + 8);
  if (size > kMaxHeader) return reader.Damaged("has a damaged header");
  if (size + 8 > all.size() - front) return reader.Damaged("is cut short");
  if (FromBytes(all.data() + front + size) !=
      Checksum(all.first(front + size))) {
    return reader.Damaged("has a damaged header");
  }
  reader.header_.assign(reinterpret_cast<const char*>(all.data() + front),
                        size);
  reader.at_ = front + size + 8;
  // Walked once to the end, so that a file cut short is known before anything
  // is read.
  for (size_t at = reader.at_;;) {
    LCSM_ASSIGN_OR_RETURN(const Section section, reader.SectionAt(at, &at));
    if (section.name.empty()) break;
  }
  return reader;
}

size_t SectionReader::NextSize() const {
  size_t next = 0;
  const StatusOr<Section> section = SectionAt(at_, &next);
  return section.ok() ? section->bytes.size() : 0;
}

Status SectionReader::Get(std::string_view name, std::span<std::byte> bytes) {
  size_t next = 0;
  LCSM_ASSIGN_OR_RETURN(const Section section, SectionAt(at_, &next));
  if (section.name != name || section.bytes.size() != bytes.size()) {
    return Damaged(
        fmt::format("has {} of {} bytes where {} of {} belong",
                    section.name.empty() ? "its end" : Quoted(section.name),
                    section.bytes.size(), Quoted(name), bytes.size()));
  }
  std::copy(section.bytes.begin(), section.bytes.end(), bytes.begin());
  // Of the copy: the file may change at any time.
  if (SectionChecksum(name, bytes) != section.checksum) {
    return Damaged(fmt::format("has a damaged section {}", Quoted(name)));
  }
  LCSM_RETURN_IF_ERROR(file_->CheckIntact());
  at_ = next;
  return OkStatus();
}

Status SectionReader::Finish() const {
  size_t next = 0;
  LCSM_ASSIGN_OR_RETURN(const Section section, SectionAt(at_, &next));
  if (section.name.empty()) return OkStatus();
  return Damaged(
      fmt::format("has an unknown section {}", Quoted(section.name)));
}

}  // namespace lcsm::io
