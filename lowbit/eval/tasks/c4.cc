// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/tasks/c4.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

#include "lowbit/base/log.h"
#include "lowbit/eval/data_files.h"
#include "lowbit/eval/document_windows.h"

namespace lowbit {
namespace {

constexpr size_t kJoinedDocuments = 1100;

std::string FindC4(const TaskOptions& options) {
  constexpr std::array<std::string_view, 2> kNames = {"c4/c4-validation.00000-of-00008.json",
                                                      "c4/validation.jsonl"};
  return FindDataFile(kNames, options);
}

// `keep` is given each document's index and text until it returns false. Returns how many documents it was given.
size_t ForEachDocument(const std::string& path,
                       const std::function<bool(size_t index, const std::string& text)>& keep) {
  size_t documents = 0;
  const Place file(path);
  ForEachJsonLineWhile(path, [&](size_t line, const Json& row) {
    return keep(documents++, RequireString(row, "text", file.Line(line)));
  });
  if (documents == 0)
    throw Error(ErrorKind::kContent, file, "holds no documents, expected JSON lines with a key 'text'");
  return documents;
}

// "c4/validation" of "data/c4/validation.jsonl.gz".
std::string NameOf(const std::string& path) {
  const std::filesystem::path file(WithoutExtensions(path));
  return (file.parent_path().filename() / file.filename()).string();
}

// Texts by their index, and the tokens of the one asked for last.
class Documents {
 public:
  Documents(const std::map<size_t, std::string>& texts, const Tokenizer& tokenizer)
      : texts_(texts), tokenizer_(tokenizer) {}

  const TokenIds& Ids(size_t index) {
    if (index != index_) ids_ = tokenizer_.Encode(texts_.at(index));
    index_ = index;
    return ids_;
  }
  size_t Count(size_t index) {
    const auto [count, is_new] = counts_.try_emplace(index, 0);
    if (is_new) count->second = Ids(index).size();
    return count->second;
  }

 private:
  const std::map<size_t, std::string>& texts_;
  const Tokenizer& tokenizer_;
  size_t index_ = SIZE_MAX;
  TokenIds ids_;
  std::map<size_t, size_t> counts_;
};

// At most `window` tokens from where `at` says.
void AppendWindow(TokenIds& to, const DocumentWindow& at, size_t window, Documents& documents) {
  const std::span<const int32_t> ids = std::span(documents.Ids(at.document)).subspan(at.offset);
  to.insert(to.end(), ids.begin(), ids.begin() + static_cast<ptrdiff_t>(std::min(window, ids.size())));
}

size_t AtMost(size_t windows, size_t limit) {
  return limit == 0 ? windows : std::min(windows, limit);
}

// The user's folder may have a list of its own; else the one that ships with lowbit is meant, and no warning due.
std::string FindWindowList(const TaskOptions& options) {
  constexpr std::array<std::string_view, 1> kNames = {"c4/study-windows.csv"};
  if (!options.data_folder.empty()) {
    if (std::string path = FindDataFileIn(options.data_folder, kNames); !path.empty()) return path;
  }
  return FindDataFile(kNames, {});
}

WindowTokens TokensOfList(const std::map<size_t, std::string>& texts, std::span<const ListedWindow> list,
                          const Place& file, const Tokenizer& tokenizer) {
  Documents documents(texts, tokenizer);
  const size_t outside = CountOutside(
      list, [&](size_t i) { return documents.Count(i); }, file);
  if (outside > 0) {
    LogWarning(
        fmt::format("{}: {} of {} windows come from documents that have another number of tokens than with "
                    "the tokenizer of the study: windows may hold other text than the study's",
                    file.Text(), outside, list.size()));
  }
  WindowTokens tokens;
  for (const ListedWindow& window : list) AppendWindow(tokens.ids, window.at, kPaperWindow, documents);
  tokens.whole_windows = tokens.ids.size() / kPaperWindow;
  tokens.how = fmt::format(
      "{} windows at the study's document indices and token offsets ({} of documents with another number of "
      "tokens "
      "than the study's tokenizer gives them), joined and cut again",
      list.size(), outside);
  return tokens;
}

}  // namespace

WindowSource ReadC4New(const TaskOptions& options) {
  const std::string path = FindC4(options);
  std::string text;
  const size_t documents = ForEachDocument(path, [&](size_t index, const std::string& document) {
    if (index > 0) text += ' ';
    text += document;
    return index + 1 < kJoinedDocuments;
  });
  WindowSource source{"c4-new", "C4 validation, c4-new", HashOfFiles(std::array{path}), {}};
  source.tokens = [text = std::move(text), documents, name = NameOf(path)](const Tokenizer& tokenizer,
                                                                           size_t window, size_t) {
    WindowTokens tokens;
    tokens.ids = tokenizer.Encode(text);
    tokens.whole_windows = std::min(kC4Windows, tokens.ids.size() / window);
    tokens.how = fmt::format(
        "the first {} documents of {}{} joined by a space, one encoding ({} tokens, {}), its first {} "
        "windows",
        documents, name, documents < kJoinedDocuments ? " (it has no more, the protocol takes 1100)" : "",
        tokens.ids.size(), BosText(tokenizer), tokens.whole_windows);
    if (tokens.whole_windows == kC4Windows) tokens.ids.resize(kC4Windows * window);
    return tokens;
  };
  return source;
}

WindowSource ReadC4(const TaskOptions& options) {
  const std::string path = FindC4(options);
  std::map<size_t, std::string> texts;
  ForEachDocument(path, [&](size_t index, const std::string& text) {
    texts.emplace_hint(texts.end(), index, text);
    return true;
  });
  WindowSource source{"c4", "C4 validation, c4", HashOfFiles(std::array{path}), {}};
  source.tokens = [texts = std::move(texts), path](const Tokenizer& tokenizer, size_t window,
                                                   size_t windows) {
    Documents documents(texts, tokenizer);
    const std::vector<DocumentWindow> drawn = DrawWindows(
        texts.size(), window, AtMost(kC4Windows, windows), [&](size_t i) { return documents.Count(i); },
        Place(path));
    WindowTokens tokens;
    for (const DocumentWindow& at : drawn) AppendWindow(tokens.ids, at, window, documents);
    tokens.whole_windows = kC4Windows;
    tokens.how =
        fmt::format("windows of documents of {}, {} documents, drawn with Python's generator and seed 0 ({})",
                    NameOf(path), texts.size(), BosText(tokenizer));
    return tokens;
  };
  return source;
}

WindowSource ReadC4Study(const TaskOptions& options) {
  if (options.window != 0 && options.window != kPaperWindow) {
    throw Error(ErrorKind::kUsage,
                fmt::format("task 'c4@study' has windows of {} tokens, not {}: its list was made "
                            "for them",
                            kPaperWindow, options.window));
  }
  const std::string path = FindC4(options), list_path = FindWindowList(options);
  std::vector<ListedWindow> list = ReadWindowList(list_path);
  std::map<size_t, std::string> texts;
  for (const ListedWindow& window : list) texts[window.at.document];
  const size_t documents = ForEachDocument(path, [&](size_t index, const std::string& text) {
    if (const auto wanted = texts.find(index); wanted != texts.end()) wanted->second = text;
    return true;
  });
  RequireDocuments(list, documents, Place(list_path));
  WindowSource source{"c4@study", "C4 validation, c4@study", HashOfFiles(std::array{path, list_path}), {}};
  source.tokens = [texts = std::move(texts), list = std::move(list), list_path](const Tokenizer& tokenizer,
                                                                                size_t, size_t) {
    return TokensOfList(texts, list, Place(list_path), tokenizer);
  };
  return source;
}

}  // namespace lowbit
