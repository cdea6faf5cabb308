// Reads a description's JSON, field by field, for stack_description.cc.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/config_json.h"
#include "io/errors.h"
#include "lcsm/status.h"

namespace lcsm {

template <typename T>
struct Choice {
  const char* name;
  T value;
};

// Reads what stands at one path of the document, for one block.
class StackReader {
 public:
  StackReader(const io::ConfigJson& json, std::string path, size_t block)
      : json_(json), path_(std::move(path)), block_(block) {}

  std::string At(std::string_view field) const {
    return path_.empty() ? std::string(field)
                         : fmt::format("{}.{}", path_, field);
  }
  StackReader Under(std::string_view field) const {
    return StackReader(json_, At(field), block_);
  }
  bool Has(std::string_view field) const { return json_.Has(At(field)); }
  Status Wrong(std::string_view field, std::string_view expected) const {
    return json_.Wrong(At(field), expected);
  }
  const io::ConfigJson& json() const { return json_; }
  const std::string& path() const { return path_; }

  // A field that nobody reads is a slip of the pen or a wish that would be
  // ignored.
  Status CheckFields(std::string_view what,
                     const std::vector<std::string_view>& known) const {
    if (!json_.Has(path_) || json_.IsList(path_)) {
      return json_.Wrong(path_, "an object");
    }
    const std::vector<std::string> keys = json_.Keys(path_);
    if (keys.empty()) return json_.Wrong(path_, "an object with fields");
    for (const std::string& key : keys) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      return InvalidInput(fmt::format(
          "{}: {} has the field {}, which {} does not have; expected {}",
          json_.file(), path_, io::Quoted(key), what, fmt::join(known, ", ")));
    }
    return OkStatus();
  }

  // The readers below leave *out alone where the field is absent.
  Status Size(std::string_view field, int64_t lo, int64_t hi,
              size_t* out) const {
    LCSM_ASSIGN_OR_RETURN(
        const int64_t value,
        json_.GetIntOr(At(field), static_cast<int64_t>(*out), lo, hi));
    if (Has(field)) *out = static_cast<size_t>(value);
    return OkStatus();
  }
  // Of a list or of a single one.
  Status Sizes(std::string_view field, int64_t lo, int64_t hi,
               std::vector<size_t>* out) const {
    if (!json_.IsList(At(field))) {
      if (!Has(field)) return OkStatus();
      size_t one = 0;
      LCSM_RETURN_IF_ERROR(Size(field, lo, hi, &one));
      out->assign(1, one);
      return OkStatus();
    }
    LCSM_ASSIGN_OR_RETURN(const size_t count, json_.ListSize(At(field)));
    if (count == 0 || count > kMaxNames) {
      return Wrong(field, fmt::format("1 to {} numbers", kMaxNames));
    }
    out->assign(count, 0);
    for (size_t i = 0; i < count; ++i) {
      const std::string at = fmt::format("{}.{}", field, i);
      if (!Has(at)) return Wrong(at, "a whole number");
      LCSM_RETURN_IF_ERROR(Size(at, lo, hi, &(*out)[i]));
    }
    return OkStatus();
  }
  Status Number(std::string_view field, double lo, double hi,
                double* out) const {
    LCSM_ASSIGN_OR_RETURN(const double value,
                          json_.GetNumberOr(At(field), *out));
    if (!(value >= lo && value <= hi)) {
      return Wrong(field, fmt::format("a number from {} to {}", lo, hi));
    }
    *out = value;
    return OkStatus();
  }
  Status Flag(std::string_view field, bool* out) const {
    LCSM_ASSIGN_OR_RETURN(*out, json_.GetBoolOr(At(field), *out));
    return OkStatus();
  }
  // A tensor's name; {i} in it is the block's number.
  Status Tensor(std::string_view field, std::string* out) const {
    if (!Has(field)) return OkStatus();
    StatusOr<std::string> name = json_.GetString(At(field));
    if (!name.ok()) return name.status();
    if (name->empty()) return Wrong(field, "a tensor's name");
    *out = std::move(*name);
    const std::string number = std::to_string(block_);
    for (size_t at = 0; (at = out->find("{i}", at)) != std::string::npos;) {
      out->replace(at, 3, number);
      at += number.size();
    }
    return OkStatus();
  }
  Status NeededTensor(std::string_view field, std::string* out) const {
    if (!Has(field)) return Wrong(field, "a tensor's name");
    return Tensor(field, out);
  }
  template <typename Read>
  Status List(std::string_view field, std::vector<std::string>* out,
              Read&& read) const {
    LCSM_ASSIGN_OR_RETURN(const size_t count, json_.ListSize(At(field)));
    if (count == 0 || count > kMaxNames) {
      return Wrong(field, fmt::format("1 to {} names", kMaxNames));
    }
    for (size_t i = 0; i < count; ++i) {
      out->emplace_back();
      LCSM_RETURN_IF_ERROR(read(fmt::format("{}.{}", field, i), &out->back()));
    }
    return OkStatus();
  }
  Status Tensors(std::string_view field, std::vector<std::string>* out) const {
    return List(field, out, [this](std::string_view at, std::string* name) {
      return NeededTensor(at, name);
    });
  }
  // Names of streams, one or several.
  Status Streams(std::string_view field, std::vector<std::string>* out) const {
    const auto read = [this](std::string_view at, std::string* name) -> Status {
      StatusOr<std::string> text = json_.GetString(At(at));
      if (!text.ok()) return text.status();
      *name = std::move(*text);
      if (name->empty() || name->size() > 100) {
        return Wrong(at, "a stream's name of 1 to 100 bytes");
      }
      return OkStatus();
    };
    if (json_.IsList(At(field))) return List(field, out, read);
    out->emplace_back();
    return read(field, &out->back());
  }
  template <typename T>
  Status Choose(std::string_view field, std::span<const Choice<T>> choices,
                bool needed, T* out) const {
    if (!Has(field) && !needed) return OkStatus();
    StatusOr<std::string> text = json_.GetString(At(field));
    std::vector<const char*> names;
    for (const Choice<T>& choice : choices) {
      if (text.ok() && *text == choice.name) {
        *out = choice.value;
        return OkStatus();
      }
      names.push_back(choice.name);
    }
    return Wrong(field, fmt::format("\"{}\"", fmt::join(names, "\" or \"")));
  }
  // Accepts no answer but "yes".
  Status Causal() const {
    bool causal = true, bidirectional = false;
    LCSM_RETURN_IF_ERROR(Flag("causal", &causal));
    LCSM_RETURN_IF_ERROR(Flag("bidirectional", &bidirectional));
    if (causal && !bidirectional) return OkStatus();
    return Unsupported(fmt::format(
        "{}: {} is not causal, and what looks at later positions cannot be "
        "generated token by token",
        json_.file(), path_));
  }

 private:
  static constexpr size_t kMaxNames = 256;

  const io::ConfigJson& json_;
  const std::string path_;
  const size_t block_;
};

}  // namespace lcsm
