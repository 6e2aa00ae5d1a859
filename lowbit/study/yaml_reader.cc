// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/yaml_reader.h"

#include <fmt/ranges.h>
#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "lowbit/base/utf8.h"

namespace lowbit {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxDepth = 32;

// Looks at a text before a tree is made of it. yaml-cpp's LoadAll never ends for some texts of five bytes: it
// takes an empty document after the other out of them.
class FirstLook : public YAML::EventHandler {
 public:
  explicit FirstLook(const std::string& path) : path_(path) {}
  size_t documents() const { return documents_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) Fail(mark, "a second YAML document begins here, expected one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Enter(mark);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    Enter(mark);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void Enter(const YAML::Mark& mark) {
    if (++depth_ > kMaxDepth) Fail(mark, fmt::format("nested deeper than {} levels", kMaxDepth));
  }
  [[noreturn]] void Fail(const YAML::Mark& mark, std::string message) const {
    throw Error(ErrorKind::kContent, Place(path_).Line(static_cast<size_t>(mark.line) + 1),
                std::move(message));
  }

  const std::string& path_;
  size_t documents_ = 0, depth_ = 0;
};

}  // namespace

YamlReader YamlReader::Parse(const std::string& text, const std::string& path) {
  if (text.size() > kMaxBytes)
    throw Error(ErrorKind::kContent, Place(path),
                fmt::format("{} bytes, expected at most {}", text.size(), kMaxBytes));
  if (const size_t bad = FirstInvalidUtf8(text); bad != std::string::npos) {
    throw Error(ErrorKind::kContent, Place(path).Byte(bad), "not valid UTF-8");
  }
  try {
    FirstLook look(path);
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(look)) {
    }
    if (look.documents() == 0) throw Error(ErrorKind::kContent, Place(path), "is empty, expected YAML");
    return YamlReader(YAML::Load(text), path, "");
  } catch (const YAML::Exception& e) {
    const Place place =
        e.mark.is_null() ? Place(path) : Place(path).Line(static_cast<size_t>(e.mark.line + 1));
    throw Error(ErrorKind::kContent, place, fmt::format("not valid YAML: {}", e.msg));
  }
}

Place YamlReader::place() const {
  Place place(path_);
  if (!node_.Mark().is_null()) place = place.Line(static_cast<size_t>(node_.Mark().line + 1));
  return key_.empty() ? place : place.Key(key_);
}

void YamlReader::Fail(const std::string& message) const {
  throw Error(ErrorKind::kContent, place(), message);
}

std::string YamlReader::Kind() const {
  switch (node_.Type()) {
    case YAML::NodeType::Map:
      return "a map";
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Scalar:
      return fmt::format("'{}'", Printable(node_.Scalar(), 60));
    default:
      return "nothing";
  }
}

std::vector<std::pair<YamlReader, YamlReader>> YamlReader::Entries() const {
  std::set<std::string> seen;
  std::vector<std::pair<YamlReader, YamlReader>> entries;
  for (const auto& entry : node_) {
    const YamlReader name(entry.first, path_, key_);
    if (!entry.first.IsScalar()) name.Fail(fmt::format("a key that is {}, expected a word", name.Kind()));
    const std::string& key = entry.first.Scalar();
    if (!seen.insert(key).second) name.Fail(fmt::format("key '{}' is there twice", Printable(key, 60)));
    entries.emplace_back(name, YamlReader(entry.second, path_, key_));
  }
  return entries;
}

const YamlReader& YamlReader::Map(std::initializer_list<std::string_view> known) const {
  if (!node_.IsMap()) Fail(fmt::format("{}, expected a map with keys {}", Kind(), fmt::join(known, ", ")));
  for (const auto& [name, value] : Entries()) {
    const std::string& key = name.node_.Scalar();
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    name.Fail(fmt::format("key '{}' is not known here, expected one of {}", Printable(key, 60),
                          fmt::join(known, ", ")));
  }
  return *this;
}

std::vector<std::pair<std::string, YamlReader>> YamlReader::Pairs() const {
  if (!node_.IsMap() || node_.size() == 0)
    Fail(fmt::format("{}, expected a map", node_.IsMap() ? "an empty map" : Kind()));
  std::vector<std::pair<std::string, YamlReader>> pairs;
  for (const auto& [name, value] : Entries()) pairs.emplace_back(name.node_.Scalar(), value);
  return pairs;
}

bool YamlReader::Has(std::string_view key) const {
  return static_cast<bool>(node_[std::string(key)]);
}

YamlReader YamlReader::Get(std::string_view key) const {
  const std::string name(key);
  if (!node_[name]) Fail(fmt::format("key '{}' is missing", name));
  return YamlReader(node_[name], path_, name);
}

std::vector<YamlReader> YamlReader::List() const {
  if (!node_.IsSequence() || node_.size() == 0)
    Fail(fmt::format("{}, expected a list with at least one entry",
                     node_.IsSequence() ? "an empty list" : Kind()));
  std::vector<YamlReader> entries;
  for (const auto& entry : node_) entries.push_back(YamlReader(entry, path_, key_));
  return entries;
}

std::vector<YamlReader> YamlReader::ListOrOne() const {
  return node_.IsScalar() ? std::vector<YamlReader>{*this} : List();
}

std::string YamlReader::String() const {
  if (Text().empty()) Fail(fmt::format("{}, expected a word", Kind()));
  return node_.Scalar();
}

std::string YamlReader::Text() const {
  if (!node_.IsScalar()) Fail(fmt::format("{}, expected a word", Kind()));
  if (node_.Scalar().find('\0') != std::string::npos)
    Fail("a NUL byte, which would end a path, expected a word");
  return node_.Scalar();
}

bool YamlReader::Bool() const {
  const std::string text = String();
  if (text != "true" && text != "false")
    Fail(fmt::format("'{}', expected true or false", Printable(text, 60)));
  return text == "true";
}

size_t YamlReader::Count() const {
  const std::string text = String();
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 1'000'000'000) {
    Fail(fmt::format("'{}', expected an integer from 1 to 1000000000", Printable(text, 60)));
  }
  return value;
}

}  // namespace lowbit
