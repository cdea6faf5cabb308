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
  conv::Plan plan = shared_.ranks.front().tiles->plan();
  plan.problem.channels = config().width;
  plan.problem.primed = shared_.steps() < shared_.horizon;
  return plan;
}

Status HyenaDeviceState::GatherLines(const DevicePending& from, size_t count,
                                     float* to, size_t to_stride) const {
  const size_t groups = GroupsFor(config().width);
  for (size_t r = 0; r < ranks_.all().size() && count != 0; ++r) {
    const HyenaDeviceRanks::Rank& rank = ranks_.all()[r];
    const size_t first = rank.share->first_channel / kLanes;
    const size_t own = GroupsFor(rank.share->channels);
    for (size_t h = 0; h < Histories(*rank.share); ++h) {
      LCSM_RETURN_IF_ERROR(rank.device->Download(
          to + (h / own * groups + first + h % own) * to_stride,
          from.lines[r] + h * from.stride, count * kLanes * sizeof(float)));
    }
  }
  return OkStatus();
}

Status HyenaDeviceState::ScatterLines(const float* from, size_t from_stride,
                                      size_t count,
                                      const DevicePending& to) const {
  const size_t groups = GroupsFor(config().width);
  for (size_t r = 0; r < ranks_.all().size() && count != 0; ++r) {
    const HyenaDeviceRanks::Rank& rank = ranks_.all()[r];
    const size_t first = rank.share->first_channel / kLanes;
    const size_t own = GroupsFor(rank.share->channels);
    for (size_t h = 0; h < Histories(*rank.share); ++h) {
      LCSM_RETURN_IF_ERROR(rank.device->Upload(
          to.lines[r] + h * to.stride,
          from + (h / own * groups + first + h % own) * from_stride,
          count * kLanes * sizeof(float)));
    }
  }
  return OkStatus();
}

namespace {

// Between a file's rows of streams, [rows][N + 1][width], and a rank's,
// [rows][N + 1][channels].
void CopyStreams(float* all, size_t rows, size_t width, const Share& share,
                 float* own, bool to_own) {
  for (size_t row = 0; row < rows; ++row) {
    float* const there = all + row * width + share.first_channel;
    float* const here = own + row * share.channels;
    if (to_own) {
      std::copy_n(there, share.channels, here);
    } else {
      std::copy_n(here, share.channels, there);
    }
  }
}

}  // namespace

Status HyenaDeviceState::SaveTails(io::SectionWriter& writer) const {
  const size_t width = config().width;
  const size_t rows = TailRows() * (config().order + 1);
  std::vector<float> all(config().layers * rows * width);
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    const Array<float>& tails = rank.work.tails();
    std::vector<float> own(tails.size());
    LCSM_RETURN_IF_ERROR(
        rank.device->Download(own.data(), tails.data(), tails.bytes()));
    CopyStreams(all.data(), config().layers * rows, width, *rank.share,
                own.data(), /*to_own=*/false);
  }
  for (size_t layer = 0; layer < config().layers; ++layer) {
    LCSM_RETURN_IF_ERROR(writer.PutArray(
        "short filter", std::span<const float>(
                            all.data() + layer * rows * width, rows * width)));
  }
  return OkStatus();
}

Status HyenaDeviceState::LoadTails(io::SectionReader& reader) {
  const size_t width = config().width;
  const size_t rows = TailRows() * (config().order + 1);
  std::vector<float> all(config().layers * rows * width);
  for (size_t layer = 0; layer < config().layers; ++layer) {
    LCSM_RETURN_IF_ERROR(reader.GetArray(
        "short filter",
        std::span<float>(all.data() + layer * rows * width, rows * width)));
  }
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    const Array<float>& tails = rank.work.tails();
    std::vector<float> own(tails.size());
    CopyStreams(all.data(), config().layers * rows, width, *rank.share,
                own.data(), /*to_own=*/true);
    LCSM_RETURN_IF_ERROR(
        rank.device->Upload(tails.data(), own.data(), tails.bytes()));
  }
  return OkStatus();
}

Status HyenaDeviceState::Save(io::SectionWriter& writer) const {
  LCSM_RETURN_IF_ERROR(ranks_.Wait());
  // What is to be said of the positions to come, if steps were taken: worked
  // out on a copy, which is taken to its end.
  std::vector<Array<float>> drained;
  DevicePending pending = pending_;
  size_t horizon = horizon_;
  if (Stepped() != 0) {
    const size_t left = leader().tiles->length() - leader().tiles->known();
    const size_t stride = std::max<size_t>(left, 1) * kLanes;
    LCSM_ASSIGN_OR_RETURN(drained, NewApart(stride));
    for (size_t r = 0; r < ranks_.all().size(); ++r) {
      const HyenaDeviceRanks::Rank& rank = ranks_.all()[r];
      LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue,
                            rank.device->NewQueue(false));
      LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Tiles> copy,
                            Tiles::Create(shared_.ranks[r].tiles, *queue));
      LCSM_RETURN_IF_ERROR(copy->CopyFrom(*rank.tiles));
      LCSM_RETURN_IF_ERROR(copy->Drain(drained[r].data(), stride));
    }
    pending = PendingIn(drained, stride, std::min(left, horizon_ - position()));
    horizon = position() + pending.count;
  }
  const bool apart = PendingIsApart();
  const HyenaPlace place = {position(), horizon, pending.count, apart};
  LCSM_RETURN_IF_ERROR(place.Save(writer));
  LCSM_RETURN_IF_ERROR(SaveTails(writer));
  if (apart) {
    const size_t stride = (pending.count | 1) * kLanes;
    const size_t histories = Convolutions() * GroupsFor(config().width);
    std::vector<float> lines(histories * stride);
    LCSM_RETURN_IF_ERROR(
        GatherLines(pending, pending.count, lines.data(), stride));
    LCSM_RETURN_IF_ERROR(
        writer.PutArray("pending", std::span<const float>(lines)));
  }
  if (!shared_.has_steps()) return OkStatus();
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
        writer.PutArray("deferred tiles", std::span<const uint64_t>(nothing)));
  }
  const auto put = [&writer](const char* name, const FloatBuffer& buffer) {
    return writer.PutArray(
        name, std::span<const float>(buffer.data(), buffer.size()));
  };
  const size_t stride = conv::HistoryStride(lines);
  const size_t all = Convolutions() * GroupsFor(config().width);
  LCSM_ASSIGN_OR_RETURN(FloatBuffer histories,
                        FloatBuffer::Allocate(all * stride, "the histories"));
  LCSM_RETURN_IF_ERROR(GatherLines(from, count, histories.data(), stride));
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
        FloatBuffer::Allocate(all * conv::KeptFloats(problem, level),
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
  LCSM_RETURN_IF_ERROR(LoadTails(reader));
  if (place.apart) {
    const size_t stride = (place.pending | 1) * kLanes;
    const size_t histories = Convolutions() * GroupsFor(config().width);
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer lines,
        FloatBuffer::Allocate(histories * stride,
                              "contributions to coming positions"));
    LCSM_RETURN_IF_ERROR(reader.GetArray(
        "pending", std::span<float>(lines.data(), lines.size())));
    LCSM_ASSIGN_OR_RETURN(apart_, NewApart(stride));
    pending_ = PendingIn(apart_, stride, place.pending);
    LCSM_RETURN_IF_ERROR(
        ScatterLines(lines.data(), stride, place.pending, pending_));
  }
  size_t origin = place.origin, count = place.apart ? 0 : place.pending;
  if (shared_.has_steps()) {
    LCSM_RETURN_IF_ERROR(LoadConvolution(reader, &origin, &count));
    LCSM_RETURN_IF_ERROR(place.CheckPosition(reader, origin));
    if (!place.apart) {
      pending_ = PendingInTiles(std::min(count, place.horizon - origin));
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
                        MakeHyenaFilters(shared_.ranks.front().weights->host(),
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
  const size_t stride = leader().tiles->stride();
  const size_t histories = Convolutions() * groups;
  FloatBuffer lines;
  LCSM_ASSIGN_OR_RETURN(
      lines, FloatBuffer::Allocate(histories * stride, "the histories"));
  if (known == 0) {
    for (size_t h = 0; h < histories && count != 0; ++h) {
      std::copy_n(host->Accumulators(h), count * kLanes,
                  lines.data() + h * stride);
    }
  } else {
    // Zeros from here on: what comes out is what the inputs so far contribute.
    std::vector<float> rows(std::min(kRowsAtATime, std::max<size_t>(left, 1)) *
                            width);
    for (size_t done = 0; done < left;) {
      const size_t now = std::min(kRowsAtATime, left - done);
      for (size_t m = 0; m < Convolutions(); ++m) {
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
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    LCSM_RETURN_IF_ERROR(rank.tiles->Reset(*origin, skip_mixers_));
  }
  return ScatterLines(lines.data(), stride, leader().tiles->length(),
                      PendingInTiles(0));
}

}  // namespace lcsm::cuda
