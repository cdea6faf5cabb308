#include "models/stack_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "io/errors.h"

namespace lcsm {
namespace {

// Streams begin at whole cache lines.
constexpr size_t kColumnUnit = 16;
// Far beyond any model, and no sum of a part's streams overflows.
constexpr size_t kMaxStream = size_t{1} << 26;

class PartLayouter {
 public:
  // `layout` has the blocks before `block`.
  PartLayouter(const StackDescription& stack, const StackLayout& layout,
               size_t block)
      : stack_(stack), layout_(layout), block_(block) {}

  StatusOr<StackPartLayout> Run(const StackPart& part) {
    StackPartLayout layout;
    layout.input = Add("input", stack_.width);
    for (const StackStep& step : part.steps) {
      step_ = &step;
      StackStepLayout& at = layout.steps.emplace_back();
      for (size_t i = 0; i < step.from.size(); ++i) {
        const auto found = streams_.find(step.from[i]);
        if (found == streams_.end()) {
          return Wrong("from", fmt::format("reads the stream {}, which nothing "
                                           "has written before",
                                           io::Quoted(step.from[i])));
        }
        at.from.push_back(found->second);
        at.in += found->second.width;
      }
      std::vector<size_t> widths;
      LCSM_RETURN_IF_ERROR(Widths(step, at, &widths));
      if (widths.size() != step.to.size()) {
        return Wrong("to", fmt::format("names {} streams, expected {}",
                                       step.to.size(), widths.size()));
      }
      for (size_t i = 0; i < step.to.size(); ++i) {
        LCSM_RETURN_IF_ERROR(Write(step.to[i], widths[i], &at));
      }
    }
    const auto output = streams_.find("output");
    if (output == streams_.end()) {
      return InvalidInput(fmt::format(
          "{}: no step after {} writes the stream \"output\", which every part "
          "has to",
          stack_.file, step_->path));
    }
    layout.output = output->second;
    return layout;
  }

  size_t row() const { return row_; }

 private:
  StackSpan Add(const std::string& name, size_t width) {
    const StackSpan span = {row_, width};
    row_ += (width + kColumnUnit - 1) / kColumnUnit * kColumnUnit;
    streams_.emplace(name, span);
    return span;
  }

  Status Write(const std::string& name, size_t width, StackStepLayout* at) {
    if (width > kMaxStream) {
      return Wrong("to", fmt::format("writes {} channels, expected at most {}",
                                     width, kMaxStream));
    }
    const auto found = streams_.find(name);
    if (found == streams_.end()) {
      if (name == "output" && width != stack_.width) {
        return Wrong("to", fmt::format("writes {} channels into \"output\", "
                                       "expected the model's width of {}",
                                       width, stack_.width));
      }
      at->to.push_back(Add(name, width));
    } else if (found->second.width != width) {
      return Wrong("to",
                   fmt::format("writes {} channels into the stream {}, "
                               "expected the {} that it has",
                               width, io::Quoted(name), found->second.width));
    } else {
      at->to.push_back(found->second);
    }
    at->out += width;
    return OkStatus();
  }

  Status Wrong(const char* field, const std::string& what) const {
    return InvalidInput(
        fmt::format("{}: {}.{} {}", stack_.file, step_->path, field, what));
  }

  Status CheckInputs(const StackStepLayout& at, size_t count) const {
    if (at.from.size() == count) return OkStatus();
    return Wrong("from", fmt::format("names {} streams, expected {}",
                                     at.from.size(), count));
  }

  Status CheckEqual(const StackStepLayout& at, size_t a, size_t b) const {
    if (at.from[a].width == at.from[b].width) return OkStatus();
    return Wrong("from",
                 fmt::format("{} has {} channels and {} has {}, expected the "
                             "same",
                             io::Quoted(step_->from[a]), at.from[a].width,
                             io::Quoted(step_->from[b]), at.from[b].width));
  }

  // Streams that turns of `run` channels are cut into.
  Status CheckRun(const std::vector<size_t>& widths) const {
    if (step_->run == 0) return OkStatus();
    for (const size_t width : widths) {
      if (width != widths.front() || width % step_->run != 0) {
        return Wrong("run", fmt::format("is {}, expected a divisor of the "
                                        "width that all the streams share",
                                        step_->run));
      }
    }
    return OkStatus();
  }

  // What the step writes.
  Status Widths(const StackStep& step, const StackStepLayout& at,
                std::vector<size_t>* widths) {
    switch (step.kind) {
      case StackStepKind::kLinear:
        *widths = step.widths;
        if (widths->empty()) widths->push_back(stack_.width);
        if (widths->size() == 1)
          widths->resize(step.to.size(), widths->front());
        return CheckRun(*widths);
      case StackStepKind::kConvolve: {
        for (const StackSpan& from : at.from) widths->push_back(from.width);
        LCSM_RETURN_IF_ERROR(CheckRun(*widths));
        if (step.repeat == 1) return OkStatus();
        if (step.run != 0) return Wrong("run", "does not go with repeat");
        widths->assign(1, at.in * step.repeat);
        return OkStatus();
      }
      case StackStepKind::kMultiply:
      case StackStepKind::kAdd:
        LCSM_RETURN_IF_ERROR(CheckInputs(at, 2));
        widths->push_back(at.from[0].width);
        return CheckEqual(at, 0, 1);
      case StackStepKind::kActivate:
      case StackStepKind::kNorm:
        for (const StackSpan& from : at.from) widths->push_back(from.width);
        return OkStatus();
      case StackStepKind::kRead:
        LCSM_RETURN_IF_ERROR(CheckRead(step));
        if (step.ahead) return AheadWidths(step, widths);
        widths->push_back(stack_.width);
        return OkStatus();
      case StackStepKind::kAttention:
        return AttentionWidths(step, at, widths);
      case StackStepKind::kLinearAttention:
        LCSM_RETURN_IF_ERROR(CheckInputs(at, 3));
        LCSM_RETURN_IF_ERROR(CheckEqual(at, 0, 1));
        widths->push_back(at.from[2].width);
        return CheckHeads(step.heads, at, {0, 2});
      case StackStepKind::kSelectiveScan:
        LCSM_RETURN_IF_ERROR(CheckInputs(at, 4));
        LCSM_RETURN_IF_ERROR(CheckEqual(at, 0, 1));
        LCSM_RETURN_IF_ERROR(CheckEqual(at, 2, 3));
        widths->push_back(at.from[0].width);
        return OkStatus();
      case StackStepKind::kRelaxedConvolve:
        LCSM_RETURN_IF_ERROR(CheckInputs(at, 2));
        widths->push_back(at.from[0].width);
        return CheckEqual(at, 0, 1);
    }
    return OkStatus();
  }

  Status CheckHeads(size_t heads, const StackStepLayout& at,
                    const std::vector<size_t>& streams) const {
    for (const size_t s : streams) {
      if (at.from[s].width % heads == 0) continue;
      return Wrong("heads", fmt::format("is {}, which does not divide the {} "
                                        "channels of {}",
                                        heads, at.from[s].width,
                                        io::Quoted(step_->from[s])));
    }
    return OkStatus();
  }

  Status AttentionWidths(const StackStep& step, const StackStepLayout& at,
                         std::vector<size_t>* widths) const {
    LCSM_RETURN_IF_ERROR(CheckInputs(at, 3));
    LCSM_RETURN_IF_ERROR(CheckHeads(step.heads, at, {0}));
    if (step.heads % step.kv_heads != 0 ||
        at.from[1].width % step.kv_heads != 0 ||
        at.from[2].width % step.kv_heads != 0) {
      return Wrong("kv_heads",
                   fmt::format("is {}, expected a divisor of the {} heads and "
                               "of the {} and {} channels of keys and values",
                               step.kv_heads, step.heads, at.from[1].width,
                               at.from[2].width));
    }
    const size_t key = at.from[0].width / step.heads;
    if (at.from[1].width / step.kv_heads != key) {
      return Wrong(
          "from",
          fmt::format("{} has heads of {} channels and {} of {}, "
                      "expected the same",
                      io::Quoted(step.from[0]), key, io::Quoted(step.from[1]),
                      at.from[1].width / step.kv_heads));
    }
    const size_t turned = step.rotary == kWholeHead ? key : step.rotary;
    if (turned > key || turned % 2 != 0) {
      return Wrong("rotary.width",
                   fmt::format("is {}, expected an even number up to the {} "
                               "channels of a head",
                               turned, key));
    }
    widths->push_back(at.from[2].width / step.kv_heads * step.heads);
    return OkStatus();
  }

  Status CheckRead(const StackStep& step) const {
    if (step.block >= stack_.blocks.size()) {
      return Wrong("block", fmt::format("is {}, expected one of the blocks 0 "
                                        "to {}",
                                        step.block, stack_.blocks.size() - 1));
    }
    if (step.delay == 0 && step.block >= block_) {
      return Wrong("block",
                   fmt::format("is {} in block {}, a cycle: expected an "
                               "earlier block, or a delay of 1",
                               step.block, block_));
    }
    return OkStatus();
  }

  // Of the last convolution of the block that is read ahead.
  Status AheadWidths(const StackStep& step, std::vector<size_t>* widths) const {
    const StackBlock& block = stack_.blocks[step.block];
    for (size_t p = block.parts.size(); p-- > 0;) {
      const std::vector<StackStep>& steps = block.parts[p].steps;
      for (size_t s = steps.size(); s-- > 0;) {
        if (steps[s].kind != StackStepKind::kConvolve) continue;
        widths->push_back(layout_.blocks[step.block][p].steps[s].out);
        return OkStatus();
      }
    }
    return Wrong("block", fmt::format("is {}, in which nothing convolves, so "
                                      "that there is nothing to read ahead",
                                      step.block));
  }

  const StackDescription& stack_;
  const StackLayout& layout_;
  const size_t block_;
  const StackStep* step_ = nullptr;
  std::map<std::string, StackSpan> streams_;
  size_t row_ = 0;
};

}  // namespace

StatusOr<StackLayout> LayOut(const StackDescription& description) {
  StackLayout layout;
  for (size_t b = 0; b < description.blocks.size(); ++b) {
    layout.blocks.emplace_back();
    for (const StackPart& part : description.blocks[b].parts) {
      PartLayouter layouter(description, layout, b);
      LCSM_ASSIGN_OR_RETURN(StackPartLayout of_part, layouter.Run(part));
      layout.blocks.back().push_back(std::move(of_part));
      layout.row = std::max(layout.row, layouter.row());
    }
  }
  return layout;
}

}  // namespace lcsm
