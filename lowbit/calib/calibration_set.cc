// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/calibration_set.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "lowbit/base/hash.h"
#include "lowbit/base/random.h"
#include "lowbit/base/stop.h"
#include "lowbit/text/text_file.h"

namespace lowbit {
namespace {

constexpr uint64_t kMostTokens = uint64_t{1} << 31;

// Calls `document` for each, until it returns false.
void ForDocuments(const std::string& path, const std::function<bool(const std::string& text)>& document) {
  if (!IsJsonLinesName(path)) {
    document(ReadTextFile(path));
    return;
  }
  ForEachJsonLineWhile(path, [&](size_t line, const Json& object) {
    ThrowIfStopped();
    return document(RequireString(object, "text", Place(path).Line(line)));
  });
}

[[noreturn]] void RefuseTooFew(const CalibrationSpec& spec, const std::string& holds) {
  throw Error(ErrorKind::kContent, Place(spec.file),
              fmt::format("{}, expected at least {} for policy {}", holds, spec.samples, Name(spec.policy)))
      .Hint(spec.policy == CalibrationPolicy::kWindow
                ? "ask for fewer or shorter samples, or join documents with policy concat"
                : "ask for fewer or shorter samples");
}

size_t HeldOutLength(const CalibrationSpec& spec) {
  return std::min(spec.length, kHeldOutTokens);
}

// How many held-out sequences there are where the text has enough.
size_t HeldOutSequences(const CalibrationSpec& spec) {
  return std::min(spec.samples, (kHeldOutTokens + spec.length - 1) / spec.length);
}

// Adds tokens to `sequences` until there are `most` of `length`, `tokens` being the one under way. Returns how many
// it took.
size_t Cut(std::span<const int32_t> ids, size_t length, size_t most, TokenIds& tokens,
           std::vector<TokenIds>& sequences) {
  size_t taken = 0;
  while (taken < ids.size() && sequences.size() < most) {
    const auto part = ids.subspan(taken, std::min(ids.size() - taken, length - tokens.size()));
    tokens.insert(tokens.end(), part.begin(), part.end());
    taken += part.size();
    if (tokens.size() == length) sequences.push_back(std::exchange(tokens, {}));
  }
  return taken;
}

void Concatenate(const Tokenizer& tokenizer, CalibrationSet& set) {
  const CalibrationSpec& spec = set.spec;
  TokenIds tokens, held_out;  // of the sequence under way
  ForDocuments(spec.file, [&](const std::string& text) {
    if (set.sequences.size() < spec.samples) ++set.documents, ++set.tokenized;
    const std::vector<int32_t> ids = tokenizer.Encode(text, false);
    const size_t taken = Cut(ids, spec.length, spec.samples, tokens, set.sequences);
    Cut(std::span(ids).subspan(taken), HeldOutLength(spec), HeldOutSequences(spec), held_out, set.held_out);
    return set.held_out.size() < HeldOutSequences(spec);
  });
  if (set.sequences.size() < spec.samples) {
    RefuseTooFew(spec, fmt::format("holds {} tokens in {} documents: {} samples of {}",
                                   set.sequences.size() * spec.length + tokens.size(), set.documents,
                                   set.sequences.size(), spec.length));
  }
}

// Random order, one document at a time and without holding them: each has a random number of its own, and the
// set is the n long ones with the smallest, in their order; those behind them are held out. Which are long enough only tokenizing says; it can
// be left out for one whose number is too large already.
void TakeWindows(const Tokenizer& tokenizer, CalibrationSet& set) {
  const CalibrationSpec& spec = set.spec;
  const size_t most = spec.samples + HeldOutSequences(spec);
  std::map<std::pair<uint64_t, size_t>, TokenIds> chosen;  // by random number and place in the file
  ForDocuments(spec.file, [&](const std::string& text) {
    const size_t index = set.documents++;
    SplitMix64 random = SplitMix64::ForItem(spec.seed, index);
    const std::pair<uint64_t, size_t> rank = {random.Next(), index};
    if (chosen.size() == most && chosen.rbegin()->first < rank) return true;
    ++set.tokenized;
    const std::vector<int32_t> ids = tokenizer.Encode(text, false);
    if (ids.size() <= spec.length) return true;
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(random.Below(ids.size() - spec.length));
    chosen.emplace(rank, TokenIds(begin, begin + static_cast<std::ptrdiff_t>(spec.length)));
    if (chosen.size() > most) chosen.erase(std::prev(chosen.end()));
    return true;
  });
  if (chosen.size() < spec.samples) {
    RefuseTooFew(spec, fmt::format("{} of its {} documents have more than {} tokens", chosen.size(),
                                   set.documents, spec.length));
  }
  for (auto& [rank, tokens] : chosen) {
    if (set.sequences.size() < spec.samples) {
      set.sequences.push_back(std::move(tokens));
    } else {
      tokens.resize(HeldOutLength(spec));
      set.held_out.push_back(std::move(tokens));
    }
  }
}

std::string HashOf(const std::string& head, std::span<const TokenIds> sequences) {
  Sha256 hash;
  hash.Update(head);
  for (const TokenIds& tokens : sequences) hash.Update(std::as_bytes(std::span(tokens)));
  return hash.Hex();
}

}  // namespace

std::string_view Name(CalibrationPolicy policy) {
  return policy == CalibrationPolicy::kConcat ? "concat" : "window";
}

CalibrationPolicy ParseCalibrationPolicy(std::string_view name) {
  for (const CalibrationPolicy policy : {CalibrationPolicy::kConcat, CalibrationPolicy::kWindow}) {
    if (name == Name(policy)) return policy;
  }
  throw Error(
      ErrorKind::kUsage,
      fmt::format("calibration policy '{}' is not known, expected concat or window", Printable(name)));
}

std::string CalibrationSpec::Text() const {
  std::string text = fmt::format("{} samples={} length={}", Name(policy), samples, length);
  if (policy == CalibrationPolicy::kWindow) text += fmt::format(" seed={}", seed);
  return text;
}

std::string FindCalibrationText(const std::string& name, std::span<const std::string> folders) {
  constexpr std::string_view kC4 = "c4", kC4File = "c4/train.head.jsonl";
  if (name != kC4) return name;
  for (const std::string& folder : folders) {
    const std::filesystem::path path = std::filesystem::path(folder) / kC4File;
    if (std::filesystem::exists(path)) return path.string();
  }
  throw Error(ErrorKind::kMissing, Place(std::string(kC4File)),
              fmt::format("not found in {}",
                          folders.empty() ? "any data folder" : fmt::format("{}", fmt::join(folders, ", "))))
      .Hint("name the folder that holds it with --data or $LOWBIT_DATA, or another text");
}

void RequireSound(const CalibrationSpec& spec) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorKind::kUsage, what); };
  if (spec.file.empty()) refuse("no calibration text is named, expected a file");
  if (spec.samples < 1) refuse("0 calibration samples, expected at least 1");
  if (spec.length < 2) {
    refuse(fmt::format("calibration samples of {} tokens, expected at least 2", spec.length));
  }
  uint64_t tokens = 0;
  if (__builtin_mul_overflow(uint64_t{spec.samples}, uint64_t{spec.length}, &tokens) ||
      tokens > kMostTokens) {
    refuse(fmt::format("{} calibration samples of {} tokens, expected at most {} tokens in all", spec.samples,
                       spec.length, kMostTokens));
  }
}

CalibrationSet LoadCalibrationSet(const CalibrationSpec& spec, const Tokenizer& tokenizer) {
  RequireSound(spec);
  CalibrationSet set;
  set.spec = spec;
  if (spec.policy == CalibrationPolicy::kConcat) {
    Concatenate(tokenizer, set);
  } else {
    TakeWindows(tokenizer, set);
  }
  set.hash = HashOf(spec.Text() + "\n", set.sequences);
  if (!set.held_out.empty()) set.held_out_hash = HashOf("", set.held_out);
  return set;
}

}  // namespace lowbit
