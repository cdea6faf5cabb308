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
    const DeviceInfo& info, const HyenaConfig& config, bool rounded_weights,
    size_t rows, size_t following) {
  const conv::PrefillShape shape = ShapeOf(rows, following);
  const size_t groups = GroupsFor(config.width);
  const size_t streams = (config.order + 1) * config.width;
  const size_t chunk = std::min(kChunkRows, rows);
  Sizes sizes;
  sizes.log_u = std::countr_zero(shape.block);
  sizes.tokens = rows;
  sizes.x = rows * config.width;
  sizes.streams = rows * streams;
  sizes.u = chunk * config.width;
  sizes.product =
      chunk * std::max({streams, config.inner, config.padded_vocab});
  sizes.hidden = chunk * config.inner;
  if (rounded_weights) {
    sizes.widened = config.width * std::max(streams, config.inner);
  }
  sizes.lines = groups * (rows + following) * kLanes;
  sizes.spectra = groups * shape.output_blocks() * shape.block * kLanes;
  sizes.kept = sizes.spectra;
  sizes.scratch = FftScratchSize(info, sizes.log_u, groups);
  return sizes;
}

size_t HyenaDevicePrefill::BytesFor(const Device& device,
                                    const HyenaConfig& config,
                                    bool rounded_weights, size_t rows,
                                    size_t following) {
  const Sizes sizes =
      SizesFor(device.info(), config, rounded_weights, rows, following);
  const size_t floats = sizes.x + sizes.streams + sizes.u + sizes.product +
                        sizes.hidden + sizes.widened + sizes.lines;
  return sizes.tokens * sizeof(int32_t) + floats * sizeof(float) +
         (sizes.spectra + sizes.kept + sizes.scratch) * sizeof(Complex) +
         FftRoots::BytesFor(sizes.log_u) + device.GemmWorkBytes();
}

Status HyenaDevicePrefill::Allocate(const Call& call) {
  Device& on = device();
  const Sizes sizes = SizesFor(
      on.info(), config(), shared_.weights->layers().front().in_proj.rounded(),
      call.rows, call.following);
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.tokens, &tokens_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.x, &x_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.streams, &streams_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.u, &u_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.product, &product_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.hidden, &hidden_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.widened, &widened_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.lines, &lines_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.spectra, &spectra_));
  LCSM_RETURN_IF_ERROR(Grow(on, sizes.kept, &kept_));
  LCSM_RETURN_IF_ERROR(roots_.Add(on, sizes.log_u));
  return Grow(on, sizes.scratch, &scratch_);
}

Status HyenaDevicePrefill::Run(Queue& queue, std::span<const int32_t> tokens,
                               size_t position, size_t following,
                               const ModelState::PrefillRequest& request,
                               float* tails, const DevicePending& before,
                               const DevicePending& after) {
  Call call = {queue,   tokens.size(), following, position,
               request, tails,         before,    after};
  const conv::PrefillShape shape = ShapeOf(call.rows, following);
  call.block = shape.block;
  call.blocks = shape.output_blocks();
  call.chunk = std::min(kChunkRows, call.rows);
  LCSM_RETURN_IF_ERROR(queue.Wait());
  LCSM_RETURN_IF_ERROR(Allocate(call));
  LCSM_RETURN_IF_ERROR(
      device().Upload(tokens_.data(), tokens.data(), tokens.size_bytes()));
  queue.Launch<EmbedKernel>({.tokens = tokens_.data(),
                             .embedding = shared_.weights->embedding(),
                             .rows = call.rows,
                             .width = config().width,
                             .x = x_.data()});
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
  return queue.Wait();
}

Status HyenaDevicePrefill::Layer(const Call& call, size_t layer) {
  const HyenaConfig& c = config();
  GateKernel::Args gate;
  gate.q = streams_.data();
  gate.rows = call.rows;
  gate.streams = (c.order + 1) * c.width;
  gate.width = c.width;
  gate.v = c.order;
  gate.lines = lines_.data();
  gate.line_stride = (call.rows + call.following) * kLanes;
  // Channels that fill the last group up convolve zeros.
  call.queue.Clear(lines_.data(),
                   GroupsFor(c.width) * gate.line_stride * sizeof(float));
  Enter(call, layer);
  for (size_t o = 0; o < c.convolutions(); ++o) {
    gate.way = o == 0 ? GateKernel::Way::kIn : GateKernel::Way::kAgain;
    gate.gate = c.order - 1 - o;
    call.queue.Launch<GateKernel>(gate);
    Convolve(call, layer * c.convolutions() + o);
  }
  Leave(call, layer);
  // Once a layer, so that queues stay short and somebody may stop us.
  LCSM_RETURN_IF_ERROR(call.queue.Wait());
  if (call.request.progress &&
      !call.request.progress(static_cast<double>(layer + 1) /
                             static_cast<double>(c.layers))) {
    return Cancelled("stopped while taking known tokens in");
  }
  return OkStatus();
}

void HyenaDevicePrefill::Product(const Call& call, const DeviceLinear& linear,
                                 const float* x, size_t rows,
                                 float* y) noexcept {
  const float* weight = linear.floats.data();
  if (linear.rounded()) {
    call.queue.Launch<WidenKernel>({.from = linear.halves.data(),
                                    .to = widened_.data(),
                                    .count = linear.in * linear.out});
    weight = widened_.data();
  }
  call.queue.Gemm({.a = x,
                   .b = weight,
                   .c = y,
                   .m = rows,
                   .n = linear.out,
                   .k = linear.in,
                   .a_stride = linear.in,
                   .c_stride = linear.out});
}

void HyenaDevicePrefill::Norm(const Call& call, const DeviceNorm& norm,
                              double eps, size_t first, size_t rows) noexcept {
  const size_t width = config().width;
  call.queue.Launch<NormRowsKernel>({.x = x_.data() + first * width,
                                     .weight = norm.weight.data(),
                                     .bias = norm.bias.data(),
                                     .y = u_.data(),
                                     .rows = rows,
                                     .width = width,
                                     .eps = static_cast<float>(eps)});
}

void HyenaDevicePrefill::Enter(const Call& call, size_t index) noexcept {
  const HyenaConfig& c = config();
  const DeviceLayer& layer = shared_.weights->layers()[index];
  const size_t streams = (c.order + 1) * c.width;
  const size_t tail_rows = std::max<size_t>(c.fir_taps, 2) - 1;
  for (size_t first = 0; first < call.rows; first += call.chunk) {
    const size_t rows = std::min(call.chunk, call.rows - first);
    Norm(call, layer.norm1, c.block_norm_eps, first, rows);
    Product(call, layer.in_proj, u_.data(), rows, product_.data());
    FirRowsKernel::Args fir;
    fir.p = product_.data();
    fir.q = streams_.data() + first * streams;
    fir.rows = rows;
    fir.streams = streams;
    fir.bias = layer.in_proj.bias.data();
    fir.fir = layer.fir.data();
    fir.fir_bias = layer.fir_bias.data();
    fir.tail = call.tails + index * tail_rows * streams;
    fir.taps = static_cast<uint32_t>(c.fir_taps);
    fir.tail_rows = static_cast<uint32_t>(tail_rows);
    call.queue.Launch<FirRowsKernel>(fir);
    fir.moves_tail = 1;
    call.queue.Launch<FirRowsKernel>(fir);
  }
}

void HyenaDevicePrefill::Convolve(const Call& call, size_t mixer) noexcept {
  const DeviceInfo& info = device().info();
  const size_t groups = GroupsFor(config().width);
  const size_t all = call.rows + call.following;
  FftWork work;
  work.passes = MakeFftPasses(std::countr_zero(call.block));
  work.roots = roots_.Of(work.passes.log_u);
  work.histories = groups;
  work.taps = shared_.taps->data() + mixer * groups * shared_.num_taps * kLanes;
  work.taps_stride = shared_.num_taps * kLanes;
  work.num_taps = shared_.num_taps;
  work.spectrum = spectra_.data();
  work.spectrum_slots = call.blocks;
  work.source = FftSource::kTaps;
  work.sink = FftSink::kSpectrum;
  work.span.terms = 1;
  for (size_t distance = 0; distance < call.blocks; ++distance) {
    work.span.newest = distance;
    work.spectrum_slot = distance;
    EnqueueFft(call.queue, info, work, scratch_.data());
  }
  work.source = FftSource::kInputs;
  work.sink = FftSink::kStore;
  work.in = work.out = lines_.data();
  work.in_stride = work.out_stride = all * kLanes;
  work.input_limit = call.rows;
  work.spectra = spectra_.data();
  work.slices = call.blocks;
  work.kept = kept_.data();
  work.slots = call.blocks;
  // In place: a block's inputs are transformed and kept before its outputs take
  // their lines. Blocks behind the inputs are transforms of nothing, which
  // costs little beside the sums and keeps the indices simple.
  for (size_t j = 0; j < call.blocks; ++j) {
    work.span.newest = work.span.target = j;
    work.span.terms = j + 1;
    work.span.outputs = std::min(call.block, all - j * call.block);
    EnqueueFft(call.queue, info, work, scratch_.data());
  }
  const size_t history = mixer * groups;
  const auto move = [&](const DevicePending& pending, bool in, size_t first,
                        size_t count) {
    float* const lines = lines_.data() + first * kLanes;
    float* const there = pending.lines + history * pending.stride;
    MoveLinesKernel::Args args;
    args.from = in ? there : lines;
    args.to = in ? lines : there;
    args.from_stride = in ? pending.stride : all * kLanes;
    args.to_stride = in ? all * kLanes : pending.stride;
    args.histories = groups;
    args.floats = count * kLanes;
    args.adds = in ? 1 : 0;
    call.queue.Launch<MoveLinesKernel>(args);
  };
  // What earlier tokens contribute is there for as many positions as they were
  // told may follow.
  if (call.before.lines != nullptr) {
    move(call.before, true, 0, std::min(all, call.before.count));
  }
  if (call.following != 0) move(call.after, false, call.rows, call.following);
}

void HyenaDevicePrefill::Leave(const Call& call, size_t index) noexcept {
  const HyenaConfig& c = config();
  const DeviceLayer& layer = shared_.weights->layers()[index];
  const size_t streams = (c.order + 1) * c.width;
  for (size_t first = 0; first < call.rows; first += call.chunk) {
    const size_t rows = std::min(call.chunk, call.rows - first);
    float* const x = x_.data() + first * c.width;
    const auto finish = [&](const DeviceLinear& linear, LinearThen then,
                            float* y) {
      call.queue.Launch<FinishRowsKernel>({.product = product_.data(),
                                           .bias = linear.bias.data(),
                                           .y = y,
                                           .rows = rows,
                                           .width = linear.out,
                                           .then = then});
    };
    GateKernel::Args gate;
    gate.way = GateKernel::Way::kOut;
    gate.q = streams_.data() + first * streams;
    gate.rows = rows;
    gate.streams = streams;
    gate.width = c.width;
    gate.gate = 0;
    gate.lines = lines_.data();
    gate.line_stride = (call.rows + call.following) * kLanes;
    gate.first_line = first;
    gate.y = u_.data();
    call.queue.Launch<GateKernel>(gate);
    Product(call, layer.out_proj, u_.data(), rows, product_.data());
    finish(layer.out_proj, LinearThen::kAdd, x);
    Norm(call, layer.norm2, c.block_norm_eps, first, rows);
    Product(call, layer.fc1, u_.data(), rows, product_.data());
    finish(layer.fc1, LinearThen::kGelu, hidden_.data());
    Product(call, layer.fc2, hidden_.data(), rows, product_.data());
    finish(layer.fc2, LinearThen::kAdd, x);
  }
}

Status HyenaDevicePrefill::HandOutHidden(const Call& call, bool normed) {
  const size_t width = config().width;
  std::vector<float> rows(call.chunk * width);
  for (size_t first = 0; first < call.rows; first += call.chunk) {
    const size_t count = std::min(call.chunk, call.rows - first);
    const float* from = x_.data() + first * width;
    if (normed) {
      Norm(call, shared_.weights->final_norm(), config().final_norm_eps, first,
           count);
      from = u_.data();
    }
    LCSM_RETURN_IF_ERROR(call.queue.Wait());
    LCSM_RETURN_IF_ERROR(
        device().Download(rows.data(), from, count * width * sizeof(float)));
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
  // Without a listener the last row is all that is wanted.
  const size_t begin = call.request.on_logits ? 0 : call.rows - 1;
  std::vector<float> logits(call.chunk * vocab);
  for (size_t first = begin; first < call.rows; first += call.chunk) {
    const size_t count = std::min(call.chunk, call.rows - first);
    Norm(call, shared_.weights->final_norm(), config().final_norm_eps, first,
         count);
    call.queue.Gemm({.a = u_.data(),
                     .b = shared_.weights->head(),
                     .c = product_.data(),
                     .m = count,
                     .n = vocab,
                     .k = width,
                     .a_stride = width,
                     .c_stride = vocab});
    LCSM_RETURN_IF_ERROR(call.queue.Wait());
    LCSM_RETURN_IF_ERROR(device().Download(logits.data(), product_.data(),
                                           count * vocab * sizeof(float)));
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
