// A pool for work that comes fifty times a millisecond: handing over must cost
// well under a microsecond when the workers are awake, and nothing when nobody
// asks.
//
// A job is a range cut into chunks that are claimed one at a time, by the
// caller as well. One 64-bit word holds the job's number, its chunk count and
// the next free chunk, so that claiming is one compare-and-swap which also
// proves that the job just read is still the running one. The caller returns
// when all chunks are done; it never waits for a worker that took none, so a
// worker whose processor was taken away delays nobody. Idle workers spin for a
// while, then sleep in the kernel.
//
// Rejected: waiting for every worker at a barrier (simple, but on a shared
// machine one descheduled thread stops all), queues of std::function
// (allocates), OpenMP (no control over spinning).
//
// Thread safety: one thread at a time may call ParallelFor. Chunks must be
// independent; results must not depend on how the range is cut, which is what
// makes our answers independent of the thread count in every bit.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace lcsm {

class ThreadPool {
 public:
  // More than this makes no sense on machines of our time; asking for more
  // gives this many.
  static constexpr size_t kMaxThreads = 1024;

  // `threads` counts the caller; 0 means one a processor. One thread means no
  // worker at all. Where the system refuses to start as many, there are fewer:
  // NumThreads() tells.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t NumThreads() const { return workers_.size() + 1; }

  // Calls body(begin, end, worker) over disjoint ranges that cover [0, n), each
  // at least `grain` long (but the last). `worker` < NumThreads() is held by
  // one thread at a time: an index for scratch. With n <= grain everything runs
  // on the caller at no cost. `body` must not throw, allocate is up to it, and
  // must not call ParallelFor of the same pool.
  template <typename Body>
  void ParallelFor(size_t n, size_t grain, Body&& body) noexcept {
    if (n == 0) return;
    if (grain == 0) grain = 1;
    if (workers_.empty() || n <= grain) {
      body(size_t{0}, n, size_t{0});
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    Run(
        n, grain,
        [](void* context, size_t begin, size_t end, size_t worker) {
          (*static_cast<Plain*>(context))(begin, end, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* context, size_t begin, size_t end, size_t worker);

  void Run(size_t n, size_t grain, Call call, void* context) noexcept;
  // Claims and runs chunks of the job numbered in `state` until none is left.
  void Work(size_t worker) noexcept;
  void WorkerLoop(size_t worker) noexcept;

  // Job number (40 bits) | chunks (12) | next chunk (12).
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<uint32_t> chunks_done_{0};
  // Written by the caller between jobs, read by workers only after seeing the
  // job in state_; a read that is stale fails the compare-and-swap that
  // follows. Atomic because that stale read may race.
  alignas(64) std::atomic<Call> call_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<size_t> n_{0};
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> wake_{0};
  std::atomic<bool> stop_{false};
  int spins_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace lcsm
