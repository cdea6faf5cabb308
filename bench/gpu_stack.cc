#include "bench/gpu_stack.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "kernels/lanes.h"

namespace lcsm::bench {
namespace {

// Positions that are enqueued before the host waits.
constexpr size_t kAhead = 4096;
// Of max |y|, what a layer's mixer and two products may be off by (2e-6 each,
// as mixers alone). Errors of layers are strangers to each other, so their
// squares add up. Seen: 1.5e-6 for 36 layers of width 64, 0.7e-6 for 2 of 768.
constexpr double kErrorALayer = 3 * 2e-6;
constexpr size_t kPeriod = 999983;

// Tap 0 alone lets as much through as comes in, and all the others together
// half as much again, however many there are: a layer's outputs are then of one
// size from the first position to the millionth, and what is checked at the
// start of a sequence is what is timed at its end.
float SizeOfTap(size_t n) {
  return n == 0 ? 1.0f : 0.25f / std::sqrt(static_cast<float>(n));
}

// Of the larger product.
size_t SharedBytes(size_t width, size_t rows) {
  cuda::LinearWork down;
  down.in = static_cast<uint32_t>(4 * width);
  down.rows = static_cast<uint32_t>(rows);
  return cuda::LinearKernel<float, 8>::SharedFloats(down) * sizeof(float);
}

}  // namespace

StatusOr<std::shared_ptr<const GpuStackParts>> GpuStackParts::Create(
    const std::shared_ptr<cuda::Device>& device, const conv::Problem& problem,
    ThreadPool& pool) {
  std::shared_ptr<GpuStackParts> parts(new GpuStackParts);
  parts->problem_ = problem;
  parts->device_ = device;
  LCSM_ASSIGN_OR_RETURN(
      parts->weights_,
      MakeSyntheticWeights(problem.mixers, problem.channels, pool));
  const size_t floats = problem.mixers * parts->Floats();
  LCSM_ASSIGN_OR_RETURN(
      parts->up_,
      device->Bring<float>(std::span(parts->weights_->up.data(), floats),
                           "weights"));
  LCSM_ASSIGN_OR_RETURN(
      parts->down_,
      device->Bring<float>(std::span(parts->weights_->down.data(), floats),
                           "weights"));
  const std::vector<float> noise =
      SyntheticNoise(problem.batch * problem.channels);
  LCSM_ASSIGN_OR_RETURN(parts->noise_, device->Bring<float>(noise, "noise"));
  LCSM_RETURN_IF_ERROR(parts->MakeTaps(pool));
  return std::shared_ptr<const GpuStackParts>(std::move(parts));
}

void GpuStackParts::FillTaps(size_t filter, size_t count, float* lines) const {
  const size_t group = filter % GroupsFor(problem_.channels);
  const size_t lanes = std::min(kLanes, problem_.channels - group * kLanes);
  // Begun elsewhere for each filter.
  size_t at = filter * 104729 % kPeriod;
  for (size_t n = 0; n < count; ++n) {
    const float size = SizeOfTap(n);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lines[n * kLanes + lane] = lane < lanes ? size * gaussian_[at] : 0.0f;
      if (++at == kPeriod) at = 0;
    }
  }
}

Status GpuStackParts::MakeTaps(ThreadPool& pool) {
  gaussian_.resize(kPeriod);
  std::mt19937 rng(5);
  std::normal_distribution<float> normal;
  for (float& v : gaussian_) v = normal(rng);
  const size_t filters = problem_.mixers * GroupsFor(problem_.channels);
  const size_t line = problem_.length * kLanes;
  LCSM_ASSIGN_OR_RETURN(taps_,
                        device_->NewArray<float>(filters * line, "taps"));
  const size_t some = std::min(filters, 2 * pool.NumThreads());
  std::vector<float> lines(some * line);
  for (size_t first = 0; first < filters; first += some) {
    const size_t count = std::min(some, filters - first);
    pool.ParallelFor(count, 1, [&](size_t begin, size_t end, size_t) {
      for (size_t k = begin; k < end; ++k) {
        FillTaps(first + k, problem_.length, lines.data() + k * line);
      }
    });
    LCSM_RETURN_IF_ERROR(device_->Upload(taps_.data() + first * line,
                                         lines.data(),
                                         count * line * sizeof(float)));
  }
  return OkStatus();
}

StatusOr<std::shared_ptr<const cuda::PreparedTiles>> GpuStackParts::Prepare(
    const conv::Plan& plan) const {
  LCSM_ASSIGN_OR_RETURN(const auto queue, device_->NewQueue(false));
  LCSM_ASSIGN_OR_RETURN(
      cuda::Array<float> taps,
      cuda::FirstTaps(*device_, taps_,
                      problem_.mixers * GroupsFor(problem_.channels),
                      problem_.length, *queue));
  return cuda::PreparedTiles::Create(device_, plan, std::move(taps));
}

StatusOr<std::vector<float>> GpuStackParts::HostOutputs(
    size_t count, ThreadPool& pool) const {
  conv::Problem problem = problem_;
  problem.length = problem.taps = count;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(problem));
  std::vector<float> lines(count * kLanes);
  const size_t groups = GroupsFor(problem.channels);
  for (size_t f = 0; f < problem.mixers * groups; ++f) {
    FillTaps(f, count, lines.data());
    bank->SetGroupTaps(f / groups, f % groups, 0, count, lines.data());
  }
  LCSM_ASSIGN_OR_RETURN(
      conv::Plan plan,
      conv::MakePlan(problem, {.method = conv::Method::kLazy}));
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const conv::PreparedConvolution> prepared,
      conv::PreparedConvolution::Create(
          std::move(plan),
          std::shared_ptr<const conv::FilterBank>(std::move(bank)), pool));
  LCSM_ASSIGN_OR_RETURN(
      const std::unique_ptr<SyntheticStack> stack,
      SyntheticStack::Create(weights_, std::move(prepared), pool));
  std::vector<float> outputs;
  for (size_t t = 0; t < count; ++t) {
    stack->Step();
    outputs.insert(outputs.end(), stack->output().begin(),
                   stack->output().end());
  }
  return outputs;
}

StatusOr<std::unique_ptr<GpuStack>> GpuStack::Create(
    std::shared_ptr<const GpuStackParts> parts, const conv::Plan& plan,
    size_t bytes) {
  const conv::Problem& problem = plan.problem;
  const size_t shared = SharedBytes(problem.channels, problem.batch);
  const size_t most = parts->device()->info().shared_bytes;
  if (shared > most) {
    return ResourceExhausted(std::to_string(problem.batch) + " rows of width " +
                             std::to_string(problem.channels) + " take " +
                             std::to_string(shared) +
                             " bytes of a block's shared memory, and there "
                             "are " +
                             std::to_string(most));
  }
  std::unique_ptr<GpuStack> stack(new GpuStack);
  stack->parts_ = std::move(parts);
  stack->bytes_ = bytes;
  LCSM_ASSIGN_OR_RETURN(stack->prepared_, stack->parts_->Prepare(plan));
  LCSM_RETURN_IF_ERROR(stack->Make());
  return stack;
}

Status GpuStack::Make() {
  cuda::Device& device = *parts_->device();
  const conv::Problem& problem = plan().problem;
  const size_t floats = problem.batch * problem.channels;
  LCSM_ASSIGN_OR_RETURN(queue_, device.NewQueue(false));
  LCSM_ASSIGN_OR_RETURN(tiles_, cuda::Tiles::Create(prepared_, *queue_));
  LCSM_ASSIGN_OR_RETURN(x_, device.NewZeros<float>(floats, "activations"));
  LCSM_ASSIGN_OR_RETURN(y_, device.NewZeros<float>(floats, "activations"));
  LCSM_ASSIGN_OR_RETURN(hidden_,
                        device.NewZeros<float>(4 * floats, "activations"));
  LCSM_ASSIGN_OR_RETURN(
      step_, cuda::Replayed::Create(*queue_, [this] { Enqueue(true); }));
  LCSM_ASSIGN_OR_RETURN(
      bare_step_, cuda::Replayed::Create(*queue_, [this] { Enqueue(false); }));
  return OkStatus();
}

cuda::CellsWork GpuStack::CellsOf(size_t layer, bool mixers) const {
  const conv::Problem& problem = plan().problem;
  cuda::CellsWork cells;
  if (!mixers || layer >= problem.mixers) return cells;
  cells.control = tiles_->control();
  cells.lines = tiles_->lines();
  cells.stride = tiles_->stride();
  cells.head = prepared_->head();
  cells.mixer = layer;
  cells.groups = GroupsFor(problem.channels);
  cells.batch = problem.batch;
  cells.length = problem.length;
  cells.folds_tiny = tiles_->folds_tiny() ? 1 : 0;
  return cells;
}

void GpuStack::Enqueue(bool mixers) noexcept {
  const conv::Problem& problem = plan().problem;
  const auto width = static_cast<uint32_t>(problem.channels);
  queue_->Launch<cuda::CountKernel>({tiles_->control()});
  if (mixers) {
    queue_->Launch<cuda::StackCellsKernel>({.cells = CellsOf(0, true),
                                            .x = x_.data(),
                                            .rows = problem.batch,
                                            .width = width});
  }
  for (size_t layer = 0; layer < problem.mixers; ++layer) {
    cuda::LinearWork up;
    up.weight = parts_->Up(layer);
    up.in = width;
    up.out = 4 * width;
    up.rows = static_cast<uint32_t>(problem.batch);
    up.x = layer == 0 ? x_.data() : y_.data();
    up.y = hidden_.data();
    up.then = cuda::LinearThen::kGelu;
    up.log_teams = cuda::LinearKernel<float, 1>::LogTeams(up);
    cuda::StackDownKernel<float, 8>::Args down;
    down.linear = up;
    down.linear.weight = parts_->Down(layer);
    down.linear.in = 4 * width;
    down.linear.out = width;
    down.linear.x = hidden_.data();
    down.linear.y = y_.data();
    down.linear.then = cuda::LinearThen::kStore;
    down.linear.log_teams = cuda::LinearKernel<float, 1>::LogTeams(down.linear);
    down.cells = CellsOf(layer + 1, mixers);
    down.control = tiles_->control();
    if (layer + 1 == problem.mixers) {
      down.noise = parts_->noise();
      down.noise_rows = kSyntheticNoiseRows;
      down.next = x_.data();
    }
    if (problem.batch == 1) {
      queue_->Launch<cuda::LinearKernel<float, 1>>(up);
      queue_->Launch<cuda::StackDownKernel<float, 1>>(
          {down.linear, down.cells, down.control, down.noise, down.noise_rows,
           down.next});
    } else {
      queue_->Launch<cuda::LinearKernel<float, 8>>(up);
      queue_->Launch<cuda::StackDownKernel<float, 8>>(down);
    }
  }
}

size_t GpuStack::Launches(bool mixers) const {
  return 1 + (mixers ? 1 : 0) + 2 * plan().problem.mixers;
}

Status GpuStack::PutAt(size_t position) {
  LCSM_RETURN_IF_ERROR(tiles_->Reset(0, bare_));
  LCSM_RETURN_IF_ERROR(tiles_->PretendKnown(position));
  queue_->Copy(x_.data(), parts_->noise(), x_.bytes());
  return queue_->Wait();
}

Status GpuStack::Go(size_t count, Host host) {
  const cuda::Replayed& step = bare_ ? bare_step_ : step_;
  for (size_t k = 0; k < count; ++k) {
    step.Run();
    // As decoding waits: for the step, not for the tiles behind it.
    if (host == Host::kWaits) queue_->Mark();
    tiles_->Advance();
    if (host == Host::kWaits) {
      LCSM_RETURN_IF_ERROR(queue_->WaitForMark());
    } else if ((k + 1) % kAhead == 0) {
      LCSM_RETURN_IF_ERROR(queue_->Wait());
    }
  }
  return queue_->Wait();
}

StatusOr<double> GpuStack::Check(const std::vector<float>& want) {
  std::vector<float> y(y_.size());
  double worst = 0, largest = 0;
  LCSM_RETURN_IF_ERROR(PutAt(0));
  for (size_t first = 0; first < want.size(); first += y.size()) {
    LCSM_RETURN_IF_ERROR(Go(1, Host::kAhead));
    LCSM_RETURN_IF_ERROR(
        parts_->device()->Download(y.data(), y_.data(), y_.bytes()));
    for (size_t i = 0; i < y.size(); ++i) {
      const double off = std::abs(double{want[first + i]} - y[i]);
      worst = std::max(worst, std::isfinite(off) ? off : HUGE_VAL);
      largest = std::max(largest, std::abs(double{want[first + i]}));
    }
  }
  const double bound =
      kErrorALayer * std::sqrt(static_cast<double>(plan().problem.mixers));
  if (!(worst <= bound * largest)) {
    return InternalError("the stack's outputs are wrong: off by " +
                         std::to_string(worst / largest) + " of max |y|");
  }
  return worst / largest;
}

}  // namespace lcsm::bench
