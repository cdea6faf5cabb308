#include "models/hyena_prefill_impl.h"

#include <algorithm>

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
  // A few milliseconds' work for all threads.
  const size_t slice = 16 * pool.NumThreads();
  for (size_t done = 0; done < items;) {
    const size_t now = std::min(slice, items - done);
    pool.ParallelFor(now, 1, [&](size_t begin, size_t end, size_t worker) {
      for (size_t i = done + begin; i < done + end; ++i) {
        body(i, workers[worker]);
      }
    });
    done += now;
    if (call.progress &&
        !call.progress(call.done + call.share * static_cast<double>(done) /
                                       static_cast<double>(items))) {
      return Cancelled("stopped while taking known tokens in");
    }
  }
  return OkStatus();
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
                                   Worker& worker) const noexcept {
  const DenseKernels& dense = GetDenseKernels();
  const HyenaLayerWeights& w = layer.w;
  const size_t width = config.width, stride = layer.stride();
  const size_t reach = chunk.reach;
  Norm(w.norm1, config.block_norm_eps,
       x.data() + (chunk.before - reach) * width, reach, worker.u.data());
  Norm(w.norm1, config.block_norm_eps, x.data() + chunk.first * width,
       chunk.count, worker.u.data() + reach * width);
  for (size_t s = begin; s < end; ++s) {
    const float* const bias = w.in_proj.bias;
    dense.dense_panels(layer.panels.streams[s],
                       bias != nullptr ? bias + s * width : nullptr,
                       worker.u.data(), width, reach + chunk.count,
                       worker.streams.data() + s * width, stride);
  }
  std::copy_n(reach == 0 ? layer.fir.tail() : worker.streams.data(),
              (reach == 0 ? w.short_fir.tail_rows() : reach) * stride,
              worker.tail.data());
  float* const rows = worker.streams.data() + reach * stride;
  w.short_fir.Apply(begin * width, end * width, chunk.count, stride, rows,
                    worker.tail.data());
  return rows;
}

// Norm, projection, short FIR, the first gate: v into the lines.
Status HyenaPrefill::Impl::Enter(const Call& call, const LayerRef& layer) {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = config.width, stride = layer.stride();
  const size_t gated = config.convolutions() * width;
  return ForEachChunk(call, [&](const Chunk& chunk, Worker& worker) {
    const size_t first = chunk.first, count = chunk.count;
    const float* const rows =
        Project(layer, 0, config.order + 1, chunk, worker);
    if (chunk.ends_trunk) {
      std::copy_n(worker.tail.data(), layer.w.short_fir.tail_rows() * stride,
                  last_tail.data());
    }
    for (size_t t = 0; t < count; ++t) {
      const float* const row = rows + t * stride;
      float* const v = worker.u.data() + t * width;
      kernels.multiply(row + config.order * width,
                       row + (config.order - 1) * width, width, v);
      if (call.gates) {
        std::copy_n(row, gated, gates.data() + (first + t) * gated);
      }
    }
    for (size_t g = 0; g < HyenaGroups(config); ++g) {
      const size_t lanes = std::min(kLanes, width - g * kLanes);
      for (size_t t = 0; t < count; ++t) {
        float* const line = Line(g, first + t);
        std::copy_n(worker.u.data() + t * width + g * kLanes, lanes, line);
        std::fill_n(line + lanes, kLanes - lanes, 0.0f);
      }
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

const float* HyenaPrefill::Impl::GateRows(const Call& call,
                                          const LayerRef& layer, size_t gate,
                                          const Chunk& chunk, Worker& worker,
                                          size_t* stride) const noexcept {
  if (call.gates) {
    *stride = config.convolutions() * config.width;
    return gates.data() + chunk.first * *stride + gate * config.width;
  }
  *stride = layer.stride();
  return gate * config.width + Project(layer, gate, gate + 1, chunk, worker);
}

void HyenaPrefill::Impl::MultiplyLines(const float* rows, size_t stride,
                                       size_t first, size_t count) noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  for (size_t g = 0; g < HyenaGroups(config); ++g) {
    const size_t lanes = std::min(kLanes, config.width - g * kLanes);
    for (size_t t = 0; t < count; ++t) {
      float* const line = Line(g, first + t);
      kernels.multiply(line, rows + t * stride + g * kLanes, lanes, line);
    }
  }
}

Status HyenaPrefill::Impl::Gate(const Call& call, const LayerRef& layer,
                                size_t gate) {
  return ForEachChunk(call, [&](const Chunk& chunk, Worker& worker) {
    size_t stride = 0;
    const float* const rows =
        GateRows(call, layer, gate, chunk, worker, &stride);
    MultiplyLines(rows, stride, chunk.first, chunk.count);
  });
}

// Projection and MLP.
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
    for (size_t g = 0; g < HyenaGroups(config); ++g) {
      const size_t lanes = std::min(kLanes, width - g * kLanes);
      for (size_t t = 0; t < count; ++t) {
        std::copy_n(Line(g, first + t), lanes, u + t * width + g * kLanes);
      }
    }
    dense.dense_panels(panels.out_proj, w.out_proj.bias, u, width, count,
                       update, width);
    kernels.add(residual, update, count * width, residual);
    Norm(w.norm2, config.block_norm_eps, residual, count, u);
    dense.dense_panels(panels.fc1, w.fc1.bias, u, width, count,
                       worker.hidden.data(), inner);
    kernels.gelu(worker.hidden.data(), count * inner, worker.hidden.data());
    dense.dense_panels(panels.fc2, w.fc2.bias, worker.hidden.data(), inner,
                       count, update, width);
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
    LCSM_RETURN_IF_ERROR(Gate(call, layer, config.order - 2 - o));
  }
  part(call.remake ? 0.4 : 0.5);
  LCSM_RETURN_IF_ERROR(Leave(call, layer));
  std::copy_n(last_tail.data(), layer.w.short_fir.tail_rows() * layer.stride(),
              fir.tail());
  call.times->blocks += Seconds(start) - (call.times->mixers - mixers_before);
  return OkStatus();
}

}  // namespace lcsm
