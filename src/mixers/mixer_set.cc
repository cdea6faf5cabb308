#include "mixers/mixer_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <span>
#include <utility>

#include "conv/filter_bank.h"

namespace lcsm {
namespace {

using Work = MixerSchedule::Work;

// Taps that one call evaluates: few enough that threads share the work of one
// filter, many enough that starting a series anew costs nothing.
constexpr size_t kTapsPerCall = 1024;

// Rows of a made-up past, used over and over: a prime, so that blocks do not
// repeat each other.
constexpr size_t kPastRows = 61;

std::string_view Name(Work work) {
  switch (work) {
    case Work::kAtOnce:
      return "at once";
    case Work::kAcrossLayers:
      return "across layers";
    case Work::kInOrder:
      return "in order";
  }
  return "";
}

Status CheckRead(size_t reader, const MixerRead& read,
                 const std::vector<MixerEntry>& mixers) {
  if (read.mixer >= mixers.size()) {
    return InvalidInput(fmt::format(
        "mixer {} reads mixer {}, but there are only {}, counted from 0",
        reader, read.mixer, mixers.size()));
  }
  if (read.delay == 0 && read.mixer >= reader) {
    return InvalidInput(fmt::format(
        "mixer {} reads mixer {} of the same position, which has not run yet: "
        "expected one before it, or a delay of at least 1",
        reader, read.mixer));
  }
  if (read.what == MixerRead::What::kAhead &&
      !mixers[read.mixer].mixer->CanBeReadAhead()) {
    return InvalidInput(
        fmt::format("mixer {} reads mixer {} ahead, which is a {} and has "
                    "nothing to read ahead: expected a long convolution",
                    reader, read.mixer, mixers[read.mixer].mixer->Describe()));
  }
  return OkStatus();
}

Status CheckEntries(const std::vector<MixerEntry>& mixers,
                    const MixerSetOptions& options) {
  if (mixers.empty()) return InvalidInput("a stack without mixers");
  if (options.horizon == 0) {
    return InvalidInput("mixers for 0 positions, expected at least 1");
  }
  if (options.shorter != nullptr && options.longest == 0) {
    return InvalidInput("mixers that may not grow, made from a shorter set");
  }
  if (options.longest != 0 && options.longest < options.horizon) {
    return InvalidInput(fmt::format(
        "mixers for {} positions that may grow to {}, expected at least as "
        "many",
        options.horizon, options.longest));
  }
  for (size_t m = 0; m < mixers.size(); ++m) {
    if (mixers[m].mixer == nullptr) {
      return InternalError(fmt::format("mixer {} is missing", m));
    }
  }
  for (size_t m = 0; m < mixers.size(); ++m) {
    for (const MixerRead& read : mixers[m].reads) {
      LCSM_RETURN_IF_ERROR(CheckRead(m, read, mixers));
    }
  }
  return OkStatus();
}

// Who reads each mixer ahead; itself: nobody.
std::vector<size_t> ReadersAhead(const std::vector<MixerEntry>& mixers) {
  std::vector<size_t> readers(mixers.size());
  for (size_t m = 0; m < mixers.size(); ++m) readers[m] = m;
  for (size_t m = 0; m < mixers.size(); ++m) {
    for (const MixerRead& read : mixers[m].reads) {
      if (read.what == MixerRead::What::kAhead) readers[read.mixer] = m;
    }
  }
  return readers;
}

std::string WhyAtOnce(const MixerTraits& traits) {
  if (!traits.query_blind) return "its contributions look at the query";
  if (traits.finite_state) return "its state is small and takes each input in";
  return "it defers nothing";
}

// Plans mixers that have an executor to themselves, and counts what all mixers
// take beside shared convolutions.
Status PlanMixers(const std::vector<MixerEntry>& mixers,
                  const MixerSetOptions& options, MixerSchedule* schedule,
                  size_t* used) {
  const size_t limit = options.plan.memory_limit;
  size_t own = 0;  // Executors so far.
  for (size_t m = 0; m < mixers.size(); ++m) {
    conv::PlanOptions plan = options.plan;
    // What the ones before leave of it; 0 would mean any.
    if (limit != 0) plan.memory_limit = limit - std::min(*used, limit - 1);
    if (own < options.levels.size()) plan.levels = options.levels[own];
    auto planned = mixers[m].mixer->Planned(options.horizon, plan);
    if (!planned.ok()) {
      return Status(planned.status().code(),
                    fmt::format("mixer {}: {}", m, planned.status().message()));
    }
    if (*planned != nullptr) ++own;
    std::shared_ptr<const Mixer>& mixer = schedule->entries[m].mixer;
    mixer = *planned != nullptr ? *planned : mixers[m].mixer;
    const MixerMemory memory = mixer->Memory(options.horizon, plan.threads);
    *used += memory.weights + memory.state;
    if (limit != 0 && *used >= limit) {
      return InvalidInput(fmt::format(
          "mixer {}: {}: a sequence of {} positions takes {:.2f} GiB with the "
          "mixers before it, and the memory limit leaves {:.2f} GiB for them",
          m, mixer->Describe(), options.horizon,
          static_cast<double>(*used) / 0x1p30,
          static_cast<double>(limit) / 0x1p30));
    }
  }
  return OkStatus();
}

// Gives every long convolution a place in a group.
void MakeGroups(const std::vector<MixerEntry>& mixers,
                const MixerSetOptions& options, MixerSchedule* schedule) {
  const std::vector<size_t> readers = ReadersAhead(mixers);
  const bool per_layer = options.plan.schedule == conv::Schedule::kPerLayer;
  for (size_t m = 0; m < mixers.size(); ++m) {
    MixerSchedule::Entry& entry = schedule->entries[m];
    const Mixer& mixer = *entry.mixer;
    entry.describe = mixer.Describe();
    const MixerConvolutions wanted = mixer.convolutions();
    if (wanted.count == 0) {
      if (mixer.defers()) {
        entry.work = Work::kAcrossLayers;
        entry.why = "by itself";
      } else if (entry.mixer != mixers[m].mixer) {
        entry.work = Work::kInOrder;
        entry.why = "the plan wants it per layer";
      } else {
        entry.why = WhyAtOnce(mixer.traits());
      }
      continue;
    }
    const bool ahead = readers[m] != m;
    if (ahead) {
      entry.work = Work::kInOrder;
      entry.why = fmt::format("mixer {} reads it ahead", readers[m]);
    } else if (per_layer) {
      entry.work = Work::kInOrder;
      entry.why = "the plan wants it per layer";
    } else {
      entry.work = Work::kAcrossLayers;
      entry.why = "nobody wants its tiles before the position is over";
    }
    // What the last position reads ahead belongs to one more.
    const auto lines = [&](size_t positions) {
      return MixerConvolutions::OfPhase(positions, 0, wanted.phases) +
             (ahead ? 1 : 0);
    };
    const size_t length = lines(options.horizon);
    // Of a set that may grow, as many as may ever be wanted, so that longer
    // ones have the same groups.
    const size_t taps = std::min(
        wanted.taps, options.longest != 0 ? lines(options.longest) : length);
    size_t g = schedule->groups.size();
    // One that runs in order stays alone: its neighbours' tiles can wait.
    for (size_t i = 0; i < schedule->groups.size() && !ahead; ++i) {
      const MixerSchedule::Group& group = schedule->groups[i];
      if (readers[group.mixers[0]] == group.mixers[0] &&
          group.plan.problem.channels == wanted.channels &&
          group.plan.problem.taps == taps && group.phases == wanted.phases) {
        g = i;
        break;
      }
    }
    if (g == schedule->groups.size()) {
      schedule->groups.emplace_back();
      schedule->groups[g].phases = wanted.phases;
      conv::Plan& plan = schedule->groups[g].plan;
      plan.problem.channels = wanted.channels;
      plan.problem.taps = taps;
      plan.problem.length = length;
      plan.problem.growable = options.longest != 0;
      plan.schedule = entry.work == Work::kInOrder
                          ? conv::Schedule::kPerLayer
                          : conv::Schedule::kAcrossLayers;
    }
    entry.group = g;
    schedule->groups[g].mixers.push_back(m);
    schedule->groups[g].convolutions += wanted.count;
  }
}

}  // namespace

void FillPast(float* values, size_t n) noexcept {
  uint32_t state = 1;
  for (size_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    values[i] = 0.5f + static_cast<float>(state >> 8) * 0x1p-24f;
  }
}

std::vector<std::vector<conv::Level>> MixerSchedule::Levels() const {
  std::vector<std::vector<conv::Level>> levels;
  for (const Entry& entry : entries) {
    const conv::Plan* const own = entry.mixer->plan();
    if (own != nullptr) levels.push_back(own->levels);
  }
  for (const Group& group : groups) levels.push_back(group.plan.levels);
  return levels;
}

std::string MixerSchedule::Print() const {
  std::string text;
  for (size_t m = 0; m < entries.size(); ++m) {
    const Entry& entry = entries[m];
    text +=
        fmt::format("mixer {}: {}: {}", m, entry.describe, Name(entry.work));
    if (entry.group != Entry::kNone) {
      text += fmt::format(" (group {})", entry.group);
    }
    text += fmt::format(", {}\n", entry.why);
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    const conv::Problem& problem = groups[g].plan.problem;
    text += fmt::format(
        "group {}: {} convolution{} of {} channels, {} taps{}: "
        "{}\n",
        g, groups[g].convolutions, groups[g].convolutions == 1 ? "" : "s",
        problem.channels, problem.taps,
        groups[g].phases == 1
            ? ""
            : fmt::format(", {} sequences in turns", groups[g].phases),
        groups[g].plan.Print());
  }
  text += together == kAll
              ? std::string("known positions: layer by layer\n")
              : fmt::format("known positions: {} at a time\n", together);
  return text;
}

StatusOr<MixerSchedule> PreparedMixers::Schedule(
    const std::vector<MixerEntry>& mixers, const MixerSetOptions& options) {
  LCSM_RETURN_IF_ERROR(CheckEntries(mixers, options));
  MixerSchedule schedule;
  schedule.entries.resize(mixers.size());
  for (size_t m = 0; m < mixers.size(); ++m) {
    for (const MixerRead& read : mixers[m].reads) {
      if (read.what == MixerRead::What::kAhead) schedule.together = 1;
      if (read.mixer >= m) {
        schedule.together = std::min(schedule.together, read.delay);
      }
    }
  }
  size_t used = 0;
  LCSM_RETURN_IF_ERROR(PlanMixers(mixers, options, &schedule, &used));
  MakeGroups(mixers, options, &schedule);
  if (options.shorter != nullptr) {
    LCSM_RETURN_IF_ERROR(options.shorter->CheckLonger(
        schedule.groups, mixers.size(), options.horizon));
  }
  // Groups have no levels yet, but their places.
  const size_t executors = schedule.Levels().size();
  if (!options.levels.empty() && options.levels.size() != executors) {
    return InvalidInput(fmt::format(
        "levels for {} executors of long convolutions were given, expected "
        "those for {}",
        options.levels.size(), executors));
  }
  for (size_t g = 0; g < schedule.groups.size(); ++g) {
    MixerSchedule::Group& group = schedule.groups[g];
    conv::PlanOptions plan = options.plan;
    if (!options.levels.empty()) {
      plan.levels = options.levels[executors - schedule.groups.size() + g];
    }
    plan.schedule = group.plan.schedule;
    // What is read ahead is wanted at once: nothing of it can be spread over
    // the steps to come.
    if (plan.schedule != options.plan.schedule) {
      plan.latency = conv::Latency::kBest;
    }
    conv::Problem problem = group.plan.problem;
    problem.mixers = group.convolutions;
    used += conv::FilterBank::BytesToGrow(problem);
    if (plan.memory_limit != 0) {
      // What the groups before leave of it; 0 would mean any.
      plan.memory_limit -= std::min(used, plan.memory_limit - 1);
    }
    const auto make = [&](const conv::PlanOptions& wanted) {
      return options.shorter == nullptr
                 ? conv::MakePlan(problem, wanted)
                 : conv::GrowPlan(options.shorter->schedule().groups[g].plan,
                                  problem.length, wanted);
    };
    LCSM_ASSIGN_OR_RETURN(group.plan, make(plan));
    conv::MemoryEstimate bytes = group.plan.Memory(plan.threads);
    const size_t others = (group.phases - 1) * bytes.Session();
    if (plan.memory_limit != 0 && others != 0) {
      plan.memory_limit -= std::min(others, plan.memory_limit - 1);
      LCSM_ASSIGN_OR_RETURN(group.plan, make(plan));
      bytes = group.plan.Memory(plan.threads);
    }
    used += bytes.Total() + (group.phases - 1) * bytes.Session();
  }
  return schedule;
}

StatusOr<MixerSetMemory> PreparedMixers::Foretell(
    const std::vector<MixerEntry>& mixers, const MixerSetOptions& options,
    size_t threads) {
  LCSM_ASSIGN_OR_RETURN(const MixerSchedule schedule,
                        Schedule(mixers, options));
  MixerSetMemory memory;
  for (const MixerSchedule::Entry& entry : schedule.entries) {
    const MixerMemory one = entry.mixer->Memory(options.horizon, threads);
    memory.weights += one.weights;
    memory.states += one.state;
  }
  for (const MixerSchedule::Group& group : schedule.groups) {
    conv::MemoryEstimate one = group.plan.Memory(threads);
    if (group.plan.problem.growable) one.KeepAllTaps();
    memory.convolution.taps += one.taps;
    // Groups are made one after another.
    memory.convolution.making = std::max(memory.convolution.making, one.making);
    memory.convolution.spectra += one.spectra;
    memory.convolution.histories += group.phases * one.histories;
    memory.convolution.blocks += group.phases * one.blocks;
    memory.convolution.scratch += group.phases * one.scratch;
  }
  return memory;
}

StatusOr<std::shared_ptr<const PreparedMixers>> PreparedMixers::Create(
    std::vector<MixerEntry> mixers, const MixerSetOptions& options,
    ThreadPool& pool) {
  std::shared_ptr<PreparedMixers> prepared(new PreparedMixers);
  LCSM_ASSIGN_OR_RETURN(prepared->schedule_, Schedule(mixers, options));
  for (size_t m = 0; m < mixers.size(); ++m) {
    mixers[m].mixer = prepared->schedule_.entries[m].mixer;
  }
  prepared->horizon_ = options.horizon;
  prepared->first_convolution_.resize(mixers.size());
  for (const MixerSchedule::Group& group : prepared->schedule_.groups) {
    const conv::Problem& problem = group.plan.problem;
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> made,
                          conv::FilterBank::Create(problem));
    std::shared_ptr<conv::FilterBank> bank = std::move(made);
    const size_t g = prepared->groups_.size();
    // A call that was cut short is made again: where it begins, its bits do.
    size_t known_calls = 0;
    if (options.shorter != nullptr) {
      bank->CopyTaps(*options.shorter->taps_[g], pool);
      known_calls = options.shorter->taps_[g]->taps() / kTapsPerCall;
    }
    const size_t calls =
        (bank->taps() + kTapsPerCall - 1) / kTapsPerCall - known_calls;
    const size_t rows = std::min(bank->taps(), kTapsPerCall);
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer values,
        FloatBuffer::Allocate(pool.NumThreads() * rows * problem.channels,
                              "taps on their way"));
    size_t next = 0;
    for (size_t m : group.mixers) {
      const Mixer& mixer = *mixers[m].mixer;
      prepared->first_convolution_[m] = next;
      const size_t count = mixer.convolutions().count;
      pool.ParallelFor(
          count * calls, 1, [&](size_t begin, size_t end, size_t worker) {
            float* const mine =
                values.data() + worker * rows * problem.channels;
            for (size_t i = begin; i < end; ++i) {
              const size_t first = (known_calls + i % calls) * kTapsPerCall;
              const size_t taps = std::min(kTapsPerCall, bank->taps() - first);
              mixer.Taps(i / calls, first, taps, mine);
              bank->SetTaps(next + i / calls, first, taps, mine);
            }
          });
      next += count;
    }
    if (problem.growable) prepared->taps_.push_back(bank);
    LCSM_ASSIGN_OR_RETURN(
        std::shared_ptr<const conv::PreparedConvolution> convolution,
        conv::PreparedConvolution::Create(
            group.plan, std::move(bank), pool,
            options.shorter != nullptr ? options.shorter->groups_[g].get()
                                       : nullptr));
    for (size_t phase = 0; phase < group.phases; ++phase) {
      prepared->executors_.push_back({prepared->groups_.size(), phase});
    }
    prepared->groups_.push_back(std::move(convolution));
  }
  prepared->mixers_ = std::move(mixers);
  return std::shared_ptr<const PreparedMixers>(std::move(prepared));
}

MixerDue PreparedMixers::Due(size_t group, size_t known) const {
  assert(known > 0 && known < horizon_);
  const conv::Plan& plan = schedule_.groups[group].plan;
  MixerDue due;
  if (plan.method == conv::Method::kLazy) {
    due.inputs = std::min(known, plan.problem.taps - 1);
    due.outputs = 1;
  } else if (plan.method == conv::Method::kEager) {
    due.inputs = 1;
    due.outputs = std::min(plan.problem.taps - 1, plan.problem.length - known);
  } else if (!plan.levels.empty()) {
    const conv::Level& level = plan.levels[conv::DueLevel(plan.levels, known)];
    const conv::Tile tile = conv::TileAt(plan.problem, level, known);
    due.inputs = tile.terms * level.block;
    due.outputs = tile.terms == 0 ? 0 : tile.outputs;
  }
  due.contributions = due.inputs * due.outputs;
  return due;
}

StatusOr<std::unique_ptr<MixerStates>> PreparedMixers::NewStates(
    ThreadPool& pool) const {
  std::unique_ptr<MixerStates> states(new MixerStates);
  states->prepared_ = shared_from_this();
  states->pool_ = &pool;
  for (const Executor& executor : executors_) {
    LCSM_ASSIGN_OR_RETURN(
        std::unique_ptr<conv::OnlineConvolution> convolution,
        conv::OnlineConvolution::Create(groups_[executor.group], pool));
    states->convolutions_.push_back(std::move(convolution));
  }
  LCSM_RETURN_IF_ERROR(states->MakeStates());
  return states;
}

Status MixerStates::MakeStates() {
  for (size_t m = 0; m < prepared_->size(); ++m) {
    const Mixer& mixer = prepared_->mixer(m);
    Mixer::Resources resources;
    resources.horizon = prepared_->horizon();
    resources.pool = pool_;
    if (mixer.convolutions().count != 0) {
      for (size_t i = 0; i < convolutions_.size(); ++i) {
        if (prepared_->executors_[i].group ==
            prepared_->schedule_.entries[m].group) {
          resources.convolutions.push_back(convolutions_[i].get());
        }
      }
      resources.first_convolution = prepared_->first_convolution_[m];
    }
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<MixerState> state,
                          rows_ == 1 ? mixer.NewState(resources)
                                     : mixer.NewRows(resources, rows_));
    states_.push_back(std::move(state));
  }
  return OkStatus();
}

void MixerStates::Advance(size_t count) noexcept {
  if (count == 0) return;
  position_ += count;
  assert(std::all_of(states_.begin(), states_.end(), [this](const auto& state) {
    return state->position() == position_;
  }));
  for (size_t m = 0; m < states_.size(); ++m) {
    if (prepared_->mixer(m).defers()) states_[m]->Advance(count);
  }
  for (size_t i = 0; i < convolutions_.size(); ++i) {
    const size_t ended = Taken(i, position_) - Taken(i, position_ - count);
    if (ended == 1) {
      convolutions_[i]->Advance();
    } else if (ended != 0) {
      convolutions_[i]->AdvanceMany(ended);
    }
  }
}

void MixerStates::Reset() noexcept {
  for (const auto& convolution : convolutions_) convolution->Reset();
  for (const auto& state : states_) state->Reset();
  position_ = 0;
}

Status MixerStates::Pretend(size_t position) {
  assert(position <= horizon());
  for (size_t i = 0; i < convolutions_.size(); ++i) {
    conv::OnlineConvolution& convolution = *convolutions_[i];
    const conv::Problem& problem = convolution.plan().problem;
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer rows,
        FloatBuffer::Allocate(kPastRows * problem.batch * problem.channels,
                              "a made-up past"));
    FillPast(rows.data(), rows.size());
    convolution.Reset();
    convolution.PretendHistory(Taken(i, position), rows.data(), kPastRows);
  }
  for (const auto& state : states_) {
    LCSM_RETURN_IF_ERROR(state->Pretend(position));
  }
  position_ = position;
  return OkStatus();
}

void MixerStates::MoveTo(size_t position) noexcept {
  assert(position <= horizon());
  for (size_t i = 0; i < convolutions_.size(); ++i) {
    convolutions_[i]->PretendPosition(Taken(i, position));
  }
  for (const auto& state : states_) state->MoveTo(position);
  position_ = position;
}

StatusOr<std::unique_ptr<MixerStates>> MixerStates::Fork() const {
  std::unique_ptr<MixerStates> fork(new MixerStates);
  fork->prepared_ = prepared_;
  fork->pool_ = pool_;
  fork->rows_ = rows_;
  for (const auto& convolution : convolutions_) {
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::OnlineConvolution> copy,
                          convolution->Fork());
    fork->convolutions_.push_back(std::move(copy));
  }
  LCSM_RETURN_IF_ERROR(fork->MakeStates());
  for (size_t m = 0; m < states_.size(); ++m) {
    LCSM_RETURN_IF_ERROR(fork->states_[m]->CopyFrom(*states_[m]));
  }
  fork->position_ = position_;
  return fork;
}

Status MixerStates::Save(io::SectionWriter& writer) const {
  const uint64_t position = position_;
  LCSM_RETURN_IF_ERROR(writer.PutArray(
      "mixers' position", std::span<const uint64_t>(&position, 1)));
  for (const auto& convolution : convolutions_) {
    LCSM_RETURN_IF_ERROR(convolution->Save(writer));
  }
  for (const auto& state : states_) LCSM_RETURN_IF_ERROR(state->Save(writer));
  return OkStatus();
}

Status MixerStates::Load(io::SectionReader& reader) {
  uint64_t position = 0;
  LCSM_RETURN_IF_ERROR(
      reader.GetArray("mixers' position", std::span<uint64_t>(&position, 1)));
  if (position > horizon()) {
    return InvalidInput(fmt::format(
        "{}: stands at position {}, expected at most {}, which the mixers are "
        "for",
        reader.name(), position, horizon()));
  }
  for (size_t i = 0; i < convolutions_.size(); ++i) {
    LCSM_RETURN_IF_ERROR(convolutions_[i]->Load(reader));
    if (convolutions_[i]->position() != Taken(i, position)) {
      return InvalidInput(fmt::format(
          "{}: a convolution stands at position {}, the mixers at {}",
          reader.name(), convolutions_[i]->position(), position));
    }
  }
  position_ = position;
  for (const auto& state : states_) {
    LCSM_RETURN_IF_ERROR(state->Load(reader, position_));
  }
  return OkStatus();
}

size_t MixerStates::bytes() const {
  size_t bytes = 0;
  for (const auto& state : states_) bytes += state->bytes();
  return bytes;
}

}  // namespace lcsm
