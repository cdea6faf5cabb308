// The models that ship with the project, as a user meets them: loaded from
// their folders, prompt taken in, decoded; against float64 logits and greedy
// continuations that the training scripts computed from the same files by
// direct formulas.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "io/safetensors.h"
#include "io/tokenizer.h"
#include "models/load_model.h"
#include "runtime/model.h"

namespace lcsm {
namespace {

std::filesystem::path Folder(const std::string& name) {
  return std::filesystem::path(LCSM_SOURCE_DIR) / "models" / name;
}

template <typename T>
std::vector<T> ReadTensor(const io::WeightSet& set, const char* name,
                          io::DType dtype) {
  const io::TensorView* view = set.Find(name);
  if (view == nullptr || view->dtype != dtype) {
    ADD_FAILURE() << "no tensor " << name << " of the expected dtype";
    return {};
  }
  std::vector<T> values(view->bytes / sizeof(T));
  std::memcpy(values.data(), view->data, view->bytes);
  return values;
}

class ShippedModelTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    StatusOr<std::shared_ptr<const Model>> model =
        LoadModel(Folder(GetParam()));
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *model;
    StatusOr<std::shared_ptr<const io::WeightSet>> set =
        io::WeightSet::Open(Folder(GetParam()) / "reference.safetensors");
    ASSERT_TRUE(set.ok()) << set.status().message();
    for (int64_t id :
         ReadTensor<int64_t>(**set, "input_ids", io::DType::kI64)) {
      ids_.push_back(static_cast<int32_t>(id));
    }
    want_ = ReadTensor<double>(**set, "logits", io::DType::kF64);
    ASSERT_FALSE(ids_.empty());
    ASSERT_EQ(want_.size(), ids_.size() * model_->info().padded_vocab);
    PrepareOptions options;
    options.horizon = ids_.size();
    StatusOr<std::shared_ptr<const PreparedModel>> prepared =
        model_->Prepare(options, pool_, nullptr);
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    prepared_ = *prepared;
    state_ = prepared_->NewState(pool_).value();
  }

  void ExpectLogits(size_t position, const float* logits) {
    const size_t columns = model_->info().padded_vocab;
    for (size_t v = 0; v < columns; ++v) {
      ASSERT_NEAR(logits[v], want_[position * columns + v], 1e-4)
          << "position " << position << " id " << v;
    }
  }

  ThreadPool pool_{2};
  std::shared_ptr<const Model> model_;
  std::shared_ptr<const PreparedModel> prepared_;
  std::unique_ptr<ModelState> state_;
  std::vector<int32_t> ids_;
  std::vector<double> want_;
};

TEST_P(ShippedModelTest, DecodeMatchesFloat64) {
  std::vector<float> logits(model_->info().padded_vocab);
  for (size_t t = 0; t < ids_.size(); ++t) {
    state_->Step(ids_[t], logits.data());
    ExpectLogits(t, logits.data());
  }
}

TEST_P(ShippedModelTest, PrefillMatchesFloat64) {
  size_t seen = 0;
  const Status status = state_->Prefill(
      ids_, {.on_logits = [&](size_t position, std::span<const float> logits) {
        EXPECT_EQ(position, seen++);
        ExpectLogits(position, logits.data());
        return OkStatus();
      }});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(seen, ids_.size());
}

TEST_P(ShippedModelTest, ContextIsAtLeast8192AndTheTokenizerFits) {
  EXPECT_GE(model_->info().max_length, 8192u);
  const auto tokenizer =
      io::LoadTokenizer(Folder(GetParam()), model_->info().vocab);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const std::string text =
      GetParam() == "kjv-bytes" ? "In the beginning" : "ACGTN";
  const io::Encoding encoding = (*tokenizer)->Encode(text);
  EXPECT_EQ(encoding.unknown, 0u);
  EXPECT_EQ((*tokenizer)->Decode(encoding.ids), text);
}

INSTANTIATE_TEST_SUITE_P(Models, ShippedModelTest,
                         testing::Values("kjv-bytes", "ecoli-hyenadna"),
                         [](const auto& model) {
                           std::string name = model.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// A clone must stay small: 25 MB for all models.
TEST(ShippedModelsTest, FitTheBox) {
  uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(
           std::filesystem::path(LCSM_SOURCE_DIR) / "models")) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  EXPECT_GT(bytes, 0u);
  EXPECT_LE(bytes, 25'000'000u);
}

}  // namespace
}  // namespace lcsm
