// SPDX-License-Identifier: Apache-2.0
// CompareHeads of the cpu backend against ref, over awkward sizes and every instruction set we have.
#include "lowbit/kernels/cpu/heads.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "lowbit/kernels/cpu/vector_ops.h"
#include "lowbit/tensor/dense_view.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

// m + scale · noise.
Matrix Disturbed(const Matrix& m, unsigned seed, float scale) {
  Matrix out = RandomMatrix(m.rows(), m.cols(), seed, scale);
  for (size_t i = 0; i < m.rows() * m.cols(); ++i) out.data()[i] += m.data()[i];
  return out;
}

template <class F>
void OnEveryTarget(F&& body) {
  for (const std::string& isa : vector::IsaNamesForTest()) {
    vector::ForceIsaForTest(isa);
    SCOPED_TRACE(isa);
    body();
  }
  vector::ForceIsaForTest("");
}

void ExpectSameBits(const TokenScore& a, const TokenScore& b) {
  ASSERT_EQ(std::bit_cast<uint64_t>(a.log_prob), std::bit_cast<uint64_t>(b.log_prob));
  ASSERT_EQ(a.greedy, b.greedy);
}

void ExpectSameBits(std::span<const ComparedRow> a, std::span<const ComparedRow> b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t t = 0; t < a.size(); ++t) {
    SCOPED_TRACE(t);
    const RowDivergence &p = a[t].divergence, &q = b[t].divergence;
    ASSERT_EQ(std::bit_cast<uint64_t>(p.kl), std::bit_cast<uint64_t>(q.kl));
    ASSERT_EQ(p.same_top, q.same_top);
    ExpectSameBits(a[t].score, b[t].score);
  }
}

// Spread over the vocabulary, its ends among them.
std::vector<int32_t> Targets(size_t rows, size_t vocabulary) {
  std::vector<int32_t> targets(rows);
  for (size_t t = 0; t < rows; ++t) targets[t] = static_cast<int32_t>((t + 1) * (vocabulary - 1) / rows);
  targets[0] = 0;
  return targets;
}

class CompareHeadsOf : public testing::TestWithParam<const char*> {
 protected:
  Threads one_{1}, three_{3};
  std::unique_ptr<Backend> cpu_ = MakeBackend("cpu", GetParam(), one_),
                           cpu3_ = MakeBackend("cpu", GetParam(), three_),
                           ref_ = MakeBackend("ref", GetParam(), one_);
};
INSTANTIATE_TEST_SUITE_P(Compute, CompareHeadsOf, testing::Values("f32", "bf16"));

TEST_P(CompareHeadsOf, AgreesWithRefFromAlmostEqualToUnrelated) {
  OnEveryTarget([&] {
    for (const auto [rows, in, vocabulary] : {std::array<size_t, 3>{1, 1, 1},
                                              {3, 7, 2},
                                              {65, 33, 511},
                                              {64, 64, 512},
                                              {5, 65, 513},
                                              {70, 33, 1540}}) {
      const Matrix x = RandomMatrix(rows, in, 1), head = RandomMatrix(vocabulary, in, 2, 0.7f);
      for (const float noise : {0.003f, 1.0f}) {
        const Matrix y = Disturbed(x, 3, noise), other_head = Disturbed(head, 4, noise);
        for (const Matrix* q_head : {&head, &other_head}) {
          SCOPED_TRACE(fmt::format("{}×{}×{}, noise {}", rows, in, vocabulary, noise));
          const std::vector<int32_t> targets = Targets(rows, vocabulary);
          const auto got =
              cpu_->CompareHeads(x.view(), DenseView(head), y.view(), DenseView(*q_head), targets);
          const auto want =
              ref_->CompareHeads(x.view(), DenseView(head), y.view(), DenseView(*q_head), targets);
          const auto alone = cpu_->ScoreTargets(y.view(), DenseView(*q_head), targets);
          ASSERT_EQ(got.size(), rows);
          for (size_t t = 0; t < rows; ++t) {
            SCOPED_TRACE(t);
            const RowDivergence &is = got[t].divergence, &should_be = want[t].divergence;
            ASSERT_NEAR(is.kl, should_be.kl, 1e-6 + 1e-5 * should_be.kl);
            ASSERT_EQ(is.same_top, should_be.same_top);
            ExpectSameBits(got[t].score, alone[t]);
          }
        }
      }
    }
  });
}

TEST_P(CompareHeadsOf, AModelDoesNotDivergeFromItself) {
  const Matrix x = RandomMatrix(70, 50, 5, 3.0f), head = RandomMatrix(1300, 50, 6);
  Matrix copy(1300, 50);
  std::copy_n(head.data(), 1300 * 50, copy.data());
  OnEveryTarget([&] {
    for (const Matrix* other : std::array<const Matrix*, 2>{&head, &copy}) {
      for (const ComparedRow& row :
           cpu_->CompareHeads(x.view(), DenseView(head), x.view(), DenseView(*other), Targets(70, 1300))) {
        ASSERT_EQ(row.divergence.kl, 0);
        ASSERT_TRUE(row.divergence.same_top);
      }
    }
  });
}

TEST_P(CompareHeadsOf, ARowDependsOnNeitherThreadsNorItsNeighbours) {
  const Matrix x = RandomMatrix(200, 40, 7), y = Disturbed(x, 8, 0.1f), head = RandomMatrix(1100, 40, 9),
               other = Disturbed(head, 10, 0.05f);
  const std::vector<int32_t> targets = Targets(200, 1100);
  const auto all = cpu_->CompareHeads(x.view(), DenseView(head), y.view(), DenseView(other), targets);
  for (const size_t first : {0, 1, 63, 64, 100, 163}) {
    const auto some = cpu3_->CompareHeads(x.view().Rows(first, 37), DenseView(head), y.view().Rows(first, 37),
                                          DenseView(other), std::span(targets).subspan(first, 37));
    ExpectSameBits(some, std::span(all).subspan(first, 37));
  }
}

TEST_P(CompareHeadsOf, OneWeightForBothEqualsTwoOfTheSameValues) {
  auto packed = std::make_shared<PackedTensor>();
  packed->bits = 4;
  packed->rows = 700;
  packed->cols = 64;
  packed->group_size = 32;
  packed->codes.resize(packed->rows * packed->RowBytes());
  std::mt19937 rng(11);
  for (uint8_t& byte : packed->codes) byte = static_cast<uint8_t>(rng());
  packed->scales.assign(packed->rows * packed->Groups(), 0.1f);
  packed->zeros.assign(packed->rows * packed->Groups(), 7);
  Matrix dense(packed->rows, packed->cols);
  Dequantize(*packed, 0, dense.view());
  const Weight one = std::shared_ptr<const PackedTensor>(packed);
  const Matrix x = RandomMatrix(40, 64, 12), y = Disturbed(x, 13, 0.2f);
  const std::vector<int32_t> targets = Targets(40, 700);
  const auto both_packed = cpu_->CompareHeads(x.view(), one, y.view(), one, targets);
  ExpectSameBits(both_packed, cpu_->CompareHeads(x.view(), one, y.view(), DenseView(dense), targets));
  ExpectSameBits(both_packed, cpu_->CompareHeads(x.view(), DenseView(dense), y.view(), one, targets));
}

// 8 columns: row i of the head is logit(i) times the first unit vector, of an x that begins with 1.
struct Logits {
  explicit Logits(const std::vector<float>& logits) : head(logits.size(), 8), x(1, 8) {
    std::fill_n(head.data(), logits.size() * 8, 0.0f);
    std::fill_n(x.data(), 8, 0.0f);
    x.data()[0] = 1;
    for (size_t i = 0; i < logits.size(); ++i) head.view().Row(i)[0] = logits[i];
  }
  Matrix head, x;
};

RowDivergence Compare(const Backend& backend, const std::vector<float>& p, const std::vector<float>& q) {
  const Logits a(p), b(q);
  const std::array<int32_t, 1> target = {0};
  return backend.CompareHeads(a.x.view(), DenseView(a.head), b.x.view(), DenseView(b.head), target)
      .front()
      .divergence;
}

TEST_P(CompareHeadsOf, KnowsTwoCoins) {
  // p = (3/4, 1/4), q = (1/2, 1/2), with logits far from zero that bf16 holds exactly.
  const float three = std::log(3.0f);
  const double odds = GetParam() == std::string("f32") ? three : 1.1015625;  // log 3 in bf16
  const double p = 1 / (1 + std::exp(-odds)), want = p * std::log(2 * p) + (1 - p) * std::log(2 * (1 - p));
  const RowDivergence row = Compare(*cpu_, {three, 0}, {256, 256});
  EXPECT_NEAR(row.kl, want, 1e-6);
  EXPECT_TRUE(row.same_top);  // of equal logits the lowest token
  EXPECT_FALSE(Compare(*cpu_, {0, three}, {256, 256}).same_top);
}

TEST_P(CompareHeadsOf, ExtremeLogitsAreNoNaN) {
  OnEveryTarget([&] {
    std::vector<float> low(1100, -30000), high(1100, 30000), mixed(1100, -200);
    low[700] = 30000;  // a panel whose share of the whole is zero, in every order
    mixed[1099] = 0;
    for (const auto& p : {low, high, mixed}) {
      for (const auto& q : {low, high, mixed}) {
        const RowDivergence got = Compare(*cpu_, p, q), want = Compare(*ref_, p, q);
        ASSERT_TRUE(std::isfinite(got.kl));
        ASSERT_NEAR(got.kl, want.kl, 1e-6 + 1e-5 * want.kl);
        ASSERT_EQ(got.same_top, want.same_top);
      }
    }
  });
}

TEST_P(CompareHeadsOf, ALogitThatIsNotFiniteMakesTheDivergenceNotFinite) {
  OnEveryTarget([&] {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      for (const size_t at : {0, 3, 511, 512, 1033}) {
        std::vector<float> fine(1034, 0.5f), broken = fine;
        broken[at] = bad;
        ASSERT_FALSE(std::isfinite(Compare(*cpu_, fine, broken).kl)) << bad << " at " << at;
        ASSERT_FALSE(std::isfinite(Compare(*cpu_, broken, fine).kl)) << bad << " at " << at;
      }
    }
  });
}

}  // namespace
}  // namespace lowbit
