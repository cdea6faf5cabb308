#include "io/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "io/errors.h"

namespace lcsm::io {
namespace {

using Json = nlohmann::json;

// Builds the document from the parser's events. The library's own builder
// keeps the last of two equal keys and nests without limit.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, const std::string& file, size_t max_depth)
      : text_(text), file_(file), max_depth_(max_depth) {}

  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(int64_t value) override { return Add(value) != nullptr; }
  bool number_unsigned(uint64_t value) override {
    return Add(value) != nullptr;
  }
  bool number_float(double value, const std::string&) override {
    return Add(value) != nullptr;
  }
  bool string(std::string& value) override {
    return Add(std::move(value)) != nullptr;
  }
  bool binary(Json::binary_t&) override { return false; }  // Not in text.
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(std::string& name) override {
    Json& object = *open_.back();
    if (object.contains(name)) {
      status_ = InvalidInput(fmt::format(
          "{}: the key {} stands twice in one object, expected once", file_,
          Quoted(name, 200)));
      return false;
    }
    member_ = &object[name];
    return true;
  }

  bool parse_error(size_t position, const std::string& last_token,
                   const nlohmann::detail::exception&) override {
    // `position` counts bytes read, the offending one included.
    const size_t at = std::min(position > 0 ? position - 1 : 0, text_.size());
    const std::string_view before = text_.substr(0, at);
    const size_t line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0.
    status_ = InvalidInput(
        at == text_.size()
            ? fmt::format("{}: ends within its JSON at line {}, expected a "
                          "whole document",
                          file_, line)
            : fmt::format("{}: is not well-formed JSON at line {}, column {} "
                          "(after {}), expected a JSON document",
                          file_, line, at - line_start + 1,
                          Quoted(last_token, 40)));
    return false;
  }

  StatusOr<Json> Take() && {
    if (!status_.ok()) return status_;
    return std::move(root_);
  }

 private:
  Json* Add(Json value) {
    Json* place = &root_;
    if (!open_.empty() && open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    if (!open_.empty()) place = member_;
    *place = std::move(value);
    return place;
  }

  bool Open(Json value) {
    if (open_.size() == max_depth_) {
      status_ = InvalidInput(fmt::format(
          "{}: nests objects and lists deeper than {} levels, expected fewer",
          file_, max_depth_));
      return false;
    }
    open_.push_back(Add(std::move(value)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  const std::string_view text_;
  const std::string& file_;
  const size_t max_depth_;
  Json root_;
  Json* member_ = nullptr;  // Where the value after a key goes.
  // Elements of a list move when it grows, but it does not grow while one of
  // them is open: the pointers hold.
  std::vector<Json*> open_;
  Status status_;
};

}  // namespace

StatusOr<nlohmann::json> ParseJson(std::string_view text,
                                   const std::string& file, size_t max_depth) {
  Builder builder(text, file, max_depth);
  const bool ok = Json::sax_parse(text.begin(), text.end(), &builder);
  StatusOr<Json> document = std::move(builder).Take();
  if (!ok && document.ok()) {
    return InvalidInput(
        fmt::format("{}: is not well-formed JSON, expected a document", file));
  }
  return document;
}

std::string DescribeJson(const nlohmann::json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return Quoted(value.get_ref<const std::string&>());
    default:
      return value.dump();
  }
}

}  // namespace lcsm::io
