// For the tests of io only.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "lcsm/status.h"

namespace lcsm::io {

// A folder that goes away with the test.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "lcsm-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no scratch folder";
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const {
    return path_ / name;
  }
  // Everything in it, e.g. to see that nothing was left half-written.
  size_t Count() const {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator(path_)) {
      ++n;
    }
    return n;
  }

 private:
  std::filesystem::path path_;
};

inline void Put(const std::filesystem::path& file, std::string_view contents) {
  std::ofstream out(file, std::ios::binary);
  out.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  ASSERT_TRUE(out.good()) << file;
}

inline std::string Get(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

// The bytes of a value as they lie in memory.
template <typename T>
std::string Raw(const T& value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string SafetensorsBytes(std::string_view header,
                                    std::string_view data) {
  return Raw(uint64_t{header.size()}) + std::string(header) + std::string(data);
}

// A failed Status or StatusOr whose message contains all of `parts`: one
// sentence, on one line.
template <typename... Parts>
void ExpectSentence(const Status& status, const Parts&... parts) {
  EXPECT_FALSE(status.ok());
  for (std::string_view part : {std::string_view(parts)...}) {
    EXPECT_NE(status.message().find(part), std::string::npos)
        << "message: " << status.message() << "\nlacks: " << part;
  }
  EXPECT_EQ(status.message().find('\n'), std::string::npos);
}
template <typename T, typename... Parts>
void ExpectSentence(const StatusOr<T>& result, const Parts&... parts) {
  ExpectSentence(result.status(), parts...);
}

inline std::filesystem::path TestData(std::string_view name) {
  return std::filesystem::path(LCSM_SOURCE_DIR) / "tests/data" / name;
}

}  // namespace lcsm::io
