// Causal convolution of two sequences that are both revealed online: y[t] =
// sum_{i<=t} x[i] * rho[t-i], where x[t] and rho[t] become known at step t, and
// may depend on every output before. Data-dependent filters: each channel of
// each batch row has its own. (Design 3.8; van der Hoeven, "Relax, but don't be
// too lazy", 2002; the appendix of arXiv 2410.12982.)
//
// A position t in [N, 2N), N a power of two, gets three kinds of products:
//
//   i >= N, and so t - i < N   x streams by, rho[0, N) is a known filter
//   t - i >= N, and so i < N   rho streams by, x[0, N) is a known filter
//   both below N               the corner: all known at N
//
// so that each octave is one corner, a product of two known sequences, and two
// tilings with known filters (plan.h) side by side, which share their outputs
// and therefore their inverse transforms. docs/relaxed.md draws it.
//
// A session has no shared part: filters are its own. Not thread safe; uses the
// pool it was given, which must outlive it and must not be in use by another
// thread during a call. What must never happen: an output that depends on a
// later x or rho, an allocation or failure in a step, bits that depend on the
// number of threads or on batch mates.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/plan.h"
#include "conv/relaxed_plan.h"
#include "io/section_file.h"
#include "kernels/fft_tables.h"
#include "kernels/tile_kernels.h"
#include "lcsm/status.h"

namespace lcsm::conv {

class RelaxedConvolution {
 public:
  // Requires a plan of MakeRelaxedPlan (relaxed_plan.h). Error: memory.
  static StatusOr<std::unique_ptr<RelaxedConvolution>> Create(const Plan& plan,
                                                              ThreadPool& pool);

  // One position of one mixer: the input and the newest tap of every channel,
  // each [B][D], as is y, which may be one of them. Requires position() < L,
  // and that mixers are stepped in order, each once between two calls of
  // Advance.
  void Step(size_t mixer, const float* x, const float* rho, float* y) noexcept;
  // Ends the position: does the tiles that are now due, on the pool.
  void Advance() noexcept;

  // `count` positions of one mixer, all [count][B][D], in the bits of as many
  // steps. Requires position() + count <= L. Threads split the channels.
  void StepMany(size_t mixer, size_t count, const float* x, const float* rho,
                float* y) noexcept;
  void AdvanceMany(size_t count) noexcept { position_ += count; }

  // Another session at the same position with the same past, independent from
  // now on. For the same pool. Error: memory.
  StatusOr<std::unique_ptr<RelaxedConvolution>> Fork() const;

  // A session by a plan for as many positions or more, at the same position: it
  // takes both sequences in once more, so that all its outputs have the bits of
  // one that had this plan from the start. For the same pool; this one stays.
  // Errors: a plan of other mixers, channels or rows, or for fewer positions;
  // memory.
  StatusOr<std::unique_ptr<RelaxedConvolution>> Grown(const Plan& longer) const;

  // Saves everything that moves, and brings it back into a session of the same
  // plan on the same SIMD target, from where it goes on in the same bits. After
  // an error Load leaves it fit only for Reset. Errors: the file's.
  Status Save(io::SectionWriter& writer) const;
  Status Load(io::SectionReader& reader);

  const Plan& plan() const { return plan_; }
  size_t position() const { return position_; }
  size_t length() const { return plan_.problem.length; }
  // Back to position 0, everything forgotten.
  void Reset() noexcept;

  // For benchmarks: pretends that position `position` was reached, with x and
  // rho taken from rows[t % num_rows] ([num_rows][B][D]). Accumulators are left
  // as they are and spectra are zeros, so that outputs are wrong from then on;
  // their cost is right.
  void PretendHistory(size_t position, const float* rows,
                      size_t num_rows) noexcept;
  // For benchmarks: moves without doing anything. position <= L.
  void PretendPosition(size_t position) noexcept { position_ = position; }
  // For benchmarks: the work that falls due when r positions are known.
  void RunDueWork(size_t r) noexcept;

 private:
  // One of the two sequences of all histories: values at positions <= t, and at
  // later ones what the tiles in which it streams add to outputs. (The shared
  // inverse transforms add to that of x.)
  struct Side {
    FloatBuffer lines;  // [history][HistoryStride(L)]
    // The first kHeadTaps lines again, [mixer][row][group][kHeadTaps][kLanes]:
    // what the other side's red cells and smallest tiles read.
    FloatBuffer head;
  };
  enum { kInput = 0, kFilter = 1 };

  struct OneLevel {
    Level level;
    size_t terms = 0;  // Blocks that a tile has at most.
    // Of transformed levels, for each history: the spectra of the first slices
    // of both sides as filters, and of both sides' blocks of the running octave
    // or parent.
    FloatBuffer spectra;
  };

  explicit RelaxedConvolution(const Plan& plan) : plan_(plan) {}

  // Positions [first, first + count) of one side of one mixer as they were
  // given, [count][B][D].
  void CopyRows(int side, size_t mixer, size_t first, size_t count,
                float* rows) const noexcept;

  float* Line(int side, size_t h, size_t t) const noexcept {
    return lines_[side] + h * stride_ + t * kLanes;
  }
  // Histories are numbered as in layout.h.
  size_t HistoryGroup(size_t mixer, size_t row, size_t group) const noexcept;
  float* Head(int side, size_t mixer, size_t row, size_t group) noexcept;
  // Of `side` as a filter, slice number 1; as a stream, slot 0.
  float* Slices(OneLevel& one, size_t h, int side) const noexcept;
  float* Kept(OneLevel& one, size_t h, int side) const noexcept;
  const FftTables& Tables(size_t block) const noexcept;
  // The tile due when r positions are known, if it is one that the red cells'
  // pass before does on the way: see tiny_levels.h.
  TileKernels::Follow TinyTile(size_t r) const noexcept;
  // `groups` groups of a row from `group` on at position t; y may be x or rho.
  // `other` is room for as many outputs.
  void RedCells(size_t mixer, size_t row, size_t group, size_t groups, size_t t,
                const float* x, const float* rho, float* y,
                float* other) noexcept;
  // Positions [0, r) are known: does the work that falls due now, for the
  // histories [begin, end).
  void DueWork(size_t begin, size_t end, size_t r, size_t worker) noexcept;
  void MakeSlice(OneLevel& one, size_t h, size_t distance) noexcept;
  // The product of everything known, r a power of two.
  void Corner(size_t h, size_t r, float* scratch) noexcept;
  void Tile(OneLevel& one, size_t h, size_t r, float* scratch) noexcept;
  // From the blocks [first, target) to block `target`.
  void TransformedTile(OneLevel& one, size_t h, size_t target, size_t first,
                       size_t outputs, float* scratch) noexcept;
  double EstimateNs(size_t r) const noexcept;

  const Plan plan_;
  ThreadPool* pool_ = nullptr;
  const TileKernels* kernels_ = nullptr;
  size_t position_ = 0;
  size_t groups_ = 0;  // Of one mixer and row.
  size_t stride_ = 0;  // Floats from history to history.
  bool folds_tiny_ = false;
  Side sides_[2];
  float* lines_[2] = {nullptr, nullptr};
  std::vector<OneLevel> levels_;
  // Of every power of two from the first transformed block on: corners come in
  // all of them.
  std::vector<FftTables> tables_;
  size_t first_table_ = 0;  // Its block; 0: nothing is transformed.
  FloatBuffer scratch_;     // [worker][scratch_floats_]
  size_t scratch_floats_ = 0;
  FloatBuffer other_;  // A row's second outputs, of the calling thread.
};

}  // namespace lcsm::conv
