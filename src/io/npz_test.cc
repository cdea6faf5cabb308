#include "io/npz.h"

#include <gtest/gtest.h>
#include <zip.h>

#include <array>
#include <map>

#include "io/npy.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

constexpr size_t kShape[] = {2, 3};
constexpr size_t kOne[] = {1};
const std::array<float, 6> kValues = {1, 2, 3, 4, 5, 6};

Status Add(NpzWriter& npz, std::string_view name) {
  LCSM_RETURN_IF_ERROR(npz.Begin(name, kShape));
  LCSM_RETURN_IF_ERROR(npz.Append(std::span(kValues).first(2)));
  LCSM_RETURN_IF_ERROR(npz.Append(std::span(kValues).subspan(2)));
  return npz.End();
}

struct Archive {
  std::string comment;
  std::vector<std::string> names;
  std::map<std::string, std::string> data, comments;
};

// As libzip reads it, which checks structure and checksums.
Archive ReadZip(const std::filesystem::path& file) {
  Archive archive;
  int error = 0;
  zip_t* const zip = zip_open(file.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &error);
  EXPECT_NE(zip, nullptr) << error;
  if (zip == nullptr) return archive;
  int length = 0;
  if (const char* text = zip_get_archive_comment(zip, &length, 0)) {
    archive.comment.assign(text, static_cast<size_t>(length));
  }
  for (zip_int64_t i = 0; i < zip_get_num_entries(zip, 0); ++i) {
    const auto index = static_cast<zip_uint64_t>(i);
    const std::string name = zip_get_name(zip, index, 0);
    archive.names.push_back(name);
    zip_stat_t stat;
    EXPECT_EQ(zip_stat_index(zip, index, 0, &stat), 0);
    std::string& data = archive.data[name];
    data.resize(stat.size);
    zip_file_t* const entry = zip_fopen_index(zip, index, 0);
    EXPECT_NE(entry, nullptr);
    EXPECT_EQ(zip_fread(entry, data.data(), stat.size),
              static_cast<zip_int64_t>(stat.size));
    char end = 0;
    EXPECT_EQ(zip_fread(entry, &end, 1), 0);  // The checksum was right.
    zip_fclose(entry);
    zip_uint32_t bytes = 0;
    const char* const comment =
        zip_file_get_comment(zip, index, &bytes, ZIP_FL_ENC_RAW);
    if (bytes > 0) archive.comments[name].assign(comment, bytes);
  }
  zip_discard(zip);
  return archive;
}

TEST(NpzTest, ReadersFindWhatWasWritten) {
  ScratchFolder folder;
  for (const bool zip64 : {false, true}) {
    auto npz = NpzWriter::Create(folder / "a.npz");
    ASSERT_TRUE(npz.ok());
    if (zip64) npz->UseZip64From(1);
    ASSERT_TRUE(Add(*npz, "first").ok());
    ASSERT_TRUE(npz->Begin("one", kOne).ok());
    ASSERT_TRUE(npz->Append(std::span(kValues).first(1)).ok());
    ASSERT_TRUE(npz->End().ok());
    ASSERT_TRUE(npz->Finish("{\"model\": \"m\"}").ok());
    EXPECT_EQ(folder.Count(), 1u);
    const Archive archive = ReadZip(folder / "a.npz");
    EXPECT_EQ(archive.comment, "{\"model\": \"m\"}");
    EXPECT_EQ(archive.names,
              (std::vector<std::string>{"first.npy", "one.npy"}));
    EXPECT_EQ(archive.data.at("first.npy"), NpyHeader(kShape) + Raw(kValues));
    EXPECT_EQ(archive.data.at("one.npy").size(), 128u + 4u);
    EXPECT_NE(archive.data.at("one.npy").find("'shape': (1,), "),
              std::string::npos);
    EXPECT_NE(archive.data.at("first.npy").find("'shape': (2, 3), "),
              std::string::npos);
  }
}

TEST(NpzTest, NamesAreSafeAndUnique) {
  ScratchFolder folder;
  auto npz = NpzWriter::Create(folder / "a.npz");
  ASSERT_TRUE(npz.ok());
  const std::string longest(300, 'x');
  for (const std::string name :
       {"chr1", "chr1", "chr1:5-9", "chr1/5-9", "../../etc/x", "", "chr1_2",
        "\xff|", longest.c_str(), longest.c_str()}) {
    ASSERT_TRUE(Add(*npz, name).ok());
  }
  ASSERT_TRUE(npz->Finish("").ok());
  const Archive archive = ReadZip(folder / "a.npz");
  EXPECT_EQ(
      archive.names,
      (std::vector<std::string>{
          "chr1.npy", "chr1_2.npy", "chr1_5-9.npy", "chr1_5-9_2.npy",
          "_.._.._etc_x.npy", "_.npy", "chr1_2_2.npy", "__.npy",
          std::string(200, 'x') + ".npy", std::string(200, 'x') + "_2.npy"}));
  EXPECT_EQ(archive.comments.count("chr1.npy"), 0u);
  EXPECT_EQ(archive.comments.at("chr1_2.npy"), "chr1");
  EXPECT_EQ(archive.comments.at("chr1_5-9.npy"), "chr1:5-9");
  EXPECT_EQ(archive.comments.at("_.._.._etc_x.npy"), "../../etc/x");
}

TEST(NpzTest, MoreEntriesThanSixteenBitsCount) {
  ScratchFolder folder;
  auto npz = NpzWriter::Create(folder / "a.npz");
  ASSERT_TRUE(npz.ok());
  constexpr size_t kNone[] = {0, 4};
  for (int i = 0; i < 66000; ++i) {
    ASSERT_TRUE(npz->Begin("r", kNone).ok());
    ASSERT_TRUE(npz->End().ok());
  }
  ASSERT_TRUE(npz->Finish("").ok());
  int error = 0;
  zip_t* const zip = zip_open((folder / "a.npz").c_str(), ZIP_RDONLY, &error);
  ASSERT_NE(zip, nullptr);
  EXPECT_EQ(zip_get_num_entries(zip, 0), 66000);
  EXPECT_STREQ(zip_get_name(zip, 65999, 0), "r_66000.npy");
  zip_discard(zip);
}

TEST(NpzTest, WholeOrNotAtAll) {
  ScratchFolder folder;
  {
    auto npz = NpzWriter::Create(folder / "a.npz");
    ASSERT_TRUE(npz.ok());
    ASSERT_TRUE(Add(*npz, "a").ok());
    ASSERT_TRUE(npz->Begin("b", kShape).ok());
    EXPECT_FALSE(npz->Begin("c", kShape).ok());
    EXPECT_FALSE(npz->End().ok());
    EXPECT_FALSE(npz->Finish("").ok());
    EXPECT_FALSE(npz->Append(std::vector<float>(7)).ok());
  }
  EXPECT_EQ(folder.Count(), 0u);
  ExpectSentence(NpzWriter::Create("/dev/null"),
                 "/dev/null: is a pipe or device, expected a regular file");
  ExpectSentence(NpzWriter::Create(folder / "no/a.npz"), "no/a.npz");
}

}  // namespace
}  // namespace lcsm::io
