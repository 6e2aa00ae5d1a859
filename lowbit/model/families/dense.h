// SPDX-License-Identifier: Apache-2.0
// What the dense families share: a norm before attention and before the gated MLP, grouped-query attention.
#pragma once

#include "lowbit/model/layout.h"

namespace lowbit {

// One decoder layer without anything that only some families have.
LayerLayout DenseLayer(const ModelConfig& config);

}  // namespace lowbit
