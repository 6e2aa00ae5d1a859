// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/sample_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/tensor/buffer.h"

namespace lowbit {
namespace {

constexpr size_t kWidth = 3;

// Row t holds t, t + 0.25, t + 0.5.
Matrix Numbered(size_t count, size_t first = 0) {
  Matrix rows(count, kWidth);
  for (size_t t = 0; t < count; ++t) {
    for (size_t j = 0; j < kWidth; ++j)
      rows.view().Row(t)[j] = static_cast<float>(first + t) + 0.25f * static_cast<float>(j);
  }
  return rows;
}

// Adds rows [first, end) in pieces of `piece`.
SampleRows Of(size_t most, size_t first, size_t end, size_t piece) {
  SampleRows rows(kWidth, most, first);
  const Matrix all = Numbered(end - first, first);
  for (size_t t = 0; t < end - first; t += piece) {
    rows.Add(all.view().Rows(t, std::min(piece, end - first - t)));
  }
  return rows;
}

std::vector<float> FirstColumn(const SampleRows& rows) {
  std::vector<float> column;
  for (size_t i = 0; i < rows.rows().rows; ++i) column.push_back(rows.rows().Row(i)[0]);
  return column;
}

void ExpectSame(const SampleRows& a, const SampleRows& b) {
  EXPECT_EQ(a.stride(), b.stride());
  ASSERT_EQ(a.rows().rows, b.rows().rows);
  for (size_t i = 0; i < a.rows().rows; ++i) {
    EXPECT_TRUE(std::equal(a.rows().Row(i), a.rows().Row(i) + kWidth, b.rows().Row(i)));
  }
}

TEST(SampleRows, AreEvenlySpreadAndNoMoreThanAsked) {
  for (const size_t most : {1, 2, 3, 7, 8}) {
    for (size_t count = 0; count < 70; ++count) {
      const SampleRows rows = Of(most, 0, count, 5);
      std::vector<float> expected;
      size_t stride = 1;
      while ((count + stride - 1) / stride > most) stride *= 2;
      for (size_t t = 0; t < count; t += stride) expected.push_back(static_cast<float>(t));
      EXPECT_EQ(FirstColumn(rows), expected) << most << " of " << count;
      EXPECT_EQ(rows.stride(), stride);
    }
  }
}

TEST(SampleRows, AreTheSameHoweverRowsCome) {
  for (const size_t piece : {1, 2, 3, 16, 100}) ExpectSame(Of(6, 0, 100, piece), Of(6, 0, 100, 7));
}

TEST(SampleRows, MergedPartsAreTheWhole) {
  for (const size_t most : {1, 4, 5, 16}) {
    for (const size_t a : {0, 1, 9, 32, 40}) {
      for (const size_t b : {40, 41, 57, 64, 99}) {
        SampleRows merged = Of(most, 0, a, 8);
        merged.Merge(Of(most, a, b, 8));
        merged.Merge(Of(most, b, 100, 8));
        ExpectSame(merged, Of(most, 0, 100, 100));
        merged.Add(Numbered(50, 100).view());  // and it goes on
        ExpectSame(merged, Of(most, 0, 150, 100));
      }
    }
  }
}

TEST(SampleRows, RestoredTheyGoOn) {
  const SampleRows rows = Of(5, 3, 40, 40);
  const SampleRows::Kept kept = SampleRows::KeptOf(5, 3, 37);
  EXPECT_EQ(kept.rows, rows.rows().rows);
  EXPECT_EQ(kept.stride, rows.stride());
  const float* data = rows.rows().data;
  SampleRows restored = SampleRows::Restore(kWidth, 5, 3, 37, {data, data + kept.rows * kWidth});
  restored.Add(Numbered(60, 40).view());
  ExpectSame(restored, Of(5, 3, 100, 100));
}

TEST(SampleRows, KeepNothingUnlessAsked) {
  EXPECT_EQ(Of(0, 0, 100, 10).rows().rows, 0u);
  EXPECT_EQ(SampleRows().rows().rows, 0u);
}

}  // namespace
}  // namespace lowbit
