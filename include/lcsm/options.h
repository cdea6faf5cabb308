// Options and results of the public API: plain structs with a usable default
// for every field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lcsm {

// The inline namespace versions the binary interface. It also keeps these
// facades apart from the engine's own classes, some of which have the same
// names; a translation unit includes either these headers or the engine's.
inline namespace v0 {

// How the contributions of past inputs are ordered. All give the same outputs
// up to float32 rounding; they differ in cost by orders of magnitude.
enum class Method {
  kPlanned,  // What is best for the problem; the right choice.
  kPaper,    // Binary tiling, arXiv 2410.12982: O(L log^2 L) in all.
  kLazy,     // Every output gathers its history: O(L^2). For comparison.
  kEager,    // Every input is scattered to the future: O(L^2). For comparison.
};

// How one tile of that work is computed; only kPlanned and kPaper have tiles.
enum class Tau {
  kHybrid,         // Per tile size the best of the others.
  kDirect,         // Plain sums.
  kDirectBlocked,  // Plain sums blocked for registers.
  kFftLibrary,     // A library's real FFT.
  kFftFused,       // Our transform across channels.
};

// When the part of a step's work that can wait is done.
enum class Schedule {
  kAcrossLayers,  // After the last layer, all layers at once on all threads.
  kPerLayer,      // Within each layer's step, on the calling thread.
};

// What the matrices of a model's blocks are kept as while it is loaded.
enum class WeightFormat {
  kFloat32,  // As they are.
  kBf16,     // Rounded to 8 significant bits: half the bytes, less time a step.
  kInt8,     // Rounded to 1/127 of each row's largest: a quarter of the bytes.
};

struct LoadOptions {
  WeightFormat weights = WeightFormat::kFloat32;
  // Where the model runs: "cpu", "cuda", "cuda:N" (the Nth GPU, from 0),
  // "cuda:N,M,.." (split among these), or "auto" (the first GPU if there is one
  // and the model can, else the CPU).
  std::string device = "cpu";
};

// Made by value, cheap; checked when a session or convolution is made.
struct ExecutionOptions {
  // At most 1024; 0: one for each processor. Never changes any output.
  size_t threads = 0;
  Method method = Method::kPlanned;
  Tau tau = Tau::kHybrid;
  Schedule schedule = Schedule::kAcrossLayers;
  // On a GPU, with kPlanned or with kPaper and kHybrid: measure there what
  // tiles cost, for some seconds the first time, and keep that in the user's
  // cache folder. Else the plan goes by an estimate, the same on every run.
  bool measure = true;
};

struct SessionOptions {
  // Positions (prompt and generated tokens together) the session can take. 0:
  // the model's own limit. Memory grows with it, so say it if you know it.
  size_t max_length = 0;
  // How many positions, from the first Step or generated token on, the session
  // can take; 0: all. If it is less than max_length, known tokens that come
  // before (by Prefill, or as the prompt) go through the model layer by layer,
  // several times as fast when they are many, and memory grows with max_steps.
  size_t max_steps = 0;
  // The session may be made longer at little cost (Session::Reserve), and
  // Prefill, Generate and Samples do so by themselves where there is no room.
  // Keeps every position's inputs and all taps of the filters, where a session
  // of known length may let go of them; takes max_steps 0, and the CPU.
  bool growable = false;
  ExecutionOptions execution = {};
  // Remember which tokens were taken in, 4 bytes each, so that the session can
  // be truncated and saved.
  bool keep_tokens = true;
};

// Applied in this order: temperature, top-k, top-p, min-p.
struct SamplingOptions {
  double temperature = 1.0;  // 0 is greedy.
  size_t top_k = 0;          // Keep the k likeliest; 0 keeps all.
  double top_p = 1.0;        // Keep the likeliest that make up this share.
  double min_p = 0.0;        // Drop what is below this times the likeliest.
  // The same seed and sample number give the same random numbers everywhere.
  uint64_t seed = 0;
  uint64_t sample = 0;
};

struct GenerateOptions {
  size_t max_new_tokens = 256;
  SamplingOptions sampling;
  // Generation ends before the first of these texts; it is not part of the
  // result.
  std::vector<std::string> stop;
  // If not empty, only tokens made of these characters are generated, e.g.
  // "ACGT".
  std::string allow;
  bool stop_at_eos = false;  // The model's own end-of-sequence token.
  bool logprobs = false;     // Natural logarithms, before temperature.
  // Called with each piece of text as it is settled; answer false to stop.
  std::function<bool(std::string_view text)> on_text;
};

enum class FinishReason { kLength, kStop, kEos, kCancelled };

struct Generation {
  std::vector<int32_t> tokens;   // The new ones only.
  std::string text;              // Theirs.
  std::vector<double> logprobs;  // One a token, if asked for.
  FinishReason finish = FinishReason::kLength;
};

struct ModelInfo {
  std::string family;  // E.g. "hyena".
  std::string name;    // The folder's last component.
  std::string hash;    // Fingerprint of config and weights, in hexadecimal.
  size_t layers = 0;
  size_t width = 0;         // Channels of each layer.
  size_t vocab = 0;         // Ids that mean something.
  size_t padded_vocab = 0;  // Logits per position; those from vocab on are
                            // padding.
  size_t max_length = 0;    // Positions a sequence may have.
  int32_t eos_id = -1;      // -1: none.
  size_t parameters = 0;
  size_t weight_bytes = 0;  // In memory, in the format that was asked for.
  // Everything worth showing to a person, as label and value.
  std::vector<std::pair<std::string, std::string>> details;
};

}  // namespace v0
}  // namespace lcsm
