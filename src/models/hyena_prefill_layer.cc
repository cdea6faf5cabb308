#include "models/hyena_prefill_impl.h"

#include <algorithm>

#include "base/for_each_item.h"
#include "kernels/dense.h"
#include "kernels/pointwise.h"
#include "models/hyena_filter.h"

namespace lcsm {
namespace {

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since)
      .count();
}

}  // namespace

template <typename Body>
Status HyenaPrefill::Impl::ForEach(const Call& call, size_t items,
                                   Body&& body) {
  const bool all = ForEachItem(
      pool, items, [&](size_t i, size_t worker) { body(i, workers[worker]); },
      [&](size_t started) {
        return !call.progress ||
               call.progress(call.done + call.share *
                                             static_cast<double>(started) /
                                             static_cast<double>(items));
      });
  return all ? OkStatus() : Cancelled("stopped while taking known tokens in");
}

template <typename Body>
Status HyenaPrefill::Impl::ForEachChunk(const Call& call, Body&& body) {
  return ForEach(call, call.chunks.size(), [&](size_t i, Worker& worker) {
    body(call.chunks[i], worker);
  });
}

void HyenaPrefill::Impl::Norm(const NormWeights& norm, double eps,
                              const float* from, size_t count,
                              float* y) const noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  for (size_t t = 0; t < count; ++t) {
    kernels.layer_norm(from + t * config.width, norm.weight, norm.bias,
                       config.width, static_cast<float>(eps),
                       y + t * config.width);
  }
}

float* HyenaPrefill::Impl::Project(const LayerRef& layer, size_t begin,
                                   size_t end, const Chunk& chunk,
                                   const float* earlier,
                                   Worker& worker) const noexcept {
  const DenseKernels& dense = GetDenseKernels();
  const HyenaLayerWeights& w = layer.w;
  const size_t width = config.width, stride = layer.stride();
  const size_t reach = chunk.reach, tail = w.short_fir.taps() - 1;
  float* const rows = worker.streams.data() + tail * stride;
  if (reach == 0) {
    std::copy_n(layer.fir.tail(), tail * stride, worker.streams.data());
  }
  Norm(w.norm1, config.block_norm_eps, earlier, reach, worker.u.data());
  Norm(w.norm1, config.block_norm_eps, x.data() + chunk.first * width,
       chunk.count, worker.u.data() + reach * width);
  for (size_t s = begin; s < end; ++s) {
    const float* const bias = w.in_proj.bias;
    dense.dense_panels(layer.panels.streams[s],
                       bias != nullptr ? bias + s * width : nullptr,
                       worker.u.data(), width, reach + chunk.count,
                       rows - reach * stride + s * width, stride);
  }
  return rows;
}

// Norm, projection, short FIR, the first gate: v into the lines.
Status HyenaPrefill::Impl::Enter(const Call& call, const LayerRef& layer) {
  const size_t width = config.width, stride = layer.stride();
  const size_t gated = config.convolutions() * width;
  return ForEachChunk(call, [&](const Chunk& chunk, Worker& worker) {
    const size_t count = chunk.count;
    const ShortFir& fir = layer.w.short_fir;
    const float* const earlier =
        x.data() + (chunk.before - chunk.reach) * width;
    if (!call.gates) {
      std::copy_n(earlier, chunk.reach * width,
                  edges.data() + chunk.edge * width);
    }
    // Gates that are not kept come later, but for the last ones' tail.
    const size_t begin =
        call.gates || chunk.ends_trunk ? 0 : config.convolutions();
    const float* const rows =
        Project(layer, begin, config.order + 1, chunk, earlier, worker);
    if (chunk.ends_trunk) {
      const size_t tail = fir.taps() - 1;
      std::copy_n(rows + count * stride - tail * stride, tail * stride,
                  last_tail.data());
    }
    if (call.gates) {
      fir.ApplyToRows(0, gated, count, rows, nullptr, 0,
                      gates.data() + chunk.first * gated, gated);
    }
    const GroupRows lines_of = Lines(chunk);
    for (size_t g = 0; g < HyenaGroups(config); ++g) {
      const size_t lanes = std::min(kLanes, width - g * kLanes);
      float* const line = lines_of.At(g);
      if (lanes < kLanes) std::fill_n(line, count * kLanes, 0.0f);
      const size_t last = config.order * width + g * kLanes;
      fir.ApplyToRows(last, last + lanes, count, rows, nullptr, 0, line,
                      kLanes);
      fir.ApplyToRows(last - width, last - width + lanes, count, rows, line,
                      kLanes, line, kLanes);
    }
  });
}

Status HyenaPrefill::Impl::MakeTaps(Call& call, size_t layer) {
  const conv::Problem problem =
      HyenaLayerProblem(config, std::min(call.taps(), config.max_length));
  if (bank == nullptr || bank->taps() != problem.taps) {
    bank = nullptr;
    LCSM_ASSIGN_OR_RETURN(bank, conv::FilterBank::Create(problem));
  }
  ModelState::Progress progress;
  if (call.progress) {
    progress = [&](double done) {
      return call.progress(call.done + call.share * done);
    };
  }
  return EvaluateHyenaLayerFilter(weights, layer, pool, progress, *bank);
}

Status HyenaPrefill::Impl::Convolve(const Call& call, size_t layer, size_t o) {
  const Clock::time_point start = Clock::now();
  const size_t groups = HyenaGroups(config);
  const size_t mixer = layer * config.convolutions() + o;
  const bool branches = call.segments.size() > 1;
  const Status status = ForEach(call, groups, [&](size_t g, Worker& worker) {
    const size_t history = mixer * groups + g;
    const conv::PrefillTile* made_by = nullptr;
    const float* made = nullptr;
    size_t made_slices = 0;
    for (const Segment& segment : call.segments) {
      const conv::PrefillShape& shape = segment.shape;
      const bool remake = segment.spectra == nullptr;
      conv::PrefillTile* const tile = worker.TileFor(shape, remake);
      // Segments with blocks of one size read the same slices.
      if (remake && (tile != made_by || shape.slices() > made_slices)) {
        made = tile->MakeSlices(shape, *bank, o * groups + g);
        made_by = tile;
        made_slices = shape.slices();
      }
      const float* before =
          call.before.count == 0 ? nullptr : call.before.At(history);
      float* after =
          shape.following == 0 || branches ? nullptr : call.after.At(history);
      if (branches) {
        const bool trunk = segment.first == 0;
        if (trunk && shape.following != 0) after = worker.pending.data();
        if (!trunk) before = worker.pending.data();
      }
      tile->Run(shape, remake ? made : segment.spectra->Group(history),
                Line(g, segment.first), before, after);
    }
  });
  call.times->mixers += Seconds(start);
  return status;
}

void HyenaPrefill::Impl::GateChunk(const Call& call, const LayerRef& layer,
                                   size_t gate, const Chunk& chunk,
                                   Worker& worker, GroupRows out) noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = config.width, count = chunk.count;
  const float* rows = nullptr;
  size_t stride = config.convolutions() * width;
  if (call.gates) {
    rows = gates.data() + chunk.first * stride;
  } else {
    rows = Project(layer, gate, gate + 1, chunk,
                   edges.data() + chunk.edge * width, worker);
  }
  const GroupRows in = Lines(chunk);
  for (size_t g = 0; g < HyenaGroups(config); ++g) {
    const size_t lanes = std::min(kLanes, width - g * kLanes);
    const size_t first = gate * width + g * kLanes;
    if (!call.gates) {
      layer.w.short_fir.ApplyToRows(first, first + lanes, count, rows, in.At(g),
                                    in.row, out.At(g), out.row);
      continue;
    }
    for (size_t t = 0; t < count; ++t) {
      kernels.multiply(in.At(g) + t * in.row, rows + t * stride + first, lanes,
                       out.At(g) + t * out.row);
    }
  }
}

// A gate that another convolution follows.
Status HyenaPrefill::Impl::Gate(const Call& call, const LayerRef& layer,
                                size_t gate) {
  return ForEachChunk(call, [&](const Chunk& chunk, Worker& worker) {
    GateChunk(call, layer, gate, chunk, worker, Lines(chunk));
  });
}

// The last gate, projection and MLP.
Status HyenaPrefill::Impl::Leave(const Call& call, const LayerRef& layer) {
  const DenseKernels& dense = GetDenseKernels();
  const HyenaLayerWeights& w = layer.w;
  const HyenaLayerPanels& panels = layer.panels;
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = config.width, inner = config.inner;
  return ForEachChunk(call, [&](const Chunk& chunk, Worker& worker) {
    const size_t first = chunk.first, count = chunk.count;
    float* const u = worker.u.data();
    float* const update = worker.update.data();
    float* const residual = x.data() + first * width;
    GateChunk(call, layer, 0, chunk, worker, {u, kLanes, width});
    dense.dense_panels(panels.out_proj, w.out_proj.bias, u, width, count,
                       update, width);
    kernels.add(residual, update, count * width, residual);
    Norm(w.norm2, config.block_norm_eps, residual, count, u);
    for (size_t h = 0; h < inner; h += kHiddenPart) {
      const size_t part = std::min(kHiddenPart, inner - h);
      float* const hidden = worker.hidden.data();
      dense.dense_panels(panels.fc1.Rows(h, part),
                         w.fc1.bias == nullptr ? nullptr : w.fc1.bias + h, u,
                         width, count, hidden, part);
      kernels.gelu(hidden, count * part, hidden);
      const PanelView columns = panels.fc2.Columns(h, part);
      if (h == 0) {
        dense.dense_panels(columns, w.fc2.bias, hidden, part, count, update,
                           width);
      } else {
        dense.add_panels(columns, hidden, part, count, update, width);
      }
    }
    kernels.add(residual, update, count * width, residual);
  });
}

Status HyenaPrefill::Impl::Layer(Call& call, size_t index, ShortFirState& fir) {
  const LayerRef layer = {weights.layers()[index], shared.panels(index), fir};
  const Clock::time_point start = Clock::now();
  const double mixers_before = call.times->mixers;
  const double whole = call.share;
  const auto part = [&](double share) {
    call.done += call.share;
    call.share = whole * share;
  };
  // What the passes take of a layer's time at a width of 256, roughly.
  call.share = whole * 0.2;
  LCSM_RETURN_IF_ERROR(Enter(call, layer));
  const double each = 0.3 / static_cast<double>(config.convolutions());
  if (call.remake) {
    part(0.1);
    LCSM_RETURN_IF_ERROR(MakeTaps(call, index));
  }
  for (size_t o = 0; o < config.convolutions(); ++o) {
    part(0.9 * each);
    LCSM_RETURN_IF_ERROR(Convolve(call, index, o));
    part(0.1 * each);
    const size_t gate = config.order - 2 - o;
    if (gate != 0) LCSM_RETURN_IF_ERROR(Gate(call, layer, gate));
  }
  part(call.remake ? 0.4 : 0.5);
  LCSM_RETURN_IF_ERROR(Leave(call, layer));
  std::copy_n(last_tail.data(), (layer.w.short_fir.taps() - 1) * layer.stride(),
              fir.tail());
  call.times->blocks += Seconds(start) - (call.times->mixers - mixers_before);
  return OkStatus();
}

}  // namespace lcsm
