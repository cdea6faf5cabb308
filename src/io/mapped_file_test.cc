#include "io/mapped_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <numeric>
#include <thread>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

long Sum(std::span<const std::byte> bytes) {
  return std::accumulate(
      bytes.begin(), bytes.end(), 0L,
      [](long sum, std::byte b) { return sum + std::to_integer<long>(b); });
}

TEST(MappedFileTest, ShowsTheFile) {
  ScratchFolder folder;
  Put(folder / "f", "hello");
  auto file = MappedFile::Open(folder / "f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 5u);
  EXPECT_EQ(std::memcmp((*file)->data(), "hello", 5), 0);
  EXPECT_TRUE((*file)->CheckIntact().ok());
}

TEST(MappedFileTest, EmptyFileIsFine) {
  ScratchFolder folder;
  Put(folder / "f", "");
  auto file = MappedFile::Open(folder / "f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 0u);
  EXPECT_TRUE((*file)->CheckIntact().ok());
}

TEST(MappedFileTest, RefusesWhatIsNoFile) {
  ScratchFolder folder;
  const auto missing = MappedFile::Open(folder / "none");
  ExpectSentence(missing, (folder / "none").string(),
                 "cannot be opened: No such file");
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  ExpectSentence(MappedFile::Open(folder.path()),
                 "is a folder, expected a regular file");
  ExpectSentence(MappedFile::Open("/dev/null"), "expected a regular file");
}

TEST(MappedFileTest, CutShortWhileMappedIsASentence) {
  ScratchFolder folder;
  const size_t bytes = 1 << 20;
  Put(folder / "f", std::string(bytes, '\1'));
  Put(folder / "g", std::string(bytes, '\1'));
  auto file = MappedFile::Open(folder / "f");
  auto other = MappedFile::Open(folder / "g");
  ASSERT_TRUE(file.ok() && other.ok());
  EXPECT_EQ(Sum((*file)->bytes()), static_cast<long>(bytes));

  ASSERT_EQ(truncate((folder / "f").c_str(), 10000), 0);
  // Reading goes on, with zeros where the file is gone, from any thread.
  EXPECT_EQ(Sum((*file)->bytes()), 10000);
  std::thread([&] { EXPECT_EQ(Sum((*file)->bytes()), 10000); }).join();
  ExpectSentence(
      (*file)->CheckIntact(), (folder / "f").string(),
      "was cut short while in use: now 10000 bytes, expected 1048576");
  EXPECT_TRUE((*other)->CheckIntact().ok());
  EXPECT_EQ(Sum((*other)->bytes()), static_cast<long>(bytes));

  // A file that grows back is still not what we read.
  Put(folder / "f", std::string(bytes, '\1'));
  ExpectSentence((*file)->CheckIntact(), "could not be read while in use");
}

TEST(MappedFileTest, CutWithinTheLastPageIsNoticedToo) {
  ScratchFolder folder;
  Put(folder / "f", std::string(1000, '\1'));
  auto file = MappedFile::Open(folder / "f");
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(truncate((folder / "f").c_str(), 999), 0);
  ExpectSentence((*file)->CheckIntact(), "now 999 bytes, expected 1000");
}

TEST(MappedFileTest, ManyAtOnceUpToALimit) {
  ScratchFolder folder;
  Put(folder / "f", "x");
  std::vector<std::unique_ptr<MappedFile>> files;
  Status status;
  // Descriptors may run out before slots do: either is a sentence.
  while (files.size() < 2000) {
    auto file = MappedFile::Open(folder / "f");
    if (!file.ok()) {
      status = file.status();
      break;
    }
    files.push_back(std::move(file).value());
  }
  ExpectSentence(status, (folder / "f").string());
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  files.clear();
  EXPECT_TRUE(MappedFile::Open(folder / "f").ok());
}

TEST(MappedFileTest, ForeignFaultsStillKill) {
  ScratchFolder folder;
  Put(folder / "f", std::string(8192, '\1'));
  ASSERT_TRUE(MappedFile::Open(folder / "f").ok());  // Installs the handler.
  EXPECT_DEATH(
      {
        FILE* file = fopen((folder / "f").c_str(), "r+");
        const char* p = static_cast<const char*>(
            mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fileno(file), 0));
        if (truncate((folder / "f").c_str(), 0) != 0) _exit(0);
        _exit(*const_cast<const volatile char*>(p + 5000));
      },
      "");
}

}  // namespace
}  // namespace lcsm::io
