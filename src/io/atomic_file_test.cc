#include "io/atomic_file.h"

#include <gtest/gtest.h>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

TEST(AtomicFileTest, AppearsWholeAtCommit) {
  ScratchFolder folder;
  Put(folder / "f", "old");
  {
    auto file = AtomicFile::Create(folder / "f");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write("new ").ok());
    ASSERT_TRUE(file->Write(std::string(3 << 20, 'x')).ok());
    EXPECT_EQ(Get(folder / "f"), "old");
    ASSERT_TRUE(file->Commit().ok());
  }
  EXPECT_EQ(Get(folder / "f"), "new " + std::string(3 << 20, 'x'));
  EXPECT_EQ(folder.Count(), 1u);
}

TEST(AtomicFileTest, AbandonedLeavesNothing) {
  ScratchFolder folder;
  {
    auto file = AtomicFile::Create(folder / "f");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write(std::string(3 << 20, 'x')).ok());
    AtomicFile moved = std::move(file).value();
    EXPECT_EQ(folder.Count(), 1u);
  }
  EXPECT_EQ(folder.Count(), 0u);
}

TEST(AtomicFileTest, OverwritesItsBeginning) {
  ScratchFolder folder;
  auto file = AtomicFile::Create(folder / "f");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Write("0000 rows").ok());
  const std::string count = "0042";
  ASSERT_TRUE(file->Overwrite(0, std::as_bytes(std::span(count))).ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(Get(folder / "f"), "0042 rows");
  EXPECT_FALSE(file->Write("more").ok());
}

TEST(AtomicFileTest, FollowsALink) {
  ScratchFolder folder;
  Put(folder / "target", "old");
  std::filesystem::create_symlink("target", folder / "link");
  ASSERT_TRUE(WriteFileAtomically(folder / "link", "new").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(Get(folder / "target"), "new");
}

TEST(AtomicFileTest, FullDiskIsASentence) {
  const Status status = WriteFileAtomically("/dev/full", "x");
  ExpectSentence(status, "/dev/full: cannot be written: No space left");
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);

  auto file = AtomicFile::Create("/dev/full");
  ASSERT_TRUE(file.ok());
  ExpectSentence(file->Write(std::string(2 << 20, 'x')), "No space left");
  ExpectSentence(file->Write("x"), "No space left");  // It stays so.
  ExpectSentence(file->Commit(), "No space left");
}

TEST(AtomicFileTest, UnwritableOutputsAreSentences) {
  ScratchFolder folder;
  Put(folder / "file", "");
  ExpectSentence(AtomicFile::Create(folder / "file/out.npy"),
                 "file/out.npy: cannot be written: Not a directory");
  ExpectSentence(AtomicFile::Create(folder / "none/out.npy"),
                 "none/out.npy: cannot be written: No such file");
  ExpectSentence(AtomicFile::Create(folder.path()), "Is a directory");
  EXPECT_EQ(folder.Count(), 1u);
}

TEST(AtomicFileTest, DevicesAreWrittenDirectly) {
  EXPECT_TRUE(WriteFileAtomically("/dev/null", "x").ok());
  auto file = AtomicFile::Create("/dev/null");
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->CanOverwrite());
  const std::string x = "x";
  ExpectSentence(file->Overwrite(0, std::as_bytes(std::span(x))),
                 "/dev/null: is a pipe or device");
}

TEST(ReadFileTest, ReadsWithinALimit) {
  ScratchFolder folder;
  Put(folder / "f", std::string(100000, 'x'));
  EXPECT_EQ(ReadFile(folder / "f", 100000).value().size(), 100000u);
  ExpectSentence(ReadFile(folder / "f", 99999), "f: is larger than expected");
  ExpectSentence(ReadFile(folder / "g", 10), "g: cannot be opened");
  ExpectSentence(ReadFile(folder.path(), 10), "Is a directory");
  EXPECT_EQ(ReadFile("/dev/null", 0).value(), "");
}

}  // namespace
}  // namespace lcsm::io
