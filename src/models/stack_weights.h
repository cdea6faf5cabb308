// A description's steps bound to their tensors: what a state executes.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "kernels/dense_weights.h"
#include "lcsm/status.h"
#include "mixers/mixer_set.h"
#include "models/hyena_weights.h"
#include "models/stack_description.h"
#include "models/stack_layout.h"
#include "models/stack_rows.h"
#include "models/stack_tensors.h"

namespace lcsm {

// One step. Which fields mean something is said by `kind`.
struct StackOp {
  StackStepKind kind = StackStepKind::kLinear;
  std::vector<StackSpan> from, to;
  size_t in = 0, out = 0;
  size_t repeat = 1;  // `from` so many times over.

  // kLinear: one for all of `to` where those are neighbours, else one each.
  std::vector<LinearWeights> linear;
  size_t first_matrix =
      0;  // Its number among all of the blocks' (StackPanels).
  RowNorm norm;
  StackActivation activation = StackActivation::kRelu;
  // kRead: slot of the block's residual stream.
  size_t slot = 0, delay = 0;
  // Steps that look at other positions; kRead: what is read ahead.
  static constexpr size_t kNoMixer = static_cast<size_t>(-1);
  size_t mixer = kNoMixer;
  const float* bias = nullptr;  // Added to what the mixer gives, [out].
};

struct StackPartOps {
  RowNorm norm;
  StackSpan input, output;
  std::vector<StackOp> ops;
};

struct StackBlockOps {
  std::vector<StackPartOps> parts;
  // Where the residual stream after the block is kept for readers.
  static constexpr size_t kNoSlot = static_cast<size_t>(-1);
  size_t slot = kNoSlot;
};

// Immutable; may be shared by threads.
class StackWeights {
 public:
  // `format` is that of linear maps but the head. Errors: tensors missing,
  // misshapen or not finite; what mixers refuse, with the step's path; memory.
  static StatusOr<std::shared_ptr<const StackWeights>> Bind(
      StackDescription description, std::shared_ptr<const io::WeightSet> file,
      WeightFormat format);

  const StackDescription& description() const { return description_; }
  const std::vector<StackBlockOps>& blocks() const { return blocks_; }
  const std::vector<MixerEntry>& mixers() const { return mixers_; }
  const float* embedding() const { return embedding_; }
  const RowNorm& final_norm() const { return final_norm_; }
  const LinearWeights& head() const { return head_; }

  size_t row() const { return row_; }  // Floats of a part's streams.
  // Most floats that a step with several inputs, or a mixer, takes and gives.
  size_t most_in() const { return most_in_; }
  size_t most_out() const { return most_out_; }
  size_t slots() const { return slots_; }
  // Whether some block reads its own or a later one's past, or something ahead:
  // then positions go through one at a time.
  bool reads_past() const { return reads_past_; }

  WeightFormat format() const { return format_; }
  const std::string& hash() const { return hash_; }
  size_t parameters() const { return tensors_->parameters(); }
  size_t bytes() const { return tensors_->bytes() + packed_bytes_; }
  size_t step_bytes() const { return step_bytes_; }
  const StackTensors& tensors() const { return *tensors_; }

 private:
  StackWeights() = default;
  Status BindAll(std::shared_ptr<const io::WeightSet> file);
  Status BindBlock(size_t block, const StackLayout& layout);
  Status BindStep(const StackStep& step, size_t block, StackOp* op);
  Status BindLinear(const StackStep& step, StackOp* op);
  Status BindMixer(const StackStep& step, StackOp* op);
  Status BindAhead(const StackStep& step, StackOp* op);
  // Says to the schedule what the blocks read of each other.
  Status BindReads();
  StatusOr<std::shared_ptr<const Mixer>> MakeConvolution(const StackStep& step,
                                                         StackOp* op);
  StatusOr<std::shared_ptr<const Mixer>> MakeAttention(const StackStep& step,
                                                       const StackOp& op);
  StatusOr<std::shared_ptr<const Mixer>> MakeScan(const StackStep& step,
                                                  const StackOp& op);
  StatusOr<RowNorm> BindNorm(const StackNorm& norm, const std::string& where,
                             size_t width);
  // A vector in our channels' order, [stored.size() or channels].
  StatusOr<std::vector<float>> Vector(const std::string& name,
                                      const std::string& where, size_t channels,
                                      const std::vector<size_t>& stored);

  StackDescription description_;
  WeightFormat format_ = WeightFormat::kFloat32;
  std::unique_ptr<StackTensors> tensors_;
  const float* embedding_ = nullptr;
  RowNorm final_norm_;
  LinearWeights head_;
  std::vector<StackBlockOps> blocks_;
  std::vector<MixerEntry> mixers_;
  std::vector<size_t> last_mixer_;     // Of each block so far, and before.
  std::vector<size_t> last_convolve_;  // Of each block so far, or kNoMixer.
  size_t row_ = 0, most_in_ = 0, most_out_ = 0, slots_ = 0;
  bool reads_past_ = false;
  size_t matrices_ = 0;  // Of linear maps so far.
  size_t packed_bytes_ = 0, step_bytes_ = 0;
  std::string hash_;
};

}  // namespace lcsm
