// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace lowbit::fuzz {

// The most memory that was allocated at once since this was made, beyond what was allocated then. Counts with
// AddressSanitizer only; 0 otherwise. One at a time.
class PeakMemory {
 public:
  PeakMemory();
  size_t bytes() const;
};

}  // namespace lowbit::fuzz
