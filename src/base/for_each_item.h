// Long loops that somebody watches: items of 50 microseconds and more, taken by
// whichever thread is free, until all are done or the caller has had enough.
//
// ThreadPool::ParallelFor gives each thread its own part of a range, in at most
// four chunks, so that caches stay warm; between jobs of a loop that is cut
// into many of them for the sake of a progress bar, threads wait for the
// slowest: 3 to 5 % of a prefill on a machine whose cores are disturbed.
// Here nobody waits before the end, and the caller asks between its own items.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

#include "base/thread_pool.h"

namespace lcsm {

// body(item, worker) for all items < `items`, of which several run at a time,
// each on one thread. go_on(started) is asked on the caller's thread, every 20
// milliseconds or so and once when all is done, with the number of items that
// have been started; neither it nor the body may use the pool. Once it answers
// false no item is started any more. Returns whether all items were done.
template <typename Body, typename GoOn>
bool ForEachItem(ThreadPool& pool, size_t items, Body&& body, GoOn&& go_on) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kBetween = std::chrono::milliseconds(20);
  std::atomic<size_t> next{0};
  std::atomic<bool> stopped{false};
  pool.ParallelFor(pool.NumThreads(), 1, [&](size_t, size_t, size_t worker) {
    Clock::time_point asked = Clock::now();
    while (!stopped.load(std::memory_order_relaxed)) {
      const size_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= items) break;
      body(item, worker);
      // Worker 0 is the caller.
      if (worker != 0 || Clock::now() - asked < kBetween) continue;
      asked = Clock::now();
      const size_t started = next.load(std::memory_order_relaxed);
      if (!go_on(started < items ? started : items)) stopped = true;
    }
  });
  return !stopped && go_on(items);
}

}  // namespace lcsm
