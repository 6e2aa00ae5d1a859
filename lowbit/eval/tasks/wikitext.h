// SPDX-License-Identifier: Apache-2.0
// lm-evaluation-harness's task wikitext: pages of WikiText-2's raw test split.
#pragma once

#include "lowbit/eval/rolling.h"

namespace lowbit {

// wikitext2/wiki.test.pages.jsonl, JSON Lines with a field `page`, where a data folder has it; else the pages of
// wikitext2/wiki.test.raw (wikitext_page.h). Throws Error{kMissing}, and Error{kContent} naming file, line and field.
RollingSet ReadWikiTextPages(const TaskOptions& options);

}  // namespace lowbit
