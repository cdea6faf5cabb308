#include "bench/prefill_bench.h"

#include <algorithm>
#include <memory>
#include <random>

#include "base/aligned_buffer.h"
#include "base/cpu_info.h"
#include "bench/timing.h"
#include "kernels/dense.h"

namespace lcsm::bench {

StatusOr<PrefillResult> RunPrefill(const Model& model,
                                   const PrefillCase& wanted,
                                   size_t memory_limit, ThreadPool& pool,
                                   const ModelState::Progress& progress) {
  const ModelInfo& info = model.info();
  PrefillResult result;
  result.length = wanted.length;
  PrepareOptions prepare;
  prepare.horizon = wanted.length + wanted.following;
  prepare.steps = wanted.following;
  prepare.memory_limit = memory_limit;
  prepare.plan.method = conv::Method::kPlanned;
  prepare.plan.threads = pool.NumThreads();
  const Stopwatch watch;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model.Prepare(prepare, pool, nullptr));
  result.prepare_seconds = watch.Seconds();
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  std::mt19937 rng(3);
  std::vector<int32_t> tokens(wanted.length);
  for (int32_t& id : tokens) id = static_cast<int32_t>(rng() % info.vocab);
  std::vector<double> seconds, mixers, heads;
  double sink = 0;
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    state->Reset();
    ModelState::PrefillRequest request;
    if (wanted.logits) {
      request.on_logits = [&sink](size_t, std::span<const float> logits) {
        sink += static_cast<double>(logits[0]);
        return OkStatus();
      };
    }
    request.progress = [&](double done) {
      return !progress || progress((static_cast<double>(repeat) + done) /
                                   static_cast<double>(wanted.repeats));
    };
    const Stopwatch call;
    LCSM_RETURN_IF_ERROR(state->Prefill(tokens, request));
    seconds.push_back(call.Seconds());
    mixers.push_back(state->times().mixers);
    heads.push_back(state->times().head);
  }
  result.seconds = Quantile(seconds, 0.5);
  result.mixer_seconds = Quantile(mixers, 0.5);
  result.head_seconds = Quantile(heads, 0.5);
  result.tokens_per_second =
      static_cast<double>(wanted.length) / result.seconds;
  result.mixer_share = result.mixer_seconds / result.seconds;
  // step_bytes: float32 matrices of blocks and head, each used once a token.
  result.matrix_gflops = 1e-9 * 2 * static_cast<double>(info.step_bytes) / 4 *
                         static_cast<double>(wanted.length) /
                         (result.seconds - result.mixer_seconds);
  result.peak_rss_bytes = PeakRssBytes();
  return result;
}

StatusOr<double> MatrixGflops(size_t in, size_t out, ThreadPool& pool) {
  constexpr size_t kTokens = 96;
  LCSM_ASSIGN_OR_RETURN(FloatBuffer w,
                        FloatBuffer::Allocate(in * out, "a matrix"));
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer x, FloatBuffer::Allocate(
                         pool.NumThreads() * kTokens * (in + out), "vectors"));
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < w.size(); ++i) w.data()[i] = normal(rng);
  for (size_t i = 0; i < x.size(); ++i) x.data()[i] = normal(rng);
  const DenseKernels& kernels = GetDenseKernels();
  LCSM_ASSIGN_OR_RETURN(const PanelMatrix panels,
                        PanelMatrix::Pack(w.data(), in, out));
  const double flops = 2.0 * static_cast<double>(in * out * kTokens);
  const size_t calls = std::max<size_t>(1, static_cast<size_t>(2e8 / flops));
  std::vector<double> gflops;
  for (size_t repeat = 0; repeat < 11; ++repeat) {
    const Stopwatch watch;
    pool.ParallelFor(
        pool.NumThreads(), 1, [&](size_t begin, size_t end, size_t) {
          for (size_t thread = begin; thread < end; ++thread) {
            float* const mine = x.data() + thread * kTokens * (in + out);
            for (size_t call = 0; call < calls; ++call) {
              kernels.dense_panels(panels, nullptr, mine, in, kTokens,
                                   mine + kTokens * in, out);
            }
          }
        });
    gflops.push_back(1e-9 * flops *
                     static_cast<double>(calls * pool.NumThreads()) /
                     watch.Seconds());
  }
  return Quantile(gflops, 0.5);
}

}  // namespace lcsm::bench
