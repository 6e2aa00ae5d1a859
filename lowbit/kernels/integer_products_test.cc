// SPDX-License-Identifier: Apache-2.0
// Products with packed matrices that want their inputs rotated or as integers: cpu against ref, and ref against sums
// written out. CMake runs this also on a library that is told to do without VNNI.
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

#include "lowbit/kernels/cpu/input_ops.h"
#include "lowbit/kernels/cpu/tiled_rows.h"
#include "lowbit/kernels/testing.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

using SharedPacked = std::shared_ptr<PackedTensor>;

struct Form {
  int bits;
  bool symmetric;
  size_t group_size;  // 0: the whole row
  InputForm input;
  bool ordered = false;
};

std::string Text(const Form& form) {
  return fmt::format("w{}{} groups of {}, inputs of {} bits rotated by {}, scale {}{}", form.bits,
                     form.symmetric ? "-sym" : "", form.group_size, form.input.bits, form.input.rotation,
                     form.input.scale, form.ordered ? ", ordered" : "");
}

// Random codes; `one` scales of 1.
SharedPacked RandomPacked(size_t rows, size_t cols, const Form& form, bool one = false) {
  std::mt19937 random(7);
  auto packed = std::make_shared<PackedTensor>();
  PackedTensor& p = *packed;
  p.bits = form.bits;
  p.symmetric = form.symmetric;
  p.rows = rows;
  p.cols = cols;
  p.group_size = form.group_size == 0 ? cols : std::min(cols, form.group_size);
  p.input = form.input;
  p.codes.resize(rows * p.RowBytes());
  const uint32_t levels = 1u << form.bits;
  std::vector<uint8_t> codes(cols);
  for (size_t r = 0; r < rows; ++r) {
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % levels);
    PackRow(codes, p.bits, p.codes.data() + r * p.RowBytes());
  }
  for (size_t i = 0; i < rows * p.Groups(); ++i) {
    p.scales.push_back(one ? 1 : ToFloat(ToF16(0.001f + 0.0001f * static_cast<float>(random() % 100))));
    if (!form.symmetric) p.zeros.push_back(static_cast<uint8_t>(random() % levels));
  }
  if (form.ordered) {
    p.column_order.resize(cols);
    std::iota(p.column_order.begin(), p.column_order.end(), 0u);
    std::shuffle(p.column_order.begin(), p.column_order.end(), random);
  }
  Validate(p, Place("random"));
  return packed;
}

std::vector<Form> Forms() {
  std::vector<Form> forms;
  for (const int inputs : {8, 4, 2}) {
    for (const int bits : {2, 4, 7, 8}) {
      for (const bool symmetric : {false, true}) {
        forms.push_back({bits, symmetric, 0, {.bits = inputs}});
        forms.push_back({bits, symmetric, 24, {.bits = inputs}});
      }
    }
  }
  forms.push_back({8, false, 16, {.bits = 8}, true});
  forms.push_back({4, true, 0, {.bits = 8, .scale = 0.02f}});
  forms.push_back({4, false, 32, {.rotation = 8, .bits = 4}, true});
  forms.push_back({4, false, 32, {.rotation = 8}});
  forms.push_back({3, false, 32, {.rotation = 4}, true});
  return forms;
}

// Plans count what a prepared weight takes before there is one.
TEST(PreparedBytes, OfIntegersAreTheirCodesWithWhatEachGroupNeeds) {
  const Threads threads(1);
  const std::unique_ptr<Backend> cpu = MakeBackend("cpu", "f32", threads),
                                 ref = MakeBackend("ref", "f32", threads);
  PackedSettings w{.bits = 8, .rows = 1000, .cols = 4096, .group_size = 64};
  const uint64_t weights = w.rows * w.cols, groups = w.rows * w.Groups();
  EXPECT_EQ(cpu->PreparedBytes(w), cpu->PreparedBytes(w.rows, w.cols));
  EXPECT_EQ(ref->PreparedBytes(w), ref->PreparedBytes(w.rows, w.cols));
  w.input.bits = 8;
  const bool in_bytes = ElementForIntegers() == onednn::Element::kU8S8;
  const uint64_t least = weights * (in_bytes ? 1 : 4) + groups * (in_bytes ? 12 : 8);
  EXPECT_GE(cpu->PreparedBytes(w), least);
  EXPECT_LE(cpu->PreparedBytes(w), least + least / 20);
  EXPECT_EQ(ref->PreparedBytes(w), weights + groups * 5);
  w.symmetric = true;  // no zero points: nothing to add for them
  EXPECT_LE(cpu->PreparedBytes(w), least - groups * 4 + least / 20);
  EXPECT_EQ(ref->PreparedBytes(w), weights + groups * 4);
}

// What ref says is a sum in double, rounded once; cpu rounds once a group and once more.
void ExpectAgrees(MatView<const float> got, MatView<const float> want, const PackedTensor& p,
                  MatView<const float> x) {
  constexpr float kEps = 0x1p-24f;
  Matrix w(p.rows, p.cols);
  Dequantize(p, 0, w.view());
  for (size_t t = 0; t < want.rows; ++t) {
    float largest_x = 0;
    for (const float v : x.RowSpan(t)) largest_x = std::max(largest_x, std::fabs(v));
    for (size_t o = 0; o < want.cols; ++o) {
      float sum = 0;
      for (const float v : w.view().RowSpan(o)) sum += std::fabs(v);
      const float rotated = std::sqrt(static_cast<float>(std::max<size_t>(1, p.input.rotation)));
      const float groups = p.input.bits > 0 ? static_cast<float>(p.Groups()) : static_cast<float>(p.cols);
      ASSERT_NEAR(got.Row(t)[o], want.Row(t)[o], kEps * (groups + 2) * sum * largest_x * rotated)
          << "row " << t << " output " << o;
    }
  }
}

TEST(IntegerProducts, AgreeWithRefOverFormsAndAwkwardSizes) {
  const Backends b;
  for (const auto [rows, in, out] : {std::array<size_t, 3>{1, 8, 1}, {65, 152, 70}, {130, 72, 513}}) {
    for (const Form& form : Forms()) {
      SCOPED_TRACE(fmt::format("{}: {} x {} x {}", Text(form), rows, in, out));
      const SharedPacked packed = RandomPacked(out, in, form);
      const Matrix x = RandomMatrix(rows, in, 1), bias = RandomMatrix(1, out, 3);
      Matrix got(rows, out), want(rows, out);
      b.ref->Gemm(x.view(), *b.ref->Prepare(packed), bias.view().RowSpan(0), want.view());
      b.cpu->Gemm(x.view(), *b.cpu->Prepare(packed), bias.view().RowSpan(0), got.view());
      ExpectAgrees(got.view(), want.view(), *packed, x.view());
    }
  }
}

// Scales of 1 leave the sums themselves: exact, also where pairs of products do not fit 16 bits.
TEST(IntegerProducts, SumsAreExact) {
  const Backends b;
  for (const bool symmetric : {false, true}) {
    for (const size_t in : {1500, 37}) {
      const Form form{8, symmetric, 0, {.bits = 8, .scale = 1}};
      const SharedPacked packed = RandomPacked(20, in, form, true);
      std::ranges::fill(packed->codes, uint8_t{255});
      if (!symmetric) std::ranges::fill(packed->zeros, uint8_t{0});
      UnpackRow(packed->codes.data(), 8, packed->codes);  // 8 bits: a code is a byte
      Matrix x(3, in), got(3, 20);
      for (size_t j = 0; j < in; ++j) {
        x.view().Row(0)[j] = 127;
        x.view().Row(1)[j] = -127;
        x.view().Row(2)[j] = j % 2 == 0 ? 127.0f : -126.0f;
      }
      b.cpu->Gemm(x.view(), *b.cpu->Prepare(packed), {}, got.view());
      for (size_t t = 0; t < 3; ++t) {
        int64_t sum = 0;
        for (size_t j = 0; j < in; ++j)
          sum += static_cast<int64_t>(x.view().Row(t)[j]) * (255 - (symmetric ? 128 : 0));
        for (size_t o = 0; o < 20; ++o) ASSERT_EQ(got.view().Row(t)[o], static_cast<float>(sum)) << t;
      }
    }
  }
}

// One scale a row and one an output: the sum, times one, times the other.
TEST(IntegerProducts, PerChannelRefIsTheFormulaToTheLastBit) {
  const Backends b;
  const SharedPacked packed = RandomPacked(9, 200, {4, true, 0, {.bits = 8}});
  const Matrix x = RandomMatrix(5, 200, 1);
  Matrix y(5, 9);
  b.cpu->Gemm(x.view(), *b.cpu->Prepare(packed), {}, y.view());
  std::vector<uint8_t> codes(200);
  std::vector<int8_t> integers(200);
  for (size_t t = 0; t < 5; ++t) {
    const float scale = RoundInputs(x.view().RowSpan(t), 8, 0, integers);
    for (size_t o = 0; o < 9; ++o) {
      UnpackRow(packed->codes.data() + o * packed->RowBytes(), 4, codes);
      int32_t sum = 0;
      for (size_t j = 0; j < 200; ++j) sum += integers[j] * (codes[j] - 8);
      ASSERT_EQ(y.view().Row(t)[o], static_cast<float>(sum) * packed->scales[o] * scale);
    }
  }
}

TEST(IntegerProducts, SameBitsAloneInABatchAndForAnyThreads) {
  const Backends one("f32", 1), three("f32", 3);
  for (const Form& form : Forms()) {
    SCOPED_TRACE(Text(form));
    const SharedPacked packed = RandomPacked(70, 152, form), other = RandomPacked(70, 152, {4, true, 0, {}});
    const Matrix x = RandomMatrix(700, 152, 1);
    Matrix whole(700, 70), again(700, 70), dense(700, 70);
    const auto prepared = one.cpu->Prepare(packed), beside = one.cpu->Prepare(other);
    one.cpu->Multiply(x.view(),
                      std::array{Product{{*prepared}, whole.view()}, Product{{*beside}, dense.view()}});
    for (size_t t = 0; t < 700; t += 233) {
      Matrix alone(1, 70);
      one.cpu->Gemm(x.view().Rows(t, 1), *prepared, {}, alone.view());
      for (size_t o = 0; o < 70; ++o) ASSERT_EQ(alone.data()[o], whole.view().Row(t)[o]) << t;
    }
    three.cpu->Gemm(x.view(), *three.cpu->Prepare(packed), {}, again.view());
    EXPECT_TRUE(std::equal(whole.data(), whole.data() + 700 * 70, again.data()));
    three.cpu->Gemm(x.view(), *three.cpu->Prepare(other), {}, again.view());
    EXPECT_TRUE(std::equal(dense.data(), dense.data() + 700 * 70, again.data()));
  }
}

TEST(IntegerProducts, GatedIsTheProductsAndThenTheGate) {
  const Backends b;
  const SharedPacked gate = RandomPacked(70, 152, {4, false, 24, {.bits = 8}}),
                     up = RandomPacked(70, 152, {8, true, 0, {.rotation = 8, .bits = 4}});
  const Matrix x = RandomMatrix(600, 152, 1);
  Matrix fused(600, 70), gates(600, 70), ups(600, 70);
  const auto g = b.cpu->Prepare(gate), u = b.cpu->Prepare(up);
  b.cpu->GatedMultiply(x.view(), {*g}, {*u}, fused.view());
  b.cpu->Multiply(x.view(), std::array{Product{{*g}, gates.view()}, Product{{*u}, ups.view()}});
  for (size_t t = 0; t < 600; ++t) {
    vector::SiluMultiply(gates.view().Row(t), ups.view().Row(t), gates.view().Row(t), 70);
    for (size_t o = 0; o < 70; ++o) ASSERT_EQ(fused.view().Row(t)[o], gates.view().Row(t)[o]);
  }
}

TEST(IntegerProducts, ARowThatIsNotFiniteStaysSo) {
  const Backends b;
  const SharedPacked packed = RandomPacked(4, 40, {8, true, 0, {.bits = 8}});
  Matrix x = RandomMatrix(2, 40, 1), y(2, 4);
  x.view().Row(1)[39] = std::numeric_limits<float>::infinity();
  for (const Backend* backend : {b.cpu.get(), b.ref.get()}) {
    backend->Gemm(x.view(), *backend->Prepare(packed), {}, y.view());
    for (size_t o = 0; o < 4; ++o) {
      EXPECT_TRUE(std::isfinite(y.view().Row(0)[o]));
      EXPECT_FALSE(std::isfinite(y.view().Row(1)[o]));
    }
  }
}

TEST(InputOps, AreTheSpecificationBitForBitOnEveryTarget) {
  OnEveryTarget([&](const std::string&) {
    for (const size_t n : {1, 8, 15, 64, 200, 1024}) {
      Matrix x = RandomMatrix(2, n, 3);
      for (size_t j = 0; j < n; ++j) x.view().Row(1)[j] = 0.5f * static_cast<float>(j % 9);  // ties
      for (size_t t = 0; t < 2; ++t) {
        for (const int bits : {2, 4, 8}) {
          for (const float fixed : {0.0f, 0.125f}) {
            std::vector<int8_t> got(n), want(n);
            const float a = vector::RoundInputsRow(x.view().Row(t), n, bits, fixed, got.data()),
                        s = RoundInputs(x.view().RowSpan(t), bits, fixed, want);
            EXPECT_EQ(std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(s));
            EXPECT_EQ(got, want) << n << " " << bits;
          }
        }
        std::vector<float> got(x.view().Row(t), x.view().Row(t) + n), want = got;
        vector::RotateBlocks(got.data(), n, RotationBlock(n));
        RotateRow(want, RotationBlock(n));
        EXPECT_EQ(got, want) << n;
      }
    }
  });
}

}  // namespace
}  // namespace lowbit
