#include "io/torch_checkpoint.h"

#include <gtest/gtest.h>

#include <map>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

// The files are made by tests/data/checkpoints/make.py, with torch.
std::filesystem::path Data(std::string_view name) {
  return TestData("checkpoints") / name;
}

std::map<std::string, std::vector<double>> ReadAll(
    TorchCheckpoint& checkpoint) {
  std::map<std::string, std::vector<double>> all;
  for (size_t i = 0; i < checkpoint.tensors().size(); ++i) {
    const TorchCheckpoint::Tensor& tensor = checkpoint.tensors()[i];
    const auto bytes = checkpoint.Read(i);
    EXPECT_TRUE(bytes.ok()) << bytes.status().message();
    if (!bytes.ok()) continue;
    EXPECT_EQ(bytes->size(), tensor.elements * DTypeSize(tensor.dtype));
    std::vector<double>& values = all[tensor.name];
    values.resize(tensor.elements);
    const TensorView view{tensor.name, tensor.dtype, tensor.shape,
                          bytes->data(), bytes->size()};
    if (tensor.dtype == DType::kI64) {
      for (size_t j = 0; j < tensor.elements; ++j) {
        int64_t value;
        std::memcpy(&value, view.data + 8 * j, 8);
        values[j] = static_cast<double>(value);
      }
    } else if (tensor.dtype == DType::kU8) {
      for (size_t j = 0; j < tensor.elements; ++j)
        values[j] = std::to_integer<uint8_t>(view.data[j]);
    } else {
      EXPECT_TRUE(CopyToFloat64(view, values.data()).ok());
    }
  }
  return all;
}

TEST(TorchCheckpointTest, ReadsWhatTorchWrites) {
  for (const char* file : {"tensors.pt", "tensors-protocol4.pt"}) {
    auto checkpoint = TorchCheckpoint::Open(Data(file));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_FALSE((*checkpoint)->from_lightning());
    auto all = ReadAll(**checkpoint);
    using Values = std::vector<double>;
    EXPECT_EQ(all.size(), 11u);
    EXPECT_EQ(all["f32"], (Values{0.5, 1.5, 2.5, 3.5, 4.5, 5.5}));
    for (const char* name : {"f16", "bf16", "f64"}) {
      EXPECT_EQ(all[name], (Values{0.5, 1.5, 2.5})) << name;
    }
    for (const char* name : {"i64", "u8"}) {
      EXPECT_EQ(all[name], (Values{0, 1, 2})) << name;
    }
    EXPECT_EQ(all["scalar"], Values{1.5});
    EXPECT_EQ(all["empty"], Values{});
    EXPECT_EQ(all["transposed"], (Values{0.5, 4.5, 8.5, 1.5, 5.5, 9.5, 2.5, 6.5,
                                         10.5, 3.5, 7.5, 11.5}));
    EXPECT_EQ(all["slice"], (Values{4.5, 6.5, 8.5, 10.5}));
    EXPECT_EQ(all["parameter"], (Values{0.5, 1.5}));
    EXPECT_EQ((*checkpoint)->tensors()[8].shape, (std::vector<size_t>{4, 3}));
  }
}

TEST(TorchCheckpointTest, ReadsAModulesStateDict) {
  auto checkpoint = TorchCheckpoint::Open(Data("module.pt"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  auto all = ReadAll(**checkpoint);
  EXPECT_EQ(all.size(), 2u);
  EXPECT_EQ(all["embed.weight"].size(), 12u);
  EXPECT_EQ(all["embed.weight"], all["head.weight"]);
}

TEST(TorchCheckpointTest, ReadsLightningFolders) {
  for (const char* folder : {"hyenadna-tiny-1k-ckpt", "hyena-order3-ckpt"}) {
    auto checkpoint =
        TorchCheckpoint::Open(TestData("golden") / folder / "weights.ckpt");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_TRUE((*checkpoint)->from_lightning());
    EXPECT_GT((*checkpoint)->tensors().size(), 40u);
    for (const auto& [name, values] : ReadAll(**checkpoint)) {
      for (double value : values) ASSERT_LT(std::abs(value), 1e3) << name;
    }
  }
}

TEST(TorchCheckpointTest, ReadsDeflatedEntries) {
  auto checkpoint = TorchCheckpoint::Open(Data("deflated.ckpt"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(ReadAll(**checkpoint)["w"], std::vector<double>(4, 0.0));
}

TEST(TorchCheckpointTest, HostileGlobalsOutsideAreIgnored) {
  auto checkpoint = TorchCheckpoint::Open(Data("hostile-outside.ckpt"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->tensors().size(), 1u);
}

TEST(TorchCheckpointTest, HostileGlobalsInsideAreSentences) {
  const auto open = [](const char* file) {
    return TorchCheckpoint::Open(Data(file));
  };
  ExpectSentence(open("hostile-inside.ckpt"),
                 "hostile-inside.ckpt: state dict key \"model.x\" calls the "
                 "global \"os.system\", expected a tensor");
  ExpectSentence(open("hostile-hooks.ckpt"), "key \"w\"", "\"os.system\"");
  ExpectSentence(open("hostile-storage.ckpt"), "key \"w\"", "\"evil.Storage\"");
  ExpectSentence(open("hostile-dict.ckpt"), "state_dict", "\"os.system\"");
}

TEST(TorchCheckpointTest, BadTensorsAreSentences) {
  const auto expect = [](const char* file, std::string_view part) {
    ExpectSentence(TorchCheckpoint::Open(Data(file)), file, part, "expected");
  };
  expect("outside-storage.ckpt",
         "key \"w\" has offset 0, shape (5) and strides (1), expected them "
         "within its storage of 4 elements");
  expect("offset.ckpt", "has offset 1, shape (4)");
  expect("stride-overflow.ckpt", "expected them within its storage");
  expect("shape-overflow.ckpt", "expected a size that can be counted");
  expect("expanded.ckpt", "brings the tensors to more than");
  expect("no-entry.ckpt", "lies in the entry \"w/data/1\", expected that");
  expect("traversal.ckpt", "lies in the entry \"w/data/../0\", expected that");
  expect("wrong-size.ckpt", "of 16 bytes, expected 20");
  expect("value-list.ckpt", "key \"w\" is a list, expected a tensor");
  expect("key-int.ckpt", "has the key 7, expected a string");
  expect("nested.pt", "key \"model\" is a dict, expected a tensor");
  expect("list.pt", "holds a list, expected a state dict");
  expect("empty.ckpt", "holds no tensors");
  expect("bzip2.ckpt", "is compressed by method 12");
  expect("bomb.ckpt", "brings the tensors to more than");
}

TEST(TorchCheckpointTest, OtherFilesAreSentences) {
  ScratchFolder folder;
  const auto open = [&](std::string_view contents) {
    Put(folder / "w.ckpt", contents);
    return TorchCheckpoint::Open(folder / "w.ckpt");
  };
  ExpectSentence(TorchCheckpoint::Open(Data("legacy.pt")),
                 "legacy.pt: is in torch's format from before version 1.6");
  ExpectSentence(open(""), "w.ckpt: begins with \"\", expected a torch");
  ExpectSentence(open("\x93NUMPY"), "begins with \"\\x93NUMPY\"");
  ExpectSentence(open("PK\3\4"), "is a damaged zip archive");
  ExpectSentence(open(std::string("PK\5\6") + std::string(18, '\0')),
                 "without the entry data.pkl");
  ExpectSentence(TorchCheckpoint::Open(folder / "none"), "none: cannot be");
  ExpectSentence(TorchCheckpoint::Open(folder.path()), "Is a directory");
}

TEST(TorchCheckpointTest, DamageIsASentence) {
  const std::string whole = Get(Data("deflated.ckpt"));
  const std::string stored = Get(Data("module.pt"));
  for (const std::string& file : {whole, stored}) {
    for (size_t bytes = 0; bytes < file.size(); bytes += 7) {
      const auto cut = TorchCheckpoint::OpenBytes(
          std::as_bytes(std::span(file).first(bytes)), "w.ckpt");
      ExpectSentence(cut, "w.ckpt: ", "expected");
    }
  }
  // A flipped bit in the data of a storage fails its checksum.
  std::string flipped = stored;
  const size_t at = flipped.find(Raw(2.5f));
  ASSERT_NE(at, std::string::npos);
  flipped[at] = static_cast<char>(flipped[at] ^ 1);
  auto checkpoint =
      TorchCheckpoint::OpenBytes(std::as_bytes(std::span(flipped)), "w.ckpt");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ExpectSentence((*checkpoint)->Read(0), "w.ckpt: entry", "is damaged");
}

TEST(TorchCheckpointTest, LimitsAreSentences) {
  CheckpointLimits limits;
  limits.entries = 5;
  ExpectSentence(TorchCheckpoint::Open(Data("tensors.pt"), limits),
                 "entries, expected at most 5");
  limits = {};
  limits.expansion = 0;
  limits.slack_bytes = 20;
  ExpectSentence(TorchCheckpoint::Open(Data("deflated.ckpt"), limits),
                 "unpacks to", "(a zip bomb?)");
}

}  // namespace
}  // namespace lcsm::io
