// SPDX-License-Identifier: Apache-2.0
// Every operation of the cpu backend against ref, over awkward sizes and every instruction set we have.
#include "lowbit/kernels/backend.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

#include "lowbit/kernels/cpu/vector_ops.h"
#include "lowbit/kernels/testing.h"
#include "lowbit/tensor/dense_view.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

constexpr float kEps = 0x1p-24f;  // unit roundoff of f32

void ExpectNear(MatView<const float> got, MatView<const float> want, float bound, const std::string& what) {
  for (size_t r = 0; r < want.rows; ++r) {
    for (size_t c = 0; c < want.cols; ++c) {
      ASSERT_NEAR(got.Row(r)[c], want.Row(r)[c], bound) << what << " at row " << r << ", column " << c;
    }
  }
}

void ExpectSameBits(MatView<const float> a, MatView<const float> b, const std::string& what) {
  for (size_t r = 0; r < a.rows; ++r) {
    for (size_t c = 0; c < a.cols; ++c) {
      ASSERT_EQ(std::bit_cast<uint32_t>(a.Row(r)[c]), std::bit_cast<uint32_t>(b.Row(r)[c]))
          << what << " at row " << r << ", column " << c;
    }
  }
}

TEST(VectorOps, ForcingATargetReallyChangesIt) {
  EXPECT_FALSE(vector::IsaNamesForTest().empty());
  OnEveryTarget([&](const std::string& isa) { EXPECT_EQ(vector::IsaName(), isa); });
  EXPECT_EQ(vector::IsaName(), vector::IsaNamesForTest().front());
}

class GemmOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Compute, GemmOf, testing::Values("f32", "bf16"));

TEST_P(GemmOf, AgreesWithRefOverAwkwardSizes) {
  const Backends b(GetParam());
  for (const auto [rows, in, out] : {std::array<size_t, 3>{1, 1, 1},
                                     {1, 64, 7},
                                     {3, 17, 513},
                                     {63, 65, 31},
                                     {64, 64, 512},
                                     {65, 127, 1000},
                                     {130, 576, 1025},
                                     {19, 1000, 192}}) {
    const Matrix x = RandomMatrix(rows, in, 1), w = RandomMatrix(out, in, 2), bias = RandomMatrix(1, out, 3);
    Matrix got(rows, out), want(rows, out);
    for (const bool with_bias : {false, true}) {
      const std::span<const float> add = with_bias ? bias.view().RowSpan(0) : std::span<const float>();
      b.cpu->Gemm(x.view(), *b.cpu->Prepare(DenseView(w)), add, got.view());
      b.ref->Gemm(x.view(), *b.ref->Prepare(DenseView(w)), add, want.view());
      // n·u·Σ|x||w| with Σ|x||w| ≈ n·E|x|E|w| = 0.64 n and a sum whose error grows like sqrt(n) at worst
      // here.
      const float bound =
          4 * kEps * std::sqrt(static_cast<float>(in)) * static_cast<float>(in) * 0.64f + 4 * kEps;
      ExpectNear(got.view(), want.view(), bound, fmt::format("{}x{}x{}", rows, in, out));
    }
  }
}

TEST_P(GemmOf, GatedProductsAgreeWithRefAndWithTheirParts) {
  const Backends b(GetParam());
  for (const auto [rows, in, out] :
       {std::array<size_t, 3>{1, 1, 1}, {3, 17, 513}, {65, 127, 1000}, {130, 64, 512}}) {
    const Matrix x = RandomMatrix(rows, in, 30), gate = RandomMatrix(out, in, 31, 0.2f),
                 up = RandomMatrix(out, in, 32, 0.2f), bias = RandomMatrix(2, out, 33);
    Matrix got(rows, out), want(rows, out), gates(rows, out), ups(rows, out);
    for (const bool with_bias : {false, true}) {
      const auto bias_of = [&](size_t i) {
        return with_bias ? bias.view().RowSpan(i) : std::span<const float>();
      };
      const auto run = [&](const Backend& backend, MatView<float> y) {
        const auto g = backend.Prepare(DenseView(gate)), u = backend.Prepare(DenseView(up));
        backend.GatedMultiply(x.view(), {*g, bias_of(0)}, {*u, bias_of(1)}, y);
        return std::pair(backend.Prepare(DenseView(gate)), backend.Prepare(DenseView(up)));
      };
      const auto [g, u] = run(*b.cpu, got.view());
      run(*b.ref, want.view());
      ExpectNear(got.view(), want.view(), 2e-5f * static_cast<float>(in),
                 fmt::format("gated {}x{}x{}", rows, in, out));

      b.cpu->Multiply(x.view(), std::array{Product{{*g, bias_of(0)}, gates.view()},
                                           Product{{*u, bias_of(1)}, ups.view()}});
      for (size_t t = 0; t < rows; ++t) {
        vector::SiluMultiply(gates.view().Row(t), ups.view().Row(t), gates.view().Row(t), out);
      }
      ExpectSameBits(got.view(), gates.view(), "fused");
    }
  }
}

TEST_P(GemmOf, ProductsOfOneInputEqualThemselvesAloneAndCanBeAdded) {
  const Backends b(GetParam());
  const size_t rows = 70, in = 90;
  const Matrix x = RandomMatrix(rows, in, 40), first = RandomMatrix(600, in, 41),
               second = RandomMatrix(33, in, 42), bias = RandomMatrix(1, 33, 43),
               before = RandomMatrix(rows, 33, 44);
  const auto f = b.cpu->Prepare(DenseView(first)), s = b.cpu->Prepare(DenseView(second));
  Matrix a(rows, 600), alone_a(rows, 600), sum(rows, 33), alone_s(rows, 33);
  std::copy_n(before.data(), rows * 33, sum.data());
  b.cpu->Multiply(
      x.view(), std::array{Product{{*f}, a.view()}, Product{{*s, bias.view().RowSpan(0)}, sum.view(), true}});
  b.cpu->Gemm(x.view(), *f, {}, alone_a.view());
  b.cpu->Gemm(x.view(), *s, bias.view().RowSpan(0), alone_s.view());
  b.cpu->Add(alone_s.view(), before.view());
  ExpectSameBits(a.view(), alone_a.view(), "first of two");
  ExpectSameBits(sum.view(), alone_s.view(), "added");
}

TEST(Prepare, CanKeepF32WhereTheBackendComputesInBF16) {
  const Backends bf16("bf16"), f32("f32");
  const Matrix x = RandomMatrix(9, 50, 45), w = RandomMatrix(40, 50, 46);
  Matrix got(9, 40), want(9, 40);
  bf16.cpu->Gemm(x.view(), *bf16.cpu->Prepare(DenseView(w), Compute::kF32), {}, got.view());
  f32.cpu->Gemm(x.view(), *f32.cpu->Prepare(DenseView(w)), {}, want.view());
  ExpectSameBits(got.view(), want.view(), "f32 product");
}

TEST_P(GemmOf, ResultOfARowDoesNotDependOnItsNeighboursOrThreads) {
  const Backends one(GetParam(), 1), three(GetParam(), 3);
  const size_t in = 576, out = 700;
  const Matrix x = RandomMatrix(200, in, 4), w = RandomMatrix(out, in, 5);
  Matrix all(200, out), some(37, out);
  one.cpu->Gemm(x.view(), *one.cpu->Prepare(DenseView(w)), {}, all.view());
  for (const size_t first : {0, 1, 63, 64, 100, 163}) {
    three.cpu->Gemm(x.view().Rows(first, 37), *three.cpu->Prepare(DenseView(w)), {}, some.view());
    ExpectSameBits(some.view(), all.view().Rows(first, 37), fmt::format("rows from {}", first));
  }
}

TEST_P(GemmOf, PackedWeightsEqualTheirDequantizedSelves) {
  const Backends b(GetParam());
  auto packed = std::make_shared<PackedTensor>();
  packed->bits = 3;
  packed->rows = 600;
  packed->cols = 70;
  packed->group_size = 32;
  packed->codes.resize(packed->rows * packed->RowBytes());
  std::mt19937 rng(6);
  for (uint8_t& byte : packed->codes) byte = static_cast<uint8_t>(rng());
  packed->scales.assign(packed->rows * packed->Groups(), 0.25f);
  packed->zeros.assign(packed->rows * packed->Groups(), 3);
  Matrix dense(packed->rows, packed->cols), x = RandomMatrix(5, packed->cols, 7);
  Dequantize(*packed, 0, dense.view());
  Matrix from_packed(5, packed->rows), from_dense(5, packed->rows);
  b.cpu->Gemm(x.view(), *b.cpu->Prepare(Weight(std::shared_ptr<const PackedTensor>(packed))), {},
              from_packed.view());
  b.cpu->Gemm(x.view(), *b.cpu->Prepare(DenseView(dense)), {}, from_dense.view());
  ExpectSameBits(from_packed.view(), from_dense.view(), "packed");
}

TEST(RowOperations, AgreeWithRefOnEveryTarget) {
  const Backends b;
  OnEveryTarget([&](const std::string&) {
    for (const size_t n : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 127, 576, 1000}) {
      const Matrix x = RandomMatrix(3, n, 8, 3.0f), y = RandomMatrix(3, n, 9), w = RandomMatrix(1, n, 10);
      Matrix got(3, n), want(3, n);
      b.cpu->RmsNorm(x.view(), w.view().RowSpan(0), 1e-6f, got.view());
      b.ref->RmsNorm(x.view(), w.view().RowSpan(0), 1e-6f, want.view());
      ExpectNear(got.view(), want.view(), 4e-6f, fmt::format("norm of {}", n));

      std::copy_n(x.data(), 3 * n, got.data());
      std::copy_n(x.data(), 3 * n, want.data());
      const std::vector<uint32_t> rows = {2, 0};
      const std::vector<float> weights = {0.3f, 1.7f};
      b.cpu->AddWeightedRows(y.view().Rows(0, 2), rows, weights, got.view());
      b.ref->AddWeightedRows(y.view().Rows(0, 2), rows, weights, want.view());
      ExpectNear(got.view(), want.view(), 2e-6f, fmt::format("weighted sum of {}", n));

      std::copy_n(x.data(), 3 * n, got.data());
      std::copy_n(x.data(), 3 * n, want.data());
      b.cpu->Add(got.view(), y.view());
      b.ref->Add(want.view(), y.view());
      ExpectSameBits(got.view(), want.view(), fmt::format("sum of {}", n));
    }
  });
}

RopeTable Table(size_t positions, size_t half) {
  RopeTable table{Matrix(positions, half), Matrix(positions, half)};
  for (size_t p = 0; p < positions; ++p) {
    for (size_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(p) * std::pow(1e4, -static_cast<double>(i) / static_cast<double>(half));
      table.cos.view().Row(p)[i] = static_cast<float>(std::cos(angle));
      table.sin.view().Row(p)[i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

TEST(Rope, AgreesWithRefAndPutsPositionsWhereTheSequenceBegins) {
  const Backends b;
  OnEveryTarget([&](const std::string&) {
    for (const size_t half : {1, 8, 16, 20, 32, 64}) {
      const RopeTable table = Table(40, half);
      const std::vector<SequenceRows> sequences = {{0, 9, 0}, {9, 10, 0}, {10, 21, 29}};
      Matrix got = RandomMatrix(21, 3 * 2 * half, 11), want = RandomMatrix(21, 3 * 2 * half, 11);
      b.cpu->Rope(got.view(), table, sequences);
      b.ref->Rope(want.view(), table, sequences);
      ExpectNear(got.view(), want.view(), 2e-6f, fmt::format("half {}", half));
    }
  });
}

TEST(Attention, AgreesWithRefForGroupedHeadsAndOddLengths) {
  const Backends b;
  OnEveryTarget([&](const std::string&) {
    for (const AttentionShape shape :
         {AttentionShape{4, 2, 16}, {6, 2, 64}, {9, 3, 64}, {2, 2, 128}, {3, 1, 10}}) {
      const std::vector<SequenceRows> sequences = {{0, 1, 0}, {1, 65, 0}, {65, 84, 0}, {84, 284, 0}};
      const size_t rows = 284;
      const Matrix q = RandomMatrix(rows, shape.heads * shape.head_dim, 12),
                   k = RandomMatrix(rows, shape.kv_heads * shape.head_dim, 13),
                   v = RandomMatrix(rows, shape.kv_heads * shape.head_dim, 14);
      Matrix got(rows, shape.heads * shape.head_dim), want(rows, shape.heads * shape.head_dim);
      b.cpu->Attention(q.view(), k.view(), v.view(), shape, sequences, got.view());
      b.ref->Attention(q.view(), k.view(), v.view(), shape, sequences, want.view());
      ExpectNear(got.view(), want.view(), 5e-6f, fmt::format("{} heads of {}", shape.heads, shape.head_dim));
    }
  });
}

TEST(Attention, ARowDependsOnlyOnItsOwnPrefix) {
  const Backends one("f32", 1), three("f32", 3);
  const AttentionShape shape{6, 2, 64};
  const Matrix q = RandomMatrix(300, 384, 15), k = RandomMatrix(300, 128, 16), v = RandomMatrix(300, 128, 17);
  Matrix all(300, 384), prefix(300, 384);
  one.cpu->Attention(q.view(), k.view(), v.view(), shape, std::vector<SequenceRows>{{0, 300, 0}}, all.view());
  for (const size_t n : {1, 63, 64, 65, 200, 299}) {
    three.cpu->Attention(q.view(), k.view(), v.view(), shape, std::vector<SequenceRows>{{0, n, 0}},
                         prefix.view());
    ExpectSameBits(prefix.view().Rows(0, n), all.view().Rows(0, n), fmt::format("prefix of {}", n));
  }
}

// A sequence of 230 rows cut into branches that lie in other rows: some way in front of them, then their own.
TEST(AttendBranches, GivesARowTheBitsOfItsOwnSequenceAndAgreesWithRef) {
  const Backends one("f32", 1), three("f32", 3);
  for (const AttentionShape shape : {AttentionShape{4, 2, 16}, {9, 3, 64}, {3, 1, 10}}) {
    const size_t rows = 230, width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
    const Matrix q = RandomMatrix(rows, width, 41), k = RandomMatrix(rows, kv_width, 42),
                 v = RandomMatrix(rows, kv_width, 43);
    Matrix want(rows, width);
    one.cpu->Attention(q.view(), k.view(), v.view(), shape, std::vector<SequenceRows>{{0, rows, 0}},
                       want.view());

    // Row r of the sequence stands in row (r + 100) % rows: the way to a branch is in two runs, or one.
    const size_t shift = 100;
    Matrix moved_k(rows, kv_width), moved_v(rows, kv_width);
    for (size_t r = 0; r < rows; ++r) {
      std::ranges::copy(k.view().RowSpan(r), moved_k.view().Row((r + shift) % rows));
      std::ranges::copy(v.view().RowSpan(r), moved_v.view().Row((r + shift) % rows));
    }
    const auto runs_to = [&](size_t end) {
      std::vector<RowRun> runs = {{shift, std::min(rows, shift + end)}};
      if (end > rows - shift) runs.push_back({0, end - (rows - shift)});
      return runs;
    };
    std::vector<BranchRows> branches;
    size_t row = 0;
    for (const size_t end : {1, 2, 60, 64, 67, 128, 130, 193, 230}) {
      branches.push_back({row, end, runs_to(end)});
      row = end;
    }
    for (const Backends* b : {&one, &three}) {
      Matrix got(rows, width), ref(rows, width);
      b->cpu->AttendBranches(q.view(), moved_k.view(), moved_v.view(), shape, branches, got.view());
      ExpectSameBits(got.view(), want.view(), fmt::format("{} heads of {}", shape.heads, shape.head_dim));
      b->ref->AttendBranches(q.view(), moved_k.view(), moved_v.view(), shape, branches, ref.view());
      ExpectNear(got.view(), ref.view(), 5e-6f, "ref");
    }
  }
}

// More keys than one bundle packs.
TEST(AttendBranches, ManyBranchesAreCutIntoBundles) {
  const Backends b("f32", 2);
  const AttentionShape shape{2, 1, 8};
  const size_t way = 70, branches = 90;  // 128 packed keys each, three bundles
  const Matrix q = RandomMatrix(branches, 16, 44), k = RandomMatrix(way + branches, 8, 45),
               v = RandomMatrix(way + branches, 8, 46);
  std::vector<BranchRows> rows;
  for (size_t i = 0; i < branches; ++i) rows.push_back({i, i + 1, {{0, way}, {way + i, way + i + 1}}});
  Matrix got(branches, 16), want(branches, 16), one(1, 16);
  b.cpu->AttendBranches(q.view(), k.view(), v.view(), shape, rows, got.view());
  b.ref->AttendBranches(q.view(), k.view(), v.view(), shape, rows, want.view());
  ExpectNear(got.view(), want.view(), 5e-6f, "branches");
  for (const size_t i : {0, 31, 32, 89}) {
    const std::vector<BranchRows> alone = {{0, 1, rows[i].keys}};
    b.cpu->AttendBranches(q.view().Rows(i, 1), k.view(), v.view(), shape, alone, one.view());
    ExpectSameBits(one.view(), got.view().Rows(i, 1), fmt::format("branch {}", i));
  }
}

class ScoreTargetsOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Compute, ScoreTargetsOf, testing::Values("f32", "bf16"));

TEST_P(ScoreTargetsOf, AgreesWithRefAcrossPanels) {
  const Backends b(GetParam());
  OnEveryTarget([&](const std::string&) {
    for (const size_t vocabulary : {1, 5, 512, 513, 1500}) {
      const size_t rows = 70, in = 33;
      const Matrix x = RandomMatrix(rows, in, 18), head = RandomMatrix(vocabulary, in, 19);
      std::vector<int32_t> targets(rows);
      for (size_t t = 0; t < rows; ++t) targets[t] = static_cast<int32_t>(t * 37 % vocabulary);
      const auto got = b.cpu->ScoreTargets(x.view(), DenseView(head), targets);
      const auto want = b.ref->ScoreTargets(x.view(), DenseView(head), targets);
      for (size_t t = 0; t < rows; ++t) {
        ASSERT_NEAR(got[t].log_prob, want[t].log_prob, 2e-5) << vocabulary << " row " << t;
        ASSERT_EQ(got[t].greedy, want[t].greedy) << vocabulary << " row " << t;
      }
    }
  });
}

TEST(ScoreTargets, OfEqualLogitsTheLowestTokenIsGreedy) {
  const Backends b;
  const size_t vocabulary = 1100;
  const Matrix x = RandomMatrix(1, 8, 20);
  Matrix head(vocabulary, 8);
  std::fill_n(head.data(), vocabulary * 8, 0.0f);
  const Matrix two_rows = [&] {
    Matrix m(2, 8);
    std::copy_n(x.data(), 8, m.data());
    std::copy_n(x.data(), 8, m.data() + 8);
    return m;
  }();
  std::copy_n(x.data(), 8, head.view().Row(700));
  std::copy_n(x.data(), 8, head.view().Row(1050));
  for (const Backend* backend : {b.cpu.get(), b.ref.get()}) {
    const auto scores =
        backend->ScoreTargets(two_rows.view(), DenseView(head), std::vector<int32_t>{700, 1050});
    EXPECT_TRUE(scores[0].greedy);
    EXPECT_FALSE(scores[1].greedy);
    EXPECT_EQ(scores[0].log_prob, scores[1].log_prob);
  }
}

TEST(ScoreTargets, ANaNLogitMakesTheScoreNaN) {
  const Backends b;
  Matrix x(1, 4), head = RandomMatrix(1030, 4, 21);
  std::fill_n(x.data(), 4, 1.0f);
  head.view().Row(3)[0] = NAN;
  const auto scores = b.cpu->ScoreTargets(x.view(), DenseView(head), std::vector<int32_t>{1029});
  EXPECT_TRUE(std::isnan(scores[0].log_prob));
}

TEST(MakeBackend, NamesWhatIsAvailable) {
  const Threads threads(1);
  EXPECT_THROW(MakeBackend("cuda", "f32", threads), Error);
  EXPECT_THROW(MakeBackend("cpu", "f16", threads), Error);
}

}  // namespace
}  // namespace lowbit
