#include "api/execution.h"

#include <string>

#include "base/thread_pool.h"

namespace lcsm::api {

StatusOr<conv::PlanOptions> ToPlanOptions(const ExecutionOptions& options) {
  conv::PlanOptions plan;
  switch (options.method) {
    case Method::kPlanned:
      // A forced tau is one of the paper's tiling; the planner would choose its
      // own.
      plan.method = options.tau == Tau::kHybrid ? conv::Method::kPlanned
                                                : conv::Method::kPaper;
      break;
    case Method::kPaper:
      plan.method = conv::Method::kPaper;
      break;
    case Method::kLazy:
      plan.method = conv::Method::kLazy;
      break;
    case Method::kEager:
      plan.method = conv::Method::kEager;
      break;
    default:
      return InvalidInput("ExecutionOptions::method is no known method");
  }
  switch (options.tau) {
    case Tau::kHybrid:
      plan.tau = conv::Tau::kHybrid;
      break;
    case Tau::kDirect:
      plan.tau = conv::Tau::kDirect;
      break;
    case Tau::kDirectBlocked:
      plan.tau = conv::Tau::kDirectBlocked;
      break;
    case Tau::kFftLibrary:
      plan.tau = conv::Tau::kFftLibrary;
      break;
    case Tau::kFftFused:
      plan.tau = conv::Tau::kFftFused;
      break;
    default:
      return InvalidInput("ExecutionOptions::tau is no known tau");
  }
  plan.schedule = options.schedule == Schedule::kPerLayer
                      ? conv::Schedule::kPerLayer
                      : conv::Schedule::kAcrossLayers;
  if (options.threads > ThreadPool::kMaxThreads) {
    return InvalidInput(
        "ExecutionOptions::threads is " + std::to_string(options.threads) +
        ", expected at most " + std::to_string(ThreadPool::kMaxThreads) +
        ", or 0 for one each processor");
  }
  if (options.method != Method::kPlanned && options.method != Method::kPaper &&
      options.tau != Tau::kHybrid) {
    return InvalidInput(
        "ExecutionOptions::tau says how tiles are computed, and this method "
        "has none");
  }
  return plan;
}

}  // namespace lcsm::api
