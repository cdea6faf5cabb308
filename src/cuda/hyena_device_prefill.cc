#include "cuda/hyena_device_prefill.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "conv/prefill.h"
#include "cuda/hyena_device_state.h"
#include "kernels/lanes.h"

namespace lcsm::cuda {
namespace {

// Rows that go through the products at a time: enough to keep the device busy,
// and their activations are a few hundred megabytes at a width of 256.
constexpr size_t kChunkRows = 16384;

// Makes `array` at least `size` long.
template <typename T>
Status Grow(Device& device, size_t size, Array<T>* array) {
  if (array->size() >= size) return OkStatus();
  // The old one first: both may not fit.
  *array = Array<T>();
  LCSM_ASSIGN_OR_RETURN(*array,
                        device.NewArray<T>(size, "known tokens' activations"));
  return OkStatus();
}

}  // namespace

conv::PrefillShape HyenaDevicePrefill::ShapeOf(size_t rows, size_t following) {
  conv::PrefillShape shape;
  shape.inputs = rows;
  shape.following = following;
  shape.block = conv::PrefillBlock(rows, following);
  return shape;
}

HyenaDevicePrefill::Sizes HyenaDevicePrefill::SizesFor(
    const DeviceInfo& info, const HyenaConfig& config, const Share& share,
    bool rounded_weights, size_t rows, size_t following) {
  const conv::PrefillShape shape = ShapeOf(rows, following);
  const size_t groups = GroupsFor(share.channels);
  const size_t streams = (config.order + 1) * share.channels;
  const size_t chunk = std::min(kChunkRows, rows);
  Sizes sizes;
  sizes.log_u = std::countr_zero(shape.block);
  sizes.tokens = share.leads ? rows : 0;
  sizes.x = rows * config.width;
  sizes.streams = rows * streams;
  sizes.u = chunk * config.width;
  sizes.product = chunk * std::max({streams, share.inner, config.width,
                                    share.leads ? config.padded_vocab : 0});
  sizes.hidden = chunk * share.inner;
  if (rounded_weights) {
    sizes.widened = config.width * std::max(streams, share.inner);
  }
  sizes.lines = groups * (rows + following) * kLanes;
  sizes.spectra = groups * shape.output_blocks() * shape.block * kLanes;
  sizes.kept = sizes.spectra;
  sizes.scratch = FftScratchSize(info, sizes.log_u, groups);
  return sizes;
}

size_t HyenaDevicePrefill::BytesFor(const Device& device,
                                    const HyenaConfig& config,
                                    const Share& share, bool rounded_weights,
                                    size_t rows, size_t following) {
  const Sizes sizes =
      SizesFor(device.info(), config, share, rounded_weights, rows, following);
  const size_t floats = sizes.x + sizes.streams + sizes.u + sizes.product +
                        sizes.hidden + sizes.widened + sizes.lines;
  return sizes.tokens * sizeof(int32_t) + floats * sizeof(float) +
         (sizes.spectra + sizes.kept + sizes.scratch) * sizeof(Complex) +
         FftRoots::BytesFor(sizes.log_u) + device.GemmWorkBytes();
}

HyenaDevicePrefill::On HyenaDevicePrefill::At(const Call& call, size_t rank) {
  return {call, rank, parts_[rank], *shared_.ranks[rank].weights,
          *call.ranks.all()[rank].queue};
}

Status HyenaDevicePrefill::Allocate(const On& on) {
  Device& device = on.weights.device();
  const Sizes sizes = SizesFor(device.info(), config(), on.share(),
                               on.weights.layers().front().in_proj.rounded(),
                               on.call.rows, on.call.following);
  Part& part = on.part;
  LCSM_RETURN_IF_ERROR(on.queue.PrepareGemm());
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.tokens, &part.tokens));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.x, &part.x));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.streams, &part.streams));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.u, &part.u));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.product, &part.product));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.hidden, &part.hidden));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.widened, &part.widened));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.lines, &part.lines));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.spectra, &part.spectra));
  LCSM_RETURN_IF_ERROR(Grow(device, sizes.kept, &part.kept));
  LCSM_RETURN_IF_ERROR(part.roots.Add(device, sizes.log_u));
  return Grow(device, sizes.scratch, &part.scratch);
}

void HyenaDevicePrefill::Sum(const Call& call, size_t first,
                             size_t rows) noexcept {
  const size_t width = config().width;
  const auto order = call.ranks.Order();
  call.ranks.Sum([&](size_t r) { return parts_[r].x.data() + first * width; },
                 rows * width);
}

Status HyenaDevicePrefill::Run(HyenaDeviceRanks& ranks,
                               std::span<const int32_t> tokens, size_t position,
                               size_t following,
                               const ModelState::PrefillRequest& request,
                               const DevicePending& before,
                               const DevicePending& after) {
  Call call = {ranks,   tokens.size(), following, position,
               request, before,        after};
  const conv::PrefillShape shape = ShapeOf(call.rows, following);
  call.block = shape.block;
  call.blocks = shape.output_blocks();
  call.chunk = std::min(kChunkRows, call.rows);
  LCSM_RETURN_IF_ERROR(ranks.Wait());
  for (size_t r = 0; r < parts_.size(); ++r) {
    const On on = At(call, r);
    LCSM_RETURN_IF_ERROR(Allocate(on));
    if (on.share().leads) {
      LCSM_RETURN_IF_ERROR(on.weights.device().Upload(
          on.part.tokens.data(), tokens.data(), tokens.size_bytes()));
    }
    on.queue.Launch<EmbedKernel>({.tokens = on.part.tokens.data(),
                                  .embedding = on.weights.embedding(),
                                  .rows = call.rows,
                                  .width = config().width,
                                  .x = on.part.x.data()});
  }
  Sum(call, 0, call.rows);
  const size_t layers = config().layers;
  for (size_t layer = 0; layer <= layers; ++layer) {
    if (request.on_hidden && layer == request.hidden_layer) {
      LCSM_RETURN_IF_ERROR(HandOutHidden(call, /*normed=*/false));
    }
    if (layer < layers) LCSM_RETURN_IF_ERROR(Layer(call, layer));
  }
  if (request.on_hidden &&
      request.hidden_layer == ModelState::PrefillRequest::kFinalNorm) {
    LCSM_RETURN_IF_ERROR(HandOutHidden(call, /*normed=*/true));
  }
  LCSM_RETURN_IF_ERROR(HandOutLogits(call));
  return ranks.Wait();
}

Status HyenaDevicePrefill::Layer(const Call& call, size_t layer) {
  const size_t ranks = parts_.size();
  for (size_t r = 0; r < ranks; ++r) Enter(At(call, r), layer);
  for (size_t r = 0; r < ranks; ++r) Mix(At(call, r), layer);
  for (size_t first = 0; first < call.rows; first += call.chunk) {
    const size_t rows = std::min(call.chunk, call.rows - first);
    for (size_t r = 0; r < ranks; ++r) Project(At(call, r), layer, first, rows);
    Sum(call, first, rows);
    for (size_t r = 0; r < ranks; ++r) Mlp(At(call, r), layer, first, rows);
    Sum(call, first, rows);
  }
  // Once a layer, so that queues stay short and somebody may stop us.
  LCSM_RETURN_IF_ERROR(call.ranks.Wait());
  if (call.request.progress &&
      !call.request.progress(static_cast<double>(layer + 1) /
                             static_cast<double>(config().layers))) {
    return Cancelled("stopped while taking known tokens in");
  }
  return OkStatus();
}

void HyenaDevicePrefill::Product(const On& on, const DeviceLinear& linear,
                                 const float* x, size_t rows) noexcept {
  const float* weight = linear.floats.data();
  if (linear.rounded()) {
    on.queue.Launch<WidenKernel>({.from = linear.halves.data(),
                                  .to = on.part.widened.data(),
                                  .count = linear.in * linear.out});
    weight = on.part.widened.data();
  }
  on.queue.Gemm({.a = x,
                 .b = weight,
                 .c = on.part.product.data(),
                 .m = rows,
                 .n = linear.out,
                 .k = linear.in,
                 .a_stride = linear.in,
                 .c_stride = linear.out});
}

void HyenaDevicePrefill::Finish(const On& on, const DeviceLinear& linear,
                                LinearThen then, size_t rows,
                                float* y) noexcept {
  on.queue.Launch<FinishRowsKernel>({.product = on.part.product.data(),
                                     .bias = linear.bias.data(),
                                     .y = y,
                                     .rows = rows,
                                     .width = linear.out,
                                     .then = then});
}

void HyenaDevicePrefill::Norm(const On& on, const DeviceNorm& norm, double eps,
                              size_t first, size_t rows) noexcept {
  const size_t width = config().width;
  on.queue.Launch<NormRowsKernel>({.x = on.part.x.data() + first * width,
                                   .weight = norm.weight.data(),
                                   .bias = norm.bias.data(),
                                   .y = on.part.u.data(),
                                   .rows = rows,
                                   .width = width,
                                   .eps = static_cast<float>(eps)});
}

void HyenaDevicePrefill::Enter(const On& on, size_t index) noexcept {
  const HyenaConfig& c = config();
  const Call& call = on.call;
  const DeviceLayer& layer = on.weights.layers()[index];
  const size_t streams = on.weights.streams();
  const size_t tail_rows = HyenaDeviceStep::TailRows(c);
  float* const tails = call.ranks.all()[on.rank].work.tails().data();
  for (size_t first = 0; first < call.rows; first += call.chunk) {
    const size_t rows = std::min(call.chunk, call.rows - first);
    Norm(on, layer.norm1, c.block_norm_eps, first, rows);
    Product(on, layer.in_proj, on.part.u.data(), rows);
    FirRowsKernel::Args fir;
    fir.p = on.part.product.data();
    fir.q = on.part.streams.data() + first * streams;
    fir.rows = rows;
    fir.streams = streams;
    fir.bias = layer.in_proj.bias.data();
    fir.fir = layer.fir.data();
    fir.fir_bias = layer.fir_bias.data();
    fir.tail = tails + index * tail_rows * streams;
    fir.taps = static_cast<uint32_t>(c.fir_taps);
    fir.tail_rows = static_cast<uint32_t>(tail_rows);
    on.queue.Launch<FirRowsKernel>(fir);
    fir.moves_tail = 1;
    on.queue.Launch<FirRowsKernel>(fir);
  }
}

void HyenaDevicePrefill::Mix(const On& on, size_t layer) noexcept {
  const HyenaConfig& c = config();
  const Call& call = on.call;
  GateKernel::Args gate;
  gate.q = on.part.streams.data();
  gate.rows = call.rows;
  gate.streams = on.weights.streams();
  gate.width = on.share().channels;
  gate.v = c.order;
  gate.lines = on.part.lines.data();
  gate.line_stride = (call.rows + call.following) * kLanes;
  // Channels that fill the last group up convolve zeros.
  on.queue.Clear(gate.lines,
                 GroupsFor(gate.width) * gate.line_stride * sizeof(float));
  for (size_t o = 0; o < c.convolutions(); ++o) {
    gate.way = o == 0 ? GateKernel::Way::kIn : GateKernel::Way::kAgain;
    gate.gate = c.order - 1 - o;
    on.queue.Launch<GateKernel>(gate);
    Convolve(on, layer * c.convolutions() + o);
  }
}

void HyenaDevicePrefill::Convolve(const On& on, size_t mixer) noexcept {
  const Call& call = on.call;
  const Part& part = on.part;
  const DeviceInfo& info = on.info();
  const size_t groups = GroupsFor(on.share().channels);
  const size_t all = call.rows + call.following;
  FftWork work;
  work.passes = MakeFftPasses(std::countr_zero(call.block));
  work.roots = part.roots.Of(work.passes.log_u);
  work.histories = groups;
  work.taps = shared_.ranks[on.rank].taps->data() +
              mixer * groups * shared_.num_taps * kLanes;
  work.taps_stride = shared_.num_taps * kLanes;
  work.num_taps = shared_.num_taps;
  work.spectrum = part.spectra.data();
  work.spectrum_slots = call.blocks;
  work.source = FftSource::kTaps;
  work.sink = FftSink::kSpectrum;
  work.span.terms = 1;
  for (size_t distance = 0; distance < call.blocks; ++distance) {
    work.span.newest = distance;
    work.spectrum_slot = distance;
    EnqueueFft(on.queue, info, work, part.scratch.data());
  }
  work.source = FftSource::kInputs;
  work.sink = FftSink::kStore;
  work.in = work.out = part.lines.data();
  work.in_stride = work.out_stride = all * kLanes;
  work.input_limit = call.rows;
  work.spectra = part.spectra.data();
  work.slices = call.blocks;
  work.kept = part.kept.data();
  work.slots = call.blocks;
  // In place: a block's inputs are transformed and kept before its outputs take
  // their lines. Blocks behind the inputs are transforms of nothing, which
  // costs little beside the sums and keeps the indices simple.
  for (size_t j = 0; j < call.blocks; ++j) {
    work.span.newest = work.span.target = j;
    work.span.terms = j + 1;
    work.span.outputs = std::min(call.block, all - j * call.block);
    EnqueueFft(on.queue, info, work, part.scratch.data());
  }
  const size_t history = mixer * groups;
  const auto move = [&](const DevicePending& pending, bool in, size_t first,
                        size_t count) {
    float* const lines = part.lines.data() + first * kLanes;
    float* const there = pending.lines[on.rank] + history * pending.stride;
    MoveLinesKernel::Args args;
    args.from = in ? there : lines;
    args.to = in ? lines : there;
    args.from_stride = in ? pending.stride : all * kLanes;
    args.to_stride = in ? all * kLanes : pending.stride;
    args.histories = groups;
    args.floats = count * kLanes;
    args.adds = in ? 1 : 0;
    on.queue.Launch<MoveLinesKernel>(args);
  };
  // What earlier tokens contribute is there for as many positions as they were
  // told may follow.
  if (!call.before.lines.empty()) {
    move(call.before, true, 0, std::min(all, call.before.count));
  }
  if (call.following != 0) move(call.after, false, call.rows, call.following);
}

void HyenaDevicePrefill::Project(const On& on, size_t layer, size_t first,
                                 size_t rows) noexcept {
  const DeviceLinear& out_proj = on.weights.layers()[layer].out_proj;
  GateKernel::Args gate;
  gate.way = GateKernel::Way::kOut;
  gate.q = on.part.streams.data() + first * on.weights.streams();
  gate.rows = rows;
  gate.streams = on.weights.streams();
  gate.width = on.share().channels;
  gate.gate = 0;
  gate.lines = on.part.lines.data();
  gate.line_stride = (on.call.rows + on.call.following) * kLanes;
  gate.first_line = first;
  gate.y = on.part.u.data();
  on.queue.Launch<GateKernel>(gate);
  Product(on, out_proj, on.part.u.data(), rows);
  Finish(on, out_proj, on.share().leads ? LinearThen::kAdd : LinearThen::kStore,
         rows, on.part.x.data() + first * config().width);
}

void HyenaDevicePrefill::Mlp(const On& on, size_t index, size_t first,
                             size_t rows) noexcept {
  const DeviceLayer& layer = on.weights.layers()[index];
  Norm(on, layer.norm2, config().block_norm_eps, first, rows);
  Product(on, layer.fc1, on.part.u.data(), rows);
  Finish(on, layer.fc1, LinearThen::kGelu, rows, on.part.hidden.data());
  Product(on, layer.fc2, on.part.hidden.data(), rows);
  Finish(on, layer.fc2,
         on.share().leads ? LinearThen::kAdd : LinearThen::kStore, rows,
         on.part.x.data() + first * config().width);
}

Status HyenaDevicePrefill::HandOutHidden(const Call& call, bool normed) {
  const size_t width = config().width;
  const On on = At(call, 0);
  std::vector<float> rows(call.chunk * width);
  for (size_t first = 0; first < call.rows; first += call.chunk) {
    const size_t count = std::min(call.chunk, call.rows - first);
    const float* from = on.part.x.data() + first * width;
    if (normed) {
      Norm(on, on.weights.final_norm(), config().final_norm_eps, first, count);
      from = on.part.u.data();
    }
    LCSM_RETURN_IF_ERROR(call.ranks.Wait());
    LCSM_RETURN_IF_ERROR(on.weights.device().Download(
        rows.data(), from, count * width * sizeof(float)));
    LCSM_RETURN_IF_ERROR(call.request.on_hidden(call.position + first,
                                                {rows.data(), count * width}));
  }
  return OkStatus();
}

Status HyenaDevicePrefill::HandOutLogits(const Call& call) {
  const size_t width = config().width, vocab = config().padded_vocab;
  if (!call.request.on_logits && call.request.last_logits == nullptr) {
    return OkStatus();
  }
  const On on = At(call, 0);
  // Without a listener the last row is all that is wanted.
  const size_t begin = call.request.on_logits ? 0 : call.rows - 1;
  std::vector<float> logits(call.chunk * vocab);
  for (size_t first = begin; first < call.rows; first += call.chunk) {
    const size_t count = std::min(call.chunk, call.rows - first);
    Norm(on, on.weights.final_norm(), config().final_norm_eps, first, count);
    on.queue.Gemm({.a = on.part.u.data(),
                   .b = on.weights.head(),
                   .c = on.part.product.data(),
                   .m = count,
                   .n = vocab,
                   .k = width,
                   .a_stride = width,
                   .c_stride = vocab});
    LCSM_RETURN_IF_ERROR(call.ranks.Wait());
    LCSM_RETURN_IF_ERROR(on.weights.device().Download(
        logits.data(), on.part.product.data(), count * vocab * sizeof(float)));
    for (size_t i = 0; i < count && call.request.on_logits; ++i) {
      LCSM_RETURN_IF_ERROR(call.request.on_logits(
          call.position + first + i, {logits.data() + i * vocab, vocab}));
    }
    if (first + count == call.rows && call.request.last_logits != nullptr) {
      std::copy_n(logits.data() + (count - 1) * vocab, vocab,
                  call.request.last_logits);
    }
  }
  return OkStatus();
}

}  // namespace lcsm::cuda
