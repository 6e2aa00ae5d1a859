// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/token_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

TEST(TokenRows, AreThoseOfTheEmbedding) {
  const CheckpointSource source(std::string(LOWBIT_TESTDATA) + "/models/tiny-qwen3");
  const size_t cols = source.config().hidden_size, count = 600;  // pages are let go of in between
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * 37 % source.config().vocab_size));
  Matrix x(count, cols), want(1, cols);
  TokenRows rows(source);
  rows.LookUp(std::span(ids).first(255), x.view().Rows(0, 255));
  rows.LookUp(std::span(ids).subspan(255), x.view().Rows(255, count - 255));
  for (size_t t = 0; t < count; ++t) {
    RowsToFloat(source.Embedding(), static_cast<size_t>(ids[t]), want.view());
    ASSERT_TRUE(std::equal(want.data(), want.data() + cols, x.view().Row(t))) << t;
  }
}

TEST(TokenRows, AnIdOutsideTheVocabularyIsRefused) {
  RequireInVocabulary(std::vector<int32_t>{0, 9}, 10);
  for (const int32_t id : {-1, 10}) {
    const std::vector<int32_t> ids = {3, id};
    try {
      RequireInVocabulary(ids, 10, "the calibration set");
      FAIL() << id;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kContent);
      EXPECT_THAT(e.what(), HasSubstr(fmt::format("token id {} of the calibration set, the model's", id)));
    }
    EXPECT_THROW(RequireInVocabulary(ids, 10), Error);
  }
}

TEST(TokenRows, TheFirstSequenceThatIsNotFiniteIsFound) {
  const Threads threads(2);
  const std::vector<SequenceRows> sequences = {{0, 3, 0}, {3, 4, 0}, {4, 9, 0}};
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::infinity()}) {
    Matrix x = RandomMatrix(9, 5);
    EXPECT_EQ(FirstNotFinite(x.view(), sequences, threads), std::nullopt);
    x.view().Row(8)[4] = bad;
    EXPECT_EQ(FirstNotFinite(x.view(), sequences, threads), 2u);
    x.view().Row(3)[0] = bad;
    EXPECT_EQ(FirstNotFinite(x.view(), sequences, threads), 1u);
  }
}

}  // namespace
}  // namespace lowbit
