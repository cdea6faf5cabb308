#include "io/torch_archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <string_view>
#include <utility>

#include "io/errors.h"

namespace lcsm::io {
namespace {

constexpr std::string_view kPickleName = "data.pkl";
// The first bytes of torch's format before 1.6: a pickled magic number.
constexpr std::string_view kLegacyMagic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46";

// Says what a file is that begins so, if it is not a zip archive.
Status CheckMagic(std::string_view start, const std::string& file) {
  if (start.starts_with("PK")) return OkStatus();
  if (start.starts_with(kLegacyMagic)) {
    return Unsupported(fmt::format(
        "{}: is in torch's format from before version 1.6, expected a zip "
        "archive: load it with a current torch and save it again",
        file));
  }
  return InvalidInput(fmt::format(
      "{}: begins with {}, expected a torch checkpoint, which is a zip archive "
      "and begins with \"PK\"",
      file, Quoted(start.substr(0, 8))));
}

}  // namespace

StatusOr<std::unique_ptr<TorchArchive>> TorchArchive::Open(
    const std::filesystem::path& path, const Limits& limits) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return FileError(path, "read", EISDIR);
  std::ifstream in(path, std::ios::binary);
  if (!in) return FileError(path, "opened", errno != 0 ? errno : EIO);
  std::array<char, 8> start = {};
  in.read(start.data(), start.size());
  LCSM_RETURN_IF_ERROR(CheckMagic(
      std::string_view(start.data(), static_cast<size_t>(in.gcount())),
      path.string()));
  in.close();
  const uintmax_t file_bytes = std::filesystem::file_size(path, error);
  if (error) return FileError(path, "read", error.value());

  zip_error_t zip_error;
  zip_error_init(&zip_error);
  zip_source_t* source =
      zip_source_file_create(path.c_str(), 0, -1, &zip_error);
  zip_error_fini(&zip_error);
  if (source == nullptr) return FileError(path, "opened", ENOMEM);
  std::unique_ptr<TorchArchive> archive(new TorchArchive(path.string()));
  LCSM_RETURN_IF_ERROR(archive->Load(source, file_bytes, limits));
  return archive;
}

StatusOr<std::unique_ptr<TorchArchive>> TorchArchive::OpenBytes(
    std::span<const std::byte> bytes, const std::string& file,
    const Limits& limits) {
  LCSM_RETURN_IF_ERROR(
      CheckMagic(std::string_view(reinterpret_cast<const char*>(bytes.data()),
                                  bytes.size()),
                 file));
  zip_error_t zip_error;
  zip_error_init(&zip_error);
  zip_source_t* source =
      zip_source_buffer_create(bytes.data(), bytes.size(), 0, &zip_error);
  zip_error_fini(&zip_error);
  if (source == nullptr) return FileError(file, "opened", ENOMEM);
  std::unique_ptr<TorchArchive> archive(new TorchArchive(file));
  LCSM_RETURN_IF_ERROR(archive->Load(source, bytes.size(), limits));
  return archive;
}

TorchArchive::~TorchArchive() {
  if (zip_ != nullptr) zip_discard(zip_);
}

Status TorchArchive::Load(zip_source_t* source, size_t file_bytes,
                          const Limits& limits) {
  zip_error_t error;
  zip_error_init(&error);
  zip_ = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (zip_ == nullptr) {
    Status status = InvalidInput(
        fmt::format("{}: is a damaged zip archive ({}), expected a torch "
                    "checkpoint (cut short?)",
                    file_, zip_error_strerror(&error)));
    zip_error_fini(&error);
    zip_source_free(source);
    return status;
  }
  zip_error_fini(&error);
  max_bytes_ = file_bytes * limits.expansion + limits.slack_bytes;

  const zip_int64_t count = zip_get_num_entries(zip_, 0);
  if (count < 0 || static_cast<size_t>(count) > limits.entries) {
    return InvalidInput(fmt::format("{}: has {} entries, expected at most {}",
                                    file_, count, limits.entries));
  }
  bool found = false;
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    const auto index = static_cast<zip_uint64_t>(i);
    constexpr zip_uint64_t kNeeded =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(zip_, index, ZIP_FL_ENC_RAW, &stat) != 0 ||
        (stat.valid & kNeeded) != kNeeded) {
      return InvalidInput(fmt::format(
          "{}: entry {} of the archive is damaged, expected its name and size",
          file_, i));
    }
    const std::string name = stat.name;
    if (!entries_.emplace(name, Entry{index, stat.size, stat.comp_method})
             .second) {
      return InvalidInput(fmt::format("{}: has two entries {}, expected one",
                                      file_, Quoted(name, 200)));
    }
    // Depth 0 or 1: deeper ones are other people's.
    const size_t slash = name.rfind('/');
    const std::string folder =
        slash == std::string::npos ? "" : name.substr(0, slash + 1);
    if (std::string_view(name).substr(folder.size()) != kPickleName ||
        std::count(folder.begin(), folder.end(), '/') > 1) {
      continue;
    }
    if (found) {
      return InvalidInput(fmt::format(
          "{}: has more than one entry data.pkl, expected one", file_));
    }
    found = true;
    root_ = folder;
  }
  if (!found) {
    return InvalidInput(
        fmt::format("{}: is a zip archive without the entry data.pkl, expected "
                    "a torch checkpoint",
                    file_));
  }
  return OkStatus();
}

bool TorchArchive::Has(const std::string& entry) const {
  return entries_.contains(entry);
}

size_t TorchArchive::Size(const std::string& entry) const {
  return entries_.at(entry).bytes;
}

StatusOr<std::vector<std::byte>> TorchArchive::Read(const std::string& entry) {
  const auto damaged = [&](std::string_view why) {
    return InvalidInput(
        fmt::format("{}: entry {} is damaged ({}), expected {} bytes", file_,
                    Quoted(entry, 200), why, Size(entry)));
  };
  const auto it = entries_.find(entry);
  if (it == entries_.end()) {
    return InvalidInput(
        fmt::format("{}: lacks the entry {}, expected it there "
                    "because a tensor lies in it",
                    file_, Quoted(entry, 200)));
  }
  if (it->second.method != ZIP_CM_STORE &&
      it->second.method != ZIP_CM_DEFLATE) {
    return Unsupported(fmt::format(
        "{}: entry {} is compressed by method {}, expected 0 (stored) or 8 "
        "(deflated)",
        file_, Quoted(entry, 200), it->second.method));
  }
  const size_t bytes = it->second.bytes;
  if (bytes > max_bytes_) {
    return InvalidInput(fmt::format(
        "{}: entry {} unpacks to {} bytes, expected at most {} from a file of "
        "this size (a zip bomb?)",
        file_, Quoted(entry, 200), bytes, max_bytes_));
  }
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> in(
      zip_fopen_index(zip_, it->second.index, 0), &zip_fclose);
  if (in == nullptr) return damaged(zip_strerror(zip_));

  // Memory grows with what really comes, not with what the directory promises.
  constexpr size_t kFirstBytes = size_t{4} << 20;
  std::vector<std::byte> data(std::min(bytes, kFirstBytes));
  size_t got = 0;
  while (got < bytes) {
    if (got == data.size()) data.resize(std::min(bytes, 2 * data.size()));
    const zip_int64_t n =
        zip_fread(in.get(), data.data() + got, data.size() - got);
    if (n < 0) return damaged(zip_file_strerror(in.get()));
    if (n == 0) return damaged(fmt::format("ends after {}", got));
    got += static_cast<size_t>(n);
  }
  std::byte extra;  // The checksum is looked at when the end is reached.
  const zip_int64_t n = zip_fread(in.get(), &extra, 1);
  if (n < 0) return damaged(zip_file_strerror(in.get()));
  if (n > 0) return damaged("goes on");
  return data;
}

}  // namespace lcsm::io
