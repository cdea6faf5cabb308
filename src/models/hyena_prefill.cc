#include "models/hyena_prefill.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "kernels/dense.h"
#include "kernels/lanes.h"
#include "kernels/pointwise.h"
#include "models/hyena_filter.h"

namespace lcsm {
namespace {

using Clock = std::chrono::steady_clock;
using Request = ModelState::PrefillRequest;

// Tokens of a chunk: its activations, some 10 KiB a token at a width of 256,
// and a panel of weights share L2; more would let each weight read serve more
// tokens. A multiple of the matrix products' panels of 24.
constexpr size_t kChunkTokens = 96;
constexpr size_t kSmallestChunk = 24;

// Floats of logits, or of activations, that are handed out at a time.
constexpr size_t kOutputFloats = size_t{1} << 18;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

bool KeepsGates(const HyenaConfig& config, size_t tokens,
                const HyenaPrefillLimits& limits) {
  return tokens * config.convolutions() * config.width * sizeof(float) <=
         limits.gate_bytes;
}

size_t ChunkTokens(const HyenaConfig& config, size_t tokens, size_t threads) {
  // Short inputs: a few chunks for each thread.
  size_t chunk = std::min(kChunkTokens, tokens / (3 * threads));
  chunk = std::max(chunk / kSmallestChunk, size_t{1}) * kSmallestChunk;
  // A FIR's tail must not reach beyond the chunk before.
  while (chunk + 1 < config.fir_taps) chunk += kSmallestChunk;
  return chunk;
}

}  // namespace

struct HyenaPrefill::Impl {
  Impl(const HyenaWeights& w, const HyenaPrefillShared& s, ThreadPool& p)
      : weights(w), config(w.config()), shared(s), pool(p) {}

  // What one thread scribbles on.
  struct Worker {
    FloatBuffer streams, u, hidden, update, tail;
    std::vector<conv::PrefillTile> tiles;  // One a block size.
    conv::PrefillTile* tile = nullptr;     // The one in use.
  };

  // One layer as it was before the call.
  struct LayerRef {
    const HyenaLayerWeights& w;
    const HyenaLayerPanels& panels;
    const ShortFirState& fir;
    size_t stride() const { return w.in_proj.out; }
  };

  // One call.
  struct Call {
    std::span<const int32_t> tokens;
    size_t position = 0;
    size_t chunk = 1;
    conv::PrefillShape shape;
    const conv::PrefillSpectra* spectra = nullptr;  // Null: made as we go.
    bool gates = true;
    const Request* request = nullptr;
    PendingLines before, after;
    StepTimes* times = nullptr;
    double done = 0, share = 1;  // Progress: before this pass, and its part.

    size_t count() const { return tokens.size(); }
  };

  Status Allocate(Call& call);
  Status AllocateWorker(const Call& call, Worker& worker);
  // body(item, worker) for all items on the pool, some at a time; asks
  // whether to go on in between.
  template <typename Body>
  Status ForEach(const Call& call, size_t items, Body&& body);
  template <typename Body>
  Status ForEachChunk(const Call& call, Body&& body);
  void Norm(const NormWeights& norm, double eps, const float* x, size_t count,
            float* y) const noexcept;
  // Streams [begin, end) of `count` tokens from `first` on, short FIR applied,
  // somewhere in worker.streams; leaves the FIR's tail in worker.tail.
  float* Project(const LayerRef& layer, size_t begin, size_t end, size_t first,
                 size_t count, Worker& worker) const noexcept;
  Status Layer(Call& call, size_t index, ShortFirState& fir);
  Status Enter(const Call& call, const LayerRef& layer);
  Status Convolve(const Call& call, size_t layer, size_t o);
  Status MakeTaps(Call& call, size_t layer);
  // Multiplies the lines by a stream. A pass of its own, because a gate that is
  // projected again needs the residual stream of the chunk before as it was.
  Status Gate(const Call& call, const LayerRef& layer, size_t gate);
  Status Leave(const Call& call, const LayerRef& layer);
  // Multiplies the lines of tokens [first, first + count) by stream `gate`
  // of the rows at `streams`, `stride` apart.
  void MultiplyLines(const float* rows, size_t stride, size_t first,
                     size_t count) noexcept;
  const float* GateRows(const Call& call, const LayerRef& layer, size_t gate,
                        size_t first, size_t count, Worker& worker,
                        size_t* stride) const noexcept;
  float* Line(size_t group, size_t token) noexcept {
    return lines.data() + (group * line_stride + token) * kLanes;
  }
  Status HandOutHidden(const Call& call, bool normed);
  Status HandOutLogits(const Call& call);

  const HyenaWeights& weights;
  const HyenaConfig& config;
  const HyenaPrefillShared& shared;
  ThreadPool& pool;
  std::vector<Worker> workers;
  FloatBuffer x;          // Residual stream, [tokens][D].
  FloatBuffer lines;      // Inputs and outputs of a convolution,
                          // [group][line_stride][kLanes].
  FloatBuffer gates;      // Streams 0 .. N-2, [tokens][(N-1) D].
  FloatBuffer last_tail;  // Of the last chunk.
  FloatBuffer outputs;    // On their way out.
  size_t line_stride = 0;
  std::unique_ptr<conv::FilterBank> bank;  // Of one layer, where not kept.
};

namespace {

Status Grow(size_t floats, const char* what, FloatBuffer* buffer) {
  if (buffer->size() >= floats) return OkStatus();
  *buffer = FloatBuffer();  // Before the new one comes.
  LCSM_ASSIGN_OR_RETURN(*buffer, FloatBuffer::Allocate(floats, what));
  return OkStatus();
}

}  // namespace

Status HyenaPrefill::Impl::AllocateWorker(const Call& call, Worker& worker) {
  const size_t width = config.width, streams = (config.order + 1) * width;
  const size_t rows = call.chunk + config.fir_taps;
  const char* const what = "activations";
  LCSM_RETURN_IF_ERROR(Grow(rows * streams, what, &worker.streams));
  LCSM_RETURN_IF_ERROR(Grow(rows * width, what, &worker.u));
  LCSM_RETURN_IF_ERROR(Grow(rows * config.inner, what, &worker.hidden));
  LCSM_RETURN_IF_ERROR(Grow(rows * width, what, &worker.update));
  LCSM_RETURN_IF_ERROR(
      Grow(std::max<size_t>(config.fir_taps, 2) * streams, what, &worker.tail));
  const bool remake = call.spectra == nullptr;
  worker.tile = nullptr;
  for (conv::PrefillTile& tile : worker.tiles) {
    if (tile.Fits(call.shape, remake)) worker.tile = &tile;
  }
  if (worker.tile == nullptr) {
    // One that is too small makes room.
    std::erase_if(worker.tiles, [&](const conv::PrefillTile& tile) {
      return remake || tile.block() == call.shape.block;
    });
    LCSM_ASSIGN_OR_RETURN(conv::PrefillTile tile,
                          conv::PrefillTile::Create(call.shape, remake));
    worker.tiles.push_back(std::move(tile));
    worker.tile = &worker.tiles.back();
  }
  return OkStatus();
}

Status HyenaPrefill::Impl::Allocate(Call& call) {
  const size_t width = config.width, count = call.count();
  call.shape.inputs = count;
  call.shape.block =
      conv::PrefillBlock(call.shape.inputs, call.shape.following);
  call.spectra = shared.FindSpectra(call.shape);
  call.chunk = ChunkTokens(config, count, pool.NumThreads());
  call.gates = KeepsGates(config, count, shared.limits());
  const char* const what = "activations of known tokens";
  LCSM_RETURN_IF_ERROR(Grow(count * width, what, &x));
  line_stride = count | 1;  // See conv::HistoryStride.
  LCSM_RETURN_IF_ERROR(
      Grow(HyenaGroups(config) * line_stride * kLanes, what, &lines));
  if (call.gates) {
    LCSM_RETURN_IF_ERROR(
        Grow(count * config.convolutions() * width, what, &gates));
  }
  LCSM_RETURN_IF_ERROR(
      Grow(std::max<size_t>(config.fir_taps, 2) * (config.order + 1) * width,
           what, &last_tail));
  if (workers.empty()) workers.resize(pool.NumThreads());
  for (Worker& worker : workers) {
    LCSM_RETURN_IF_ERROR(AllocateWorker(call, worker));
  }
  return OkStatus();
}

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
    if (call.request->progress &&
        !call.request->progress(call.done + call.share *
                                                static_cast<double>(done) /
                                                static_cast<double>(items))) {
      return Cancelled("stopped while taking known tokens in");
    }
  }
  return OkStatus();
}

template <typename Body>
Status HyenaPrefill::Impl::ForEachChunk(const Call& call, Body&& body) {
  const size_t chunks = (call.count() + call.chunk - 1) / call.chunk;
  return ForEach(call, chunks, [&](size_t i, Worker& worker) {
    const size_t first = i * call.chunk;
    body(first, std::min(call.chunk, call.count() - first), worker);
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
                                   size_t end, size_t first, size_t count,
                                   Worker& worker) const noexcept {
  const DenseKernels& dense = GetDenseKernels();
  const HyenaLayerWeights& w = layer.w;
  const size_t width = config.width, stride = layer.stride();
  const size_t reach = config.fir_taps - 1;
  // Rows before the chunk, for the FIR; before the first chunk, the tail of
  // earlier calls.
  const size_t extra = first == 0 ? 0 : reach;
  Norm(w.norm1, config.block_norm_eps, x.data() + (first - extra) * width,
       extra + count, worker.u.data());
  for (size_t s = begin; s < end; ++s) {
    const float* const bias = w.in_proj.bias;
    dense.dense_panels(layer.panels.streams[s],
                       bias != nullptr ? bias + s * width : nullptr,
                       worker.u.data(), width, extra + count,
                       worker.streams.data() + s * width, stride);
  }
  std::copy_n(extra == 0 ? layer.fir.tail() : worker.streams.data(),
              (extra == 0 ? w.short_fir.tail_rows() : extra) * stride,
              worker.tail.data());
  float* const rows = worker.streams.data() + extra * stride;
  w.short_fir.Apply(begin * width, end * width, count, stride, rows,
                    worker.tail.data());
  return rows;
}

// Norm, projection, short FIR, the first gate: v into the lines.
Status HyenaPrefill::Impl::Enter(const Call& call, const LayerRef& layer) {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = config.width, stride = layer.stride();
  const size_t gated = config.convolutions() * width;
  return ForEachChunk(call, [&](size_t first, size_t count, Worker& worker) {
    const float* const rows =
        Project(layer, 0, config.order + 1, first, count, worker);
    if (first + count == call.count()) {
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
      HyenaLayerProblem(config, std::min(call.shape.taps(), config.max_length));
  if (bank == nullptr || bank->taps() != problem.taps) {
    bank = nullptr;
    LCSM_ASSIGN_OR_RETURN(bank, conv::FilterBank::Create(problem));
  }
  const Request& request = *call.request;
  ModelState::Progress progress;
  if (request.progress) {
    progress = [&](double done) {
      return request.progress(call.done + call.share * done);
    };
  }
  return EvaluateHyenaLayerFilter(weights, layer, pool, progress, *bank);
}

Status HyenaPrefill::Impl::Convolve(const Call& call, size_t layer, size_t o) {
  const Clock::time_point start = Clock::now();
  const size_t groups = HyenaGroups(config);
  const size_t mixer = layer * config.convolutions() + o;
  const Status status = ForEach(call, groups, [&](size_t g, Worker& worker) {
    const size_t history = mixer * groups + g;
    conv::PrefillTile& tile = *worker.tile;
    const float* const slices =
        call.spectra != nullptr
            ? call.spectra->Group(history)
            : tile.MakeSlices(call.shape, *bank, o * groups + g);
    tile.Run(call.shape, slices, Line(g, 0),
             call.before.count == 0 ? nullptr : call.before.At(history),
             call.shape.following == 0 ? nullptr : call.after.At(history));
  });
  call.times->mixers += Seconds(start);
  return status;
}

const float* HyenaPrefill::Impl::GateRows(const Call& call,
                                          const LayerRef& layer, size_t gate,
                                          size_t first, size_t count,
                                          Worker& worker,
                                          size_t* stride) const noexcept {
  if (call.gates) {
    *stride = config.convolutions() * config.width;
    return gates.data() + first * *stride + gate * config.width;
  }
  *stride = layer.stride();
  return gate * config.width +
         Project(layer, gate, gate + 1, first, count, worker);
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
  return ForEachChunk(call, [&](size_t first, size_t count, Worker& worker) {
    size_t stride = 0;
    const float* const rows =
        GateRows(call, layer, gate, first, count, worker, &stride);
    MultiplyLines(rows, stride, first, count);
  });
}

// Projection and MLP.
Status HyenaPrefill::Impl::Leave(const Call& call, const LayerRef& layer) {
  const DenseKernels& dense = GetDenseKernels();
  const HyenaLayerWeights& w = layer.w;
  const HyenaLayerPanels& panels = layer.panels;
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = config.width, inner = config.inner;
  return ForEachChunk(call, [&](size_t first, size_t count, Worker& worker) {
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
  if (call.spectra == nullptr) {
    part(0.1);
    LCSM_RETURN_IF_ERROR(MakeTaps(call, index));
  }
  for (size_t o = 0; o < config.convolutions(); ++o) {
    part(0.9 * each);
    LCSM_RETURN_IF_ERROR(Convolve(call, index, o));
    part(0.1 * each);
    LCSM_RETURN_IF_ERROR(Gate(call, layer, config.order - 2 - o));
  }
  part(call.spectra == nullptr ? 0.4 : 0.5);
  LCSM_RETURN_IF_ERROR(Leave(call, layer));
  std::copy_n(last_tail.data(), layer.w.short_fir.tail_rows() * layer.stride(),
              fir.tail());
  call.times->blocks += Seconds(start) - (call.times->mixers - mixers_before);
  return OkStatus();
}

Status HyenaPrefill::Impl::HandOutHidden(const Call& call, bool normed) {
  const size_t width = config.width;
  const size_t rows = std::max<size_t>(1, kOutputFloats / width);
  if (normed) LCSM_RETURN_IF_ERROR(Grow(rows * width, "outputs", &outputs));
  for (size_t t = 0; t < call.count(); t += rows) {
    const size_t now = std::min(rows, call.count() - t);
    const float* from = x.data() + t * width;
    if (normed) {
      pool.ParallelFor(now, kSmallestChunk,
                       [&](size_t begin, size_t end, size_t) {
                         Norm(weights.final_norm(), config.final_norm_eps,
                              from + begin * width, end - begin,
                              outputs.data() + begin * width);
                       });
      from = outputs.data();
    }
    LCSM_RETURN_IF_ERROR(
        call.request->on_hidden(call.position + t, {from, now * width}));
  }
  return OkStatus();
}

Status HyenaPrefill::Impl::HandOutLogits(const Call& call) {
  const LinearWeights& head = weights.head();
  const size_t width = config.width, vocab = head.out;
  const size_t all = call.count();
  const bool each = static_cast<bool>(call.request->on_logits);
  const size_t rows =
      each ? std::clamp<size_t>(kOutputFloats / vocab, 1, all) : 1;
  LCSM_RETURN_IF_ERROR(Grow(rows * (vocab + width), "logits", &outputs));
  float* const normed = outputs.data();
  float* const logits = normed + rows * width;
  for (size_t t = each ? 0 : all - 1; t < all; t += rows) {
    const Clock::time_point start = Clock::now();
    const size_t now = std::min(rows, all - t);
    pool.ParallelFor(now, kSmallestChunk,
                     [&](size_t begin, size_t end, size_t) {
                       Norm(weights.final_norm(), config.final_norm_eps,
                            x.data() + (t + begin) * width, end - begin,
                            normed + begin * width);
                     });
    // Over tokens where the vocabulary is small, else over its rows.
    if (now >= kSmallestChunk * pool.NumThreads()) {
      pool.ParallelFor(now, kSmallestChunk,
                       [&](size_t begin, size_t end, size_t) {
                         head.Apply(0, vocab, normed + begin * width, width,
                                    end - begin, logits + begin * vocab, vocab);
                       });
    } else {
      constexpr size_t kUnit = 16;
      pool.ParallelFor((vocab + kUnit - 1) / kUnit, 4,
                       [&](size_t begin, size_t end, size_t) {
                         head.Apply(begin * kUnit, std::min(vocab, end * kUnit),
                                    normed, width, now, logits, vocab);
                       });
    }
    call.times->head += Seconds(start);
    for (size_t i = 0; each && i < now; ++i) {
      LCSM_RETURN_IF_ERROR(call.request->on_logits(
          call.position + t + i, {logits + i * vocab, vocab}));
    }
    if (t + now == all && call.request->last_logits != nullptr) {
      std::copy_n(logits + (now - 1) * vocab, vocab, call.request->last_logits);
    }
  }
  return OkStatus();
}

HyenaPrefill::HyenaPrefill(const HyenaWeights& weights,
                           const HyenaPrefillShared& shared, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(weights, shared, pool)) {}
HyenaPrefill::~HyenaPrefill() = default;

Status HyenaPrefill::Run(std::span<const int32_t> tokens, size_t position,
                         size_t following, const Request& request,
                         std::vector<ShortFirState>& fir, PendingLines before,
                         PendingLines after, StepTimes* times) {
  if (tokens.empty()) return OkStatus();
  Impl& impl = *impl_;
  Impl::Call call;
  call.tokens = tokens;
  call.position = position;
  call.shape.following = following;
  call.request = &request;
  call.before = before;
  call.after = after;
  call.times = times;
  LCSM_RETURN_IF_ERROR(impl.Allocate(call));
  const size_t width = impl.config.width;
  impl.pool.ParallelFor(
      tokens.size(), 256, [&](size_t begin, size_t end, size_t) {
        for (size_t t = begin; t < end; ++t) {
          std::copy_n(
              impl.weights.embedding() + static_cast<size_t>(tokens[t]) * width,
              width, impl.x.data() + t * width);
        }
      });
  const size_t layers = impl.weights.layers().size();
  const bool logits = request.on_logits || request.last_logits != nullptr;
  for (size_t layer = 0; layer <= layers; ++layer) {
    if (request.on_hidden && layer == request.hidden_layer) {
      LCSM_RETURN_IF_ERROR(impl.HandOutHidden(call, false));
      // Nobody will ask for more.
      if (!logits && following == 0) return OkStatus();
    }
    if (layer == layers) break;
    call.done = static_cast<double>(layer) / static_cast<double>(layers);
    call.share = 1 / static_cast<double>(layers);
    LCSM_RETURN_IF_ERROR(impl.Layer(call, layer, fir[layer]));
  }
  if (request.on_hidden && request.hidden_layer == Request::kFinalNorm) {
    LCSM_RETURN_IF_ERROR(impl.HandOutHidden(call, true));
  }
  if (logits) LCSM_RETURN_IF_ERROR(impl.HandOutLogits(call));
  return OkStatus();
}

size_t HyenaPrefill::BytesFor(const HyenaConfig& config, size_t tokens,
                              size_t following,
                              const HyenaPrefillLimits& limits,
                              bool spectra_kept, size_t threads) {
  const size_t width = config.width;
  const size_t chunk = ChunkTokens(config, tokens, threads) + config.fir_taps;
  conv::PrefillShape shape = {tokens, following,
                              conv::PrefillBlock(tokens, following)};
  size_t floats = (tokens + (tokens | 1)) * HyenaGroups(config) * kLanes;
  if (KeepsGates(config, tokens, limits)) {
    floats += tokens * config.convolutions() * width;
  }
  floats += threads * chunk * ((config.order + 3) * width + config.inner);
  floats += kOutputFloats;
  size_t bytes = floats * sizeof(float) +
                 threads * conv::PrefillTile::BytesFor(shape, !spectra_kept);
  if (!spectra_kept) {
    const size_t taps = std::min(shape.taps(), config.max_length);
    bytes += conv::FilterBank::BytesFor(HyenaLayerProblem(config, taps), taps);
  }
  return bytes;
}

}  // namespace lcsm
