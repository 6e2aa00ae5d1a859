// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/token_json.h"

#include <limits>

namespace lowbit {

TokenIds ParseTokenIds(const Json& json, const Place& place) {
  if (!json.is_array())
    throw Error(ErrorKind::kContent, place,
                fmt::format("{}, expected a list of token ids", JsonPreview(json)));
  TokenIds ids;
  ids.reserve(json.size());
  for (const Json& item : json) {
    const bool fits = item.is_number_unsigned() &&
                      item.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int32_t>::max());
    if (!fits) {
      throw Error(ErrorKind::kContent, place.Item(fmt::format("entry {}", ids.size())),
                  fmt::format("{}, expected a token id", JsonPreview(item)));
    }
    ids.push_back(item.get<int32_t>());
  }
  return ids;
}

}  // namespace lowbit
