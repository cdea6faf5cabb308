// Matrices of a stack's blocks, laid out for many positions at a time: what
// known tokens go through where most positions are to come as such
// (PrepareOptions::steps), at the price of a second copy of the weights.
//
// Immutable; shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/panel_matrix.h"
#include "lcsm/status.h"
#include "models/stack_weights.h"

namespace lcsm {

class StackPanels {
 public:
  // Error: memory.
  static StatusOr<std::shared_ptr<const StackPanels>> Create(
      const StackWeights& weights);
  static size_t Bytes(const StackWeights& weights);

  // That of linear[i] of a step of these weights.
  const PanelMatrix& Of(const StackOp& op, size_t i) const {
    return matrices_[op.first_matrix + i];
  }

 private:
  StackPanels() = default;
  std::vector<PanelMatrix> matrices_;
};

}  // namespace lcsm
