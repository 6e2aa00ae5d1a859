// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/tasks/wikitext.h"

#include <array>

#include "lowbit/base/hash.h"
#include "lowbit/eval/corpus.h"
#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/wikitext_page.h"
#include "lowbit/text/python_text.h"

namespace lowbit {
namespace {

RollingText TextOf(std::string_view page) {
  return {DetokenizePage(page), SplitCount(page), page.size()};
}

// A folder's pages come before its raw text.
std::string FindPages(const TaskOptions& options) {
  constexpr std::array<std::string_view, 1> kPages = {"wikitext2/wiki.test.pages.jsonl"},
                                            kRaw = {"wikitext2/wiki.test.raw"};
  for (const std::string& folder : DataFolders(options)) {
    std::string path = FindDataFileIn(folder, kPages);
    if (path.empty()) path = FindDataFileIn(folder, kRaw);
    if (path.empty()) continue;
    WarnIfElsewhere(options, folder, path);
    return path;
  }
  return FindDataFile(kRaw, options);  // says where it looked
}

}  // namespace

RollingSet ReadWikiTextPages(const TaskOptions& options) {
  const std::string path = FindPages(options);
  RollingSet set{"wikitext", "WikiText-2 raw test", HashOfFiles(std::array{path}), {}};
  if (!IsJsonLinesName(path)) {
    const std::string raw = ReadPlainText(path).text;
    for (const std::string_view page : CutPages(raw)) set.texts.push_back(TextOf(page));
    return set;
  }
  const Place file(path);
  ForEachJsonLine(path, [&](size_t line, const Json& row) {
    const std::string& page = RequireString(row, "page", file.Line(line));
    if (page.empty())
      throw Error(ErrorKind::kContent, file.Line(line).Key("page"), "is empty, expected text");
    set.texts.push_back(TextOf(page));
  });
  if (set.texts.empty())
    throw Error(ErrorKind::kContent, file, "holds no pages, expected JSON lines with a key 'page'");
  return set;
}

}  // namespace lowbit
