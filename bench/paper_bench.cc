#include "bench/paper_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <utility>

#include "bench/paper_measure.h"
#include "bench/paper_sampling.h"
#include "bench/paper_stack.h"

namespace lcsm::bench {
namespace {

using conv::Method;
using conv::Plan;
using conv::PlanOptions;
using conv::Tau;

// Direct tiles cost U^2: at twice this length the largest one alone takes
// seconds, of which a sequence would have to be charged minutes.
constexpr size_t kLongestDirect = 2048;
// Lazy and eager read all taps and inputs once a step. So much of them is far
// beyond any cache, and more mixers would only take longer.
constexpr size_t kBaselineBytes = size_t{2} << 30;
// A model whose weights fit into a cache would be flattered.
constexpr size_t kLeastWeights = size_t{128} << 20;
// The step is a float32 model: what its logits may be off by, as elsewhere.
constexpr double kStackBound = 1e-4;

// One method at one length, measured `repeats` times.
struct Job {
  PlanOptions options;
  Plan plan;          // Of all layers.
  size_t mixers = 0;  // Of these as many are measured.
  bool whole = false;
  MixerCheck check;
  double stack_error = 0;
  std::vector<ClassSeconds> runs;
};

size_t AvailableMemory() {
  std::ifstream info("/proc/meminfo");
  std::string label, unit;
  size_t kib = 0;
  while (info >> label >> kib >> unit) {
    if (label == "MemAvailable:") return kib * 1024;
  }
  return size_t{1} << 30;
}

Plan WithMixers(Plan plan, size_t mixers) {
  plan.problem.mixers = mixers;
  return plan;
}

size_t BytesFor(const Plan& plan, size_t mixers, size_t threads) {
  return WithMixers(plan, mixers).Memory(threads).Total();
}

std::string Gib(size_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

// Sums and quantiles over a sequence from what its classes cost.
class Sequence {
 public:
  // `runs` of a job whose mixers are 1 / `scale` of all, in a setting whose
  // blocks are measured 1 / `block_scale` at a time.
  Sequence(const Plan& plan, const std::vector<ClassSeconds>& runs,
           double scale, double block_scale)
      : classes_(plan), length_(plan.problem.length), counts_(classes_.size()) {
    for (size_t t = 0; t < length_; ++t) ++counts_[classes_.Of(t)];
    const auto median = [&](const auto& pick) {
      std::vector<double> values;
      for (const ClassSeconds& run : runs) values.push_back(pick(run));
      return Summarize(values).median;
    };
    for (size_t c = 0; c < classes_.size(); ++c) {
      alone_.push_back(scale * median([&](const ClassSeconds& r) {
                         return r.mixers_alone[c];
                       }));
      in_a_step_.push_back(scale * median([&](const ClassSeconds& r) {
                             return r.mixers_in_a_step[c];
                           }));
    }
    rest_ =
        block_scale * median([](const ClassSeconds& r) { return r.blocks; });
    rest_ += median([](const ClassSeconds& r) { return r.head; });
  }

  double rest() const { return rest_; }
  // Of a run taken by itself.
  double Total(const std::vector<double>& by_class) const {
    double total = 0;
    for (size_t c = 0; c < counts_.size(); ++c)
      total += static_cast<double>(counts_[c]) * by_class[c];
    return total;
  }

  std::vector<CurvePoint> Curve() const {
    std::vector<CurvePoint> curve;
    CurvePoint now;
    size_t next = 16;
    for (size_t t = 0; t < length_; ++t) {
      const size_t cls = classes_.Of(t);
      now.mixer_seconds += alone_[cls];
      now.end_to_end_seconds += in_a_step_[cls] + rest_;
      now.position = t + 1;
      if (now.position != next && now.position != length_) continue;
      curve.push_back(now);
      // 16, 24, 32, 48, 64, ...
      if (now.position == next)
        next += (next & (next - 1)) == 0 ? next / 2 : next / 3;
    }
    return curve;
  }

  std::vector<LatencyPoint> Latency() const {
    std::vector<LatencyPoint> points;
    for (size_t from = 8; from < length_; from *= 2) {
      const size_t to = std::min(length_, 2 * from);
      LatencyPoint point;
      point.position = to;
      std::vector<double> steps, mixers;
      for (size_t t = from; t < to; ++t) {
        steps.push_back(in_a_step_[classes_.Of(t)]);
        mixers.push_back(alone_[classes_.Of(t)]);
      }
      point.median_ms = 1e3 * (rest_ + Quantile(steps, 0.5));
      point.worst_ms = 1e3 * (rest_ + Quantile(steps, 1));
      point.mixer_median_ms = 1e3 * Quantile(mixers, 0.5);
      point.mixer_worst_ms = 1e3 * Quantile(mixers, 1);
      points.push_back(point);
    }
    return points;
  }

  // Milliseconds that the share q of all steps, end to end, does not exceed.
  double StepMs(double q) const {
    std::vector<double> steps;
    for (size_t t = 0; t < length_; ++t)
      steps.push_back(in_a_step_[classes_.Of(t)]);
    return 1e3 * (rest_ + Quantile(steps, q));
  }

 private:
  CostClasses classes_;
  size_t length_;
  std::vector<size_t> counts_;
  std::vector<double> alone_, in_a_step_;  // Seconds by class, of all layers.
  double rest_ = 0;                        // Blocks and head of a step.
};

class Runner {
 public:
  Runner(const PaperCase& wanted, const PaperProgress& say)
      : wanted_(wanted), say_(say), pool_(wanted.threads) {}

  StatusOr<PaperResult> Run() {
    if (wanted_.setting == PaperSetting::kHyena && wanted_.batch != 1) {
      return Unsupported(
          "the Hyena setting steps one sequence; expected --batch 1");
    }
    budget_ = wanted_.memory_bytes != 0 ? wanted_.memory_bytes
                                        : AvailableMemory() / 5 * 4;
    if (wanted_.setting == PaperSetting::kSynthetic) {
      LCSM_ASSIGN_OR_RETURN(
          synthetic_,
          MakeSyntheticWeights(wanted_.layers, wanted_.width, pool_));
    }
    for (const size_t length : wanted_.lengths)
      LCSM_RETURN_IF_ERROR(RunLength(length));
    return std::move(result_);
  }

 private:
  void Say(const std::string& text) const {
    if (say_) say_(text);
  }
  void Note(const std::string& text) {
    result_.notes.push_back(text);
    Say(text);
  }

  size_t WeightBytes(size_t layers) const {
    const size_t square = wanted_.width * wanted_.width * sizeof(float);
    // Up and down; Hyena's projections are four squares more.
    return layers * square * (wanted_.setting == PaperSetting::kHyena ? 12 : 8);
  }

  // The largest number of mixers that fits beside the weights; 0 if none.
  size_t Fit(const Plan& plan, size_t already) const {
    const bool hyena = wanted_.setting == PaperSetting::kHyena;
    for (size_t mixers = wanted_.layers; mixers > 0; --mixers) {
      const size_t weights = WeightBytes(hyena ? mixers : wanted_.layers);
      if (BytesFor(plan, mixers, pool_.NumThreads()) + weights + already <=
          budget_) {
        return mixers;
      }
    }
    return 0;
  }

  Status RunLength(size_t length) {
    std::vector<Job> jobs;
    conv::Problem problem;
    problem.mixers = wanted_.layers;
    problem.channels = wanted_.width;
    problem.batch = wanted_.batch;
    problem.length = problem.taps = length;
    for (const PlanOptions& options : wanted_.methods) {
      const bool direct =
          options.tau == Tau::kDirect || options.tau == Tau::kDirectBlocked;
      if (direct && !IsBaseline(options.method) && length > kLongestDirect) {
        Note(fmt::format("{} is left out at {}: its tiles cost U^2",
                         Label(options), length));
        continue;
      }
      Job job;
      job.options = options;
      LCSM_ASSIGN_OR_RETURN(job.plan, conv::MakePlan(problem, options));
      jobs.push_back(std::move(job));
    }
    LCSM_RETURN_IF_ERROR(ChooseMixers(length, jobs));
    for (Job& job : jobs) {
      if (job.mixers == 0) continue;
      LCSM_ASSIGN_OR_RETURN(job.check,
                            CheckMixers(job.plan, job.options, pool_));
      LCSM_RETURN_IF_ERROR(CheckStack(length, job));
    }
    const size_t repeats = wanted_.quick ? 1 : wanted_.repeats;
    for (size_t repeat = 0; repeat < repeats; ++repeat) {
      for (Job& job : jobs) {
        if (job.mixers != 0) LCSM_RETURN_IF_ERROR(RunJob(job));
      }
      // The next repeat makes them anew, perhaps of other pages.
      banks_.clear();
    }
    hyena_.clear();
    AddRows(length, jobs);
    return OkStatus();
  }

  // All tilings measure the same number of mixers, and so do lazy and eager.
  Status ChooseMixers(size_t length, std::vector<Job>& jobs) {
    size_t baseline = 0, tiling = 0;
    for (const Job& job : jobs) {
      if (!IsBaseline(job.plan.method)) continue;
      const size_t fits = Fit(job.plan, 0);
      if (fits == 0) continue;
      const size_t one = BytesFor(job.plan, 1, pool_.NumThreads());
      size_t enough = kBaselineBytes / one + 1;
      if (wanted_.setting == PaperSetting::kHyena)
        enough = std::max(enough, kLeastWeights / WeightBytes(1) + 1);
      enough = std::min(fits, enough);
      baseline = baseline == 0 ? enough : std::min(baseline, enough);
    }
    for (const Job& job : jobs) {
      if (IsBaseline(job.plan.method)) continue;
      // The baselines' taps are kept as well.
      const size_t fits = Fit(job.plan, baseline == 0 ? 0 : kBaselineBytes);
      if (fits != 0) tiling = tiling == 0 ? fits : std::min(tiling, fits);
    }
    for (Job& job : jobs) {
      job.mixers = IsBaseline(job.plan.method) ? baseline : tiling;
      if (job.mixers != 0) continue;
      Note(fmt::format(
          "{} is left out at {}: one mixer takes {}, more than "
          "the {} at hand",
          Label(job.options), length,
          Gib(BytesFor(job.plan, 1, pool_.NumThreads())), Gib(budget_)));
    }
    for (const auto& [kind, mixers] :
         {std::pair{"tilings", tiling}, {"lazy and eager", baseline}}) {
      if (mixers != 0 && mixers < wanted_.layers) {
        Note(
            fmt::format("length {}, {}: {} of {} mixers measured, times "
                        "scaled ({} of memory)",
                        length, kind, mixers, wanted_.layers, Gib(budget_)));
      }
    }
    return OkStatus();
  }

  StatusOr<std::shared_ptr<const HyenaWeights>> Hyena(size_t layers,
                                                      size_t length) {
    std::shared_ptr<const HyenaWeights>& made = hyena_[layers];
    if (made == nullptr) {
      LCSM_ASSIGN_OR_RETURN(made,
                            MakeHyenaWeights(layers, wanted_.width, length));
    }
    return made;
  }

  Status CheckStack(size_t length, Job& job) {
    if (wanted_.setting == PaperSetting::kSynthetic) {
      LCSM_ASSIGN_OR_RETURN(
          job.stack_error,
          CheckSyntheticStack(*synthetic_, job.options, wanted_.batch, pool_));
    } else {
      LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const HyenaWeights> weights,
                            Hyena(job.mixers, length));
      LCSM_ASSIGN_OR_RETURN(job.stack_error,
                            CheckHyenaStack(weights, job.options, pool_));
    }
    if (job.stack_error <= kStackBound) return OkStatus();
    return InternalError(fmt::format(
        "a model with {} mixers is off by {:.2e} of its largest output, more "
        "than {:.0e}",
        Label(job.options), job.stack_error, kStackBound));
  }

  StatusOr<std::unique_ptr<PaperStack>> MakeStack(const Job& job) {
    Plan plan = WithMixers(job.plan, job.mixers);
    std::shared_ptr<const conv::FilterBank>& bank = banks_[job.mixers];
    if (bank == nullptr) {
      LCSM_ASSIGN_OR_RETURN(bank, MakePaperFilters(plan.problem, pool_));
    }
    const size_t length = plan.problem.length;
    LCSM_ASSIGN_OR_RETURN(
        std::shared_ptr<const conv::PreparedConvolution> prepared,
        conv::PreparedConvolution::Create(std::move(plan), bank, pool_));
    if (wanted_.setting == PaperSetting::kHyena) {
      LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const HyenaWeights> weights,
                            Hyena(job.mixers, length));
      return MakeHyenaStack(std::move(weights), std::move(prepared), pool_);
    }
    LCSM_ASSIGN_OR_RETURN(
        std::unique_ptr<SyntheticStack> stack,
        SyntheticStack::Create(synthetic_, std::move(prepared), pool_));
    return std::unique_ptr<PaperStack>(std::move(stack));
  }

  Status RunJob(Job& job) {
    const Stopwatch watch;
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<PaperStack> stack,
                          MakeStack(job));
    const double made = watch.Seconds();
    const Plan plan = WithMixers(job.plan, job.mixers);
    MeasureOptions options;
    options.whole = job.whole;
    if (wanted_.quick) {
      options.mixer_windows = options.step_windows = 1;
      options.mixer_samples = options.step_samples = 2;
    }
    ClassSeconds seconds = Measure(plan, *stack, options);
    const Sequence sequence(plan, {seconds}, 1, 1);
    if (job.runs.empty() && !job.whole && !wanted_.quick &&
        sequence.Total(seconds.mixers_alone) < wanted_.whole_run_seconds) {
      job.whole = options.whole = true;
      seconds = Measure(plan, *stack, options);
    }
    const double scale =
        static_cast<double>(wanted_.layers) / static_cast<double>(job.mixers);
    Say(fmt::format(
        "{} at {}: mixers {:.4g} s, blocks {:.3f} ms a step; made in {:.1f} s, "
        "measured in {:.1f} s",
        Label(job.options), plan.problem.length,
        scale * sequence.Total(seconds.mixers_alone),
        1e3 * BlockScale(job) * seconds.blocks, made, watch.Seconds() - made));
    job.runs.push_back(std::move(seconds));
    return OkStatus();
  }

  // Hyena's blocks come with their mixers, the synthetic ones are all there.
  double BlockScale(const Job& job) const {
    return wanted_.setting == PaperSetting::kHyena
               ? static_cast<double>(wanted_.layers) /
                     static_cast<double>(job.mixers)
               : 1.0;
  }

  void AddRows(size_t length, const std::vector<Job>& jobs) {
    const size_t first = result_.rows.size();
    for (const Job& job : jobs) {
      if (job.runs.empty()) continue;
      const double scale =
          static_cast<double>(wanted_.layers) / static_cast<double>(job.mixers);
      const Sequence sequence(job.plan, job.runs, scale, BlockScale(job));
      PaperRow row;
      row.method = job.options;
      row.length = length;
      row.threads = pool_.NumThreads();
      row.plan = job.plan.Print();
      row.sampled = !job.whole && SampledPositions(job.plan, 1, 1).size() > 1;
      row.mixers_measured = job.mixers;
      std::vector<double> mixers, steps;
      for (const ClassSeconds& run : job.runs) {
        mixers.push_back(scale * sequence.Total(run.mixers_alone));
        steps.push_back(scale * sequence.Total(run.mixers_in_a_step) +
                        static_cast<double>(length) *
                            (BlockScale(job) * run.blocks + run.head));
      }
      row.mixer_seconds = Summarize(mixers);
      row.end_to_end_seconds = Summarize(steps);
      row.block_seconds = static_cast<double>(length) * sequence.rest();
      row.ns_per_token_channel =
          1e9 * row.mixer_seconds.median /
          (static_cast<double>(length) * static_cast<double>(wanted_.layers) *
           static_cast<double>(wanted_.batch * wanted_.width));
      row.max_relative_error = job.check.max_relative_error;
      row.checked_length = job.check.length;
      row.stack_error = job.stack_error;
      row.bytes = job.plan.Memory(pool_.NumThreads()).Total();
      row.curve = sequence.Curve();
      row.latency = sequence.Latency();
      row.step_p50_ms = sequence.StepMs(0.5);
      row.step_p99_ms = sequence.StepMs(0.99);
      row.step_worst_ms = sequence.StepMs(1);
      result_.rows.push_back(std::move(row));
    }
    const auto compare = [&](Method method, double PaperRow::*mixers,
                             double PaperRow::*steps) {
      double best_mixers = HUGE_VAL, best_steps = HUGE_VAL;
      for (size_t i = first; i < result_.rows.size(); ++i) {
        const PaperRow& row = result_.rows[i];
        if (row.method.method != method) continue;
        best_mixers = std::min(best_mixers, row.mixer_seconds.median);
        best_steps = std::min(best_steps, row.end_to_end_seconds.median);
      }
      if (best_mixers == HUGE_VAL) return;
      for (size_t i = first; i < result_.rows.size(); ++i) {
        PaperRow& row = result_.rows[i];
        row.*mixers = best_mixers / row.mixer_seconds.median;
        row.*steps = best_steps / row.end_to_end_seconds.median;
      }
    };
    compare(Method::kLazy, &PaperRow::mixers_vs_lazy, &PaperRow::vs_lazy);
    compare(Method::kEager, &PaperRow::mixers_vs_eager, &PaperRow::vs_eager);
  }

  const PaperCase wanted_;
  const PaperProgress say_;
  ThreadPool pool_;
  size_t budget_ = 0;
  std::shared_ptr<const SyntheticWeights> synthetic_;
  std::map<size_t, std::shared_ptr<const HyenaWeights>> hyena_;  // By layers.
  std::map<size_t, std::shared_ptr<const conv::FilterBank>>
      banks_;  // By mixers.
  PaperResult result_;
};

}  // namespace

bool IsBaseline(Method method) {
  return method == Method::kLazy || method == Method::kEager;
}

std::string Label(const PlanOptions& method) {
  std::string label = method.method == Method::kPaper
                          ? conv::Name(method.tau)
                          : conv::Name(method.method);
  if (method.schedule == conv::Schedule::kPerLayer) label += ", per layer";
  return label;
}

StatusOr<PaperResult> RunPaper(const PaperCase& wanted,
                               const PaperProgress& say) {
  return Runner(wanted, say).Run();
}

}  // namespace lcsm::bench
