// A Hyena model's tensors under their canonical names, bound and checked.
//
// Canonical names are those inside the plain model, for example
// backbone.layers.0.mixer.in_proj.weight. The prefixes of containers ("model.",
// "hyena.") and of gradient checkpointing (".mixer.layer.", ".mlp.layer.") are
// taken off first; a filter's second and third sine frequency fall back to the
// first; without lm_head.weight the embedding is the head. Positional features
// and decays that are not stored are computed (model-formats 1.5).
//
// Float32 tensors are used where they lie in the mapped file; others are
// converted once. On request the matrices of blocks are rounded to fewer bits
// (kernels/dense_weights.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "io/hash.h"
#include "io/safetensors.h"
#include "kernels/dense_weights.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_config.h"

namespace lcsm {

// y = W x + b, W [out][in] row-major; bias null for none.
struct LinearWeights {
  // Null where `packed` has it.
  const float* weight = nullptr;
  const float* bias = nullptr;
  size_t in = 0, out = 0;
  std::shared_ptr<const PackedMatrix> packed;

  // DenseKernels::dense for these weights, whatever their format.
  void Apply(size_t row_begin, size_t row_end, const float* x, size_t x_stride,
             size_t tokens, float* y, size_t y_stride) const noexcept;
};

struct NormWeights {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

// The implicit filter of one layer.
struct HyenaFilterWeights {
  // Null where the file does not store them: then ComputePosition gives them.
  const float* z = nullptr;               // [Lmax][E]
  const float* t = nullptr;               // [Lmax]
  std::vector<LinearWeights> hidden;      // 1 + filter_inner_layers, each
                                          // followed by a sine.
  std::vector<const float*> frequencies;  // [F] of each sine.
  LinearWeights last;                     // F to (N-1) D, no bias.
  const float* deltas = nullptr;          // [(N-1) D]
  const float* skip = nullptr;            // [(N-1) D]
};

struct HyenaLayerWeights {
  NormWeights norm1, norm2;
  LinearWeights in_proj;  // D to (N+1) D
  ShortFir short_fir;     // (N+1) D channels
  HyenaFilterWeights filter;
  LinearWeights out_proj, fc1, fc2;
};

// Where tensors come from.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual bool Has(const std::string& name) const = 0;
  // Exactly this shape, finite unless `check_finite` is false (tensors of a
  // length that need not be read whole). Valid as long as the source.
  virtual StatusOr<const float*> Get(const std::string& name,
                                     const std::vector<size_t>& shape,
                                     bool check_finite) = 0;
  // Tells that nobody will read a tensor again that was handed out: its memory
  // may go where it is a copy, and its pages where it is mapped.
  virtual void Release(const float* data, size_t elements) {}
  // Tells that nobody will read these elements soon: pages that hold nothing
  // else leave our memory if the file has them. The elements stay as they are,
  // also for those who read them meanwhile.
  virtual void DropPages(const float* data, size_t elements) const {}
  // Not ok once what was handed out is no longer what it was.
  virtual Status CheckIntact() const = 0;
  virtual std::vector<std::string> Unused() const = 0;
  // For messages.
  virtual std::string Name() const = 0;
};

StatusOr<std::unique_ptr<TensorSource>> MakeFileSource(
    std::shared_ptr<const io::WeightSet> file);
// Normal weights scaled to keep activations of order 1, from a fixed generator.
std::unique_ptr<TensorSource> MakeRandomSource(uint64_t seed);

// Immutable; may be shared by threads.
class HyenaWeights {
 public:
  // `format` is that of the matrices of blocks (projections and MLP), which are
  // nearly all that a step reads; embedding, head, norms, short FIRs and the
  // filters' networks stay float32. Errors: tensors that are missing, of
  // another shape than the config says, or not finite; attention layers;
  // memory.
  static StatusOr<std::shared_ptr<const HyenaWeights>> Bind(
      const HyenaConfig& config, std::unique_ptr<TensorSource> source,
      WeightFormat format = WeightFormat::kFloat32);

  const HyenaConfig& config() const { return config_; }
  const float* embedding() const { return embedding_; }  // [padded_vocab][D]
  const LinearWeights& head() const { return head_; }
  const NormWeights& final_norm() const { return final_norm_; }
  const std::vector<HyenaLayerWeights>& layers() const { return layers_; }
  // ModelInfo::hash.
  const std::string& hash() const { return hash_; }
  bool tied_head() const { return head_.weight == embedding_; }
  WeightFormat format() const { return format_; }

  // Trained numbers, without z, t and deltas.
  size_t parameters() const { return parameters_; }
  // Of everything that steps and filters read but z and t, of which a horizon
  // of n positions reads PositionBytes(n).
  size_t bytes() const { return bytes_; }
  // Of the matrices that each step reads: blocks and head.
  size_t step_bytes() const { return step_bytes_; }
  size_t PositionBytes(size_t positions) const;
  const TensorSource& source() const { return *source_; }

 private:
  HyenaWeights() = default;
  Status BindLayer(size_t layer);
  // A matrix of a block, in format_.
  StatusOr<LinearWeights> GetBlockLinear(const std::string& prefix, size_t in,
                                         size_t out);
  Status BindFilter(const std::string& prefix, HyenaFilterWeights* filter);
  Status BindPositions(const std::string& prefix, HyenaFilterWeights* filter);
  Status BindDeltas(const std::string& prefix, HyenaFilterWeights* filter);
  StatusOr<const float*> Get(const std::string& name,
                             const std::vector<size_t>& shape);
  StatusOr<LinearWeights> GetLinear(const std::string& prefix, size_t in,
                                    size_t out, bool bias);
  StatusOr<NormWeights> GetNorm(const std::string& prefix);

  // Takes a tensor's first `elements` numbers into the fingerprint.
  void Fingerprint(const std::string& name, const float* data, size_t elements);

  io::Hasher hasher_;
  std::string hash_;
  HyenaConfig config_;
  WeightFormat format_ = WeightFormat::kFloat32;
  std::unique_ptr<TensorSource> source_;
  const float* embedding_ = nullptr;
  LinearWeights head_;
  NormWeights final_norm_;
  std::vector<HyenaLayerWeights> layers_;
  // Computed where the file has none; shared by all layers.
  FloatBuffer deltas_;
  size_t parameters_ = 0;
  size_t bytes_ = 0;
  size_t step_bytes_ = 0;
};

}  // namespace lcsm
