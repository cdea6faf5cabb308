// What kernels are written in: functions compiled for host and device alike.
//
// A kernel is a struct, and a launch runs its phases:
//
//   struct K {
//     struct Args {..};    // Plain data, handed over by value.
//     struct Thread {..};  // What a thread keeps from phase to phase.
//     static constexpr int kThreads = 256;  // Of a block.
//     // May be absent: of a multiprocessor's registers, for so many blocks.
//     static constexpr int kBlocksAtLeast = 2;
//     // May be absent: the launch behind this one may begin while this one
//     // runs. Not of kernels that libraries' calls come behind: whether all of
//     // theirs wait is not written anywhere.
//     static constexpr bool kLetsNextIn = true;
//     static size_t SharedFloats(const Args&);
//     static uint64_t Blocks(const Args&);  // At most kMostBlocks.
//     // Phases of this block, the same for all its threads.
//     LCSM_HD static int Phases(const Args&, uint32_t block);
//     // Or, for all blocks alike, phases [FirstPhase, kPhases): unrolled, so
//     // that what a thread keeps is dropped when it is no longer needed.
//     static constexpr int kPhases = 6;
//     LCSM_HD static int FirstPhase(const Args&);
//     LCSM_HD static void Run(int phase, const Args&, uint32_t block,
//                             int thread, Thread&, float* shared);
//     // May be absent. Before all phases, and perhaps before the launch in
//     // front has ended: reads what no launch writes, weights for example.
//     LCSM_HD static void Fetch(const Args&, uint32_t block, int thread,
//                               Thread&);
//   };
//
// Most kernels are simpler than that: see Elementwise.
//
// Between two phases all threads of a block wait for each other, and nowhere
// else. So a block can be run by one CPU thread, phase after phase, thread
// after thread, and the tests run the very arithmetic of the device on machines
// that have none (emulated_device.h). No warp-wide instructions, for that
// reason: sums over a block's threads go through shared memory, which costs a
// few tens of nanoseconds more.
//
// Multiply-adds are written where they are meant, and device code is compiled
// without contraction: but for exp, tanh and the like the two sides then agree
// in every bit.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define LCSM_HD __host__ __device__ __forceinline__
#else
#define LCSM_HD inline
#endif
#if defined(__CUDA_ARCH__)
#define LCSM_UNROLL _Pragma("unroll")
#define LCSM_UNROLL_BY_4 _Pragma("unroll 4")
#define LCSM_NO_UNROLL _Pragma("unroll 1")
#else
#define LCSM_UNROLL
#define LCSM_UNROLL_BY_4
#define LCSM_NO_UNROLL
#endif

namespace lcsm::cuda {

// Of a launch. Grids have one dimension: the others end at 65 535, which
// histories and pieces of large transforms exceed.
inline constexpr uint64_t kMostBlocks = 0x7fffffff;

template <typename T>
LCSM_HD T Min(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
LCSM_HD T Max(T a, T b) {
  return a < b ? b : a;
}
LCSM_HD uint64_t CeilDiv(uint64_t n, uint64_t by) { return (n + by - 1) / by; }

// Kernels whose phases are [FirstPhase, kPhases).
template <typename Kernel>
concept HasFixedPhases = requires {
  Kernel::kPhases;
};

// Kernels that fetch ahead.
template <typename Kernel>
concept Fetches = requires(const typename Kernel::Args& args,
                           typename Kernel::Thread& state) {
  Kernel::Fetch(args, uint32_t{0}, 0, state);
};

// Kernels of one phase, in which a thread has an element and shares nothing:
//
//   struct K : Elementwise<K> {
//     struct Args {..};
//     LCSM_HD static uint64_t Elements(const Args&);
//     LCSM_HD static void Element(const Args&, uint64_t id);
//     // Where a launch may find that there is nothing to do.
//     LCSM_HD static bool IsDue(const Args&);
//   };
//
// K is incomplete where its base is made, so all that takes K::Args here is a
// template.
template <typename Kernel, int kBlockThreads = 256>
struct Elementwise {
  struct Thread {};
  static constexpr int kThreads = kBlockThreads;

  template <typename Args>
  static size_t SharedFloats(const Args&) {
    return 0;
  }
  template <typename Args>
  static uint64_t Blocks(const Args& args) {
    return CeilDiv(Kernel::Elements(args), kThreads);
  }
  template <typename Args>
  LCSM_HD static bool IsDue(const Args&) {
    return true;
  }
  template <typename Args>
  LCSM_HD static int Phases(const Args& args, uint32_t) {
    return Kernel::IsDue(args) ? 1 : 0;
  }
  template <typename Args>
  LCSM_HD static void Run(int, const Args& args, uint32_t block, int thread,
                          Thread&, float*) {
    const uint64_t id =
        uint64_t{block} * kThreads + static_cast<uint64_t>(thread);
    if (id < Kernel::Elements(args)) Kernel::Element(args, id);
  }
};

// a * b + c, rounded once.
LCSM_HD float Fma(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

LCSM_HD double Fma(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return __fma_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

// Aligned, so that the device fetches and stores both parts at once.
struct alignas(8) Complex {
  float re = 0, im = 0;
};
LCSM_HD Complex operator+(Complex a, Complex b) {
  return {a.re + b.re, a.im + b.im};
}
LCSM_HD Complex operator-(Complex a, Complex b) {
  return {a.re - b.re, a.im - b.im};
}
LCSM_HD Complex operator*(Complex a, Complex b) {
  return {Fma(a.re, b.re, -(a.im * b.im)), Fma(a.re, b.im, a.im * b.re)};
}
// sum + a * b.
LCSM_HD Complex MulAdd(Complex a, Complex b, Complex sum) {
  return {Fma(-a.im, b.im, Fma(a.re, b.re, sum.re)),
          Fma(a.im, b.re, Fma(a.re, b.im, sum.im))};
}
LCSM_HD Complex Conjugate(Complex a) { return {a.re, -a.im}; }
LCSM_HD Complex TimesI(Complex a) { return {-a.im, a.re}; }

// A weight in 16 bits: float32 without its lower half.
struct Bfloat16 {
  uint16_t bits = 0;
};
LCSM_HD float FloatOf(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}
LCSM_HD float ToFloat(float w) { return w; }
LCSM_HD float ToFloat(Bfloat16 w) {
  return FloatOf(static_cast<uint32_t>(w.bits) << 16);
}

}  // namespace lcsm::cuda
