#include "io/convert.h"

#include <gtest/gtest.h>

#include <set>

#include "io/config_json.h"
#include "io/safetensors.h"
#include "io/stack_config.h"
#include "io/test_util.h"
#include "io/torch_checkpoint.h"

namespace lcsm::io {
namespace {

std::set<std::string> Names(const WeightSet& set) {
  std::set<std::string> names;
  for (const TensorView& tensor : set.tensors()) names.insert(tensor.name);
  return names;
}

TEST(HyenaKeysTest, StripsWhatFrameworksAdd) {
  const auto plan = CanonicalHyenaKeys(
      {"model.backbone.layers.0.mixer.layer.in_proj.weight",
       "hyena.backbone.layers.1.mlp.layer.fc1.bias",
       "backbone.layers.0.mixer.filter_fn.implicit_filter.1.freq",
       "model.lm_head.weight", "val_torchmetrics.loss", "decoder.0.weight",
       "what.is.this"},
      "w.ckpt");
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  std::vector<std::string> names;
  for (const auto& kept : plan->kept) names.push_back(kept.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "backbone.layers.0.mixer.in_proj.weight",
                "backbone.layers.1.mlp.fc1.bias",
                "backbone.layers.0.mixer.filter_fn.implicit_filter.1.freq",
                "lm_head.weight"}));
  EXPECT_EQ(plan->dropped.size(), 3u);
}

TEST(HyenaKeysTest, KeepsHeadsOfClassifiers) {
  const auto plan = CanonicalHyenaKeys(
      {"model.backbone.ln_f.weight", "decoder.0.output_transform.weight",
       "head.output_transform.bias", "score.weight", "score.other",
       "decoder.1.output_transform.weight"},
      "w.ckpt");
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  std::vector<std::string> names;
  for (const auto& kept : plan->kept) names.push_back(kept.name);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "backbone.ln_f.weight", "head.output_transform.weight",
                       "head.output_transform.bias", "score.weight"}));
  EXPECT_EQ(plan->dropped.size(), 2u);
}

TEST(HyenaKeysTest, BadSetsAreSentences) {
  ExpectSentence(CanonicalHyenaKeys({}, "w.ckpt"), "w.ckpt: has 0 tensors");
  ExpectSentence(CanonicalHyenaKeys({"conv1.weight"}, "w.ckpt"),
                 "w.ckpt: has 1 tensors, the first \"conv1.weight\", expected "
                 "those of a Hyena language model");
  ExpectSentence(
      CanonicalHyenaKeys({"backbone.x", "model.backbone.x"}, "w.ckpt"),
      "keys \"backbone.x\" and \"model.backbone.x\" both mean");
}

TEST(StackConfigTest, FamiliesAreToldApart) {
  const struct {
    const char* config;
    std::optional<StackFamily> family;
  } cases[] = {
      {R"({"model_type": "lcsm-stack"})", StackFamily::kDescribed},
      {R"({"model_type": "FlashSTU"})", StackFamily::kStu},
      {R"({"num_eigh": 24})", StackFamily::kStu},
      {R"({"layer": {"_name_": "h3"}})", StackFamily::kH3},
      {R"({"model_type": "evo2"})", StackFamily::kStripedHyena},
      {R"({"attn_layer_idxs": [1], "hidden_size": 8})",
       StackFamily::kStripedHyena},
      {R"({"model_type": "hyenadna", "num_eigh": 24})", std::nullopt},
      {R"({"model_type": 7})", std::nullopt},
      {"{}", std::nullopt},
  };
  for (const auto& one : cases) {
    const auto json = ConfigJson::Parse(one.config, "config.json");
    ASSERT_TRUE(json.ok()) << json.status().message();
    EXPECT_EQ(StackFamilyOf(*json), one.family) << one.config;
  }
}

TEST(StackConfigTest, WrappersComeOffNames) {
  EXPECT_EQ(StackTensorName(StackFamily::kStu, "module._orig_mod.norm.weight"),
            "norm.weight");
  EXPECT_EQ(StackTensorName(StackFamily::kH3, "model.backbone.ln_f.weight"),
            "backbone.ln_f.weight");
  EXPECT_EQ(StackTensorName(StackFamily::kStripedHyena, "backbone.norm.scale"),
            "backbone.norm.scale");
  EXPECT_EQ(StackTensorName(StackFamily::kDescribed, "model.x"), "model.x");
}

TEST(ConvertTest, LightningFolder) {
  ScratchFolder folder;
  for (const char* name : {"hyenadna-tiny-1k-ckpt", "hyena-order3-ckpt"}) {
    const auto source = TestData("golden") / name;
    const auto output = folder / name;
    const auto report = ConvertCheckpoint(source, output, {});
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->filter_shift, 0.05);
    EXPECT_EQ(report->filter_layout, FilterLayout::kOrderSlowest);
    EXPECT_TRUE(report->converted.empty());

    // The names of the published safetensors flavour, but that the frequency
    // stands there once and here once per sine.
    auto converted = WeightSet::Open(output);
    auto published = WeightSet::Open(TestData("golden/hyenadna-tiny-1k-hf"));
    ASSERT_TRUE(converted.ok() && published.ok());
    std::set<std::string> expected;
    for (const std::string& key : Names(**published)) {
      expected.insert(key.starts_with("hyena.") ? key.substr(6) : key);
    }
    std::set<std::string> names = Names(**converted);
    std::erase_if(names, [](const std::string& n) {
      return n.ends_with(".3.freq") || n.ends_with(".5.freq");
    });
    EXPECT_EQ(names, expected);
    for (const TensorView& tensor : (*converted)->tensors()) {
      EXPECT_TRUE(tensor.IsAligned()) << tensor.name;
    }

    const auto before = ConfigJson::Read(source / "config.json");
    const auto after = ConfigJson::Read(output / "config.json");
    ASSERT_TRUE(before.ok() && after.ok());
    EXPECT_EQ(after->GetNumber("filter_shift").value(), 0.05);
    EXPECT_EQ(after->GetString("filter_layout").value(), "order_slowest");
    EXPECT_EQ(after->Keys("").size(), before->Keys("").size() + 2);
    EXPECT_EQ(after->Keys("layer"), before->Keys("layer"));
    EXPECT_EQ(after->GetInt("layer.l_max", 1, 2000).value(),
              before->GetInt("layer.l_max", 1, 2000).value());
  }
}

FilterConventions Conventions(const std::string& config,
                              WeightContainer container) {
  const auto json = ConfigJson::Parse(config, "config.json");
  EXPECT_TRUE(json.ok()) << json.status().message();
  const auto conventions = ReadFilterConventions(*json, container);
  EXPECT_TRUE(conventions.ok()) << conventions.status().message();
  return conventions.ok() ? *conventions : FilterConventions{};
}

TEST(FilterConventionsTest, FieldsThenFormatThenContainer) {
  using enum FilterLayout;
  using enum WeightContainer;
  const struct {
    const char* config;
    WeightContainer container;
    double shift;
    FilterLayout layout;
  } cases[] = {
      {R"({"vocab_size": 12})", kOther, 0.05, kOrderSlowest},
      {R"({"vocab_size": 12})", kLightning, 0.05, kOrderSlowest},
      {R"({"model_type": "hyenadna", "vocab_size": 20})", kOther, 0.05,
       kOrderSlowest},
      {R"({"vocab_size": 50257})", kLightning, 0, kOrderSlowest},
      {R"({"vocab_size": 50257})", kOther, 0, kOrderFastest},
      {"{}", kOther, 0, kOrderFastest},
      // Each dialect keeps its `shift` where it keeps the filter's fields.
      {R"({"vocab_size": 256, "layer": {"shift": 0.5}})", kOther, 0.5,
       kOrderFastest},
      {R"({"model_type": "hyenadna", "shift": 0.25, "layer": {"shift": 9}})",
       kOther, 0.25, kOrderSlowest},
      {R"({"vocab_size": 12, "filter_shift": 1, "layer": {"shift": 2},
           "filter_layout": "order_fastest"})",
       kLightning, 1, kOrderFastest},
  };
  for (const auto& c : cases) {
    const FilterConventions found = Conventions(c.config, c.container);
    EXPECT_EQ(found.shift, c.shift) << c.config;
    EXPECT_EQ(found.layout, c.layout) << c.config;
  }
  const auto bad = ConfigJson::Parse(R"({"filter_layout": 3})", "config.json");
  EXPECT_FALSE(ReadFilterConventions(*bad, kOther).ok());
}

// What was assumed for a checkpoint must still hold for the folder made of it,
// where nothing tells any more what the weights came in.
TEST(ConvertTest, AConvertedFolderMeansTheSameAsItsSource) {
  const auto checkpoint = TestData("golden/hyena-order3-ckpt/weights.ckpt");
  for (const char* text :
       {R"({"vocab_size": 12})", R"({"vocab_size": 50257})",
        R"({"vocab_size": 16, "model_type": "hyenadna"})",
        R"({"vocab_size": 16, "model_type": "hyenadna", "shift": 0.5})"}) {
    ScratchFolder folder;
    Put(folder / "config.json", text);
    ConvertOptions options;
    options.config = folder / "config.json";
    const auto report = ConvertCheckpoint(checkpoint, folder / "out", options);
    ASSERT_TRUE(report.ok()) << report.status().message();
    const FilterConventions before =
        Conventions(text, WeightContainer::kLightning);
    const FilterConventions after =
        Conventions(Get(folder / "out/config.json"), WeightContainer::kOther);
    EXPECT_EQ(report->filter_shift, before.shift) << text;
    EXPECT_EQ(report->filter_layout, before.layout) << text;
    EXPECT_EQ(after.shift, before.shift) << text;
    EXPECT_EQ(after.layout, before.layout) << text;
  }
}

TEST(ConvertTest, ATiedHeadIsNotWrittenTwice) {
  ScratchFolder folder;
  Put(folder / "config.json", "{}");
  ConvertOptions options;
  options.config = folder / "config.json";
  const auto report = ConvertCheckpoint(TestData("checkpoints/tied.pt"),
                                        folder / "out", options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->kept, std::vector<std::string>{
                              "backbone.embeddings.word_embeddings.weight"});
  ASSERT_EQ(report->dropped.size(), 1u);
  EXPECT_EQ(report->dropped[0].why, "tied to the embedding");
}

TEST(ConvertTest, BitsAreKept) {
  ScratchFolder folder;
  const auto weights = TestData("golden/hyenadna-tiny-1k-ckpt/weights.ckpt");
  ASSERT_TRUE(ConvertCheckpoint(weights, folder / "a/b", {}).ok());
  auto set = WeightSet::Open(folder / "a/b");
  auto checkpoint = TorchCheckpoint::Open(weights);
  ASSERT_TRUE(set.ok() && checkpoint.ok());
  for (size_t i = 0; i < (*checkpoint)->tensors().size(); ++i) {
    const auto& tensor = (*checkpoint)->tensors()[i];
    const TensorView* view = (*set)->Find(tensor.name.substr(6));  // "model."
    ASSERT_NE(view, nullptr) << tensor.name;
    EXPECT_EQ(view->shape, tensor.shape);
    const auto bytes = (*checkpoint)->Read(i);
    ASSERT_TRUE(bytes.ok());
    EXPECT_EQ(std::memcmp(view->data, bytes->data(), view->bytes), 0);
  }
}

class SafariTest : public testing::Test {
 protected:
  void SetUp() override {
    Put(folder_ / "config.json", R"({"vocab_size": 50257, "d_model": 2})");
    std::filesystem::copy_file(TestData("checkpoints/safari.pt"),
                               folder_ / "model.pt");
  }
  std::vector<float> Values(std::string_view name) {
    auto set = WeightSet::Open(folder_ / "out");
    if (!set.ok() || (*set)->Find(name) == nullptr) return {};
    const TensorView* tensor = (*set)->Find(name);
    EXPECT_EQ(tensor->dtype, DType::kF32);
    std::vector<float> values(tensor->elements());
    EXPECT_TRUE(CopyToFloat32(*tensor, values.data()).ok());
    return values;
  }
  ScratchFolder folder_;
};

TEST_F(SafariTest, OldNamesNormsAndDtypes) {
  Put(folder_ / "vocab.json", "{}");
  const auto report = ConvertCheckpoint(folder_.path(), folder_ / "out", {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->filter_shift, 0.0);
  EXPECT_EQ(report->filter_layout, FilterLayout::kOrderFastest);
  EXPECT_EQ(report->converted.size(), 3u);
  EXPECT_EQ(report->dropped.size(), 3u);
  EXPECT_EQ(report->copied, std::vector<std::string>{"vocab.json"});
  EXPECT_EQ(Get(folder_ / "out/vocab.json"), "{}");

  using V = std::vector<float>;
  EXPECT_EQ(Values("backbone.embeddings.word_embeddings.weight"),
            (V{0.5, 1.5, 2.5, 3.5}));
  EXPECT_EQ(Values("backbone.layers.0.mixer.out_proj.weight"),
            (V{0.5, 1.5, 2.5, 3.5}));
  EXPECT_EQ(Values("backbone.layers.0.norm1.weight"), (V{0.5, 1.5}));
  EXPECT_EQ(Values("backbone.layers.0.norm2.weight"), (V{10.5, 11.5}));
  EXPECT_EQ(Values("backbone.layers.1.norm1.weight"), (V{20.5, 21.5}));
  EXPECT_EQ(Values("backbone.layers.1.norm2.weight"), (V{30.5, 31.5}));
  EXPECT_EQ(Values("backbone.ln_f.weight"), (V{40.5, 41.5}));
  EXPECT_EQ(Values("lm_head.weight").size(), 4u);  // Its own memory: kept.
}

TEST_F(SafariTest, OptionsWinOverTheConfig) {
  Put(folder_ / "config.json",
      R"({"filter_shift": 0.25, "filter_layout": "order_slowest"})");
  auto report = ConvertCheckpoint(folder_.path(), folder_ / "out", {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->filter_shift, 0.25);
  EXPECT_EQ(report->filter_layout, FilterLayout::kOrderSlowest);
  ConvertOptions options;
  options.filter_shift = 0.5;
  options.filter_layout = FilterLayout::kOrderFastest;
  options.overwrite = true;
  report = ConvertCheckpoint(folder_.path(), folder_ / "out", options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  const auto config = ConfigJson::Read(folder_ / "out/config.json");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->GetNumber("filter_shift").value(), 0.5);
  EXPECT_EQ(config->GetString("filter_layout").value(), "order_fastest");
}

TEST_F(SafariTest, RefusesToOverwrite) {
  ASSERT_TRUE(ConvertCheckpoint(folder_.path(), folder_ / "out", {}).ok());
  ExpectSentence(ConvertCheckpoint(folder_.path(), folder_ / "out", {}),
                 "out/model.safetensors: exists already");
  ExpectSentence(ConvertCheckpoint(folder_.path(), folder_.path(), {}),
                 "config.json: exists already");
}

TEST_F(SafariTest, FailuresLeaveNothing) {
  const size_t before = folder_.Count();
  const auto convert = [&](const std::filesystem::path& weights) {
    ConvertOptions options;
    options.config = folder_ / "config.json";
    return ConvertCheckpoint(weights, folder_ / "a/b/out", options);
  };
  ExpectSentence(convert(TestData("checkpoints/nan.pt")),
                 "nan.pt: element 1 of \"embedding.weight\" is nan");
  ExpectSentence(convert(TestData("checkpoints/overflow.pt")),
                 "overflow.pt: element 0", "is inf as float32");
  ExpectSentence(convert(TestData("checkpoints/tensors.pt")),
                 "expected those of a Hyena language model");
  ExpectSentence(convert(TestData("checkpoints/hostile-inside.ckpt")),
                 "\"os.system\"");
  ExpectSentence(convert(folder_ / "none.ckpt"), "none.ckpt: cannot be opened");
  ExpectSentence(convert(TestData("golden/hyenadna-tiny-1k-hf")),
                 "holds safetensors already");
  ExpectSentence(convert(TestData("golden")), "holds no weights to convert");
  Put(folder_ / "config.json", "{\"filter_layout\": \"diagonal\"}");
  ExpectSentence(
      convert(folder_ / "model.pt"),
      "filter_layout is \"diagonal\", expected \"order_slowest\" or");
  Put(folder_ / "config.json", "[]");
  ExpectSentence(convert(folder_ / "model.pt"), "config.json: holds a list");
  std::filesystem::remove(folder_ / "config.json");
  ExpectSentence(convert(folder_ / "model.pt"),
                 "config.json: cannot be opened");
  EXPECT_EQ(folder_.Count(), before - 1);
}

TEST_F(SafariTest, UnwritableOutputIsASentence) {
  ExpectSentence(
      ConvertCheckpoint(folder_.path(), folder_ / "config.json/out", {}),
      "config.json/out: cannot be made: Not a directory");
}

}  // namespace
}  // namespace lcsm::io
