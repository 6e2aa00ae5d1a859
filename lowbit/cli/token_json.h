// SPDX-License-Identifier: Apache-2.0
// Token ids in JSON.
#pragma once

#include "lowbit/base/json.h"
#include "lowbit/model/decoder.h"

namespace lowbit {

// A list of integers 0 ≤ id < 2^31. Throws Error{kContent} at `place`.
TokenIds ParseTokenIds(const Json& json, const Place& place);

}  // namespace lowbit
