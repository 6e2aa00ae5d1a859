// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/token_rows.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

constexpr size_t kLookupsAtOnce = 256;

}  // namespace

void RequireInVocabulary(std::span<const int32_t> ids, size_t vocabulary, std::string_view of) {
  for (const int32_t id : ids) {
    if (id >= 0 && static_cast<size_t>(id) < vocabulary) continue;
    throw Error(ErrorKind::kContent, fmt::format("token id {}{}{}, the model's vocabulary has {} entries", id,
                                                 of.empty() ? "" : " of ", of, vocabulary))
        .Hint("does the tokenizer belong to this model?");
  }
}

void TokenRows::LookUp(std::span<const int32_t> ids, MatView<float> x) {
  LOWBIT_ASSERT(ids.size() == x.rows);
  for (size_t t = 0; t < ids.size(); ++t) {
    RowsToFloat(embedding_, static_cast<size_t>(ids[t]), x.Rows(t, 1));
    if (++lookups_ % kLookupsAtOnce == 0) source_.ReleaseEmbeddingAndHead();
  }
}

std::optional<size_t> FirstNotFinite(MatView<const float> x, std::span<const SequenceRows> sequences,
                                     const Threads& threads) {
  std::vector<uint8_t> bad(sequences.size(), 0);
  threads.For(sequences.size(), [&](size_t i) {
    for (size_t t = sequences[i].begin; t < sequences[i].end; ++t) {
      float sum = 0;  // of zeros, unless a value is NaN or infinite
      for (const float v : x.RowSpan(t)) sum += v * 0.0f;
      bad[i] |= static_cast<uint8_t>(sum != 0.0f || std::isnan(sum));
    }
  });
  const auto found = std::find(bad.begin(), bad.end(), 1);
  if (found == bad.end()) return std::nullopt;
  return static_cast<size_t>(found - bad.begin());
}

}  // namespace lowbit
