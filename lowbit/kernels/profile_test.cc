// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "lowbit/tensor/dense_view.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

TEST(ProfiledBackend, DoesWhatTheOtherDoesAndCountsItsWork) {
  const Threads threads(2);
  const std::unique_ptr<Backend> plain = MakeBackend("cpu", "f32", threads);
  const ProfiledBackend profiled(MakeBackend("cpu", "f32", threads));
  Matrix w(30, 20), x(5, 20), want(5, 30), got(5, 30);
  std::fill_n(w.data(), 600, 0.25f);
  std::fill_n(x.data(), 100, 2.0f);
  const Weight weight = DenseView(w);
  plain->Gemm(x.view(), *plain->Prepare(weight), {}, want.view());
  const auto prepared = profiled.Prepare(weight);
  profiled.Gemm(x.view(), *prepared, {}, got.view());
  profiled.GatedMultiply(x.view(), {*prepared}, {*prepared}, want.view());
  EXPECT_EQ(got.data()[149], 10.0f);

  const std::vector<ProfileRow> rows = profiled.Rows();
  ASSERT_EQ(rows.size(), 3u);
  const auto product = std::ranges::find(rows, "product 20 → 30", &ProfileRow::operation);
  ASSERT_NE(product, rows.end());
  EXPECT_EQ(product->calls, 1u);
  EXPECT_EQ(product->flop, 2.0 * 5 * 20 * 30);
  EXPECT_GT(product->own_rate, 0);
  const auto gated = std::ranges::find(rows, "gated product 20 → 60", &ProfileRow::operation);
  ASSERT_NE(gated, rows.end());
  EXPECT_EQ(gated->flop, 2.0 * 5 * 20 * 60);
  EXPECT_THAT(ProfileText(rows, 1.0), HasSubstr("everything else"));
}

}  // namespace
}  // namespace lowbit
