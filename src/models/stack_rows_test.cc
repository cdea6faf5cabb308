#include "models/stack_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace lcsm {
namespace {

double Wanted(StackActivation activation, double x) {
  switch (activation) {
    case StackActivation::kRelu:
      return x > 0 ? x : 0;
    case StackActivation::kSilu:
      return x / (1 + std::exp(-x));
    case StackActivation::kGelu:
      return x / 2 * std::erfc(-x / std::sqrt(2.0));
    case StackActivation::kGeluTanh:
      return x / 2 *
             (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) *
                            (x + 0.044715 * x * x * x)));
    case StackActivation::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case StackActivation::kTanh:
      return std::tanh(x);
    case StackActivation::kSoftplus:
      return x > 30 ? x : std::log1p(std::exp(x));
  }
  return 0;
}

TEST(StackRowsTest, ActivationsAreThoseOfTheirNames) {
  std::vector<float> x;
  for (int i = -400; i <= 400; ++i) x.push_back(static_cast<float>(i) / 10);
  x.insert(x.end(), {0.0f, -0.0f, 88.0f, -88.0f, 1000.0f, -1000.0f});
  for (StackActivation activation :
       {StackActivation::kRelu, StackActivation::kSilu, StackActivation::kGelu,
        StackActivation::kGeluTanh, StackActivation::kSigmoid,
        StackActivation::kTanh, StackActivation::kSoftplus}) {
    std::vector<float> y(x.size());
    Activate(activation, x.data(), x.size(), y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      // A few units in the last place of the argument or the value.
      const double bound = 8 * 0x1p-24 * std::max(1.0, std::abs(double{x[i]}));
      EXPECT_NEAR(y[i], Wanted(activation, x[i]), bound)
          << Name(activation) << " of " << x[i];
    }
    // In place, and in pieces.
    std::vector<float> z = x;
    Activate(activation, z.data(), 5, z.data());
    Activate(activation, z.data() + 5, z.size() - 5, z.data() + 5);
    EXPECT_EQ(z, y);
  }
}

TEST(StackRowsTest, RmsNormsWithEpsInsideAndOutside) {
  std::vector<float> x(37), weight(37), bias(37), y(37);
  double square = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = 0.01f * static_cast<float>(std::sin(3 * static_cast<double>(i)));
    weight[i] = static_cast<float>(i) / 8;
    bias[i] = 2 - weight[i];
    square += double{x[i]} * x[i] / 37;
  }
  for (const bool outside : {false, true}) {
    for (const bool weighed : {false, true}) {
      RowNorm norm;
      norm.kind = StackNorm::Kind::kRms;
      norm.eps = 1e-3;
      norm.eps_outside = outside;
      if (weighed) norm.weight = weight.data();
      if (weighed) norm.bias = bias.data();
      norm.Apply(x.data(), x.size(), y.data());
      const double divisor =
          outside ? std::sqrt(square) + norm.eps : std::sqrt(square + norm.eps);
      for (size_t i = 0; i < x.size(); ++i) {
        const double wanted =
            weighed ? x[i] / divisor * weight[i] + bias[i] : x[i] / divisor;
        EXPECT_NEAR(y[i], wanted, 1e-6);
      }
    }
  }
  // Nothing to divide by.
  RowNorm norm;
  norm.kind = StackNorm::Kind::kRms;
  norm.eps = 0;
  const std::vector<float> zeros(37);
  norm.Apply(zeros.data(), 37, y.data());
  EXPECT_EQ(y, zeros);
}

}  // namespace
}  // namespace lcsm
