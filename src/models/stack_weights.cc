#include "models/stack_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "mixers/diagonal_ssm.h"
#include "mixers/fir_mixer.h"
#include "mixers/linear_attention.h"
#include "mixers/long_convolution.h"
#include "mixers/relaxed_mixer.h"
#include "mixers/selective_ssm.h"
#include "mixers/softmax_attention.h"
#include "models/stack_filter.h"

namespace lcsm {
namespace {

// Filters up to this are summed directly: as many multiply-adds a position as a
// tiled convolution does with all its passes, in one stretch of memory.
constexpr size_t kMostFirTaps = 256;

// Which of the file's channels each of ours is: `streams` of `width` channels
// that are stored in turns of `run`. Empty: the same.
std::vector<size_t> StoredOrder(size_t streams, size_t width, size_t run) {
  std::vector<size_t> stored;
  if (run == 0 || run == width || streams == 1) return stored;
  for (size_t p = 0; p < streams; ++p) {
    for (size_t c = 0; c < width; ++c) {
      stored.push_back(c / run * (streams * run) + p * run + c % run);
    }
  }
  return stored;
}

bool AreNeighbours(const std::vector<StackSpan>& spans) {
  for (size_t i = 1; i < spans.size(); ++i) {
    if (spans[i].offset != spans[i - 1].end()) return false;
  }
  return true;
}

Status At(const StackDescription& stack, const std::string& path,
          const Status& status) {
  return Status(status.code(),
                fmt::format("{}: {}: {}", stack.file, path, status.message()));
}

}  // namespace

StatusOr<std::shared_ptr<const StackWeights>> StackWeights::Bind(
    StackDescription description, std::shared_ptr<const io::WeightSet> file,
    WeightFormat format) {
  std::shared_ptr<StackWeights> weights(new StackWeights);
  weights->description_ = std::move(description);
  weights->format_ = format;
  LCSM_RETURN_IF_ERROR(weights->BindAll(std::move(file)));
  return std::shared_ptr<const StackWeights>(std::move(weights));
}

Status StackWeights::BindAll(std::shared_ptr<const io::WeightSet> file) {
  const StackDescription& stack = description_;
  LCSM_ASSIGN_OR_RETURN(const StackLayout layout, LayOut(stack));
  row_ = layout.row;
  tensors_ = std::make_unique<StackTensors>(std::move(file));
  tensors_->hasher().Add(stack.text);
  const std::vector<size_t> table = {stack.padded_vocab, stack.width};
  LCSM_ASSIGN_OR_RETURN(embedding_,
                        tensors_->Get(stack.embedding, "embedding", table));
  blocks_.resize(stack.blocks.size());
  for (size_t b = 0; b < blocks_.size(); ++b) {
    LCSM_RETURN_IF_ERROR(BindBlock(b, layout));
  }
  if (mixers_.empty()) {
    return InvalidInput(
        fmt::format("{}: no step of its blocks looks at other positions, "
                    "expected at least one that does",
                    stack.file));
  }
  LCSM_RETURN_IF_ERROR(BindReads());
  LCSM_ASSIGN_OR_RETURN(final_norm_,
                        BindNorm(stack.final_norm, "final_norm", stack.width));
  head_.in = stack.width;
  head_.out = stack.padded_vocab;
  head_.weight = embedding_;
  if (!stack.head.empty()) {
    LCSM_ASSIGN_OR_RETURN(head_.weight,
                          tensors_->Get(stack.head, "head", table));
  }
  step_bytes_ += head_.in * head_.out * sizeof(float);
  hash_ = tensors_->hasher().Hex();
  return tensors_->CheckIntact();
}

Status StackWeights::BindReads() {
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const size_t first = b == 0 ? 0 : last_mixer_[b - 1];
    const bool mixes = first < last_mixer_[b];
    for (const StackPart& part : description_.blocks[b].parts) {
      for (const StackStep& step : part.steps) {
        if (step.kind != StackStepKind::kRead) continue;
        if (step.ahead) {
          reads_past_ = true;
          if (!mixes) {
            return InvalidInput(fmt::format(
                "{}: {}.ahead is wanted by block {}, none of whose steps looks "
                "at other positions, expected that only of one that has such",
                description_.file, step.path, b));
          }
          mixers_[first].reads.push_back({.mixer = last_convolve_[step.block],
                                          .delay = 0,
                                          .what = MixerRead::What::kAhead});
        } else if (step.delay != 0 && step.block >= b) {
          // What an earlier block left at earlier positions is there before a
          // block of positions comes here; this is not.
          reads_past_ = true;
          if (mixes && last_mixer_[step.block] > 0 &&
              last_mixer_[step.block] - 1 != first) {
            mixers_[first].reads.push_back(
                {.mixer = last_mixer_[step.block] - 1, .delay = step.delay});
          }
        }
      }
    }
  }
  return OkStatus();
}

Status StackWeights::BindBlock(size_t block, const StackLayout& layout) {
  last_convolve_.push_back(StackOp::kNoMixer);
  const StackBlock& described = description_.blocks[block];
  for (size_t p = 0; p < described.parts.size(); ++p) {
    const StackPart& part = described.parts[p];
    const StackPartLayout& at = layout.blocks[block][p];
    StackPartOps& ops = blocks_[block].parts.emplace_back();
    ops.input = at.input;
    ops.output = at.output;
    LCSM_ASSIGN_OR_RETURN(
        ops.norm,
        BindNorm(part.norm, fmt::format("blocks.{}.parts.{}.norm", block, p),
                 description_.width));
    for (size_t s = 0; s < part.steps.size(); ++s) {
      StackOp& op = ops.ops.emplace_back();
      op.kind = part.steps[s].kind;
      op.from = at.steps[s].from;
      op.to = at.steps[s].to;
      op.repeat = part.steps[s].repeat;
      op.in = at.steps[s].in * op.repeat;
      op.out = at.steps[s].out;
      LCSM_RETURN_IF_ERROR(BindStep(part.steps[s], block, &op));
    }
  }
  last_mixer_.push_back(mixers_.size());
  return OkStatus();
}

Status StackWeights::BindStep(const StackStep& step, size_t block,
                              StackOp* op) {
  if (op->from.size() > 1 || op->repeat > 1) {
    most_in_ = std::max(most_in_, op->in);
  }
  switch (step.kind) {
    case StackStepKind::kLinear:
      return BindLinear(step, op);
    case StackStepKind::kMultiply:
    case StackStepKind::kAdd:
      return OkStatus();
    case StackStepKind::kActivate:
      op->activation = step.activation;
      return OkStatus();
    case StackStepKind::kNorm: {
      for (const StackSpan& from : op->from) {
        if (from.width != op->from.front().width) {
          return InvalidInput(fmt::format(
              "{}: {}.from names streams of different widths, expected the "
              "same for one norm",
              description_.file, step.path));
        }
      }
      LCSM_ASSIGN_OR_RETURN(op->norm, BindNorm(step.norm, step.path + ".norm",
                                               op->from.front().width));
      return OkStatus();
    }
    case StackStepKind::kRead:
      if (step.ahead) return BindAhead(step, op);
      op->delay = step.delay;
      if (blocks_[step.block].slot == StackBlockOps::kNoSlot) {
        blocks_[step.block].slot = slots_++;
      }
      op->slot = blocks_[step.block].slot;
      return OkStatus();
    case StackStepKind::kConvolve:
    case StackStepKind::kAttention:
    case StackStepKind::kLinearAttention:
    case StackStepKind::kSelectiveScan:
    case StackStepKind::kRelaxedConvolve:
      LCSM_RETURN_IF_ERROR(BindMixer(step, op));
      if (step.kind == StackStepKind::kConvolve) {
        last_convolve_[block] = op->mixer;
      }
      return OkStatus();
  }
  return OkStatus();
}

Status StackWeights::BindAhead(const StackStep& step, StackOp* op) {
  // The layout has seen that there is one.
  op->mixer = last_convolve_[step.block];
  const Mixer& mixer = *mixers_[op->mixer].mixer;
  if (!mixer.CanBeReadAhead()) {
    return InvalidInput(fmt::format(
        "{}: {}.ahead reads block {} ahead, whose last convolution is a {}, "
        "expected a long convolution",
        description_.file, step.path, step.block, mixer.Describe()));
  }
  return OkStatus();
}

StatusOr<RowNorm> StackWeights::BindNorm(const StackNorm& norm,
                                         const std::string& where,
                                         size_t width) {
  RowNorm bound;
  bound.kind = norm.kind;
  bound.eps = norm.eps;
  bound.eps_outside = norm.eps_outside;
  if (norm.kind == StackNorm::Kind::kNone) return bound;
  if (!(norm.eps >= 0 && norm.eps <= 1)) {
    return InvalidInput(
        fmt::format("{}: the eps of {} is {}, expected a number from 0 to 1",
                    description_.file, where, norm.eps));
  }
  if (!norm.weight.empty()) {
    LCSM_ASSIGN_OR_RETURN(
        bound.weight, tensors_->Get(norm.weight, where + ".weight", {width}));
  }
  if (!norm.bias.empty()) {
    LCSM_ASSIGN_OR_RETURN(bound.bias,
                          tensors_->Get(norm.bias, where + ".bias", {width}));
  }
  // The kernel of layer norms wants both.
  if (norm.kind == StackNorm::Kind::kLayer && bound.weight == nullptr) {
    LCSM_ASSIGN_OR_RETURN(float* const ones, tensors_->Allocate(width));
    std::fill_n(ones, width, 1.0f);
    bound.weight = ones;
  }
  if (norm.kind == StackNorm::Kind::kLayer && bound.bias == nullptr) {
    LCSM_ASSIGN_OR_RETURN(bound.bias, tensors_->Allocate(width));
  }
  return bound;
}

StatusOr<std::vector<float>> StackWeights::Vector(
    const std::string& name, const std::string& where, size_t channels,
    const std::vector<size_t>& stored) {
  std::vector<float> values;
  if (name.empty()) return values;
  LCSM_ASSIGN_OR_RETURN(const float* const data,
                        tensors_->GetSqueezed(name, where, {channels}));
  values.assign(data, data + channels);
  for (size_t c = 0; c < stored.size(); ++c) values[c] = data[stored[c]];
  return values;
}

Status StackWeights::BindLinear(const StackStep& step, StackOp* op) {
  const size_t in = op->in, out = op->out;
  const std::string where = step.path + ".weight";
  const std::vector<size_t> stored =
      StoredOrder(op->to.size(), op->to.front().width, step.run);
  const bool as_stored = stored.empty() && !step.transposed;
  const float* matrix = nullptr;
  std::vector<size_t> shape;
  // Where the file's numbers are used as they lie, and where not.
  FloatBuffer moved;
  if (as_stored && format_ == WeightFormat::kFloat32) {
    LCSM_ASSIGN_OR_RETURN(const StackTensor tensor,
                          tensors_->Get(step.weight, where));
    matrix = tensor.data;
    shape = tensor.shape;
  } else {
    LCSM_ASSIGN_OR_RETURN(StackTensors::Copy copy,
                          tensors_->Take(step.weight, where));
    moved = std::move(copy.buffer);
    matrix = moved.data();
    shape = std::move(copy.shape);
  }
  size_t elements = 1;
  for (const size_t n : shape) elements *= n;
  if (step.transposed
          ? shape.size() < 2 || shape.back() != out || elements != in * out
          : shape != std::vector<size_t>{out, in}) {
    return tensors_->Misshapen(
        step.weight, shape, where,
        step.transposed ? fmt::format("({}, {}), which is transposed", in, out)
                        : fmt::format("({}, {})", out, in));
  }
  if (!as_stored) {
    float* ordered = nullptr;
    FloatBuffer temporary;
    if (format_ == WeightFormat::kFloat32) {
      LCSM_ASSIGN_OR_RETURN(ordered, tensors_->Allocate(in * out));
    } else {
      LCSM_ASSIGN_OR_RETURN(temporary,
                            FloatBuffer::Allocate(in * out, "weights"));
      ordered = temporary.data();
    }
    for (size_t r = 0; r < out; ++r) {
      const size_t row = stored.empty() ? r : stored[r];
      for (size_t k = 0; k < in; ++k) {
        ordered[r * in + k] =
            step.transposed ? matrix[k * out + row] : matrix[row * in + k];
      }
    }
    if (format_ != WeightFormat::kFloat32) moved = std::move(temporary);
    matrix = ordered;
  }
  const float* bias = nullptr;
  if (!step.bias.empty()) {
    const std::string bias_where = step.path + ".bias";
    LCSM_ASSIGN_OR_RETURN(bias, tensors_->Get(step.bias, bias_where, {out}));
    if (!stored.empty()) {
      LCSM_ASSIGN_OR_RETURN(float* const ordered, tensors_->Allocate(out));
      for (size_t r = 0; r < out; ++r) ordered[r] = bias[stored[r]];
      bias = ordered;
    }
  }
  op->first_matrix = matrices_;
  const bool together = AreNeighbours(op->to);
  for (size_t i = 0, row = 0; i < (together ? 1 : op->to.size()); ++i) {
    LinearWeights linear;
    linear.in = in;
    linear.out = together ? out : op->to[i].width;
    linear.bias = bias == nullptr ? nullptr : bias + row;
    if (format_ == WeightFormat::kFloat32) {
      linear.weight = matrix + row * in;
      step_bytes_ += linear.out * in * sizeof(float);
    } else {
      LCSM_ASSIGN_OR_RETURN(
          PackedMatrix packed,
          PackedMatrix::Pack(format_, matrix + row * in, in, linear.out));
      packed_bytes_ += packed.bytes();
      step_bytes_ += packed.bytes();
      linear.packed = std::make_shared<const PackedMatrix>(std::move(packed));
    }
    row += linear.out;
    op->linear.push_back(std::move(linear));
    ++matrices_;
  }
  return OkStatus();
}

Status StackWeights::BindMixer(const StackStep& step, StackOp* op) {
  using Made = StatusOr<std::shared_ptr<const Mixer>>;
  const auto make = [&]() -> Made {
    switch (step.kind) {
      case StackStepKind::kConvolve:
        return MakeConvolution(step, op);
      case StackStepKind::kSelectiveScan:
        return MakeScan(step, *op);
      case StackStepKind::kRelaxedConvolve: {
        LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const Mixer> relaxed,
                              RelaxedMixer::Create(op->out));
        return Made(std::move(relaxed));
      }
      default:
        return MakeAttention(step, *op);
    }
  };
  Made mixer = make();
  if (!mixer.ok()) return mixer.status();
  most_in_ = std::max(most_in_, (*mixer)->in_width());
  most_out_ = std::max(most_out_, (*mixer)->out_width());
  op->mixer = mixers_.size();
  mixers_.push_back({std::move(*mixer), {}});
  return OkStatus();
}

StatusOr<std::shared_ptr<const Mixer>> StackWeights::MakeConvolution(
    const StackStep& step, StackOp* op) {
  using As = StackStep::As;
  using Result = StatusOr<std::shared_ptr<const Mixer>>;
  const size_t channels = op->in;
  const std::vector<size_t> stored =
      StoredOrder(op->from.size(), op->from.front().width, step.run);
  LCSM_ASSIGN_OR_RETURN(BoundFilter filter,
                        BindFilter(step.filter, step.path + ".filter", channels,
                                   stored, *tensors_));
  LCSM_ASSIGN_OR_RETURN(
      std::vector<float> skip,
      Vector(step.skip, step.path + ".skip", channels, stored));
  LCSM_ASSIGN_OR_RETURN(
      std::vector<float> bias,
      Vector(step.bias, step.path + ".bias", channels, stored));
  const auto finish = [&](auto made) -> Result {
    if (!made.ok()) return At(description_, step.path, made.status());
    return Result(std::shared_ptr<const Mixer>(std::move(*made)));
  };
  const bool is_short = filter.taps <= kMostFirTaps;
  const bool even = step.filter.lags == StackFilter::Lags::kEven;
  const auto only_of = [&](const char* as, const std::string& what) {
    return InvalidInput(
        fmt::format("{}: {}.as is \"{}\", expected that only of a filter {}",
                    description_.file, step.path, as, what));
  };
  if (step.as == As::kFir && !is_short) {
    return only_of("fir", fmt::format("of at most {} taps", kMostFirTaps));
  }
  if (step.as == As::kRecurrence && !filter.modes.has_value()) {
    return only_of("recurrence", "with poles");
  }
  if (step.as == As::kHalfRate && !even) {
    return only_of("half-rate", "on even lags");
  }
  if (step.as == As::kFir || (step.as == As::kAuto && is_short)) {
    std::vector<float> taps(channels * filter.taps), w(taps.size());
    filter.source(0, filter.taps, taps.data());
    for (size_t c = 0; c < channels; ++c) {
      for (size_t n = 0; n < filter.taps; ++n) {
        w[c * filter.taps + filter.taps - 1 - n] = taps[n * channels + c];
      }
      if (!skip.empty()) w[(c + 1) * filter.taps - 1] += skip[c];
    }
    return finish(FirMixer::Create(channels, filter.taps, w, std::move(bias)));
  }
  if (!bias.empty()) {
    LCSM_ASSIGN_OR_RETURN(float* const copy, tensors_->Allocate(channels));
    std::copy(bias.begin(), bias.end(), copy);
    op->bias = copy;
  }
  if (filter.modes.has_value()) {
    filter.modes->skip = std::move(skip);
    if (step.as == As::kConvolution) {
      return finish(ModesAsConvolution(std::move(*filter.modes)));
    }
    return finish(DiagonalSsm::Create(*filter.modes));
  }
  if (even && step.as != As::kConvolution) {
    // Taps of odd lags are zeros, so that even and odd positions never meet.
    const auto every_other = [source = std::move(filter.source), channels](
                                 size_t first, size_t count, float* values) {
      for (size_t k = 0; k < count; ++k) {
        source(2 * (first + k), 1, values + k * channels);
      }
    };
    return finish(LongConvolution::Create(channels, (filter.taps + 1) / 2,
                                          every_other, std::move(skip), 2));
  }
  return finish(LongConvolution::Create(
      channels, filter.taps, std::move(filter.source), std::move(skip)));
}

StatusOr<std::shared_ptr<const Mixer>> StackWeights::MakeAttention(
    const StackStep& step, const StackOp& op) {
  const auto finish = [&](auto made) -> StatusOr<std::shared_ptr<const Mixer>> {
    if (!made.ok()) return At(description_, step.path, made.status());
    return StatusOr<std::shared_ptr<const Mixer>>(
        std::shared_ptr<const Mixer>(std::move(*made)));
  };
  if (step.kind == StackStepKind::kLinearAttention) {
    using Feature = LinearAttentionOptions::Feature;
    LinearAttentionOptions options;
    options.heads = step.heads;
    options.key = op.from[0].width / step.heads;
    options.value = op.from[2].width / step.heads;
    options.feature = step.feature == StackStep::Feature::kRelu ? Feature::kRelu
                      : step.feature == StackStep::Feature::kEluPlusOne
                          ? Feature::kEluPlusOne
                          : Feature::kIdentity;
    options.normalise = step.normalise;
    options.epsilon = 0;
    options.scale = static_cast<float>(step.scale);
    return finish(LinearAttention::Create(std::move(options)));
  }
  SoftmaxAttentionOptions options;
  options.heads = step.heads;
  options.kv_heads = step.kv_heads;
  options.key = op.from[0].width / step.heads;
  options.value = op.from[2].width / step.kv_heads;
  if (step.window != 0) options.window = step.window;
  options.rotary = step.rotary == kWholeHead ? options.key : step.rotary;
  options.rotary_base = step.rotary_base;
  options.position_scale = step.rotary_scale;
  if (!step.rotary_frequencies.empty()) {
    LCSM_ASSIGN_OR_RETURN(
        const float* const frequencies,
        tensors_->GetSqueezed(step.rotary_frequencies,
                              step.path + ".rotary.frequencies",
                              {options.rotary / 2}));
    options.frequencies.assign(frequencies, frequencies + options.rotary / 2);
  }
  if (step.alibi > 0) options.slopes = AlibiSlopes(step.heads, step.alibi);
  options.soft_cap = static_cast<float>(step.soft_cap);
  return finish(SoftmaxAttention::Create(std::move(options)));
}

StatusOr<std::shared_ptr<const Mixer>> StackWeights::MakeScan(
    const StackStep& step, const StackOp& op) {
  const size_t channels = op.from[0].width, states = op.from[2].width;
  LCSM_ASSIGN_OR_RETURN(
      const float* const logs,
      tensors_->Get(step.a_log, step.path + ".a_log", {channels, states}));
  std::vector<float> a(channels * states);
  for (size_t i = 0; i < a.size(); ++i) a[i] = -std::exp(logs[i]);
  LCSM_ASSIGN_OR_RETURN(const std::vector<float> skip,
                        Vector(step.skip, step.path + ".skip", channels, {}));
  auto made = SelectiveSsm::Create(channels, states, a, skip);
  if (!made.ok()) return At(description_, step.path, made.status());
  return StatusOr<std::shared_ptr<const Mixer>>(
      std::shared_ptr<const Mixer>(std::move(*made)));
}

}  // namespace lcsm
