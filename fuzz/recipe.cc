// SPDX-License-Identifier: Apache-2.0
// A recipe: its canonical text parses back to an equal one, and stays as it is.
#include "fuzz/target.h"
#include "lowbit/quant/spec.h"

namespace lowbit::fuzz {

LOWBIT_FUZZ_TARGET(recipe) {
  Recipe recipe;
  if (!Accepts(input, [&] { recipe = ParseRecipe(input); })) return;
  const Recipe again = ParseRecipe(recipe.Text());
  Require(again == recipe, "its canonical text is another recipe");
  Require(again.Text() == recipe.Text(), "its canonical text is not canonical");
  Require(recipe.IsFull() || (recipe.weights.bits >= 1 && recipe.weights.bits <= 8), "bits");
  Require(recipe.weights.GroupSizeFor(96) >= 1 && recipe.weights.GroupSizeFor(96) <= 96, "group size");
}

}  // namespace lowbit::fuzz
