// The pickle of a torch checkpoint, wrapped into an archive here so that its
// checksums are right, with two storages of 64 bytes beside it.
#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "read_checkpoint.h"

namespace {

// Little-endian numbers of a zip archive.
void Put(uint32_t value, int bytes, std::string* out) {
  for (int i = 0; i < bytes; ++i)
    out->push_back(static_cast<char>(value >> 8 * i));
}

// An archive of stored entries.
class StoredZip {
 public:
  void Add(std::string_view name, std::string_view data) {
    const uint32_t crc = static_cast<uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(data.data()),
              static_cast<uInt>(data.size())));
    std::string common;  // From "version needed" to "extra length".
    Put(20, 2, &common);
    Put(0, 2, &common);   // Flags.
    Put(0, 2, &common);   // Stored.
    Put(0, 2, &common);   // Time.
    Put(33, 2, &common);  // 1 January 1980.
    Put(crc, 4, &common);
    Put(static_cast<uint32_t>(data.size()), 4, &common);
    Put(static_cast<uint32_t>(data.size()), 4, &common);
    Put(static_cast<uint32_t>(name.size()), 2, &common);
    Put(0, 2, &common);

    directory_ += "PK\1\2";
    Put(20, 2, &directory_);
    directory_ += common;
    Put(0, 2, &directory_);  // Comment.
    Put(0, 2, &directory_);  // Disk.
    Put(0, 2, &directory_);
    Put(0, 4, &directory_);
    Put(static_cast<uint32_t>(files_.size()), 4, &directory_);
    directory_ += name;

    files_ += "PK\3\4";
    files_ += common;
    files_ += name;
    files_ += data;
    ++count_;
  }

  std::string Finish() const {
    std::string all = files_ + directory_ + "PK\5\6";
    Put(0, 4, &all);
    Put(count_, 2, &all);
    Put(count_, 2, &all);
    Put(static_cast<uint32_t>(directory_.size()), 4, &all);
    Put(static_cast<uint32_t>(files_.size()), 4, &all);
    Put(0, 2, &all);
    return all;
  }

 private:
  std::string files_;
  std::string directory_;
  uint32_t count_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string storage(64, '\x3f');
  StoredZip zip;
  zip.Add("w/data.pkl",
          std::string_view(reinterpret_cast<const char*>(data), size));
  zip.Add("w/data/0", storage);
  zip.Add("w/data/1", storage);
  const std::string file = zip.Finish();
  ReadCheckpoint(std::as_bytes(std::span(file)));
  return 0;
}
