// Online convolution on devices against float64 sums: every tau and method,
// random plans with deferred levels, transforms that fit into shared memory and
// that do not, odd channels, batches, sequences that end inside a block.
#include "cuda/tiles.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "conv/random_plan.h"
#include "conv/reference.h"
#include "cuda/test_devices.h"
#include "kernels/lanes.h"

namespace lcsm::cuda {
namespace {

using conv::Level;
using conv::Method;
using conv::Problem;
using conv::Tau;

class TilesTest : public testing::TestWithParam<std::string> {};

// One problem with random taps and inputs, and a session of it.
struct Session {
  Problem problem;
  std::vector<float> taps;    // [M][H][D]
  std::vector<float> inputs;  // [L][M][B][D]
  std::shared_ptr<Device> device;
  std::shared_ptr<const PreparedTiles> prepared;
  std::unique_ptr<Queue> queue;
  std::unique_ptr<Tiles> tiles;
  // Streams 1, 1 and x: the gates and the short FIR do nothing.
  Array<float> weight, bias, ones, zeros, tail, x, y;

  size_t Rows() const { return problem.mixers * problem.batch; }

  Session(const Problem& wanted, const conv::Plan& plan,
          const std::string& name, size_t shared_bytes)
      : problem(wanted), device(OpenTestDevice(name, shared_bytes)) {
    std::mt19937 rng(static_cast<uint32_t>(problem.length * 31 + problem.taps));
    std::normal_distribution<float> normal;
    const size_t d = problem.channels;
    taps.resize(problem.mixers * problem.taps * d);
    inputs.resize(problem.length * Rows() * d);
    for (float& v : taps) v = normal(rng);
    for (float& v : inputs) v = normal(rng);
    const auto bank = conv::FilterBank::Create(problem).value();
    for (size_t m = 0; m < problem.mixers; ++m) {
      bank->SetTaps(m, 0, bank->taps(), taps.data() + m * problem.taps * d);
    }
    prepared = PreparedTiles::Create(device, plan, *bank).value();
    queue = device->NewQueue(false).value();
    tiles = NewTiles();
    std::vector<float> w(3 * d * d, 0.0f), b(3 * d, 1.0f);
    for (size_t c = 0; c < d; ++c) {
      w[(2 * d + c) * d + c] = 1;
      b[2 * d + c] = 0;
    }
    weight = device->Bring<float>(w, "test").value();
    bias = device->Bring<float>(b, "test").value();
    ones =
        device->Bring<float>(std::vector<float>(3 * d, 1.0f), "test").value();
    zeros = device->NewZeros<float>(3 * d, "test").value();
    tail = device->NewZeros<float>(problem.batch * 3 * d, "test").value();
    x = device->NewZeros<float>(Rows() * d, "test").value();
    y = device->NewZeros<float>(Rows() * d, "test").value();
  }

  std::unique_ptr<Tiles> NewTiles() {
    auto made = Tiles::Create(prepared, *queue);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return std::move(made).value();
  }

  // Red cells of all mixers, one after another; gives [M][B][D].
  std::vector<float> Step(Tiles& session) {
    const size_t t = session.known(), d = problem.channels;
    const size_t row = Rows() * d;
    EXPECT_TRUE(
        device->Upload(x.data(), inputs.data() + t * row, row * sizeof(float))
            .ok());
    queue->Launch<CountKernel>({session.control()});
    for (size_t m = 0; m < problem.mixers; ++m) {
      LinearWork work;
      work.weight = weight.data();
      work.bias = bias.data();
      work.in = static_cast<uint32_t>(d);
      work.out = static_cast<uint32_t>(3 * d);
      work.rows = static_cast<uint32_t>(problem.batch);
      work.rounds = 3;
      work.x = x.data() + m * problem.batch * d;
      work.y = y.data() + m * problem.batch * d;
      work.then = LinearThen::kMix;
      work.mix.control = session.control();
      work.mix.width = static_cast<uint32_t>(d);
      work.mix.fir = ones.data();
      work.mix.fir_bias = zeros.data();
      work.mix.tail = tail.data();
      work.mix.lines = session.lines();
      work.mix.stride = session.stride();
      work.mix.head = prepared->head();
      work.mix.first_mixer = m;
      work.mix.groups = GroupsFor(d);
      work.mix.batch = problem.batch;
      work.mix.length = problem.length;
      work.mix.folds_tiny = session.folds_tiny() ? 1 : 0;
      queue->Launch<LinearKernel<float, 8>>(work);
    }
    session.Advance();
    const Status status = queue->Wait();
    EXPECT_TRUE(status.ok()) << status.message();
    return Fetch(*device, y.data(), row);
  }

  // A channel's signals, m and b being mixer and row.
  std::vector<float> Input(size_t m, size_t b, size_t c) const {
    std::vector<float> signal;
    for (size_t t = 0; t < problem.length; ++t) {
      signal.push_back(inputs[((t * problem.mixers + m) * problem.batch + b) *
                                  problem.channels +
                              c]);
    }
    return signal;
  }
  std::vector<float> Taps(size_t m, size_t c) const {
    std::vector<float> rho;
    for (size_t n = 0; n < std::min(problem.taps, problem.length); ++n) {
      rho.push_back(taps[(m * problem.taps + n) * problem.channels + c]);
    }
    return rho;
  }
};

void Check(const Problem& problem, const conv::Plan& plan,
           const std::string& device, size_t shared_bytes) {
  SCOPED_TRACE(plan.Print() + " of " + std::to_string(problem.length) +
               " positions, " + std::to_string(problem.taps) + " taps");
  Session run(problem, plan, device, shared_bytes);
  std::vector<std::vector<float>> outputs;
  for (size_t t = 0; t < problem.length; ++t) {
    outputs.push_back(run.Step(*run.tiles));
  }
  for (size_t m = 0; m < problem.mixers; ++m) {
    for (size_t b = 0; b < problem.batch; ++b) {
      for (size_t c = 0; c < problem.channels; ++c) {
        const std::vector<float> x = run.Input(m, b, c), rho = run.Taps(m, c);
        const std::vector<double> want = conv::ReferenceConvolution(
            x.data(), x.size(), rho.data(), rho.size());
        // A lone position has no logarithm to speak of, but its rounding.
        const double bound = std::max(
            conv::ErrorBound(x.data(), x.size(), rho.data(), rho.size()), 1e-6);
        for (size_t t = 0; t < problem.length; ++t) {
          const float got =
              outputs[t][(m * problem.batch + b) * problem.channels + c];
          ASSERT_NEAR(got, want[t], bound) << "mixer " << m << " row " << b
                                           << " channel " << c << " at " << t;
        }
      }
    }
  }
}

conv::Plan Make(const Problem& problem, const conv::PlanOptions& options) {
  auto plan = conv::MakePlan(problem, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return *plan;
}

TEST_P(TilesTest, MethodsAndTausAtAwkwardLengths) {
  std::vector<conv::PlanOptions> all = {{.method = Method::kLazy},
                                        {.method = Method::kEager},
                                        {.method = Method::kPlanned},
                                        {.method = Method::kGardner}};
  for (const Tau tau : {Tau::kDirect, Tau::kDirectBlocked, Tau::kFftLibrary,
                        Tau::kFftFused, Tau::kHybrid}) {
    all.push_back({.method = Method::kPaper, .tau = tau});
  }
  conv::PlanOptions flat = {.method = Method::kPlanned};
  flat.latency = conv::Latency::kFlat;
  all.push_back(flat);
  for (const conv::PlanOptions& options : all) {
    for (const size_t length : {1, 2, 3, 63, 64, 65, 130}) {
      Problem problem;
      problem.channels = 5;
      problem.length = problem.taps = length;
      Check(problem, Make(problem, options), GetParam(), 160 << 10);
    }
  }
}

TEST_P(TilesTest, MixersRowsAndShortFilters) {
  Problem problem;
  problem.mixers = 2;
  problem.channels = 17;
  problem.batch = 3;
  problem.length = 90;
  for (const size_t taps : {1, 2, 7, 33, 200}) {
    problem.taps = taps;
    Check(problem, Make(problem, {.method = Method::kPaper}), GetParam(),
          160 << 10);
  }
}

// With little shared memory, blocks of 64 and more go through device memory,
// a few histories at a time.
TEST_P(TilesTest, TransformsThatDoNotFit) {
  for (const size_t length : {100, 1100}) {
    Problem problem;
    problem.channels = 3;
    problem.mixers = 2;
    problem.length = problem.taps = length;
    Check(problem,
          Make(problem, {.method = Method::kPaper, .tau = Tau::kFftFused}),
          GetParam(), 1200);
  }
}

TEST_P(TilesTest, RandomPlans) {
  std::mt19937 rng(3);
  for (int round = 0; round < 40; ++round) {
    Problem problem;
    problem.mixers = 1 + rng() % 2;
    problem.channels = 1 + rng() % 20;
    problem.batch = 1 + rng() % 2;
    problem.length = 1 + rng() % 260;
    problem.taps = 1 + rng() % 300;
    const conv::Plan plan = conv::RandomPlan(problem, rng);
    if (!plan.levels.empty() && plan.levels.back().tau == Tau::kFftPast) {
      continue;  // Refused; see below.
    }
    Check(problem, plan, GetParam(), rng() % 2 == 0 ? 160 << 10 : 2400);
  }
}

TEST_P(TilesTest, CopiesGoOnAlikeAndDrainingTellsTheFuture) {
  Problem problem;
  problem.channels = 6;
  problem.length = problem.taps = 150;
  conv::PlanOptions flat = {.method = Method::kPlanned};
  flat.latency = conv::Latency::kFlat;
  for (const conv::PlanOptions& options :
       std::vector<conv::PlanOptions>{{.method = Method::kPaper},
                                      {.method = Method::kGardner},
                                      {.method = Method::kEager},
                                      flat}) {
    const conv::Plan plan = Make(problem, options);
    SCOPED_TRACE(plan.Print());
    Session run(problem, plan, GetParam(), 160 << 10);
    constexpr size_t kHalf = 77;
    for (size_t t = 0; t < kHalf; ++t) run.Step(*run.tiles);
    const auto copy = run.NewTiles(), end = run.NewTiles();
    ASSERT_TRUE(copy->CopyFrom(*run.tiles).ok());
    ASSERT_TRUE(end->CopyFrom(*run.tiles).ok());
    const size_t left = problem.length - kHalf;
    const auto drained =
        run.device->NewZeros<float>(left * kLanes, "test").value();
    ASSERT_TRUE(end->Drain(drained.data(), left * kLanes).ok());
    const std::vector<float> future =
        Fetch(*run.device, drained.data(), left * kLanes);
    for (size_t c = 0; c < problem.channels; ++c) {
      std::vector<float> x = run.Input(0, 0, c);
      std::fill(x.begin() + kHalf, x.end(), 0.0f);
      const std::vector<float> rho = run.Taps(0, c);
      const auto want = conv::ReferenceConvolution(x.data(), x.size(),
                                                   rho.data(), rho.size());
      for (size_t k = 0; k < left; ++k) {
        ASSERT_NEAR(
            future[k * kLanes + c], want[kHalf + k],
            conv::ErrorBound(x.data(), x.size(), rho.data(), rho.size()))
            << c << " " << k;
      }
    }
    for (size_t t = kHalf; t < problem.length; ++t) {
      const std::vector<float> one = run.Step(*copy);
      ASSERT_EQ(one, run.Step(*run.tiles)) << t;
    }
  }
}

TEST_P(TilesTest, RefusesWhatOnlyTheCpuHas) {
  Problem problem;
  problem.channels = 4;
  problem.length = problem.taps = 4096;
  const auto device = OpenTestDevice(GetParam());
  const auto bank = conv::FilterBank::Create(problem).value();
  const auto prepared = PreparedTiles::Create(
      device, Make(problem, {.method = Method::kFutureFill}), *bank);
  ASSERT_FALSE(prepared.ok());
  EXPECT_NE(prepared.status().message().find("futurefill"), std::string::npos)
      << prepared.status().message();
}

size_t TakenBytes(Device& device) {
  return device.info().memory_bytes - device.FreeBytes().value();
}

TEST(EmulatedTilesTest, BytesAreForetold) {
  Problem problem;
  problem.channels = 20;
  problem.mixers = 2;
  problem.length = problem.taps = 500;
  conv::PlanOptions flat = {.method = Method::kPlanned};
  flat.latency = conv::Latency::kFlat;
  for (const conv::PlanOptions& options : std::vector<conv::PlanOptions>{
           {},
           {.method = Method::kEager},
           {.method = Method::kLazy},
           {.method = Method::kGardner},
           {.method = Method::kPaper, .tau = Tau::kDirect},
           {.method = Method::kPaper, .tau = Tau::kDirectBlocked},
           {.method = Method::kPaper, .tau = Tau::kFftLibrary},
           {.method = Method::kPaper, .tau = Tau::kFftFused},
           flat}) {
    // With little shared memory transforms have scratch in device memory.
    for (const size_t shared_bytes : {2400, 160 << 10}) {
      const auto device = MakeEmulatedDevice(
          {.shared_bytes = shared_bytes, .l2_bytes = 64 << 10});
      const auto bank = conv::FilterBank::Create(problem).value();
      const conv::Plan plan = Make(problem, options);
      const conv::MemoryEstimate foretold =
          PreparedTiles::BytesFor(*device, plan).value();
      ForgetEmulatedPeak(*device);
      const auto prepared = PreparedTiles::Create(device, plan, *bank).value();
      // Every byte of what stays and of the most that was there meanwhile.
      EXPECT_EQ(TakenBytes(*device), foretold.taps + foretold.spectra)
          << plan.Print();
      EXPECT_EQ(EmulatedPeakBytes(*device),
                foretold.taps + foretold.spectra + foretold.making)
          << plan.Print();
      const auto queue = device->NewQueue(false).value();
      const auto tiles = Tiles::Create(prepared, *queue).value();
      EXPECT_EQ(TakenBytes(*device), foretold.Total()) << plan.Print();
    }
  }
}

TEST(EmulatedTilesTest, TooLittleMemoryIsASentence) {
  Problem problem;
  problem.channels = 64;
  problem.length = problem.taps = 4096;
  const auto device = MakeEmulatedDevice({.memory_bytes = 1 << 20});
  const auto bank = conv::FilterBank::Create(problem).value();
  const auto prepared = PreparedTiles::Create(device, Make(problem, {}), *bank);
  ASSERT_FALSE(prepared.ok());
  EXPECT_EQ(prepared.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(prepared.status().message().find("left for the filters'"),
            std::string::npos)
      << prepared.status().message();
}

INSTANTIATE_TEST_SUITE_P(Devices, TilesTest, testing::ValuesIn(TestDevices()),
                         DeviceTestName);

TEST(CudaDevices, ArePresent) {
  if (CudaDeviceCount() != 0) return;
  const auto opened = OpenCudaDevice(0);
  ASSERT_FALSE(opened.ok());
  GTEST_SKIP() << "device code ran in the emulator alone: "
               << opened.status().message();
}

}  // namespace
}  // namespace lcsm::cuda
