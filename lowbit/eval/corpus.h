// SPDX-License-Identifier: Apache-2.0
// Texts for perplexity.
#pragma once

#include <string>
#include <string_view>

namespace lowbit {

struct Corpus {
  std::string text;       // what is encoded, in one call
  std::string file_hash;  // SHA-256 of the file it came from
  std::string path;
};

// The GPTQ scripts' text of a raw WikiText file: rows are lines with their newline, blank lines are empty
// rows, rows are joined by two newlines.
std::string JoinWikiTextRows(std::string_view raw);

// Throws Error{kMissing} or Error{kContent} (empty, not UTF-8).
Corpus ReadWikiText(const std::string& path);
Corpus ReadPlainText(const std::string& path);

}  // namespace lowbit
