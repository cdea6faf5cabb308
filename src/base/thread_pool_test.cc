#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace lcsm {
namespace {

TEST(ThreadPoolTest, EveryIndexIsVisitedOnce) {
  for (size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.NumThreads(), threads);
    for (size_t n : {0, 1, 2, 7, 64, 1000, 70000}) {
      for (size_t grain : {0, 1, 3, 64}) {
        std::vector<int> visits(n, 0);
        pool.ParallelFor(n, grain,
                         [&](size_t begin, size_t end, size_t worker) {
                           ASSERT_LE(begin, end);
                           ASSERT_LT(worker, threads);
                           ASSERT_GE(end - begin, std::min(n, grain));
                           for (size_t i = begin; i < end; ++i) ++visits[i];
                         });
        EXPECT_EQ(std::accumulate(visits.begin(), visits.end(), size_t{0}), n);
        for (int v : visits) ASSERT_EQ(v, 1);
      }
    }
  }
}

TEST(ThreadPoolTest, WorkOfOneJobIsSeenByTheNext) {
  ThreadPool pool(3);
  std::vector<long> values(96, 0);
  for (int round = 0; round < 20000; ++round) {
    pool.ParallelFor(values.size(), 1, [&](size_t begin, size_t end, size_t) {
      for (size_t i = begin; i < end; ++i) {
        values[i] += 1;
      }
    });
    ASSERT_EQ(values[round % 96], round + 1);
  }
}

TEST(ThreadPoolTest, WorkerIndexIsExclusive) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  for (int round = 0; round < 200; ++round) {
    pool.ParallelFor(64, 1, [&](size_t, size_t, size_t worker) {
      EXPECT_EQ(inside[worker].fetch_add(1), 0);
      EXPECT_EQ(inside[worker].fetch_sub(1), 1);
    });
  }
}

TEST(ThreadPoolTest, WakesWorkersThatSleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    std::atomic<int> sum{0};
    pool.ParallelFor(10, 1, [&](size_t begin, size_t end, size_t) {
      sum += static_cast<int>(end - begin);
    });
    EXPECT_EQ(sum, 10);
  }
}

}  // namespace
}  // namespace lcsm
