// The files that define a byte-level BPE: tokenizer.json, or vocab.json and
// merges.txt.
#include <fmt/format.h>

#include <string>

#include "io/bpe_tokenizer.h"
#include "io/errors.h"
#include "io/json.h"

namespace lcsm::io {
namespace {

using Json = nlohmann::json;

// The fields of one file, with its sentences.
class Fields {
 public:
  explicit Fields(const std::string& file) : file_(file) {}

  Status Wrong(std::string_view field, const Json* found,
               std::string_view expected) const {
    return InvalidInput(fmt::format(
        "{}: {} is {}, expected {}", file_, field,
        found == nullptr ? "missing" : DescribeJson(*found), expected));
  }
  Status NotOurs(std::string_view field, const Json* found,
                 std::string_view expected) const {
    return Unsupported(Wrong(field, found, expected).message());
  }

  // Null if absent or a JSON null.
  static const Json* Find(const Json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto it = object.find(name);
    return it == object.end() || it->is_null() ? nullptr : &*it;
  }

  // False if absent.
  StatusOr<bool> Flag(const Json& object, const char* name,
                      std::string_view field, bool fallback) const {
    const Json* value = Find(object, name);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) return Wrong(field, value, "true or false");
    return value->get<bool>();
  }

  Status ReadVocab(const Json* vocab, std::string_view field,
                   BpeDefinition* out) const {
    if (vocab == nullptr || !vocab->is_object())
      return Wrong(field, vocab, "an object of tokens and ids");
    out->vocab.reserve(vocab->size());
    for (const auto& item : vocab->items()) {
      if (!item.value().is_number_integer()) {
        return Wrong(fmt::format("the id of token {}", Quoted(item.key())),
                     &item.value(), "a whole number");
      }
      out->vocab.emplace_back(item.key(), item.value().get<int64_t>());
    }
    return OkStatus();
  }

 private:
  const std::string& file_;
};

// "a b" into its two tokens.
bool SplitMerge(std::string_view line,
                std::pair<std::string, std::string>* out) {
  const size_t blank = line.find(' ');
  if (blank == std::string_view::npos || blank == 0 ||
      blank + 1 == line.size() ||
      line.find(' ', blank + 1) != std::string_view::npos) {
    return false;
  }
  *out = {std::string(line.substr(0, blank)),
          std::string(line.substr(blank + 1))};
  return true;
}

Status ReadMerges(const Fields& fields, const Json* merges,
                  BpeDefinition* out) {
  constexpr std::string_view kExpected =
      "\"token token\" or [\"token\", \"token\"]";
  if (merges == nullptr || !merges->is_array())
    return fields.Wrong("model.merges", merges, "a list of pairs of tokens");
  for (size_t i = 0; i < merges->size(); ++i) {
    const Json& merge = (*merges)[i];
    std::pair<std::string, std::string> pair;
    const bool ok = merge.is_string()
                        ? SplitMerge(merge.get_ref<const std::string&>(), &pair)
                        : merge.is_array() && merge.size() == 2 &&
                              merge[0].is_string() && merge[1].is_string();
    if (!ok) {
      return fields.Wrong(fmt::format("model.merges[{}]", i), &merge,
                          kExpected);
    }
    if (merge.is_array())
      pair = {merge[0].get<std::string>(), merge[1].get<std::string>()};
    out->merges.push_back(std::move(pair));
  }
  return OkStatus();
}

Status ReadModel(const Fields& fields, const Json* model, BpeDefinition* out) {
  if (model == nullptr || !model->is_object())
    return fields.Wrong("model", model, "an object");
  const Json* type = Fields::Find(*model, "type");
  if (type != nullptr && *type != "BPE")
    return fields.NotOurs("model.type", type, "\"BPE\"");
  for (const char* name :
       {"continuing_subword_prefix", "end_of_word_suffix", "dropout"}) {
    const Json* value = Fields::Find(*model, name);
    if (value != nullptr && *value != Json("") && *value != 0)
      return fields.NotOurs(fmt::format("model.{}", name), value, "none");
  }
  for (const char* name : {"byte_fallback", "fuse_unk"}) {
    const Json* value = Fields::Find(*model, name);
    if (value != nullptr && *value != false)
      return fields.NotOurs(fmt::format("model.{}", name), value, "false");
  }
  LCSM_ASSIGN_OR_RETURN(
      out->ignore_merges,
      fields.Flag(*model, "ignore_merges", "model.ignore_merges", false));
  if (const Json* unknown = Fields::Find(*model, "unk_token")) {
    if (!unknown->is_string())
      return fields.Wrong("model.unk_token", unknown, "a string");
    out->unknown = unknown->get<std::string>();
  }
  LCSM_RETURN_IF_ERROR(
      fields.ReadVocab(Fields::Find(*model, "vocab"), "model.vocab", out));
  return ReadMerges(fields, Fields::Find(*model, "merges"), out);
}

Status ReadPreTokenizer(const Fields& fields, const Json* value,
                        BpeDefinition* out) {
  const Json* type = value == nullptr ? nullptr : Fields::Find(*value, "type");
  if (type == nullptr || *type != "ByteLevel")
    return fields.NotOurs("pre_tokenizer.type", type, "\"ByteLevel\"");
  LCSM_ASSIGN_OR_RETURN(out->add_prefix_space,
                        fields.Flag(*value, "add_prefix_space",
                                    "pre_tokenizer.add_prefix_space", true));
  LCSM_ASSIGN_OR_RETURN(
      out->split,
      fields.Flag(*value, "use_regex", "pre_tokenizer.use_regex", true));
  return OkStatus();
}

Status ReadAdded(const Fields& fields, const Json* list, BpeDefinition* out) {
  if (list == nullptr) return OkStatus();
  if (!list->is_array())
    return fields.Wrong("added_tokens", list, "a list of objects");
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& item = (*list)[i];
    const std::string field = fmt::format("added_tokens[{}]", i);
    const Json* content = Fields::Find(item, "content");
    const Json* id = Fields::Find(item, "id");
    if (content == nullptr || !content->is_string())
      return fields.Wrong(field + ".content", content, "a string");
    if (id == nullptr || !id->is_number_integer())
      return fields.Wrong(field + ".id", id, "a whole number");
    for (const char* name : {"lstrip", "rstrip", "single_word"}) {
      const Json* value = Fields::Find(item, name);
      if (value != nullptr && *value != false)
        return fields.NotOurs(fmt::format("{}.{}", field, name), value,
                              "false");
    }
    LCSM_ASSIGN_OR_RETURN(
        const bool special,
        fields.Flag(item, "special", field + ".special", false));
    out->added.push_back(
        {content->get<std::string>(), id->get<int64_t>(), special});
  }
  return OkStatus();
}

}  // namespace

StatusOr<BpeDefinition> ParseTokenizerJson(std::string_view json,
                                           const std::string& file) {
  const Fields fields(file);
  LCSM_ASSIGN_OR_RETURN(const Json root, ParseJson(json, file));
  if (!root.is_object()) {
    return InvalidInput(fmt::format("{}: holds {}, expected a JSON object",
                                    file, DescribeJson(root)));
  }
  BpeDefinition definition;
  if (const Json* normalizer = Fields::Find(root, "normalizer"))
    return fields.NotOurs("normalizer", normalizer, "null");
  LCSM_RETURN_IF_ERROR(ReadPreTokenizer(
      fields, Fields::Find(root, "pre_tokenizer"), &definition));
  LCSM_RETURN_IF_ERROR(
      ReadModel(fields, Fields::Find(root, "model"), &definition));
  LCSM_RETURN_IF_ERROR(
      ReadAdded(fields, Fields::Find(root, "added_tokens"), &definition));
  return definition;
}

StatusOr<BpeDefinition> ParseVocabAndMerges(std::string_view vocab_json,
                                            const std::string& vocab_file,
                                            std::string_view merges,
                                            const std::string& merges_file) {
  const Fields fields(vocab_file);
  LCSM_ASSIGN_OR_RETURN(const Json vocab, ParseJson(vocab_json, vocab_file));
  BpeDefinition definition;
  LCSM_RETURN_IF_ERROR(fields.ReadVocab(&vocab, "the vocabulary", &definition));

  for (size_t number = 1; !merges.empty(); ++number) {
    const size_t end = std::min(merges.find('\n'), merges.size());
    std::string_view line = merges.substr(0, end);
    merges.remove_prefix(std::min(end + 1, merges.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    std::pair<std::string, std::string> pair;
    if (!SplitMerge(line, &pair)) {
      return InvalidInput(
          fmt::format("{}: line {} is {}, expected two tokens and a blank "
                      "between them",
                      merges_file, number, Quoted(line)));
    }
    definition.merges.push_back(std::move(pair));
  }
  // GPT-2's own files do not list it as special, but its tokenizer does.
  constexpr std::string_view kEos = "<|endoftext|>";
  for (const auto& [token, id] : definition.vocab) {
    if (token == kEos) {
      definition.added.push_back({std::string(kEos), id, true});
      break;
    }
  }
  return definition;
}

}  // namespace lcsm::io
