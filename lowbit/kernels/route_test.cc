// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace lowbit {
namespace {

using ::testing::ElementsAre;

std::vector<ExpertRows> Route(std::vector<float> logits, size_t experts, size_t active, bool normalize) {
  return RouteRows({logits.data(), logits.size() / experts, experts}, active, normalize);
}

TEST(RouteRows, RowsAreSortedByExpertAndWeighedByTheSoftmaxOverAll) {
  const float a = std::log(1.0f), b = std::log(2.0f), c = std::log(5.0f);
  const std::vector<ExpertRows> experts = Route({a, b, c, /**/ c, a, b}, 3, 2, false);
  EXPECT_THAT(experts[0].rows, ElementsAre(1));
  EXPECT_THAT(experts[1].rows, ElementsAre(0));
  EXPECT_THAT(experts[2].rows, ElementsAre(0, 1));
  EXPECT_NEAR(experts[2].weights[0], 5.0 / 8, 1e-6);
  EXPECT_NEAR(experts[2].weights[1], 2.0 / 8, 1e-6);
  EXPECT_NEAR(experts[1].weights[0], 2.0 / 8, 1e-6) << "without normalisation they sum to less than 1";
}

TEST(RouteRows, NormalizedWeightsSumToOne) {
  const std::vector<ExpertRows> experts = Route({0.3f, -2.0f, 1.0f, 0.9f}, 4, 3, true);
  float sum = 0;
  for (const ExpertRows& e : experts) sum += e.weights.empty() ? 0 : e.weights[0];
  EXPECT_NEAR(sum, 1.0, 1e-6);
  EXPECT_TRUE(experts[1].rows.empty());
}

TEST(RouteRows, OfEqualLogitsTheLowestExpertsAreChosen) {
  const std::vector<ExpertRows> experts = Route({0, 0, 0, 0}, 4, 2, true);
  EXPECT_EQ(experts[0].rows.size() + experts[1].rows.size(), 2u);
  EXPECT_TRUE(experts[2].rows.empty() && experts[3].rows.empty());
}

TEST(RouteRows, ANaNLogitMakesTheWeightsNaN) {
  const std::vector<ExpertRows> experts = Route({0, NAN, 1}, 3, 1, true);
  ASSERT_EQ(experts[0].rows.size(), 1u);
  EXPECT_TRUE(std::isnan(experts[0].weights[0]));
}

}  // namespace
}  // namespace lowbit
