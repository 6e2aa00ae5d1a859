// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/tokenizer.h"

#include <simdjson.h>

#include <filesystem>
#include <mutex>
#include <unordered_map>

#include "lowbit/base/hash.h"
#include "lowbit/base/json.h"
#include "lowbit/base/mapped_file.h"
#include "lowbit/base/stop.h"
#include "lowbit/base/utf8.h"
#include "lowbit/text/tokenizer_file.h"
#include "lowbit/text/unicode.h"

namespace lowbit {
namespace {

// Working memory of one call of Encode, kept from call to call for the cache in it.
struct EncodeScratch {
  BytePairEncoder::Scratch bpe;
  std::string normalized;
};

// Hands every concurrent call a scratch of its own.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.Take()) {}
    ~Lease() { pool_.Return(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch& operator*() const { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

 private:
  std::unique_ptr<EncodeScratch> Take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      free_.reserve(++made_);  // Return, which runs in a destructor, must not allocate
      return std::make_unique<EncodeScratch>();
    }
    std::unique_ptr<EncodeScratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void Return(std::unique_ptr<EncodeScratch> scratch) {
    constexpr size_t kKeepSymbols = size_t{1} << 18, kKeepText = size_t{1} << 22;  // 4 MB of each
    if (scratch->bpe.symbols.capacity() > kKeepSymbols) scratch->bpe.FreeWorkingMemory();
    if (scratch->normalized.capacity() > kKeepText) std::string().swap(scratch->normalized);
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
  size_t made_ = 0;
};

// The tokens to look for before normalization (`normalized` false) or after it.
AddedTokenFinder MakeFinder(const TokenizerFile& file, bool normalized) {
  std::vector<AddedToken> tokens;
  std::string buffer;
  for (const AddedToken& token : file.tables.added) {
    if (token.normalized != normalized) continue;
    tokens.push_back(token);
    if (normalized && file.nfc) tokens.back().content = std::string(ToNfc(token.content, buffer));
  }
  return AddedTokenFinder(tokens);
}

// Calls plain(piece) and added(id) for the stretches of `text`, from left to right.
template <class Plain, class Added>
void ForEachStretch(const AddedTokenFinder& finder, std::string_view text, const Plain& plain,
                    const Added& added) {
  size_t from = 0;
  while (const auto match = finder.Find(text, from)) {
    if (match->begin > from) plain(text.substr(from, match->begin - from));
    added(match->id);
    from = match->end;
  }
  if (from < text.size()) plain(text.substr(from));
}

// "bos_token" of tokenizer_config.json: a string, an object with "content", or null.
std::optional<int32_t> NamedToken(const Tokenizer& tokenizer, const Vocabulary& vocabulary,
                                  const Json& config, const Place& file, const char* name) {
  const auto entry = config.find(name);
  if (entry == config.end() || entry->is_null()) return std::nullopt;
  const Json* text = &*entry;
  if (entry->is_object() && entry->contains("content")) text = &(*entry)["content"];
  if (!text->is_string()) {
    throw Error(ErrorKind::kContent, file.Key(name),
                fmt::format("is {}, expected the text of a token or null", JsonPreview(*entry)));
  }
  const std::string& content = text->get_ref<const std::string&>();
  if (const std::optional<int32_t> id = tokenizer.AddedTokenId(content)) return id;
  if (const int32_t id = vocabulary.Find(content); id != kNoToken) return id;
  throw Error(
      ErrorKind::kContent, file.Key(name),
      fmt::format("is '{}', which is no token of {}", Printable(content, 100), tokenizer.place().Text()));
}

}  // namespace

struct Tokenizer::Impl {
  Impl(std::string_view json, const Place& place)
      : file(ParseTokenizerFile(json, place)),
        raw_finder(MakeFinder(file, false)),
        normalized_finder(MakeFinder(file, true)),
        bpe(file.tables.vocabulary, std::move(file.tables.merges), file.whole_tokens_first),
        hash(Sha256Hex(json)),
        origin(place) {
    if (!file.prefix.empty()) bos = file.prefix[0];
    for (const AddedToken& token : file.tables.added) {
      added_by_text.emplace(token.content, &token);
      added_by_id.emplace(token.id, &token);
    }
  }

  const Vocabulary& vocabulary() const { return file.tables.vocabulary; }

  void EncodePiece(std::string_view piece, EncodeScratch& scratch, std::vector<int32_t>& ids) const {
    if (file.nfc) piece = ToNfc(piece, scratch.normalized);
    const auto plain = [&](std::string_view text) {
      for (size_t begin = 0; begin < text.size();) {
        ThrowIfStopped();
        const size_t end = PreTokenEnd(file.split, text, begin);
        bpe.Encode(text.substr(begin, end - begin), vocabulary(), scratch.bpe, ids);
        begin = end;
      }
    };
    ForEachStretch(normalized_finder, piece, plain, [&](int32_t id) { ids.push_back(id); });
  }

  TokenizerFile file;
  AddedTokenFinder raw_finder, normalized_finder;
  BytePairEncoder bpe;
  std::string hash;
  Place origin;
  std::unordered_map<std::string_view, const AddedToken*> added_by_text;
  std::unordered_map<int32_t, const AddedToken*> added_by_id;
  std::optional<int32_t> bos, eos;
  mutable ScratchPool scratch_pool;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::Parse(std::string_view json, const Place& file) {
  return Tokenizer(std::make_unique<Impl>(json, file));
}

Tokenizer Tokenizer::Load(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path file = fs::is_directory(path) ? fs::path(path) / "tokenizer.json" : fs::path(path);
  const MappedFile mapped(file.string());
  Tokenizer tokenizer = ReadIntact(mapped, [&](std::span<const std::byte> bytes) {
    return Parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, Place(file.string()));
  });

  const fs::path config_path = file.parent_path() / "tokenizer_config.json";
  if (!fs::exists(config_path)) return tokenizer;
  const Place config_place(config_path.string());
  const Json config = ReadJsonFile(config_path.string());
  if (!config.is_object()) {
    throw Error(ErrorKind::kContent, config_place,
                fmt::format("is {}, expected an object", JsonKind(config)));
  }
  Impl& impl = *tokenizer.impl_;
  if (const auto bos = NamedToken(tokenizer, impl.vocabulary(), config, config_place, "bos_token"))
    impl.bos = bos;
  impl.eos = NamedToken(tokenizer, impl.vocabulary(), config, config_place, "eos_token");
  return tokenizer;
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, bool add_special) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(ErrorKind::kResource, Place("text"),
                fmt::format("{} bytes, expected at most {} at once", text.size(), kMaxTextBytes));
  }
  if (!simdjson::validate_utf8(text)) {
    throw Error(ErrorKind::kContent, Place("text").Byte(FirstInvalidUtf8(text)), "not valid UTF-8");
  }
  const ScratchPool::Lease scratch(impl_->scratch_pool);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  if (add_special) ids = impl_->file.prefix;
  ForEachStretch(
      impl_->raw_finder, text, [&](std::string_view piece) { impl_->EncodePiece(piece, *scratch, ids); },
      [&](int32_t id) { ids.push_back(id); });
  if (add_special) ids.insert(ids.end(), impl_->file.suffix.begin(), impl_->file.suffix.end());
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!skip_special || !IsSpecial(id)) bytes += TokenBytes(id);
  }
  return simdjson::validate_utf8(bytes) ? bytes : ReplaceInvalidUtf8(bytes);
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  return impl_->vocabulary().Bytes(id);
}

size_t Tokenizer::VocabSize() const {
  return impl_->vocabulary().IdLimit();
}

void Tokenizer::RequireRows(size_t rows) const {
  if (VocabSize() <= rows) return;
  const auto last = static_cast<int32_t>(VocabSize() - 1);
  throw Error(ErrorKind::kContent,
              impl_->origin.Item(fmt::format("token '{}'", Printable(TokenBytes(last), 100))),
              fmt::format("has id {}, expected less than {}, the rows of the embedding", last, rows))
      .Hint("the tokenizer and the weights come from different models");
}

std::optional<int32_t> Tokenizer::AddedTokenId(std::string_view content) const {
  const auto entry = impl_->added_by_text.find(content);
  return entry == impl_->added_by_text.end() ? std::nullopt : std::optional(entry->second->id);
}

std::optional<std::string_view> Tokenizer::AddedTokenText(int32_t id) const {
  const auto entry = impl_->added_by_id.find(id);
  return entry == impl_->added_by_id.end() ? std::nullopt
                                           : std::optional<std::string_view>(entry->second->content);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  const auto entry = impl_->added_by_id.find(id);
  return entry != impl_->added_by_id.end() && entry->second->special;
}

std::optional<int32_t> Tokenizer::Bos() const {
  return impl_->bos;
}
std::optional<int32_t> Tokenizer::Eos() const {
  return impl_->eos;
}
const std::string& Tokenizer::Hash() const {
  return impl_->hash;
}
const Place& Tokenizer::place() const {
  return impl_->origin;
}

}  // namespace lowbit
