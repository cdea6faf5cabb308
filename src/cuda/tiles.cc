#include "cuda/tiles.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>
#include <utility>

#include "conv/layout.h"
#include "conv/tiny_levels.h"
#include "kernels/lanes.h"

namespace lcsm::cuda {

static_assert(kLanes == ::lcsm::kLanes && kHeadTaps == ::lcsm::kHeadTaps);

namespace {

// Larger sums cost many transforms, smaller blocks go with the red cells.
constexpr size_t kFewestDepthwise = 4, kMostDepthwise = 2048;

using conv::Level;
using conv::Problem;
using conv::Serves;
using conv::Tau;

size_t NumFilters(const Problem& problem) {
  return problem.mixers * GroupsFor(problem.channels);
}

LevelShape ShapeOf(const Problem& problem, const Level& level) {
  LevelShape shape;
  shape.block = level.block;
  shape.radix = level.radix;
  shape.serves = level.serves == Serves::kSiblings ? LevelServes::kSiblings
                 : level.serves == Serves::kNeighbours
                     ? LevelServes::kNeighbours
                     : LevelServes::kDistant;
  shape.length = problem.length;
  const size_t taps = std::min(problem.taps, problem.length);
  shape.reach = taps < 2 ? 0 : (taps - 2) / level.block + 1;
  return shape;
}

bool IsDirect(const Level& level) {
  return level.tau == Tau::kDirect || level.tau == Tau::kDirectBlocked;
}
int Log2(size_t block) { return std::countr_zero(block); }

// Spectra of blocks that a history keeps: as on the CPU, but for distant levels
// of one slice, whose tiles are not cut into pieces here.
size_t Slots(const Problem& problem, const Level& level) {
  if (level.tau != Tau::kFftFused) return 0;
  const size_t slices = conv::SlicesOf(problem, level).count;
  return slices < 2 ? 0 : slices;
}

// Tiles of one block that a library's convolution may do.
bool MayBeDepthwise(const Problem& problem, const Level& level) {
  return level.tau == Tau::kDirect && level.block >= kFewestDepthwise &&
         level.block <= kMostDepthwise &&
         conv::SlicesOf(problem, level).count == 1;
}

size_t TapsOnDevice(const conv::Plan& plan) {
  // Remade levels keep their spectra here, so only direct ones read taps.
  conv::Plan direct = plan;
  for (Level& level : direct.levels) level.spectra = conv::Spectra::kKept;
  return conv::TapsKept(direct);
}

size_t SpectrumSize(const Problem& problem, const Level& level) {
  if (level.tau == Tau::kFftFused) {
    return conv::SlicesOf(problem, level).count * level.block * kLanes;
  }
  return level.tau == Tau::kFftLibrary ? kLanes * (level.block + 1) : 0;
}

Status CheckTaus(const DeviceInfo& info, const conv::Plan& plan) {
  for (const Level& level : plan.levels) {
    if (level.tau != Tau::kFftPast) continue;
    return Unsupported(fmt::format(
        "{} computes tiles by direct, direct-blocked, fft-library and "
        "fft-fused, not by one transform over the whole past (--method "
        "futurefill), which only the CPU does",
        info.label));
  }
  return OkStatus();
}

}  // namespace

StatusOr<conv::MemoryEstimate> PreparedTiles::BytesFor(Device& device,
                                                       const conv::Plan& plan) {
  LCSM_RETURN_IF_ERROR(CheckTaus(device.info(), plan));
  const Problem& problem = plan.problem;
  const DeviceInfo& info = device.info();
  const size_t filters = NumFilters(problem);
  const size_t histories = conv::HistoryGroups(problem);
  const size_t line = kLanes * sizeof(float);
  const size_t all_taps = std::min(problem.taps, problem.length);
  const size_t kept_taps = TapsOnDevice(plan);
  const size_t made_of = filters * (all_taps + kHeadTaps) * line;
  conv::MemoryEstimate bytes;
  bytes.taps = filters * (kept_taps + kHeadTaps) * line;
  bytes.histories =
      histories * conv::HistoryStride(problem.length) * sizeof(float);
  if (plan.method == conv::Method::kEager) bytes.histories *= 2;
  bytes.scratch = sizeof(StepControl);
  size_t peak = made_of;
  std::set<int> roots;
  size_t scratch = 0, times = 0, points = 0, work = 0;
  for (const Level& level : plan.levels) {
    const size_t u = level.block;
    size_t now = 0, making_now = 0;
    if (level.tau == Tau::kFftFused) {
      if (roots.insert(Log2(u)).second) {
        bytes.spectra += FftRoots::BytesFor(Log2(u));
      }
      now = FftScratchSize(info, Log2(u), histories) * sizeof(Complex);
      making_now = FftScratchSize(info, Log2(u), filters) * sizeof(Complex);
    } else if (level.tau == Tau::kFftLibrary) {
      times = std::max(times, 2 * u);
      points = std::max(points, u + 1);
      LCSM_ASSIGN_OR_RETURN(const auto of_filters,
                            device.NewBatchedFft(2 * u, filters * kLanes));
      LCSM_ASSIGN_OR_RETURN(const auto of_histories,
                            device.NewBatchedFft(2 * u, histories * kLanes));
      making_now = filters * line * 2 * u + of_filters->work_bytes();
      work = std::max(work, of_histories->work_bytes());
    } else if (MayBeDepthwise(problem, level)) {
      const auto library = device.NewDepthwise(histories * kLanes, u);
      if (library.ok()) {
        times = std::max(times, 2 * u);
        bytes.spectra += histories * line * (2 * u - 1);
        work = std::max(work, (*library)->work_bytes());
      } else if (library.status().code() != StatusCode::kUnsupported) {
        return library.status();
      }
    }
    bytes.spectra += filters * SpectrumSize(problem, level) * sizeof(Complex);
    peak = std::max(peak, made_of + bytes.spectra + making_now);
    bytes.blocks +=
        histories * Slots(problem, level) * u * kLanes * sizeof(Complex);
    if (level.serves != Serves::kDistant) {
      scratch = std::max(scratch, now);
    } else if (conv::SlicesOf(problem, level).count != 0) {
      bytes.scratch += now;
      bytes.blocks += histories * 2 * u * line;
    }
  }
  bytes.scratch += scratch + work + histories * line * times +
                   histories * kLanes * points * sizeof(Complex);
  // At last the taps that stay lie beside all that there are.
  if (kept_taps < all_taps) {
    peak = std::max(peak, made_of + bytes.spectra + filters * kept_taps * line);
  }
  bytes.making = peak - std::min(peak, bytes.taps + bytes.spectra);
  return bytes;
}

size_t PreparedTiles::spectra_bytes() const {
  size_t bytes = 0;
  for (const OneLevel& one : levels_) bytes += one.spectra.bytes();
  return bytes;
}

StatusOr<std::shared_ptr<const PreparedTiles>> PreparedTiles::Create(
    std::shared_ptr<Device> device, conv::Plan plan, Array<float> taps) {
  LCSM_RETURN_IF_ERROR(CheckTaus(device->info(), plan));
  std::shared_ptr<PreparedTiles> prepared(new PreparedTiles);
  prepared->device_ = std::move(device);
  prepared->plan_ = std::move(plan);
  Device& on = *prepared->device_;
  const Problem& problem = prepared->plan_.problem;
  prepared->taps_ = std::move(taps);
  prepared->num_taps_ = std::min(problem.taps, problem.length);
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<Queue> queue, on.NewQueue(false));
  LCSM_RETURN_IF_ERROR(prepared->MakeHead(*queue));
  // Spectra are made of all taps, of which few may stay.
  const size_t kept = TapsOnDevice(prepared->plan_);
  for (const Level& level : prepared->plan_.levels) {
    LCSM_RETURN_IF_ERROR(prepared->MakeLevel(level, *queue));
  }
  if (kept < prepared->num_taps_) {
    LCSM_ASSIGN_OR_RETURN(
        prepared->taps_,
        FirstTaps(on, prepared->taps_, NumFilters(problem), kept, *queue));
    prepared->num_taps_ = kept;
  }
  LCSM_RETURN_IF_ERROR(queue->Wait());
  return std::shared_ptr<const PreparedTiles>(std::move(prepared));
}

Status PreparedTiles::MakeLevel(const Level& level, Queue& queue) {
  const Problem& problem = plan_.problem;
  OneLevel one;
  one.level = level;
  one.shape = ShapeOf(problem, level);
  const size_t n = NumFilters(problem);
  if (level.tau == Tau::kFftLibrary) {
    LCSM_RETURN_IF_ERROR(MakeLibraryFilters(queue, &one));
  } else if (MayBeDepthwise(problem, level)) {
    LCSM_RETURN_IF_ERROR(MakeDepthwiseFilters(queue, &one));
  } else if (level.tau == Tau::kFftFused) {
    const conv::Slices slices = conv::SlicesOf(problem, level);
    const int log_u = Log2(level.block);
    one.passes = MakeFftPasses(log_u);
    one.slices = slices.count;
    one.slots = Slots(problem, level);
    LCSM_RETURN_IF_ERROR(roots_.Add(*device_, log_u));
    LCSM_ASSIGN_OR_RETURN(one.spectra, device_->NewArray<Complex>(
                                           n * SpectrumSize(problem, level),
                                           "the filters' spectra"));
    LCSM_ASSIGN_OR_RETURN(
        const Array<Complex> scratch,
        device_->NewArray<Complex>(FftScratchSize(device_->info(), log_u, n),
                                   "the transforms' scratch memory"));
    FftWork work;
    work.passes = one.passes;
    work.roots = roots_.Of(log_u);
    work.histories = n;
    work.taps = taps_.data();
    work.taps_stride = num_taps_ * kLanes;
    work.num_taps = num_taps_;
    work.spectrum = one.spectra.data();
    work.spectrum_slots = slices.count;
    work.source = FftSource::kTaps;
    work.sink = FftSink::kSpectrum;
    work.span.terms = 1;
    for (size_t s = 0; s < slices.count; ++s) {
      work.span.newest = slices.first + s;
      work.spectrum_slot = s;
      EnqueueFft(queue, device_->info(), work, scratch.data());
    }
    LCSM_RETURN_IF_ERROR(queue.Wait());
  }
  levels_.push_back(std::move(one));
  return OkStatus();
}

Tiles::~Tiles() {
  // Nothing may run on memory that goes.
  for (const Distant& distant : distant_) (void)distant.queue->Wait();
  if (queue_ != nullptr) (void)queue_->Wait();
}

size_t Tiles::histories() const {
  return rows_ * conv::HistoryGroups(prepared_->plan().problem);
}

size_t Tiles::Batch() const { return rows_ * prepared_->plan().problem.batch; }

bool Tiles::MayHaveRows(const PreparedTiles& prepared) {
  const auto& levels = prepared.levels();
  return std::none_of(levels.begin(), levels.end(), [](const auto& one) {
    return one.level.tau == Tau::kFftLibrary || one.weights.size() != 0;
  });
}

StatusOr<std::unique_ptr<Tiles>> Tiles::Create(
    std::shared_ptr<const PreparedTiles> prepared, Queue& queue, size_t rows) {
  std::unique_ptr<Tiles> tiles(new Tiles);
  tiles->rows_ = rows;
  tiles->prepared_ = std::move(prepared);
  tiles->queue_ = &queue;
  tiles->folds_tiny_ = conv::FoldsTiny(tiles->prepared_->plan().levels);
  LCSM_RETURN_IF_ERROR(tiles->Allocate());
  LCSM_RETURN_IF_ERROR(tiles->Capture());
  return tiles;
}

Status Tiles::Allocate() {
  Device& device = prepared_->device();
  const conv::Plan& plan = prepared_->plan();
  const size_t all = histories();
  stride_ = conv::HistoryStride(plan.problem.length);
  LCSM_ASSIGN_OR_RETURN(control_,
                        device.NewZeros<StepControl>(1, "a step's control"));
  LCSM_ASSIGN_OR_RETURN(histories_,
                        device.NewZeros<float>(all * stride_, "the histories"));
  if (plan.method == conv::Method::kEager) {
    LCSM_ASSIGN_OR_RETURN(
        recent_, device.NewZeros<float>(all * stride_, "eager accumulators"));
  }
  size_t scratch = 0, times = 0, points = 0;
  for (size_t k = 0; k < plan.levels.size(); ++k) {
    const PreparedTiles::OneLevel& one = prepared_->levels()[k];
    const size_t u = one.level.block;
    LCSM_ASSIGN_OR_RETURN(
        Array<Complex> kept,
        device.NewZeros<Complex>(all * one.slots * u * kLanes,
                                 "the spectra of input blocks"));
    kept_.push_back(std::move(kept));
    library_.emplace_back();
    depthwise_.emplace_back();
    size_t now = 0;
    if (one.level.tau == Tau::kFftFused) {
      now = FftScratchSize(device.info(), Log2(u), all);
    } else if (one.level.tau == Tau::kFftLibrary) {
      times = std::max(times, 2 * u);
      points = std::max(points, u + 1);
      LCSM_ASSIGN_OR_RETURN(library_.back(),
                            device.NewBatchedFft(2 * u, all * kLanes));
    } else if (one.weights.size() != 0) {
      // What goes in, and behind it what comes out.
      times = std::max(times, 2 * u);
      LCSM_ASSIGN_OR_RETURN(depthwise_.back(),
                            device.NewDepthwise(all * kLanes, u));
    }
    if (one.level.serves != Serves::kDistant) {
      scratch = std::max(scratch, now);
    } else if (one.slices != 0) {
      Distant distant;
      distant.level = k;
      LCSM_ASSIGN_OR_RETURN(distant.queue, device.NewQueue(true));
      LCSM_ASSIGN_OR_RETURN(
          distant.scratch,
          device.NewArray<Complex>(now, "the transforms' scratch memory"));
      LCSM_ASSIGN_OR_RETURN(
          distant.outputs,
          device.NewZeros<float>(all * 2 * u * kLanes, "deferred outputs"));
      distant_.push_back(std::move(distant));
    }
  }
  LCSM_ASSIGN_OR_RETURN(
      scratch_,
      device.NewArray<Complex>(scratch, "the transforms' scratch memory"));
  return AllocateForLibraries(times, points);
}

FftWork Tiles::WorkOf(size_t level) const {
  const PreparedTiles::OneLevel& one = prepared_->levels()[level];
  FftWork work;
  work.passes = one.passes;
  work.roots = prepared_->roots().Of(one.passes.log_u);
  work.level = one.shape;
  work.histories = histories();
  work.batch = Batch();
  work.in = histories_.data();
  work.in_stride = stride_;
  work.out = histories_.data();
  work.out_stride = stride_;
  work.spectra = one.spectra.data();
  work.slices = one.slices;
  work.kept = one.slots == 0 ? nullptr : kept_[level].data();
  work.slots = std::max<size_t>(one.slots, 1);
  return work;
}

DirectWork Tiles::DirectWorkOf(const LevelShape& shape) const {
  DirectWork work;
  work.control = control_.data();
  work.level = shape;
  work.lines = histories_.data();
  work.stride = stride_;
  work.histories = histories();
  work.batch = Batch();
  work.taps = prepared_->taps();
  work.taps_stride = prepared_->num_taps() * kLanes;
  work.num_taps = prepared_->num_taps();
  return work;
}

void Tiles::EnqueueLevel(size_t level) noexcept {
  const PreparedTiles::OneLevel& one = prepared_->levels()[level];
  if (one.level.serves == Serves::kNeighbours) {
    for (const Distant& distant : distant_) {
      queue_->Launch<AddDeferredKernel>(
          {.control = control_.data(),
           .level = prepared_->levels()[distant.level].shape,
           .base = one.level.block,
           .from = distant.outputs.data(),
           .lines = histories_.data(),
           .stride = stride_,
           .histories = histories()});
    }
  }
  if (one.weights.size() != 0) {
    EnqueueDepthwise(level);
  } else if (IsDirect(one.level)) {
    queue_->Launch<DirectTileKernel>(DirectWorkOf(one.shape));
  } else if (one.level.tau == Tau::kFftLibrary) {
    EnqueueLibrary(level);
  } else if (one.slices != 0) {
    FftWork work = WorkOf(level);
    work.control = control_.data();
    EnqueueFft(*queue_, prepared_->device().info(), work, scratch_.data());
  }
}

Status Tiles::Capture() {
  const conv::Plan& plan = prepared_->plan();
  if (plan.method == conv::Method::kLazy ||
      plan.method == conv::Method::kEager) {
    LevelShape shape;
    shape.length = length();
    LCSM_ASSIGN_OR_RETURN(
        Replayed tile, Replayed::Create(*queue_, [this, shape] {
          if (prepared_->plan().method == conv::Method::kLazy) {
            queue_->Launch<GatherKernel>(DirectWorkOf(shape));
          } else {
            queue_->Launch<ScatterKernel>(
                {DirectWorkOf(shape), recent_.data()});
          }
        }));
    graphs_.push_back(std::move(tile));
    return OkStatus();
  }
  for (size_t k = 0; k < plan.levels.size(); ++k) {
    graphs_.emplace_back();
    if (plan.levels[k].serves == Serves::kDistant) continue;
    if (folds_tiny_ && k < conv::kTinyLevels) continue;
    LCSM_ASSIGN_OR_RETURN(graphs_.back(), Replayed::Create(*queue_, [this, k] {
                            EnqueueLevel(k);
                          }));
  }
  return OkStatus();
}

void Tiles::BeginDistant(Distant& distant) noexcept {
  FftWork work = WorkOf(distant.level);
  work.span = TileAt(work.level, known_);
  if (work.span.terms == 0) return;
  work.out = distant.outputs.data();
  work.out_stride = 2 * work.level.block * kLanes;
  work.span.target %= 2;  // Of the two blocks that it keeps.
  work.sink = FftSink::kStore;
  // Inputs must be there, and the outputs of two blocks ago added.
  distant.queue->WaitFor(*queue_);
  EnqueueFft(*distant.queue, prepared_->device().info(), work,
             distant.scratch.data());
}

void Tiles::Advance() noexcept {
  ++known_;
  const conv::Plan& plan = prepared_->plan();
  if (known_ >= plan.problem.length || graphs_.empty() || skip_mixers_) return;
  if (plan.method == conv::Method::kLazy ||
      plan.method == conv::Method::kEager) {
    graphs_.front().Run();
    return;
  }
  for (const Distant& distant : distant_) {
    if (known_ % plan.levels[distant.level].block == 0) {
      queue_->WaitFor(*distant.queue);
    }
  }
  const size_t due = conv::DueLevel(plan.levels, known_);
  graphs_[due].Run();
  for (Distant& distant : distant_) {
    if (known_ % plan.levels[distant.level].block == 0) BeginDistant(distant);
  }
}

Status Tiles::PretendKnown(size_t known) {
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  known_ = known;
  const uint64_t count = known;
  return prepared_->device().Upload(&control_.data()->known, &count,
                                    sizeof(count));
}

void Tiles::RepeatDue() noexcept {
  if (graphs_.empty() || known_ == 0) return;
  const std::vector<Level>& levels = prepared_->plan().levels;
  const size_t due = levels.empty() ? 0 : conv::DueLevel(levels, known_);
  graphs_[due].Run();
}

Status Tiles::CopyFrom(Tiles& other) {
  for (const Distant& distant : other.distant_) {
    LCSM_RETURN_IF_ERROR(distant.queue->Wait());
  }
  LCSM_RETURN_IF_ERROR(other.queue_->Wait());
  const auto copy = [this](const auto& from, const auto& to) {
    if (from.bytes() != 0) queue_->Copy(to.data(), from.data(), from.bytes());
  };
  copy(other.control_, control_);
  copy(other.histories_, histories_);
  copy(other.recent_, recent_);
  for (size_t k = 0; k < kept_.size(); ++k) copy(other.kept_[k], kept_[k]);
  for (size_t k = 0; k < distant_.size(); ++k) {
    copy(other.distant_[k].outputs, distant_[k].outputs);
  }
  known_ = other.known_;
  skip_mixers_ = other.skip_mixers_;
  return queue_->Wait();
}

Status Tiles::SpreadFrom(Tiles& other) {
  for (const Distant& distant : other.distant_) {
    LCSM_RETURN_IF_ERROR(distant.queue->Wait());
  }
  LCSM_RETURN_IF_ERROR(other.queue_->Wait());
  const size_t count = other.histories();
  const auto spread = [&](const auto& from, const auto& to) {
    const size_t floats = from.bytes() / sizeof(float) / count;
    for (size_t row = 0; row < rows_ && floats != 0; ++row) {
      MoveLinesKernel::Args args;
      args.from = reinterpret_cast<const float*>(from.data());
      args.to = reinterpret_cast<float*>(to.data()) + row * floats;
      args.from_stride = floats;
      args.to_stride = rows_ * floats;
      args.histories = count;
      args.floats = floats;
      queue_->Launch<MoveLinesKernel>(args);
    }
  };
  queue_->Copy(control_.data(), other.control_.data(), control_.bytes());
  spread(other.histories_, histories_);
  spread(other.recent_, recent_);
  for (size_t k = 0; k < kept_.size(); ++k) spread(other.kept_[k], kept_[k]);
  for (size_t k = 0; k < distant_.size(); ++k) {
    spread(other.distant_[k].outputs, distant_[k].outputs);
  }
  known_ = other.known_;
  skip_mixers_ = other.skip_mixers_;
  return queue_->Wait();
}

Status Tiles::Reset(size_t origin, bool skip_mixers) {
  for (const Distant& distant : distant_) {
    LCSM_RETURN_IF_ERROR(distant.queue->Wait());
  }
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  queue_->Clear(histories_.data(), histories_.bytes());
  if (recent_.size() != 0) queue_->Clear(recent_.data(), recent_.bytes());
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  known_ = 0;
  skip_mixers_ = skip_mixers;
  const StepControl control = {0, origin, skip_mixers ? 1u : 0u};
  return prepared_->device().Upload(control_.data(), &control, sizeof(control));
}

Status Tiles::SkipMixers(bool skip) {
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  skip_mixers_ = skip;
  const uint64_t value = skip ? 1 : 0;
  return prepared_->device().Upload(&control_.data()->skip_mixers, &value,
                                    sizeof(value));
}

Status Tiles::Drain(float* to, size_t to_stride) {
  DrainKernel::Args args;
  args.control = control_.data();
  args.lines = histories_.data();
  args.stride = stride_;
  args.histories = histories();
  args.drained = to;
  args.drained_stride = to_stride;
  args.first = known_;
  args.head = prepared_->head();
  args.batch = Batch();
  args.length = length();
  args.folds_tiny = folds_tiny_ ? 1 : 0;
  // Waited for now and then, so that queues do not grow without bound.
  constexpr size_t kStepsBetweenWaits = 1024;
  for (size_t steps = 1; known_ < length(); ++steps) {
    queue_->Launch<CountKernel>({control_.data()});
    queue_->Launch<DrainKernel>(args);
    Advance();
    if (steps % kStepsBetweenWaits == 0) {
      LCSM_RETURN_IF_ERROR(queue_->Wait());
    }
  }
  return queue_->Wait();
}

}  // namespace lcsm::cuda
