#include "io/pickle.h"

#include <gtest/gtest.h>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

using Kind = PickleNode::Kind;
using std::string_literals::operator""s;

StatusOr<Pickle> Parse(const std::string& bytes) {
  return Pickle::Parse(bytes, "w.ckpt");
}

const PickleNode& Item(const Pickle& pickle, const PickleNode& node, size_t i) {
  return pickle[node.items.at(i)];
}

TEST(PickleTest, ReadsPlainValues) {
  // (None, True, 255, 65535, -1, 2**33, -2, 0.5, "ab", b"\x01") in protocol 4.
  const std::string bytes =
      "\x80\x04\x95\x10\0\0\0\0\0\0\0(N\x88K\xffM\xff\xffJ\xff\xff\xff\xff"
      "\x8a\x05\0\0\0\0\x02\x8a\x01\xfeG\x3f\xe0\0\0\0\0\0\0\x8c\x02"
      "abC\x01\x01t."s;
  const auto pickle = Parse(bytes);
  ASSERT_TRUE(pickle.ok()) << pickle.status().message();
  const PickleNode& root = pickle->root();
  ASSERT_EQ(root.kind, Kind::kTuple);
  ASSERT_EQ(root.items.size(), 10u);
  EXPECT_EQ(Item(*pickle, root, 0).kind, Kind::kNone);
  EXPECT_EQ(Item(*pickle, root, 1).integer, 1);
  EXPECT_EQ(Item(*pickle, root, 2).integer, 255);
  EXPECT_EQ(Item(*pickle, root, 3).integer, 65535);
  EXPECT_EQ(Item(*pickle, root, 4).integer, -1);
  EXPECT_EQ(Item(*pickle, root, 5).integer, int64_t{1} << 33);
  EXPECT_EQ(Item(*pickle, root, 6).integer, -2);
  EXPECT_EQ(Item(*pickle, root, 7).real, 0.5);
  EXPECT_EQ(Item(*pickle, root, 8).text, "ab");
  EXPECT_EQ(Item(*pickle, root, 9).kind, Kind::kBytes);
}

TEST(PickleTest, ReadsContainersAndMemo) {
  // {"a": [1, 2], "b": <the same list>}
  const auto pickle = Parse(
      "\x80\x02}q\0(U\x01"
      "a]q\x01(K\x01K\x02"
      "eU\x01"
      "bh\x01u."s);
  ASSERT_TRUE(pickle.ok()) << pickle.status().message();
  const PickleNode* a = pickle->Find(pickle->root(), "a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->items.size(), 2u);
  EXPECT_EQ(pickle->Find(pickle->root(), "b"), a);
  EXPECT_EQ(pickle->Find(pickle->root(), "c"), nullptr);
}

TEST(PickleTest, CallsAreOnlyDescribed) {
  const auto pickle = Parse(
      "\x80\x02"
      "cos\nsystem\nU\x04"
      "evil\x85R."s);
  ASSERT_TRUE(pickle.ok()) << pickle.status().message();
  EXPECT_EQ(pickle->root().kind, Kind::kObject);
  EXPECT_EQ(pickle->Describe(pickle->root()),
            "an object of the global \"os.system\"");
  EXPECT_FALSE(pickle->IsMapping(pickle->root()));
  // The same by protocol 4's way to name globals, by NEWOBJ, with a state.
  const auto other = Parse("\x80\x04\x8c\x02os\x8c\x06system\x93)\x81}b."s);
  ASSERT_TRUE(other.ok()) << other.status().message();
  EXPECT_TRUE(other->IsGlobal(other->root().callable, "os", "system"));
}

TEST(PickleTest, CyclesAreHarmless) {
  const auto pickle = Parse("\x80\x02]q\0h\0a."s);  // x = []; x.append(x)
  ASSERT_TRUE(pickle.ok());
  EXPECT_EQ(&Item(*pickle, pickle->root(), 0), &pickle->root());
}

TEST(PickleTest, BrokenOnesAreSentences) {
  const auto expect = [](const std::string& bytes, std::string_view part) {
    ExpectSentence(Parse(bytes), "w.ckpt: byte ", part, "expected");
  };
  expect("", "cut short?");
  expect("\x80\x02"s, "cut short?");
  expect("\x80\x06."s, "protocol 6, expected at most 5");
  expect("."s, "finds 0 values on the stack, expected 1");
  expect("t"s, "finds no mark");
  expect("K\x01\x86."s, "finds 1 values on the stack, expected 2");
  expect("(K\x01(R."s, "finds 0 values on the stack, expected 2");
  expect("h\x05."s, "reads memo entry 5");
  expect(
      "X\xff\xff\xff\xff"
      "ab."s,
      "wants 4294967295 more bytes");
  expect(
      "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
      "ab."s,
      "more bytes");
  expect("X\x01\0\0\0\xff."s, "has the string \"\\xff\", expected UTF-8");
  expect("cos\nsystem"s, "has a name without an end");
  expect(
      "K\x01K\x02"
      "a."s,
      "appends to 1, expected a list");
  expect("]K\x01K\x02s."s, "sets items of a list, expected pairs and a dict");
  expect("}(K\x01u."s, "sets items of a dict, expected pairs");
  expect("K\x01}b."s, "sets the state of 1, expected an object");
  expect("K\x01K\x02\x93."s, "names a global by 1 and 2");
  expect("I1\n."s, "is opcode 0x49");      // Protocol 0.
  expect("\x82\x01."s, "is opcode 0x82");  // Extension registry.
}

TEST(PickleTest, LimitsAreSentences) {
  PickleLimits limits;
  limits.bytes = 3000;
  limits.opcodes = 1000;
  limits.nodes = 100;
  limits.memo = 10;
  limits.stack = 200;
  limits.marks = 5;
  limits.global_bytes = 20;
  const auto expect = [&](const std::string& bytes, std::string_view part) {
    ExpectSentence(Pickle::Parse(bytes, "w.ckpt", limits), "w.ckpt: ", part,
                   "expected at most");
  };
  const auto repeat = [](const std::string& piece, size_t n) {
    std::string all;
    for (size_t i = 0; i < n; ++i) all += piece;
    return all;
  };
  expect(repeat("N", 3001), "3001 bytes long");
  expect(repeat("N0", 1000), "100 values");
  expect("N"s + repeat("20", 1000), "1000 opcodes");
  expect("N"s + repeat("2", 1000), "200 values on its stack");
  expect("N"s + repeat("\x94", 11), "10 values in its memo");
  expect(repeat("(", 6), "5 nested containers");
  expect("c"s + repeat("m", 15) + "\n" + repeat("n", 6) + "\n", "20 bytes");
}

}  // namespace
}  // namespace lcsm::io
