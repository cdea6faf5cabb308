// Blocks of a decode step and of prefills, and the sampler, against their
// scalar references and the host's sampler.
#include <bit>
#include <cmath>
#include <random>
#include <tuple>

#include "cuda/test_devices.h"
#include "kernels/ref/pointwise_ref.h"
#include "runtime/sampler.h"

namespace lcsm::cuda {
namespace {

std::vector<float> Noise(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = normal(rng);
  return values;
}

class BlockKernelsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    device_ = OpenTestDevice(GetParam());
    queue_ = device_->NewQueue(false).value();
  }
  Array<float> Bring(const std::vector<float>& values) {
    return device_->Bring<float>(values, "test").value();
  }
  std::shared_ptr<Device> device_;
  std::unique_ptr<Queue> queue_;
};

struct LinearCase {
  size_t in, out, rows;
  bool norm, bf16;
  LinearThen then;
  uint32_t rounds = 1, log_teams = 0;
};

double WantOf(const LinearCase& c, const std::vector<float>& w,
              const std::vector<float>& b, const std::vector<double>& u,
              float before, size_t row, size_t o) {
  double sum = b[o];
  for (size_t i = 0; i < c.in; ++i) {
    sum += static_cast<double>(w[o * c.in + i]) * u[row * c.in + i];
  }
  if (c.then == LinearThen::kAdd) return before + sum;
  if (c.then == LinearThen::kGelu) return ref::Gelu(static_cast<float>(sum));
  return sum;
}

TEST_P(BlockKernelsTest, LinearLayers) {
  std::vector<LinearCase> cases;
  for (const size_t in : {1, 3, 4, 17, 128, 131, 256, 260}) {
    for (const size_t out : {1, 7, 8, 9, 33}) {
      const uint32_t rounds = out > 8 ? 2 : 1;
      cases.push_back({in, out, 1, in > 1, false, LinearThen::kStore, rounds});
      cases.push_back({in, out, 5, false, true, LinearThen::kAdd, rounds});
      cases.push_back({in, out, 8, in > 2, false, LinearThen::kGelu, rounds});
      cases.push_back({in, out, 1, in > 2, true, LinearThen::kStore, rounds});
    }
  }
  // Rows that registers hold, just, and not; whole and shared by teams; more
  // rounds than go side by side.
  for (const size_t in : {63, 128, 1020, 1024, 1028, 2052}) {
    for (const uint32_t log_teams : {0u, 1u, 2u, 3u}) {
      for (const uint32_t rounds : {1u, 2u, 5u}) {
        const LinearCase one = {
            in, 19, 1, true, false, LinearThen::kAdd, rounds, log_teams};
        cases.push_back(one);
        for (const size_t rows : {1, 3, 8}) {
          LinearCase c = one;
          c.rows = rows;
          c.bf16 = rows != 1 || in % 8 != 0;
          c.then = LinearThen::kStore;
          c.norm = rows == 3;
          cases.push_back(c);
        }
      }
    }
  }
  for (const LinearCase& c : cases) {
    SCOPED_TRACE(testing::Message()
                 << c.in << " to " << c.out << ", rows " << c.rows << " bf16 "
                 << c.bf16 << " rounds " << c.rounds << " teams 2^"
                 << c.log_teams);
    std::vector<float> w = Noise(c.in * c.out, 1);
    std::vector<Bfloat16> halves(w.size());
    for (size_t i = 0; i < w.size() && c.bf16; ++i) {
      halves[i].bits =
          static_cast<uint16_t>(std::bit_cast<uint32_t>(w[i]) >> 16);
      w[i] = ToFloat(halves[i]);
    }
    const std::vector<float> b = Noise(c.out, 2), x = Noise(c.rows * c.in, 3);
    const std::vector<float> nw = Noise(c.in, 4), nb = Noise(c.in, 5);
    const std::vector<float> before = Noise(c.rows * c.out, 6);
    const auto on_w = Bring(w), on_b = Bring(b), on_x = Bring(x),
               on_nw = Bring(nw), on_nb = Bring(nb), on_y = Bring(before);
    const auto on_h = device_->Bring<Bfloat16>(halves, "test").value();
    LinearWork work;
    work.weight = c.bf16 ? static_cast<const void*>(on_h.data()) : on_w.data();
    work.bias = on_b.data();
    work.in = static_cast<uint32_t>(c.in);
    work.out = static_cast<uint32_t>(c.out);
    work.rows = static_cast<uint32_t>(c.rows);
    work.rounds = c.rounds;
    work.log_teams = c.log_teams;
    work.x = on_x.data();
    work.norm_weight = c.norm ? on_nw.data() : nullptr;
    work.norm_bias = on_nb.data();
    work.eps = 1e-5f;
    work.y = on_y.data();
    work.then = c.then;
    if (c.bf16 && c.rows == 1) {
      queue_->Launch<LinearKernel<Bfloat16, 1>>(work);
    } else if (c.bf16) {
      queue_->Launch<LinearKernel<Bfloat16, 8>>(work);
    } else if (c.rows == 1) {
      queue_->Launch<LinearKernel<float, 1>>(work);
    } else {
      queue_->Launch<LinearKernel<float, 8>>(work);
    }
    ASSERT_TRUE(queue_->Wait().ok());
    const std::vector<float> got = Fetch(*device_, on_y.data(), c.rows * c.out);
    std::vector<double> u(x.begin(), x.end());
    for (size_t row = 0; row < c.rows && c.norm; ++row) {
      ref::LayerNorm(x.data() + row * c.in, nw.data(), nb.data(), c.in, 1e-5f,
                     u.data() + row * c.in);
    }
    for (size_t i = 0; i < got.size(); ++i) {
      const double want = WantOf(c, w, b, u, before[i], i / c.out, i % c.out);
      // float32 sums of `in` products of order 1.
      ASSERT_NEAR(got[i], want, 4e-6 * (std::sqrt(c.in) + std::abs(want))) << i;
    }
  }
}

// One position after another, with a past that is shorter, as long and longer
// than what is loaded at a time.
TEST(LinearKernelTest, ShortFirOfAStream) {
  constexpr size_t kSteps = 23, kStreams = 6, kRow = 1;
  for (const uint32_t taps : {1u, 2u, 3u, 4u, 5u, 6u, 10u}) {
    const uint32_t tail_rows = taps > 2 ? taps - 1 : 1;
    const std::vector<float> p = Noise(kSteps * kStreams, 1),
                             fir = Noise(taps * kStreams, 2),
                             bias = Noise(kStreams, 3);
    std::vector<float> tail((kRow + 1) * tail_rows * kStreams);
    MixWork mix;
    mix.width = 2;
    mix.order = 2;
    mix.fir_taps = taps;
    mix.tail_rows = tail_rows;
    mix.fir = fir.data();
    mix.fir_bias = bias.data();
    mix.tail = tail.data();
    for (size_t t = 0; t < kSteps; ++t) {
      for (size_t s = 0; s < kStreams; ++s) {
        double want = bias[s];
        for (size_t j = 0; j < taps && j <= t; ++j) {
          want += static_cast<double>(fir[(taps - 1 - j) * kStreams + s]) *
                  p[(t - j) * kStreams + s];
        }
        const float got = FirOfStream(mix, kRow, s, p[t * kStreams + s]);
        ASSERT_NEAR(got, want, 1e-5) << taps << " taps at " << t;
      }
    }
  }
}

// What a product's threads are asked to hold is there: all columns of the
// models that we know, where sharing them makes it so, and four a thread at
// least.
TEST(LinearKernelTest, TeamsShareLongRowsAndFewRows) {
  using Kernel = LinearKernel<float, 1>;
  struct Shape {
    uint32_t in, out, rounds;
    uint32_t want;
  };
  for (const Shape& shape : std::vector<Shape>{
           {256, 768, 3, 1},   // HyenaDNA's projections: 32 blocks else,
           {256, 256, 1, 1},   // as here;
           {256, 1024, 1, 0},  // there are 128;
           {1024, 256, 1, 2},  // a row fits, and few do.
           {768, 2304, 3, 2},  // The paper's width: two fours of columns
           {768, 3072, 1, 0},  // a stream are held, and eight of a row.
           {3072, 768, 1, 2},  // 24 of these, by four teams.
           {128, 384, 3, 0},   // No thread without columns.
           {100, 50, 1, 0},
           {65536, 8, 1, 3}}) {
    LinearWork work;
    work.in = shape.in;
    work.out = shape.out;
    work.rounds = shape.rounds;
    if (shape.rounds == 3) {
      work.then = LinearThen::kMix;
      work.mix.width = shape.out / 3;
    }
    work.log_teams = Kernel::LogTeams(work);
    EXPECT_EQ(work.log_teams, shape.want) << shape.in << " to " << shape.out;
    work.rows = 8;
    EXPECT_EQ(Kernel::LogTeams(work), shape.want) << "of eight rows";
    const uint64_t units = shape.out / shape.rounds;
    EXPECT_EQ(Kernel::Blocks(work), CeilDiv(units << shape.want, 8));
  }
}

// A launch may fetch before the one in front has run, and then has what was
// there before. Here that is shown to be seen: weights made by a launch.
TEST(LinearKernelTest, TheEmulatorFetchesAheadOfTheLaunchInFront) {
  for (const bool overlaps : {false, true}) {
    for (const bool apart : {false, true}) {
      const auto device = MakeEmulatedDevice({.overlaps = overlaps});
      const auto queue = device->NewQueue(false).value();
      const std::vector<float> ones(16, 1.0f);
      const auto one = device->Bring<float>(ones, "test").value();
      const auto made = device->NewArray<float>(4, "test").value();
      const auto y = device->NewArray<float>(1, "test").value();
      LinearWork work;
      work.weight = one.data();
      work.in = work.out = 4;
      work.x = one.data();
      work.y = made.data();
      queue->Launch<LinearKernel<float, 1>>(work);
      if (apart) queue->Clear(y.data(), sizeof(float));
      work.weight = made.data();
      work.out = 1;
      work.y = y.data();
      queue->Launch<LinearKernel<float, 1>>(work);
      ASSERT_TRUE(queue->Wait().ok());
      const float got = Fetch(*device, y.data(), 1)[0];
      if (overlaps && !apart) {
        EXPECT_TRUE(std::isnan(got));
      } else {
        EXPECT_EQ(got, 16);
      }
    }
  }
}

TEST_P(BlockKernelsTest, NormsOfManyRows) {
  for (const size_t width : {2, 5, 128, 300}) {
    constexpr size_t kRows = 3;
    const std::vector<float> x = Noise(kRows * width, 1), w = Noise(width, 2),
                             b = Noise(width, 3);
    const auto on_x = Bring(x), on_w = Bring(w), on_b = Bring(b);
    const auto y = device_->NewArray<float>(kRows * width, "test").value();
    queue_->Launch<NormRowsKernel>({.x = on_x.data(),
                                    .weight = on_w.data(),
                                    .bias = on_b.data(),
                                    .y = y.data(),
                                    .rows = kRows,
                                    .width = width,
                                    .eps = 1e-5f});
    ASSERT_TRUE(queue_->Wait().ok());
    const auto got = Fetch(*device_, y.data(), kRows * width);
    for (size_t row = 0; row < kRows; ++row) {
      std::vector<double> want(width);
      ref::LayerNorm(x.data() + row * width, w.data(), b.data(), width, 1e-5f,
                     want.data());
      for (size_t i = 0; i < width; ++i) {
        ASSERT_NEAR(got[row * width + i], want[i], 1e-5);
      }
    }
  }
}

// Rows cut into calls anyhow, against one row after another.
TEST_P(BlockKernelsTest, ShortFirsOfManyRows) {
  constexpr size_t kRows = 9, kStreams = 7;
  for (const uint32_t taps : {1u, 2u, 3u, 5u}) {
    const uint32_t tail_rows = taps > 2 ? taps - 1 : 1;
    const std::vector<float> p = Noise(kRows * kStreams, 1),
                             bias = Noise(kStreams, 2),
                             fir = Noise(taps * kStreams, 3),
                             fir_bias = Noise(kStreams, 4);
    const auto on_p = Bring(p), on_bias = Bring(bias), on_fir = Bring(fir),
               on_fir_bias = Bring(fir_bias);
    for (const size_t piece : {1, 2, 4, 9}) {
      const auto tail =
          device_->NewZeros<float>(tail_rows * kStreams, "test").value();
      const auto q = device_->NewArray<float>(kRows * kStreams, "test").value();
      for (size_t first = 0; first < kRows; first += piece) {
        FirRowsKernel::Args args;
        args.p = on_p.data() + first * kStreams;
        args.q = q.data() + first * kStreams;
        args.rows = std::min(piece, kRows - first);
        args.streams = kStreams;
        args.bias = on_bias.data();
        args.fir = on_fir.data();
        args.fir_bias = on_fir_bias.data();
        args.tail = tail.data();
        args.taps = taps;
        args.tail_rows = tail_rows;
        queue_->Launch<FirRowsKernel>(args);
        args.moves_tail = 1;
        queue_->Launch<FirRowsKernel>(args);
      }
      ASSERT_TRUE(queue_->Wait().ok());
      const auto got = Fetch(*device_, q.data(), kRows * kStreams);
      const auto left = Fetch(*device_, tail.data(), tail_rows * kStreams);
      for (size_t t = 0; t < kRows; ++t) {
        for (size_t s = 0; s < kStreams; ++s) {
          double want = fir_bias[s];
          for (size_t j = 0; j < taps; ++j) {
            if (t + j + 1 < taps) continue;
            const size_t at = t + j + 1 - taps;
            want += static_cast<double>(fir[j * kStreams + s]) *
                    (p[at * kStreams + s] + bias[s]);
          }
          ASSERT_NEAR(got[t * kStreams + s], want, 1e-5) << t << " " << s;
        }
      }
      for (size_t s = 0; s < kStreams; ++s) {
        EXPECT_EQ(left[(tail_rows - 1) * kStreams + s],
                  p[(kRows - 1) * kStreams + s] + bias[s]);
      }
    }
  }
}

TEST_P(BlockKernelsTest, SamplesTheHostsTokens) {
  std::mt19937 rng(11);
  for (int round = 0; round < 120; ++round) {
    const size_t vocab = round % 3 == 0 ? 12 : 1 + rng() % 700;
    SamplerOptions options;
    options.temperature = round % 7 == 0 ? 0 : 0.1 + 0.01 * (rng() % 200);
    options.top_k = rng() % 3 == 0 ? rng() % (vocab + 3) : 0;
    options.top_p = rng() % 2 == 0 ? 1 : 0.05 + 0.01 * (rng() % 95);
    options.min_p = rng() % 3 == 0 ? 0.01 * (rng() % 40) : 0;
    options.seed = rng();
    std::vector<int32_t> ids;
    for (size_t id = 0; id < vocab; ++id) {
      if (round % 4 != 0 || rng() % 2 == 0 ||
          (id + 1 == vocab && ids.empty())) {
        ids.push_back(static_cast<int32_t>(id));
      }
    }
    Sampler sampler = Sampler::Create(options, vocab, ids).value();
    std::vector<float> logits = Noise(vocab, static_cast<uint32_t>(round));
    // Ties, and what should not be.
    for (size_t k = 0; k + 1 < vocab && k < 5; ++k) {
      logits[rng() % vocab] = logits[rng() % vocab];
    }
    if (round % 10 == 0) logits[rng() % vocab] = NAN;
    if (round % 11 == 0) logits[rng() % vocab] = INFINITY;
    const uint64_t position = rng(), sample = rng() % 5;
    SampleOptions on = {options.temperature, options.top_p, options.min_p,
                        options.top_k,       options.seed,  sample,
                        ids.size()};
    StepControl control = {.known = position % 1000,
                           .origin = position - position % 1000};
    const auto on_options =
        device_->Bring<SampleOptions>(std::span(&on, 1), "test").value();
    const auto on_control =
        device_->Bring<StepControl>(std::span(&control, 1), "test").value();
    const auto on_ids = device_->Bring<int32_t>(ids, "test").value();
    const auto on_logits = Bring(logits);
    const auto out = device_->NewZeros<int32_t>(9, "test").value();
    queue_->Launch<SampleKernel>({.control = on_control.data(),
                                  .options = on_options.data(),
                                  .ids = on_ids.data(),
                                  .logits = on_logits.data(),
                                  .token = out.data() + 8,
                                  .sampled = out.data(),
                                  .ring = 8});
    ASSERT_TRUE(queue_->Wait().ok());
    const auto got = Fetch(*device_, out.data(), 9);
    const int32_t want = sampler.Sample(logits.data(), sample, position);
    EXPECT_EQ(got[8], want) << "round " << round << " of " << vocab;
    EXPECT_EQ(got[position % 8], want);
  }
}

// The synthetic stack's products, behind which red cells or noise come, against
// plain loops; red cells alone as well.
TEST_P(BlockKernelsTest, ProductsWithRedCellsAndNoise) {
  constexpr size_t kLength = 8, kNoiseRows = 3;
  constexpr uint64_t kMixer = 1, kMixers = 2;
  for (const auto& [in, out, rows] :
       {std::tuple<size_t, size_t, size_t>{4, 5, 1},
        {12, 3, 3},
        {68, 17, 8},
        {260, 33, 1},
        {9, 16, 2}}) {
    const uint64_t groups = (out + kLanes - 1) / kLanes;
    const size_t stride = kLength * kLanes;
    const std::vector<float> w = Noise(in * out, 1), x = Noise(rows * in, 2),
                             noise = Noise(kNoiseRows * rows * out, 3),
                             head = Noise(kMixers * groups * kHeadTaps * kLanes,
                                          4),
                             lines = Noise(kMixers * groups * rows * stride, 5);
    const auto on_w = Bring(w), on_x = Bring(x), on_noise = Bring(noise),
               on_head = Bring(head);
    for (const uint64_t known : {1, 4, 5, 6, 8}) {
      for (const bool skips : {false, true}) {
        SCOPED_TRACE(testing::Message() << in << " to " << out << ", rows "
                                        << rows << ", known " << known);
        const StepControl control = {.known = known, .skip_mixers = skips};
        const auto on_control =
            device_->Bring<StepControl>(std::span(&control, 1), "test").value();
        const auto on_lines = Bring(lines), again = Bring(lines);
        const auto y = device_->NewArray<float>(rows * out, "test").value();
        const auto next = device_->NewArray<float>(rows * out, "test").value();
        CellsWork cells;
        cells.control = on_control.data();
        cells.lines = on_lines.data();
        cells.stride = stride;
        cells.head = on_head.data();
        cells.mixer = kMixer;
        cells.groups = groups;
        cells.batch = rows;
        cells.length = kLength;
        cells.folds_tiny = 1;
        LinearWork linear;
        linear.weight = on_w.data();
        linear.in = static_cast<uint32_t>(in);
        linear.out = static_cast<uint32_t>(out);
        linear.rows = static_cast<uint32_t>(rows);
        linear.rounds = out > 8 ? 2 : 1;
        linear.x = on_x.data();
        linear.y = y.data();
        if (rows == 1) {
          queue_->Launch<StackDownKernel<float, 1>>(
              {linear, cells, on_control.data(), on_noise.data(), kNoiseRows,
               next.data()});
        } else {
          queue_->Launch<StackDownKernel<float, 8>>(
              {linear, cells, on_control.data(), on_noise.data(), kNoiseRows,
               next.data()});
        }
        ASSERT_TRUE(queue_->Wait().ok());
        const auto got = Fetch(*device_, y.data(), rows * out);
        const auto got_next = Fetch(*device_, next.data(), rows * out);
        // The product by itself, then red cells by themselves.
        queue_->Launch<LinearKernel<float, 8>>(linear);
        cells.lines = again.data();
        queue_->Launch<StackCellsKernel>({cells, y.data(), rows, out});
        ASSERT_TRUE(queue_->Wait().ok());
        EXPECT_EQ(Fetch(*device_, y.data(), rows * out), got);
        EXPECT_EQ(Fetch(*device_, again.data(), lines.size()),
                  Fetch(*device_, on_lines.data(), lines.size()));
        const auto left = Fetch(*device_, on_lines.data(), lines.size());
        for (size_t i = 0; i < got.size(); ++i) {
          const size_t row = i / out, channel = i % out;
          const size_t filter = kMixer * groups + channel / kLanes;
          const size_t lane = channel % kLanes;
          double want = 0;
          for (size_t k = 0; k < in; ++k) {
            want += double{w[channel * in + k]} * x[row * in + k];
          }
          const size_t cell =
              (filter * rows + row) * stride + (known - 1) * kLanes + lane;
          const double product = want;
          if (!skips) {
            want = product * head[filter * kHeadTaps * kLanes + lane] +
                   lines[cell];
            EXPECT_NEAR(left[cell], product, 1e-5 * std::sqrt(in));
          } else {
            EXPECT_EQ(left[cell], lines[cell]);
          }
          ASSERT_NEAR(got[i], want, 1e-5 * (std::sqrt(in) + std::abs(want)));
          EXPECT_EQ(got_next[i],
                    got[i] + noise[known % kNoiseRows * rows * out + i]);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, BlockKernelsTest,
                         testing::ValuesIn(TestDevices()), DeviceTestName);

}  // namespace
}  // namespace lcsm::cuda
