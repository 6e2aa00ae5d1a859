// SPDX-License-Identifier: Apache-2.0
// Scales, zero points and codes against the numpy reference, bit for bit (oracle/quant_golden.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "lowbit/base/json.h"
#include "lowbit/checkpoint/safetensors.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

const std::string kFolder = std::string(LOWBIT_TESTDATA) + "/quant/";

// One case of rounding.safetensors, and what the reference made of it.
struct Case {
  size_t rows, cols, group_size;
  int bits;
  bool binary;
  RangeSearch range;
  UniformRule rule;  // unless binary
  Matrix weights;
  struct Result {
    std::vector<uint8_t> codes;         // [rows, cols]
    std::vector<float> scales, extras;  // [rows, groups]; extras: zero points or means
  } f32, f16;

  size_t Groups() const { return (cols + group_size - 1) / group_size; }
  const Result& In(DType type) const { return type == DType::kF16 ? f16 : f32; }
  std::string Text() const {
    return fmt::format("{} w{} g{} of {} x {}{}", binary ? "binary" : Row(rule).name, bits, group_size, rows,
                       cols, range == RangeSearch::kMse ? " mse" : "");
  }
};

// Reads the golden tensors from front to back.
class Cursor {
 public:
  Cursor(const SafetensorsFile& file, std::string_view name) : tensor_(file.Get(name)) {}
  template <class T>
  std::vector<T> Take(size_t count) {
    std::vector<T> values(count);
    std::memcpy(values.data(), tensor_.bytes.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return values;
  }
  bool AtEnd() const { return at_ == tensor_.bytes.size(); }

 private:
  TensorView tensor_;
  size_t at_ = 0;
};

struct ResultCursors {
  Cursor codes, scales, extras;
  ResultCursors(const SafetensorsFile& file, const std::string& type)
      : codes(file, type + ".codes"), scales(file, type + ".scales"), extras(file, type + ".extras") {}
  Case::Result Take(const Case& c) {
    return {codes.Take<uint8_t>(c.rows * c.cols), scales.Take<float>(c.rows * c.Groups()),
            extras.Take<float>(c.rows * c.Groups())};
  }
};

std::vector<Case> LoadCases() {
  const SafetensorsFile file(kFolder + "rounding.safetensors");
  Cursor table(file, "cases"), weights(file, "weights");
  ResultCursors f32(file, "f32"), f16(file, "f16");
  std::vector<Case> cases;
  while (!table.AtEnd()) {
    const std::vector<int32_t> row = table.Take<int32_t>(6);
    Case c;
    c.rows = static_cast<size_t>(row[0]);
    c.cols = static_cast<size_t>(row[1]);
    c.group_size = static_cast<size_t>(row[2]);
    c.bits = row[3];
    c.binary = static_cast<size_t>(row[4]) == UniformRules().size();
    c.rule = c.binary ? UniformRule::kGptqAsym : static_cast<UniformRule>(row[4]);
    c.range = row[5] != 0 ? RangeSearch::kMse : RangeSearch::kMinMax;
    const std::vector<float> values = weights.Take<float>(c.rows * c.cols);
    c.weights = Matrix(c.rows, c.cols);
    std::memcpy(c.weights.data(), values.data(), values.size() * sizeof(float));
    c.f32 = f32.Take(c);
    c.f16 = f16.Take(c);
    cases.push_back(std::move(c));
  }
  EXPECT_TRUE(weights.AtEnd());
  return cases;
}

TEST(UniformQuantizer, EqualsTheReferenceBitForBit) {
  size_t compared = 0;
  for (const Case& c : LoadCases()) {
    if (c.binary) continue;
    for (const DType type : {DType::kF32, DType::kF16}) {
      const UniformQuantizer quantizer(c.rule, c.bits, type, c.range);
      std::vector<uint8_t> codes(c.rows * c.cols);
      std::vector<float> scales, zeros;
      for (size_t r = 0; r < c.rows; ++r) {
        for (size_t at = 0; at < c.cols; at += c.group_size) {
          const auto group = c.weights.view().RowSpan(r).subspan(at, std::min(c.group_size, c.cols - at));
          const GroupParams params = quantizer.Choose(group);
          quantizer.Encode(group, params, codes.data() + r * c.cols + at);
          scales.push_back(params.scale);
          zeros.push_back(params.zero);
        }
      }
      EXPECT_EQ(scales, c.In(type).scales) << c.Text() << " scales " << Name(type);
      EXPECT_EQ(zeros, c.In(type).extras) << c.Text() << " scales " << Name(type);
      EXPECT_EQ(codes, c.In(type).codes) << c.Text() << " scales " << Name(type);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 400u);
}

TEST(RoundRows, EqualsTheReferenceBitForBitWithShortLastGroups) {
  const Threads threads(2);
  size_t short_groups = 0, binary = 0;
  for (const Case& c : LoadCases()) {
    if (c.bits == 1 && !c.binary) continue;  // a recipe cannot ask for it
    for (const DType type : {DType::kF32, DType::kF16}) {
      const WeightSpec spec{.bits = c.bits,
                            .group_size = c.group_size,
                            .symmetric = !c.binary && Row(c.rule).symmetric,
                            .scale_type = type,
                            .grid = Row(c.rule).grid,
                            .range = c.range};
      PackedTensor packed = MakePacked(c.rows, c.cols, spec);
      RoundRows(c.weights.view(), spec, 0, Place("golden"), threads, packed);
      Validate(packed, Place("golden"));
      std::vector<uint8_t> codes(c.rows * c.cols);
      for (size_t r = 0; r < c.rows; ++r) {
        UnpackRow(packed.codes.data() + r * packed.RowBytes(), c.bits,
                  std::span(codes).subspan(r * c.cols, c.cols));
      }
      const Case::Result& want = c.In(type);
      EXPECT_EQ(codes, want.codes) << c.Text() << " scales " << Name(type);
      EXPECT_EQ(packed.scales, want.scales) << c.Text() << " scales " << Name(type);
      if (c.binary) {
        EXPECT_EQ(packed.means, want.extras) << c.Text() << " scales " << Name(type);
      } else if (!packed.symmetric) {
        EXPECT_EQ(std::vector<float>(packed.zeros.begin(), packed.zeros.end()), want.extras) << c.Text();
      }
    }
    short_groups += c.cols % std::min(c.group_size, c.cols) != 0 ? 1 : 0;
    binary += c.binary ? 1 : 0;
  }
  EXPECT_GT(short_groups, 50u);
  EXPECT_EQ(binary, 40u);
}

// The examples of docs/methods.md were computed in double and printed with six digits.
TEST(UniformQuantizer, GivesTheWorkedExamples) {
  const Json file = ReadJsonFile(kFolder + "worked_examples.json");
  const auto weights = file["weights"].get<std::vector<float>>();
  size_t compared = 0;
  for (const auto& [name, want] : file["cases"].items()) {
    if (name == "binary_b1") continue;
    const UniformRuleRow* rule = nullptr;  // "gptq_b2_asym_mse" is rule gptq_asym
    for (const UniformRuleRow& row : UniformRules()) {
      const std::string_view family = row.name.substr(0, row.name.find('_'));
      const bool matches =
          name.starts_with(family) && name.find(row.symmetric ? "_sym" : "_asym") != std::string::npos;
      if (matches && rule == nullptr) rule = &row;
    }
    ASSERT_NE(rule, nullptr) << name;
    const int bits = name[name.find("_b") + 2] - '0';
    const UniformQuantizer quantizer(rule->rule, bits, DType::kF32,
                                     name.ends_with("_mse") ? RangeSearch::kMse : RangeSearch::kMinMax);
    const GroupParams params = quantizer.Choose(weights);
    std::vector<uint8_t> codes(weights.size());
    quantizer.Encode(weights, params, codes.data());

    EXPECT_NEAR(params.scale, want["scale"].get<double>(), 1e-6) << name;
    const int stored_offset = name.starts_with("awq") && rule->symmetric ? 1 << (bits - 1) : 0;
    EXPECT_EQ(params.zero, want["zero"].get<int>() + stored_offset) << name;
    for (size_t i = 0; i < codes.size(); ++i) {
      if (want.contains("codes")) {
        EXPECT_EQ(codes[i], want["codes"][i].get<int>() + stored_offset) << name << " " << i;
      }
      const float value = params.scale * (static_cast<float>(codes[i]) - static_cast<float>(params.zero));
      EXPECT_NEAR(value, want["deq"][i].get<double>(), 1e-6) << name << " " << i;
    }
    ++compared;
  }
  EXPECT_EQ(compared, 16u);
}

TEST(RoundRows, GivesTheWorkedExampleOfOneBit) {
  const Json file = ReadJsonFile(kFolder + "worked_examples.json");
  auto weights = file["weights"].get<std::vector<float>>();
  const WeightSpec spec{.bits = 1, .scale_type = DType::kF32};
  PackedTensor packed = MakePacked(1, weights.size(), spec);
  RoundRows(MatView<const float>(weights.data(), 1, weights.size()), spec, 0, Place("golden"), Threads(1),
            packed);
  EXPECT_NEAR(packed.scales[0], 0.53375, 1e-6);
  EXPECT_NEAR(packed.means[0], 0.18375, 1e-6);
  Matrix values(1, weights.size());
  Dequantize(packed, 0, values.view());
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(values.data()[i], file["cases"]["binary_b1"][i].get<double>(), 1e-6);
  }
}

}  // namespace
}  // namespace lowbit
