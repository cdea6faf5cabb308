// Binding of files in all dialects, and the sentences for what is wrong.
#include "models/hyena_weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "models/hyena_reference.h"
#include "models/load_model.h"

namespace lcsm {
namespace {

namespace fs = std::filesystem;

class HyenaWeightsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name =
        (fs::temp_directory_path() / "lcsm-weights-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    config_.vocab = 12;
    config_.padded_vocab = 16;
    config_.width = 8;
    config_.inner = 12;
    config_.layers = 2;
    config_.max_length = 20;
    config_.filter_width = 4;
    tensors_ = RandomTensors(config_, 1);
    std::ofstream(folder_ / "config.json")
        << R"({"d_model": 8, "d_inner": 12, "n_layer": 2, "vocab_size": 12,
               "layer": {"l_max": 20, "emb_dim": 5, "filter_order": 4}})";
  }
  void TearDown() override {
    std::error_code error;
    fs::remove_all(folder_, error);
  }

  void Write(const std::function<std::string(std::string)>& rename =
                 [](std::string name) { return name; }) {
    std::vector<io::SafetensorsWriter::Declaration> declarations;
    for (const auto& [name, tensor] : tensors_) {
      declarations.push_back({rename(name), io::DType::kF32, tensor.shape});
    }
    auto writer = io::SafetensorsWriter::Create(folder_ / "model.safetensors",
                                                declarations, {});
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (const auto& [name, tensor] : tensors_) {
      ASSERT_TRUE(writer->Write(std::as_bytes(std::span(tensor.values))).ok());
    }
    ASSERT_TRUE(writer->Finish().ok());
  }

  void ExpectRefused(const std::vector<std::string>& parts) {
    Write();
    const auto model = LoadModel(folder_);
    ASSERT_FALSE(model.ok());
    for (const std::string& part : parts) {
      EXPECT_NE(model.status().message().find(part), std::string::npos)
          << model.status().message();
    }
  }

  fs::path folder_;
  HyenaConfig config_;
  TestTensors tensors_;
};

const char kInProj[] = "backbone.layers.1.mixer.in_proj.weight";

TEST_F(HyenaWeightsTest, PrefixesOfAllContainers) {
  const auto insert = [](std::string name, const std::string& at,
                         const std::string& what) {
    const size_t found = name.find(at);
    if (found != std::string::npos) name.insert(found + at.size(), what);
    return name;
  };
  const std::function<std::string(std::string)> renames[] = {
      [](std::string name) { return name; },
      [](std::string name) { return "model." + name; },
      [](std::string name) { return "hyena." + name; },
      [&](std::string name) {
        name = insert(std::move(name), ".mixer.", "layer.");
        return "model." + insert(std::move(name), ".mlp.", "layer.");
      },
  };
  for (const auto& rename : renames) {
    Write(rename);
    const auto model = LoadModel(folder_);
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->info().layers, 2u);
    EXPECT_EQ((*model)->info().name, folder_.filename().string());
  }
}

TEST_F(HyenaWeightsTest, HeadOfItsOwnOrTied) {
  Write();
  EXPECT_EQ((*LoadModel(folder_))->info().parameters,
            HyenaWeights::Bind(config_, MakeMapSource(&tensors_))
                .value()
                ->parameters());
  const size_t tied = (*LoadModel(folder_))->info().parameters;
  tensors_["lm_head.weight"] =
      tensors_["backbone.embeddings.word_embeddings.weight"];
  Write();
  EXPECT_EQ((*LoadModel(folder_))->info().parameters, tied + 16 * 8);
}

// Matrices that were rounded leave the mapping; everything else is read as
// ever.
TEST_F(HyenaWeightsTest, FewerBitsFromAFile) {
  Write();
  const auto exact = LoadModel(folder_);
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8}) {
    const auto model = LoadModel(folder_, format);
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->info().parameters, (*exact)->info().parameters);
    ThreadPool pool(1);
    EXPECT_TRUE(
        (*model)->Prepare({.horizon = 9, .plan = {}}, pool, nullptr).ok());
  }
  tensors_[kInProj].values[77] = std::nanf("");
  Write();
  EXPECT_FALSE(LoadModel(folder_, WeightFormat::kInt8).ok());
}

TEST_F(HyenaWeightsTest, UnusedTensorsAreTold) {
  tensors_["torchmetrics.accuracy"] = {{1}, {0.0f}};
  Write();
  const auto model = LoadModel(folder_);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)->info().details.back().first, "unused tensors");
}

// A config that calls for less than the file holds is not that file's.
TEST_F(HyenaWeightsTest, WeightsThatTheConfigLeavesOutAreRefused) {
  const std::string extra = "backbone.layers.2.norm1.weight";
  tensors_[extra] = {{8}, std::vector<float>(8, 1.0f)};
  Write();
  ExpectRefused({folder_.string(), extra, "config"});
}

// Stored positions win over computed ones.
TEST_F(HyenaWeightsTest, StoredPositionsAreUsed) {
  const std::string z = "backbone.layers.0.mixer.filter_fn.pos_emb.z";
  tensors_[z] = {{1, 20, 5}, std::vector<float>(100, 0.25f)};
  const auto weights = HyenaWeights::Bind(config_, MakeMapSource(&tensors_));
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ((*weights)->layers()[0].filter.z, tensors_[z].values.data());
  EXPECT_EQ((*weights)->layers()[1].filter.z, nullptr);  // Computed.
}

TEST_F(HyenaWeightsTest, MissingTensor) {
  tensors_.erase(kInProj);
  ExpectRefused({folder_.string(), kInProj, "missing", "(24, 8)"});
}

TEST_F(HyenaWeightsTest, ConfigThatContradictsTheTensors) {
  tensors_[kInProj].shape = {8, 24};
  ExpectRefused({kInProj, "(8, 24)", "(24, 8)"});
}

TEST_F(HyenaWeightsTest, NotFinite) {
  tensors_[kInProj].values[77] = std::nanf("");
  ExpectRefused({kInProj, "nan", "77"});
  tensors_[kInProj].values[77] = std::numeric_limits<float>::infinity();
  ExpectRefused({kInProj, "inf"});
}

TEST_F(HyenaWeightsTest, PositionsThatAreNotFinite) {
  std::vector<float> z(100, 0.25f);
  z[57] = std::nanf("");  // Lag 11.
  tensors_["backbone.layers.1.mixer.filter_fn.pos_emb.z"] = {{1, 20, 5}, z};
  Write();
  const auto model = LoadModel(folder_);
  ASSERT_TRUE(model.ok()) << model.status().message();
  ThreadPool pool(1);
  EXPECT_TRUE(
      (*model)->Prepare({.horizon = 11, .plan = {}}, pool, nullptr).ok());
  const auto prepared =
      (*model)->Prepare({.horizon = 12, .plan = {}}, pool, nullptr);
  ASSERT_FALSE(prepared.ok());
  EXPECT_NE(prepared.status().message().find("layer 1"), std::string::npos);
}

TEST_F(HyenaWeightsTest, AttentionLayersAreRefused) {
  tensors_["backbone.layers.1.mixer.Wqkv.weight"] = {{24, 8},
                                                     std::vector<float>(192)};
  ExpectRefused({"layer 1", "attention"});
}

TEST_F(HyenaWeightsTest, TwoNamesForOneTensor) {
  tensors_["hyena.backbone.ln_f.weight"] = tensors_["backbone.ln_f.weight"];
  ExpectRefused({"backbone.ln_f.weight", "both mean"});
}

TEST_F(HyenaWeightsTest, FoldersThatAreNoModel) {
  EXPECT_FALSE(LoadModel(folder_ / "nowhere").ok());
  std::ofstream(folder_ / "weights.ckpt") << "zip";
  const auto model = LoadModel(folder_);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find("lcsm convert"), std::string::npos);
}

TEST_F(HyenaWeightsTest, FileCutShortWhileInUse) {
  Write();
  const auto model = LoadModel(folder_);
  ASSERT_TRUE(model.ok());
  EXPECT_TRUE((*model)->CheckWeights().ok());
  fs::resize_file(folder_ / "model.safetensors", 100);
  EXPECT_FALSE((*model)->CheckWeights().ok());
}

}  // namespace
}  // namespace lcsm
