#include "mixers/reference.h"

#include <algorithm>
#include <cmath>
#include <complex>

namespace lcsm::ref {

std::vector<double> Convolution(const std::vector<float>& taps,
                                const std::vector<float>& skip, size_t channels,
                                const std::vector<double>& x) {
  const size_t length = x.size() / channels, count = taps.size() / channels;
  std::vector<double> y(x.size());
  for (size_t c = 0; c < channels; ++c) {
    for (size_t t = 0; t < length; ++t) {
      double sum = skip.empty() ? 0 : skip[c] * x[t * channels + c];
      for (size_t n = 0; n < std::min(count, t + 1); ++n) {
        sum += taps[n * channels + c] * x[(t - n) * channels + c];
      }
      y[t * channels + c] = sum;
    }
  }
  return y;
}

std::vector<double> Modes(const DiagonalModes& modes,
                          const std::vector<float>& x) {
  const size_t channels = modes.channels, length = x.size() / channels;
  std::vector<double> y(x.size());
  for (size_t c = 0; c < channels; ++c) {
    std::vector<double> taps(length);
    for (size_t k = 0; k < modes.modes; ++k) {
      const std::complex<double> pole = modes.poles[c * modes.modes + k];
      for (size_t n = 0; n < length; ++n) {
        const std::complex<double> power =
            n == 0 ? 1.0 : std::pow(pole, static_cast<double>(n));
        taps[n] += (modes.residues[c * modes.modes + k] * power).real();
      }
    }
    if (!modes.skip.empty()) taps[0] += modes.skip[c];
    for (size_t t = 0; t < length; ++t) {
      for (size_t i = 0; i <= t; ++i) {
        y[t * channels + c] += taps[t - i] * x[i * channels + c];
      }
    }
  }
  return y;
}

std::vector<double> Selective(size_t channels, size_t states,
                              const std::vector<float>& a,
                              const std::vector<float>& skip,
                              const std::vector<float>& x) {
  const size_t width = 2 * (channels + states), length = x.size() / width;
  const auto at = [&](size_t t, size_t j) -> double {
    return x[t * width + j];
  };
  std::vector<double> y(length * channels);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t t = 0; t < length; ++t) {
      double sum = skip.empty() ? 0 : skip[c] * at(t, c);
      // exp of minus the time from i to t, going back.
      double time = 0;
      for (size_t i = t + 1; i-- > 0;) {
        const double delta = at(i, channels + c);
        for (size_t n = 0; n < states; ++n) {
          sum += at(t, 2 * channels + states + n) *
                 std::exp(a[c * states + n] * time) * delta *
                 at(i, 2 * channels + n) * at(i, c);
        }
        time += delta;
      }
      y[t * channels + c] = sum;
    }
  }
  return y;
}

std::vector<double> Attention(const LinearAttentionOptions& o,
                              const std::vector<float>& x) {
  using Feature = LinearAttentionOptions::Feature;
  using Gate = LinearAttentionOptions::Gate;
  const size_t gates = o.gate == Gate::kHead  ? 1
                       : o.gate == Gate::kKey ? o.key
                                              : 0;
  const size_t width = o.heads * (2 * o.key + o.value + gates);
  const size_t length = x.size() / width;
  const size_t keys = o.heads * o.key, values = 2 * keys;
  const auto feature = [&](double u) {
    if (o.feature == Feature::kRelu) return std::max(u, 0.0);
    if (o.feature == Feature::kEluPlusOne) return u > 0 ? u + 1 : std::exp(u);
    return u;
  };
  std::vector<double> y(length * o.heads * o.value);
  for (size_t h = 0; h < o.heads; ++h) {
    for (size_t t = 0; t < length; ++t) {
      const float* const now = x.data() + t * width;
      std::vector<double> decay(o.key, 1.0), sum(o.value);
      double weights = 0;
      for (size_t i = t + 1; i-- > 0;) {
        const float* const then = x.data() + i * width;
        double weight = 0;
        for (size_t j = 0; j < o.key; ++j) {
          weight += feature(static_cast<double>(o.scale) * now[h * o.key + j]) *
                    decay[j] * feature(then[keys + h * o.key + j]);
          if (o.gate == Gate::kConstant) decay[j] *= o.decay[h];
          const float* const gate = then + values + o.heads * o.value;
          if (o.gate == Gate::kHead) decay[j] *= gate[h];
          if (o.gate == Gate::kKey) decay[j] *= gate[h * o.key + j];
        }
        weights += weight;
        for (size_t j = 0; j < o.value; ++j) {
          sum[j] += weight * then[values + h * o.value + j];
        }
      }
      for (size_t j = 0; j < o.value; ++j) {
        y[(t * o.heads + h) * o.value + j] =
            o.normalise ? sum[j] / (weights + o.epsilon) : sum[j];
      }
    }
  }
  return y;
}

std::vector<double> Attention(const SoftmaxAttentionOptions& o,
                              const std::vector<float>& x) {
  const size_t first_key = o.heads * o.key;
  const size_t first_value = first_key + o.kv_heads * o.key;
  const size_t width = first_value + o.kv_heads * o.value;
  const size_t length = x.size() / width;
  // One head of q or k at position t, turned.
  const auto head = [&](size_t t, size_t first) {
    std::vector<double> v(o.key);
    for (size_t j = 0; j < o.key; ++j) v[j] = x[t * width + first + j];
    const size_t half = o.rotary / 2;
    for (size_t j = 0; j < half; ++j) {
      const std::complex<double> turned =
          std::complex<double>(v[j], v[j + half]) *
          std::polar(1.0, static_cast<double>(t) / o.position_scale *
                              o.frequencies[j]);
      v[j] = turned.real();
      v[j + half] = turned.imag();
    }
    return v;
  };
  std::vector<double> y(length * o.heads * o.value);
  for (size_t h = 0; h < o.heads; ++h) {
    const size_t g = h / (o.heads / o.kv_heads);
    for (size_t t = 0; t < length; ++t) {
      const std::vector<double> q = head(t, h * o.key);
      const size_t first = t + 1 - std::min(t + 1, o.window);
      std::vector<double> scores;
      double max = -INFINITY, sum = 0;
      for (size_t i = first; i <= t; ++i) {
        const std::vector<double> k = head(i, first_key + g * o.key);
        double score = 0;
        for (size_t j = 0; j < o.key; ++j) score += q[j] * k[j];
        score *= o.scale;
        if (o.soft_cap != 0) {
          score = o.soft_cap * std::tanh(score / o.soft_cap);
        }
        if (!o.slopes.empty()) {
          score -= o.slopes[h] * static_cast<double>(t - i);
        }
        scores.push_back(score);
        max = std::max(max, score);
      }
      for (double& score : scores) sum += score = std::exp(score - max);
      for (size_t i = first; i <= t; ++i) {
        for (size_t j = 0; j < o.value; ++j) {
          y[(t * o.heads + h) * o.value + j] +=
              scores[i - first] / sum *
              x[i * width + first_value + g * o.value + j];
        }
      }
    }
  }
  return y;
}

}  // namespace lcsm::ref
