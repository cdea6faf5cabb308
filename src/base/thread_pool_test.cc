#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "base/for_each_item.h"

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

TEST(ForEachItemTest, EveryItemIsTakenOnce) {
  for (size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (size_t items : {0, 1, 2, 3, 100}) {
      std::vector<std::atomic<int>> visits(items), inside(threads);
      size_t last = 0, asked = 0;
      EXPECT_TRUE(ForEachItem(
          pool, items,
          [&](size_t item, size_t worker) {
            EXPECT_EQ(inside[worker].fetch_add(1), 0);
            ++visits[item];
            EXPECT_EQ(inside[worker].fetch_sub(1), 1);
          },
          [&](size_t started) {
            EXPECT_LE(last, started);
            last = started;
            ++asked;
            return true;
          }));
      for (const auto& v : visits) EXPECT_EQ(v, 1);
      EXPECT_EQ(last, items);
      EXPECT_GE(asked, 1u);
    }
  }
}

TEST(ForEachItemTest, StopsWhenToldOnTheCallersThread) {
  for (size_t threads : {1, 3}) {
    ThreadPool pool(threads);
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<size_t> done{0};
    constexpr size_t kItems = 100000;
    size_t asked = 0;
    EXPECT_FALSE(ForEachItem(
        pool, kItems,
        [&](size_t, size_t) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          ++done;
        },
        [&](size_t started) {
          EXPECT_EQ(std::this_thread::get_id(), caller);
          EXPECT_GE(started, done);
          return ++asked < 3;
        }));
    EXPECT_EQ(asked, 3u);
    EXPECT_GT(done, 2u);
    EXPECT_LT(done, kItems);
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

// Waits in the first chunk of each thread until all threads have one: then
// nobody had time to help, and everybody holds the head of its own share.
TEST(ThreadPoolTest, EachThreadStartsWithItsOwnShareCallAfterCall) {
  for (size_t threads : {2, 3, 7}) {
    ThreadPool pool(threads);
    for (const size_t n : {threads * 4, threads * 16 + 5}) {
      for (int round = 0; round < 50; ++round) {
        std::atomic<size_t> entered{0};
        std::vector<std::atomic<size_t>> first(threads);
        for (auto& f : first) f = n;
        pool.ParallelFor(n, 1, [&](size_t begin, size_t, size_t worker) {
          if (first[worker] != n) return;
          first[worker] = begin;
          ++entered;
          while (entered != threads) std::this_thread::yield();
        });
        for (size_t w = 0; w < threads; ++w) {
          ASSERT_EQ(first[w], n * (w * 4) / (threads * 4));
        }
      }
    }
  }
}

// A caller that finds the workers busy elsewhere (here: holding one chunk each
// until the rest is done) must do what is left itself.
TEST(ThreadPoolTest, NobodyWaitsForAShareWhoseThreadIsAway) {
  ThreadPool pool(2);
  for (int round = 0; round < 50; ++round) {
    std::atomic<size_t> left{8};
    pool.ParallelFor(8, 1, [&](size_t, size_t, size_t worker) {
      if (worker == 1) {
        while (left > 1) std::this_thread::yield();
      }
      --left;
    });
    ASSERT_EQ(left, 0u);
  }
}

// Jobs of changing size and body, so short that workers are often late: a
// claim for a job that is over would run a chunk twice or run it with another
// job's context.
TEST(ThreadPoolTest, LateWorkersClaimNothingOfLaterJobs) {
  for (size_t threads : {2, 3, 6}) {
    ThreadPool pool(threads);
    std::vector<std::atomic<uint32_t>> visits(64);
    for (uint32_t round = 0; round < 20000; ++round) {
      const size_t n = 1 + round * 7 % 61, grain = 1 + round % 5;
      const uint32_t stamp = round;
      if (round % 3 == 0) {
        pool.ParallelFor(n, grain,
                         [&visits, stamp](size_t b, size_t e, size_t) {
                           for (size_t i = b; i < e; ++i)
                             visits[i] += stamp + 1;
                         });
      } else {
        pool.ParallelFor(n, grain,
                         [&visits, stamp](size_t b, size_t e, size_t) {
                           for (size_t i = b; i < e; ++i)
                             visits[i] += 2 * stamp + 1;
                         });
      }
      const uint32_t want = round % 3 == 0 ? stamp + 1 : 2 * stamp + 1;
      for (size_t i = 0; i < visits.size(); ++i) {
        ASSERT_EQ(visits[i].exchange(0), i < n ? want : 0u)
            << "round " << round << " index " << i;
      }
      if (round % 4096 == 0) {  // Now and then they sleep.
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }
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
