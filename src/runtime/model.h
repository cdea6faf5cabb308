// What the runtime knows of a model: the interface that every family in
// src/models implements.
//
// Three stages, each checked when made so that the next cannot fail:
//   Model          immutable weights, bound and checked against the config.
//   Shared by all. PreparedModel  immutable: filters evaluated up to a horizon,
//   plan and spectra. Shared by sessions. ModelState     everything of one
//   sequence that moves: histories, FIR tails, activations.
// Thread safety: the first two are const after construction and may be shared
// by threads; a state belongs to one thread at a time, and so does the pool it
// was made with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "conv/plan.h"
#include "conv/tile_costs.h"
#include "io/section_file.h"
#include "lcsm/status.h"
#include "runtime/sampler.h"

namespace lcsm {

class PreparedModel;

struct ModelInfo {
  std::string family;  // E.g. "hyena".
  std::string name;    // The folder's last component.
  size_t layers = 0;
  size_t width = 0;  // D
  size_t order = 2;  // Hyena's N; N - 1 long convolutions a layer.
  size_t vocab = 0;  // Ids that a tokenizer may give.
  size_t padded_vocab =
      0;  // Columns of the logits; those from vocab on are padding.
  // Fingerprint of config and weights, 32 hexadecimal digits. Of tensors as
  // long as Lmax only the first 4096 positions are taken in.
  std::string hash;
  size_t max_length = 0;  // Lmax: positions a sequence may have.
  int32_t eos_id = -1;    // -1: the model has none.
  size_t parameters =
      0;  // Trained numbers, the head counted once where it is tied.
  size_t weight_bytes = 0;            // As held in memory while running.
  size_t step_bytes = 0;              // Of matrices, read by each step.
  std::string weight_format = "f32";  // Of matrices of blocks, as --weights.
  // For `inspect`: label and value, in display order.
  std::vector<std::pair<std::string, std::string>> details;
};

// What plans on a device go by where it matters to them what tiles cost there.
// (On the CPU PrepareOptions::plan has that.)
enum class DeviceCostSource {
  kEstimates,  // Plans are a function of the problem and the device.
  kKept,       // What was measured once, and estimates where that lacks.
  kMeasured,   // The same; what lacks is measured first, for some seconds.
};

struct PrepareOptions {
  size_t horizon = 0;  // Positions wanted; at most ModelInfo::max_length.
  // How many positions, the last ones, may be taken in by steps: a state then
  // keeps nothing that only steps need for the others, which are to come by
  // Prefill. 0: none, for scoring.
  size_t steps = kAll;
  conv::PlanOptions plan;
  // Bytes that weights, filters and one state may take together (the plan's
  // own limit is what the rest leaves of it); 0: any. More is an error.
  size_t memory_limit = 0;
  // States may be given a longer horizon later, up to ModelInfo::max_length
  // (PreparedModel::Grow). Every input of a long convolution is then kept, and
  // all taps of its filter; fewer steps than positions are an error where what
  // comes otherwise is not kept (Hyena).
  bool growable = false;
  // Not null: a growable preparation of the same model for a horizon of at most
  // this one, whose states are to grow onto this one, which is growable too.
  // What both have alike is shared, and filters are evaluated for the new lags
  // alone. That one is not changed, and its states go on as they are.
  const PreparedModel* shorter = nullptr;
  DeviceCostSource device_costs = DeviceCostSource::kKept;
  // For models with several executors of long convolutions: if not empty, what
  // `plan.levels` is, for each of them, in the order of PreparedModel::plans.
  std::vector<std::vector<conv::Level>> levels = {};

  static constexpr size_t kAll = static_cast<size_t>(-1);
};

// What tiles cost on a device, as plans there go by it.
struct DeviceTileCosts {
  // Whose: where several devices share a model, of the one with the most
  // channels, by which all plan.
  conv::Problem problem;
  // Of every tile: as measured, else an estimate as wrong as it was nearby.
  conv::TileCosts all;
  conv::TileCosts measured;  // What was.
  std::string file;  // Where that is kept; empty: nowhere, or there is none.
};

// Bytes, foretold without allocating; what `inspect --length` prints.
struct ModelMemory {
  conv::Plan plan;  // That Prepare would follow.
  size_t weights = 0;
  conv::MemoryEstimate convolution;
  size_t activations = 0;
  // For people: how the work of the mixers falls together, a line each. Empty
  // where it is all of one kind, one executor's, as `plan` has it. A model
  // without long convolutions has a plan of 0 mixers.
  std::string schedule;
  // Of known tokens taken in layer by layer (PrepareOptions::steps): filters'
  // spectra kept for them, and what one call for all of them needs.
  size_t prefill = 0;
  // There at most at a time before a state exists, weights included: taps that
  // spectra are made of are gone when histories come.
  size_t preparing = 0;
  // The rest is for models on a device, whose memory is then what all of the
  // above is about. Its name; empty on the CPU.
  std::string device;
  size_t device_free = 0;  // Left there now, beside the weights.
  size_t host = 0;         // In the host's memory while preparing.
  std::string uncounted;   // What nobody can foretell, for people.
  // Null where nothing is computed by steps.
  std::shared_ptr<const DeviceTileCosts> tile_costs;
  // Where several devices share a model: of each, in their order. What stands
  // above is then of the one with the least to spare.
  std::vector<ModelMemory> ranks;

  size_t Total() const {
    return std::max(preparing,
                    weights + convolution.Total() + activations + prefill);
  }
};

// What a memory limit, not 0, leaves to the plan beside `others`, which is all
// else. Errors: nothing, with the numbers.
StatusOr<size_t> LeftForPlan(const std::string& model, size_t others,
                             size_t limit);
// For models whose long convolutions have one executor. Error: levels for
// several.
Status CheckOneExecutor(const std::string& model,
                        const PrepareOptions& options);

// What a preparation follows: what makes another one whose states hold the
// same things in the same places. Session files keep it.
struct PreparedPlans {
  size_t steps = 0;  // As PrepareOptions has it.
  // As they were asked for. Where there are several executors, some may be on
  // another schedule.
  conv::Method method = conv::Method::kPaper;
  conv::Schedule schedule = conv::Schedule::kAcrossLayers;
  // Of each executor of long convolutions, in an order that is the model's.
  std::vector<std::vector<conv::Level>> levels;
};

// Wall seconds spent by a state since it was made or reset.
struct StepTimes {
  double mixers = 0;  // Long convolutions only: red cells and tiles.
  double blocks = 0;  // Norms, projections, FIR, gates, MLP.
  double head = 0;
};

// Several sequences of one model that take positions together, so that weights
// are read once for all of them. Belongs to one thread at a time, as a state
// does.
class BatchState {
 public:
  virtual ~BatchState() = default;
  virtual size_t rows() const = 0;
  // Takes tokens[r] in as the next one of row r and writes the logits of what
  // follows, [rows][padded_vocab]: the bits of a state by itself. Requires
  // StepRoom() > 0 and tokens as ModelState::Step does. Never allocates, never
  // fails.
  virtual void Step(const int32_t* tokens, float* logits) noexcept = 0;
  virtual size_t position() const = 0;  // Of each row.
  virtual size_t StepRoom() const = 0;
  // Since it was made.
  virtual const StepTimes& times() const = 0;
};

class ModelState {
 public:
  virtual ~ModelState() = default;

  // Takes one token in and writes the logits of the next, [padded_vocab].
  // Requires StepRoom() > 0 and 0 <= token < padded_vocab. Never allocates,
  // never fails.
  virtual void Step(int32_t token, float* logits) noexcept = 0;

  using LogitsSink =
      std::function<Status(size_t position, std::span<const float> logits)>;
  using HiddenSink =
      std::function<Status(size_t first_position, std::span<const float> rows)>;
  using Progress = std::function<bool(double done)>;

  // What Prefill is to hand out, and what may come after. A sink's error ends
  // the call and is what it returns.
  struct PrefillRequest {
    // Logits of the last position, [padded_vocab]; may be null.
    float* last_logits = nullptr;
    // Called for each position in order with its logits. May be empty.
    LogitsSink on_logits = {};
    // Called with the activations of consecutive positions in order, [n][width]
    // for some n: what `hidden_layer` layers leave in the residual stream (0:
    // the embedding), or, with kFinalNorm, what goes into the head. May be
    // empty.
    HiddenSink on_hidden = {};
    size_t hidden_layer = kFinalNorm;
    // Told the work done in [0, 1]; answers false to stop, which gives
    // kCancelled. May be empty.
    Progress progress = {};
    // Positions that may follow these; more will be refused until Reset. The
    // less there are, the less is computed for them and kept.
    size_t following = kToTheHorizon;

    static constexpr size_t kFinalNorm = static_cast<size_t>(-1);
    static constexpr size_t kToTheHorizon = static_cast<size_t>(-1);
  };
  // Takes many known tokens in. How they are split into calls may change
  // rounding, nothing else; no bit depends on the number of threads. Errors: an
  // id outside [0, padded_vocab) or more tokens than there is room for (then
  // nothing has happened); memory, a sink's, kCancelled (then the state is fit
  // only for Reset).
  virtual Status Prefill(std::span<const int32_t> tokens,
                         const PrefillRequest& request) = 0;

  // From here on by steps: if more positions may follow than PrepareOptions
  // has steps for, those beyond are given up (horizon() says where it ends),
  // and StepRoom() is no longer 0. Otherwise nothing happens. Never allocates.
  virtual void BeginSteps() noexcept {}

  // Texts that begin alike: a trunk, and behind it several branches.
  struct BranchRequest {
    // Called for each position of the trunk (with kTrunk), then for each of the
    // first branch, and so on, with its logits. Required.
    std::function<Status(size_t branch, size_t position,
                         std::span<const float> logits)>
        on_logits;
    Progress progress = {};  // As in PrefillRequest.

    static constexpr size_t kTrunk = static_cast<size_t>(-1);
  };
  // Takes a trunk of at least one token in, and behind it each branch as if
  // there were no others: the logits of Prefill(trunk), and for each branch of
  // Fork and Prefill(branch), in the same bits. Afterwards the state is fit
  // only for Reset. Errors: those of Prefill and Fork.
  virtual Status PrefillBranches(
      std::span<const int32_t> trunk,
      std::span<const std::span<const int32_t>> branches,
      const BranchRequest& request);

  // Another state at the same position with the same past, independent from
  // now on, for the same pool. Error: memory.
  virtual StatusOr<std::unique_ptr<ModelState>> Fork() const = 0;

  // `rows` > 0 sequences with the past of this one, for the same pool, which go
  // on by steps only. Unless a model knows better, forks that take their steps
  // in turn. Error: memory.
  virtual StatusOr<std::unique_ptr<BatchState>> Spread(size_t rows) const;

  // Saves everything that moves, and brings it back into a state of the same
  // model, preparation and SIMD target (the caller's matter, see
  // session_file.h), from where it goes on in the same bits. After an error
  // Load leaves it fit only for Reset. Errors: the file's.
  virtual Status Save(io::SectionWriter& writer) const {
    return Unsupported("states of this kind of model cannot be saved");
  }
  virtual Status Load(io::SectionReader& reader) {
    return Unsupported("states of this kind of model cannot be loaded");
  }
  // Whether Save leaves nothing in the order of a SIMD target.
  virtual bool SavesForAnyTarget() const { return false; }

  // Whether the state can sample by itself, where that saves handing logits
  // over.
  virtual bool SamplesItself() const { return false; }
  // Takes `first` in, then samples and takes in until `tokens` are full: token
  // k follows the one before it (the first one `first`), and all but the last
  // are taken in. The tokens are those of Step and Sampler::Sample. `ids` are
  // those that may be chosen, ascending. Requires SamplesItself() and
  // StepRoom() >= tokens.size() > 0. Errors: the state's device; memory, the
  // first time.
  virtual Status SampleSteps(int32_t first, const SamplerOptions& options,
                             uint64_t sample, std::span<const int32_t> ids,
                             std::span<int32_t> tokens) {
    return InternalError("this state does not sample");
  }

  virtual size_t padded_vocab() const = 0;  // As ModelInfo's.
  virtual size_t position() const = 0;
  // Steps that may be taken now, with no Prefill in between.
  virtual size_t StepRoom() const = 0;
  // Positions that it can take in all; a Prefill may lower it until Reset.
  virtual size_t horizon() const = 0;
  virtual void Reset() noexcept = 0;
  virtual const StepTimes& times() const = 0;
  // Benchmarks only: steps with long convolutions (red cells included) left
  // out, to see what they cost. The outputs are then wrong on purpose.
  virtual void SkipMixers(bool skip) noexcept = 0;
  // Benchmarks only, which would otherwise take hours to reach a position: from
  // here on as if `position` tokens had been taken in by steps. What follows
  // costs what it costs there; logits mean nothing and are finite. position <=
  // horizon(). Error: memory; then the state is fit only for Reset.
  virtual Status Pretend(size_t /*position*/) {
    return Unsupported(
        "states of this kind of model cannot be put at a position");
  }
  // Benchmarks only: to another position, with the past left as it is (so after
  // Pretend of the furthest one). Costs nothing. position <= horizon().
  virtual void MoveTo(size_t /*position*/) noexcept {}
  // Benchmarks only: bytes of what moves with one sequence, without
  // activations; 0: not known.
  virtual size_t HistoryBytes() const { return 0; }
  // Benchmarks only: the executor of all its long convolutions, to time tiles
  // alone. Null where there is none, or more than one.
  virtual conv::OnlineConvolution* convolution() noexcept { return nullptr; }
};

class PreparedModel {
 public:
  virtual ~PreparedModel() = default;
  // Where there are several, the first.
  virtual const conv::Plan& plan() const = 0;
  virtual PreparedPlans plans() const {
    const conv::Plan& one = plan();
    return {one.problem.length, one.method, one.schedule, {one.levels}};
  }
  virtual size_t horizon() const = 0;
  virtual size_t SpectraBytes() const = 0;
  // `pool` must outlive the state. Keeps this object alive by itself (it is
  // held by shared_ptr).
  virtual StatusOr<std::unique_ptr<ModelState>> NewState(
      ThreadPool& pool) const = 0;
  // A state that goes on where `shorter` stands, one of a preparation for no
  // more positions (PrepareOptions::shorter), for the same pool: all that moves
  // is what it would be had every mixer got its inputs so far here. `shorter`
  // stays as it is. While this runs both states' memory is taken, and about as
  // much time as a prefill of all positions. Errors: another model's state; one
  // for more positions; one that has let go of inputs (PrepareOptions::growable
  // keeps them); memory.
  virtual StatusOr<std::unique_ptr<ModelState>> Grow(
      const ModelState& /*shorter*/) const {
    return Unsupported("states of this kind of model cannot grow");
  }
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelInfo& info() const = 0;
  virtual StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions& options, ThreadPool& pool,
      const ModelState::Progress& progress) const = 0;
  virtual StatusOr<ModelMemory> EstimateMemory(const PrepareOptions& options,
                                               size_t threads) const = 0;
  // Not ok once the file behind the weights was found cut short while in use;
  // its sentence says so. Cheap; asked once a token by whoever runs the steps.
  virtual Status CheckWeights() const = 0;
};

}  // namespace lcsm
