// What is to be convolved, and how: the vocabulary of this folder.
//
// M mixers (one long convolution of one model layer each), D channels a mixer,
// B batch rows, L positions. Channels are held in groups of kLanes; a row of D
// channels is G = ceil(D / kLanes) groups, the last one padded with zero
// channels. A group's history is [time][kLanes] floats, one cache line a
// position on every SIMD target.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::conv {

struct Problem {
  size_t mixers = 1;    // M: convolutions that advance together, one after
                        // another within a step.
  size_t channels = 1;  // D, of one mixer and batch row.
  size_t batch = 1;     // B: rows that share the filters.
  size_t length = 1;    // L: positions a session can take (the horizon).
  size_t taps = 1;  // H: filter taps per channel; taps beyond L are never used.
};

// How contributions are ordered (design 3; the paper, sections 2 and 3).
enum class Method {
  kLazy,   // Each output gathers its whole history: O(L^2).
  kEager,  // Each input is scattered to all outputs to come: O(L^2).
  kPaper,  // Binary tiling, Algorithm 2 of arXiv 2410.12982: O(L log^2 L).
};

// How one gray tile is computed.
enum class Tau {
  kDirect,         // U*U multiply-adds, output by output.
  kDirectBlocked,  // The same sums, blocked for registers.
  kFftLibrary,     // Real transforms of length 2U by a library, each channel
                   // contiguous.
  kFftFused,       // Our transform across channels, product and inverse in one
                   // descent.
  kHybrid,    // Per block size the fastest of the others, from measurements on
              // record.
  kMeasured,  // Per block size the fastest here and now, timed when the plan is
              // made.
};

// When the deferrable part of a step's work is done.
enum class Schedule {
  kPerLayer,  // Algorithm 2 within each mixer's step, on the calling thread.
  kAcrossLayers,  // Algorithm 3: after the last mixer, all mixers at once, on
                  // the thread pool.
};

const char* Name(Method method);  // "lazy", "eager", "paper"
const char* Name(Tau tau);  // "direct", "direct-blocked", "fft-library", ...
const char* Name(Schedule schedule);
std::optional<Method> MethodFromName(const std::string& name);
std::optional<Tau> TauFromName(const std::string& name);
std::optional<Schedule> ScheduleFromName(const std::string& name);

struct PlanOptions {
  Method method = Method::kPaper;
  Tau tau = Tau::kHybrid;
  Schedule schedule = Schedule::kAcrossLayers;
};

// One block size of the tiling and the way its tiles are computed.
struct Level {
  size_t block = 1;  // U
  Tau tau = Tau::kDirectBlocked;
};

// Bytes that a plan's objects take, apart.
struct MemoryEstimate {
  size_t taps = 0;     // FilterBank.
  size_t spectra = 0;  // Transforms of the taps, for the levels that need them.
  size_t histories =
      0;  // One buffer of L floats a channel; eager needs a second one.
  size_t scratch = 0;  // Of all threads, and the transforms' tables.
  size_t Total() const { return taps + spectra + histories + scratch; }
};

// What will be done: plain data, printable, comparable, made once and shared.
struct Plan {
  Problem problem;
  Method method = Method::kPaper;
  Schedule schedule = Schedule::kAcrossLayers;
  std::vector<Level> levels;  // By block size, 1 first, each twice the one
                              // before. Empty for lazy and eager.

  // E.g. "paper: direct-blocked U=1..16, fft-fused U=32..32768; across-layers".
  std::string Print() const;
  MemoryEstimate Memory(size_t threads) const;
};

// Checks the problem and settles the levels. With Tau::kMeasured this times
// tiles (a second or so); otherwise the plan is a function of its arguments and
// the SIMD target alone. Errors: a dimension of zero or sizes whose product
// overflows.
StatusOr<Plan> MakePlan(const Problem& problem, const PlanOptions& options);

}  // namespace lcsm::conv
