#include "base/thread_pool.h"

#include <algorithm>
#include <exception>

#include "base/cpu_info.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace lcsm {
namespace {

constexpr uint64_t kChunkBits = 12;
constexpr uint64_t kChunkMask = (uint64_t{1} << kChunkBits) - 1;

// Chunks per thread: enough that a thread which lost its processor for a while
// costs a quarter of its share and not all of it, few enough that claiming
// stays in the noise.
constexpr size_t kChunksPerThread = 4;

// Pauses before an idle worker sleeps. A pause is 40 to 140 cycles, so this is
// some 100 microseconds: longer than any gap between the parallel parts of a
// decode step, short against a human.
constexpr int kSpins = 4000;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint64_t Job(uint64_t state) { return state >> (2 * kChunkBits); }
uint64_t Chunks(uint64_t state) { return (state >> kChunkBits) & kChunkMask; }
uint64_t NextChunk(uint64_t state) { return state & kChunkMask; }

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  const size_t cpus = GetCpuInfo().cpus;
  if (threads == 0) threads = cpus;
  // More threads than processors: a spinning worker would steal the time of a
  // working one.
  spins_ = threads <= cpus ? kSpins : 0;
  threads = std::min(threads, kMaxThreads);
  try {
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
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(size_t n, size_t grain, Call call,
                     void* context) noexcept {
  // Here n > grain: at least one chunk, and none shorter than the grain.
  const size_t chunks = std::min(
      {n / grain, NumThreads() * kChunksPerThread, size_t{kChunkMask}});
  call_.store(call, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  n_.store(n, std::memory_order_relaxed);
  chunks_done_.store(0, std::memory_order_relaxed);
  const uint64_t job = Job(state_.load(std::memory_order_relaxed)) + 1;
  state_.store((job << (2 * kChunkBits)) |
               (chunks << kChunkBits));  // Publishes the job.
  // A worker counts itself as a sleeper before its last look at state_, and we
  // look at the count after publishing (both sequentially consistent): one of
  // us sees the other.
  if (sleepers_.load() != 0) {
    wake_.fetch_add(1);
    wake_.notify_all();
  }
  Work(0);
  for (int spin = 0; chunks_done_.load(std::memory_order_acquire) != chunks;
       ++spin) {
    if (spin < spins_) {
      Pause();
    } else {
      std::this_thread::yield();  // The machine is shared: let whoever holds
                                  // our chunk run.
    }
  }
}

void ThreadPool::Work(size_t worker) noexcept {
  uint64_t state = state_.load(std::memory_order_acquire);
  while (NextChunk(state) < Chunks(state)) {
    const Call call = call_.load(std::memory_order_relaxed);
    void* const context = context_.load(std::memory_order_relaxed);
    const size_t n = n_.load(std::memory_order_relaxed);
    if (!state_.compare_exchange_weak(state, state + 1,
                                      std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      continue;
    }
    const size_t chunk = NextChunk(state);
    const size_t chunks = Chunks(state);
    call(context, n * chunk / chunks, n * (chunk + 1) / chunks, worker);
    chunks_done_.fetch_add(1, std::memory_order_release);
    state = state_.load(std::memory_order_acquire);
  }
}

void ThreadPool::WorkerLoop(size_t worker) noexcept {
  int idle = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t state = state_.load(std::memory_order_acquire);
    if (NextChunk(state) < Chunks(state)) {
      Work(worker);
      idle = 0;
      continue;
    }
    if (++idle < spins_) {
      Pause();
      continue;
    }
    const uint32_t wake = wake_.load();
    sleepers_.fetch_add(1);
    const uint64_t last_look = state_.load();
    if (NextChunk(last_look) >= Chunks(last_look) && !stop_.load())
      wake_.wait(wake);
    sleepers_.fetch_sub(1);
    idle = 0;
  }
}

}  // namespace lcsm
