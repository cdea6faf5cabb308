#include "models/hyena_reference.h"

#include <fmt/format.h>

#include <cmath>

namespace lcsm {
namespace {

using Rows = std::vector<std::vector<double>>;

class MapSource : public TensorSource {
 public:
  explicit MapSource(const TestTensors* tensors) : tensors_(tensors) {}
  bool Has(const std::string& name) const override {
    return tensors_->count(name) != 0;
  }
  StatusOr<const float*> Get(const std::string& name,
                             const std::vector<size_t>& shape, bool) override {
    const auto found = tensors_->find(name);
    if (found == tensors_->end()) return NotFound("no " + name);
    if (found->second.shape != shape) return InvalidInput("shape of " + name);
    return found->second.values.data();
  }
  Status CheckIntact() const override { return OkStatus(); }
  std::vector<std::string> Unused() const override { return {}; }
  std::string Name() const override { return "test"; }

 private:
  const TestTensors* tensors_;
};

// Remembers what a source handed out.
class RecordingSource : public TensorSource {
 public:
  RecordingSource(std::unique_ptr<TensorSource> source, TestTensors* record)
      : source_(std::move(source)), record_(record) {}
  bool Has(const std::string& name) const override {
    return source_->Has(name);
  }
  StatusOr<const float*> Get(const std::string& name,
                             const std::vector<size_t>& shape,
                             bool check) override {
    StatusOr<const float*> data = source_->Get(name, shape, check);
    if (!data.ok()) return data;
    size_t n = 1;
    for (size_t extent : shape) n *= extent;
    (*record_)[name] = {shape, std::vector<float>(*data, *data + n)};
    return data;
  }
  Status CheckIntact() const override { return OkStatus(); }
  std::vector<std::string> Unused() const override { return {}; }
  std::string Name() const override { return "test"; }

 private:
  std::unique_ptr<TensorSource> source_;
  TestTensors* record_;
};

std::vector<double> Linear(const TestTensors& tensors,
                           const std::string& prefix,
                           const std::vector<double>& x) {
  const TestTensor& w = tensors.at(prefix + ".weight");
  const auto bias = tensors.find(prefix + ".bias");
  std::vector<double> y(w.shape[0]);
  for (size_t r = 0; r < y.size(); ++r) {
    y[r] = bias != tensors.end() ? bias->second.values[r] : 0.0;
    for (size_t k = 0; k < x.size(); ++k) {
      y[r] += static_cast<double>(w.values[r * x.size() + k]) * x[k];
    }
  }
  return y;
}

std::vector<double> Norm(const TestTensors& tensors, const std::string& prefix,
                         const std::vector<double>& x, double eps) {
  const double n = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (double v : x) mean += v / n;
  for (double v : x) variance += (v - mean) * (v - mean) / n;
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    y[i] = (x[i] - mean) / std::sqrt(variance + eps) *
               tensors.at(prefix + ".weight").values[i] +
           tensors.at(prefix + ".bias").values[i];
  }
  return y;
}

// Rounded to float32, as files store it.
double Float32(double v) { return static_cast<float>(v); }

std::string LayerName(size_t layer) {
  return fmt::format("backbone.layers.{}.", layer);
}

}  // namespace

std::unique_ptr<TensorSource> MakeMapSource(const TestTensors* tensors) {
  return std::make_unique<MapSource>(tensors);
}

TestTensors RandomTensors(const HyenaConfig& config, uint64_t seed) {
  TestTensors tensors;
  const auto weights = HyenaWeights::Bind(
      config,
      std::make_unique<RecordingSource>(MakeRandomSource(seed), &tensors));
  return weights.ok() ? tensors : TestTensors();
}

std::vector<double> ReferenceFilter(const HyenaConfig& config,
                                    const TestTensors& tensors, size_t layer,
                                    size_t count) {
  const std::string prefix = LayerName(layer) + "mixer.filter_fn.";
  const double pi = std::acos(-1.0);
  const double length = static_cast<double>(config.max_length);
  const size_t channels = config.filter_channels();
  std::vector<double> h(count * channels);
  for (size_t n = 0; n < count; ++n) {
    const double t = Float32(static_cast<double>(n) / (length - 1));
    const double angle = 2 * pi * static_cast<double>(n) / length;
    const size_t bands = (config.features - 1) / 2;
    std::vector<double> a = {t};
    std::vector<double> minus_sines;
    for (size_t b = 0; b < bands; ++b) {
      const double step = bands > 1 ? (static_cast<double>(bands) - 1 - 1e-4) /
                                          (static_cast<double>(bands) - 1)
                                    : 0;
      const double f = 1e-4 + step * static_cast<double>(b);
      a.push_back(Float32(std::cos(f * angle)));
      minus_sines.push_back(Float32(-std::sin(f * angle)));
    }
    a.insert(a.end(), minus_sines.begin(), minus_sines.end());
    for (size_t i = 0; i <= config.filter_inner_layers; ++i) {
      const std::string mlp = prefix + "implicit_filter.";
      a = Linear(tensors, mlp + std::to_string(2 * i), a);
      for (size_t f = 0; f < a.size(); ++f) {
        a[f] = std::sin(tensors.at(mlp + "1.freq").values[f] * a[f]);
      }
    }
    const std::vector<double> g =
        Linear(tensors,
               prefix + "implicit_filter." +
                   std::to_string(2 * config.filter_inner_layers + 2),
               a);
    double norm = 0;
    for (size_t c = 0; c < channels; ++c) {
      double window = 1;
      if (config.modulate) {
        const double slow = std::log(0.01) / 1.5, fast = std::log(0.01) / 0.3;
        const double delta = Float32(
            channels == 1 ? slow
                          : slow + (fast - slow) * static_cast<double>(c) /
                                       static_cast<double>(channels - 1));
        window = std::exp(-t * std::abs(delta)) + config.shift;
      }
      h[n * channels + c] = g[c] * window;
      norm += std::abs(h[n * channels + c]);
    }
    for (size_t c = 0; config.normalized && c < channels; ++c) {
      h[n * channels + c] /= norm;
    }
  }
  return h;
}

std::vector<double> ReferenceLogits(const HyenaConfig& config,
                                    const TestTensors& tensors,
                                    const std::vector<int32_t>& tokens) {
  const size_t width = config.width, length = tokens.size();
  const size_t order = config.order;
  const TestTensor& embedding =
      tensors.at("backbone.embeddings.word_embeddings.weight");
  Rows x(length, std::vector<double>(width));
  for (size_t t = 0; t < length; ++t) {
    for (size_t c = 0; c < width; ++c) {
      x[t][c] = embedding.values[static_cast<size_t>(tokens[t]) * width + c];
    }
  }
  for (size_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = LayerName(layer);
    const std::vector<double> h =
        ReferenceFilter(config, tensors, layer, length);
    const std::vector<float>& skip =
        tensors.at(prefix + "mixer.filter_fn.bias").values;
    Rows p;
    for (size_t t = 0; t < length; ++t) {
      p.push_back(
          Linear(tensors, prefix + "mixer.in_proj",
                 Norm(tensors, prefix + "norm1", x[t], config.block_norm_eps)));
    }
    const std::vector<float>& fir =
        tensors.at(prefix + "mixer.short_filter.weight").values;
    const std::vector<float>& fir_bias =
        tensors.at(prefix + "mixer.short_filter.bias").values;
    const size_t taps = config.fir_taps;
    Rows q(length, std::vector<double>((order + 1) * width));
    for (size_t t = 0; t < length; ++t) {
      for (size_t c = 0; c < q[t].size(); ++c) {
        q[t][c] = fir_bias[c];
        for (size_t back = 0; back < taps && back <= t; ++back) {
          q[t][c] += fir[c * taps + taps - 1 - back] * p[t - back][c];
        }
      }
    }
    const auto stream = [&](size_t t, size_t block, size_t c) {
      return q[t][block * width + c];
    };
    Rows v(length, std::vector<double>(width));
    for (size_t t = 0; t < length; ++t) {
      for (size_t c = 0; c < width; ++c) v[t][c] = stream(t, order, c);
    }
    for (size_t o = 0; o + 1 < order; ++o) {
      Rows gated = v;
      for (size_t t = 0; t < length; ++t) {
        for (size_t c = 0; c < width; ++c) {
          gated[t][c] *= stream(t, order - 1 - o, c);
        }
      }
      for (size_t c = 0; c < width; ++c) {
        const size_t channel = config.layout == FilterLayout::kOrderSlowest
                                   ? o * width + c
                                   : c * (order - 1) + o;
        for (size_t t = 0; t < length; ++t) {
          v[t][c] = skip[channel] * gated[t][c];
          for (size_t lag = 0; lag <= t; ++lag) {
            v[t][c] +=
                h[lag * config.filter_channels() + channel] * gated[t - lag][c];
          }
        }
      }
    }
    for (size_t t = 0; t < length; ++t) {
      for (size_t c = 0; c < width; ++c) v[t][c] *= stream(t, 0, c);
      const std::vector<double> y =
          Linear(tensors, prefix + "mixer.out_proj", v[t]);
      for (size_t c = 0; c < width; ++c) x[t][c] += y[c];
      std::vector<double> a =
          Linear(tensors, prefix + "mlp.fc1",
                 Norm(tensors, prefix + "norm2", x[t], config.block_norm_eps));
      for (double& e : a) {
        e = 0.5 * e *
            (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) *
                           (e + 0.044715 * e * e * e)));
      }
      const std::vector<double> z = Linear(tensors, prefix + "mlp.fc2", a);
      for (size_t c = 0; c < width; ++c) x[t][c] += z[c];
    }
  }
  const auto head = tensors.find("lm_head.weight");
  const TestTensor& w = head != tensors.end() ? head->second : embedding;
  std::vector<double> logits;
  for (size_t t = 0; t < length; ++t) {
    const std::vector<double> u =
        Norm(tensors, "backbone.ln_f", x[t], config.final_norm_eps);
    for (size_t r = 0; r < config.padded_vocab; ++r) {
      double sum = 0;
      for (size_t c = 0; c < width; ++c) sum += w.values[r * width + c] * u[c];
      logits.push_back(sum);
    }
  }
  return logits;
}

}  // namespace lcsm
