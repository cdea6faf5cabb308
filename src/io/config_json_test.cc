#include "io/config_json.h"

#include <gtest/gtest.h>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

ConfigJson Parsed(std::string_view text) {
  return ConfigJson::Parse(text, "config.json").value();
}

TEST(ConfigJsonTest, GivesTypedFields) {
  const ConfigJson config = Parsed(
      R"({"n": 12, "big": 16.0, "x": 5e-2, "on": true, "name": "hyena",
          "nothing": null, "layer": {"l_max": 1026}})");
  EXPECT_EQ(config.GetInt("n", 1, 100).value(), 12);
  EXPECT_EQ(config.GetInt("big", 1, 100).value(), 16);
  EXPECT_EQ(config.GetInt("layer.l_max", 1, 2000).value(), 1026);
  EXPECT_EQ(config.GetIntOr("nothing", 7, 0, 9).value(), 7);
  EXPECT_EQ(config.GetIntOr("layer.none", 7, 0, 9).value(), 7);
  EXPECT_EQ(config.GetNumber("x").value(), 0.05);
  EXPECT_EQ(config.GetNumber("n").value(), 12.0);
  EXPECT_EQ(config.GetNumberOr("y", 0.5).value(), 0.5);
  EXPECT_TRUE(config.GetBool("on").value());
  EXPECT_FALSE(config.GetBoolOr("off", false).value());
  EXPECT_EQ(config.GetString("name").value(), "hyena");
  EXPECT_EQ(config.GetStringOr("family", "x").value(), "x");
  EXPECT_EQ(config.GetChoiceOr("name", "a", {"hyena", "stu"}).value(), "hyena");
  EXPECT_EQ(config.GetChoiceOr("kind", "a", {"a", "b"}).value(), "a");
  EXPECT_TRUE(config.Has("layer.l_max"));
  EXPECT_FALSE(config.Has("nothing"));
  EXPECT_FALSE(config.Has("n.l_max"));
  EXPECT_EQ(config.Keys("layer"), std::vector<std::string>{"l_max"});
  EXPECT_EQ(config.Keys("").size(), 7u);
}

TEST(ConfigJsonTest, WrongFieldsAreSentences) {
  const ConfigJson config =
      Parsed(R"({"n": "twelve", "m": 1.5, "k": 3, "huge": 18446744073709551615,
                 "e": 1e300, "o": {}, "s": 1})");
  ExpectSentence(config.GetInt("n", 1, 9),
                 "config.json: n is \"twelve\", expected a whole number from 1 "
                 "to 9");
  ExpectSentence(config.GetInt("m", 1, 9), "m is 1.5, expected a whole");
  ExpectSentence(config.GetInt("k", 4, 9), "k is 3, expected a whole");
  ExpectSentence(config.GetInt("none", 4, 9), "none is missing, expected");
  ExpectSentence(config.GetInt("huge", 0, INT64_MAX),
                 "huge is 18446744073709551615, expected a whole number from 0 "
                 "on");
  ExpectSentence(config.GetIntOr("e", 1, 0, INT64_MAX), "e is 1e+300");
  ExpectSentence(config.GetNumberOr("o", 1), "o is an object, expected a num");
  ExpectSentence(config.GetString("with\nnewline"),
                 "\"with\\x0anewline\" is missing");
  // Cut off and escaped, it may be as long as it was.
  ExpectSentence(config.GetBool(std::string(201, 'b') + "\nb"),
                 "b...\" is missing");
  ExpectSentence(config.GetBool("k"), "k is 3, expected true or false");
  ExpectSentence(config.GetString("k"), "k is 3, expected a string");
  ExpectSentence(config.GetChoiceOr("n", "a", {"a", "b"}),
                 "n is \"twelve\", expected \"a\" or \"b\"");
  ExpectSentence(config.Wrong("k", "the number of layers"),
                 "config.json: k is 3, expected the number of layers");
}

TEST(ConfigJsonTest, BrokenFilesAreSentences) {
  const auto parse = [](std::string_view text) {
    return ConfigJson::Parse(text, "c.json");
  };
  ExpectSentence(parse(""), "c.json: ends within its JSON");
  ExpectSentence(parse("{\"a\": 1,"), "c.json: ends within its JSON");
  ExpectSentence(parse("{\n \"a\": tru }"), "c.json", "line 2, column 10");
  ExpectSentence(parse("{} x"), "c.json", "line 1, column 4");
  ExpectSentence(parse("[1]"), "c.json: holds a list, expected a JSON object");
  ExpectSentence(parse("{\"a\": 1, \"a\": 2}"), "the key \"a\" stands twice");
  ExpectSentence(parse("{\"a\": 1e999}"), "c.json");
  ExpectSentence(parse("{\"a\xff\": 1}"), "c.json");
  ExpectSentence(parse("\x93NUMPY"), "c.json");
  ExpectSentence(parse(std::string(100000, '[')), "deeper than 64 levels");
  ScratchFolder folder;
  ExpectSentence(ConfigJson::Read(folder / "config.json"),
                 "config.json: cannot be opened: No such file");
}

TEST(ConfigJsonTest, PathsGoThroughLists) {
  const ConfigJson config =
      Parsed(R"({"blocks": [{"width": 4}, {"width": "x"}, null], "n": 3})");
  EXPECT_TRUE(config.IsList("blocks"));
  EXPECT_FALSE(config.IsList("n"));
  EXPECT_FALSE(config.IsList("m"));
  EXPECT_EQ(config.ListSize("blocks").value(), 3u);
  EXPECT_EQ(config.GetInt("blocks.0.width", 1, 9).value(), 4);
  EXPECT_TRUE(config.Has("blocks.1"));
  for (const char* none : {"blocks.2", "blocks.3", "blocks.-1", "blocks.0x",
                           "blocks.99999999999999999999"}) {
    EXPECT_FALSE(config.Has(none)) << none;
  }
  ExpectSentence(config.GetInt("blocks.1.width", 1, 9).status(),
                 "config.json: blocks.1.width is \"x\", expected a whole");
  ExpectSentence(config.ListSize("n").status(), "n is 3, expected a list");
}

}  // namespace
}  // namespace lcsm::io
