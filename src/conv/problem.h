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

namespace lcsm::conv {

// What it takes to evaluate taps again while a session runs, for filters that
// come from a network (tap_source.h).
struct TapCost {
  // Nanoseconds of one lag of one group of channels, on one thread. 0: taps are
  // given once and for all.
  double lag_ns = 0;
  size_t scratch_floats = 0;  // Of one thread: whole cache lines.
};

struct Problem {
  size_t mixers = 1;    // M: convolutions that advance together, one after
                        // another within a step.
  size_t channels = 1;  // D, of one mixer and batch row.
  size_t batch = 1;     // B: rows that share the filters.
  size_t length = 1;    // L: positions a session can take (the horizon).
  size_t taps = 1;  // H: filter taps per channel; taps beyond L are never used.
  // Sessions may start with contributions of earlier inputs to all L positions
  // (future fill), so that histories cannot be rings.
  bool primed = false;
  // Sessions may be given a longer horizon later (OnlineConvolution::Reserve).
  // Whatever plan they get then wants all inputs again, so that histories
  // cannot be rings.
  bool growable = false;
  // Whether levels may evaluate taps instead of keeping them, and at what cost.
  TapCost evaluation = {};
};

// How contributions are ordered (design 3; the paper, sections 2 and 3).
enum class Method {
  kLazy,        // Each output gathers its whole history: O(L^2).
  kEager,       // Each input is scattered to all outputs to come: O(L^2).
  kPaper,       // Binary tiling, Algorithm 2 of arXiv 2410.12982: O(L log^2 L).
  kPlanned,     // The levels that the planner finds cheapest, see planner.h.
  kFutureFill,  // Epochs of about sqrt(L log L), each opened by one transform
                // over the whole past (arXiv 2410.03766, Algorithm 2).
  kGardner,     // Blocks that double, each computed one block ahead of its due
                // time (Gardner 1995): binary, all deferred.
};

// How one gray tile is computed.
enum class Tau {
  kDirect,         // U*U multiply-adds, output by output.
  kDirectBlocked,  // The same sums, blocked for registers.
  kFftLibrary,     // Real transforms of length 2U by a library, each channel
                   // contiguous.
  kFftFused,       // Our transform across channels, product and inverse in one
                   // descent.
  kFftPast,  // One transform over the whole past for each tile, whatever its
             // length. FutureFill's epochs.
  kHybrid,   // Per block size the fastest of the others, from measurements on
             // record.
};

// When the deferrable part of a step's work is done.
enum class Schedule {
  kPerLayer,  // Algorithm 2 within each mixer's step, on the calling thread.
  kAcrossLayers,  // Algorithm 3: after the last mixer, all mixers at once, on
                  // the thread pool.
};

// What the time of a single step is worth.
enum class Latency {
  kBest,  // The least work in all; some steps pay for many.
  kFlat,  // Nearly the same work in every step: large blocks are deferred and
          // sliced over the steps until they are due.
};

// How short histories may be where a plan does not need all inputs.
enum class Rings {
  kOneBlock,   // A ring of one top block where that does.
  kTwoBlocks,  // Two of them: sessions in files of earlier builds.
  kNone,       // L lines: those that devices have saved.
};

const char* Name(Method method);  // "lazy", "eager", "paper", "planned", ...
const char* Name(Tau tau);  // "direct", "direct-blocked", "fft-library", ...
const char* Name(Schedule schedule);
const char* Name(Latency latency);  // "best", "flat"
const char* Name(Rings rings);      // "one block", "two blocks", "whole"
std::optional<Method> MethodFromName(const std::string& name);
std::optional<Tau> TauFromName(const std::string& name);
std::optional<Schedule> ScheduleFromName(const std::string& name);
std::optional<Latency> LatencyFromName(const std::string& name);
std::optional<Rings> RingsFromName(const std::string& name);

}  // namespace lcsm::conv
