// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/json.h"

#include <unordered_set>
#include <vector>

#include "lowbit/base/files.h"
#include "lowbit/base/utf8.h"

namespace lowbit {
namespace {

// Builds the document by hand from parser events: nlohmann's own builder keeps the last of two equal
// keys and accepts any depth.
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  StrictBuilder(const Place& place, size_t max_depth) : place_(place), max_depth_(max_depth) {}

  bool null() override { return Add(Json(nullptr)); }
  bool boolean(bool v) override { return Add(Json(v)); }
  bool number_integer(number_integer_t v) override { return Add(Json(v)); }
  bool number_unsigned(number_unsigned_t v) override { return Add(Json(v)); }
  // Integers beyond 64 bits arrive here too: they stay numbers and fail any later integer check.
  bool number_float(number_float_t v, const string_t&) override { return Add(Json(v)); }
  bool string(string_t& v) override { return Add(Json(std::move(v))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    Frame& frame = stack_.back();
    if (!frame.keys.insert(name).second) {
      throw Error(ErrorKind::kContent, place_, fmt::format("key '{}' is there twice", Printable(name, 100)));
    }
    frame.key = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string& token, const nlohmann::json::exception& e) override {
    const Place at = place_.Byte(position == 0 ? 0 : position - 1);
    constexpr int kNumberOverflow = 406;
    if (e.id == kNumberOverflow) {
      throw Error(ErrorKind::kContent, at, fmt::format("number {} is out of range", Printable(token, 40)));
    }
    std::string reason = e.what();  // "[json.exception.parse_error.101] parse error at …: reason"
    if (const size_t end = reason.find(": "); end != std::string::npos) reason = reason.substr(end + 2);
    throw Error(ErrorKind::kContent, at, fmt::format("not valid JSON: {}", Printable(reason, 160)));
  }

  Json Take() { return std::move(root_); }

 private:
  struct Frame {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  bool Add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (Frame& frame = stack_.back(); frame.value.is_array()) {
      frame.value.push_back(std::move(value));
    } else {
      // ordered_json looks keys up linearly; we know that this one is new.
      frame.value.get_ref<Json::object_t&>().Container::emplace_back(frame.key, std::move(value));
    }
    return true;
  }
  bool Open(Json value) {
    if (stack_.size() >= max_depth_) {
      throw Error(ErrorKind::kContent, place_, fmt::format("nested deeper than {} levels", max_depth_));
    }
    stack_.push_back({std::move(value), {}, {}});
    return true;
  }
  bool Close() {
    Json value = std::move(stack_.back().value);
    stack_.pop_back();
    return Add(std::move(value));
  }

  const Place& place_;
  size_t max_depth_;
  std::vector<Frame> stack_;
  Json root_;
};

}  // namespace

Json ParseJson(std::string_view text, const Place& place, JsonLimits limits) {
  if (text.size() > limits.max_bytes) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("{} bytes of JSON, expected at most {}", text.size(), limits.max_bytes));
  }
  if (const size_t bad = FirstInvalidUtf8(text); bad != std::string_view::npos) {
    throw Error(ErrorKind::kContent, place.Byte(bad), "not valid UTF-8, expected a JSON text in UTF-8");
  }
  if (text.starts_with("\xEF\xBB\xBF")) {  // the parser would skip it
    throw Error(ErrorKind::kContent, place.Byte(0), "not valid JSON: begins with a byte order mark");
  }
  if (const size_t nul = text.find('\0'); nul != text.npos) {  // the parser would take it for the end
    throw Error(ErrorKind::kContent, place.Byte(nul), "not valid JSON: a NUL byte");
  }
  StrictBuilder builder(place, limits.max_depth);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

Json ReadJsonFile(const std::string& path, JsonLimits limits) {
  return ParseJson(ReadFile(path, limits.max_bytes), Place(path), limits);
}

std::string_view JsonKind(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a number";
    default:
      return "nothing";
  }
}

std::string JsonPreview(const Json& value) {
  if (value.is_structured() || value.is_null()) return std::string(JsonKind(value));
  return Printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 80);
}

}  // namespace lowbit
