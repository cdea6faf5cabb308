#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

constexpr std::string_view kGood =
    R"({"__metadata__":{"format":"pt"},)"
    R"("a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
    R"("b":{"dtype":"I64","shape":[],"data_offsets":[8,16]},)"
    R"("c":{"dtype":"F16","shape":[0,5],"data_offsets":[16,16]}})";

StatusOr<SafetensorsHeader> Parse(std::string_view file) {
  return ParseSafetensors(std::as_bytes(std::span(file)), "w.safetensors");
}
StatusOr<SafetensorsHeader> ParseHeader(std::string_view header,
                                        size_t data_bytes = 8) {
  return Parse(SafetensorsBytes(header, std::string(data_bytes, '\0')));
}

TEST(SafetensorsTest, ReadsAFile) {
  ScratchFolder folder;
  Put(folder / "model.safetensors",
      SafetensorsBytes(kGood, Raw(1.5f) + Raw(-2.0f) + Raw(int64_t{7})));
  for (const auto& path : {folder.path(), folder / "model.safetensors"}) {
    auto set = WeightSet::Open(path);
    ASSERT_TRUE(set.ok()) << set.status().message();
    EXPECT_EQ((*set)->tensors().size(), 3u);
    const TensorView* a = (*set)->Find("a");
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->shape, (std::vector<size_t>{2, 1}));
    float values[2];
    ASSERT_TRUE(CopyToFloat32(*a, values).ok());
    EXPECT_EQ(values[0], 1.5f);
    EXPECT_EQ(values[1], -2.0f);
    EXPECT_EQ((*set)->Find("b")->elements(), 1u);
    EXPECT_EQ((*set)->Find("c")->elements(), 0u);
    EXPECT_EQ((*set)->Find("d"), nullptr);
    EXPECT_EQ((*set)->metadata().at("format"), "pt");
    EXPECT_EQ((*set)->file_bytes(), 8 + kGood.size() + 16);
    EXPECT_TRUE((*set)->CheckIntact().ok());
  }
}

TEST(SafetensorsTest, ReadsThePublishedShape) {
  auto set = WeightSet::Open(TestData("golden/hyenadna-tiny-1k-hf"));
  ASSERT_TRUE(set.ok()) << set.status().message();
  const TensorView* tensor =
      (*set)->Find("hyena.backbone.layers.0.mixer.filter_fn.pos_emb.z");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, (std::vector<size_t>{1, 1026, 5}));
  EXPECT_EQ(tensor->dtype, DType::kF32);
}

TEST(SafetensorsTest, MissingFilesAreSentences) {
  ScratchFolder folder;
  ExpectSentence(WeightSet::Open(folder / "none.safetensors"),
                 "none.safetensors: cannot be opened: No such file");
  ExpectSentence(WeightSet::Open(folder.path()), folder.path().string(),
                 "holds no weights, expected model.safetensors or");
  Put(folder / "weights.ckpt", "");
  ExpectSentence(WeightSet::Open(folder.path()), "`lcsm convert`");
}

TEST(SafetensorsTest, TruncatedAnywhereIsASentence) {
  const std::string whole = SafetensorsBytes(kGood, std::string(16, '\0'));
  ASSERT_TRUE(Parse(whole).ok());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    ExpectSentence(Parse(whole.substr(0, bytes)),
                   "w.safetensors: ", "expected");
  }
}

TEST(SafetensorsTest, BadHeadersAreSentences) {
  ExpectSentence(Parse("short"), "is 5 bytes long, expected a safetensors");
  ExpectSentence(Parse(Raw(uint64_t{100}) + "{}"),
                 "the header length is 100, expected at most 2");
  ExpectSentence(Parse(Raw(~uint64_t{0}) + "{}"), "the header length is 184");
  ExpectSentence(Parse("PK\3\4 wrong magic altogether"), "the header length");
  ExpectSentence(ParseHeader("[]"), "the header begins with \"[]\"");
  ExpectSentence(ParseHeader(" {}"), "the header begins with");
  ExpectSentence(ParseHeader(""), "the header begins with");
  ExpectSentence(ParseHeader("{\"a\""), "ends within its JSON");
  ExpectSentence(ParseHeader("{} x"), "is not well-formed JSON");
  ExpectSentence(
      ParseHeader(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
      "the key \"a\" stands twice");
  ExpectSentence(ParseHeader(R"({"__metadata__":{"a":1}})", 0),
                 "__metadata__ entry \"a\" is 1, expected a string");
  ExpectSentence(ParseHeader(R"({"__metadata__":3})", 0),
                 "__metadata__ is 3, expected an object of strings");
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "{\"a\":";
  ExpectSentence(ParseHeader(deep), "deeper than 64 levels");
}

TEST(SafetensorsTest, BadTensorsAreSentences) {
  const auto parse = [](std::string_view entry, size_t data_bytes = 8) {
    return ParseHeader("{\"x\":" + std::string(entry) + "}", data_bytes);
  };
  ExpectSentence(parse("5"), "the entry of tensor \"x\" is 5");
  ExpectSentence(parse(R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})"),
                 "dtype of tensor \"x\" is \"F31\", expected a dtype");
  ExpectSentence(parse(R"({"shape":[2],"data_offsets":[0,8]})"),
                 "dtype of tensor \"x\" is missing");
  for (const char* shape : {"[-1]", "[1.5]", "2", "[\"2\"]", "[[2]]"}) {
    ExpectSentence(parse(std::string(R"({"dtype":"F32","shape":)") + shape +
                         R"(,"data_offsets":[0,8]})"),
                   "shape of tensor \"x\" is");
  }
  for (const char* offsets : {"[0]", "[0,8,8]", "[-1,7]", "8", "[0,8.0]"}) {
    ExpectSentence(
        parse(std::string(R"({"dtype":"F32","shape":[2],"data_offsets":)") +
              offsets + "}"),
        "data_offsets of tensor \"x\" is");
  }
  for (const char* offsets : {"[8,0]", "[0,9]", "[8,16]",
                              "[18446744073709551608,18446744073709551615]"}) {
    ExpectSentence(
        parse(std::string(R"({"dtype":"F32","shape":[2],"data_offsets":)") +
              offsets + "}"),
        "data_offsets of tensor \"x\" is", "within the file's 8 bytes");
  }
  ExpectSentence(parse(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"),
                 "[0, 8], 8 bytes, expected 12 bytes for F32 of shape (3)");
  ExpectSentence(parse(R"({"dtype":"F32","shape":[4294967296,4294967296],)"
                       R"("data_offsets":[0,0]})"),
                 "shape of tensor \"x\"",
                 "expected a size that can be counted");
  ExpectSentence(parse(R"({"dtype":"F32","shape":[0,4294967296,4294967296],)"
                       R"("data_offsets":[0,0]})"),
                 "expected a size that can be counted");
  ExpectSentence(parse(R"({"dtype":"F64","shape":[2305843009213693952],)"
                       R"("data_offsets":[0,0]})"),
                 "expected a size that can be counted");
}

TEST(SafetensorsTest, DataMustBeTiled) {
  const auto two = [](std::string_view a, std::string_view b, size_t bytes) {
    return ParseHeader(
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(a) +
            R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" +
            std::string(b) + "}}",
        bytes);
  };
  EXPECT_TRUE(two("[0,4]", "[4,8]", 8).ok());
  EXPECT_TRUE(two("[4,8]", "[0,4]", 8).ok());
  ExpectSentence(two("[0,4]", "[2,6]", 6),
                 "data_offsets of tensor \"b\" begin at 2, within tensor "
                 "\"a\", expected 4");
  ExpectSentence(two("[0,4]", "[0,4]", 4), "within tensor");
  ExpectSentence(two("[0,4]", "[5,9]", 9),
                 "tensor \"b\" begin at 5, expected 4 (the data has no holes)");
  ExpectSentence(two("[1,5]", "[5,9]", 9), "begin at 1, expected 0");
  ExpectSentence(two("[0,4]", "[4,8]", 9),
                 "holds 9 bytes of data, expected 8 as the header says");
}

class ShardsTest : public testing::Test {
 protected:
  void SetUp() override {
    Put(folder_ / "one.safetensors",
        SafetensorsBytes(
            R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
    Put(folder_ / "two.safetensors",
        SafetensorsBytes(
            R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
            R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
            "yz"));
  }
  StatusOr<std::shared_ptr<const WeightSet>> OpenWith(std::string_view map) {
    Put(folder_ / "model.safetensors.index.json",
        "{\"metadata\":{\"total_size\":2},\"weight_map\":" + std::string(map) +
            "}");
    return WeightSet::Open(folder_.path());
  }
  ScratchFolder folder_;
};

TEST_F(ShardsTest, AreReadTogether) {
  auto set = OpenWith(R"({"a":"one.safetensors","b":"two.safetensors"})");
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ((*set)->tensors().size(), 2u);  // Not two.safetensors' "a".
  EXPECT_EQ(*(*set)->Find("a")->data, std::byte{'x'});
  EXPECT_EQ(*(*set)->Find("b")->data, std::byte{'y'});
}

TEST_F(ShardsTest, BadIndexesAreSentences) {
  ExpectSentence(OpenWith(R"({"b":"one.safetensors"})"),
                 "one.safetensors: lacks tensor \"b\", expected it there as "
                 "model.safetensors.index.json says");
  ExpectSentence(OpenWith(R"({"b":"three.safetensors"})"),
                 "three.safetensors: cannot be opened: No such file");
  for (const char* name :
       {"../one.safetensors", "/etc/passwd", "..", "", "sub/one", "a\\\\b"}) {
    ExpectSentence(OpenWith("{\"b\":\"" + std::string(name) + "\"}"),
                   "weight_map entry \"b\" is",
                   "expected the name of a file in the same folder");
  }
  ExpectSentence(OpenWith("{\"b\":3}"), "weight_map entry \"b\" is 3");
  ExpectSentence(OpenWith("[]"), "weight_map is a list, expected an object");
  Put(folder_ / "model.safetensors.index.json", "{}");
  ExpectSentence(WeightSet::Open(folder_.path()), "weight_map is missing");
}

TEST(SafetensorsTest, CutShortWhileInUse) {
  ScratchFolder folder;
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[100000],"data_offsets":[0,100000]}})";
  Put(folder / "w.safetensors",
      SafetensorsBytes(header, std::string(100000, '\1')));
  auto set = WeightSet::Open(folder / "w.safetensors");
  ASSERT_TRUE(set.ok());
  ASSERT_EQ(truncate((folder / "w.safetensors").c_str(), 5000), 0);
  EXPECT_EQ((*set)->Find("a")->data[99999], std::byte{0});
  ExpectSentence((*set)->CheckIntact(), "was cut short while in use");
}

TEST(SafetensorsWriterTest, RoundTrip) {
  ScratchFolder folder;
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<uint8_t> b = {9};
  {
    auto writer = SafetensorsWriter::Create(
        folder / "w.safetensors",
        {{"layer.\"a\"", DType::kF32, {2, 3}}, {"b", DType::kU8, {1}}},
        {{"format", "pt"}});
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    ASSERT_TRUE(writer->Write(std::as_bytes(std::span(a))).ok());
    ASSERT_TRUE(writer->Write(std::as_bytes(std::span(b))).ok());
    EXPECT_FALSE(std::filesystem::exists(folder / "w.safetensors"));
    ASSERT_TRUE(writer->Finish().ok());
  }
  auto set = WeightSet::Open(folder / "w.safetensors");
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ((*set)->metadata().at("format"), "pt");
  const TensorView* tensor = (*set)->Find("layer.\"a\"");
  ASSERT_NE(tensor, nullptr);
  EXPECT_TRUE(tensor->IsAligned());
  EXPECT_EQ(std::memcmp(tensor->data, a.data(), 24), 0);
}

TEST(SafetensorsWriterTest, FailuresLeaveNothing) {
  ScratchFolder folder;
  const auto path = folder / "w.safetensors";
  const auto create = [&](std::vector<SafetensorsWriter::Declaration> d) {
    return SafetensorsWriter::Create(path, d, {});
  };
  ExpectSentence(create({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}),
                 "tensor \"a\" is declared twice");
  ExpectSentence(create({{"\xff", DType::kU8, {1}}}), "has a name that");
  ExpectSentence(create({{"a", DType::kF64, {size_t{1} << 61}}}),
                 "expected a size that can be counted");
  {
    auto writer = create({{"a", DType::kU8, {2}}});
    ASSERT_TRUE(writer.ok());
    const std::string three = "xyz";
    EXPECT_FALSE(writer->Write(std::as_bytes(std::span(three))).ok());
    EXPECT_FALSE(writer->Finish().ok());
  }
  EXPECT_EQ(folder.Count(), 0u);
  Put(folder / "file", "");
  ExpectSentence(
      SafetensorsWriter::Create(folder / "file/w.safetensors", {}, {}),
      "cannot be written: Not a directory");
  auto full =
      SafetensorsWriter::Create("/dev/full", {{"a", DType::kU8, {1}}}, {});
  ASSERT_TRUE(full.ok());
  const std::string one = "x";
  ASSERT_TRUE(full->Write(std::as_bytes(std::span(one))).ok());
  ExpectSentence(full->Finish(), "No space left");
}

TEST(TensorTest, ConvertsToFloat) {
  const auto first = [](DType dtype, const std::string& bytes) {
    TensorView view{"t", dtype, {1}, nullptr, bytes.size()};
    view.data = reinterpret_cast<const std::byte*>(bytes.data());
    float value = 0;
    EXPECT_TRUE(CopyToFloat32(view, &value).ok());
    double wide = 0;
    EXPECT_TRUE(CopyToFloat64(view, &wide).ok());
    if (!std::isnan(value)) {
      EXPECT_EQ(value, static_cast<float>(wide));
    }
    return value;
  };
  EXPECT_EQ(first(DType::kF64, Raw(0.1)), 0.1f);
  EXPECT_EQ(first(DType::kBF16, Raw(uint16_t{0x3fc0})), 1.5f);
  EXPECT_EQ(first(DType::kF16, Raw(uint16_t{0x3e00})), 1.5f);
  EXPECT_EQ(first(DType::kF16, Raw(uint16_t{0xc000})), -2.0f);
  EXPECT_EQ(first(DType::kF16, Raw(uint16_t{0x7bff})), 65504.0f);
  EXPECT_EQ(first(DType::kF16, Raw(uint16_t{0x0001})), std::ldexp(1.0f, -24));
  EXPECT_EQ(first(DType::kF16, Raw(uint16_t{0x83ff})),
            -1023.0f * std::ldexp(1.0f, -24));
  EXPECT_TRUE(std::signbit(first(DType::kF16, Raw(uint16_t{0x8000}))));
  EXPECT_EQ(first(DType::kF16, Raw(uint16_t{0xfc00})), -INFINITY);
  EXPECT_TRUE(std::isnan(first(DType::kF16, Raw(uint16_t{0x7e00}))));

  TensorView ints{"t.x", DType::kI32, {0}, nullptr, 4};
  const int32_t one = 1;
  ints.data = reinterpret_cast<const std::byte*>(&one);
  float value;
  ExpectSentence(CopyToFloat32(ints, &value),
                 "tensor \"t.x\" has dtype I32, expected F32");
}

}  // namespace
}  // namespace lcsm::io
