// Gates and other mixers in turn: the operator of Hyena, StripedHyena, H3 and
// their kin, whatever mixes inside.
//
// With n inner mixers of width D each, n + 2 streams stand side by side in x:
// x0, x1, ..., xn, v. For o = 0 .. n-1:
//   v <- v * x(n-o), then v <- inner[o] of v,
// and at last y = v * x0; that is, for one inner mixer and streams x0 | x1 | v,
//   y = x0 * inner(x1 * v).
// Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

class GatedMixer : public Mixer {
 public:
  // Errors: none inside; widths that differ; long convolutions inside that
  // differ in shape.
  static StatusOr<std::shared_ptr<const GatedMixer>> Create(
      std::vector<std::shared_ptr<const Mixer>> inner);

  std::string Describe() const override;
  size_t in_width() const override { return (inner_.size() + 2) * width_; }
  size_t out_width() const override { return width_; }
  MixerTraits traits() const override;
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  MixerConvolutions convolutions() const override { return convolutions_; }
  bool defers() const override;
  void Taps(size_t which, size_t first, size_t count,
            float* values) const noexcept override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override {
    return NewRows(resources, 1);
  }
  StatusOr<std::unique_ptr<MixerState>> NewRows(const Resources& resources,
                                                size_t rows) const override;

 private:
  GatedMixer() = default;
  std::vector<std::shared_ptr<const Mixer>> inner_;
  size_t width_ = 0;
  MixerConvolutions convolutions_;
};

}  // namespace lcsm
