// Matrix products against their scalar twin at awkward sizes, and the promise
// that bits do not depend on what is computed together, on every SIMD target.
#include "kernels/dense.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "kernels/ref/dense_ref.h"

namespace lcsm {
namespace {

std::vector<float> Normal(size_t n, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& f : v) f = normal(rng);
  return v;
}

class DenseTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ForceSimdTarget(GetParam()).ok());
    std::string name = GetDenseKernels().target;
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    ASSERT_EQ(name, GetParam()) << "the forced target is the one that runs";
  }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(DenseTest, MatchesTwin) {
  std::mt19937 rng(1);
  const DenseKernels& k = GetDenseKernels();
  for (size_t in : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 48, 100, 256, 1024}) {
    for (size_t rows : {1, 2, 3, 4, 5, 7, 8, 9, 12, 17, 33}) {
      // One float in front: rows start at odd multiples of 4 bytes.
      const std::vector<float> w = Normal(rows * in + 1, rng);
      const std::vector<float> bias = Normal(rows + 1, rng);
      for (size_t tokens : {1, 2, 3, 4, 5, 25}) {
        const size_t x_stride = in + 3, y_stride = rows + 5;
        const std::vector<float> x = Normal(tokens * x_stride + 1, rng);
        for (const float* b :
             {static_cast<const float*>(nullptr), bias.data() + 1}) {
          std::vector<float> y(tokens * y_stride, -7.0f);
          k.dense(w.data() + 1, b, in, 0, rows, x.data() + 1, x_stride, tokens,
                  y.data(), y_stride);
          std::vector<double> want(rows), size(rows);
          for (size_t t = 0; t < tokens; ++t) {
            ref::Dense(w.data() + 1, b, in, rows, x.data() + 1 + t * x_stride,
                       want.data(), size.data());
            for (size_t r = 0; r < rows; ++r) {
              // Chains of in / 4 terms at worst; rounding errors of a random
              // sign grow as the root of that. Eight times it is never met.
              const double bound =
                  6e-8 * (4 + 2 * std::sqrt(static_cast<double>(in))) * size[r];
              ASSERT_NEAR(y[t * y_stride + r], want[r], bound)
                  << in << " x " << rows << " token " << t << " row " << r;
            }
            for (size_t r = rows; r < y_stride; ++r) {
              ASSERT_EQ(y[t * y_stride + r], -7.0f) << "wrote past the rows";
            }
          }
        }
      }
    }
  }
}

TEST_P(DenseTest, BitsDoNotDependOnTokensOrRowRanges) {
  std::mt19937 rng(2);
  const DenseKernels& k = GetDenseKernels();
  for (size_t in : {5, 48, 100, 256}) {
    const size_t rows = 37, tokens = 29;
    const std::vector<float> w = Normal(rows * in, rng);
    const std::vector<float> bias = Normal(rows, rng);
    const std::vector<float> x = Normal(tokens * in, rng);
    std::vector<float> one(tokens * rows);
    for (size_t t = 0; t < tokens; ++t) {
      k.dense(w.data(), bias.data(), in, 0, rows, x.data() + t * in, in, 1,
              one.data() + t * rows, rows);
    }
    for (size_t cut : {1, 2, 3, 5, 8, 11, 36}) {
      for (size_t together : {1, 2, 3, 4, 7, 24, 29}) {
        std::vector<float> y(tokens * rows);
        for (size_t t = 0; t < tokens; t += together) {
          const size_t n = std::min(together, tokens - t);
          k.dense(w.data(), bias.data(), in, 0, cut, x.data() + t * in, in, n,
                  y.data() + t * rows, rows);
          k.dense(w.data(), bias.data(), in, cut, rows, x.data() + t * in, in,
                  n, y.data() + t * rows, rows);
        }
        ASSERT_EQ(std::memcmp(y.data(), one.data(), y.size() * sizeof(float)),
                  0)
            << "in " << in << " cut " << cut << " together " << together;
      }
    }
  }
}

TEST_P(DenseTest, PanelsOfSmallFormatsAreTheRoundedWeights) {
  std::mt19937 rng(13);
  const DenseKernels& k = GetDenseKernels();
  const size_t in = 75, rows = 19;
  const std::vector<float> w = Normal(rows * in, rng);
  const std::vector<float> x = Normal(in, rng);
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8}) {
    const PackedMatrix packed =
        PackedMatrix::Pack(format, w.data(), in, rows).value();
    std::vector<float> row(in), y(rows), want(rows);
    packed.UnpackRow(7, row.data());
    for (size_t i = 0; i < in; ++i) {
      EXPECT_NEAR(row[i], w[7 * in + i], 0.02);
    }
    k.dense_panels(PanelMatrix::Pack(packed).value(), nullptr, x.data(), in, 1,
                   y.data(), rows);
    k.dense_packed(packed, nullptr, 0, rows, x.data(), in, 1, want.data(),
                   rows);
    for (size_t r = 0; r < rows; ++r) EXPECT_NEAR(y[r], want[r], 2e-5);
  }
}

TEST_P(DenseTest, PanelsMatchTwinHoweverManyTokens) {
  std::mt19937 rng(12);
  const DenseKernels& k = GetDenseKernels();
  for (size_t in : {1, 2, 17, 255, 256, 257, 600}) {
    for (size_t rows : {1, 5, 15, 16, 17, 32, 33, 50}) {
      const std::vector<float> w = Normal(rows * in, rng);
      const std::vector<float> bias = Normal(rows, rng);
      const PanelMatrix panels = PanelMatrix::Pack(w.data(), in, rows).value();
      const size_t tokens = 29, x_stride = in + 3, y_stride = rows + 5;
      const std::vector<float> x = Normal(tokens * x_stride, rng);
      for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        std::vector<float> one(tokens * y_stride, -7.0f);
        for (size_t t = 0; t < tokens; ++t) {
          k.dense_panels(panels, b, x.data() + t * x_stride, x_stride, 1,
                         one.data() + t * y_stride, y_stride);
        }
        std::vector<double> want(rows), size(rows);
        for (size_t t = 0; t < tokens; ++t) {
          ref::Dense(w.data(), b, in, rows, x.data() + t * x_stride,
                     want.data(), size.data());
          for (size_t r = 0; r < rows; ++r) {
            const double bound =
                6e-8 * (4 + 2 * std::sqrt(static_cast<double>(in))) * size[r];
            ASSERT_NEAR(one[t * y_stride + r], want[r], bound)
                << in << " x " << rows << " token " << t << " row " << r;
          }
          for (size_t r = rows; r < y_stride; ++r) {
            ASSERT_EQ(one[t * y_stride + r], -7.0f) << "wrote past the rows";
          }
        }
        for (size_t together : {2, 3, 5, 6, 7, 11, 12, 13, 29}) {
          std::vector<float> y(tokens * y_stride, -7.0f);
          for (size_t t = 0; t < tokens; t += together) {
            k.dense_panels(panels, b, x.data() + t * x_stride, x_stride,
                           std::min(together, tokens - t),
                           y.data() + t * y_stride, y_stride);
          }
          ASSERT_EQ(y, one) << in << " x " << rows << " together " << together;
        }
      }
    }
  }
}

// Parts of a matrix, joined, are the whole of it in every bit.
TEST_P(DenseTest, PanelsOfRowsAndColumns) {
  std::mt19937 rng(13);
  const DenseKernels& k = GetDenseKernels();
  for (size_t in : {1, 255, 256, 257, 600}) {
    for (size_t rows : {1, 31, 32, 33, 100}) {
      const std::vector<float> w = Normal(rows * in, rng);
      const std::vector<float> bias = Normal(rows, rng);
      const PanelMatrix panels = PanelMatrix::Pack(w.data(), in, rows).value();
      const size_t tokens = 13, x_stride = in + 3, y_stride = rows + 5;
      const std::vector<float> x = Normal(tokens * x_stride, rng);
      std::vector<float> want(tokens * y_stride, -7.0f);
      k.dense_panels(panels, bias.data(), x.data(), x_stride, tokens,
                     want.data(), y_stride);
      for (size_t part : {2 * kPanelRows, 4 * kPanelRows}) {
        std::vector<float> y(tokens * y_stride, -7.0f);
        for (size_t r = 0; r < rows; r += part) {
          k.dense_panels(panels.Rows(r, std::min(part, rows - r)),
                         bias.data() + r, x.data(), x_stride, tokens,
                         y.data() + r, y_stride);
        }
        ASSERT_EQ(y, want) << in << " x " << rows << " by rows";
      }
      for (size_t part : {kPanelDepth, 2 * kPanelDepth}) {
        std::vector<float> y(tokens * y_stride, -7.0f);
        for (size_t c = 0; c < in; c += part) {
          const PanelView columns = panels.Columns(c, std::min(part, in - c));
          if (c == 0) {
            k.dense_panels(columns, bias.data(), x.data(), x_stride, tokens,
                           y.data(), y_stride);
          } else {
            k.add_panels(columns, x.data() + c, x_stride, tokens, y.data(),
                         y_stride);
          }
        }
        ASSERT_EQ(y, want) << in << " x " << rows << " by columns";
      }
    }
  }
}

constexpr WeightFormat kSmall[] = {WeightFormat::kBf16, WeightFormat::kInt8};

TEST(DenseWeightsTest, RoundedAsPromised) {
  std::mt19937 rng(4);
  for (size_t in : {1, 15, 16, 31, 32, 33, 100}) {
    for (size_t rows : {1, 7, 8, 9, 20}) {
      std::vector<float> w = Normal(rows * in, rng);
      // A row of zeros and, in the first, ties and extremes.
      if (rows > 2) std::fill_n(w.begin() + 2 * in, in, 0.0f);
      const float special[] = {0x1.01p0f, 0x1.03p0f, 0x1.010002p0f, -0.0f,
                               1e-45f,    -3.4e38f,  3.4028234e38f};
      if (in > 31) std::copy(std::begin(special), std::end(special), &w[3]);
      for (const WeightFormat format : kSmall) {
        const auto packed = PackedMatrix::Pack(format, w.data(), in, rows);
        ASSERT_TRUE(packed.ok());
        EXPECT_EQ(packed->bytes(), PackedMatrix::Bytes(format, in, rows));
        for (size_t r = 0; r < rows; ++r) {
          float largest = 0;
          for (size_t k = 0; k < in; ++k) {
            largest = std::max(largest, std::abs(w[r * in + k]));
          }
          for (size_t k = 0; k < in; ++k) {
            const double exact = w[r * in + k];
            const double got = ref::Weight(*packed, r, k);
            // Half a unit of 8 bits; bfloat16 has float32's subnormals, and
            // its largest number is 2^-9 below float32's.
            const double bound = format == WeightFormat::kInt8
                                     ? largest / 253.9
                                     : std::abs(exact) * 0x1p-8 + 0x1p-134;
            ASSERT_LE(std::abs(got - exact), bound)
                << Name(format) << " " << in << " row " << r << " column " << k;
          }
        }
      }
    }
  }
  const float ties[] = {0x1.01p0f, 0x1.03p0f};  // To even, both ways.
  const auto packed = PackedMatrix::Pack(WeightFormat::kBf16, ties, 2, 1);
  EXPECT_EQ(ref::Weight(*packed, 0, 0), 1.0);
  EXPECT_EQ(ref::Weight(*packed, 0, 1), 0x1.04p0);
  for (const WeightFormat format :
       {WeightFormat::kFloat32, WeightFormat::kBf16, WeightFormat::kInt8}) {
    EXPECT_EQ(WeightFormatFromName(Name(format)), format);
  }
  EXPECT_FALSE(WeightFormatFromName("fp8").has_value());
}

TEST_P(DenseTest, FewerBitsMatchTwin) {
  std::mt19937 rng(5);
  const DenseKernels& k = GetDenseKernels();
  for (const WeightFormat format : kSmall) {
    for (size_t in : {1, 7, 16, 17, 31, 32, 33, 64, 100, 256}) {
      for (size_t rows : {1, 3, 4, 5, 7, 8, 9, 12, 17, 33}) {
        const auto w =
            PackedMatrix::Pack(format, Normal(rows * in, rng).data(), in, rows);
        ASSERT_TRUE(w.ok());
        std::vector<float> rounded(rows * in);
        for (size_t i = 0; i < rows * in; ++i) {
          rounded[i] = static_cast<float>(ref::Weight(*w, i / in, i % in));
        }
        const std::vector<float> bias = Normal(rows + 1, rng);
        for (size_t tokens : {1, 2, 3, 4, 5, 25}) {
          const size_t x_stride = in + 3, y_stride = rows + 5;
          const std::vector<float> x = Normal(tokens * x_stride + 1, rng);
          for (const float* b :
               {static_cast<const float*>(nullptr), bias.data() + 1}) {
            std::vector<float> y(tokens * y_stride, -7.0f);
            k.dense_packed(*w, b, 0, rows, x.data() + 1, x_stride, tokens,
                           y.data(), y_stride);
            std::vector<double> want(rows), size(rows);
            for (size_t t = 0; t < tokens; ++t) {
              ref::Dense(rounded.data(), b, in, rows,
                         x.data() + 1 + t * x_stride, want.data(), size.data());
              for (size_t r = 0; r < rows; ++r) {
                // As for float32, and int8's scale rounds once more here and
                // once in `rounded`.
                const double bound =
                    6e-8 * (6 + 2 * std::sqrt(static_cast<double>(in))) *
                    size[r];
                ASSERT_NEAR(y[t * y_stride + r], want[r], bound)
                    << Name(format) << " " << in << " x " << rows << " token "
                    << t << " row " << r;
              }
              for (size_t r = rows; r < y_stride; ++r) {
                ASSERT_EQ(y[t * y_stride + r], -7.0f) << "wrote past the rows";
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(DenseTest, BitsOfFewerBitsDoNotDependOnTokensOrRowRanges) {
  std::mt19937 rng(6);
  const DenseKernels& k = GetDenseKernels();
  for (const WeightFormat format : kSmall) {
    for (size_t in : {5, 48, 100, 256}) {
      const size_t rows = 37, tokens = 29;
      const auto w =
          PackedMatrix::Pack(format, Normal(rows * in, rng).data(), in, rows);
      ASSERT_TRUE(w.ok());
      const std::vector<float> bias = Normal(rows, rng);
      const std::vector<float> x = Normal(tokens * in, rng);
      std::vector<float> one(tokens * rows);
      for (size_t t = 0; t < tokens; ++t) {
        k.dense_packed(*w, bias.data(), 0, rows, x.data() + t * in, in, 1,
                       one.data() + t * rows, rows);
      }
      for (size_t cut : {1, 2, 3, 5, 8, 11, 36}) {
        for (size_t together : {1, 2, 3, 4, 7, 24, 29}) {
          std::vector<float> y(tokens * rows, -7.0f);
          for (size_t t = 0; t < tokens; t += together) {
            const size_t n = std::min(together, tokens - t);
            k.dense_packed(*w, bias.data(), cut, rows, x.data() + t * in, in, n,
                           y.data() + t * rows, rows);
            for (size_t r = 0; r < cut; ++r) {
              ASSERT_EQ(y[t * rows + r], -7.0f) << "wrote before the range";
            }
            k.dense_packed(*w, bias.data(), 0, cut, x.data() + t * in, in, n,
                           y.data() + t * rows, rows);
          }
          ASSERT_EQ(std::memcmp(y.data(), one.data(), y.size() * sizeof(float)),
                    0)
              << Name(format) << " in " << in << " cut " << cut << " together "
              << together;
        }
      }
    }
  }
}

TEST_P(DenseTest, Sum) {
  for (size_t n : {0, 1, 7, 32, 33, 100, 1024}) {
    std::vector<float> x(n + 1, 0.5f);
    x[0] = 3;
    EXPECT_EQ(GetDenseKernels().sum(x.data() + 1, n), 0.5f * n);
  }
}

TEST_P(DenseTest, Float64Panels) {
  std::mt19937 rng(3);
  std::normal_distribution<double> normal;
  const DenseKernels& k = GetDenseKernels();
  for (size_t in : {1, 5, 33, 64}) {
    for (size_t rows : {1, 2, 3, 4, 6, 64, 97}) {
      std::vector<double> w(rows * in), bias(rows);
      // Aligned by hand: std::vector promises 16 bytes only.
      std::vector<double> x_memory(in * kPanel + 8),
          y_memory((rows + 1) * kPanel + 8);
      const auto align = [](std::vector<double>& v) {
        const uintptr_t p = reinterpret_cast<uintptr_t>(v.data());
        return reinterpret_cast<double*>((p + 63) / 64 * 64);
      };
      double* const x = align(x_memory);
      double* const y = align(y_memory);
      for (double& v : w) v = normal(rng);
      for (double& v : bias) v = normal(rng);
      for (size_t i = 0; i < in * kPanel; ++i) x[i] = normal(rng);
      for (size_t p = 0; p < kPanel; ++p) y[rows * kPanel + p] = -7;
      for (bool with_bias : {false, true}) {
        k.dense_f64(w.data(), with_bias ? bias.data() : nullptr, in, rows, x,
                    y);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t p = 0; p < kPanel; ++p) {
            long double want = with_bias ? bias[r] : 0;
            for (size_t i = 0; i < in; ++i) {
              want +=
                  static_cast<long double>(w[r * in + i]) * x[i * kPanel + p];
            }
            ASSERT_NEAR(y[r * kPanel + p], static_cast<double>(want), 1e-13);
          }
        }
      }
      for (size_t p = 0; p < kPanel; ++p) ASSERT_EQ(y[rows * kPanel + p], -7);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, DenseTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm
