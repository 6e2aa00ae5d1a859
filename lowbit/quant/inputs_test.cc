// SPDX-License-Identifier: Apache-2.0
// Recipes that round or rotate what linears read, through the driver and the forward pass.
#include <gtest/gtest.h>

#include <cmath>

#include "lowbit/base/test_folder.h"
#include "lowbit/model/decoder.h"
#include "lowbit/model/token_rows.h"
#include "lowbit/quant/calibrated_testing.h"
#include "lowbit/quant/layer_stream.h"

namespace lowbit {
namespace {

class Inputs : public testing::Test {
 protected:
  // Artefacts of tiny-qwen3, or of `model`.
  void Make(const std::vector<std::string>& recipes, const std::string& model = "tiny-qwen3") {
    base_ = TinyModel(model);
    const CheckpointSource source(base_);
    const CalibrationSet set = SomeTokens();
    std::vector<QuantizeCell> cells;
    for (const std::string& recipe : recipes) cells.push_back({ParseRecipe(recipe), folder_.File(recipe)});
    for (const QuantizeResult& result : QuantizeModel({source, *backend_, &set}, cells))
      results_[result.info.recipe] = result;
  }

  PackedTensor Linear(const std::string& recipe, const std::string& linear) const {
    return Artefact(folder_.File(recipe)).Layer(1).packed.at("model.layers.1." + linear + ".weight");
  }

  // ‖y - ŷ‖ / ‖y‖ of the hidden states of the calibration tokens.
  double Error(const std::string& recipe, std::string_view backend = "cpu") const {
    const auto computes = MakeBackend(backend, "f32", threads_);
    const auto a = OpenModel(base_), b = OpenModel(folder_.File(recipe));
    const CalibrationSet set = SomeTokens();
    const Matrix x = Decoder(*a, *computes).Forward(set.sequences),
                 y = Decoder(*b, *computes).Forward(set.sequences);
    double error = 0, whole = 0;
    for (size_t i = 0; i < x.rows() * x.cols(); ++i) {
      error += std::pow(static_cast<double>(x.data()[i]) - y.data()[i], 2);
      whole += std::pow(static_cast<double>(x.data()[i]), 2);
    }
    return std::sqrt(error / whole);
  }

  // Of the held-out tokens' embeddings, which is what the first layer's q, k and v read once they are normed.
  InputRange RangeBehindTheFirstNorm() const {
    const CheckpointSource source(base_);
    const CalibrationSet set = SomeTokens();
    InputRange range;
    size_t rows = 0;
    for (const TokenIds& ids : set.held_out) {
      Matrix x(ids.size(), source.config().hidden_size);
      TokenRows(source).LookUp(ids, x.view());
      const LayerWeights weights = source.Layer(0);
      backend_->RmsNorm(x.view(), weights.norms.at("input_layernorm"),
                        static_cast<float>(source.config().rms_norm_eps), x.view());
      for (size_t t = 0; t < x.rows(); ++t, ++rows) {
        double largest = 0, squares = 0;
        for (const float value : x.view().RowSpan(t)) {
          largest = std::max(largest, std::abs(static_cast<double>(value)));
          squares += std::pow(static_cast<double>(value), 2);
        }
        range.largest = std::max(range.largest, largest);
        range.peak += largest / std::sqrt(squares / static_cast<double>(x.cols()));
      }
    }
    range.peak /= static_cast<double>(rows);
    return range;
  }

  const TestFolder folder_;
  const Threads threads_{2};
  const std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
  std::string base_;
  std::map<std::string, QuantizeResult> results_;
};

TEST_F(Inputs, AreStatedByTheArtefactsTensors) {
  const std::string rotated = "gptq-w4a6-g32:transform=hadamard",
                    fixed = "smoothquant-w8a8:activations=tensor",
                    kept = "rtn-w4a8-channel:tensor.mlp.down_proj=w8-g64";
  Make({rotated, fixed, kept});
  const PackedTensor q = Linear(rotated, "self_attn.q_proj");
  EXPECT_EQ(q.input, (InputForm{.rotation = RotationBlock(q.cols), .bits = 6}));
  const InputForm input = Linear(fixed, "self_attn.q_proj").input;
  EXPECT_EQ(input.bits, 8);
  EXPECT_GT(input.scale, 0);
  EXPECT_EQ(input, Linear(fixed, "self_attn.v_proj").input) << "what is read together has one scale";
  EXPECT_EQ(Linear(kept, "self_attn.q_proj").input, InputForm{.bits = 8});
  EXPECT_TRUE(Linear(kept, "mlp.down_proj").input.IsPlain());
}

TEST_F(Inputs, OfManyBitsChangeLittleOnEveryModel) {
  for (const char* model : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"}) {
    SCOPED_TRACE(model);
    const std::string weights = "rtn-w8-channel-sym", both = "rtn-w8a8-channel-sym",
                      smooth = "smoothquant-w8a8:smooth=all",
                      rotated = "rtn-w8-channel-sym:transform=hadamard";
    Make({weights, both, smooth, rotated}, model);
    const double least = Error(weights);
    EXPECT_GT(Error(both), least);
    for (const std::string& recipe : {both, smooth}) EXPECT_LT(Error(recipe), 5 * least + 0.02) << recipe;
    EXPECT_LT(Error(rotated), 1.5 * least);
    // What each linear loses, rotated back to where it is compared.
    for (const auto& [file, written] : results_.at(rotated).info.files) {
      for (const auto& [linear, error] : written.output_errors)
        EXPECT_LT(error, 3e-3) << file << " " << linear;
    }
    for (const std::string& recipe : {both, smooth}) {
      EXPECT_NEAR(Error(recipe, "ref"), Error(recipe), 0.02 * Error(recipe)) << "integers are those of ref";
    }
    for (const auto& [recipe, result] : results_) std::filesystem::remove_all(folder_.File(recipe));
    results_.clear();
  }
}

TEST_F(Inputs, WhatRoundingThemLosesIsMeasuredByItself) {
  const std::string eight = "smoothquant-w8a8:smooth=all", four = "rtn-w8a4-channel-sym",
                    weights = "rtn-w8-channel-sym";
  Make({eight, four, weights});
  const auto errors = [&](const std::string& recipe) {
    return results_.at(recipe).info.files.at(LayerFileName(1)).output_errors;
  };
  for (const char* linear : {"self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"}) {
    const std::string inputs = linear + std::string(kOfInputs);
    EXPECT_LT(errors(eight).at(inputs), 1e-3) << linear;
    EXPECT_GT(errors(four).at(inputs), 20 * errors(eight).at(inputs)) << linear;
    EXPECT_DOUBLE_EQ(errors(four).at(linear), errors(weights).at(linear)) << "of the weights alone";
    EXPECT_FALSE(errors(weights).contains(inputs));
  }
  EXPECT_GT(errors(four).at("layer"), errors(weights).at("layer"));
}

TEST_F(Inputs, WhatTheySpanIsThatOfTheRowsThatAreRounded) {
  const std::string plain = "rtn-w8a4-channel-sym", smooth = "smoothquant-w8a8:smooth=all",
                    rotated = "rtn-w8a4-channel-sym:transform=hadamard",
                    some = "rtn-w4a8-channel:tensor.mlp.down_proj=w8-g64", weights = "rtn-w8-channel-sym";
  Make({plain, smooth, rotated, some, weights});
  const auto ranges = [&](const std::string& recipe, size_t layer = 1) {
    return results_.at(recipe).info.files.at(LayerFileName(layer)).input_ranges;
  };
  EXPECT_EQ(Artefact(folder_.File(plain)).Layer(1).output_errors->inputs, ranges(plain));
  const InputRange want = RangeBehindTheFirstNorm(), got = ranges(plain, 0).at("self_attn.q_proj");
  EXPECT_NEAR(got.largest, want.largest, 1e-5 * want.largest);
  EXPECT_NEAR(got.peak, want.peak, 1e-5 * want.peak);
  EXPECT_EQ(ranges(plain).at("self_attn.q_proj"), ranges(plain).at("self_attn.v_proj"));
  EXPECT_NE(ranges(smooth).at("self_attn.q_proj"), ranges(plain).at("self_attn.q_proj"));
  EXPECT_NE(ranges(rotated).at("self_attn.q_proj"), ranges(plain).at("self_attn.q_proj"));
  EXPECT_EQ(ranges(some).count("mlp.down_proj"), 0u) << "not rounded";
  EXPECT_EQ(ranges(some).at("mlp.up_proj"), ranges(plain).at("mlp.up_proj"));
  EXPECT_TRUE(ranges(weights).empty());
}

TEST_F(Inputs, GptqSeesTheRotatedOnes) {
  const std::string rotated = "gptq-w2-g32:transform=hadamard", nearest = "rtn-w2-g32:transform=hadamard",
                    weighted = "rtn-w2-g32:range=hdiag,transform=hadamard";
  Make({rotated, nearest, weighted});
  EXPECT_LT(Error(rotated), Error(nearest));
  EXPECT_LT(Error(weighted), Error(nearest));
}

TEST_F(Inputs, WiderThanTheCalibrationTokensAreHeldAtTheirLargest) {
  const std::string fixed = "rtn-w8a8-channel-sym:activations=tensor", own = "rtn-w8a8-channel-sym";
  Make({fixed, own});
  EXPECT_GT(Error(fixed), Error(own));
  EXPECT_LT(Error(fixed), 0.2);
}

}  // namespace
}  // namespace lowbit
