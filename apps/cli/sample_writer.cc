#include "sample_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lcsm/version.h"

namespace lcsm::cli {
namespace {

constexpr size_t kFastaColumns = 60;

void PromptOf(std::string_view record, std::string_view bases,
              RunSettings* settings) {
  settings->record = record;
  settings->prompt = bases;
  settings->prompt_tokens = bases.size();
}

// The bytes as they come, so that a reader sees a character the moment it is
// there; one line end closes each sample.
class TextWriter final : public SampleWriter {
 public:
  explicit TextWriter(Output& out) : out_(out) {}

  void SetPrompt(std::string_view, std::string_view) override {}
  Status Begin(size_t) override { return OkStatus(); }
  Status Token(int32_t) override { return OkStatus(); }
  Status Text(std::string_view text) override { return out_.Write(text); }
  Status End(const SampleRecord&) override { return out_.Write("\n"); }

 private:
  Output& out_;
};

class TokensWriter final : public SampleWriter {
 public:
  explicit TokensWriter(Output& out) : out_(out) {}

  void SetPrompt(std::string_view, std::string_view) override {}
  Status Begin(size_t) override {
    first_ = true;
    return OkStatus();
  }
  Status Token(int32_t id) override {
    const char* const between = first_ ? "" : " ";
    first_ = false;
    return out_.Write(fmt::format("{}{}", between, id));
  }
  Status Text(std::string_view) override { return OkStatus(); }
  Status End(const SampleRecord&) override { return out_.Write("\n"); }

 private:
  Output& out_;
  bool first_ = true;
};

class FastaWriter final : public SampleWriter {
 public:
  FastaWriter(const RunSettings& settings, const io::Tokenizer& tokenizer,
              Output& out)
      : settings_(settings), tokenizer_(tokenizer), out_(out) {}

  void SetPrompt(std::string_view record, std::string_view bases) override {
    PromptOf(record, bases, &settings_);
  }
  Status Begin(size_t sample) override {
    line_.clear();
    const RunSettings& s = settings_;
    return out_.Write(
        fmt::format(">{}sample_{} model={} model_hash={} seed={} "
                    "temperature={:g} top_k={} top_p={:g} "
                    "min_p={:g} prompt_tokens={} lcsm={}\n",
                    s.record.empty() ? "" : s.record + "_", sample + 1, s.model,
                    s.model_hash, s.seed, s.temperature, s.top_k, s.top_p,
                    s.min_p, s.prompt_tokens, LCSM_VERSION));
  }

  // One letter a token, so that places in the file are places in the sequence;
  // what is no nucleotide can only be "any".
  Status Token(int32_t id) override {
    std::string_view bytes = tokenizer_.TokenBytes(id);
    if (tokenizer_.IsSpecial(id) || bytes.size() != 1) {
      ++specials_;
      bytes = "N";
    }
    line_ += bytes;
    return line_.size() < kFastaColumns ? OkStatus() : EndLine();
  }
  Status Text(std::string_view) override { return OkStatus(); }
  Status End(const SampleRecord&) override {
    return line_.empty() ? OkStatus() : EndLine();
  }

  std::string Note() const override {
    if (specials_ == 0) return "";
    return fmt::format(
        "special tokens that stand for no nucleotide were written as N: {}; "
        "--allow ACGT generates none",
        specials_);
  }

 private:
  Status EndLine() {
    line_ += '\n';
    Status status = out_.Write(line_);
    line_.clear();
    return status;
  }

  RunSettings settings_;
  const io::Tokenizer& tokenizer_;
  Output& out_;
  std::string line_;
  size_t specials_ = 0;
};

class JsonlWriter final : public SampleWriter {
 public:
  JsonlWriter(const RunSettings& settings, Output& out)
      : settings_(settings), out_(out) {}

  void SetPrompt(std::string_view record, std::string_view bases) override {
    PromptOf(record, bases, &settings_);
  }
  Status Begin(size_t) override { return OkStatus(); }
  Status Token(int32_t) override { return OkStatus(); }
  Status Text(std::string_view) override { return OkStatus(); }

  Status End(const SampleRecord& record) override {
    nlohmann::ordered_json json;
    if (!settings_.record.empty()) json["record"] = settings_.record;
    json["sample"] = record.sample;
    json["prompt"] = settings_.prompt;
    json["text"] = record.text;
    json["tokens"] = record.tokens;
    if (settings_.logprobs) json["logprobs"] = record.logprobs;
    json["finish_reason"] = record.finish_reason;
    json["seed"] = settings_.seed;
    json["temperature"] = settings_.temperature;
    json["top_k"] = settings_.top_k;
    json["top_p"] = settings_.top_p;
    json["min_p"] = settings_.min_p;
    json["model"] = settings_.model;
    json["model_hash"] = settings_.model_hash;
    json["version"] = LCSM_VERSION;
    // Bytes that are no UTF-8 are shown as U+FFFD; "tokens" has them exactly.
    using Handler = nlohmann::ordered_json::error_handler_t;
    return out_.Write(json.dump(-1, ' ', false, Handler::replace) + "\n");
  }

 private:
  RunSettings settings_;
  Output& out_;
};

}  // namespace

StatusOr<std::unique_ptr<SampleWriter>> MakeSampleWriter(
    const RunSettings& settings, const io::Tokenizer* tokenizer, Output& out) {
  using Pointer = std::unique_ptr<SampleWriter>;
  const std::string& format = settings.format;
  if (format == "tokens") return Pointer(new TokensWriter(out));
  if (format == "jsonl") return Pointer(new JsonlWriter(settings, out));
  if (tokenizer == nullptr) {
    return InvalidInput(fmt::format(
        "--format {}: the model {} has no tokenizer, expected tokens or jsonl",
        format, settings.model));
  }
  if (format == "text") return Pointer(new TextWriter(out));
  if (tokenizer->name() != "hyenadna") {
    return InvalidInput(fmt::format(
        "--format fasta: the model {} has the tokenizer {}, expected one that "
        "writes DNA",
        settings.model, tokenizer->name()));
  }
  return Pointer(new FastaWriter(settings, *tokenizer, out));
}

}  // namespace lcsm::cli
