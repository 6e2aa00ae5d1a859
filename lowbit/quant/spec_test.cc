// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/error.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

struct Good {
  const char* text;
  const char* canonical;
};

TEST(ParseRecipe, ReadsWhatPeopleTypeAndPrintsItCanonically) {
  const Good good[] = {
      {"full", "full"},
      {"rtn-w4-g128", "rtn-w4-g128"},
      {"rtn-w1-g128", "rtn-w1-g128"},
      {"rtn-w8-channel", "rtn-w8-channel"},
      {"rtn-w3-channel-sym", "rtn-w3-channel-sym"},
      {"rtn-w2-g1", "rtn-w2-g1"},
      {"rtn-w2-g999999999", "rtn-w2-g999999999"},
      {"rtn-w4-g64:scale=f32,head=w8-g64", "rtn-w4-g64:head=w8-g64,scale=f32"},
      {"rtn-w4-g64:scale=f16,head=keep,range=minmax,grid=gptq", "rtn-w4-g64"},
      {"rtn-w4-g64:head=w1-channel", "rtn-w4-g64:head=w1-channel"},
      {"rtn-w4-g64:head=w8-channel-sym", "rtn-w4-g64:head=w8-channel-sym"},
      {"rtn-w3-g128:range=mse", "rtn-w3-g128:range=mse"},
      {"rtn-w3-g128-sym:range=hdiag", "rtn-w3-g128-sym:range=hdiag"},
      {"rtn-w3-g128:range=hdiag,grid=awq", "rtn-w3-g128:grid=awq,range=hdiag"},
      {"rtn-w4-g128:grid=awq", "rtn-w4-g128:grid=awq"},
      {"rtn-w4-g128-sym:grid=awq", "rtn-w4-g128-sym:grid=awq"},
      {"rtn-w8-channel-sym:grid=absmax", "rtn-w8-channel-sym:grid=absmax"},
      {"rtn-w8-channel-sym:grid=rot,head=w8-g32-sym", "rtn-w8-channel-sym:grid=rot,head=w8-g32-sym"},
      {"gptq-w4-g64:damp=0.01,act_order=false,fresh_range=true", "gptq-w4-g64"},
      {"gptq-w3-g64:static_groups=true,range=hdiag,damp=0.05,act_order=true",
       "gptq-w3-g64:act_order=true,damp=0.05,range=hdiag,static_groups=true"},
      {"gptq-w3-g64:fresh_range=false", "gptq-w3-g64:fresh_range=false"},
      {"gptq-w3-g64:sink_weight=1", "gptq-w3-g64"},
      {"gptq-w3-g64:sink_weight=256,act_order=true", "gptq-w3-g64:act_order=true,sink_weight=256"},
      {"awq-w4-g64:grid=awq,awq_loss=block", "awq-w4-g64"},
      {"awq-w4-g64:grid=gptq,awq_loss=hessian", "awq-w4-g64:awq_loss=hessian,grid=gptq"},
      {"awq-w4-g64:awq_loss=hessian_rows", "awq-w4-g64:awq_loss=hessian_rows"},
      {"awq+gptq-w3-g64:awq_samples=16,awq_loss=block,act_order=true",
       "awq+gptq-w3-g64:act_order=true,awq_samples=16"},
      {"awq+gptq-w3-g64:act_order=true", "awq+gptq-w3-g64:act_order=true"},
      {"rtn-w4-g32-sym:grid=full,scale=f32", "rtn-w4-g32-sym:grid=full,scale=f32"},
      {"smoothquant-w8a8", "smoothquant-w8a8"},
      {"smoothquant-w8a8-channel-sym:alpha=0.5,smooth=norms,activations=token,transform=none",
       "smoothquant-w8a8"},
      {"smoothquant-w4a4-g64", "smoothquant-w4a4-g64"},
      {"smoothquant-w4a8:smooth=down,alpha=0.85,activations=tensor",
       "smoothquant-w4a8:activations=tensor,alpha=0.85,smooth=down"},
      {"smoothquant-w8a8:smooth=off,head=w8-channel", "smoothquant-w8a8:head=w8-channel-sym,smooth=off"},
      {"smoothquant-w4a8:tensor.down_proj=w8a8-channel",
       "smoothquant-w4a8:tensor.down_proj=w8a8-channel-sym"},
      {"smoothquant@study-w8a8", "smoothquant-w8a8:scale=f32,smooth=off"},
      {"smoothquant+gptq-w4a8-g64:alpha=0.8", "smoothquant+gptq-w4a8-g64:alpha=0.8"},
      {"gptq-w4a8-g64:transform=hadamard", "gptq-w4a8-g64:transform=hadamard"},
      {"rtn-w3a6-channel-sym:activations=tensor,tensor.o_proj=w8-g64",
       "rtn-w3a6-channel-sym:activations=tensor,tensor.o_proj=w8-g64"},
      {"awq+gptq-w4a8-g64", "awq+gptq-w4a8-g64"},
      {"rtn@study-w4-channel", "rtn-w4-channel:scale=f32"},
      {"rtn@study-w3-channel:scale=f16", "rtn-w3-channel"},
      {"gptq@study-w4-g128", "gptq-w4-g128:act_order=true"},
      {"gptq@study-w2-channel", "gptq-w2-channel:act_order=true"},
      {"gptq@study-w4-g64", "gptq-w4-g64:act_order=true,fresh_range=false"},
      {"gptq@study-w4-g192:damp=0.05", "gptq-w4-g192:act_order=true,damp=0.05,fresh_range=false"},
      {"gptq@study-w4-g64:act_order=false,fresh_range=true", "gptq-w4-g64"},
      {"awq@study-w4-g128", "awq-w4-g128:scale=f32"},
      {"awq@study-w4-channel", "awq-w4-channel:scale=f32"},
      {"gptq-w3-g64:tensor.down_proj=w4-g64,layers.0-3=w8-g64,act_order=true",
       "gptq-w3-g64:act_order=true,layers.0-3=w8-g64,tensor.down_proj=w4-g64"},
      {"rtn-w3-g64:layers.2-3=w8-channel-sym,layers.0=w8-channel-sym,scale=f32,layers.1=w8-channel-sym",
       "rtn-w3-g64:layers.0-3=w8-channel-sym,scale=f32"},
      {"rtn-w3-g64:layers.2=w8-g64,layers.1=w8-g32,layers.0.mlp=w8-g64",
       "rtn-w3-g64:layers.0.mlp=w8-g64,layers.1=w8-g32,layers.2=w8-g64"},
      {"rtn-w1-g64:layers.2=keep,layers.0-1.mlp.down_proj=keep,layers.10-11=keep",
       "rtn-w1-g64:layers.0-1.mlp.down_proj=keep,layers.10-11=keep,layers.2=keep"},
      {"awq+gptq-w3-g64:layers.0=keep", "awq+gptq-w3-g64:layers.0=keep"},
      {"gptq-w3-channel:static_groups=true,layers.0=w3-g64",
       "gptq-w3-channel:layers.0=w3-g64,static_groups=true"},
      {"billm", "billm"},
      {"billm:exact=false,block=128,damp=0.01,scale=f16,head=keep", "billm"},
      {"billm:scale=f32,exact=true,block=64,damp=0.05,head=w8-g64",
       "billm:block=64,damp=0.05,exact=true,head=w8-g64,scale=f32"},
      {"billm:tensor.down_proj=keep,layers.0=keep,exact=true",
       "billm:exact=true,layers.0=keep,tensor.down_proj=keep"},
      {"gptq@study-w3-g128:tensor.down_proj=w3-g64",
       "gptq-w3-g128:act_order=true,fresh_range=false,tensor.down_proj=w3-g64"},
  };
  for (const Good& g : good) EXPECT_EQ(ParseRecipe(g.text).Text(), g.canonical);
}

TEST(ParseRecipe, FillsTheSpecOfTheWeightsAndOfTheHead) {
  const Recipe r = ParseRecipe("rtn-w3-g64-sym:range=mse,head=w8-channel,scale=f32");
  EXPECT_EQ(r.method, "rtn");
  EXPECT_EQ(r.weights, (WeightSpec{.bits = 3,
                                   .group_size = 64,
                                   .symmetric = true,
                                   .scale_type = DType::kF32,
                                   .range = RangeSearch::kMse}));
  ASSERT_TRUE(r.head.has_value());  // options hold for the head too
  EXPECT_EQ(*r.head, (WeightSpec{.bits = 8, .scale_type = DType::kF32, .range = RangeSearch::kMse}));
  EXPECT_TRUE(ParseRecipe("full").IsFull());
  EXPECT_FALSE(r.IsFull());
}

TEST(Recipe, NeedsCalibrationForTheWeightedRangeSearch) {
  EXPECT_TRUE(ParseRecipe("rtn-w3-g64:range=hdiag").NeedsCalibration());
  EXPECT_FALSE(ParseRecipe("rtn-w3-g64:range=mse,head=w8-g64").NeedsCalibration());
  EXPECT_FALSE(ParseRecipe("full").NeedsCalibration());
}

TEST(RecipeText, ParsesBackToAnEqualRecipeForEverySetting) {
  std::vector<WeightSpec> specs;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const size_t group : {0, 1, 128}) {
      for (const DType type : {DType::kF16, DType::kF32}) {
        if (bits == 1) {
          specs.push_back({.bits = 1, .group_size = group, .scale_type = type});
          continue;
        }
        for (const UniformRuleRow& rule : UniformRules()) {
          for (const RangeSearch range : {RangeSearch::kMinMax, RangeSearch::kMse, RangeSearch::kHdiag}) {
            if (!HasRangeSearch(rule.grid, range)) continue;
            specs.push_back({.bits = bits,
                             .group_size = group,
                             .symmetric = rule.symmetric,
                             .scale_type = type,
                             .grid = rule.grid,
                             .range = range});
          }
        }
      }
    }
  }
  EXPECT_GT(specs.size(), 300u);
  for (const Method* method : Methods()) {
    if (method->Info().has_planes) continue;
    for (const WeightSpec& spec : specs) {
      if (spec.bits < method->Info().min_bits || spec.bits > method->Info().max_bits) continue;
      Recipe recipe{.method = std::string(method->Info().name), .weights = spec, .head = std::nullopt};
      if (recipe.method == "awq") recipe.awq.emplace();
      if (recipe.method == "smoothquant") {
        if (!spec.symmetric) continue;
        recipe.smooth.emplace();
        recipe.weights.input_bits = 8;
      }
      EXPECT_EQ(ParseRecipe(recipe.Text()), recipe) << recipe.Text();
      recipe.head = spec;
      recipe.head->bits = spec.bits == 1 ? 1 : 8;
      EXPECT_EQ(ParseRecipe(recipe.Text()), recipe) << recipe.Text();
    }
  }
}

struct Bad {
  const char* text;
  const char* message;  // behind "recipe '…': character "
};

constexpr const char* kOptions =
    "an option: activations=…, grid=…, head=…, range=…, scale=…, transform=…, layers.0-3=… or "
    "tensor.down_proj=…";

TEST(ParseRecipe, RefusesWithThePartThePlaceAndWhatIsAllowed) {
  const Bad bad[] = {
      {"", "1: found nothing, expected a method: full, rtn"},
      {"quip-w4-g128", "1: found 'quip', expected a method: full, rtn, gptq, awq, smoothquant, billm"},
      {"gptq-w1-g64", "6: found 'w1', expected bits, w2 to w8"},
      {"gptq-w4-g64:damp=0", "18: found '0', expected a share of the mean diagonal"},
      {"gptq-w4-g64:damp=nan", "18: found 'nan', expected a share of the mean diagonal"},
      {"gptq-w4-g64:act_order=yes", "23: found 'yes', expected true or false"},
      {"gptq-w4-g64:sink_weight=0", "25: found '0', expected a whole number of times from 1 to 999999"},
      {"gptq-w4-g64:sink_weight=1.5", "25: found '1.5', expected a whole number"},
      {"gptq-w4-g64:sink_weight=1000000", "25: found '1000000', expected a whole number"},
      {"awq-w4-g64:sink_weight=2", "12: found 'sink_weight=2', expected an option"},
      {"gptq-w4-channel:static_groups=true",
       "1: found 'gptq-w4-channel:static_groups=true', expected groups"},
      {"gptq-w4-g64:static_groups=true,fresh_range=false", "1: found"},
      {"rtn-w4-g64:act_order=true", "12: found 'act_order=true', expected an option: activations"},
      {"RTN-w4-g128", "1: found 'RTN', expected a method: full, rtn"},
      {" rtn-w4-g128", "1: found ' rtn', expected a method: full, rtn"},
      {"rtn", "4: found nothing, expected bits, w1 to w8"},
      {"rtn-", "5: found nothing, expected bits, w1 to w8"},
      {"rtn-4-g128", "5: found '4', expected bits, w1 to w8"},
      {"rtn-w-g128", "5: found 'w', expected bits, w1 to w8"},
      {"rtn-w0-g128", "5: found 'w0', expected bits, w1 to w8"},
      {"rtn-w9-g128", "5: found 'w9', expected bits, w1 to w8"},
      {"rtn-w04-g128", "5: found 'w04', expected bits, w1 to w8"},
      {"rtn-w4a16-g128", "7: found 'a16', expected bits of activations, a2 to a8, or nothing"},
      {"rtn-w4a1-g128", "7: found 'a1', expected bits of activations"},
      {"rtn-w4a-g128", "7: found 'a', expected bits of activations"},
      {"rtn-w9a8-g128", "5: found 'w9a8', expected bits, w1 to w8"},
      {"rtn-w1a8-g128", "7: found 'a8', expected nothing beside w1"},
      {"rtn-a8-g128", "5: found 'a8', expected bits, w1 to w8"},
      {"rtn-w4-g128:activations=tensor",
       "13: found 'activations=tensor', expected activations=… only beside"},
      {"rtn-w4a8-g128:activations=row", "27: found 'row', expected token or tensor"},
      {"rtn-w4a8-g128:head=w8a8-g64", "20: found 'w8a8-g64', expected no bits of activations"},
      {"rtn-w4a8-g128:transform=hadamard,activations=tensor",
       "34: found 'activations=tensor', expected activations=token beside transform=hadamard"},
      {"rtn-w4-g128:transform=fourier", "23: found 'fourier', expected hadamard or none"},
      {"rtn-w1-g128:transform=hadamard", "13: found 'transform=hadamard', expected transform=none beside w1"},
      {"awq-w3-g64:range=hdiag,transform=hadamard", "12: found 'range=hdiag', expected range=minmax or mse"},
      {"smoothquant-w8", "15: found nothing, expected bits of activations, as w8a8"},
      {"smoothquant-w8a8-x", "18: found 'x', expected a group size"},
      {"smoothquant-w8a8:alpha=2", "24: found '2', expected a share of the inputs' size from 0 to 1"},
      {"smoothquant-w8a8:smooth=off,alpha=0.5", "35: found '0.5', expected no alpha beside smooth=off"},
      {"smoothquant-w8a8:smooth=mlp", "25: found 'mlp', expected off, norms, attn_in, mlp_in, down or all"},
      {"smoothquant+gptq-w4-g64:smooth=off", "32: found 'off', expected norms, attn_in"},
      {"smoothquant@study-w8a8-g64",
       "24: found 'g64', expected nothing: the study's code has no groups here"},
      {"rtn@study-w8a8-channel", "11: found 'w8a8', expected no bits of activations: the study has them"},
      {"gptq-w4a8-g64:alpha=0.5", "15: found 'alpha=0.5', expected an option"},
      {"rtn-w4", "7: found nothing, expected a group size as g128 (1 or more, no leading zeros), or channel"},
      {"rtn-w4-", "8: found nothing, expected a group size"},
      {"rtn-w4-128", "8: found '128', expected a group size"},
      {"rtn-w4-g0", "8: found 'g0', expected a group size"},
      {"rtn-w4-g-1", "8: found 'g', expected a group size"},
      {"rtn-w4-g0128", "8: found 'g0128', expected a group size"},
      {"rtn-w4-g+128", "8: found 'g+128', expected a group size"},
      {"rtn-w4-g1e3", "8: found 'g1e3', expected a group size"},
      {"rtn-w4-g1000000000", "8: found 'g1000000000', expected a group size"},
      {"rtn-w4-g99999999999999999999999", "8: found 'g99999999999999999999999', expected a group size"},
      {"rtn-w4-channels", "8: found 'channels', expected a group size"},
      {"rtn-w4-g128 ", "8: found 'g128 ', expected a group size"},
      {"rtn-w4-g128-symm", "13: found 'symm', expected sym, or nothing"},
      {"rtn-w4-g128-asym", "13: found 'asym', expected sym, or nothing"},
      {"rtn-w4-g128-", "13: found nothing, expected sym, or nothing"},
      {"rtn-w4-g128-sym-sym", "17: found 'sym', expected nothing after sym but options behind ':'"},
      {"rtn-w1-g128-sym",
       "13: found 'sym', expected nothing: at 1 bit a group has a mean and two levels around it"},
      {"rtn-w4-g128:", "13: found nothing, expected an option"},
      {"rtn-w4-g128:head", "13: found 'head', expected an option"},
      {"rtn-w4-g128:damp=0.05", "13: found 'damp=0.05', expected an option"},
      {"rtn-w4-g128:scale=f32,", "23: found nothing, expected an option"},
      {"rtn-w4-g128:scale=f32,,head=keep", "23: found nothing, expected an option"},
      {"rtn-w4-g128:scale=f32:head=keep", "19: found 'f32:head=keep', expected a type of scales: f16 or f32"},
      {"rtn-w4-g128:scale=f64", "19: found 'f64', expected a type of scales: f16 or f32"},
      {"rtn-w4-g128:scale=", "19: found nothing, expected a type of scales: f16 or f32"},
      {"rtn-w4-g128:scale=f32,scale=f32", "23: found 'scale=f32', expected 'scale' only once"},
      {"rtn-w4-g128:head=8", "18: found '8', expected keep, or weights as w8-g64, w8-channel, w8-g64-sym"},
      {"rtn-w4-g128:head=w8", "20: found nothing, expected a group size"},
      {"rtn-w4-g128:head=w9-g64", "18: found 'w9', expected bits, w1 to w8"},
      {"rtn-w4-g128:head=w8-g64-x", "25: found 'x', expected sym, or nothing"},
      {"rtn-w4-g128:range=best", "19: found 'best', expected a range: minmax, mse or hdiag"},
      {"rtn-w4-g128:range=", "19: found nothing, expected a range: minmax, mse or hdiag"},
      {"rtn-w4-g128:grid=nf4", "18: found 'nf4', expected a grid: gptq, awq, absmax, rot or full"},
      {"rtn-w4-g128:grid=absmax", "5: found 'w4-g128', expected w4-g128-sym: grid=absmax is symmetric only"},
      {"rtn-w4-g128-sym:grid=full,head=w8-g64",
       "32: found 'w8-g64', expected w8-g64-sym: grid=full is symmetric only"},
      {"rtn-w4-g128:grid=awq,range=mse",
       "22: found 'range=mse', expected range=minmax or range=hdiag beside grid=awq"},
      {"rtn-w4-g128-sym:grid=rot,range=hdiag",
       "26: found 'range=hdiag', expected range=minmax beside grid=rot"},
      {"rtn-w1-g128:range=hdiag",
       "13: found 'range=hdiag', expected range=minmax beside w1: 1 bit has its own levels"},
      {"rtn-w1-g128:range=mse",
       "13: found 'range=mse', expected range=minmax beside w1: 1 bit has its own levels"},
      {"rtn-w1-g128:grid=awq",
       "13: found 'grid=awq', expected no other grid beside w1: 1 bit has its own levels"},
      {"rtn-w4-g128:grid=awq,head=w1-g64", "13: found 'grid=awq', expected no other grid beside w1"},
      {"full-w4-g128", "5: found '-w4-g128', expected nothing after full: it quantizes nothing"},
      {"full:head=w8-g64", "5: found ':head=w8-g64', expected nothing after full: it quantizes nothing"},
      {"awq+rtn-w3-g64", "1: found 'awq+rtn', expected awq+gptq, smoothquant+gptq, or one method: full, rtn"},
      {"awq+gptq+rtn-w3-g64", "10: found 'rtn', expected at most two methods"},
      {"awq-w3-g64:awq_loss=mse", "21: found 'mse', expected a loss: block, hessian or hessian_rows"},
      {"awq-w3-g64:awq_samples=0", "24: found '0', expected a number of sequences"},
      {"awq-w3-g64:awq_samples=08", "24: found '08', expected a number of sequences"},
      {"gptq-w3-g64:awq_samples=8", "13: found 'awq_samples=8', expected an option"},
      {"awq-w3-g64:awq_samples=8,awq_loss=hessian",
       "12: found 'awq_samples=8', expected awq_samples only with awq_loss=block"},
      {"rtn-w4-g128@study", "12: found '@study', expected a preset only behind a method"},
      {"rtn@fast-w4-g128", "4: found '@fast', expected @study, the only preset"},
      {"rtn@-w4-g128", "4: found '@', expected @study, the only preset"},
      {"full@study", "5: found '@study', expected @study only behind rtn, gptq, awq or smoothquant"},
      {"awq+gptq@study-w3-g64",
       "9: found '@study', expected @study only behind rtn, gptq, awq or smoothquant"},
      {"awq@study+gptq-w3-g64", "4: found '@study+gptq-w3-g64', expected a preset only behind a method"},
      {"@study-w4-g128", "1: found nothing, expected a method"},
      {"rtn@study-w4-g128", "14: found 'g128', expected channel: the study's code does not look at groups"},
      {"rtn@study-w1-channel", "11: found 'w1', expected w2 to w8 beside @study"},
      {"awq@study-w4-g128-sym", "19: found 'sym', expected nothing: the study rounds asymmetrically"},
      {"gptq@study-w4-g64:static_groups=true",
       "1: found 'gptq@study-w4-g64:static_groups=true', expected static_groups=true or"},
      {"gptq-w4-g256:fresh_range=false",
       "1: found 'gptq-w4-g256:fresh_range=false', expected fresh_range=true beside w4-g256: no group "
       "begins"},
      {"rtn-w4-g64:layers.=w8-g64", "19: found nothing, expected layers from 0 on, as 5 or 0-3"},
      {"rtn-w4-g64:layers.3-1=w8-g64", "19: found '3-1', expected layers from 0 on"},
      {"rtn-w4-g64:layers.2-2=w8-g64", "19: found '2-2', expected layers from 0 on"},
      {"rtn-w4-g64:layers.01=w8-g64", "19: found '01', expected layers from 0 on"},
      {"rtn-w4-g64:layers.999999=keep", "19: found '999999', expected layers from 0 on"},
      {"rtn-w4-g64:layers.0-=keep", "19: found '0-', expected layers from 0 on"},
      {"rtn-w4-g64:layers.0.=keep", "21: found nothing, expected a linear's name"},
      {"rtn-w4-g64:tensor.=keep", "19: found nothing, expected a linear's name"},
      {"rtn-w4-g64:tensor.a..b=keep", "21: found nothing, expected a linear's name"},
      {"rtn-w4-g64:tensor.*=keep", "19: found '*', expected a linear's name"},
      {"rtn-w4-g64:tensor.q_proj=8", "26: found '8', expected keep, or weights as w8-g64"},
      {"gptq-w4-g64:layers.0=gptq-w8-g64", "22: found 'gptq-w8-g64', expected keep, or weights as w8-g64"},
      {"gptq-w4-g64:layers.0=w1-g64", "22: found 'w1', expected bits, w2 to w8"},
      {"rtn-w4-g64:layers.0=w1-g64,range=mse", "28: found 'range=mse', expected range=minmax beside w1"},
      {"rtn-w4-g64-sym:grid=full,layers.0=w8-g64", "35: found 'w8-g64', expected w8-g64-sym: grid=full"},
      {"rtn-w4-g64:layers.0-3=w8-g64,layers.2=w6-g64",
       "30: found 'layers.2', expected other layers than 'layers.0-3' has"},
      {"rtn-w4-g64:layers.0=keep,layers.0=keep", "26: found 'layers.0=keep', expected 'layers.0' only once"},
      {"rtn-w4-g64:layer.0=keep", "12: found 'layer.0=keep', expected an option"},
      {"billm-w1-g128", "7: found 'w1', expected nothing behind billm but options behind ':'"},
      {"billm-", "7: found nothing, expected nothing behind billm but options"},
      {"billm:", "7: found nothing, expected an option: block=…, damp=…, exact=…, head=…"},
      {"billm:exact=yes", "13: found 'yes', expected true or false"},
      {"billm:exact=true,exact=true", "18: found 'exact=true', expected 'exact' only once"},
      {"billm:block=7", "13: found '7', expected a number of columns from 8 to 4096"},
      {"billm:block=4097", "13: found '4097', expected a number of columns"},
      {"billm:block=0128", "13: found '0128', expected a number of columns"},
      {"billm:damp=0", "12: found '0', expected a share of the mean diagonal"},
      {"billm:range=hdiag", "7: found 'range=hdiag', expected an option: block"},
      {"billm:grid=gptq", "7: found 'grid=gptq', expected an option: block"},
      {"billm:act_order=true", "7: found 'act_order=true', expected an option: block"},
      {"billm:layers.0=w8-g64", "16: found 'w8-g64', expected keep: billm has no other bits and groups"},
      {"billm@study", "6: found '@study', expected @study only behind rtn, gptq, awq or smoothquant"},
      {"awq+billm", "1: found 'awq+billm', expected awq+gptq, smoothquant+gptq, or one method"},
      {"rtn-w4-g64:exact=true", "12: found 'exact=true', expected an option: activations"},
      {"rtn-w4-g128\n", "8: found 'g128\\x0a', expected a group size"},
  };
  for (const Bad& b : bad) {
    try {
      ParseRecipe(b.text);
      ADD_FAILURE() << b.text << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUsage) << b.text;
      const std::string start = fmt::format("recipe '{}': character {}", Printable(b.text), b.message);
      EXPECT_EQ(std::string_view(e.what()).substr(0, start.size()), start);
      EXPECT_EQ(std::string_view(e.what()).find('\n'), std::string_view::npos);
    }
  }
  try {
    ParseRecipe("rtn-w4-g128:");
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr(kOptions));
  }
}

TEST(RecipeText, ParsesBackToAnEqualRecipeForEverySettingOfPlanes) {
  for (const size_t block : {8, 128, 4096}) {
    for (const bool exact : {false, true}) {
      for (const double damp : {0.01, 0.05, 1.0}) {
        for (const DType type : {DType::kF16, DType::kF32}) {
          Recipe recipe{.method = "billm",
                        .weights = {.bits = 1, .group_size = block, .scale_type = type, .planes = true},
                        .head = WeightSpec{.bits = 4, .group_size = 64, .scale_type = type},
                        .billm = {.exact = exact, .damp = damp}};
          EXPECT_EQ(ParseRecipe(recipe.Text()), recipe) << recipe.Text();
          recipe.head = std::nullopt;
          EXPECT_EQ(ParseRecipe(recipe.Text()), recipe) << recipe.Text();
        }
      }
    }
  }
}

TEST(ParseRecipe, RefusesWhatIsTooLongForTheNameOfAFolder) {
  const auto with_rules = [](int count) {
    std::string text = "rtn-w4-g64:scale=f16";  // not in the canonical text
    for (int i = 0; i < count; ++i)
      text += fmt::format(",layers.{}=w8-g{}", 10 + i, 10 + i);  // 17 characters each
    return text;
  };
  EXPECT_EQ(ParseRecipe(with_rules(13)).Text().size(), 231u);
  EXPECT_THAT(
      [&] { ParseRecipe(with_rules(14)); },
      testing::Throws<Error>(testing::Property(&Error::message, HasSubstr("at most 240 characters"))));
}

TEST(ParseRecipe, AnyTextIsARecipeOrAUsageError) {
  uint32_t state = 1;
  const std::string_view alphabet = "rtnfulw1489g0-symchae:=,dikp@+. bx\xff";
  size_t accepted = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text =
        trial % 2 == 0 ? (trial % 4 == 0 ? "rtn-w4-g128:layers.0-1.a=w2-g8" : "rtn-w4-g128") : "";
    for (int i = 0; i < trial % 17; ++i) {
      state = state * 1664525u + 1013904223u;
      const char c = alphabet[(state >> 16) % alphabet.size()];
      if (trial % 3 == 0 && !text.empty())
        text[(state >> 8) % text.size()] = c;
      else
        text += c;
    }
    try {
      const Recipe recipe = ParseRecipe(text);
      EXPECT_EQ(ParseRecipe(recipe.Text()), recipe) << text;
      ++accepted;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUsage) << text;
    }
  }
  EXPECT_GT(accepted, 100u);  // the loop reached the grammar
}

}  // namespace
}  // namespace lowbit
