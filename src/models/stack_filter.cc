#include "models/stack_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <memory>
#include <utility>

namespace lcsm {
namespace {

// Of an upsampled kernel: sums of them do not overflow.
constexpr size_t kMostTaps = size_t{1} << 40;

using Complex = std::complex<double>;
using Lags = StackFilter::Lags;

// What a tap of lag n is multiplied by.
double Lag(Lags lags, size_t n) {
  switch (lags) {
    case Lags::kAll:
      return 1;
    case Lags::kEven:
      return n % 2 == 0 ? 2 : 0;
    case Lags::kAlternating:
      return n % 2 == 0 ? 1 : -1;
  }
  return 1;
}

class FilterBinder {
 public:
  FilterBinder(const StackFilter& filter, const std::string& where,
               size_t channels, const std::vector<size_t>& stored,
               StackTensors& tensors)
      : filter_(filter),
        where_(where),
        channels_(channels),
        stored_(stored),
        tensors_(tensors) {}

  StatusOr<BoundFilter> Run() {
    switch (filter_.kind) {
      case StackFilter::Kind::kTaps:
        return Taps();
      case StackFilter::Kind::kBasis:
        return Basis();
      case StackFilter::Kind::kPoles:
        return Poles();
      case StackFilter::Kind::kLogPoles:
        return LogPoles();
      case StackFilter::Kind::kS4d:
        return S4d();
      case StackFilter::Kind::kShift:
        return Shift();
      case StackFilter::Kind::kMultiscale:
        return Multiscale();
      case StackFilter::Kind::kToeplitz:
        return Toeplitz();
    }
    return InternalError("an unknown filter");
  }

 private:
  // Our channel's place in the file.
  size_t Stored(size_t c) const { return stored_.empty() ? c : stored_[c]; }

  // Filters given as one function of channel (as stored) and lag.
  template <typename Tap>
  BoundFilter FromTaps(size_t taps, Tap tap) const {
    BoundFilter bound;
    bound.taps = taps;
    bound.source = [taps, tap, channels = channels_, stored = stored_](
                       size_t first, size_t count, float* values) {
      for (size_t n = first; n < first + count; ++n) {
        for (size_t c = 0; c < channels; ++c) {
          *values++ =
              n < taps
                  ? static_cast<float>(tap(stored.empty() ? c : stored[c], n))
                  : 0;
        }
      }
    };
    return bound;
  }

  StatusOr<BoundFilter> Taps() {
    LCSM_ASSIGN_OR_RETURN(const StackTensor tensor,
                          tensors_.Get(filter_.tensor, where_ + ".tensor"));
    std::vector<size_t> shape = tensor.Squeezed();
    if (shape.empty()) shape.push_back(1);
    // One filter for all, or one tap for each.
    if (shape.size() == 1) {
      const bool one_tap = tensor.shape.size() > 1 &&
                           (filter_.time_first ? tensor.shape.front()
                                               : tensor.shape.back()) == 1;
      shape.insert(one_tap != filter_.time_first ? shape.end() : shape.begin(),
                   1);
    }
    const size_t groups = shape[filter_.time_first ? 1 : 0];
    const size_t taps = shape[filter_.time_first ? 0 : 1];
    // (More than two dimensions.)
    if (shape.size() != 2 || taps == 0 || groups == 0 ||
        channels_ % groups != 0) {
      return tensors_.Misshapen(
          filter_.tensor, tensor.shape, where_ + ".tensor",
          fmt::format("{} with a number of groups that divides {} channels",
                      filter_.time_first ? "(taps, groups)" : "(groups, taps)",
                      channels_));
    }
    const double limit = filter_.soft_threshold;
    return FromTaps(
        taps, [lags = filter_.lags, data = tensor.data, groups, taps, limit,
               last = filter_.now_last, time_first = filter_.time_first,
               share = channels_ / groups](size_t c, size_t n) {
          const size_t g = c / share, at = last ? taps - 1 - n : n;
          double tap = time_first ? data[at * groups + g] : data[g * taps + at];
          if (limit > 0) {
            tap = std::copysign(std::max(std::abs(tap) - limit, 0.0), tap);
          }
          return tap * Lag(lags, n);
        });
  }

  StatusOr<BoundFilter> Basis() {
    LCSM_ASSIGN_OR_RETURN(const StackTensor basis,
                          tensors_.Get(filter_.tensor, where_ + ".tensor"));
    if (basis.shape.size() != 2 || basis.elements == 0) {
      return tensors_.Misshapen(filter_.tensor, basis.shape, where_ + ".tensor",
                                "(taps, filters)");
    }
    const size_t count = basis.shape[1];
    LCSM_ASSIGN_OR_RETURN(
        const float* const mix,
        tensors_.Get(filter_.mix, where_ + ".mix", {count, channels_}));
    return FromTaps(basis.shape[0], [lags = filter_.lags, data = basis.data,
                                     count, mix,
                                     channels = channels_](size_t c, size_t n) {
      double sum = 0;
      for (size_t k = 0; k < count; ++k) {
        sum += static_cast<double>(data[n * count + k]) * mix[k * channels + c];
      }
      return sum * Lag(lags, n);
    });
  }

  StatusOr<BoundFilter> Shift() {
    LCSM_ASSIGN_OR_RETURN(const StackTensor b,
                          tensors_.Get(filter_.b, where_ + ".b"));
    const size_t cells = b.elements / std::max<size_t>(channels_, 1);
    if (cells == 0 || b.elements != cells * channels_) {
      return tensors_.Misshapen(
          filter_.b, b.shape, where_ + ".b",
          fmt::format("({}, cells of a shift register)", channels_));
    }
    LCSM_RETURN_IF_ERROR(
        tensors_.GetSqueezed(filter_.b, where_ + ".b", {channels_, cells})
            .status());
    LCSM_ASSIGN_OR_RETURN(
        const float* const c,
        tensors_.GetSqueezed(filter_.c, where_ + ".c", {channels_, cells}));
    return FromTaps(cells, [b = b.data, c, cells](size_t channel, size_t n) {
      double sum = 0;
      for (size_t j = 0; j + n < cells; ++j) {
        sum += static_cast<double>(b[channel * cells + j]) *
               c[channel * cells + j + n];
      }
      return sum;
    });
  }

  // Modes of our channels, of which the file has `shape` numbers each: gives
  // how many there are.
  StatusOr<size_t> ModesOf(const std::string& name, const std::string& field,
                           size_t numbers) {
    LCSM_ASSIGN_OR_RETURN(const StackTensor tensor,
                          tensors_.Get(name, where_ + field));
    const size_t each = channels_ * numbers;
    if (tensor.elements == 0 || tensor.elements % each != 0) {
      return tensors_.Misshapen(
          name, tensor.shape, where_ + field,
          numbers == 1 ? fmt::format("({}, modes)", channels_)
                       : fmt::format("({}, modes, {})", channels_, numbers));
    }
    return tensor.elements / each;
  }

  StatusOr<BoundFilter> Poles() {
    LCSM_ASSIGN_OR_RETURN(const size_t modes,
                          ModesOf(filter_.poles, ".poles", 2));
    const std::vector<size_t> shape = {channels_, modes, 2};
    LCSM_ASSIGN_OR_RETURN(
        const float* const poles,
        tensors_.GetSqueezed(filter_.poles, where_ + ".poles", shape));
    LCSM_ASSIGN_OR_RETURN(
        const float* const residues,
        tensors_.GetSqueezed(filter_.residues, where_ + ".residues", shape));
    return FromModes(modes, [&](size_t at) {
      return std::pair(Complex(poles[2 * at], poles[2 * at + 1]),
                       Complex(residues[2 * at], residues[2 * at + 1]));
    });
  }

  StatusOr<BoundFilter> LogPoles() {
    LCSM_ASSIGN_OR_RETURN(const size_t modes,
                          ModesOf(filter_.poles, ".log_poles", 1));
    const std::vector<size_t> shape = {channels_, modes};
    LCSM_ASSIGN_OR_RETURN(
        const float* const logs,
        tensors_.GetSqueezed(filter_.poles, where_ + ".log_poles", shape));
    LCSM_ASSIGN_OR_RETURN(
        const float* const residues,
        tensors_.GetSqueezed(filter_.residues, where_ + ".residues", shape));
    return FromModes(modes, [&](size_t at) {
      return std::pair(Complex(std::exp(static_cast<double>(logs[at]))),
                       Complex(residues[at]));
    });
  }

  // A function of the mode's place in the file, which gives pole and residue.
  template <typename Mode>
  BoundFilter FromModes(size_t modes, Mode mode) const {
    BoundFilter bound;
    bound.taps = MixerConvolutions::kEndless;
    bound.modes.emplace();
    bound.modes->channels = channels_;
    bound.modes->modes = modes;
    for (size_t c = 0; c < channels_; ++c) {
      for (size_t s = 0; s < modes; ++s) {
        const auto [pole, residue] = mode(Stored(c) * modes + s);
        bound.modes->poles.push_back(pole);
        bound.modes->residues.push_back(residue);
      }
    }
    return bound;
  }

  StatusOr<BoundFilter> S4d() {
    LCSM_ASSIGN_OR_RETURN(const size_t modes, ModesOf(filter_.c, ".c", 2));
    const std::vector<size_t> pairs = {channels_, modes, 2};
    LCSM_ASSIGN_OR_RETURN(
        const float* const c,
        tensors_.GetSqueezed(filter_.c, where_ + ".c", pairs));
    const float* b = nullptr;
    if (!filter_.b.empty()) {
      LCSM_ASSIGN_OR_RETURN(
          b, tensors_.GetSqueezed(filter_.b, where_ + ".b", pairs));
    }
    LCSM_ASSIGN_OR_RETURN(
        const float* const log_dt,
        tensors_.GetSqueezed(filter_.log_dt, where_ + ".log_dt", {channels_}));
    // Channel c has row c % rows of A.
    LCSM_ASSIGN_OR_RETURN(
        const StackTensor real,
        tensors_.Get(filter_.log_a_real, where_ + ".log_a_real"));
    const size_t rows = real.elements / modes;
    if (rows == 0 || real.elements != rows * modes || channels_ % rows != 0) {
      return tensors_.Misshapen(
          filter_.log_a_real, real.shape, where_ + ".log_a_real",
          fmt::format("(rows, {}) with a number of rows that divides {} "
                      "channels",
                      modes, channels_));
    }
    LCSM_ASSIGN_OR_RETURN(
        const float* const imaginary,
        tensors_.GetSqueezed(filter_.a_imag, where_ + ".a_imag",
                             {rows, modes}));
    ContinuousModes continuous;
    continuous.channels = channels_;
    continuous.modes = modes;
    for (size_t i = 0; i < channels_; ++i) {
      const size_t channel = Stored(i);
      continuous.dt.push_back(std::exp(static_cast<double>(log_dt[channel])));
      for (size_t s = 0; s < modes; ++s) {
        const size_t a = channel % rows * modes + s;
        const size_t at = 2 * (channel * modes + s);
        continuous.a.emplace_back(-std::exp(static_cast<double>(real.data[a])),
                                  imaginary[a]);
        continuous.b.push_back(b == nullptr ? Complex(1)
                                            : Complex(b[at], b[at + 1]));
        continuous.c.emplace_back(c[at], c[at + 1]);
      }
    }
    LCSM_ASSIGN_OR_RETURN(
        DiagonalModes discrete,
        Discretize(continuous, filter_.zero_order_hold
                                   ? Discretization::kZeroOrderHold
                                   : Discretization::kBilinear));
    BoundFilter bound;
    bound.taps = MixerConvolutions::kEndless;
    bound.modes = std::move(discrete);
    return bound;
  }

  StatusOr<BoundFilter> Multiscale() {
    struct Kernel {
      const float* data;
      size_t size, factor, begin;
      double gain;
    };
    auto kernels = std::make_shared<std::vector<Kernel>>();
    const size_t scales = filter_.tensors.size();
    size_t taps = 0;
    for (size_t i = 0; i < scales; ++i) {
      const std::string field = fmt::format("{}.tensors.{}", where_, i);
      LCSM_ASSIGN_OR_RETURN(const StackTensor tensor,
                            tensors_.Get(filter_.tensors[i], field));
      const size_t size = tensor.elements / channels_;
      const size_t doublings = (i > 1 ? i - 1 : 0) + filter_.init_scale;
      if (size == 0 || tensor.elements != size * channels_ ||
          size > kMostTaps >> doublings) {
        return tensors_.Misshapen(
            filter_.tensors[i], tensor.shape, field,
            fmt::format("({}, taps), not beyond 2^40 when upsampled",
                        channels_));
      }
      kernels->push_back(
          {tensor.data, size, size_t{1} << doublings, taps,
           std::pow(filter_.multiplier, static_cast<double>(scales - 1 - i))});
      taps += size << doublings;
    }
    const float* divisor = nullptr;
    if (!filter_.divisor.empty()) {
      LCSM_ASSIGN_OR_RETURN(
          divisor, tensors_.GetSqueezed(filter_.divisor, where_ + ".divisor",
                                        {channels_}));
      for (size_t c = 0; c < channels_; ++c) {
        if (divisor[c] == 0) {
          return InvalidInput(fmt::format(
              "{}: tensor {} holds 0 at element {}, expected what a filter "
              "can be divided by",
              tensors_.Name(), filter_.divisor, c));
        }
      }
    }
    return FromTaps(taps, [kernels, divisor](size_t c, size_t n) {
      size_t i = kernels->size() - 1;
      while ((*kernels)[i].begin > n) --i;
      const Kernel& kernel = (*kernels)[i];
      // Linear, with the samples of either grid in the middle of their cells.
      const double at = std::max((static_cast<double>(n - kernel.begin) + 0.5) /
                                         static_cast<double>(kernel.factor) -
                                     0.5,
                                 0.0);
      const size_t low = std::min(static_cast<size_t>(at), kernel.size - 1);
      const size_t high = std::min(low + 1, kernel.size - 1);
      const double share = at - static_cast<double>(low);
      const float* const row = kernel.data + c * kernel.size;
      const double tap = row[low] * (1 - share) + row[high] * share;
      return tap * kernel.gain / (divisor == nullptr ? 1.0 : divisor[c]);
    });
  }

  struct Layer {
    const float* weight;
    const float* bias;
    size_t in, out;
  };

  StatusOr<Layer> BindLayer(const std::string& prefix, const char* field,
                            size_t in, size_t out) {
    Layer layer = {nullptr, nullptr, in, out};
    LCSM_ASSIGN_OR_RETURN(
        layer.weight,
        tensors_.Get(prefix + ".weight", where_ + field, {out, in}));
    LCSM_ASSIGN_OR_RETURN(
        layer.bias, tensors_.Get(prefix + ".bias", where_ + field, {out}));
    return layer;
  }

  StatusOr<BoundFilter> Toeplitz() {
    auto layers = std::make_shared<std::vector<Layer>>();
    const size_t width = filter_.width;
    LCSM_ASSIGN_OR_RETURN(const Layer first,
                          BindLayer(filter_.first, ".first", 1, width));
    layers->push_back(first);
    for (const std::string& hidden : filter_.hidden) {
      LCSM_ASSIGN_OR_RETURN(const Layer layer,
                            BindLayer(hidden, ".hidden", width, width));
      layers->push_back(layer);
    }
    LCSM_ASSIGN_OR_RETURN(const Layer last,
                          BindLayer(filter_.last, ".last", width, channels_));
    layers->push_back(last);
    BoundFilter bound;
    bound.taps = MixerConvolutions::kEndless;
    bound.source = [layers, norm = filter_.norm, gamma = filter_.gamma,
                    stored = stored_](size_t begin, size_t count,
                                      float* values) {
      std::vector<double> x, y;
      for (size_t n = begin; n < begin + count; ++n) {
        x.assign(1, static_cast<double>(n));
        for (size_t l = 0; l < layers->size(); ++l) {
          const Layer& layer = (*layers)[l];
          if (l > 0) NormAndRelu(norm, x);
          y.assign(layer.bias, layer.bias + layer.out);
          for (size_t r = 0; r < layer.out; ++r) {
            for (size_t k = 0; k < layer.in; ++k) {
              y[r] += layer.weight[r * layer.in + k] * x[k];
            }
          }
          x.swap(y);
        }
        const double decay = std::pow(gamma, static_cast<double>(n));
        for (size_t c = 0; c < x.size(); ++c) {
          *values++ =
              static_cast<float>(x[stored.empty() ? c : stored[c]] * decay);
        }
      }
    };
    return bound;
  }

  static void NormAndRelu(const StackNorm& norm, std::vector<double>& x) {
    const double size = static_cast<double>(x.size());
    double mean = 0, square = 0;
    if (norm.kind == StackNorm::Kind::kLayer) {
      for (const double v : x) mean += v / size;
    }
    for (const double v : x) square += (v - mean) * (v - mean) / size;
    double divisor = 1;
    if (norm.kind != StackNorm::Kind::kNone) {
      divisor = norm.eps_outside ? std::sqrt(square) + norm.eps
                                 : std::sqrt(square + norm.eps);
    }
    for (double& v : x) v = std::max((v - mean) / divisor, 0.0);
  }

  const StackFilter filter_;
  const std::string where_;
  const size_t channels_;
  const std::vector<size_t> stored_;
  StackTensors& tensors_;
};

}  // namespace

StatusOr<BoundFilter> BindFilter(const StackFilter& filter,
                                 const std::string& where, size_t channels,
                                 const std::vector<size_t>& stored,
                                 StackTensors& tensors) {
  return FilterBinder(filter, where, channels, stored, tensors).Run();
}

}  // namespace lcsm
