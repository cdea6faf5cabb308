#include "io/torch_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

#include "io/errors.h"
#include "io/torch_archive.h"

namespace lcsm::io {
namespace {

using Kind = PickleNode::Kind;

struct NamedType {
  std::string_view name;
  DType dtype;
};

// Members of the module torch.
constexpr std::array<NamedType, 10> kStorageTypes = {{
    {"FloatStorage", DType::kF32},
    {"HalfStorage", DType::kF16},
    {"BFloat16Storage", DType::kBF16},
    {"DoubleStorage", DType::kF64},
    {"LongStorage", DType::kI64},
    {"IntStorage", DType::kI32},
    {"ShortStorage", DType::kI16},
    {"CharStorage", DType::kI8},
    {"ByteStorage", DType::kU8},
    {"BoolStorage", DType::kBool},
}};
constexpr std::array<NamedType, 10> kTorchTypes = {{
    {"float32", DType::kF32},
    {"float16", DType::kF16},
    {"bfloat16", DType::kBF16},
    {"float64", DType::kF64},
    {"int64", DType::kI64},
    {"int32", DType::kI32},
    {"int16", DType::kI16},
    {"int8", DType::kI8},
    {"uint8", DType::kU8},
    {"bool", DType::kBool},
}};

const NamedType* FindType(const std::array<NamedType, 10>& types,
                          const PickleNode& node) {
  if (node.kind != Kind::kGlobal || node.text != "torch") return nullptr;
  for (const NamedType& type : types) {
    if (type.name == node.name) return &type;
  }
  return nullptr;
}

bool ReadSize(const PickleNode& node, size_t* out) {
  if (node.kind != Kind::kInt || node.integer < 0) return false;
  *out = static_cast<size_t>(node.integer);
  return true;
}

bool ReadSizes(const Pickle& pickle, const PickleNode& node,
               std::vector<size_t>* out) {
  constexpr size_t kMaxDimensions = 64;  // As in torch.
  if (node.kind != Kind::kTuple && node.kind != Kind::kList) return false;
  if (node.items.size() > kMaxDimensions) return false;
  for (PickleId id : node.items) {
    out->push_back(0);
    if (!ReadSize(pickle[id], &out->back())) return false;
  }
  return true;
}

// The largest index that a tensor touches, plus one; false if it overflows.
// Precondition: no dimension is zero.
bool Extent(const TorchCheckpoint::Tensor& tensor, size_t* extent) {
  size_t last = tensor.offset;
  for (size_t d = 0; d < tensor.shape.size(); ++d) {
    size_t step = 0;
    if (__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return false;
    }
  }
  return !__builtin_add_overflow(last, size_t{1}, extent);
}

bool IsRowMajor(const TorchCheckpoint::Tensor& tensor) {
  size_t expected = 1;
  for (size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

// Copies a tensor with any strides into row-major order. Precondition: it lies
// within `in` and has elements.
void Gather(const TorchCheckpoint::Tensor& tensor, const std::byte* in,
            std::byte* out) {
  const size_t size = DTypeSize(tensor.dtype);
  const size_t rank = tensor.shape.size();
  std::vector<size_t> index(rank, 0);
  size_t at = tensor.offset;
  for (size_t n = 0; n < tensor.elements; ++n) {
    std::memcpy(out + n * size, in + at * size, size);
    for (size_t d = rank; d-- > 0;) {  // Counts up like an odometer.
      at += tensor.strides[d];
      if (++index[d] < tensor.shape[d]) break;
      at -= tensor.strides[d] * tensor.shape[d];
      index[d] = 0;
    }
  }
}

}  // namespace

TorchCheckpoint::TorchCheckpoint() = default;
TorchCheckpoint::~TorchCheckpoint() = default;

StatusOr<std::unique_ptr<TorchCheckpoint>> TorchCheckpoint::Open(
    const std::filesystem::path& path, const CheckpointLimits& limits) {
  return CatchAll(path, [&]() -> StatusOr<std::unique_ptr<TorchCheckpoint>> {
    std::unique_ptr<TorchCheckpoint> checkpoint(new TorchCheckpoint());
    checkpoint->file_ = path.string();
    LCSM_ASSIGN_OR_RETURN(
        checkpoint->archive_,
        TorchArchive::Open(
            path, {limits.entries, limits.expansion, limits.slack_bytes}));
    LCSM_RETURN_IF_ERROR(checkpoint->Load(limits));
    return checkpoint;
  });
}

StatusOr<std::unique_ptr<TorchCheckpoint>> TorchCheckpoint::OpenBytes(
    std::span<const std::byte> bytes, const std::string& file,
    const CheckpointLimits& limits) {
  return CatchAll(file, [&]() -> StatusOr<std::unique_ptr<TorchCheckpoint>> {
    std::unique_ptr<TorchCheckpoint> checkpoint(new TorchCheckpoint());
    checkpoint->file_ = file;
    LCSM_ASSIGN_OR_RETURN(
        checkpoint->archive_,
        TorchArchive::OpenBytes(
            bytes, file,
            {limits.entries, limits.expansion, limits.slack_bytes}));
    LCSM_RETURN_IF_ERROR(checkpoint->Load(limits));
    return checkpoint;
  });
}

Status TorchCheckpoint::WrongKey(const std::string& key,
                                 std::string_view what) const {
  return InvalidInput(
      fmt::format("{}: state dict key {} {}", file_, Quoted(key, 200), what));
}

Status TorchCheckpoint::Load(const CheckpointLimits& limits) {
  const std::string byteorder = archive_->root() + "byteorder";
  if (archive_->Has(byteorder)) {
    LCSM_ASSIGN_OR_RETURN(const std::vector<std::byte> text,
                          archive_->Read(byteorder));
    const std::string_view order(reinterpret_cast<const char*>(text.data()),
                                 text.size());
    if (order != "little") {
      return Unsupported(
          fmt::format("{}: its byteorder is {}, expected \"little\"", file_,
                      Quoted(order)));
    }
  }
  LCSM_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                        archive_->Read(archive_->root() + "data.pkl"));
  LCSM_ASSIGN_OR_RETURN(
      const Pickle pickle,
      Pickle::Parse(std::string(reinterpret_cast<const char*>(bytes.data()),
                                bytes.size()),
                    file_, limits.pickle));
  const PickleNode* dict = &pickle.root();
  if (!pickle.IsMapping(*dict)) {
    return InvalidInput(fmt::format(
        "{}: holds {}, expected a state dict or a Lightning checkpoint", file_,
        pickle.Describe(*dict)));
  }
  const PickleNode* inner = pickle.Find(*dict, "state_dict");
  if (inner != nullptr) {
    if (!pickle.IsMapping(*inner)) {
      return InvalidInput(
          fmt::format("{}: its entry state_dict is {}, expected a dict of "
                      "tensors",
                      file_, pickle.Describe(*inner)));
    }
    dict = inner;
    from_lightning_ = true;
  }
  LCSM_RETURN_IF_ERROR(LoadStateDict(pickle, *dict));
  if (tensors_.empty()) {
    return InvalidInput(
        fmt::format("{}: its state dict holds no tensors, expected the weights "
                    "of a model",
                    file_));
  }
  return OkStatus();
}

Status TorchCheckpoint::LoadStateDict(const Pickle& pickle,
                                      const PickleNode& dict) {
  std::set<std::string_view> keys;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleNode& key = pickle[dict.items[i]];
    if (key.kind != Kind::kString) {
      return InvalidInput(
          fmt::format("{}: its state dict has the key {}, expected a string",
                      file_, pickle.Describe(key)));
    }
    const std::string name(key.text);
    if (!keys.insert(key.text).second)
      return WrongKey(name, "stands there twice, expected once");
    LCSM_RETURN_IF_ERROR(LoadValue(pickle, pickle[dict.items[i + 1]], name));
  }
  return OkStatus();
}

Status TorchCheckpoint::LoadValue(const Pickle& pickle, const PickleNode& value,
                                  const std::string& key) {
  // What a module keeps besides its tensors, in whatever form it likes.
  if (key.ends_with("_extra_state")) {
    other_keys_.push_back(key);
    return OkStatus();
  }
  switch (value.kind) {
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt:
    case Kind::kFloat:
    case Kind::kString:
      other_keys_.push_back(key);
      return OkStatus();
    case Kind::kObject:
      return LoadTensor(pickle, value.callable, value.args, key, 0);
    default:
      return WrongKey(
          key, fmt::format("is {}, expected a tensor", pickle.Describe(value)));
  }
}

Status TorchCheckpoint::LoadTensor(const Pickle& pickle, PickleId callable,
                                   PickleId args_id, const std::string& key,
                                   int depth) {
  constexpr int kMaxDepth = 4;  // A parameter of a subclass of a tensor: 3.
  const PickleNode& args = pickle[args_id];
  const auto is = [&](std::string_view module, std::string_view name,
                      size_t least_args) {
    return pickle.IsGlobal(callable, module, name) &&
           args.kind == Kind::kTuple && args.items.size() >= least_args;
  };
  if (depth > kMaxDepth)
    return WrongKey(key, "wraps its tensor too often, expected a tensor");
  if (is("torch._utils", "_rebuild_tensor_v2", 4) ||
      is("torch._utils", "_rebuild_tensor", 4)) {
    return LoadStrided(pickle, args, false, key);
  }
  if (is("torch._utils", "_rebuild_tensor_v3", 7))
    return LoadStrided(pickle, args, true, key);
  if (is("torch._utils", "_rebuild_parameter", 1) ||
      is("torch._utils", "_rebuild_parameter_with_state", 1)) {
    const PickleNode& inner = pickle[args.items[0]];
    if (inner.kind != Kind::kObject) {
      return WrongKey(key, fmt::format("is a parameter of {}, expected a "
                                       "tensor",
                                       pickle.Describe(inner)));
    }
    return LoadTensor(pickle, inner.callable, inner.args, key, depth + 1);
  }
  // (function, type, arguments, state) for tensors that carry attributes.
  if (is("torch._tensor", "_rebuild_from_type_v2", 3) &&
      (pickle.IsGlobal(args.items[1], "torch", "Tensor") ||
       pickle.IsGlobal(args.items[1], "torch.nn.parameter", "Parameter"))) {
    return LoadTensor(pickle, args.items[0], args.items[2], key, depth + 1);
  }
  const PickleNode& what = pickle[callable];
  return WrongKey(
      key, fmt::format("calls {}, expected a tensor", pickle.Describe(what)));
}

StatusOr<TorchCheckpoint::Storage> TorchCheckpoint::LoadStorage(
    const Pickle& pickle, const PickleNode& node,
    const std::string& key) const {
  // ('storage', type, key, location, number of elements)
  const PickleNode* id =
      node.kind == Kind::kPersistent ? &pickle[node.items[0]] : nullptr;
  if (id == nullptr || id->kind != Kind::kTuple || id->items.size() < 5 ||
      pickle[id->items[0]].text != "storage" ||
      pickle[id->items[2]].kind != Kind::kString) {
    return WrongKey(key, fmt::format("lies in {}, expected a storage",
                                     pickle.Describe(node)));
  }
  Storage storage;
  const PickleNode& type = pickle[id->items[1]];
  if (const NamedType* known = FindType(kStorageTypes, type)) {
    storage.dtype = known->dtype;
  } else if (pickle.IsGlobal(id->items[1], "torch.storage", "UntypedStorage") ||
             pickle.IsGlobal(id->items[1], "torch", "UntypedStorage")) {
    storage.untyped = true;
  } else {
    return WrongKey(key,
                    fmt::format("has the storage type {}, expected one such as "
                                "torch.FloatStorage",
                                pickle.Describe(type)));
  }
  storage.entry =
      fmt::format("{}data/{}", archive_->root(), pickle[id->items[2]].text);
  size_t bytes = 0;
  if (!ReadSize(pickle[id->items[4]], &storage.elements) ||
      __builtin_mul_overflow(storage.elements, DTypeSize(storage.dtype),
                             &bytes)) {
    return WrongKey(key, fmt::format("has a storage of {} elements, expected a "
                                     "number that can be counted",
                                     pickle.Describe(pickle[id->items[4]])));
  }
  if (!archive_->Has(storage.entry)) {
    return WrongKey(key,
                    fmt::format("lies in the entry {}, expected that in the "
                                "archive",
                                Quoted(storage.entry, 200)));
  }
  if (archive_->Size(storage.entry) != bytes) {
    return WrongKey(key,
                    fmt::format("lies in the entry {} of {} bytes, expected {}",
                                Quoted(storage.entry, 200),
                                archive_->Size(storage.entry), bytes));
  }
  return storage;
}

Status TorchCheckpoint::LoadStrided(const Pickle& pickle,
                                    const PickleNode& args, bool with_dtype,
                                    const std::string& key) {
  LCSM_ASSIGN_OR_RETURN(Storage storage,
                        LoadStorage(pickle, pickle[args.items[0]], key));
  Tensor tensor;
  tensor.name = key;
  tensor.dtype = storage.dtype;
  tensor.storage = storage.entry;
  if (with_dtype) {
    const PickleNode& dtype = pickle[args.items[6]];
    const NamedType* known = FindType(kTorchTypes, dtype);
    if (known == nullptr) {
      return WrongKey(key, fmt::format("has the dtype {}, expected one such as "
                                       "torch.float32",
                                       pickle.Describe(dtype)));
    }
    tensor.dtype = known->dtype;
  }
  if (storage.untyped != with_dtype)
    return WrongKey(key, "has a storage without a dtype, expected one with it");
  if (storage.untyped) storage.elements /= DTypeSize(tensor.dtype);
  // Hooks run code when gradients flow; torch.save writes an empty dict.
  if (args.items.size() > 5) {
    const PickleNode& hooks = pickle[args.items[5]];
    if (hooks.kind != Kind::kNone && !pickle.IsMapping(hooks)) {
      return WrongKey(key, fmt::format("has {} for hooks, expected a dict",
                                       pickle.Describe(hooks)));
    }
  }
  if (!ReadSize(pickle[args.items[1]], &tensor.offset) ||
      !ReadSizes(pickle, pickle[args.items[2]], &tensor.shape) ||
      !ReadSizes(pickle, pickle[args.items[3]], &tensor.strides) ||
      tensor.shape.size() != tensor.strides.size()) {
    return WrongKey(key,
                    "has an offset, shape or strides that are no whole numbers "
                    "or do not match, expected as many strides as dimensions");
  }
  size_t bytes = 0;
  size_t extent = 0;
  if (!ShapeElements(tensor.shape, &tensor.elements) ||
      __builtin_mul_overflow(tensor.elements, DTypeSize(tensor.dtype),
                             &bytes)) {
    return WrongKey(key, fmt::format("has shape {}, expected a size that can "
                                     "be counted",
                                     ShapeToString(tensor.shape)));
  }
  if (tensor.elements > 0 &&
      (!Extent(tensor, &extent) || extent > storage.elements)) {
    return WrongKey(
        key, fmt::format("has offset {}, shape {} and strides {}, "
                         "expected them within its storage of {} "
                         "elements",
                         tensor.offset, ShapeToString(tensor.shape),
                         ShapeToString(tensor.strides), storage.elements));
  }
  // Stride 0 and shared storages can make much out of little.
  if (__builtin_add_overflow(total_bytes_, bytes, &total_bytes_) ||
      total_bytes_ > archive_->max_bytes()) {
    return WrongKey(
        key, fmt::format("brings the tensors to more than {} bytes, expected "
                         "at most that from a file of this size",
                         archive_->max_bytes()));
  }
  ++users_[tensor.storage];
  tensors_.push_back(std::move(tensor));
  return OkStatus();
}

StatusOr<std::vector<std::byte>> TorchCheckpoint::Read(size_t index) {
  return CatchAll(file_, [&]() -> StatusOr<std::vector<std::byte>> {
    const Tensor& tensor = tensors_[index];
    auto it = unpacked_.find(tensor.storage);
    if (it == unpacked_.end()) {
      LCSM_ASSIGN_OR_RETURN(std::vector<std::byte> bytes,
                            archive_->Read(tensor.storage));
      it = unpacked_.emplace(tensor.storage, std::move(bytes)).first;
    }
    const size_t size = DTypeSize(tensor.dtype);
    std::vector<std::byte> out(tensor.elements * size);
    if (!out.empty()) {
      if (IsRowMajor(tensor)) {
        std::memcpy(out.data(), it->second.data() + tensor.offset * size,
                    out.size());
      } else {
        Gather(tensor, it->second.data(), out.data());
      }
    }
    size_t& users = users_[tensor.storage];
    if (users <= 1) unpacked_.erase(it);
    if (users > 0) --users;
    return out;
  });
}

}  // namespace lcsm::io
