// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/activations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

void Fill(MatView<float> rows, size_t first) {
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) rows.Row(r)[c] = static_cast<float>((first + r) * 100 + c);
  }
}

TEST(Activations, AFileHoldsWhatMemoryHolds) {
  const TestFolder folder;
  Activations memory(10, 7), file(10, 7, folder.path(), 4);
  for (Activations* x : {&memory, &file}) {
    for (const auto& [first, count] : {std::pair<size_t, size_t>{0, 4}, {4, 4}, {8, 2}}) {
      Fill(x->Load(first, count, true), first);
      x->Store();
    }
    for (const auto& [first, count] : {std::pair<size_t, size_t>{7, 3}, {0, 4}, {3, 2}}) {
      const MatView<float> rows = x->Load(first, count);
      ASSERT_EQ(rows.rows, count);
      for (size_t r = 0; r < count; ++r) EXPECT_EQ(rows.Row(r)[6], static_cast<float>((first + r) * 100 + 6));
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "the file has no name";
}

TEST(Activations, AFolderThatCannotHoldThemIsNamed) {
  try {
    Activations(10, 7, "/nowhere/at/all", 4);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kResource);
    EXPECT_THAT(e.what(), HasSubstr("/nowhere/at/all: cannot create a scratch file"));
  }
  const TestFolder folder;
  try {
    Activations(size_t{1} << 40, 1024, folder.path(), 4);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kResource);
    EXPECT_THAT(e.what(), HasSubstr("cannot reserve 4503599627370496 bytes"));
  }
}

}  // namespace
}  // namespace lowbit
