#include "models/hyena_prefill.h"

#include <algorithm>
#include <utility>

#include "kernels/pointwise.h"
#include "models/hyena_prefill_impl.h"

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

bool KeepsGates(const HyenaConfig& config, size_t rows,
                const HyenaPrefillLimits& limits) {
  return rows * config.convolutions() * config.width * sizeof(float) <=
         limits.gate_bytes;
}

size_t ChunkTokens(const HyenaConfig& config, size_t rows, size_t threads) {
  // Short inputs: a few chunks for each thread.
  size_t chunk = std::min(kChunkTokens, rows / (3 * threads));
  chunk = std::max(chunk / kSmallestChunk, size_t{1}) * kSmallestChunk;
  // A FIR's tail must not reach beyond the chunk before.
  while (chunk + 1 < config.fir_taps) chunk += kSmallestChunk;
  return chunk;
}

Status Grow(size_t floats, const char* what, FloatBuffer* buffer) {
  if (buffer->size() >= floats) return OkStatus();
  *buffer = FloatBuffer();  // Before the new one comes.
  LCSM_ASSIGN_OR_RETURN(*buffer, FloatBuffer::Allocate(floats, what));
  return OkStatus();
}

}  // namespace

size_t HyenaPrefill::Impl::Call::taps() const {
  size_t most = 0;
  for (const Segment& segment : segments) {
    most = std::max(most, segment.shape.taps());
  }
  return most;
}

conv::PrefillTile* HyenaPrefill::Impl::Worker::TileFor(
    const conv::PrefillShape& shape, bool remake) {
  for (conv::PrefillTile& tile : tiles) {
    if (tile.Fits(shape, remake)) return &tile;
  }
  return nullptr;
}

Status HyenaPrefill::Impl::AllocateTiles(const Call& call, Worker& worker) {
  const auto fits = [](const conv::PrefillTile& tile, const Segment& s) {
    return tile.Fits(s.shape, s.spectra == nullptr);
  };
  // Those that are too small, or of no use where memory is short, make room.
  std::erase_if(worker.tiles, [&](const conv::PrefillTile& tile) {
    bool useful = false, same_block = false;
    for (const Segment& segment : call.segments) {
      useful |= fits(tile, segment);
      same_block |= tile.block() == segment.shape.block;
    }
    return !useful && (same_block || call.remake);
  });
  // The trunk's shape is the largest of its block size, so it comes first.
  for (const Segment& segment : call.segments) {
    const bool remake = segment.spectra == nullptr;
    if (worker.TileFor(segment.shape, remake) != nullptr) continue;
    LCSM_ASSIGN_OR_RETURN(conv::PrefillTile tile,
                          conv::PrefillTile::Create(segment.shape, remake));
    worker.tiles.push_back(std::move(tile));
  }
  return OkStatus();
}

Status HyenaPrefill::Impl::AllocateWorker(const Call& call, size_t chunk,
                                          Worker& worker) {
  const size_t width = config.width, streams = (config.order + 1) * width;
  const size_t rows = chunk + config.fir_taps;
  const char* const what = "activations";
  LCSM_RETURN_IF_ERROR(Grow(rows * streams, what, &worker.streams));
  LCSM_RETURN_IF_ERROR(Grow(rows * width, what, &worker.u));
  LCSM_RETURN_IF_ERROR(
      Grow(rows * std::min(config.inner, kHiddenPart), what, &worker.hidden));
  LCSM_RETURN_IF_ERROR(Grow(rows * width, what, &worker.update));
  if (call.segments.size() > 1) {
    LCSM_RETURN_IF_ERROR(
        Grow(call.trunk().shape.following * kLanes, what, &worker.pending));
  }
  return AllocateTiles(call, worker);
}

void HyenaPrefill::Impl::MakeChunks(Call& call) const {
  const size_t size = ChunkTokens(config, call.rows(), pool.NumThreads());
  const size_t reach = config.fir_taps - 1;
  for (const Segment& segment : call.segments) {
    const bool trunk = segment.first == 0;
    for (size_t row = segment.first; row < segment.end(); row += size) {
      Chunk chunk = {row, std::min(size, segment.end() - row), reach, row,
                     call.chunks.size() * reach};
      if (row == segment.first) {
        chunk.before = trunk ? 0 : call.trunk().end();
        if (trunk) chunk.reach = 0;
      }
      chunk.ends_trunk = trunk && chunk.first + chunk.count == segment.end();
      call.chunks.push_back(chunk);
    }
  }
}

Status HyenaPrefill::Impl::Allocate(Call& call) {
  const size_t width = config.width, rows = call.rows();
  for (Segment& segment : call.segments) {
    segment.spectra = shared.FindSpectra(segment.shape);
    call.remake |= segment.spectra == nullptr;
  }
  call.gates = KeepsGates(config, rows, shared.limits());
  MakeChunks(call);
  const char* const what = "activations of known tokens";
  LCSM_RETURN_IF_ERROR(Grow(rows * width, what, &x));
  line_stride = rows | 1;  // See conv::HistoryStride.
  LCSM_RETURN_IF_ERROR(
      Grow(HyenaGroups(config) * line_stride * kLanes, what, &lines));
  if (call.gates) {
    LCSM_RETURN_IF_ERROR(
        Grow(rows * config.convolutions() * width, what, &gates));
  } else {
    LCSM_RETURN_IF_ERROR(
        Grow(call.chunks.size() * (config.fir_taps - 1) * width, what, &edges));
  }
  LCSM_RETURN_IF_ERROR(
      Grow(std::max<size_t>(config.fir_taps, 2) * (config.order + 1) * width,
           what, &last_tail));
  if (workers.empty()) workers.resize(pool.NumThreads());
  const size_t chunk = ChunkTokens(config, rows, pool.NumThreads());
  for (Worker& worker : workers) {
    LCSM_RETURN_IF_ERROR(AllocateWorker(call, chunk, worker));
  }
  return OkStatus();
}

void HyenaPrefill::Impl::Begin(std::span<const int32_t> tokens, size_t position,
                               size_t following, Call& call) const {
  Segment trunk;
  trunk.tokens = tokens;
  trunk.position = position;
  trunk.shape = {tokens.size(), following,
                 conv::PrefillBlock(tokens.size(), following)};
  call.segments.push_back(trunk);
}

void HyenaPrefill::Impl::AddBranch(std::span<const int32_t> tokens,
                                   Call& call) const {
  Segment branch;
  branch.tokens = tokens;
  branch.first = call.rows();
  branch.position = call.trunk().position + call.trunk().tokens.size();
  branch.shape = {tokens.size(), 0, conv::PrefillBlock(tokens.size(), 0)};
  call.segments.push_back(branch);
}

Status HyenaPrefill::Impl::HandOutHidden(const Call& call, bool normed) {
  const size_t width = config.width;
  const size_t rows = std::max<size_t>(1, kOutputFloats / width);
  if (normed) LCSM_RETURN_IF_ERROR(Grow(rows * width, "outputs", &outputs));
  for (size_t t = 0; t < call.rows(); t += rows) {
    const size_t now = std::min(rows, call.rows() - t);
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
        call.on_hidden(call.trunk().position + t, {from, now * width}));
  }
  return OkStatus();
}

Status HyenaPrefill::Impl::HandOutLogits(const Call& call, size_t index) {
  const Segment& segment = call.segments[index];
  const LinearWeights& head = weights.head();
  const size_t width = config.width, vocab = head.out;
  const size_t all = segment.tokens.size();
  const bool each = static_cast<bool>(call.on_logits);
  const float* const from = x.data() + segment.first * width;
  const size_t rows =
      each ? std::clamp<size_t>(kOutputFloats / vocab, 1, all) : 1;
  LCSM_RETURN_IF_ERROR(Grow(rows * (vocab + width), "logits", &outputs));
  float* const normed = outputs.data();
  float* const logits = normed + rows * width;
  for (size_t t = each ? 0 : all - 1; t < all; t += rows) {
    const Clock::time_point start = Clock::now();
    const size_t now = std::min(rows, all - t);
    pool.ParallelFor(
        now, kSmallestChunk, [&](size_t begin, size_t end, size_t) {
          Norm(weights.final_norm(), config.final_norm_eps,
               from + (t + begin) * width, end - begin, normed + begin * width);
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
      LCSM_RETURN_IF_ERROR(call.on_logits(index, segment.position + t + i,
                                          {logits + i * vocab, vocab}));
    }
    if (t + now == all && call.last_logits != nullptr) {
      std::copy_n(logits + (now - 1) * vocab, vocab, call.last_logits);
    }
  }
  return OkStatus();
}

Status HyenaPrefill::Impl::HandOutLogits(const Call& call) {
  for (size_t i = 0; i < call.segments.size(); ++i) {
    LCSM_RETURN_IF_ERROR(HandOutLogits(call, i));
  }
  return OkStatus();
}

Status HyenaPrefill::Impl::RunCall(Call& call,
                                   std::vector<ShortFirState>& fir) {
  LCSM_RETURN_IF_ERROR(Allocate(call));
  const size_t width = config.width;
  for (const Segment& segment : call.segments) {
    const std::span<const int32_t> tokens = segment.tokens;
    pool.ParallelFor(tokens.size(), 256, [&](size_t begin, size_t end, size_t) {
      for (size_t t = begin; t < end; ++t) {
        std::copy_n(
            weights.embedding() + static_cast<size_t>(tokens[t]) * width, width,
            x.data() + (segment.first + t) * width);
      }
    });
  }
  const size_t layers = weights.layers().size();
  const bool logits = call.on_logits || call.last_logits != nullptr;
  for (size_t layer = 0; layer <= layers; ++layer) {
    if (call.on_hidden && layer == call.hidden_layer) {
      LCSM_RETURN_IF_ERROR(HandOutHidden(call, false));
      // Nobody will ask for more.
      if (!logits && call.trunk().shape.following == 0) return OkStatus();
    }
    if (layer == layers) break;
    call.done = static_cast<double>(layer) / static_cast<double>(layers);
    call.share = 1 / static_cast<double>(layers);
    LCSM_RETURN_IF_ERROR(Layer(call, layer, fir[layer]));
  }
  if (call.on_hidden && call.hidden_layer == Request::kFinalNorm) {
    LCSM_RETURN_IF_ERROR(HandOutHidden(call, true));
  }
  return logits ? HandOutLogits(call) : OkStatus();
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
  Impl::Call call;
  impl_->Begin(tokens, position, following, call);
  if (request.on_logits) {
    call.on_logits = [&](size_t, size_t at, std::span<const float> logits) {
      return request.on_logits(at, logits);
    };
  }
  call.on_hidden = request.on_hidden;
  call.hidden_layer = request.hidden_layer;
  call.last_logits = request.last_logits;
  call.progress = request.progress;
  call.before = before;
  call.after = after;
  call.times = times;
  return impl_->RunCall(call, fir);
}

Status HyenaPrefill::RunBranches(
    std::span<const int32_t> trunk,
    std::span<const std::span<const int32_t>> branches, size_t position,
    const ModelState::BranchRequest& request, std::vector<ShortFirState>& fir,
    PendingLines before, StepTimes* times) {
  size_t following = 0;
  for (const auto& branch : branches) {
    following = std::max(following, branch.size());
  }
  Impl::Call call;
  impl_->Begin(trunk, position, following, call);
  std::vector<size_t> which = {ModelState::BranchRequest::kTrunk};
  for (size_t i = 0; i < branches.size(); ++i) {
    if (branches[i].empty()) continue;
    impl_->AddBranch(branches[i], call);
    which.push_back(i);
  }
  call.on_logits = [&](size_t segment, size_t at,
                       std::span<const float> logits) {
    return request.on_logits(which[segment], at, logits);
  };
  call.progress = request.progress;
  call.before = before;
  call.times = times;
  return impl_->RunCall(call, fir);
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
  } else {
    const size_t tokens_each = ChunkTokens(config, tokens, threads);
    floats += (tokens + tokens_each - 1) / tokens_each * (config.fir_taps - 1) *
              width;
  }
  floats += threads * chunk *
            ((config.order + 3) * width + std::min(config.inner, kHiddenPart));
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
