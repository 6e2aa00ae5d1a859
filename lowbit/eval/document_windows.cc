// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/document_windows.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "lowbit/base/log.h"
#include "lowbit/base/random.h"
#include "lowbit/text/csv_file.h"

namespace lowbit {
namespace {

constexpr std::array<std::string_view, 5> kHeader = {"window", "doc_index", "token_offset", "doc_tokens_min",
                                                     "doc_tokens_max"};

size_t NumberOf(const std::string& field, size_t column, const Place& line) {
  size_t number = 0;
  const char* end = field.data() + field.size();
  const auto [stopped, code] = std::from_chars(field.data(), end, number);
  if (code == std::errc() && stopped == end) return number;
  throw Error(ErrorKind::kContent, line.Item(std::string(kHeader[column])),
              fmt::format("is '{}', expected a whole number", Printable(field, 60)));
}

ListedWindow WindowOf(const std::vector<std::string>& fields, size_t index, const Place& line) {
  std::array<size_t, kHeader.size()> numbers{};
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = NumberOf(fields[i], i, line);
  const auto [window, document, offset, fewest, most] = numbers;
  if (window != index)
    throw Error(ErrorKind::kContent, line, fmt::format("is window {}, expected window {}", window, index));
  if (fewest > most || offset >= fewest) {
    throw Error(ErrorKind::kContent, line,
                fmt::format("token {} of a document of {} to {} tokens, expected offset < minimum ≤ maximum",
                            offset, fewest, most));
  }
  return {{document, offset}, fewest, most};
}

}  // namespace

std::vector<DocumentWindow> DrawWindows(size_t documents, size_t window, size_t windows,
                                        const TokenCounts& count, const Place& file) {
  PythonRandom random(0);
  std::vector<bool> is_short(documents);
  size_t short_documents = 0;
  std::vector<DocumentWindow> drawn;
  while (drawn.size() < windows) {
    if (short_documents == documents) {
      throw Error(
          ErrorKind::kContent, file,
          fmt::format("none of its {} documents has more than {} tokens, expected some to draw windows "
                      "from",
                      documents, window));
    }
    const size_t document = random.Below(static_cast<uint32_t>(documents));
    if (is_short[document]) continue;
    const size_t tokens = count(document);
    if (tokens > window) {
      drawn.push_back({document, random.Below(static_cast<uint32_t>(tokens - window))});
      continue;
    }
    if (tokens == window)
      LogInfo(fmt::format("document {} has exactly {} tokens: drawn again", document, window));
    is_short[document] = true;
    ++short_documents;
  }
  return drawn;
}

std::vector<ListedWindow> ReadWindowList(const std::string& path) {
  std::vector<ListedWindow> windows;
  const Place file(path);
  bool has_header = false;
  ForEachCsvRecord(path, kHeader.size(), [&](size_t line, const std::vector<std::string>& fields) {
    if (has_header) {
      windows.push_back(WindowOf(fields, windows.size(), file.Line(line)));
      return;
    }
    has_header = true;
    if (!std::ranges::equal(fields, kHeader)) {
      throw Error(ErrorKind::kContent, file.Line(line),
                  fmt::format("expected the header {}", fmt::join(kHeader, ",")));
    }
  });
  if (windows.empty()) throw Error(ErrorKind::kContent, file, "holds no windows, expected CSV with a header");
  return windows;
}

void RequireDocuments(std::span<const ListedWindow> windows, size_t documents, const Place& list) {
  for (size_t i = 0; i < windows.size(); ++i) {
    if (windows[i].at.document < documents) continue;
    throw Error(
        ErrorKind::kContent, list.Item(fmt::format("window {}", i)),
        fmt::format("begins in document {}, but there are {} documents", windows[i].at.document, documents))
        .Hint("the list is of one file and counts its documents from 0");
  }
}

size_t CountOutside(std::span<const ListedWindow> windows, const TokenCounts& count, const Place& list) {
  size_t outside = 0;
  for (size_t i = 0; i < windows.size(); ++i) {
    const ListedWindow& window = windows[i];
    const size_t tokens = count(window.at.document);
    if (window.at.offset >= tokens) {
      throw Error(ErrorKind::kContent, list.Item(fmt::format("window {}", i)),
                  fmt::format("begins at token {} of document {}, which has {} tokens, expected {} to {}",
                              window.at.offset, window.at.document, tokens, window.fewest, window.most))
          .Hint("the list is of other documents");
    }
    outside += tokens < window.fewest || tokens > window.most ? 1 : 0;
  }
  return outside;
}

}  // namespace lowbit
