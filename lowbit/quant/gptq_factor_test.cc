// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lowbit/quant/gptq_fixture.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

TEST(FactorGram, SaysThatThereWereNoInputs) {
  GramMatrix gram(5);
  const GptqFactor factor = Factor(gram);
  EXPECT_EQ(factor.state, GramState::kNoInputs);
  EXPECT_EQ(Name(factor.state), "no inputs");
  EXPECT_EQ(factor.dead.size(), 5u);
}

TEST(FactorGram, RaisesTheDampingUntilASingularMatrixHasAFactorAndSaysSo) {
  // Two equal columns and an error of the size that sums of f32 leave: not positive definite by -3 %.
  GramMatrix gram(2);
  gram.values = {1, 1.03, 1.03, 1};
  GptqFactor factor = Factor(gram, {.damp = 0.01});
  ASSERT_EQ(factor.state, GramState::kFactored);
  EXPECT_EQ(factor.damp, 0.01 * 5);
  EXPECT_EQ(gram.At(0, 0), 1);  // the diagonal is given back after every try
  factor = Factor(gram, {.damp = 0.0001});
  EXPECT_EQ(factor.state, GramState::kNotDefinite);
  EXPECT_EQ(Name(factor.state), "not positive definite");
  EXPECT_EQ(factor.u.rows(), 0u);
}

TEST(FactorGram, NeedsOnlyDampingWhereThereAreFewerInputsThanColumns) {
  const GptqFactor factor = Factor(RandomGram(60, 10, 70));
  EXPECT_EQ(factor.state, GramState::kFactored);
  EXPECT_EQ(factor.damp, 0.01);
}

TEST(FactorGram, LeavesTheUpperTriangleAsItWas) {
  GramMatrix gram = RandomGram(50, 100, 71);
  const GramMatrix before = gram;
  const Threads threads(2);
  FactorGram(gram.view(), {.act_order = true}, Place("gram"), threads);
  for (size_t i = 0; i < 50; ++i) {
    for (size_t j = i; j < 50; ++j) EXPECT_EQ(gram.At(i, j), before.At(i, j));
  }
}

TEST(FactorGram, IsTheInverseByPosition) {
  const size_t n = 300;
  const GramMatrix gram = RandomGram(n, 700, 72);
  const GramMatrix damped = gram.Damped(0.01);
  for (const bool act : {false, true}) {
    const GptqFactor factor = Factor(gram, {.act_order = act});
    const auto column = [&](size_t p) { return act ? factor.order[p] : p; };
    if (act) {
      EXPECT_TRUE(std::ranges::is_sorted(factor.order,
                                         [&](size_t a, size_t b) { return gram.At(a, a) > gram.At(b, b); }));
    }
    for (const size_t i : {size_t{0}, size_t{150}, n - 1}) {  // UᵀU H = 1, some rows of it
      std::vector<double> inverse_row(n);
      for (size_t k = 0; k <= i; ++k) {
        for (size_t j = k; j < n; ++j)
          inverse_row[j] +=
              static_cast<double>(factor.u.view().Row(k)[i]) * static_cast<double>(factor.u.view().Row(k)[j]);
      }
      for (size_t j = 0; j < n; ++j) {
        double sum = 0;
        for (size_t k = 0; k < n; ++k) sum += inverse_row[k] * damped.Full(column(k), column(j));
        EXPECT_NEAR(sum, i == j ? 1 : 0, 1e-4) << i << ", " << j;
      }
    }
  }
}

TEST(FactorGram, HasTheSameBitsForAnyNumberOfThreads) {
  GramMatrix gram = RandomGram(400, 500, 73);
  const Threads one(1), four(4);
  const GptqFactor a = FactorGram(gram.view(), {}, Place("gram"), one),
                   b = FactorGram(gram.view(), {}, Place("gram"), four);
  EXPECT_TRUE(std::equal(a.u.data(), a.u.data() + 400 * 400, b.u.data()));
}

TEST(FactorGram, RefusesWhatIsNotFiniteNamingThePlace) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (const auto& [i, j] : {std::pair<size_t, size_t>{2, 2}, {1, 4}}) {
      GramMatrix gram = RandomGram(6, 10, 74);
      gram.At(i, j) = bad;
      try {
        Factor(gram);
        ADD_FAILURE() << "no error";
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
        EXPECT_THAT(e.what(),
                    HasSubstr(fmt::format("gram: the sum of products of inputs {} and {} is ", i, j)));
      }
    }
  }
}

}  // namespace
}  // namespace lowbit
