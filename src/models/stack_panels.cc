#include "models/stack_panels.h"

#include <utility>

namespace lcsm {
namespace {

// Calls body(linear) for all linear maps of blocks, in the order of
// StackOp::first_matrix, until one fails.
template <typename Body>
Status ForEachLinear(const StackWeights& weights, Body&& body) {
  for (const StackBlockOps& block : weights.blocks()) {
    for (const StackPartOps& part : block.parts) {
      for (const StackOp& op : part.ops) {
        for (const LinearWeights& linear : op.linear) {
          LCSM_RETURN_IF_ERROR(body(linear));
        }
      }
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::shared_ptr<const StackPanels>> StackPanels::Create(
    const StackWeights& weights) {
  std::shared_ptr<StackPanels> panels(new StackPanels);
  LCSM_RETURN_IF_ERROR(
      ForEachLinear(weights, [&](const LinearWeights& linear) -> Status {
        LCSM_ASSIGN_OR_RETURN(
            PanelMatrix matrix,
            linear.packed != nullptr
                ? PanelMatrix::Pack(*linear.packed)
                : PanelMatrix::Pack(linear.weight, linear.in, linear.out));
        panels->matrices_.push_back(std::move(matrix));
        return OkStatus();
      }));
  return std::shared_ptr<const StackPanels>(std::move(panels));
}

size_t StackPanels::Bytes(const StackWeights& weights) {
  size_t bytes = 0;
  // Never fails.
  (void)ForEachLinear(weights, [&bytes](const LinearWeights& linear) {
    bytes += PanelMatrix::Bytes(linear.in, linear.out);
    return OkStatus();
  });
  return bytes;
}

}  // namespace lcsm
