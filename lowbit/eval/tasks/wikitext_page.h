// SPDX-License-Identifier: Apache-2.0
// WikiText's pages, and their text as it was before the data set took it apart into words: what lm-evaluation-harness's
// task wikitext does to them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lowbit {

// The pages of a raw file: each begins at a line " = Title = ". What stands before the first is a page too if it holds
// more than white space; the last page is one whatever it holds. The line end before a title belongs to no page.
// (EleutherAI/wikitext_document_level; the raw test file has 62.)
std::vector<std::string_view> CutPages(std::string_view raw);

// The text that is scored: spaces that the data set put around punctuation taken out again. In UTF-8.
std::string DetokenizePage(std::string_view page);

}  // namespace lowbit
