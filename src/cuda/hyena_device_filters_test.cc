// Filters evaluated on a device, against the CPU's banks bit for bit and
// against the float64 oracle: all shapes of networks, positions from files and
// computed, panels that end anywhere, ranks that own few channels; and what
// goes wrong.
#include "cuda/hyena_device_filters.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "base/cpu_info.h"
#include "cuda/hyena_device_model.h"
#include "cuda/test_devices.h"
#include "io/convert.h"
#include "io/test_util.h"
#include "models/golden_reference.h"
#include "models/load_model.h"
#include "models/test_model.h"

namespace lcsm::cuda {
namespace {

std::shared_ptr<const HyenaWeights> Bind(const HyenaConfig& config,
                                         const TestTensors& tensors) {
  return HyenaWeights::Bind(config, MakeMapSource(&tensors)).value();
}

// Those that multiply and add with one rounding, as devices do.
bool Fuses(const std::string& target) {
  return target.starts_with("avx2") || target.starts_with("avx3") ||
         target.starts_with("neon") || target.starts_with("sve");
}

std::vector<float> Flat(const conv::FilterBank& bank) {
  std::vector<float> taps;
  for (size_t f = 0; f < bank.mixers() * bank.groups(); ++f) {
    taps.insert(taps.end(), bank.FlatGroup(f),
                bank.FlatGroup(f) + bank.taps() * kLanes);
  }
  return taps;
}

class HyenaDeviceFiltersTest : public testing::TestWithParam<std::string> {
 protected:
  std::vector<float> Taps(const HyenaWeights& weights,
                          const DeviceFilterPart& part) {
    auto taps = MakeDeviceTaps(device_, weights, part, pool_, nullptr);
    EXPECT_TRUE(taps.ok()) << taps.status().message();
    if (!taps.ok()) return {};
    EXPECT_EQ(taps->size(), DeviceTapsSize(weights.config(), part));
    return Fetch(*device_, taps->data(), taps->size());
  }

  // The whole model's, against the CPU's on each of its targets.
  void ExpectTheCpus(const HyenaWeights& weights, size_t lags,
                     size_t panel = 0) {
    DeviceFilterPart part = DeviceFilterPart::All(weights.config(), lags);
    part.panel = panel;
    const std::vector<float> got = Taps(weights, part);
    for (const std::string& target : SupportedSimdTargets()) {
      ASSERT_TRUE(ForceSimdTarget(target).ok());
      const std::vector<float> want =
          Flat(*MakeHyenaFilters(weights, lags, pool_, nullptr).value());
      ASSERT_EQ(got.size(), want.size());
      if (Fuses(target)) {
        EXPECT_EQ(got, want) << target;
        continue;
      }
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], 1e-7 * (1 + std::abs(want[i]))) << target;
      }
    }
    ASSERT_TRUE(ForceSimdTarget("best").ok());
  }

  const std::shared_ptr<Device> device_ = OpenTestDevice(GetParam());
  ThreadPool pool_{2};
};

std::vector<HyenaConfig> Configs() {
  std::vector<HyenaConfig> configs = AwkwardConfigs();
  // Normalised ones of either layout, whose last rows fill no block.
  for (const FilterLayout layout :
       {FilterLayout::kOrderSlowest, FilterLayout::kOrderFastest}) {
    HyenaConfig config = SmallConfig();
    config.normalized = true;
    config.order = 4;
    config.width = 37;
    config.layout = layout;
    config.filter_width = 64;
    config.features = 33;
    configs.push_back(config);
  }
  return configs;
}

TEST_P(HyenaDeviceFiltersTest, TapsAreTheCpus) {
  for (const HyenaConfig& config : Configs()) {
    const TestTensors tensors = RandomTensors(config, 4);
    const auto weights = Bind(config, tensors);
    for (const size_t lags : {1, 2, 31, 128, 129, 300}) {
      if (lags > config.max_length) continue;
      SCOPED_TRACE(fmt::format("{} lags, order {}, width {}, features {}", lags,
                               config.order, config.width, config.features));
      ExpectTheCpus(*weights, lags);
    }
  }
}

TEST_P(HyenaDeviceFiltersTest, PanelsEndAnywhere) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  for (const bool normalized : {false, true}) {
    config.normalized = normalized;
    const TestTensors tensors = RandomTensors(config, 5);
    const auto weights = Bind(config, tensors);
    for (const size_t panel : {1, 32, 127, 128, 150, 299, 300, 5000}) {
      SCOPED_TRACE(panel);
      ExpectTheCpus(*weights, 300, panel);
    }
  }
}

// The same bound as for the CPU's (hyena_filter_test.cc).
TEST_P(HyenaDeviceFiltersTest, TapsMatchTheOracleInFloat64) {
  for (const HyenaConfig& config : Configs()) {
    const TestTensors tensors = RandomTensors(config, 6);
    const auto weights = Bind(config, tensors);
    const size_t lags = std::min<size_t>(config.max_length, 280);
    const std::vector<float> taps =
        Taps(*weights, DeviceFilterPart::All(config, lags));
    const size_t groups = GroupsFor(config.width);
    for (size_t layer = 0; layer < config.layers; ++layer) {
      const std::vector<double> h =
          ReferenceFilter(config, tensors, layer, lags);
      const std::vector<float>& skip =
          tensors
              .at(fmt::format("backbone.layers.{}.mixer.filter_fn.bias", layer))
              .values;
      for (size_t o = 0; o < config.convolutions(); ++o) {
        for (size_t c = 0; c < groups * kLanes; ++c) {
          const size_t channel = config.layout == FilterLayout::kOrderSlowest
                                     ? o * config.width + c
                                     : c * config.convolutions() + o;
          const size_t filter =
              (layer * config.convolutions() + o) * groups + c / kLanes;
          for (size_t n = 0; n < lags; ++n) {
            const float got = taps[(filter * lags + n) * kLanes + c % kLanes];
            if (c >= config.width) {
              ASSERT_EQ(got, 0.0f);
              continue;
            }
            const double want = h[n * config.filter_channels() + channel] +
                                (n == 0 ? skip[channel] : 0.0);
            ASSERT_NEAR(got, want, 1e-7 * (1 + std::abs(want)))
                << "layer " << layer << " channel " << channel << " lag " << n;
          }
        }
      }
    }
  }
}

// What a file stores is what is taken, one without the other as well.
TEST_P(HyenaDeviceFiltersTest, PositionsOfTheFile) {
  HyenaConfig config = SmallConfig();
  config.layers = 3;
  const std::string filter = "backbone.layers.1.mixer.filter_fn.";
  for (int stored = 1; stored < 4; ++stored) {
    TestTensors tensors = RandomTensors(config, 7);
    const auto noise = [&](size_t columns) {
      TestTensor tensor = {{1, config.max_length, columns}, {}};
      for (size_t i = 0; i < config.max_length * columns; ++i) {
        tensor.values.push_back(static_cast<float>(i * 37 % 101) / 101.0f);
      }
      return tensor;
    };
    if ((stored & 1) != 0) {
      tensors[filter + "pos_emb.z"] = noise(config.features);
    }
    if ((stored & 2) != 0) tensors[filter + "pos_emb.t"] = noise(1);
    SCOPED_TRACE(stored);
    ExpectTheCpus(*Bind(config, tensors), 290, 100);
  }
}

// The published layouts, their trained numbers and stored positions.
TEST_P(HyenaDeviceFiltersTest, GoldenFilters) {
  for (const char* name :
       {"hyenadna-tiny-1k-hf", "hyenadna-tiny-1k-ckpt", "hyena-order3-ckpt"}) {
    SCOPED_TRACE(name);
    const io::ScratchFolder scratch;
    std::filesystem::path folder = Golden(name);
    if (!std::filesystem::exists(folder / "model.safetensors")) {
      const auto report =
          io::ConvertCheckpoint(folder, scratch.path() / "model", {});
      ASSERT_TRUE(report.ok()) << report.status().message();
      folder = scratch.path() / "model";
    }
    const auto model = LoadModel(folder);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const auto weights =
        std::dynamic_pointer_cast<const HyenaModel>(*model)->weights();
    ExpectTheCpus(*weights, weights->config().max_length, 400);
  }
}

// Each of several ranks evaluates what it owns.
TEST_P(HyenaDeviceFiltersTest, PartsAreThoseOfTheWhole) {
  for (HyenaConfig config : Configs()) {
    if (config.width <= 16) continue;
    config.layers = 3;
    const TestTensors tensors = RandomTensors(config, 8);
    const auto weights = Bind(config, tensors);
    const size_t lags = 70, filters = GroupsFor(config.width);
    const std::vector<float> whole =
        Taps(*weights, DeviceFilterPart::All(config, lags));
    for (size_t first = 0; first < config.width; first += 32) {
      DeviceFilterPart part;
      part.lags = lags;
      part.first_channel = first;
      part.channels = std::min<size_t>(32, config.width - first);
      part.first_layer = 1;
      part.layers = 2;
      part.panel = 64;
      const std::vector<float> taps = Taps(*weights, part);
      const size_t groups = GroupsFor(part.channels);
      for (size_t mixer = 0; mixer < 2 * config.convolutions(); ++mixer) {
        const float* const want =
            whole.data() +
            ((config.convolutions() + mixer) * filters + first / kLanes) *
                lags * kLanes;
        const float* const got = taps.data() + mixer * groups * lags * kLanes;
        ASSERT_TRUE(std::equal(got, got + groups * lags * kLanes, want))
            << "from channel " << first << ", mixer " << mixer;
      }
    }
  }
}

// Frequencies that no model has: the library's sine.
TEST_P(HyenaDeviceFiltersTest, SinesOfMillions) {
  HyenaConfig config = SmallConfig();
  config.filter_inner_layers = 0;
  TestTensors tensors = RandomTensors(config, 9);
  const std::string name =
      "backbone.layers.0.mixer.filter_fn.implicit_filter.1.freq";
  for (size_t f = 0; f < tensors.at(name).values.size(); f += 2) {
    tensors.at(name).values[f] = 3e7f;
  }
  const auto weights = Bind(config, tensors);
  const std::vector<float> got =
      Taps(*weights, DeviceFilterPart::All(config, 300));
  if (!Fuses(SupportedSimdTargets().front())) {
    GTEST_SKIP() << "angles of millions have other digits here";
  }
  const std::vector<float> want =
      Flat(*MakeHyenaFilters(*weights, 300, pool_, nullptr).value());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 1e-7 * (1 + std::abs(want[i]))) << i;
  }
}

TEST_P(HyenaDeviceFiltersTest, WhatIsNotFiniteIsTheCpusSentence) {
  const HyenaConfig config = SmallConfig();
  const std::string filter = "backbone.layers.1.mixer.filter_fn.";
  for (const bool positions : {false, true}) {
    TestTensors tensors = RandomTensors(config, 10);
    TestTensor t = {{1, config.max_length, 1},
                    std::vector<float>(config.max_length, 0.5f)};
    t.values[180] = positions ? INFINITY : -3e38f;
    tensors[filter + "pos_emb.t"] = t;
    if (!positions) {
      // exp(700) is finite as float64 alone.
      for (float& v : tensors[filter + "implicit_filter.6.weight"].values) {
        v = 100;
      }
    }
    const auto weights = Bind(config, tensors);
    EXPECT_TRUE(MakeDeviceTaps(device_, *weights,
                               DeviceFilterPart::All(config, 180), pool_,
                               nullptr)
                    .ok());
    const auto taps = MakeDeviceTaps(
        device_, *weights, DeviceFilterPart::All(config, 181), pool_, nullptr);
    ASSERT_FALSE(taps.ok());
    const auto host = MakeHyenaFilters(*weights, 181, pool_, nullptr);
    ASSERT_FALSE(host.ok());
    EXPECT_EQ(taps.status().message(), host.status().message());
    EXPECT_EQ(taps.status().code(), host.status().code());
    EXPECT_TRUE(device_->status().ok());
  }
}

TEST_P(HyenaDeviceFiltersTest, ProgressIsToldAndMayStop) {
  const HyenaConfig config = SmallConfig();
  const TestTensors tensors = RandomTensors(config, 11);
  const auto weights = Bind(config, tensors);
  DeviceFilterPart part = DeviceFilterPart::All(config, 300);
  part.panel = 50;
  for (const size_t allowed : {0, 1, 3, 6, 100}) {
    size_t asked = 0;
    double last = 0;
    const auto taps =
        MakeDeviceTaps(device_, *weights, part, pool_, [&](double done) {
          EXPECT_GE(done, last);
          last = done;
          return ++asked <= allowed;
        });
    ASSERT_EQ(taps.ok(), allowed == 100);
    if (taps.ok()) {
      EXPECT_EQ(last, 1.0);
      EXPECT_GT(asked, 6u);
    } else {
      EXPECT_EQ(taps.status().code(), StatusCode::kCancelled);
      EXPECT_EQ(asked, allowed + 1);
    }
  }
}

TEST(EmulatedHyenaFiltersTest, EveryByteIsForetold) {
  for (const HyenaConfig& config : Configs()) {
    const TestTensors tensors = RandomTensors(config, 12);
    const auto weights = Bind(config, tensors);
    ThreadPool pool(1);
    for (const size_t panel : {0, 40}) {
      for (const size_t channels :
           {config.width, std::min<size_t>(config.width, 16)}) {
        const auto device = MakeEmulatedDevice();
        DeviceFilterPart part;
        part.lags = std::min<size_t>(config.max_length, 100);
        part.channels = channels;
        part.layers = config.layers;
        part.panel = panel;
        const auto taps = MakeDeviceTaps(device, *weights, part, pool, nullptr);
        ASSERT_TRUE(taps.ok());
        EXPECT_EQ(EmulatedPeakBytes(*device),
                  DeviceTapsSize(config, part) * sizeof(float) +
                      DeviceFilterBytes(config, part));
      }
    }
  }
}

TEST(EmulatedHyenaFiltersTest, PanelsHaveABound) {
  HyenaConfig config = SmallConfig();
  config.max_length = size_t{1} << 20;
  config.width = 256;
  for (const size_t width : {64, 1024, 1 << 14}) {
    config.filter_width = width;
    DeviceFilterPart part = DeviceFilterPart::All(config, 128);
    const size_t least = DeviceFilterBytes(config, part);
    part.lags = config.max_length;
    const size_t most = DeviceFilterBytes(config, part);
    // 64 MiB of panels, and the positions.
    EXPECT_LE(most - least, size_t{65} << 20) << width;
    EXPECT_EQ(most == least, width == 1 << 14) << width;
  }
}

// Tells when pages are let go of.
class PagedSource final : public TensorSource {
 public:
  PagedSource(const TestTensors* tensors, std::function<void()> on_drop)
      : tensors_(MakeMapSource(tensors)), on_drop_(std::move(on_drop)) {}
  bool Has(const std::string& name) const override {
    return tensors_->Has(name);
  }
  StatusOr<const float*> Get(const std::string& name,
                             const std::vector<size_t>& shape,
                             bool check_finite) override {
    return tensors_->Get(name, shape, check_finite);
  }
  void DropPages(const float*, size_t) const override { on_drop_(); }
  Status CheckIntact() const override { return tensors_->CheckIntact(); }
  std::vector<std::string> Unused() const override {
    return tensors_->Unused();
  }
  std::string Name() const override { return tensors_->Name(); }

 private:
  const std::unique_ptr<TensorSource> tensors_;
  const std::function<void()> on_drop_;
};

// Each rank reads all positions of the file, which is not to be read as often.
TEST(EmulatedHyenaFiltersTest, PagesOfPositionsGoBehindTheLastRank) {
  HyenaConfig config = SmallConfig();
  config.width = 40;
  TestTensors tensors = RandomTensors(config, 15);
  for (size_t layer = 0; layer < config.layers; ++layer) {
    tensors[fmt::format("backbone.layers.{}.mixer.filter_fn.pos_emb.t",
                        layer)] = {{1, config.max_length, 1},
                                   std::vector<float>(config.max_length, 0.5f)};
  }
  const auto devices = MakeEmulatedRanks(3);
  size_t drops = 0;
  std::vector<size_t> launches;  // Of each rank at the first drop.
  const auto on_drop = [&] {
    if (drops++ != 0) return;
    for (const auto& device : devices) {
      launches.push_back(EmulatedLaunches(*device));
    }
  };
  auto source = std::make_unique<PagedSource>(&tensors, on_drop);
  const auto weights = HyenaWeights::Bind(config, std::move(source)).value();
  const auto model =
      MakeDeviceModel(std::make_shared<HyenaModel>(weights, "test"), devices)
          .value();
  ThreadPool pool(1);
  PrepareOptions options;
  options.horizon = 100;
  options.steps = 0;
  ASSERT_TRUE(model->Prepare(options, pool, nullptr).ok());
  EXPECT_EQ(drops, config.layers);
  ASSERT_EQ(launches.size(), 3u);
  for (size_t r = 0; r < 3; ++r) {
    EXPECT_GT(launches[r], 0u) << r;
    EXPECT_EQ(launches[r], EmulatedLaunches(*devices[r])) << r;
  }
}

TEST(EmulatedHyenaFiltersTest, ALostDeviceIsItsError) {
  const HyenaConfig config = SmallConfig();
  const TestTensors tensors = RandomTensors(config, 13);
  const auto weights = Bind(config, tensors);
  ThreadPool pool(1);
  const auto device = MakeEmulatedDevice({.launches_until_lost = 5});
  const auto taps = MakeDeviceTaps(
      device, *weights, DeviceFilterPart::All(config, 100), pool, nullptr);
  ASSERT_FALSE(taps.ok());
  EXPECT_NE(taps.status().message().find("lost"), std::string::npos);
}

TEST(EmulatedHyenaFiltersTest, TooLittleMemoryIsASentence) {
  const HyenaConfig config = SmallConfig();
  const TestTensors tensors = RandomTensors(config, 14);
  const auto weights = Bind(config, tensors);
  ThreadPool pool(1);
  const DeviceFilterPart part = DeviceFilterPart::All(config, 100);
  const size_t taps_bytes = DeviceTapsSize(config, part) * sizeof(float);
  const size_t all = taps_bytes + DeviceFilterBytes(config, part);
  for (const size_t bytes : {taps_bytes - 1, all - 1, all}) {
    const auto device = MakeEmulatedDevice({.memory_bytes = bytes});
    const auto taps = MakeDeviceTaps(device, *weights, part, pool, nullptr);
    ASSERT_EQ(taps.ok(), bytes == all);
    if (taps.ok()) continue;
    EXPECT_EQ(taps.status().code(), StatusCode::kResourceExhausted);
    EXPECT_NE(taps.status().message().find("filters"), std::string::npos)
        << taps.status().message();
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, HyenaDeviceFiltersTest,
                         testing::ValuesIn(TestDevices()), DeviceTestName);

}  // namespace
}  // namespace lcsm::cuda
