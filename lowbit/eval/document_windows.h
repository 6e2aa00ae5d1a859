// SPDX-License-Identifier: Apache-2.0
// Windows of tokens out of single documents: drawn as GPTQ's get_c4 draws them, or listed in a file.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {

struct DocumentWindow {
  size_t document = 0, offset = 0;  // of its first token
  bool operator==(const DocumentWindow&) const = default;
};

// Tokens of document `index`. Asked for the same one more than once.
using TokenCounts = std::function<size_t(size_t index)>;

// `windows` windows of `window` tokens, drawn from `documents` documents with Python's generator seeded with 0 (GPTQ,
// datautils.py, get_c4): a document uniformly, again until one has enough tokens; then its first token uniformly
// among all but the last of those that a whole window follows. A document of exactly `window` tokens leaves that draw
// nothing, and ends the original script; here it is drawn again, and logged. Documents are counted as they are drawn.
// Throws Error{kContent} at `file` once every document was found too short.
std::vector<DocumentWindow> DrawWindows(size_t documents, size_t window, size_t windows,
                                        const TokenCounts& count, const Place& file);

struct ListedWindow {
  DocumentWindow at;
  size_t fewest = 0, most = 0;  // tokens the document has with the tokenizer the list was made with
};

// CSV with the header window,doc_index,token_offset,doc_tokens_min,doc_tokens_max and windows numbered from 0.
// Throws Error{kContent} naming file, line and field, also for a list without windows.
std::vector<ListedWindow> ReadWindowList(const std::string& path);

// Throws Error{kContent} at `list` for a window that begins in a document that is not there.
void RequireDocuments(std::span<const ListedWindow> windows, size_t documents, const Place& list);

// How many windows come from a document whose number of tokens is not what the list was made with. Throws
// Error{kContent} at `list` for a window that begins behind its document's last token: these are other documents.
size_t CountOutside(std::span<const ListedWindow> windows, const TokenCounts& count, const Place& list);

}  // namespace lowbit
