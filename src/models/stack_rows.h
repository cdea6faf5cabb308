// What a stack does with single rows: norms and activations of every kind.
//
// Pure functions; an element's bits depend on its row alone.
#pragma once

#include <cstddef>

#include "models/stack_description.h"

namespace lcsm {

// A norm with its tensors.
struct RowNorm {
  StackNorm::Kind kind = StackNorm::Kind::kNone;
  double eps = 1e-5;
  bool eps_outside = false;
  // Null for 1 and 0; a layer norm has both.
  const float* weight = nullptr;
  const float* bias = nullptr;

  // One row; x and y may be the same.
  void Apply(const float* x, size_t width, float* y) const noexcept;
};

// n elements; x and y may be the same. Errors of a few units in the last place.
void Activate(StackActivation activation, const float* x, size_t n,
              float* y) noexcept;

}  // namespace lcsm
