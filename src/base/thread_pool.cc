#include "base/thread_pool.h"

#include <algorithm>
#include <exception>

#include "base/cpu_info.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace lcsm {
namespace {

// Chunks of a share: enough that a thread which lost its processor for a while
// costs a quarter of its share and not all of it, few enough that claiming
// stays in the noise.
constexpr size_t kChunksPerShare = 4;

// Job::word: number (52 bits) | shares - 1 (10) | chunks of a share - 1 (2).
// Share::next: number (52) | next chunk (12).
// At a million jobs a second the number lasts 142 years.
constexpr int kNumberShift = 12;
constexpr uint64_t kNextMask = (uint64_t{1} << kNumberShift) - 1;
static_assert(kChunksPerShare == 4 && ThreadPool::kMaxThreads == 1024);

uint64_t Number(uint64_t word) { return word >> kNumberShift; }
size_t Shares(uint64_t word) { return (word >> 2 & 1023) + 1; }
size_t Chunks(uint64_t word) { return (word & 3) + 1; }
uint64_t MakeJob(uint64_t number, size_t shares, size_t chunks) {
  return number << kNumberShift | (shares - 1) << 2 | (chunks - 1);
}

// Pauses before an idle worker sleeps. A pause is 40 to 140 cycles, so this is
// some 100 microseconds: longer than any gap between the parallel parts of a
// decode step, short against a human.
constexpr int kSpins = 4000;

// Whoever spins long gives way to others now and then: on a machine that is
// shared, the thread we wait for may be among them. Not sooner, since giving
// way to a busy process costs its whole time slice, and gaps of 10 to 20
// microseconds come several times a step.
constexpr int kSpinsPerYield = 2000;

// Pauses between the end of a thread's own share and its look at those of
// others: mostly all are done a moment later, and looking takes a cache line
// away from its owner, who must fetch it back on the way into the next job.
constexpr int kPausesBeforeHelp = 8;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void PauseOrYield(int spin) {
  if (spin % kSpinsPerYield == kSpinsPerYield - 1) {
    std::this_thread::yield();
  } else {
    Pause();
  }
}

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  const size_t cpus = GetCpuInfo().cpus;
  if (threads == 0) threads = cpus;
  // More threads than processors: a spinning worker would steal the time of a
  // working one.
  spins_ = threads <= cpus ? kSpins : 0;
  threads = std::min(threads, kMaxThreads);
  try {
    if (threads > 1) shares_ = std::make_unique<Share[]>(threads);
    for (size_t worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { WorkerLoop(worker); });
    }
  } catch (const std::exception&) {
    // The system gives no more threads (or no memory for their handles). Those
    // we have do all the work; results do not depend on their number.
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  for (size_t worker = 1; worker < NumThreads(); ++worker) {
    shares_[worker].wake.fetch_add(1);
    shares_[worker].wake.notify_one();
  }
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(size_t n, size_t grain, Call call,
                     void* context) noexcept {
  // n >= 2 * grain: at least two shares, and no chunk shorter than the grain.
  const size_t shares = std::min(n / grain, NumThreads());
  const size_t chunks = std::min(n / grain / shares, kChunksPerShare);
  job_.call.store(call, std::memory_order_relaxed);
  job_.context.store(context, std::memory_order_relaxed);
  job_.n.store(n, std::memory_order_relaxed);
  const uint64_t word = MakeJob(
      Number(job_.word.load(std::memory_order_relaxed)) + 1, shares, chunks);
  due_ += shares * chunks;
  job_.word.store(word);  // Publishes the job.
  WakeWorkers(shares);
  // What the caller does itself is not worth a trip of the counter's line.
  due_ -= WorkShare(word, 0, 0);
  for (int i = 0;
       i < kPausesBeforeHelp && done_.load(std::memory_order_acquire) != due_;
       ++i) {
    Pause();
  }
  for (size_t share = 1;
       share < shares && done_.load(std::memory_order_acquire) != due_;
       ++share) {
    due_ -= WorkShare(word, share, 0);
  }
  for (int spin = 0; done_.load(std::memory_order_acquire) != due_; ++spin) {
    if (spin < spins_) {
      PauseOrYield(spin);
    } else {
      std::this_thread::yield();  // Whoever holds our chunk should run.
    }
  }
}

// A worker says that it will sleep before its last look at the job, and we look
// who sleeps after publishing (all sequentially consistent): one of us sees the
// other.
void ThreadPool::WakeWorkers(size_t shares) noexcept {
  for (size_t first = 0; first < shares; first += 64) {
    std::atomic<uint64_t>& bits = asleep_[first / 64];
    uint64_t sleeping = bits.load();
    if (shares - first < 64) sleeping &= (uint64_t{1} << (shares - first)) - 1;
    if (sleeping == 0) continue;
    bits.fetch_and(~sleeping);  // Woken once.
    for (size_t i = 0; i < 64; ++i) {
      if ((sleeping >> i & 1) == 0) continue;
      shares_[first + i].wake.fetch_add(1);
      shares_[first + i].wake.notify_one();
    }
  }
}

void ThreadPool::Work(uint64_t word, size_t worker) noexcept {
  const size_t shares = Shares(word);
  for (size_t i = 0; i < shares; ++i) {
    const size_t share = worker + i < shares ? worker + i : worker + i - shares;
    const uint64_t done = WorkShare(word, share, worker);
    // Counted once a share; the caller sees the work of all who counted.
    if (done != 0) done_.fetch_add(done, std::memory_order_release);
    for (int pause = 0; i == 0 && pause < kPausesBeforeHelp; ++pause) {
      if (job_.word.load(std::memory_order_relaxed) != word) return;  // Over.
      Pause();
    }
  }
}

// A claim is one compare-and-swap of the share's word, which at the same time
// proves that the job is still running, however long ago `word` was read: a job
// is over only when every chunk of every share of it is claimed (and done). The
// word of a share only ever grows, so if the job is over,
//   - a word that was read with an older number, or with this number and a
//     chunk to claim, has changed since and the exchange fails;
//   - a word that is read now has this number and no chunk left, or a newer
//     number: nothing is tried.
// How many shares there are comes with the job's number in one word, hence a
// late thread cannot mistake a share of the next job for one of this. And once
// a claim has succeeded the job cannot end before we count the chunk, so that
// what was read of job_ before the claim is this job's: the caller's next
// writes come after our count. Nothing is published before a share is worked
// on; the first claim is what takes its word over from an older job.
uint64_t ThreadPool::WorkShare(uint64_t word, size_t share,
                               size_t worker) noexcept {
  const uint64_t number = Number(word);
  const size_t shares = Shares(word), chunks = Chunks(word);
  std::atomic<uint64_t>& next = shares_[share].next;
  uint64_t seen = next.load(std::memory_order_relaxed);
  uint64_t done = 0;
  while (Number(seen) <= number) {
    const size_t chunk = Number(seen) < number ? 0 : seen & kNextMask;
    if (chunk >= chunks) break;
    const Call call = job_.call.load(std::memory_order_relaxed);
    void* const context = job_.context.load(std::memory_order_relaxed);
    const size_t n = job_.n.load(std::memory_order_relaxed);
    const uint64_t claimed = number << kNumberShift | (chunk + 1);
    if (!next.compare_exchange_weak(seen, claimed, std::memory_order_acq_rel,
                                    std::memory_order_relaxed)) {
      continue;
    }
    const size_t i = share * chunks + chunk, of = shares * chunks;
    call(context, n * i / of, n * (i + 1) / of, worker);
    ++done;
    seen = claimed;  // Most likely nobody came in between.
  }
  return done;
}

void ThreadPool::WorkerLoop(size_t worker) noexcept {
  uint64_t seen = 0;
  int idle = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t word = job_.word.load(std::memory_order_acquire);
    if (word != seen) {
      seen = word;
      // Threads without a share leave a small job alone: the indices are to
      // stay where they were.
      if (worker < Shares(word)) {
        Work(word, worker);
        idle = 0;
        continue;
      }
    }
    if (++idle < spins_) {
      PauseOrYield(idle);
    } else {
      Sleep(seen, worker);
      idle = 0;
    }
  }
}

void ThreadPool::Sleep(uint64_t seen, size_t worker) noexcept {
  const uint64_t bit = uint64_t{1} << worker % 64;
  std::atomic<uint64_t>& bits = asleep_[worker / 64];
  std::atomic<uint32_t>& wake = shares_[worker].wake;
  const uint32_t before = wake.load();
  bits.fetch_or(bit);
  if (job_.word.load() == seen && !stop_.load()) wake.wait(before);
  bits.fetch_and(~bit);
}

}  // namespace lcsm
