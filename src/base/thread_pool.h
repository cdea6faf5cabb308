// A pool for work that comes fifty times a millisecond: handing over must cost
// well under a microsecond when the workers are awake, and nothing when nobody
// asks.
//
// A job is a range cut into one share for each thread, and each share into up
// to four chunks. A thread works its own share off first, so that call after
// call the same indices go to the same thread and what they touch stays in its
// core's caches; only then does it help with the shares of others. The caller
// takes part, and returns when all chunks are done: it never waits for a worker
// that took none, so a worker whose processor was taken away delays nobody but
// by the one chunk it may hold. Idle workers spin for a while, then sleep in
// the kernel.
//
// A hand-over is one cache line from the caller to the workers, a worker's
// claim of its own chunks touches a line that is its own, and what it has done
// is counted once.
//
// Rejected: one counter of chunks for all (each claim moves its line, and
// indices wander between cores: see docs/runtime.md for what that cost),
// waiting for every worker at a barrier (simple, but on a shared machine one
// descheduled thread stops all), queues of std::function (allocates), OpenMP
// (no control over spinning).
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
  // one thread at a time: an index for scratch, not a part of the range. With
  // n < 2 * grain everything runs on the caller at no cost. `body` must not
  // throw, allocate is up to it, and must not call ParallelFor of the same
  // pool.
  template <typename Body>
  void ParallelFor(size_t n, size_t grain, Body&& body) noexcept {
    if (n == 0) return;
    if (grain == 0) grain = 1;
    if (workers_.empty() || n / 2 < grain) {
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

  // What the caller writes and workers poll: one cache line.
  struct alignas(64) Job {
    // Number of the job, its shares and the chunks of each, see thread_pool.cc.
    // Written last.
    std::atomic<uint64_t> word{0};
    // Atomic because a worker that is late may read them while the next job
    // is being written; then it claims nothing.
    std::atomic<Call> call{nullptr};
    std::atomic<void*> context{nullptr};
    std::atomic<size_t> n{0};
  };

  // One thread's share of the running job, in a cache line of its own.
  struct alignas(64) Share {
    // Number of a job, and the next chunk of the share that nobody has claimed.
    // While it names an older job, none is claimed yet.
    std::atomic<uint64_t> next{0};
    // Sleeping workers wait for a change.
    std::atomic<uint32_t> wake{0};
  };

  void Run(size_t n, size_t grain, Call call, void* context) noexcept;
  // Claims and runs chunks of the job that `word` tells of until none is left;
  // first those of the thread's own share.
  void Work(uint64_t word, size_t worker) noexcept;
  uint64_t WorkShare(uint64_t word, size_t share, size_t worker) noexcept;
  void WakeWorkers(size_t shares) noexcept;
  void WorkerLoop(size_t worker) noexcept;
  void Sleep(uint64_t seen, size_t worker) noexcept;

  Job job_;
  // Chunks done, of all jobs ever: nobody needs to set it back.
  alignas(64) std::atomic<uint64_t> done_{0};
  // A bit for each worker that sleeps or is about to. Rarely written.
  alignas(64) std::atomic<uint64_t> asleep_[kMaxThreads / 64] = {};
  std::atomic<bool> stop_{false};
  alignas(64) uint64_t due_ = 0;  // What done_ will be: the caller's.
  int spins_ = 0;
  std::unique_ptr<Share[]> shares_;
  std::vector<std::thread> workers_;
};

}  // namespace lcsm
