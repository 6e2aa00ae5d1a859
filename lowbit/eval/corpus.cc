// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/corpus.h"

#include "lowbit/base/error.h"
#include "lowbit/base/hash.h"
#include "lowbit/text/text_file.h"

namespace lowbit {

std::string JoinWikiTextRows(std::string_view raw) {
  std::string out;
  out.reserve(raw.size() + raw.size() / 64);
  bool first = true;
  while (!raw.empty()) {
    const size_t newline = raw.find('\n');
    const size_t length = newline == std::string_view::npos ? raw.size() : newline + 1;
    const std::string_view line = raw.substr(0, length);
    raw.remove_prefix(length);
    if (!first) out += "\n\n";
    first = false;
    if (line.find_first_not_of(" \t\r\n\v\f") != std::string_view::npos) out += line;
  }
  return out;
}

Corpus ReadPlainText(const std::string& path) {
  Corpus corpus;
  corpus.path = path;
  corpus.text = ReadTextFile(path);
  if (corpus.text.empty()) throw Error(ErrorKind::kContent, Place(path), "is empty, expected text");
  corpus.file_hash = Sha256OfFile(path);
  return corpus;
}

Corpus ReadWikiText(const std::string& path) {
  Corpus corpus = ReadPlainText(path);
  corpus.text = JoinWikiTextRows(corpus.text);
  return corpus;
}

}  // namespace lowbit
