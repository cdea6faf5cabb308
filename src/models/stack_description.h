// What a model is, as data: blocks of parts of steps, and the names of the
// tensors they use. Every family but Hyena is a translator from its own config
// to one of these, and a model of nobody's family is written down as one
// (docs/stacks.md).
//
// A part adds to the residual stream x what its steps make of norm(x):
//   input = norm(x);  steps;  x <- x + output.
// Steps read and write streams: named rows of floats that live as long as the
// part. Only `convolve` and the mixers after it look at other positions, and
// none at later ones.
//
// Plain data. Thread safety: that of values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/config_json.h"
#include "lcsm/status.h"

namespace lcsm {

struct StackNorm {
  enum class Kind { kNone, kLayer, kRms };
  Kind kind = Kind::kNone;
  double eps = 1e-5;
  // x / (rms + eps) instead of x / sqrt(rms^2 + eps). RMS norms only.
  bool eps_outside = false;
  std::string weight, bias;  // Tensors; empty: 1 and 0.
};

enum class StackActivation {
  kRelu,
  kSilu,
  kGelu,      // With the error function.
  kGeluTanh,  // With a tanh in its place.
  kSigmoid,
  kTanh,
  kSoftplus,
};

// The filter of a convolution (docs/stacks.md has each kind's formula).
struct StackFilter {
  enum class Kind {
    kTaps,        // Explicit, in `tensor`.
    kBasis,       // tensor (taps, K) times mix (K, channels).
    kPoles,       // Re sum_s R_s p_s^n
    kLogPoles,    // sum_s R_s exp(n logp_s), real
    kS4d,         // 2 Re sum_s C_s Bbar_s Abar_s^n
    kShift,       // tap n = sum_j B[j] C[j + n]
    kMultiscale,  // Kernels upsampled and concatenated (SGConv).
    kToeplitz,    // gamma^n times a network of n (TNN).
  };
  enum class Lags {
    kAll,
    kEven,         // Twice the tap on even lags, nothing on odd ones.
    kAlternating,  // Times (-1)^n.
  };
  Kind kind = Kind::kTaps;
  Lags lags = Lags::kAll;
  // kTaps: (G, n) or, `time_first`, (n, G), each for channels / G neighbours;
  // dimensions of 1 do not matter. kBasis: (n, K).
  std::string tensor;
  bool time_first = false;
  bool now_last = false;      // The last tap meets the current input.
  double soft_threshold = 0;  // Taps go towards 0 by this much.
  std::string mix;
  std::string poles, residues;                   // kPoles, kLogPoles.
  std::string log_dt, log_a_real, a_imag, b, c;  // kS4d; kShift has b and c.
  bool zero_order_hold = false;                  // kS4d; else bilinear.
  std::vector<std::string> tensors;              // kMultiscale.
  double multiplier = 1;
  size_t init_scale = 0;
  std::string divisor;
  // kToeplitz: prefixes of linear maps, each with .weight and .bias.
  std::string first, last;
  std::vector<std::string> hidden;
  size_t width = 0;
  double gamma = 1;
  StackNorm norm;  // Without weights.
};

enum class StackStepKind {
  kLinear,
  kConvolve,
  kMultiply,
  kAdd,
  kActivate,
  kNorm,
  kRead,
  kAttention,
  kLinearAttention,
  kSelectiveScan,
  kRelaxedConvolve,
};

// As descriptions spell them.
const char* Name(StackStepKind kind);
const char* Name(StackActivation activation);
const char* Name(StackFilter::Kind kind);

// StackStep::rotary: all of each head.
inline constexpr size_t kWholeHead = static_cast<size_t>(-1);

struct StackStep {
  StackStepKind kind = StackStepKind::kLinear;
  std::string path;  // For messages, e.g. "blocks.0.parts.1.steps.2".
  std::vector<std::string> from, to;

  // kLinear: widths of `to`, one for all or one for each; empty: the model's.
  std::vector<size_t> widths;
  std::string weight;  // kLinear: (out, in), or (.., out) if transposed.
  bool transposed = false;
  std::string bias;  // kLinear, kConvolve.
  // kLinear, kConvolve: streams are stored in turns of so many channels each;
  // 0: one after another.
  size_t run = 0;

  // kConvolve: `from` side by side, `repeat` times over.
  size_t repeat = 1;
  StackFilter filter;
  std::string skip;  // kConvolve, kSelectiveScan: (channels).
  enum class As {
    kAuto,
    kFir,
    kRecurrence,
    kConvolution,
    kHalfRate,  // Two convolutions in turns, of a filter on even lags.
  } as = As::kAuto;

  StackActivation activation = StackActivation::kRelu;  // kActivate
  StackNorm norm;                                       // kNorm

  // kRead: what block `block` left in the residual stream, `delay` positions
  // ago (0 or 1). Or, `ahead`, what the inputs so far of its last `convolve`
  // give to that one's next output.
  size_t block = 0, delay = 0;
  bool ahead = false;

  // kAttention, kLinearAttention.
  size_t heads = 1, kv_heads = 1;
  // kAttention.
  size_t rotary = 0;  // Elements of each head that are turned.
  double rotary_base = 10000, rotary_scale = 1;
  std::string rotary_frequencies;  // A tensor instead of the base.
  size_t window = 0;               // Positions seen; 0: all.
  double alibi = 0;                // Factor of ALiBi's slopes; 0: none.
  double soft_cap = 0;
  // kLinearAttention.
  enum class Feature {
    kIdentity,
    kRelu,
    kEluPlusOne
  } feature = Feature::kIdentity;
  bool normalise = true;
  double scale = 1;
  // kSelectiveScan.
  std::string a_log;
};

struct StackPart {
  std::string name;  // For drawings.
  StackNorm norm;
  std::vector<StackStep> steps;
};

struct StackBlock {
  std::vector<StackPart> parts;
};

struct StackDescription {
  std::string file;                   // For messages.
  std::string family = "lcsm-stack";  // ModelInfo::family
  size_t vocab = 0, padded_vocab = 0;
  size_t width = 0;  // D
  size_t max_length = 0;
  int32_t eos_id = -1;
  std::string embedding;  // (padded_vocab, D)
  std::vector<StackBlock> blocks;
  StackNorm final_norm;
  std::string head;  // (padded_vocab, D); empty: the embedding.
  // What the fingerprint takes for the config.
  std::string text;
};

// Reads a config.json of model_type "lcsm-stack" and checks all that can be
// checked without tensors (stack_layout.h). Errors, one sentence each with the
// JSON path: fields missing, unknown or out of range; unknown steps, filters
// and activations; mixers that are not causal; streams that are read before
// they are written or whose widths do not meet; blocks that read themselves or
// later ones of the same position.
StatusOr<StackDescription> ParseStackDescription(const io::ConfigJson& json);

}  // namespace lcsm
