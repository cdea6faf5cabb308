#include "io/pickle.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <utility>

#include "io/errors.h"
#include "io/pickle_opcodes.h"
#include "io/utf8.h"

namespace lcsm::io {

using Kind = PickleNode::Kind;

// The stack machine. Every handler answers with a Status that already names the
// file and the byte.
class PickleParser {
 public:
  PickleParser(Pickle* out, const std::string& file, const PickleLimits& limits)
      : out_(*out), input_(*out->bytes_), file_(file), limits_(limits) {}

  Status Run() {
    for (size_t count = 0; !stopped_; ++count) {
      if (count == limits_.opcodes) return Limit("opcodes", limits_.opcodes);
      opcode_at_ = at_;
      uint64_t code = 0;
      LCSM_RETURN_IF_ERROR(ReadNumber(1, &code));
      LCSM_RETURN_IF_ERROR(Step(static_cast<uint8_t>(code)));
    }
    return OkStatus();
  }

 private:
  Status Wrong(std::string_view what) const {
    return InvalidInput(
        fmt::format("{}: byte {} of its pickle {}", file_, opcode_at_, what));
  }
  Status Limit(std::string_view what, size_t limit) const {
    return Wrong(
        fmt::format("exceeds a limit, expected at most {} {}", limit, what));
  }

  // --- input ---

  Status ReadBytes(uint64_t bytes, std::string_view* out) {
    if (bytes > input_.size() - at_) {
      return Wrong(fmt::format(
          "wants {} more bytes, expected at most {}, the rest (cut short?)",
          bytes, input_.size() - at_));
    }
    *out = input_.substr(at_, bytes);
    at_ += bytes;
    return OkStatus();
  }

  // An unsigned little-endian number of 1, 2, 4 or 8 bytes.
  Status ReadNumber(size_t bytes, uint64_t* out) {
    std::string_view raw;
    LCSM_RETURN_IF_ERROR(ReadBytes(bytes, &raw));
    uint64_t value = 0;
    std::memcpy(&value, raw.data(), bytes);
    *out = value;
    return OkStatus();
  }

  // `length_bytes` bytes of length, then that many bytes.
  Status ReadCounted(size_t length_bytes, std::string_view* out) {
    uint64_t length = 0;
    LCSM_RETURN_IF_ERROR(ReadNumber(length_bytes, &length));
    return ReadBytes(length, out);
  }

  Status ReadLine(std::string_view* out) {
    const size_t end = input_.find('\n', at_);
    if (end == std::string_view::npos)
      return Wrong("has a name without an end, expected a newline after it");
    *out = input_.substr(at_, end - at_);
    at_ = end + 1;
    return OkStatus();
  }

  // --- nodes and stack ---

  PickleNode& Node(PickleId id) { return out_.nodes_[id]; }

  Status PushId(PickleId id) {
    if (stack_.size() == limits_.stack)
      return Limit("values on its stack", limits_.stack);
    stack_.push_back(id);
    return OkStatus();
  }

  Status Push(PickleNode node) {
    if (out_.nodes_.size() == limits_.nodes)
      return Limit("values", limits_.nodes);
    out_.nodes_.push_back(std::move(node));
    return PushId(static_cast<PickleId>(out_.nodes_.size() - 1));
  }

  Status PushKind(Kind kind) {
    PickleNode node;
    node.kind = kind;
    return Push(std::move(node));
  }

  Status PushInt(Kind kind, int64_t value) {
    PickleNode node;
    node.kind = kind;
    node.integer = value;
    return Push(std::move(node));
  }

  Status PushText(Kind kind, std::string_view text) {
    if (kind == Kind::kString && !IsUtf8(text))
      return Wrong(
          fmt::format("has the string {}, expected UTF-8", Quoted(text)));
    PickleNode node;
    node.kind = kind;
    node.text = text;
    return Push(std::move(node));
  }

  // What lies above the topmost mark, or the whole stack if there is none.
  size_t Available() const {
    return stack_.size() - (marks_.empty() ? 0 : marks_.back());
  }

  Status Need(size_t values) const {
    if (Available() >= values) return OkStatus();
    return Wrong(fmt::format("finds {} values on the stack, expected {}",
                             Available(), values));
  }

  Status Pop(PickleId* id) {
    LCSM_RETURN_IF_ERROR(Need(1));
    *id = stack_.back();
    stack_.pop_back();
    return OkStatus();
  }

  // Everything above the topmost mark, and the mark.
  Status PopMarked(std::vector<PickleId>* items) {
    if (marks_.empty()) return Wrong("finds no mark, expected one");
    items->assign(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()),
                  stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return OkStatus();
  }

  Status PushItems(Kind kind, std::vector<PickleId> items) {
    PickleNode node;
    node.kind = kind;
    node.items = std::move(items);
    return Push(std::move(node));
  }

  Status PushTuple(size_t values) {
    LCSM_RETURN_IF_ERROR(Need(values));
    std::vector<PickleId> items(stack_.end() - static_cast<ptrdiff_t>(values),
                                stack_.end());
    stack_.resize(stack_.size() - values);
    return PushItems(Kind::kTuple, std::move(items));
  }

  // --- calls and containers ---

  // callable(args) from `values` operands: the callable, its arguments and, if
  // there are three, keyword arguments, which nothing we know has.
  Status PushObject(size_t values) {
    LCSM_RETURN_IF_ERROR(Need(values));
    PickleNode node;
    node.kind = Kind::kObject;
    const size_t first = stack_.size() - values;
    node.callable = stack_[first];
    node.args = stack_[first + 1];
    stack_.resize(first);
    return Push(std::move(node));
  }

  Status PushGlobal(std::string_view module, std::string_view name) {
    if (module.size() + name.size() > limits_.global_bytes)
      return Limit("bytes in the name of a global", limits_.global_bytes);
    if (!IsUtf8(module) || !IsUtf8(name))
      return Wrong("names a global that is not UTF-8, expected text");
    PickleNode node;
    node.kind = Kind::kGlobal;
    node.text = module;
    node.name = name;
    return Push(std::move(node));
  }

  // Adds key-value pairs to the dict or object on top of the stack.
  Status AddPairs(std::vector<PickleId> items) {
    LCSM_RETURN_IF_ERROR(Need(1));
    PickleNode& target = Node(stack_.back());
    const bool fits = target.kind == Kind::kDict ||
                      (target.kind == Kind::kObject &&
                       (!target.appended || target.items.empty()));
    if (items.size() % 2 != 0 || !fits) {
      return Wrong(fmt::format("sets items of {}, expected pairs and a dict",
                               out_.Describe(target)));
    }
    target.appended = false;
    target.items.insert(target.items.end(), items.begin(), items.end());
    return OkStatus();
  }

  // Adds elements to the list, set or object on top of the stack.
  Status AddElements(std::vector<PickleId> items) {
    LCSM_RETURN_IF_ERROR(Need(1));
    PickleNode& target = Node(stack_.back());
    const bool fits = target.kind == Kind::kList || target.kind == Kind::kSet ||
                      (target.kind == Kind::kObject &&
                       (target.appended || target.items.empty()));
    if (!fits) {
      return Wrong(
          fmt::format("appends to {}, expected a list", out_.Describe(target)));
    }
    target.appended = target.kind == Kind::kObject;
    target.items.insert(target.items.end(), items.begin(), items.end());
    return OkStatus();
  }

  Status Build() {
    LCSM_RETURN_IF_ERROR(Need(2));
    PickleId state = 0;
    LCSM_RETURN_IF_ERROR(Pop(&state));
    PickleNode& target = Node(stack_.back());
    if (target.kind != Kind::kObject) {
      return Wrong(fmt::format("sets the state of {}, expected an object",
                               out_.Describe(target)));
    }
    target.state = state;
    return OkStatus();
  }

  Status PushLong(std::string_view raw) {
    if (raw.size() > 8) return PushText(Kind::kBigInt, raw);
    uint64_t value = 0;
    if (!raw.empty()) {
      std::memcpy(&value, raw.data(), raw.size());
      const bool negative = (static_cast<uint8_t>(raw.back()) & 0x80) != 0;
      if (negative && raw.size() < 8) value |= ~uint64_t{0} << (8 * raw.size());
    }
    return PushInt(Kind::kInt, static_cast<int64_t>(value));
  }

  // --- memo ---

  Status Put(uint64_t index) {
    LCSM_RETURN_IF_ERROR(Need(1));
    if (memo_.size() == limits_.memo)
      return Limit("values in its memo", limits_.memo);
    memo_[index] = stack_.back();
    return OkStatus();
  }

  Status Get(uint64_t index) {
    const auto it = memo_.find(index);
    if (it == memo_.end()) {
      return Wrong(fmt::format(
          "reads memo entry {}, expected one that was stored", index));
    }
    return PushId(it->second);
  }

  Status Step(uint8_t code);

  Pickle& out_;
  const std::string_view input_;
  const std::string& file_;
  const PickleLimits& limits_;
  size_t at_ = 0;
  size_t opcode_at_ = 0;
  bool stopped_ = false;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  // Heights of the stack.
  std::unordered_map<uint64_t, PickleId> memo_;
};

Status PickleParser::Step(uint8_t code) {
  uint64_t number = 0;
  std::string_view text;
  std::string_view name;
  PickleId id = 0;
  std::vector<PickleId> items;
  switch (code) {
    case opcode::kProto:
      LCSM_RETURN_IF_ERROR(ReadNumber(1, &number));
      if (number > 5) {
        return Wrong(
            fmt::format("says protocol {}, expected at most 5", number));
      }
      return OkStatus();
    case opcode::kFrame:  // Only a hint for readers of streams.
      return ReadNumber(8, &number);
    case opcode::kStop:
      LCSM_RETURN_IF_ERROR(Pop(&out_.root_));
      stopped_ = true;
      return OkStatus();
    case opcode::kMark:
      if (marks_.size() == limits_.marks)
        return Limit("nested containers", limits_.marks);
      marks_.push_back(stack_.size());
      return OkStatus();
    case opcode::kPop:
      return Pop(&id);
    case opcode::kPopMark:
      return PopMarked(&items);
    case opcode::kDup:
      LCSM_RETURN_IF_ERROR(Need(1));
      return PushId(stack_.back());

    case opcode::kNone:
      return PushKind(Kind::kNone);
    case opcode::kNewTrue:
      return PushInt(Kind::kBool, 1);
    case opcode::kNewFalse:
      return PushInt(Kind::kBool, 0);
    case opcode::kBinInt1:
      LCSM_RETURN_IF_ERROR(ReadNumber(1, &number));
      return PushInt(Kind::kInt, static_cast<int64_t>(number));
    case opcode::kBinInt2:
      LCSM_RETURN_IF_ERROR(ReadNumber(2, &number));
      return PushInt(Kind::kInt, static_cast<int64_t>(number));
    case opcode::kBinInt:
      LCSM_RETURN_IF_ERROR(ReadNumber(4, &number));
      return PushInt(Kind::kInt, static_cast<int32_t>(number));
    case opcode::kLong1:
      LCSM_RETURN_IF_ERROR(ReadCounted(1, &text));
      return PushLong(text);
    case opcode::kLong4:
      LCSM_RETURN_IF_ERROR(ReadCounted(4, &text));
      return PushLong(text);
    case opcode::kBinFloat: {  // The one big-endian number.
      LCSM_RETURN_IF_ERROR(ReadNumber(8, &number));
      PickleNode node;
      node.kind = Kind::kFloat;
      node.real = std::bit_cast<double>(__builtin_bswap64(number));
      return Push(std::move(node));
    }

    case opcode::kShortBinUnicode:
      LCSM_RETURN_IF_ERROR(ReadCounted(1, &text));
      return PushText(Kind::kString, text);
    case opcode::kBinUnicode:
      LCSM_RETURN_IF_ERROR(ReadCounted(4, &text));
      return PushText(Kind::kString, text);
    case opcode::kBinUnicode8:
      LCSM_RETURN_IF_ERROR(ReadCounted(8, &text));
      return PushText(Kind::kString, text);
    case opcode::kShortBinString:  // Python 2's str: text or bytes, we cannot
                                   // know.
      LCSM_RETURN_IF_ERROR(ReadCounted(1, &text));
      return PushText(IsUtf8(text) ? Kind::kString : Kind::kBytes, text);
    case opcode::kBinString:
      LCSM_RETURN_IF_ERROR(ReadCounted(4, &text));
      return PushText(IsUtf8(text) ? Kind::kString : Kind::kBytes, text);
    case opcode::kShortBinBytes:
      LCSM_RETURN_IF_ERROR(ReadCounted(1, &text));
      return PushText(Kind::kBytes, text);
    case opcode::kBinBytes:
      LCSM_RETURN_IF_ERROR(ReadCounted(4, &text));
      return PushText(Kind::kBytes, text);
    case opcode::kBinBytes8:
    case opcode::kByteArray8:
      LCSM_RETURN_IF_ERROR(ReadCounted(8, &text));
      return PushText(Kind::kBytes, text);

    case opcode::kEmptyTuple:
      return PushKind(Kind::kTuple);
    case opcode::kTuple1:
      return PushTuple(1);
    case opcode::kTuple2:
      return PushTuple(2);
    case opcode::kTuple3:
      return PushTuple(3);
    case opcode::kTuple:
      LCSM_RETURN_IF_ERROR(PopMarked(&items));
      return PushItems(Kind::kTuple, std::move(items));
    case opcode::kEmptyList:
      return PushKind(Kind::kList);
    case opcode::kList:
      LCSM_RETURN_IF_ERROR(PopMarked(&items));
      return PushItems(Kind::kList, std::move(items));
    case opcode::kAppend:
      LCSM_RETURN_IF_ERROR(Pop(&id));
      return AddElements({id});
    case opcode::kAppends:
    case opcode::kAddItems:
      LCSM_RETURN_IF_ERROR(PopMarked(&items));
      return AddElements(std::move(items));
    case opcode::kEmptySet:
      return PushKind(Kind::kSet);
    case opcode::kFrozenSet:
      LCSM_RETURN_IF_ERROR(PopMarked(&items));
      return PushItems(Kind::kSet, std::move(items));
    case opcode::kEmptyDict:
      return PushKind(Kind::kDict);
    case opcode::kDict:
      LCSM_RETURN_IF_ERROR(PopMarked(&items));
      LCSM_RETURN_IF_ERROR(PushKind(Kind::kDict));
      return AddPairs(std::move(items));
    case opcode::kSetItem:
      LCSM_RETURN_IF_ERROR(Need(3));
      items.assign(stack_.end() - 2, stack_.end());
      stack_.resize(stack_.size() - 2);
      return AddPairs(std::move(items));
    case opcode::kSetItems:
      LCSM_RETURN_IF_ERROR(PopMarked(&items));
      return AddPairs(std::move(items));

    case opcode::kBinGet:
      LCSM_RETURN_IF_ERROR(ReadNumber(1, &number));
      return Get(number);
    case opcode::kLongBinGet:
      LCSM_RETURN_IF_ERROR(ReadNumber(4, &number));
      return Get(number);
    case opcode::kBinPut:
      LCSM_RETURN_IF_ERROR(ReadNumber(1, &number));
      return Put(number);
    case opcode::kLongBinPut:
      LCSM_RETURN_IF_ERROR(ReadNumber(4, &number));
      return Put(number);
    case opcode::kMemoize:
      return Put(memo_.size());

    case opcode::kGlobal:
      LCSM_RETURN_IF_ERROR(ReadLine(&text));
      LCSM_RETURN_IF_ERROR(ReadLine(&name));
      return PushGlobal(text, name);
    case opcode::kStackGlobal: {
      LCSM_RETURN_IF_ERROR(Need(2));
      const PickleNode& module = Node(stack_[stack_.size() - 2]);
      const PickleNode& member = Node(stack_.back());
      if (module.kind != Kind::kString || member.kind != Kind::kString) {
        return Wrong(
            fmt::format("names a global by {} and {}, expected two "
                        "strings",
                        out_.Describe(module), out_.Describe(member)));
      }
      text = module.text;
      name = member.text;
      stack_.resize(stack_.size() - 2);
      return PushGlobal(text, name);
    }
    case opcode::kReduce:
    case opcode::kNewObj:
      return PushObject(2);
    case opcode::kNewObjEx:
      return PushObject(3);
    case opcode::kBuild:
      return Build();
    case opcode::kBinPersId:
      LCSM_RETURN_IF_ERROR(Pop(&id));
      return PushItems(Kind::kPersistent, {id});
    default:
      return Wrong(fmt::format(
          "is opcode 0x{:02x}, expected one that torch writes (protocols 2 to "
          "5)",
          code));
  }
}

StatusOr<Pickle> Pickle::Parse(std::string bytes, const std::string& file,
                               const PickleLimits& limits) {
  if (bytes.size() > limits.bytes) {
    return InvalidInput(
        fmt::format("{}: its pickle is {} bytes long, expected at most {}",
                    file, bytes.size(), limits.bytes));
  }
  Pickle pickle;
  pickle.bytes_ = std::make_unique<const std::string>(std::move(bytes));
  LCSM_RETURN_IF_ERROR(PickleParser(&pickle, file, limits).Run());
  return pickle;
}

bool Pickle::IsGlobal(PickleId id, std::string_view module,
                      std::string_view name) const {
  if (id == PickleNode::kNoId) return false;
  const PickleNode& node = nodes_[id];
  return node.kind == Kind::kGlobal && node.text == module && node.name == name;
}

bool Pickle::IsMapping(const PickleNode& node) const {
  if (node.kind == Kind::kDict) return true;
  if (node.kind != Kind::kObject || node.appended ||
      !IsGlobal(node.callable, "collections", "OrderedDict")) {
    return false;
  }
  // OrderedDict() and then items; a call with arguments would hold others.
  const PickleNode& args = nodes_[node.args];
  return args.kind == Kind::kTuple && args.items.empty();
}

const PickleNode* Pickle::Find(const PickleNode& mapping,
                               std::string_view key) const {
  for (size_t i = mapping.items.size(); i >= 2; i -= 2) {
    const PickleNode& found = nodes_[mapping.items[i - 2]];
    if (found.kind == Kind::kString && found.text == key)
      return &nodes_[mapping.items[i - 1]];
  }
  return nullptr;
}

std::string Pickle::Describe(const PickleNode& node) const {
  const auto global = [](const PickleNode& g) {
    return fmt::format("{}.{}", g.text, g.name);
  };
  switch (node.kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return node.integer != 0 ? "True" : "False";
    case Kind::kInt:
      return fmt::format("{}", node.integer);
    case Kind::kBigInt:
      return "a large integer";
    case Kind::kFloat:
      return fmt::format("{}", node.real);
    case Kind::kString:
      return Quoted(node.text);
    case Kind::kBytes:
      return "bytes";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kList:
      return "a list";
    case Kind::kSet:
      return "a set";
    case Kind::kDict:
      return "a dict";
    case Kind::kGlobal:
      return "the global " + Quoted(global(node), 200);
    case Kind::kPersistent:
      return "a storage";
    case Kind::kObject: {
      const PickleNode& callable = nodes_[node.callable];
      if (callable.kind != Kind::kGlobal) return "a call of no global";
      return "an object of the global " + Quoted(global(callable), 200);
    }
  }
  return "something";
}

}  // namespace lcsm::io
