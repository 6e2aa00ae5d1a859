// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lowbit {
namespace {

using ::testing::HasSubstr;

TEST(Error, IsOneLineOfPlaceMessageAndHint) {
  const Error e = Error(ErrorKind::kContent, Place("m.safetensors").Tensor("a.b"), "shape [1], expected [2]")
                      .Hint("look");
  EXPECT_STREQ(e.what(), "m.safetensors: tensor 'a.b': shape [1], expected [2] (hint: look)");
  EXPECT_EQ(e.kind(), ErrorKind::kContent);
  EXPECT_EQ(e.place().file(), "m.safetensors");
  EXPECT_EQ(e.place().item(), "tensor 'a.b'");
  EXPECT_EQ(e.message(), "shape [1], expected [2]");
  EXPECT_EQ(e.hint(), "look");
}

TEST(Error, WithoutAPlaceIsTheMessageAlone) {
  EXPECT_STREQ(Error(ErrorKind::kUsage, "x").what(), "x");
}

TEST(Error, ControlCharactersOfHostileNamesAreEscaped) {
  const Error e(ErrorKind::kContent, Place("a\nb").Key("k\x1b[2J"), "m\r\xff");
  EXPECT_STREQ(e.what(), "a\\x0ab: key 'k\\x1b[2J': m\\x0d\\xff");
}

TEST(Error, LongPathDoesNotCutTheMessageOff) {
  const Error e(ErrorKind::kContent, Place(std::string(4000, 'p')), "the message");
  EXPECT_THAT(e.what(), HasSubstr("the message"));
}

TEST(Error, LongMessageIsCut) {
  EXPECT_LT(std::string_view(Error(ErrorKind::kContent, std::string(100'000, 'm')).what()).size(), 2100u);
}

TEST(Error, EveryKindHasAnExitCodeAndANameOfItsOwn) {
  EXPECT_EQ(ExitCode(ErrorKind::kInternal), 1);
  EXPECT_EQ(ExitCode(ErrorKind::kContent), 3);
  EXPECT_EQ(ExitCode(ErrorKind::kNetwork), 8);
  std::string names;
  for (int code = 1; code <= 8; ++code) {
    const std::string name(Name(static_cast<ErrorKind>(code)));
    EXPECT_EQ(names.find(name), std::string::npos) << name;
    names += name + " ";
  }
}

TEST(Place, ItemsAreJoinedInOrder) {
  EXPECT_EQ(Place("f").Key("a").Line(3).Byte(7).Text(), "f: key 'a': line 3: byte 7");
  EXPECT_EQ(Place("f").Text(), "f");
  EXPECT_EQ(Place().Item("x").Text(), "x");
  EXPECT_EQ(Place().Text(), "");
}

TEST(Printable, KeepsTextAndEscapesWhatMovesATerminal) {
  EXPECT_EQ(Printable("plain, caf\u00e9, \u4e2d, \U0001F600"), "plain, caf\u00e9, \u4e2d, \U0001F600");
  EXPECT_EQ(Printable(std::string_view("\0\x1f\x7f", 3)), "\\x00\\x1f\\x7f");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b") << "U+009B begins a terminal command";
  EXPECT_EQ(Printable("\xc2\xa0"), "\xc2\xa0");
  EXPECT_EQ(Printable("\u2028\u202e\u2066"), "\\xe2\\x80\\xa8\\xe2\\x80\\xae\\xe2\\x81\\xa6")
      << "lines, directions";
  EXPECT_EQ(Printable("\u2026"), "\u2026");
  EXPECT_EQ(Printable("\xf0\x9f"), "\\xf0\\x9f") << "a cut character";
}

TEST(Printable, CutsAtTheLimitAndSaysSo) {
  EXPECT_EQ(Printable("abcdef", 3), "abc…");
  EXPECT_EQ(Printable("abc", 3), "abc");
  EXPECT_EQ(Printable("", 0), "");
}

TEST(Assertion, ThrowsAnInternalErrorWithFileAndCondition) {
  try {
    AssertFailed("a < b", "x.cc", 7);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInternal);
    EXPECT_THAT(e.what(), HasSubstr("x.cc: line 7: assertion failed: a < b"));
  }
}

}  // namespace
}  // namespace lowbit
