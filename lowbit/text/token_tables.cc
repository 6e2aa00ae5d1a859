// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/token_tables.h"

#include <unordered_map>
#include <utility>

#include "lowbit/text/byte_alphabet.h"

namespace lowbit {
namespace {

using simdjson::dom::element;

// Expected of every id; the text of the message is made only when it is needed.
std::string IdRange() {
  return fmt::format("an integer from 0 to {}", Vocabulary::kMaxId);
}

std::vector<AddedToken> ReadAddedTokens(const JsonField& root) {
  std::vector<AddedToken> tokens;
  const std::optional<JsonField> list = root.Find("added_tokens");
  if (!list) return tokens;
  std::unordered_map<std::string_view, size_t> by_content;
  std::unordered_map<int32_t, size_t> by_id;
  for (const JsonField& entry : list->Elements()) {
    const JsonField content = entry.Get("content"), id = entry.Get("id");
    // Text is searched for them at every place: a long one would make that quadratic.
    constexpr size_t kMaxAddedBytes = 1024;
    if (content.String().empty() || content.String().size() > kMaxAddedBytes) {
      content.Fail(fmt::format("the text of the token, 1 to {} bytes", kMaxAddedBytes));
    }
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) entry.ExpectOnly(flag, false);
    const auto flag = [&](const char* name) {
      const std::optional<JsonField> field = entry.Find(name);
      return field && field->Bool();
    };
    tokens.push_back({.id = static_cast<int32_t>(id.Int(0, Vocabulary::kMaxId)),
                      .content = std::string(content.String()),
                      .special = flag("special"),
                      .normalized = flag("normalized")});
    const size_t index = tokens.size() - 1;
    if (const auto [other, is_new] = by_content.emplace(content.String(), index); !is_new) {
      content.Fail(fmt::format("another text than entry {}", other->second));
    }
    if (const auto [other, is_new] = by_id.emplace(tokens[index].id, index); !is_new) {
      id.Fail(fmt::format("another id than entry {}", other->second));
    }
  }
  return tokens;
}

// Bytes that ordinary text does not hold: control characters other than white space, lead bytes of the
// planes 4 to 16, and what no UTF-8 holds. SmolLM2 has no token for 21 of them.
bool MayLackToken(uint8_t byte) {
  const bool is_white_space = byte >= 0x09 && byte <= 0x0D;
  return (byte < 0x20 && !is_white_space) || byte == 0x7F || byte == 0xC0 || byte == 0xC1 || byte >= 0xF1;
}

class VocabularyReader {
 public:
  VocabularyReader(const JsonField& vocab, std::span<const AddedToken> added) : place_(vocab.place()) {
    for (const AddedToken& token : added) added_.emplace(token.content, token.id);
    const simdjson::dom::object tokens = vocab.Object();
    size_t count = 0, bytes = 0;
    for (const auto token : tokens) {
      ++count;
      bytes += token.key.size();
    }
    if (count == 0)
      throw Error(ErrorKind::kContent, place_, "is empty, expected at least a token for every byte");
    for (const AddedToken& token : added) bytes += token.content.size();
    vocabulary_ = Vocabulary(count + added.size(), bytes);
    for (const auto token : tokens) Add(token.key, token.value);
    CheckBytes();
    for (const AddedToken& token : added) AddAdded(token);
  }

  Vocabulary Take() { return std::move(vocabulary_); }

 private:
  Place PlaceOf(std::string_view token) const {
    return place_.Item(fmt::format("token '{}'", Printable(token, 100)));
  }

  void Add(std::string_view token, const element& value) {
    int64_t id = -1;
    if (!value.is_int64() || value.get(id) != simdjson::SUCCESS || id < 0 || id > Vocabulary::kMaxId) {
      throw Error(ErrorKind::kContent, PlaceOf(token),
                  fmt::format("id is {}, expected {}", PreviewOf(value), IdRange()));
    }
    if (token.empty()) throw Error(ErrorKind::kContent, PlaceOf(token), "is a token without a character");
    bytes_.clear();
    if (!AppendAlphabetBytes(token, bytes_)) return AddLiteral(token, static_cast<int32_t>(id));
    switch (vocabulary_.Insert(static_cast<int32_t>(id), bytes_)) {
      case Vocabulary::Inserted::kYes:
        return;
      case Vocabulary::Inserted::kBytesTwice:
        throw Error(ErrorKind::kContent, PlaceOf(token), "is there twice, expected every token once");
      case Vocabulary::Inserted::kIdTwice:
        FailIdTwice(token, static_cast<int32_t>(id));
    }
  }

  // A token outside the byte alphabet can come neither from bytes nor from merges: only an added token may
  // be written like that.
  void AddLiteral(std::string_view token, int32_t id) {
    const auto added = added_.find(token);
    if (added == added_.end() || added->second != id) {
      throw Error(ErrorKind::kContent, PlaceOf(token),
                  "holds a character outside the 256 of the byte-level alphabet, and is no added token");
    }
    if (vocabulary_.Bytes(id) == token) throw Error(ErrorKind::kContent, PlaceOf(token), "is there twice");
    if (vocabulary_.Has(id)) FailIdTwice(token, id);
    vocabulary_.InsertHidden(id, token);
  }

  [[noreturn]] void FailIdTwice(std::string_view token, int32_t id) const {
    throw Error(ErrorKind::kContent, PlaceOf(token),
                fmt::format("has id {}, as token '{}' has; expected every id once", id,
                            Printable(ToAlphabet(vocabulary_.Bytes(id)), 100)));
  }

  void CheckBytes() const {
    for (int b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      if (vocabulary_.Find({&byte, 1}) != kNoToken || MayLackToken(static_cast<uint8_t>(b))) continue;
      throw Error(
          ErrorKind::kContent, place_,
          fmt::format(
              "has no token for byte 0x{:02X} (written '{}'), expected one for every byte of ordinary text",
              b, AlphabetCharacter(static_cast<uint8_t>(b))));
    }
  }

  // Added tokens may be in the vocabulary (SmolLM2) or not (Qwen), but must agree with it.
  void AddAdded(const AddedToken& token) {
    const auto fail = [&](const std::string& what) {
      throw Error(ErrorKind::kContent,
                  Place(place_.file())
                      .Key("added_tokens")
                      .Item(fmt::format("token '{}'", Printable(token.content, 100))),
                  what);
    };
    if (vocabulary_.Has(token.id)) {
      if (vocabulary_.Bytes(token.id) == token.content) return;
      fail(fmt::format("has id {}, which is token '{}' of model.vocab", token.id,
                       Printable(ToAlphabet(vocabulary_.Bytes(token.id)), 100)));
    }
    bytes_.clear();
    const bool in_alphabet = AppendAlphabetBytes(token.content, bytes_);
    if (const int32_t id = in_alphabet ? vocabulary_.Find(bytes_) : kNoToken; id != kNoToken) {
      fail(fmt::format("has id {}, but id {} in model.vocab", token.id, id));
    }
    vocabulary_.InsertHidden(token.id, token.content);
  }

  Place place_;
  std::unordered_map<std::string_view, int32_t> added_;
  Vocabulary vocabulary_;
  std::string bytes_;  // the current token
};

// One merge as it is written, and what it means.
class MergeReader {
 public:
  MergeReader(const JsonField& merges, const Vocabulary& vocabulary)
      : place_(merges.place()), vocabulary_(vocabulary) {
    const simdjson::dom::array list = merges.Array();
    size_t count = 0;
    for ([[maybe_unused]] const element merge : list) ++count;  // size() saturates at 2^24
    table_ = MergeTable(count);
    for (const element merge : list) Add(merge);
  }

  MergeTable Take() { return std::move(table_); }

 private:
  enum class Notation : uint8_t { kUnknown, kString, kPair };

  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kContent, place_.Item(fmt::format("merge {}", table_.size())), what);
  }

  // "Ġ t" or ["Ġ", "t"], the same throughout a file.
  std::pair<std::string_view, std::string_view> Parts(const element& merge) {
    constexpr const char* kExpected = "\"LEFT RIGHT\" or [\"LEFT\", \"RIGHT\"]";
    std::string_view text, left, right;
    simdjson::dom::array pair;
    Notation notation = Notation::kUnknown;
    if (merge.get(text) == simdjson::SUCCESS) {
      notation = Notation::kString;
      const size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) {
        Fail(fmt::format("is {}, expected two parts with one space between", PreviewOf(merge)));
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.get(pair) == simdjson::SUCCESS) {
      notation = Notation::kPair;
      auto part = pair.begin();
      const auto next = [&](std::string_view& out) {
        if (part == pair.end() || (*part).get(out) != simdjson::SUCCESS)
          Fail(fmt::format("expected {}", kExpected));
        ++part;
      };
      next(left);
      next(right);
      if (part != pair.end()) Fail(fmt::format("has more than two parts, expected {}", kExpected));
    } else {
      Fail(fmt::format("is {}, expected {}", PreviewOf(merge), kExpected));
    }
    if (notation_ == Notation::kUnknown) notation_ = notation;
    if (notation_ != notation) Fail("is written in another notation than the merges before");
    return {left, right};
  }

  // The token written as `text`, whose bytes are appended to bytes_.
  int32_t TokenOf(std::string_view text, std::string_view left, std::string_view right) {
    const size_t begin = bytes_.size();
    const int32_t id = AppendAlphabetBytes(text, bytes_)
                           ? vocabulary_.Find(std::string_view(bytes_).substr(begin))
                           : kNoToken;
    if (id == kNoToken) {
      Fail(fmt::format("joins '{}' and '{}', but '{}' is not in the vocabulary", Printable(left, 100),
                       Printable(right, 100), Printable(text, 100)));
    }
    return id;
  }

  void Add(const element& merge) {
    const auto [left, right] = Parts(merge);
    bytes_.clear();
    const int32_t left_id = TokenOf(left, left, right), right_id = TokenOf(right, left, right);
    const int32_t result = vocabulary_.Find(bytes_);
    if (result == kNoToken) {
      Fail(fmt::format("joins '{}' and '{}', but '{}{}' is not in the vocabulary", Printable(left, 100),
                       Printable(right, 100), Printable(left, 100), Printable(right, 100)));
    }
    if (!table_.Add(left_id, right_id, result)) {
      Fail(fmt::format("joins '{}' and '{}', as merge {} does; expected every pair once",
                       Printable(left, 100), Printable(right, 100), table_.Rank(left_id, right_id)));
    }
  }

  Place place_;
  const Vocabulary& vocabulary_;
  MergeTable table_;
  Notation notation_ = Notation::kUnknown;
  std::string bytes_;  // of both parts of the current merge
};

}  // namespace

TokenTables ReadTokenTables(const JsonField& root) {
  TokenTables tables;
  const JsonField model = root.Get("model");
  tables.added = ReadAddedTokens(root);
  tables.vocabulary = VocabularyReader(model.Get("vocab"), tables.added).Take();
  tables.merges = MergeReader(model.Get("merges"), tables.vocabulary).Take();
  return tables;
}

}  // namespace lowbit
