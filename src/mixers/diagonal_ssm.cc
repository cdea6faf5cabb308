#include "mixers/diagonal_ssm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "kernels/recurrent.h"

namespace lcsm {
namespace {

using Complex = std::complex<double>;

// Multiply-adds worth handing to another thread.
constexpr size_t kGrainProducts = 16384;
// Ranges of channels are multiples of a cache line.
constexpr size_t kUnit = 16;
// Known positions that one range of channels takes in before the next range
// does: its rows of weights and states stay in L1 meanwhile, and so do the
// lines of x that two ranges share.
constexpr size_t kPositions = 256;

bool Finite(Complex z) {
  return std::isfinite(z.real()) && std::isfinite(z.imag());
}

bool AllReal(const DiagonalModes& modes) {
  const auto real = [](Complex z) { return z.imag() == 0; };
  return std::all_of(modes.poles.begin(), modes.poles.end(), real) &&
         std::all_of(modes.residues.begin(), modes.residues.end(), real);
}

Status Check(const DiagonalModes& modes) {
  const size_t all = modes.channels * modes.modes;
  if (all == 0 || all / modes.modes != modes.channels) {
    return InvalidInput(fmt::format(
        "{} modes for each of {} channels, expected at least one of each",
        modes.modes, modes.channels));
  }
  if (modes.poles.size() != all || modes.residues.size() != all) {
    return InvalidInput(fmt::format(
        "{} poles and {} residues, expected {} for each of {} channels",
        modes.poles.size(), modes.residues.size(), modes.modes,
        modes.channels));
  }
  if (!modes.skip.empty() && modes.skip.size() != modes.channels) {
    return InvalidInput(
        fmt::format("a skip of {} numbers, expected one for each of {} "
                    "channels",
                    modes.skip.size(), modes.channels));
  }
  for (size_t i = 0; i < all; ++i) {
    if (!Finite(modes.poles[i]) || !Finite(modes.residues[i])) {
      return InvalidInput(fmt::format(
          "the pole {}{:+}i or residue {}{:+}i of mode {} of channel {} is not "
          "a finite number",
          modes.poles[i].real(), modes.poles[i].imag(),
          modes.residues[i].real(), modes.residues[i].imag(), i % modes.modes,
          i / modes.modes));
    }
  }
  return OkStatus();
}

// Taps from powers: the first of a block by exponentiation, the next ones by
// multiplying on, a few dozen roundings of 2^-53.
void ModeTaps(const DiagonalModes& modes, size_t first, size_t count,
              float* values) {
  for (size_t c = 0; c < modes.channels; ++c) {
    const Complex* const poles = modes.poles.data() + c * modes.modes;
    const Complex* const residues = modes.residues.data() + c * modes.modes;
    constexpr size_t kBlock = 64;
    for (size_t from = 0; from < count; from += kBlock) {
      const size_t to = std::min(count, from + kBlock);
      double sums[kBlock] = {};
      for (size_t k = 0; k < modes.modes; ++k) {
        // 0^0 is 1: a pole of 0 has a tap at 0 alone.
        const size_t power = first + from;
        Complex term = residues[k];
        if (power != 0) {
          term *= std::polar(
              std::pow(std::abs(poles[k]), static_cast<double>(power)),
              std::fmod(std::arg(poles[k]) * static_cast<double>(power),
                        2 * M_PI));
        }
        // By hand: the library's product looks for infinities.
        double re = term.real(), im = term.imag();
        const double pole_re = poles[k].real(), pole_im = poles[k].imag();
        for (size_t n = from; n < to; ++n) {
          sums[n - from] += re;
          const double next = re * pole_re - im * pole_im;
          im = re * pole_im + im * pole_re;
          re = next;
        }
      }
      for (size_t n = from; n < to; ++n) {
        values[n * modes.channels + c] = static_cast<float>(sums[n - from]);
      }
    }
  }
}

}  // namespace

StatusOr<DiagonalModes> Discretize(const ContinuousModes& modes,
                                   Discretization how) {
  const size_t all = modes.channels * modes.modes;
  if (modes.a.size() != all || modes.b.size() != all || modes.c.size() != all ||
      modes.dt.size() != modes.channels) {
    return InvalidInput(fmt::format(
        "a, b, c and dt of {}, {}, {} and {} numbers, expected {} for each of "
        "{} channels, and one dt",
        modes.a.size(), modes.b.size(), modes.c.size(), modes.dt.size(),
        modes.modes, modes.channels));
  }
  DiagonalModes out;
  out.channels = modes.channels;
  out.modes = modes.modes;
  out.skip = modes.skip;
  for (size_t i = 0; i < all; ++i) {
    const Complex a = modes.a[i], b = modes.b[i];
    const double dt = modes.dt[i / modes.modes];
    Complex pole, input;
    if (how == Discretization::kBilinear) {
      const Complex half = a * (dt / 2);
      pole = (1.0 + half) / (1.0 - half);
      input = b * dt / (1.0 - half);
    } else {
      pole = std::exp(a * dt);
      // (exp(a dt) - 1) / a tends to dt.
      input = a == Complex(0) ? b * dt : b * (pole - 1.0) / a;
    }
    out.poles.push_back(pole);
    out.residues.push_back(2.0 * modes.c[i] * input);
  }
  return out;
}

StatusOr<std::shared_ptr<const LongConvolution>> ModesAsConvolution(
    DiagonalModes modes) {
  LCSM_RETURN_IF_ERROR(Check(modes));
  const size_t channels = modes.channels;
  std::vector<float> skip = std::move(modes.skip);
  const auto shared = std::make_shared<const DiagonalModes>(std::move(modes));
  return LongConvolution::Create(
      channels, MixerConvolutions::kEndless,
      [shared](size_t first, size_t count, float* values) {
        ModeTaps(*shared, first, count, values);
      },
      std::move(skip));
}

class DiagonalSsmState final : public MixerState {
 public:
  DiagonalSsmState(const DiagonalSsm& mixer, FloatBuffer state,
                   ThreadPool& pool)
      : mixer_(mixer), state_(std::move(state)), pool_(pool) {
    const float* at = mixer.weights_.data();
    const size_t plane = mixer.modes_ * mixer.channels_;
    w_.modes = mixer.modes_;
    w_.stride = mixer.channels_;
    w_.skip = at;
    at += mixer.channels_;
    w_.pole_re = at;
    w_.residue_re = at + plane;
    if (!mixer.real_) {
      w_.pole_im = at + 2 * plane;
      w_.residue_im = at + 3 * plane;
    }
  }

  size_t bytes() const override { return state_.bytes(); }
  Status Save(io::SectionWriter& writer) const override {
    return writer.PutArray(
        "modes", std::span<const float>(state_.data(), state_.size()));
  }

 private:
  void DoStep(const float* x, float* y) noexcept override { Take(1, x, y); }
  Status DoPrefill(size_t count, const float* x, float* y) override {
    for (size_t first = 0; first < count; first += kPositions) {
      const size_t at = first * mixer_.channels_;
      Take(std::min(kPositions, count - first), x + at, y + at);
    }
    return OkStatus();
  }
  void Take(size_t count, const float* x, float* y) noexcept {
    const RecurrentKernels& kernels = GetRecurrentKernels();
    const auto run = mixer_.real_ ? kernels.modes_real : kernels.modes_complex;
    const size_t channels = mixer_.channels_;
    const size_t products = count * mixer_.modes_ * (mixer_.real_ ? 2 : 6);
    pool_.ParallelFor((channels + kUnit - 1) / kUnit,
                      kGrainProducts / (products * kUnit) + 1,
                      [&](size_t begin, size_t end, size_t) {
                        run(w_, begin * kUnit, std::min(end * kUnit, channels),
                            count, x, state_.data(), y);
                      });
  }
  Status DoPretend(size_t) override {
    FillPast(state_.data(), state_.size());
    return OkStatus();
  }
  void DoReset() noexcept override { state_.Zero(); }
  Status DoCopyFrom(const MixerState& other) override {
    const auto& from = static_cast<const DiagonalSsmState&>(other);
    std::copy_n(from.state_.data(), state_.size(), state_.data());
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState& shorter) override {
    return DoCopyFrom(shorter);
  }
  Status DoLoad(io::SectionReader& reader, size_t) override {
    return reader.GetArray("modes",
                           std::span<float>(state_.data(), state_.size()));
  }

  const DiagonalSsm& mixer_;
  ModeWeights w_ = {};
  FloatBuffer state_;
  ThreadPool& pool_;
};

StatusOr<std::shared_ptr<const DiagonalSsm>> DiagonalSsm::Create(
    const DiagonalModes& modes) {
  LCSM_RETURN_IF_ERROR(Check(modes));
  std::shared_ptr<DiagonalSsm> mixer(new DiagonalSsm);
  const size_t channels = mixer->channels_ = modes.channels;
  mixer->modes_ = modes.modes;
  mixer->real_ = AllReal(modes);
  const size_t plane = channels * modes.modes;
  LCSM_ASSIGN_OR_RETURN(
      mixer->weights_,
      FloatBuffer::Allocate(channels + (mixer->real_ ? 2 : 4) * plane,
                            "poles and residues"));
  float* const skip = mixer->weights_.data();
  std::copy(modes.skip.begin(), modes.skip.end(), skip);
  float* const planes = skip + channels;
  for (size_t c = 0; c < channels; ++c) {
    for (size_t k = 0; k < modes.modes; ++k) {
      const size_t from = c * modes.modes + k, to = k * channels + c;
      planes[to] = static_cast<float>(modes.poles[from].real());
      planes[plane + to] = static_cast<float>(modes.residues[from].real());
      if (mixer->real_) continue;
      planes[2 * plane + to] = static_cast<float>(modes.poles[from].imag());
      planes[3 * plane + to] = static_cast<float>(modes.residues[from].imag());
    }
  }
  return std::shared_ptr<const DiagonalSsm>(std::move(mixer));
}

std::string DiagonalSsm::Describe() const {
  return fmt::format("diagonal state space, {} channels, {} {} modes",
                     channels_, modes_, real_ ? "real" : "complex");
}

MixerMemory DiagonalSsm::Memory(size_t, size_t) const {
  return {weights_.bytes(), StateFloats() * sizeof(float)};
}

StatusOr<std::unique_ptr<MixerState>> DiagonalSsm::NewState(
    const Resources& resources) const {
  LCSM_ASSIGN_OR_RETURN(FloatBuffer state,
                        FloatBuffer::Allocate(StateFloats(), "modes"));
  return std::unique_ptr<MixerState>(
      new DiagonalSsmState(*this, std::move(state), *resources.pool));
}

}  // namespace lcsm
