// Session files of states on a device: see hyena_device_state.h.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "conv/layout.h"
#include "conv/online_convolution.h"
#include "cuda/hyena_device_state.h"
#include "models/hyena_filter.h"
#include "models/hyena_place.h"

namespace lcsm::cuda {
namespace {

// Positions that are asked of the CPU's convolution at a time when a file of
// one is read.
constexpr size_t kRowsAtATime = 4096;

}  // namespace

// The plan as a state on the CPU would have it.
conv::Plan HyenaDeviceState::HostPlan() const {
  conv::Plan plan = shared_.tiles->plan();
  plan.problem.primed = shared_.steps() < shared_.horizon;
  return plan;
}

Status HyenaDeviceState::Save(io::SectionWriter& writer) const {
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  // What is to be said of the positions to come, if steps were taken: worked
  // out on a copy, which is taken to its end.
  Array<float> drained;
  DevicePending pending = pending_;
  size_t horizon = horizon_;
  if (Stepped() != 0) {
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue,
                          device().NewQueue(false));
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Tiles> copy,
                          Tiles::Create(shared_.tiles, *queue));
    LCSM_RETURN_IF_ERROR(copy->CopyFrom(*tiles_));
    const size_t left = copy->length() - copy->known();
    const size_t stride = std::max<size_t>(left, 1) * kLanes;
    LCSM_ASSIGN_OR_RETURN(
        drained, device().NewZeros<float>(Histories() * stride,
                                          "contributions to coming positions"));
    LCSM_RETURN_IF_ERROR(copy->Drain(drained.data(), stride));
    pending = {drained.data(), stride, std::min(left, horizon_ - position())};
    horizon = position() + pending.count;
  }
  const bool apart = PendingIsApart();
  const HyenaPlace place = {position(), horizon, pending.count, apart};
  LCSM_RETURN_IF_ERROR(place.Save(writer));
  std::vector<float> tails(this->tails().size());
  LCSM_RETURN_IF_ERROR(device().Download(tails.data(), this->tails().data(),
                                         this->tails().bytes()));
  const size_t floats = TailRows() * Streams();
  for (size_t layer = 0; layer < config().layers; ++layer) {
    LCSM_RETURN_IF_ERROR(writer.PutArray(
        "short filter",
        std::span<const float>(tails.data() + layer * floats, floats)));
  }
  if (apart) {
    std::vector<float> lines(apart_.size());
    LCSM_RETURN_IF_ERROR(
        device().Download(lines.data(), apart_.data(), apart_.bytes()));
    LCSM_RETURN_IF_ERROR(
        writer.PutArray("pending", std::span<const float>(lines)));
  }
  if (tiles_ == nullptr) return OkStatus();
  return SaveConvolution(writer, apart ? DevicePending() : pending,
                         apart ? 0 : pending.count);
}

// What OnlineConvolution::Save would write of a session at position 0 whose
// accumulators hold `count` positions' contributions.
Status HyenaDeviceState::SaveConvolution(io::SectionWriter& writer,
                                         const DevicePending& from,
                                         size_t count) const {
  const conv::Plan plan = HostPlan();
  const conv::Problem& problem = plan.problem;
  const size_t lines = conv::HistoryLines(plan);
  if (count > lines) {
    return Unsupported(fmt::format(
        "the session cannot be saved: by the plan '{}' the CPU keeps {} of the "
        "{} positions that may follow; prepare it for fewer steps than "
        "positions",
        plan.Print(), lines, count));
  }
  const uint64_t position = 0;
  LCSM_RETURN_IF_ERROR(writer.PutArray(
      "convolution position", std::span<const uint64_t>(&position, 1)));
  for (const conv::Level& level : plan.levels) {
    if (level.serves != conv::Serves::kDistant ||
        conv::SlicesOf(problem, level).count == 0) {
      continue;
    }
    const uint64_t nothing[2] = {};
    LCSM_RETURN_IF_ERROR(
        writer.PutArray("deferred level", std::span<const uint64_t>(nothing)));
  }
  const auto put = [&writer](const char* name, const FloatBuffer& buffer) {
    return writer.PutArray(
        name, std::span<const float>(buffer.data(), buffer.size()));
  };
  const size_t stride = conv::HistoryStride(lines);
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer histories,
      FloatBuffer::Allocate(Histories() * stride, "the histories"));
  for (size_t h = 0; h < Histories() && count != 0; ++h) {
    LCSM_RETURN_IF_ERROR(device().Download(histories.data() + h * stride,
                                           from.lines + h * from.stride,
                                           count * kLanes * sizeof(float)));
  }
  LCSM_RETURN_IF_ERROR(put("histories", histories));
  LCSM_ASSIGN_OR_RETURN(
      const FloatBuffer recent,
      FloatBuffer::Allocate(
          plan.method == conv::Method::kEager ? histories.size() : 0,
          "the eager accumulators"));
  LCSM_RETURN_IF_ERROR(put("eager accumulators", recent));
  for (const conv::Level& level : plan.levels) {
    LCSM_ASSIGN_OR_RETURN(
        const FloatBuffer kept,
        FloatBuffer::Allocate(Histories() * conv::KeptFloats(problem, level),
                              "the spectra of input blocks"));
    LCSM_RETURN_IF_ERROR(put("kept blocks", kept));
  }
  return OkStatus();
}

Status HyenaDeviceState::Load(io::SectionReader& reader) {
  Reset();
  LCSM_ASSIGN_OR_RETURN(
      const HyenaPlace place,
      HyenaPlace::Load(reader, shared_.horizon, shared_.steps()));
  std::vector<float> tails(this->tails().size());
  const size_t floats = TailRows() * Streams();
  for (size_t layer = 0; layer < config().layers; ++layer) {
    LCSM_RETURN_IF_ERROR(reader.GetArray(
        "short filter",
        std::span<float>(tails.data() + layer * floats, floats)));
  }
  LCSM_RETURN_IF_ERROR(device().Upload(this->tails().data(), tails.data(),
                                       this->tails().bytes()));
  if (place.apart) {
    const size_t stride = (place.pending | 1) * kLanes;
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer lines,
        FloatBuffer::Allocate(Histories() * stride,
                              "contributions to coming positions"));
    LCSM_RETURN_IF_ERROR(reader.GetArray(
        "pending", std::span<float>(lines.data(), lines.size())));
    LCSM_ASSIGN_OR_RETURN(
        apart_, device().Bring<float>(std::span(lines.data(), lines.size()),
                                      "contributions to coming positions"));
    pending_ = {apart_.data(), stride, place.pending};
  }
  size_t origin = place.origin, count = place.apart ? 0 : place.pending;
  if (tiles_ != nullptr) {
    LCSM_RETURN_IF_ERROR(LoadConvolution(reader, &origin, &count));
    LCSM_RETURN_IF_ERROR(place.CheckPosition(reader, origin));
    if (!place.apart) {
      pending_ = {tiles_->lines(), tiles_->stride(),
                  std::min(count, place.horizon - origin)};
    }
  }
  origin_ = origin;
  horizon_ = place.horizon;
  if (!place.apart && origin != place.origin) {
    horizon_ = origin + pending_.count;
  }
  return OkStatus();
}

// Lets the CPU's convolution read its part, and asks it what its inputs
// contribute to the positions to come, if it has taken any in.
Status HyenaDeviceState::LoadConvolution(io::SectionReader& reader,
                                         size_t* origin, size_t* pending) {
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const conv::FilterBank> filters,
                        MakeHyenaFilters(shared_.weights->host(),
                                         shared_.steps(), pool_, nullptr));
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const conv::PreparedConvolution> prepared,
      conv::PreparedConvolution::Create(HostPlan(), std::move(filters), pool_));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<conv::OnlineConvolution> host,
                        conv::OnlineConvolution::Create(prepared, pool_));
  LCSM_RETURN_IF_ERROR(host->Load(reader));
  const size_t known = host->position(), left = host->length() - known;
  const size_t count = known == 0 ? *pending : left;
  const size_t width = config().width, groups = GroupsFor(width);
  const size_t stride = tiles_->stride();
  FloatBuffer lines;
  LCSM_ASSIGN_OR_RETURN(
      lines, FloatBuffer::Allocate(Histories() * stride, "the histories"));
  if (known == 0) {
    for (size_t h = 0; h < Histories() && count != 0; ++h) {
      std::copy_n(host->Accumulators(h), count * kLanes,
                  lines.data() + h * stride);
    }
  } else {
    // Zeros from here on: what comes out is what the inputs so far contribute.
    std::vector<float> rows(std::min(kRowsAtATime, std::max<size_t>(left, 1)) *
                            width);
    for (size_t done = 0; done < left;) {
      const size_t now = std::min(kRowsAtATime, left - done);
      for (size_t m = 0; m < Histories() / groups; ++m) {
        std::fill(rows.begin(), rows.end(), 0.0f);
        host->StepMany(m, now, rows.data(), rows.data());
        for (size_t t = 0; t < now; ++t) {
          for (size_t g = 0; g < groups; ++g) {
            std::copy_n(
                rows.data() + t * width + g * kLanes,
                std::min<size_t>(kLanes, width - g * kLanes),
                lines.data() + (m * groups + g) * stride + (done + t) * kLanes);
          }
        }
      }
      host->AdvanceMany(now);
      done += now;
    }
  }
  *origin += known;
  *pending = count;
  LCSM_RETURN_IF_ERROR(tiles_->Reset(*origin, skip_mixers_));
  return device().Upload(tiles_->lines(), lines.data(), lines.bytes());
}

}  // namespace lcsm::cuda
