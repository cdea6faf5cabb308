#include "io/text_source.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <thread>
#include <vector>

#include "io/gzip_test_util.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

struct Lines {
  Status status;
  std::vector<std::string> lines;
};

Lines ReadAll(TextSource& source, size_t limit = TextSource::kMaxLineBytes) {
  Lines out;
  for (;;) {
    std::string_view line;
    const StatusOr<bool> more = source.Next(&line, limit);
    if (!more.ok() || !*more) {
      out.status = more.status();
      return out;
    }
    out.lines.emplace_back(line);
    EXPECT_EQ(source.line(), out.lines.size());
  }
}
Lines ReadBytes(std::string bytes, size_t limit = TextSource::kMaxLineBytes) {
  return ReadAll(*TextSource::FromBytes(std::move(bytes), "f"), limit);
}

// Lines of all lengths around the sizes of buffers, some with CRLF, and
// incompressible enough that compressed ones span buffers too.
std::string LongText() {
  std::string text;
  uint32_t random = 1;
  for (size_t n : {0, 1, 5, 65535, 65536, 3, 262143, 262144, 600000, 0, 7}) {
    for (size_t i = 0; i < n; ++i) {
      random = random * 1664525 + 1013904223;
      text.push_back(static_cast<char>('A' + (random >> 24) % 60));
    }
    text += n % 2 == 0 ? "\n" : "\r\n";
  }
  return text;
}

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t feed = text.find('\n');
    std::string line(text.substr(0, feed));
    if (feed != std::string_view::npos && line.ends_with('\r')) line.pop_back();
    lines.push_back(line);
    text.remove_prefix(feed == std::string_view::npos ? text.size() : feed + 1);
  }
  return lines;
}

TEST(TextSourceTest, SplitsLines) {
  using ::testing::ElementsAre;
  EXPECT_THAT(ReadBytes("a\nb\r\n\nc").lines, ElementsAre("a", "b", "", "c"));
  EXPECT_THAT(ReadBytes("a\n").lines, ElementsAre("a"));
  EXPECT_THAT(ReadBytes("\n").lines, ElementsAre(""));
  EXPECT_THAT(ReadBytes("a\rb\r").lines, ElementsAre("a\rb\r"));
  EXPECT_TRUE(ReadBytes("").lines.empty());
  EXPECT_TRUE(ReadBytes("").status.ok());
}

TEST(TextSourceTest, KnowsWhereLinesBegin) {
  const auto source = TextSource::FromBytes("ab\r\nc\n\nd", "f");
  std::string_view line;
  for (const auto& [offset, end] :
       {std::pair(0, 2), std::pair(4, 1), std::pair(6, 1), std::pair(7, 0)}) {
    ASSERT_TRUE(source->Next(&line).value());
    EXPECT_EQ(source->offset(), static_cast<uint64_t>(offset));
    EXPECT_EQ(source->line_end_bytes(), static_cast<size_t>(end));
  }
  EXPECT_EQ(source->At(), "f: line 4");
  EXPECT_FALSE(source->Next(&line).value());
  EXPECT_FALSE(source->Next(&line).value());
}

TEST(TextSourceTest, CompressionChangesNothing) {
  const std::string text = LongText();
  const std::vector<std::string> wanted = Split(text);
  ScratchFolder folder;
  const std::string half = text.substr(0, text.size() / 2);
  const std::string rest = text.substr(text.size() / 2);
  for (const std::string& bytes :
       {text, Gzip(text), Bgzip(text), Bgzip(text, 1000),
        Gzip(half) + Gzip(rest), Gzip(half) + Gzip("") + Gzip(rest),
        Gzip(text) + std::string(200000, '\0'), Bgzip(half) + Bgzip(rest)}) {
    EXPECT_EQ(ReadBytes(bytes).lines, wanted);
    Put(folder / "f", bytes);
    const auto source = TextSource::Open((folder / "f").string());
    ASSERT_TRUE(source.ok());
    const Lines read = ReadAll(**source);
    EXPECT_TRUE(read.status.ok()) << read.status.message();
    EXPECT_EQ(read.lines, wanted);
    EXPECT_EQ((*source)->compressed(), bytes != text);
    EXPECT_EQ((*source)->Done(), 1);
  }
}

TEST(TextSourceTest, ReadsPipesByteByByte) {
  ScratchFolder folder;
  const std::string pipe = (folder / "pipe").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::string bytes = Bgzip("one\ntwo\n");
  std::thread writer([&] {
    std::ofstream out(pipe, std::ios::binary);
    for (const char c : bytes) {
      out.put(c);
      out.flush();
    }
  });
  const auto source = TextSource::Open(pipe);
  ASSERT_TRUE(source.ok());
  EXPECT_THAT(ReadAll(**source).lines, ::testing::ElementsAre("one", "two"));
  EXPECT_EQ((*source)->Done(), 0);
  writer.join();
}

TEST(TextSourceTest, CutShortAtAnyByte) {
  const std::string text = "first line\nsecond line\nthird line\n";
  for (const std::string& bytes :
       {Gzip(text), Gzip(text) + Gzip(text), Bgzip(text, 12)}) {
    const size_t whole = ReadBytes(bytes).lines.size();
    for (size_t size = 2; size < bytes.size(); ++size) {
      const Lines read = ReadBytes(bytes.substr(0, size));
      // Between two plain gzip members nobody can tell.
      if (read.status.ok()) {
        EXPECT_EQ(bytes.substr(0, size), Gzip(text));
        continue;
      }
      ExpectSentence(read.status, "f: ", "cut short");
      EXPECT_LE(read.lines.size(), whole);
    }
  }
}

TEST(TextSourceTest, DamageIsASentence) {
  const std::string good = Gzip(LongText());
  for (size_t at : {size_t{3}, size_t{2000}, good.size() - 6}) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x55);
    const Lines read = ReadBytes(bytes);
    EXPECT_FALSE(read.status.ok()) << at;
    if (!read.status.ok()) ExpectSentence(read.status, "f: ");
  }
  ExpectSentence(ReadBytes(Gzip("a\n") + "more").status, "f: ", "not gzip");
}

TEST(TextSourceTest, LinesHaveALimit) {
  EXPECT_TRUE(ReadBytes("12345\n12345", 5).status.ok());
  ExpectSentence(ReadBytes("12345\n123456\n", 5).status,
                 "f: line 2 is longer than 5 bytes");
  // A small file, a line that would not fit into memory.
  ExpectSentence(
      ReadBytes(Gzip(std::string(size_t{1} << 24, 'A')), 1 << 20).status,
      "f: line 1 is longer than 1048576 bytes");
}

TEST(TextSourceTest, RefusesWhatCannotBeRead) {
  ScratchFolder folder;
  ExpectSentence(TextSource::Open((folder / "none").string()), "none",
                 "No such file");
  ExpectSentence(TextSource::Open(folder.path().string()), "is a folder");
}

}  // namespace
}  // namespace lcsm::io
