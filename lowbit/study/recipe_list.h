// SPDX-License-Identifier: Apache-2.0
// The recipes of a study file (docs/study-files.md): written out, with rules beside them, or as a grid.
//   - rtn-w4-g128
//   - {recipe: gptq-w3-g64, rules: {layers.0-3: w8-g64, tensor.down_proj: w4-g64}}
//   - {methods: [rtn, gptq], bits: [4, 3], groups: [channel, 64], skip_refused: true}
//   - {methods: gptq, bits: 4, activations: [none, 8, 4], groups: 64}
#pragma once

#include <string>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/quant/spec.h"
#include "lowbit/study/yaml_reader.h"

namespace lowbit {

struct ListedRecipe {
  Recipe recipe;
  std::string written;  // not canonical
  Place place;          // in the study file
};

struct RecipeList {
  std::vector<ListedRecipe>
      recipes;  // distinct, in the order of the file; of a grid the last key changes first
  std::vector<std::string> left_out;  // by skip_refused, each with the reason
};

// Throws Error{kContent} at the line of what cannot be read, of a recipe that its grammar refuses, and of one
// that is there already.
RecipeList ReadRecipes(const YamlReader& list);

}  // namespace lowbit
