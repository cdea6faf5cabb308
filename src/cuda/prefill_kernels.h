// Known tokens, many rows at a time: what stands between the matrix products
// and the convolution of a prefill. Element-wise, bound by memory.
#pragma once

#include "cuda/block_kernels.h"
#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

// y[row] = LayerNorm(x[row]), a row a block of threads.
struct NormRowsKernel {
  struct Args {
    const float* x = nullptr;  // [rows][width]
    const float* weight = nullptr;
    const float* bias = nullptr;
    float* y = nullptr;
    uint64_t rows = 0, width = 0;
    float eps = 0;
  };
  struct Thread {};
  static constexpr int kThreads = 128;

  static size_t SharedFloats(const Args&) { return 4 * kThreads; }
  static uint64_t Blocks(const Args& args) { return args.rows; }
  LCSM_HD static int Phases(const Args&, uint32_t) { return 2; }
  LCSM_HD static void Run(int phase, const Args& args, uint32_t block,
                          int thread, Thread&, float* shared) {
    double* const sums = reinterpret_cast<double*>(shared);
    const float* const x = args.x + block * args.width;
    if (phase == 0) {
      double sum = 0, squares = 0;
      for (uint64_t i = static_cast<uint64_t>(thread); i < args.width;
           i += kThreads) {
        const double v = x[i];
        sum += v;
        squares += v * v;
      }
      sums[2 * thread] = sum;
      sums[2 * thread + 1] = squares;
      return;
    }
    double sum = 0, squares = 0;
    for (int k = 0; k < kThreads; ++k) {
      sum += sums[2 * k];
      squares += sums[2 * k + 1];
    }
    const auto n = static_cast<double>(args.width);
    const double mean = sum / n;
    const double variance = Max(squares / n - mean * mean, 0.0);
    const auto scale =
        static_cast<float>(1 / sqrt(variance + static_cast<double>(args.eps)));
    const auto middle = static_cast<float>(mean);
    float* const y = args.y + block * args.width;
    for (uint64_t i = static_cast<uint64_t>(thread); i < args.width;
         i += kThreads) {
      y[i] = Fma((x[i] - middle) * scale, args.weight[i], args.bias[i]);
    }
  }
};

// Streams through bias and short FIR: q[t][s] of p[t - K + 1 .. t][s], where
// rows before the first are those of the tail. The tail itself moves on in a
// launch of its own (Args::moves_tail), when all rows have been read.
struct FirRowsKernel : Elementwise<FirRowsKernel> {
  struct Args {
    const float* p = nullptr;  // [rows][streams], without bias.
    float* q = nullptr;        // [rows][streams]
    uint64_t rows = 0, streams = 0;
    const float* bias = nullptr;  // Of the projection.
    const float* fir = nullptr;   // [taps][streams]
    const float* fir_bias = nullptr;
    float* tail = nullptr;  // [tail_rows][streams], bias included.
    uint32_t taps = 1, tail_rows = 1;
    uint32_t moves_tail = 0;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.moves_tail != 0 ? args.streams : args.rows * args.streams;
  }
  // Row t of what went in, t counted from the first of this call.
  LCSM_HD static float Past(const Args& args, int64_t t, uint64_t s) {
    if (t >= 0) {
      return args.p[static_cast<uint64_t>(t) * args.streams + s] + args.bias[s];
    }
    const int64_t row = static_cast<int64_t>(args.tail_rows) + t;
    return row < 0 ? 0.0f
                   : args.tail[static_cast<uint64_t>(row) * args.streams + s];
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t s = id % args.streams;
    if (args.moves_tail != 0) {
      // Oldest first; a row that is read here was not written yet.
      for (uint32_t j = 0; j < args.tail_rows; ++j) {
        const int64_t t = static_cast<int64_t>(args.rows + j) -
                          static_cast<int64_t>(args.tail_rows);
        args.tail[j * args.streams + s] = Past(args, t, s);
      }
      return;
    }
    const auto t = static_cast<int64_t>(id / args.streams);
    float q = args.fir_bias[s];
    for (uint32_t j = 0; j < args.taps; ++j) {
      q = Fma(args.fir[j * args.streams + s],
              Past(args, t - static_cast<int64_t>(args.taps - 1 - j), s), q);
    }
    args.q[id] = q;
  }
};

// Streams into lines of the convolution and back, with a gate on the way:
//   kIn:     lines = q[v] * q[gate]
//   kAgain:  lines = lines * q[gate]   (orders above 2)
//   kOut:    y = lines * q[gate]
struct GateKernel : Elementwise<GateKernel> {
  enum class Way : uint32_t { kIn, kAgain, kOut };
  struct Args {
    Way way = Way::kIn;
    const float* q = nullptr;  // [rows][streams]
    uint64_t rows = 0, streams = 0, width = 0;
    uint64_t v = 0, gate = 0;  // Streams, in units of the width.
    float* lines = nullptr;    // [group][line_stride], kLanes a row.
    uint64_t line_stride = 0, first_line = 0;
    float* y = nullptr;  // [rows][width]
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.rows * args.width;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t row = id / args.width, channel = id % args.width;
    float* const line = args.lines + channel / kLanes * args.line_stride +
                        (args.first_line + row) * kLanes + channel % kLanes;
    const float* const q = args.q + row * args.streams + channel;
    const float gate = q[args.gate * args.width];
    if (args.way == Way::kIn) {
      *line = q[args.v * args.width] * gate;
    } else if (args.way == Way::kAgain) {
      *line *= gate;
    } else {
      args.y[id] = *line * gate;
    }
  }
};

// What follows a product of many rows: bias, then nothing, the residual or
// GELU.
struct FinishRowsKernel : Elementwise<FinishRowsKernel> {
  struct Args {
    const float* product = nullptr;  // [rows][width]
    const float* bias = nullptr;     // Null: none.
    float* y = nullptr;
    uint64_t rows = 0, width = 0;
    LinearThen then = LinearThen::kStore;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.rows * args.width;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    float value = args.product[id];
    if (args.bias != nullptr) value += args.bias[id % args.width];
    if (args.then == LinearThen::kAdd) value += args.y[id];
    if (args.then == LinearThen::kGelu) value = Gelu(value);
    args.y[id] = value;
  }
};

// Rounded weights as float32, for the library's products.
struct WidenKernel : Elementwise<WidenKernel> {
  struct Args {
    const Bfloat16* from = nullptr;
    float* to = nullptr;
    uint64_t count = 0;
  };

  LCSM_HD static uint64_t Elements(const Args& args) { return args.count; }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    args.to[id] = ToFloat(args.from[id]);
  }
};

// y[n] += x[n] for lines of many histories: what earlier tokens contribute.
struct MoveLinesKernel : Elementwise<MoveLinesKernel> {
  struct Args {
    const float* from = nullptr;  // [histories][from_stride]
    float* to = nullptr;          // [histories][to_stride]
    uint64_t from_stride = 0, to_stride = 0;
    uint64_t histories = 0, floats = 0;  // Of each.
    uint32_t adds = 0;                   // Else copied.
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.histories * args.floats;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t history = id / args.floats, at = id % args.floats;
    const float value = args.from[history * args.from_stride + at];
    float& out = args.to[history * args.to_stride + at];
    out = args.adds != 0 ? out + value : value;
  }
};

}  // namespace lcsm::cuda
