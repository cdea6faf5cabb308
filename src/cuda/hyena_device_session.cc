// Session files of states on a device: see hyena_device_state.h.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <vector>

#include "conv/layout.h"
#include "conv/online_convolution.h"
#include "conv/saved_convolution.h"
#include "cuda/hyena_device_filters.h"
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
  conv::Plan plan = HostPlan();
  // There are contributions to every position that may follow.
  plan.rings = conv::Rings::kNone;
  assert(count <= conv::HistoryLines(plan));
  return conv::SaveAccumulators(writer, plan, [&](float* lines, size_t stride) {
    return GatherLines(from, count, lines, stride);
  });
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

Status HyenaDeviceState::LoadConvolution(io::SectionReader& reader,
                                         size_t* origin, size_t* pending) {
  LCSM_ASSIGN_OR_RETURN(const uint64_t known, conv::SavedPosition(reader));
  const size_t stride = leader().tiles->stride();
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer lines,
      FloatBuffer::Allocate(Convolutions() * GroupsFor(config().width) * stride,
                            "the histories"));
  if (known == 0) {
    LCSM_RETURN_IF_ERROR(conv::LoadAccumulators(reader, HostPlan(), *pending,
                                                lines.data(), stride));
  } else {
    LCSM_RETURN_IF_ERROR(
        LoadContributions(reader, lines.data(), stride, pending));
  }
  *origin += known;
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    LCSM_RETURN_IF_ERROR(rank.tiles->Reset(*origin, skip_mixers_));
  }
  return ScatterLines(lines.data(), stride, leader().tiles->length(),
                      PendingInTiles(0));
}

// Lets the CPU's convolution read its part, and asks it what its inputs
// contribute to the positions to come.
Status HyenaDeviceState::LoadContributions(io::SectionReader& reader, float* to,
                                           size_t to_stride, size_t* pending) {
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const conv::FilterBank> filters,
                        BringFilters());
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const conv::PreparedConvolution> prepared,
      conv::PreparedConvolution::Create(HostPlan(), std::move(filters), pool_));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<conv::OnlineConvolution> host,
                        conv::OnlineConvolution::Create(prepared, pool_));
  LCSM_RETURN_IF_ERROR(host->Load(reader));
  const size_t left = host->length() - host->position();
  const size_t width = config().width, groups = GroupsFor(width);
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
          std::copy_n(rows.data() + t * width + g * kLanes,
                      std::min<size_t>(kLanes, width - g * kLanes),
                      to + (m * groups + g) * to_stride + (done + t) * kLanes);
        }
      }
    }
    host->AdvanceMany(now);
    done += now;
  }
  *pending = left;
  return OkStatus();
}

// The filters of the steps for the CPU: copied where known tokens have them on
// the device, else evaluated there, a layer at a time. Where there is no room
// for a layer's, by the CPU.
StatusOr<std::shared_ptr<const conv::FilterBank>>
HyenaDeviceState::BringFilters() {
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(HostPlan().problem));
  const size_t steps = shared_.steps(), convolutions = config().convolutions();
  std::vector<float> lines(steps * kLanes);
  for (const HyenaDeviceShared::Rank& rank : shared_.ranks) {
    const Share& share = rank.weights->share();
    const size_t own = GroupsFor(share.channels);
    for (size_t layer = 0; layer < config().layers; ++layer) {
      Array<float> evaluated;
      const float* taps = nullptr;
      size_t stride = steps * kLanes;
      if (rank.taps != nullptr) {
        stride = shared_.num_taps * kLanes;
        taps = rank.taps->data() + layer * convolutions * own * stride;
      } else {
        auto made =
            MakeDeviceTaps(rank.weights->shared_device(), rank.weights->host(),
                           {.lags = steps,
                            .first_channel = share.first_channel,
                            .channels = share.channels,
                            .first_layer = layer,
                            .layers = 1},
                           pool_, nullptr);
        if (made.status().code() == StatusCode::kResourceExhausted) {
          LCSM_ASSIGN_OR_RETURN(
              bank, MakeHyenaFilters(rank.weights->host(), steps, pool_, {}));
          return std::shared_ptr<const conv::FilterBank>(std::move(bank));
        }
        LCSM_ASSIGN_OR_RETURN(evaluated, std::move(made));
        taps = evaluated.data();
      }
      for (size_t f = 0; f < convolutions * own; ++f) {
        LCSM_RETURN_IF_ERROR(rank.weights->device().Download(
            lines.data(), taps + f * stride, lines.size() * sizeof(float)));
        bank->SetGroupTaps(layer * convolutions + f / own,
                           share.first_channel / kLanes + f % own, 0, steps,
                           lines.data());
      }
    }
  }
  return std::shared_ptr<const conv::FilterBank>(std::move(bank));
}

}  // namespace lcsm::cuda
