#include "bench/pool_bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/thread_pool.h"

namespace lcsm::bench {
namespace {

// One call whose chunks wait for each other.
void Together(ThreadPool& pool) {
  const size_t threads = pool.NumThreads();
  std::atomic<size_t> entered{0};
  pool.ParallelFor(threads, 1, [&](size_t, size_t, size_t) {
    entered.fetch_add(1, std::memory_order_relaxed);
    // A machine with fewer processors than threads gets there in the end.
    for (size_t spin = 0; entered.load(std::memory_order_relaxed) != threads;
         ++spin) {
      if (spin > 10000) std::this_thread::yield();
    }
  });
}

template <typename Call>
std::vector<double> Times(size_t calls, const Call& call) {
  std::vector<double> ns(calls);
  for (double& value : ns) {
    const Stopwatch watch;
    call();
    value = 1e9 * watch.Seconds();
  }
  return ns;
}

}  // namespace

PoolResult RunPool(size_t threads, size_t calls) {
  PoolResult result;
  ThreadPool pool(threads);
  result.threads = pool.NumThreads();
  if (result.threads < 2) return result;
  // Wakes them; and at first the system may have put threads on one processor
  // that will get one each.
  const Stopwatch warm;
  while (warm.Seconds() < 0.05) Together(pool);
  const std::vector<double> together = Times(calls, [&] { Together(pool); });
  const std::vector<double> empty = Times(calls, [&] {
    pool.ParallelFor(result.threads, 1, [](size_t, size_t, size_t) {});
  });
  std::vector<double> asleep;
  for (size_t i = 0; i < std::max<size_t>(1, calls / 100); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    asleep.push_back(Times(1, [&] { Together(pool); })[0]);
  }
  result.empty_p50 = Quantile(empty, 0.5);
  result.empty_p99 = Quantile(empty, 0.99);
  result.together_p50 = Quantile(together, 0.5);
  result.together_p99 = Quantile(together, 0.99);
  result.asleep_p50 = Quantile(asleep, 0.5);
  result.asleep_p99 = Quantile(asleep, 0.99);
  return result;
}

}  // namespace lcsm::bench
