// How HyenaPrefill is built: shared by hyena_prefill.cc, which sets a call up
// and hands its results out, and hyena_prefill_layer.cc, which takes it through
// one layer.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/prefill.h"
#include "kernels/dense.h"
#include "kernels/lanes.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_prefill.h"
#include "models/hyena_prefill_shared.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

// Hidden units of the MLP that a chunk of tokens goes through at a time: the
// activations of 96 tokens at a width of 256 and what is read of both matrices
// are 0.9 MiB, where all 1 024 units are 2.7, and L2 has 0.5. A layer's MLP
// takes 3 to 6 % less for it, in the same bits.
inline constexpr size_t kHiddenPart = kPanelDepth;

struct HyenaPrefill::Impl {
  using Clock = std::chrono::steady_clock;

  Impl(const HyenaWeights& w, const HyenaPrefillShared& s, ThreadPool& p)
      : weights(w), config(w.config()), shared(s), pool(p) {}

  // What one thread scribbles on.
  struct Worker {
    FloatBuffer streams, u, hidden, update;
    FloatBuffer pending;  // Of a trunk and one group, [following][kLanes].
    std::vector<conv::PrefillTile> tiles;  // One a block size.
    conv::PrefillTile* TileFor(const conv::PrefillShape& shape, bool remake);
  };

  // Rows of one stretch of text. The first is the trunk, and what stands behind
  // it may be one of several branches.
  struct Segment {
    std::span<const int32_t> tokens;
    size_t first = 0;     // Row in x, lines and gates.
    size_t position = 0;  // Of the first token.
    conv::PrefillShape shape;
    const conv::PrefillSpectra* spectra = nullptr;  // Null: made as we go.

    size_t end() const { return first + tokens.size(); }
  };

  // Rows that one thread takes through the blocks at a time.
  struct Chunk {
    size_t first = 0, count = 0;
    // Rows before, for the FIR: `reach` of them that end before `before`. None
    // where the tail of earlier calls stands for them.
    size_t reach = 0, before = 0;
    size_t edge = 0;  // Row of `edges` where they are kept.
    bool ends_trunk = false;
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
    std::vector<Segment> segments;
    std::vector<Chunk> chunks;
    bool remake = false;  // Spectra are made as we go, for some segment.
    bool gates = true;    // They are kept.
    // Segment and position.
    std::function<Status(size_t, size_t, std::span<const float>)> on_logits;
    ModelState::HiddenSink on_hidden;
    ModelState::Progress progress;
    float* last_logits = nullptr;
    size_t hidden_layer = 0;
    PendingLines before, after;
    StepTimes* times = nullptr;
    double done = 0, share = 1;  // Progress: before this pass, and its part.

    const Segment& trunk() const { return segments.front(); }
    size_t rows() const { return segments.back().end(); }
    size_t taps() const;  // That slices of all segments hold.
  };

  // hyena_prefill.cc
  void Begin(std::span<const int32_t> tokens, size_t position, size_t following,
             Call& call) const;
  void AddBranch(std::span<const int32_t> tokens, Call& call) const;
  Status RunCall(Call& call, std::vector<ShortFirState>& fir);
  Status Allocate(Call& call);
  void MakeChunks(Call& call) const;
  Status AllocateWorker(const Call& call, size_t chunk, Worker& worker);
  Status AllocateTiles(const Call& call, Worker& worker);
  Status HandOutHidden(const Call& call, bool normed);
  Status HandOutLogits(const Call& call);
  Status HandOutLogits(const Call& call, size_t segment);

  // hyena_prefill_layer.cc
  Status Layer(Call& call, size_t index, ShortFirState& fir);
  // body(item, worker) for all items on the pool, some at a time; asks whether
  // to go on in between.
  template <typename Body>
  Status ForEach(const Call& call, size_t items, Body&& body);
  template <typename Body>
  Status ForEachChunk(const Call& call, Body&& body);
  void Norm(const NormWeights& norm, double eps, const float* from,
            size_t count, float* y) const noexcept;
  // Streams [begin, end) of a chunk, as they are before the short FIR, and of
  // the rows before it, whose residual stream is `earlier`. The chunk's first
  // row, in worker.streams; the FIR's taps - 1 rows before it lie there, too.
  float* Project(const LayerRef& layer, size_t begin, size_t end,
                 const Chunk& chunk, const float* earlier,
                 Worker& worker) const noexcept;
  // 16 channels' worth of rows: group g of row t at data + g * group + t * row.
  struct GroupRows {
    float* data;
    size_t group, row;
    float* At(size_t g) const { return data + g * group; }
  };
  GroupRows Lines(const Chunk& chunk) noexcept {
    return {Line(0, chunk.first), line_stride * kLanes, kLanes};
  }
  Status Enter(const Call& call, const LayerRef& layer);
  Status Convolve(const Call& call, size_t layer, size_t o);
  Status MakeTaps(Call& call, size_t layer);
  // A chunk's lines times stream `gate`, into `out`.
  void GateChunk(const Call& call, const LayerRef& layer, size_t gate,
                 const Chunk& chunk, Worker& worker, GroupRows out) noexcept;
  Status Gate(const Call& call, const LayerRef& layer, size_t gate);
  Status Leave(const Call& call, const LayerRef& layer);
  float* Line(size_t group, size_t row) noexcept {
    return lines.data() + (group * line_stride + row) * kLanes;
  }

  const HyenaWeights& weights;
  const HyenaConfig& config;
  const HyenaPrefillShared& shared;
  ThreadPool& pool;
  std::vector<Worker> workers;
  FloatBuffer x;      // Residual stream, [rows][D].
  FloatBuffer lines;  // Inputs and outputs of a convolution,
                      // [group][line_stride][kLanes].
  FloatBuffer gates;  // Streams 0 .. N-2, [rows][(N-1) D], where kept.
  // Else a gate is projected when it is wanted, and by then the chunk before
  // has perhaps left the layer: rows of the residual stream before each chunk,
  // as they were, [rows][D].
  FloatBuffer edges;
  FloatBuffer last_tail;  // Of the trunk's last chunk.
  FloatBuffer outputs;    // On their way out.
  size_t line_stride = 0;
  std::unique_ptr<conv::FilterBank> bank;  // Of one layer, where not kept.
};

}  // namespace lcsm
