// SPDX-License-Identifier: Apache-2.0
// Expected values: CPython 3.11.
#include "lowbit/text/python_text.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

TEST(PythonText, CountsCodePoints) {
  EXPECT_EQ(CodePointCount(""), 0u);
  EXPECT_EQ(CodePointCount("aß日😀e\u0301"), 6u);
}

TEST(PythonText, StripsWhiteSpaceAndInformationSeparators) {
  EXPECT_EQ(Strip(" \t\r\n\v\f\x1C\x1D\x1E\x1F\u0085\u00A0\u2003\u3000x \u2028y\u205F\n"), "x \u2028y");
  EXPECT_EQ(Strip(" \n "), "");
  EXPECT_EQ(Strip(""), "");
  EXPECT_EQ(Strip("\u200Bx\uFEFF"), "\u200Bx\uFEFF");  // no white space
  EXPECT_EQ(RightStrippedLength("a b \u00A0"), 3u);
}

TEST(PythonText, CountsPiecesBetweenRunsOfWhiteSpace) {
  EXPECT_EQ(SplitCount(""), 1u);
  EXPECT_EQ(SplitCount("a"), 1u);
  EXPECT_EQ(SplitCount(" \n"), 2u);
  EXPECT_EQ(SplitCount(" a \n\u00A0 b\u200Bc\x1C"), 4u);
}

TEST(PythonText, CapitalizesAsPythonDoes) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"", ""},
      {"he", "He"},
      {"Then Mary and JOHN pour IT", "Then mary and john pour it"},
      {"ǆudo ÉLAN", "ǅudo élan"},
      {"ßA", "Ssa"},
      {"ﬃX", "Ffix"},
      {"aΣ", "Aς"},
      {"AΣ Σ", "Aς σ"},
      {"ΑΣ'Α", "Ασ'α"},
      {"ΑΣ' ", "Ας' "},
      {"İX", "İx"},
      {"xİ", "Xi̇"},
      {"ŉ", "ʼN"},
      {"ΣΑΣ", "Σας"},
      {"aΣ.b", "Aσ.b"},
      {" Bob", " bob"}};
  for (const auto& [text, want] : cases) EXPECT_EQ(Capitalize(text), want) << text;
}

TEST(PythonText, ReplacesInOnePass) {
  EXPECT_EQ(ReplaceAll("a   b    c", "  ", " "), "a  b  c");
  EXPECT_EQ(ReplaceAll("x [title] y [title]", " [title]", ". "), "x.  y. ");
  EXPECT_EQ(ReplaceAll("", "a", "b"), "");
}

}  // namespace
}  // namespace lowbit
