#include "bench/bytes_bench.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/thread_pool.h"
#include "bench/mixer_bench.h"
#include "bench/mixer_run.h"
#include "bench/read_speed.h"

namespace lcsm::bench {
namespace {

// A larger one comes from memory just as well.
constexpr size_t kLargestRead = size_t{1} << 30;

Status Walk(const conv::Plan& plan, size_t passes, ThreadPool& pool) {
  if (passes == 0) return OkStatus();
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<MixerRun> run,
                        MixerRun::Create(plan, pool));
  for (size_t pass = 0; pass < passes; ++pass) {
    run->session().Reset();
    for (size_t t = 0; t < plan.problem.length; ++t) run->OnePosition();
  }
  return OkStatus();
}

StatusOr<BytesRow> RunOne(const BytesCase& wanted, conv::Method method,
                          size_t batch, size_t length, ThreadPool& pool) {
  BytesRow row;
  row.method = method;
  row.batch = batch;
  row.length = length;
  MixerCase timed;
  timed.problem = {wanted.mixers, wanted.channels, batch, length, length};
  timed.options = wanted.plan;
  timed.options.method = method;
  timed.threads = wanted.threads;
  timed.repeats = wanted.repeats;
  timed.whole_run_seconds = wanted.whole_run_seconds;
  LCSM_ASSIGN_OR_RETURN(const conv::Plan plan,
                        conv::MakePlan(timed.problem, timed.options));
  row.plan = plan.Print();
  row.working_set = plan.Memory(pool.NumThreads()).Total();
  const double scale =
      1 / static_cast<double>(length * batch * wanted.channels * wanted.mixers);
  LCSM_ASSIGN_OR_RETURN(const BytesMoved together, CountBytes(plan, true));
  LCSM_ASSIGN_OR_RETURN(const BytesMoved apart, CountBytes(plan, false));
  row.moved = {together.inputs * scale, together.blocks * scale,
               together.filters * scale, together.outputs * scale};
  row.apart = apart.Total() * scale;
  // Projections of 3 and 1, and an MLP of 4 there and back, read once a step.
  const double width = static_cast<double>(wanted.channels);
  row.weights = 12 * width * sizeof(float) / static_cast<double>(batch);
  LCSM_RETURN_IF_ERROR(Walk(plan, wanted.passes, pool));
  if (!wanted.timed) return row;
  LCSM_ASSIGN_OR_RETURN(const MixerResult result, RunMixer(timed));
  row.ns = result.ns_per_token_channel;
  row.error = result.max_relative_error;
  row.sampled = result.sampled;
  const size_t read = std::min(row.working_set, kLargestRead);
  LCSM_ASSIGN_OR_RETURN(const double ms, ReadMs(read, pool));
  row.read_speed = static_cast<double>(read) / (1e6 * ms);
  row.least_ns = row.moved.Total() / row.read_speed;
  return row;
}

}  // namespace

StatusOr<std::vector<BytesRow>> RunBytes(const BytesCase& wanted,
                                         const Proceed& proceed) {
  ThreadPool pool(wanted.threads);
  std::vector<BytesRow> rows;
  const double all = static_cast<double>(
      wanted.methods.size() * wanted.batches.size() * wanted.lengths.size());
  for (const conv::Method method : wanted.methods) {
    for (const size_t batch : wanted.batches) {
      for (const size_t length : wanted.lengths) {
        if (proceed != nullptr &&
            !proceed(static_cast<double>(rows.size()) / all)) {
          return Cancelled("the measurement was ended before it was complete");
        }
        LCSM_ASSIGN_OR_RETURN(BytesRow row,
                              RunOne(wanted, method, batch, length, pool));
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

}  // namespace lcsm::bench
