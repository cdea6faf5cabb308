// PyTorch checkpoints (.ckpt, .pt, .bin): the tensors of a state dict, out of a
// zip archive of one pickle and one entry per storage.
//
// Nothing in the file is executed or imported. Understood are the containers
// that torch.save writes, the calls that rebuild tensors and parameters, and
// nothing else: any other global is a placeholder where it does not matter
// (hyper-parameters, optimizer) and an error inside the state dict. Sizes are
// checked before memory is taken, so a small file cannot ask for much.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/pickle.h"
#include "io/tensor.h"
#include "lcsm/status.h"

namespace lcsm::io {

class TorchArchive;  // Keeps libzip out of this header.

// What a hostile archive may make us spend.
struct CheckpointLimits {
  size_t entries = 200'000;
  // Unpacked bytes of an entry, or of all tensors together, per byte of file.
  // torch stores entries as they are, so 1 is normal; tied tensors count twice
  // and recompressed files shrink by a third.
  size_t expansion = 64;
  size_t slack_bytes = size_t{1} << 20;  // On top, for tiny files.
  PickleLimits pickle;
};

class TorchCheckpoint {
 public:
  struct Tensor {
    std::string name;  // The key in the state dict.
    DType dtype = DType::kF32;
    std::vector<size_t> shape;
    // Where it lies; checked against the storage's size.
    std::vector<size_t> strides;  // In elements.
    size_t offset = 0;            // In elements.
    std::string storage;          // Name of the archive entry.
    size_t elements = 0;
  };

  // Takes the entry `state_dict` where the file has one (Lightning), else the
  // whole file as a state dict. Errors, one sentence each: no zip archive (old
  // torch files say how to convert them); no or several pickles inside; an
  // entry too many, damaged, or larger than the limits; whatever Pickle::Parse
  // refuses; a state dict with a key that is no string or a value that is
  // neither a tensor nor a plain value; a tensor outside its storage.
  static StatusOr<std::unique_ptr<TorchCheckpoint>> Open(
      const std::filesystem::path& path, const CheckpointLimits& limits = {});
  // From memory, e.g. for fuzzing. `bytes` must outlive the checkpoint.
  static StatusOr<std::unique_ptr<TorchCheckpoint>> OpenBytes(
      std::span<const std::byte> bytes, const std::string& file,
      const CheckpointLimits& limits = {});
  ~TorchCheckpoint();
  TorchCheckpoint(const TorchCheckpoint&) = delete;
  TorchCheckpoint& operator=(const TorchCheckpoint&) = delete;

  // In the order of the state dict.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  // Keys of the state dict whose values are no tensors: numbers, strings, None,
  // and whatever ends with _extra_state.
  const std::vector<std::string>& other_keys() const { return other_keys_; }
  // True if the tensors came from the entry `state_dict`.
  bool from_lightning() const { return from_lightning_; }

  // The bytes of tensors()[index] in row-major order, `elements` of its dtype.
  // A storage that several tensors share is kept until each was read once, so
  // read each tensor once. Errors: a damaged entry, memory.
  StatusOr<std::vector<std::byte>> Read(size_t index);

 private:
  struct Storage {
    std::string entry;
    DType dtype = DType::kU8;
    bool untyped = false;  // Counts bytes; the tensor brings the dtype.
    size_t elements = 0;
  };

  TorchCheckpoint();
  Status Load(const CheckpointLimits& limits);
  // The rest works on `pickle`, the file's, and is told the key for messages.
  Status LoadStateDict(const Pickle& pickle, const PickleNode& dict);
  Status LoadValue(const Pickle& pickle, const PickleNode& value,
                   const std::string& key);
  // callable(args), where `depth` counts the calls around it.
  Status LoadTensor(const Pickle& pickle, PickleId callable, PickleId args,
                    const std::string& key, int depth);
  Status LoadStrided(const Pickle& pickle, const PickleNode& args,
                     bool with_dtype, const std::string& key);
  StatusOr<Storage> LoadStorage(const Pickle& pickle, const PickleNode& node,
                                const std::string& key) const;
  Status WrongKey(const std::string& key, std::string_view what) const;

  std::string file_;
  std::unique_ptr<TorchArchive> archive_;
  std::vector<Tensor> tensors_;
  std::vector<std::string> other_keys_;
  bool from_lightning_ = false;
  size_t total_bytes_ = 0;  // Of all tensors.
  // Unpacked storages, and how many tensors of each are still to be read.
  std::map<std::string, std::vector<std::byte>> unpacked_;
  std::map<std::string, size_t> users_;
};

}  // namespace lcsm::io
