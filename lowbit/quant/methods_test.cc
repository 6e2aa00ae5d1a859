// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "lowbit/quant/method.h"

namespace lowbit {
namespace {

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

}  // namespace
}  // namespace lowbit
