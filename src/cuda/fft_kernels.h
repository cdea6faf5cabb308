// Tiles by our own transform: a whole tile in shared memory for blocks that
// fit, and for larger ones passes through device memory around it.
//
// A column is one channel of one history; a block of threads works on a few
// columns side by side, lane by lane, so that neighbouring threads read
// neighbouring channels. What a launch reads and writes is said by FftWork: the
// same code makes spectra of taps, computes the tile that falls due at a step's
// position, and convolves known inputs.
//
// Large blocks go through the first passes in device memory (FftPassKernel),
// then each sub-block goes through its remaining passes, the product and their
// inverses in shared memory (FftTileKernel), then back. Histories are taken a
// few at a time, so that what lies in between stays in L2.
//
// Rejected: the pair trick of the CPU (one pass over X and H for two output
// blocks). It halves the bytes of products where radices are large, and wants
// registers for two sums; to be tried with a device at hand.
#pragma once

#include "cuda/fft_index.h"
#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

enum class FftSource : uint32_t {
  kInputs,   // Lines of histories; zero from input_limit on.
  kTaps,     // The slice of a filter at distance span.newest, scaled by 1 / U.
  kScratch,  // What passes before have left.
};
enum class FftSink : uint32_t {
  kAdd,       // Outputs are added to lines of histories,
  kStore,     // or stored there.
  kScratch,   // For passes to come.
  kSpectrum,  // No product: the transform itself.
};

struct FftWork {
  FftPasses passes;
  const float* roots = nullptr;
  // The tile: that of `level` at the position in `control`, or `span` itself if
  // control is null.
  const StepControl* control = nullptr;
  LevelShape level;
  TileSpan span;

  uint64_t first_history = 0, histories = 0, batch = 1;
  // [history][..][kLanes]
  const float* in = nullptr;
  uint64_t in_stride = 0, input_limit = ~uint64_t{0};
  float* out = nullptr;
  uint64_t out_stride = 0;
  // kTaps: [history][..][kLanes]
  const float* taps = nullptr;
  uint64_t taps_stride = 0, num_taps = 0;
  // Of filters, [filter][slice][U][kLanes]; the first slice meets the newest
  // block. A history's filter is history / batch.
  const Complex* spectra = nullptr;
  uint64_t slices = 0;
  // Of older input blocks, [history][slot][U][kLanes]; block i is in slot
  // i % slots. Null: there are none and nobody will want this one.
  Complex* kept = nullptr;
  uint64_t slots = 0;
  // kSpectrum: [history][spectrum_slots][U][kLanes], into slot spectrum_slot.
  Complex* spectrum = nullptr;
  uint64_t spectrum_slots = 1, spectrum_slot = 0;
  // [history - first_history][U][kLanes]
  Complex* scratch = nullptr;

  FftSource source = FftSource::kInputs;
  FftSink sink = FftSink::kAdd;
  int first_pass = 0;   // In shared memory; those before were in device memory.
  int log_columns = 4;  // Of a block of threads.

  LCSM_HD TileSpan Span() const {
    return control != nullptr ? TileAt(level, control->known) : span;
  }
  LCSM_HD uint64_t U() const { return uint64_t{1} << passes.log_u; }
};

// Column `column` of the launch.
struct FftColumn {
  uint64_t history = 0;  // Counted from 0, not from first_history.
  uint32_t lane = 0;
  bool there = false;
};
LCSM_HD FftColumn ColumnOf(const FftWork& work, uint64_t column) {
  FftColumn c;
  c.history = work.first_history + column / kLanes;
  c.lane = static_cast<uint32_t>(column % kLanes);
  c.there = column / kLanes < work.histories;
  return c;
}

LCSM_HD float TapAt(const FftWork& work, const float* taps, uint64_t n,
                    uint64_t distance, uint32_t lane) {
  // Slice d begins at tap (d - 1) U; what comes before the first tap is zero.
  const uint64_t begin = distance * work.U() + n;
  if (begin < work.U()) return 0;
  const uint64_t tap = begin - work.U();
  return tap < work.num_taps ? taps[tap * kLanes + lane] : 0.0f;
}

LCSM_HD Complex LoadElement(const FftWork& work, const TileSpan& span,
                            const FftColumn& c, uint64_t n) {
  if (!c.there) return {};
  switch (work.source) {
    case FftSource::kInputs: {
      const uint64_t position = span.newest * work.U() + n;
      if (position >= work.input_limit) return {};
      return {work.in[c.history * work.in_stride + position * kLanes + c.lane],
              0};
    }
    case FftSource::kTaps: {
      const float* const taps = work.taps + c.history * work.taps_stride;
      const float scale = 1.0f / static_cast<float>(work.U());
      return {scale * TapAt(work, taps, n, span.newest, c.lane),
              scale * TapAt(work, taps, n + work.U(), span.newest, c.lane)};
    }
    case FftSource::kScratch:
      break;
  }
  return work
      .scratch[((c.history - work.first_history) * work.U() + n) * kLanes +
               c.lane];
}

LCSM_HD void StoreElement(const FftWork& work, const TileSpan& span,
                          const FftColumn& c, uint64_t n, Complex value) {
  if (!c.there) return;
  switch (work.sink) {
    case FftSink::kAdd:
    case FftSink::kStore: {
      if (n >= span.outputs) return;
      float* const out = work.out + c.history * work.out_stride +
                         (span.target * work.U() + n) * kLanes + c.lane;
      *out = work.sink == FftSink::kAdd ? *out + value.im : value.im;
      return;
    }
    case FftSink::kSpectrum:
      work.spectrum[((c.history * work.spectrum_slots + work.spectrum_slot) *
                         work.U() +
                     n) *
                        kLanes +
                    c.lane] = value;
      return;
    case FftSink::kScratch:
      break;
  }
  work.scratch[((c.history - work.first_history) * work.U() + n) * kLanes +
               c.lane] = value;
}

// What a product makes of element n of the newest block's spectrum.
LCSM_HD Complex SumOfProducts(const FftWork& work, const TileSpan& span,
                              const FftColumn& c, uint64_t n, Complex x) {
  if (!c.there) return {};
  const uint64_t at = n * kLanes + c.lane, spectrum = work.U() * kLanes;
  // Divided as 32 bits: as 64 it is a hundred instructions an element.
  const uint32_t filter =
      static_cast<uint32_t>(c.history) / static_cast<uint32_t>(work.batch);
  const Complex* const h = work.spectra + filter * work.slices * spectrum + at;
  Complex sum = x * h[0];
  if (work.kept == nullptr) return sum;
  Complex* const kept = work.kept + c.history * work.slots * spectrum + at;
  uint32_t slot =
      static_cast<uint32_t>(span.newest) % static_cast<uint32_t>(work.slots);
  kept[slot * spectrum] = x;
  for (uint64_t d = 1; d < span.terms; ++d) {
    slot = (slot == 0 ? static_cast<uint32_t>(work.slots) : slot) - 1;
    sum = MulAdd(kept[slot * spectrum], h[d * spectrum], sum);
  }
  return sum;
}

// A block of threads has a few columns of one sub-block, whose length is
// 2^passes[first_pass].log_n. Columns side by side are neighbours in the grid:
// they share lines.
struct FftTileKernel {
  using Args = FftWork;
  struct Thread {};
  static constexpr int kThreads = 256;
  // Small transforms have shared memory for three and more: 80 registers a
  // thread instead of 110, of which two are spilled.
  static constexpr int kBlocksAtLeast = 3;

  LCSM_HD static int LogLength(const Args& work) {
    return work.passes.pass[work.first_pass].log_n;
  }
  // A row of columns after every 16: neighbouring butterflies of the last
  // passes are 16 rows apart, and would otherwise share their banks.
  LCSM_HD static uint64_t Slot(uint64_t row, uint64_t column, int log_columns) {
    return ((row + (row >> 4)) << log_columns) + column;
  }
  static size_t SharedFloats(const Args& work) {
    const size_t rows = size_t{1} << LogLength(work);
    return 2 * ((rows + rows / 16) << work.log_columns);
  }
  // Blocks of threads for the columns of one sub-block.
  LCSM_HD static uint64_t Across(const Args& work) {
    const uint64_t columns = work.histories * kLanes;
    return (columns + (uint64_t{1} << work.log_columns) - 1) >>
           work.log_columns;
  }
  static uint64_t Blocks(const Args& work) {
    return Across(work) << (work.passes.log_u - LogLength(work));
  }

  LCSM_HD static int Phases(const Args& work, uint32_t) {
    if (work.Span().terms == 0) return 0;
    const int passes = work.passes.count - work.first_pass;
    return work.sink == FftSink::kSpectrum ? passes + 2 : 2 * passes + 3;
  }

  LCSM_HD static void Run(int phase, const Args& work, uint32_t block,
                          int thread, Thread&, float* shared) {
    const auto across = static_cast<uint32_t>(Across(work));
    const uint32_t sub_block = block / across;
    const int passes = work.passes.count - work.first_pass;
    if (phase >= 1 && phase <= passes) {
      Pass<true>(work.first_pass + phase - 1, work, sub_block, thread, shared);
      return;
    }
    if (phase > passes + 1 && phase <= 2 * passes + 1) {
      const int pass = work.passes.count - (phase - passes - 1);
      Pass<false>(pass, work, sub_block, thread, shared);
      return;
    }
    const TileSpan span = work.Span();
    Complex* const z = reinterpret_cast<Complex*>(shared);
    const int log_length = LogLength(work), log_columns = work.log_columns;
    const uint64_t base = uint64_t{sub_block} << log_length;
    const uint64_t first_column = uint64_t{block % across} << log_columns;
    const uint64_t elements = uint64_t{1} << (log_length + log_columns);
    for (uint64_t e = static_cast<uint64_t>(thread); e < elements;
         e += kThreads) {
      const uint64_t column = e & ((uint64_t{1} << log_columns) - 1);
      const uint64_t row = e >> log_columns;
      const FftColumn c = ColumnOf(work, first_column + column);
      Complex& element = z[Slot(row, column, log_columns)];
      if (phase == 0) {
        element = LoadElement(work, span, c, base + row);
      } else if (phase == passes + 1 && work.sink != FftSink::kSpectrum) {
        element = SumOfProducts(work, span, c, base + row, element);
      } else {
        StoreElement(work, span, c, base + row, element);
      }
    }
  }

 private:
  template <bool kForward>
  LCSM_HD static void Pass(int index, const Args& work, uint32_t sub_block,
                           int thread, float* shared) {
    const FftPass pass = work.passes.pass[index];
    const int log_length = LogLength(work), log_columns = work.log_columns;
    Complex* const z = reinterpret_cast<Complex*>(shared);
    // Blocks of the whole transform that lie before this sub-block.
    const uint64_t before = uint64_t{sub_block} << (log_length - pass.log_n);
    const uint64_t butterflies = uint64_t{1}
                                 << (log_length - pass.LogSize() + log_columns);
    WithButterfly(pass, [&](auto butterfly) {
      using B = decltype(butterfly);
      for (uint64_t id = static_cast<uint64_t>(thread); id < butterflies;
           id += kThreads) {
        const uint64_t column = id & ((uint64_t{1} << log_columns) - 1);
        const ButterflyPlace place = PlaceOf(pass, id >> log_columns);
        Complex a[B::kSize];
        LCSM_UNROLL
        for (int j = 0; j < B::kSize; ++j) {
          a[j] = z[Slot(place.first + static_cast<uint64_t>(j) * place.stride,
                        column, log_columns)];
        }
        if constexpr (kForward) {
          B::Forward(work.roots, work.passes.log_u, pass.depth,
                     before + place.block, a);
        } else {
          B::Inverse(work.roots, work.passes.log_u, pass.depth,
                     before + place.block, a);
        }
        LCSM_UNROLL
        for (int j = 0; j < B::kSize; ++j) {
          z[Slot(place.first + static_cast<uint64_t>(j) * place.stride, column,
                 log_columns)] = a[j];
        }
      }
    });
  }
};

// One pass in device memory, a butterfly a thread. `first_pass` is that pass,
// `forward` the way; source and sink as in FftWork (never kSpectrum).
struct FftPassKernel : Elementwise<FftPassKernel> {
  static constexpr int kBlocksAtLeast = 3;
  struct Args {
    FftWork work;
    uint32_t forward = 1;
  };

  LCSM_HD static const FftPass& PassOf(const Args& args) {
    return args.work.passes.pass[args.work.first_pass];
  }
  LCSM_HD static uint64_t Elements(const Args& args) {
    return (args.work.histories * kLanes)
           << (args.work.passes.log_u - PassOf(args).LogSize());
  }
  LCSM_HD static bool IsDue(const Args& args) {
    return args.work.Span().terms != 0;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const FftWork& work = args.work;
    const FftPass pass = PassOf(args);
    const int log_a_history = work.passes.log_u - pass.LogSize();
    // Lanes side by side, then butterflies of a history, then histories.
    const uint64_t lane = id % kLanes, rest = id / kLanes;
    const uint64_t history = rest >> log_a_history;
    const FftColumn c = ColumnOf(work, history * kLanes + lane);
    const ButterflyPlace place =
        PlaceOf(pass, rest & ((uint64_t{1} << log_a_history) - 1));
    const TileSpan span = work.Span();
    WithButterfly(pass, [&](auto butterfly) {
      using B = decltype(butterfly);
      Complex a[B::kSize];
      LCSM_UNROLL
      for (int j = 0; j < B::kSize; ++j) {
        a[j] =
            LoadElement(work, span, c,
                        place.first + static_cast<uint64_t>(j) * place.stride);
      }
      if (args.forward != 0) {
        B::Forward(work.roots, work.passes.log_u, pass.depth, place.block, a);
      } else {
        B::Inverse(work.roots, work.passes.log_u, pass.depth, place.block, a);
      }
      LCSM_UNROLL
      for (int j = 0; j < B::kSize; ++j) {
        StoreElement(work, span, c,
                     place.first + static_cast<uint64_t>(j) * place.stride,
                     a[j]);
      }
    });
  }
};

}  // namespace lcsm::cuda
