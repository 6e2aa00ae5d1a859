// SPDX-License-Identifier: Apache-2.0
// The three tables of a tokenizer.json: vocabulary, merges and added tokens, checked while they are read.
#pragma once

#include <vector>

#include "lowbit/text/added_tokens.h"
#include "lowbit/text/bpe.h"
#include "lowbit/text/json_field.h"
#include "lowbit/text/vocabulary.h"

namespace lowbit {

struct TokenTables {
  Vocabulary vocabulary;  // holds the added tokens too
  MergeTable merges;
  std::vector<AddedToken> added;
};

// Reads model.vocab, model.merges and added_tokens. Throws Error{kContent} naming the token, the merge or
// the entry, for: ids that are no integers, out of range or used twice; a token or a merge that is there
// twice; a byte of ordinary text without a token; a merge of or into something that is no token; merges in
// two notations; an added token that is empty, that contradicts the vocabulary, or that wants more than plain
// matching.
TokenTables ReadTokenTables(const JsonField& root);

}  // namespace lowbit
