// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "lowbit/base/files.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

TEST(Methods, EveryRowHasAUniqueNameThatARecipeCanSpellAndSaysWhatItIs) {
  std::set<std::string_view> names = {"full"};
  for (const Method* method : Methods()) {
    const MethodInfo info = method->Info();
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(info.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789"), std::string_view::npos);
    EXPECT_FALSE(info.description.empty());
    EXPECT_FALSE(info.source.empty());
    EXPECT_TRUE(1 <= info.min_bits && info.min_bits <= info.max_bits && info.max_bits <= 8);
    EXPECT_EQ(FindMethod(info.name), method);
  }
  EXPECT_EQ(FindMethod("full"), nullptr);
  EXPECT_EQ(FindMethod(""), nullptr);
}

TEST(Documents, NameEveryMethodRuleAndGrid) {
  const std::string docs = std::string(LOWBIT_SOURCE_DIR) + "/docs/";
  const std::string recipes = ReadFile(docs + "recipes.md"), methods = ReadFile(docs + "methods.md");
  for (const Method* method : Methods()) {
    EXPECT_THAT(recipes, HasSubstr(fmt::format("`{}`", method->Info().name)));
    EXPECT_THAT(methods, HasSubstr(fmt::format("`{}`", method->Info().name)));
  }
  for (const UniformRuleRow& rule : UniformRules()) {
    EXPECT_THAT(methods, HasSubstr(fmt::format("`{}`", rule.name)));
    EXPECT_THAT(recipes, HasSubstr(fmt::format("`{}`", Name(rule.grid))));
  }
}

}  // namespace
}  // namespace lowbit
