// Python pickles, read as data.
//
// A pickle is a program for a stack machine, and Python's own reader runs what
// it says. This one executes nothing: a global stays a pair of names, a call
// stays a node that says "this callable, these arguments", and it is up to the
// reader of the tree to understand the few calls it knows (torch_checkpoint).
// Supported are the opcodes of protocols 2 to 5, which is what torch and
// Lightning write.
//
// Nodes live in one flat array and refer to each other by number, because a
// pickle may contain cycles and chains of any depth: nothing here recurses.
// Thread safety: immutable after Parse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::io {

// What a hostile file may make us spend. The defaults are some hundred times
// what checkpoints of 1e9 parameters need.
struct PickleLimits {
  size_t bytes = size_t{64} << 20;
  size_t opcodes = 8'000'000;
  size_t nodes = 2'000'000;
  size_t memo = 1'000'000;
  size_t stack = 1'000'000;
  size_t marks = 256;  // Nesting of containers under construction.
  size_t global_bytes = 1000;
};

using PickleId = uint32_t;

struct PickleNode {
  enum class Kind : uint8_t {
    kNone,
    kBool,        // integer
    kInt,         // integer
    kBigInt,      // text: little-endian two's complement, more than 8 bytes
    kFloat,       // real
    kString,      // text, UTF-8
    kBytes,       // text
    kTuple,       // items
    kList,        // items
    kSet,         // items
    kDict,        // items: key, value, key, value...
    kGlobal,      // text: module, name
    kPersistent,  // items[0]: the persistent id
    kObject,      // callable(args), state; items as they were added to it
  };
  static constexpr PickleId kNoId = ~PickleId{0};

  Kind kind = Kind::kNone;
  bool appended = false;  // kObject: items are elements, not keys and values.
  int64_t integer = 0;
  double real = 0;
  std::string_view text;
  std::string_view name;
  PickleId callable = kNoId;
  PickleId args = kNoId;
  PickleId state = kNoId;
  std::vector<PickleId> items;
};

class Pickle {
 public:
  // `file` is for messages only. Errors: an opcode outside protocols 2 to 5,
  // an operand that the stack does not hold, a truncated or over-long pickle, a
  // limit.
  static StatusOr<Pickle> Parse(std::string bytes, const std::string& file,
                                const PickleLimits& limits = {});

  const PickleNode& root() const { return nodes_[root_]; }
  // Ids inside nodes are valid; kNoId is not allowed.
  const PickleNode& operator[](PickleId id) const { return nodes_[id]; }

  bool IsGlobal(PickleId id, std::string_view module,
                std::string_view name) const;
  // A dict or a collections.OrderedDict.
  bool IsMapping(const PickleNode& node) const;
  // The value of a string key in a mapping, null if there is none. The last of
  // equal keys, as in Python.
  const PickleNode* Find(const PickleNode& mapping, std::string_view key) const;
  // For messages: "a dict", "the global os.system", "a call of os.system".
  std::string Describe(const PickleNode& node) const;

 private:
  friend class PickleParser;
  Pickle() = default;

  // On the heap, so that views into it outlive moves of this object.
  std::unique_ptr<const std::string> bytes_;
  std::vector<PickleNode> nodes_;
  PickleId root_ = 0;
};

}  // namespace lcsm::io
