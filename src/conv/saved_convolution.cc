#include "conv/saved_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "conv/deferred.h"
#include "conv/layout.h"
#include "conv/online_convolution.h"

namespace lcsm::conv {
namespace {

// In this order, deferred levels' behind the position.
constexpr char kPosition[] = "convolution position";
constexpr char kHistories[] = "histories";
constexpr char kEager[] = "eager accumulators";
constexpr char kKept[] = "kept blocks";

size_t DeferredLevels(const Plan& plan) {
  return static_cast<size_t>(std::count_if(
      plan.levels.begin(), plan.levels.end(), [&](const Level& l) {
        return l.serves == Serves::kDistant &&
               SlicesOf(plan.problem, l).count != 0;
      }));
}

size_t HistoryFloats(const Plan& plan) {
  return HistoryGroups(plan.problem) * HistoryStride(HistoryLines(plan));
}

// Calls visit(name, floats) for what stands behind the histories.
template <typename Visit>
Status ForTheRest(const Plan& plan, Visit&& visit) {
  LCSM_RETURN_IF_ERROR(
      visit(kEager, plan.method == Method::kEager ? HistoryFloats(plan) : 0));
  for (const Level& level : plan.levels) {
    LCSM_RETURN_IF_ERROR(visit(
        kKept, HistoryGroups(plan.problem) * KeptFloats(plan.problem, level)));
  }
  return OkStatus();
}

Status Put(io::SectionWriter& writer, const char* name,
           const FloatBuffer& buffer) {
  return writer.PutArray(name,
                         std::span<const float>(buffer.data(), buffer.size()));
}

StatusOr<FloatBuffer> Get(io::SectionReader& reader, const char* name,
                          size_t floats) {
  LCSM_ASSIGN_OR_RETURN(FloatBuffer buffer,
                        FloatBuffer::Allocate(floats, name));
  LCSM_RETURN_IF_ERROR(
      reader.GetArray(name, std::span<float>(buffer.data(), buffer.size())));
  return buffer;
}

}  // namespace

Status OnlineConvolution::Save(io::SectionWriter& writer) const {
  const uint64_t position = position_;
  LCSM_RETURN_IF_ERROR(
      writer.PutArray(kPosition, std::span<const uint64_t>(&position, 1)));
  if (deferred_ != nullptr) {
    LCSM_RETURN_IF_ERROR(deferred_->Save(writer));
  }
  const auto put = [&writer](const char* name, const FloatBuffer& buffer) {
    return writer.PutArray(
        name, std::span<const float>(buffer.data(), buffer.size()));
  };
  LCSM_RETURN_IF_ERROR(put(kHistories, histories_));
  LCSM_RETURN_IF_ERROR(put(kEager, recent_));
  for (const FloatBuffer& kept : kept_) {
    LCSM_RETURN_IF_ERROR(put(kKept, kept));
  }
  return OkStatus();
}

Status OnlineConvolution::Load(io::SectionReader& reader) {
  uint64_t position = 0;
  LCSM_RETURN_IF_ERROR(
      reader.GetArray(kPosition, std::span<uint64_t>(&position, 1)));
  if (position > length()) {
    return InvalidInput(fmt::format(
        "{}: stands at position {}, expected at most {}, which the plan is for",
        reader.name(), position, length()));
  }
  position_ = position;
  if (deferred_ != nullptr) {
    LCSM_RETURN_IF_ERROR(deferred_->Load(reader));
  }
  const auto get = [&reader](const char* name, FloatBuffer& buffer) {
    return reader.GetArray(name,
                           std::span<float>(buffer.data(), buffer.size()));
  };
  LCSM_RETURN_IF_ERROR(get(kHistories, histories_));
  LCSM_RETURN_IF_ERROR(get(kEager, recent_));
  for (FloatBuffer& kept : kept_) {
    LCSM_RETURN_IF_ERROR(get(kKept, kept));
  }
  return OkStatus();
}

StatusOr<uint64_t> SavedPosition(const io::SectionReader& reader) {
  io::SectionReader ahead = reader;
  uint64_t position = 0;
  LCSM_RETURN_IF_ERROR(
      ahead.GetArray(kPosition, std::span<uint64_t>(&position, 1)));
  return position;
}

Status SaveAccumulators(
    io::SectionWriter& writer, const Plan& plan,
    const std::function<Status(float* lines, size_t stride)>& fill) {
  const uint64_t position = 0;
  LCSM_RETURN_IF_ERROR(
      writer.PutArray(kPosition, std::span<const uint64_t>(&position, 1)));
  for (size_t k = 0; k < DeferredLevels(plan); ++k) {
    const uint64_t nothing[2] = {};
    LCSM_RETURN_IF_ERROR(writer.PutArray(DeferredWork::kSection,
                                         std::span<const uint64_t>(nothing)));
  }
  LCSM_ASSIGN_OR_RETURN(FloatBuffer histories,
                        FloatBuffer::Allocate(HistoryFloats(plan), kHistories));
  LCSM_RETURN_IF_ERROR(
      fill(histories.data(), HistoryStride(HistoryLines(plan))));
  LCSM_RETURN_IF_ERROR(Put(writer, kHistories, histories));
  return ForTheRest(plan, [&](const char* name, size_t floats) -> Status {
    LCSM_ASSIGN_OR_RETURN(const FloatBuffer zeros,
                          FloatBuffer::Allocate(floats, name));
    return Put(writer, name, zeros);
  });
}

Status LoadAccumulators(io::SectionReader& reader, const Plan& plan,
                        size_t count, float* to, size_t to_stride) {
  const size_t lines = HistoryLines(plan);
  if (count > lines) {
    return InvalidInput(fmt::format(
        "{}: says what is to be added to {} positions, expected at most {}, "
        "which its plan keeps",
        reader.name(), count, lines));
  }
  uint64_t numbers[2] = {};
  LCSM_RETURN_IF_ERROR(
      reader.GetArray(kPosition, std::span<uint64_t>(numbers, 1)));
  for (size_t k = 0; k < DeferredLevels(plan); ++k) {
    LCSM_RETURN_IF_ERROR(
        reader.GetArray(DeferredWork::kSection, std::span<uint64_t>(numbers)));
    if (numbers[0] != 0) {
      return InvalidInput(fmt::format(
          "{}: a deferred level stands at {} where no inputs are known, "
          "expected 0",
          reader.name(), numbers[0]));
    }
  }
  LCSM_ASSIGN_OR_RETURN(const FloatBuffer histories,
                        Get(reader, kHistories, HistoryFloats(plan)));
  for (size_t h = 0; h < HistoryGroups(plan.problem); ++h) {
    std::copy_n(histories.data() + h * HistoryStride(lines), count * kLanes,
                to + h * to_stride);
  }
  // Empty of what matters, and to be found whole.
  return ForTheRest(plan, [&](const char* name, size_t floats) {
    return Get(reader, name, floats).status();
  });
}

}  // namespace lcsm::conv
