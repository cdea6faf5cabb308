#include "kernels/ref/recurrent_ref.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lcsm::ref {

double Modes(const ModeWeights& w, size_t channel, double x,
             std::complex<double>* state) {
  double y = w.skip[channel] * x;
  for (size_t k = 0; k < w.modes; ++k) {
    const size_t at = k * w.stride + channel;
    const bool complex = w.pole_im != nullptr;
    const std::complex<double> pole(w.pole_re[at], complex ? w.pole_im[at] : 0);
    const std::complex<double> residue(w.residue_re[at],
                                       complex ? w.residue_im[at] : 0);
    state[k] = pole * state[k] + x;
    y += (residue * state[k]).real();
  }
  return y;
}

double Selective(const SelectiveWeights& w, size_t channel,
                 const SelectiveRow& row, double* state) {
  const double x = row.x[channel], delta = row.delta[channel];
  double y = w.skip[channel] * x;
  for (size_t n = 0; n < w.states; ++n) {
    const double decay = std::exp(delta * w.a[n * w.stride + channel]);
    state[n] = decay * state[n] + delta * row.b[n] * x;
    y += row.c[n] * state[n];
  }
  return y;
}

void Outer(const float* q, const float* k, const float* v, const float* gates,
           float gate, size_t key, size_t value, double* s, double* y) {
  for (size_t j = 0; j < value; ++j) {
    y[j] = 0;
    for (size_t i = 0; i < key; ++i) {
      double& at = s[i * value + j];
      at = (gates == nullptr ? gate : gates[i]) * at +
           static_cast<double>(k[i]) * v[j];
      y[j] += q[i] * at;
    }
  }
}

double EluPlusOne(float x, float scale) {
  const double a = static_cast<double>(x) * scale;
  return a > 0 ? a + 1 : std::exp(a);
}

void Attend(const AttentionScore& score, const float* q, const float* keys,
            const float* values, size_t key, size_t value, size_t count,
            float distance, double* y) {
  std::vector<double> s(count);
  double max = -INFINITY, sum = 0;
  for (size_t r = 0; r < count; ++r) {
    for (size_t j = 0; j < key; ++j) {
      s[r] += static_cast<double>(q[j]) * keys[r * key + j];
    }
    s[r] *= score.scale;
    if (score.cap != 0) s[r] = score.cap * std::tanh(s[r] / score.cap);
    s[r] -= score.slope * (distance - static_cast<double>(r));
    max = std::max(max, s[r]);
  }
  std::fill_n(y, value, 0.0);
  for (size_t r = 0; r < count; ++r) {
    const double weight = std::exp(s[r] - max);
    sum += weight;
    for (size_t j = 0; j < value; ++j) y[j] += weight * values[r * value + j];
  }
  for (size_t j = 0; j < value; ++j) y[j] /= sum;
}

}  // namespace lcsm::ref
