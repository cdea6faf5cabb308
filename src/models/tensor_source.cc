// The two sources of a model's tensors: a file and a random generator.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "io/hyena_keys.h"
#include "models/hyena_weights.h"

namespace lcsm {
namespace {

// Index of the first NaN or infinity, n if there is none.
size_t FindNotFinite(const float* data, size_t n) {
  constexpr size_t kBlock = 4096;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t end = std::min(n, begin + kBlock);
    // x - x is 0 for finite x and NaN otherwise; a sum of them needs no branch
    // an element.
    bool finite = true;
    for (size_t i = begin; i < end; ++i) finite &= data[i] - data[i] == 0;
    if (finite) continue;
    for (size_t i = begin; i < end; ++i) {
      if (!std::isfinite(data[i])) return i;
    }
  }
  return n;
}

class FileSource : public TensorSource {
 public:
  explicit FileSource(std::shared_ptr<const io::WeightSet> file)
      : file_(std::move(file)) {}

  Status Index() {
    std::vector<std::string> keys;
    for (const io::TensorView& tensor : file_->tensors()) {
      keys.push_back(tensor.name);
    }
    LCSM_ASSIGN_OR_RETURN(const io::KeyPlan plan,
                          io::CanonicalHyenaKeys(keys, Name()));
    for (const io::KeyPlan::Kept& kept : plan.kept) {
      by_name_.emplace(kept.name, &file_->tensors()[kept.index]);
    }
    for (const io::KeyPlan::Dropped& dropped : plan.dropped) {
      dropped_.push_back(dropped.key);
    }
    return OkStatus();
  }

  bool Has(const std::string& name) const override {
    return by_name_.count(name) != 0;
  }

  StatusOr<const float*> Get(const std::string& name,
                             const std::vector<size_t>& shape,
                             bool check_finite) override {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      return InvalidInput(
          fmt::format("{}: tensor {} is missing, which the "
                      "config calls for with shape {}",
                      Name(), name, io::ShapeToString(shape)));
    }
    const io::TensorView& tensor = *found->second;
    used_.insert(name);
    if (tensor.shape != shape) {
      return InvalidInput(
          fmt::format("{}: tensor {} has shape {}, and the config calls for {}",
                      Name(), tensor.name, io::ShapeToString(tensor.shape),
                      io::ShapeToString(shape)));
    }
    const float* data = nullptr;
    if (tensor.dtype == io::DType::kF32 && tensor.IsAligned()) {
      data = reinterpret_cast<const float*>(tensor.data);
    } else {
      LCSM_ASSIGN_OR_RETURN(
          FloatBuffer copy,
          FloatBuffer::Allocate(tensor.elements(), "converted weights"));
      const Status status = io::CopyToFloat32(tensor, copy.data());
      if (!status.ok()) {
        return Status(status.code(),
                      fmt::format("{}: {}", Name(), status.message()));
      }
      copies_.push_back(std::move(copy));
      data = copies_.back().data();
    }
    if (check_finite) {
      const size_t n = tensor.elements();
      const size_t bad = FindNotFinite(data, n);
      if (bad != n) {
        return InvalidInput(fmt::format(
            "{}: tensor {} holds {} at element {}, expected finite numbers",
            Name(), tensor.name, data[bad], bad));
      }
    }
    return data;
  }

  void Release(const float* data, size_t elements) override {
    for (FloatBuffer& copy : copies_) {
      if (copy.data() == data) {
        copy = FloatBuffer();
        return;
      }
    }
    DropPages(data, elements);
  }

  void DropPages(const float* data, size_t elements) const override {
    for (const FloatBuffer& copy : copies_) {
      if (copy.data() <= data && data < copy.data() + copy.size()) return;
    }
    // Whole pages inside; who reads them again gets them from the file.
    const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t begin =
        (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
    const uintptr_t end =
        reinterpret_cast<uintptr_t>(data + elements) / page * page;
    if (begin < end) {
      madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
  }

  Status CheckIntact() const override { return file_->CheckIntact(); }

  std::vector<std::string> Unused() const override {
    std::vector<std::string> names = dropped_;
    for (const auto& [canonical, tensor] : by_name_) {
      if (used_.count(canonical) == 0) names.push_back(tensor->name);
    }
    return names;
  }

  std::string Name() const override { return file_->path().string(); }

 private:
  std::shared_ptr<const io::WeightSet> file_;
  std::map<std::string, const io::TensorView*> by_name_;
  std::vector<std::string> dropped_;
  std::set<std::string> used_;
  std::vector<FloatBuffer> copies_;
};

bool EndsWith(const std::string& name, std::string_view end) {
  return name.size() >= end.size() &&
         name.compare(name.size() - end.size(), end.size(), end) == 0;
}

class RandomSource : public TensorSource {
 public:
  explicit RandomSource(uint64_t seed) : state_(seed) {}

  // What is left out is computed (positions, decays) or shared (sines, head).
  bool Has(const std::string& name) const override {
    return !EndsWith(name, "pos_emb.z") && !EndsWith(name, "pos_emb.t") &&
           !EndsWith(name, "deltas") && !EndsWith(name, ".freq") &&
           !EndsWith(name, "Wqkv.weight") && name != "lm_head.weight";
  }

  StatusOr<const float*> Get(const std::string& name,
                             const std::vector<size_t>& shape, bool) override {
    size_t elements = 1;
    for (const size_t n : shape) elements *= n;
    LCSM_ASSIGN_OR_RETURN(FloatBuffer buffer,
                          FloatBuffer::Allocate(elements, "random weights"));
    double mean = 0, deviation = 0.1;
    if (EndsWith(name, ".freq")) {
      mean = 10;
      deviation = 0;
    } else if (name.find("norm") != std::string::npos ||
               name.find("ln_f") != std::string::npos) {
      mean = EndsWith(name, ".weight") ? 1 : 0;
    } else if (shape.size() > 1) {
      const size_t inputs = elements / shape[0];
      deviation = 1 / std::sqrt(static_cast<double>(inputs));
    }
    for (size_t i = 0; i < elements; ++i) {
      buffer.data()[i] = static_cast<float>(mean + deviation * Next());
    }
    buffers_.push_back(std::move(buffer));
    return static_cast<const float*>(buffers_.back().data());
  }

  void Release(const float* data, size_t) override {
    for (FloatBuffer& buffer : buffers_) {
      if (buffer.data() == data) buffer = FloatBuffer();
    }
  }
  Status CheckIntact() const override { return OkStatus(); }
  std::vector<std::string> Unused() const override { return {}; }
  std::string Name() const override { return "random weights"; }

 private:
  // Uniform of variance 1. splitmix64, because the standard library's
  // distributions differ between implementations.
  double Next() {
    uint64_t v = state_ += 0x9E3779B97F4A7C15;
    v = (v ^ (v >> 30)) * 0xBF58476D1CE4E5B9;
    v = (v ^ (v >> 27)) * 0x94D049BB133111EB;
    v ^= v >> 31;
    const double uniform = static_cast<double>(v >> 11) * 0x1p-53;
    return (uniform - 0.5) * std::sqrt(12.0);
  }

  uint64_t state_;
  std::vector<FloatBuffer> buffers_;
};

}  // namespace

StatusOr<std::unique_ptr<TensorSource>> MakeFileSource(
    std::shared_ptr<const io::WeightSet> file) {
  auto source = std::make_unique<FileSource>(std::move(file));
  LCSM_RETURN_IF_ERROR(source->Index());
  return std::unique_ptr<TensorSource>(std::move(source));
}

std::unique_ptr<TensorSource> MakeRandomSource(uint64_t seed) {
  return std::make_unique<RandomSource>(seed);
}

}  // namespace lcsm
