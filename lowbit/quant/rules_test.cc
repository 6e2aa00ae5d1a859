// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "lowbit/base/files.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/model/decoder.h"
#include "lowbit/quant/calibration_stream.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string TinyModel(std::string_view name = "tiny-qwen3") {
  return fmt::format("{}/models/{}", LOWBIT_TESTDATA, name);
}

CalibrationSet SomeTokens() {
  CalibrationSet set;
  set.spec.samples = 2;
  set.spec.length = 32;
  set.hash = std::string(64, 'c');
  std::mt19937 random(11);
  for (size_t s = 0; s < set.spec.samples; ++s) {
    TokenIds& ids = set.sequences.emplace_back();
    for (size_t t = 0; t < set.spec.length; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
  }
  return set;
}

QuantizeResult Quantize(const std::string& recipe, const std::string& out, int threads = 2,
                        const std::string& model = TinyModel()) {
  const CheckpointSource source(model);
  const Threads pool(threads);
  const auto backend = MakeBackend("cpu", "f32", pool);
  const CalibrationSet set = SomeTokens();
  const QuantizeCell cell{ParseRecipe(recipe), out};
  return QuantizeModel({source, *backend, &set}, {&cell, 1})[0];
}

std::map<std::string, std::string> TensorFiles(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files[entry.path().filename()] = ReadFile(entry.path());
  }
  return files;
}

PackedTensor Packed(const std::string& artefact, size_t layer, const std::string& linear) {
  return Artefact(artefact).Layer(layer).packed.at(ModelLayout::LayerPrefix(layer) + linear + ".weight");
}

void ExpectEqual(const PackedTensor& a, const PackedTensor& b) {
  EXPECT_EQ(a.bits, b.bits);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.zeros, b.zeros);
  EXPECT_EQ(a.column_order, b.column_order);
}

TEST(WeightRule, CoversWholePartsOfNamesInItsLayers) {
  const auto covers = [](const char* rule, size_t layer, const char* linear) {
    return ParseRecipe(std::string("rtn-w4-g64:") + rule + "=keep").rules.at(0).Covers(layer, linear);
  };
  EXPECT_TRUE(covers("tensor.down_proj", 7, "mlp.down_proj"));
  EXPECT_TRUE(covers("tensor.down_proj", 7, "mlp.experts.3.down_proj"));
  EXPECT_TRUE(covers("tensor.experts.3", 7, "mlp.experts.3.down_proj"));
  EXPECT_TRUE(covers("tensor.mlp.down_proj", 7, "mlp.down_proj"));
  EXPECT_TRUE(covers("tensor.self_attn", 7, "self_attn.q_proj"));
  EXPECT_FALSE(covers("tensor.attn", 7, "self_attn.q_proj"));
  EXPECT_FALSE(covers("tensor.proj", 7, "mlp.down_proj"));
  EXPECT_FALSE(covers("tensor.experts.3", 7, "mlp.experts.30.down_proj"));
  EXPECT_FALSE(covers("tensor.mlp.down_proj", 7, "mlp.experts.3.down_proj"));
  EXPECT_TRUE(covers("layers.2-4", 2, "mlp.down_proj"));
  EXPECT_TRUE(covers("layers.2-4", 4, "mlp.down_proj"));
  EXPECT_FALSE(covers("layers.2-4", 5, "mlp.down_proj"));
  EXPECT_FALSE(covers("layers.2", 1, "mlp.down_proj"));
  EXPECT_TRUE(covers("layers.2.mlp", 2, "mlp.down_proj"));
  EXPECT_FALSE(covers("layers.2.mlp", 2, "self_attn.q_proj"));
}

TEST(WeightRule, TheNarrowestDecides) {
  const Recipe r = ParseRecipe(
      "rtn-w3-g64:layers.0-1=w8-g32,tensor.down_proj=w4-channel-sym,layers.1.down_proj=keep,scale=f32,range="
      "mse");
  const auto text = [&](size_t layer, const char* linear) {
    const std::optional<WeightSpec> spec = r.WeightsOf(layer, linear);
    if (spec) {  // options hold for the rules
      EXPECT_EQ(spec->scale_type, DType::kF32);
      EXPECT_EQ(spec->range, RangeSearch::kMse);
    }
    return spec ? spec->Text() : "keep";
  };
  EXPECT_EQ(text(0, "mlp.up_proj"), "w8-g32");
  EXPECT_EQ(text(1, "mlp.up_proj"), "w8-g32");
  EXPECT_EQ(text(2, "mlp.up_proj"), "w3-g64");
  EXPECT_EQ(text(0, "mlp.down_proj"), "w4-channel-sym");
  EXPECT_EQ(text(1, "mlp.down_proj"), "keep");
  EXPECT_EQ(text(2, "mlp.down_proj"), "w4-channel-sym");
}

std::string RefusalOf(const std::string& recipe, const ModelConfig& config) {
  try {
    RequireRules(ParseRecipe(recipe), LayoutOf(config));
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    EXPECT_THAT(e.what(), HasSubstr("recipe '"));
    return e.what();
  }
  return "no error";
}

TEST(RequireRules, RefusesWhatDoesNotFitTheModel) {
  const ModelConfig config = LoadConfig(TinyModel());  // two layers
  const std::pair<const char*, const char*> bad[] = {
      {"rtn-w4-g64:layers.2=w8-g64", "layers.2: layer 2, the model has layers 0 to 1"},
      {"rtn-w4-g64:layers.0-27=w8-g64", "layer 27, the model has layers 0 to 1"},
      {"rtn-w4-g64:tensor.fc1=w8-g64",
       "tensor.fc1: no linear has 'fc1' in its name, expected parts of self_attn.q"},
      {"rtn-w4-g64:layers.0.lm_head=keep", "no linear has 'lm_head'"},
      {"rtn-w4-g64:layers.0=w4-g64", "layers.0: changes nothing"},
      {"rtn-w4-g64:layers.1.mlp=keep,tensor.mlp=keep", "layers.1.mlp: changes nothing"},
      {"rtn-w4-g64:layers.0-1=keep,tensor.mlp=w8-g64,tensor.self_attn=w8-g64", "layers.0-1: changes nothing"},
      {"rtn-w4-g64:tensor.down_proj=keep,tensor.mlp=w8-g64",
       "tensor.mlp: covers mlp.down_proj of layer 0, as 'tensor.down_proj' does"},
      {"rtn-w4-g64:layers.0-1.down_proj=keep,layers.1.mlp=w8-g64", "covers mlp.down_proj of layer 1"},
      {"rtn-w4-g64:tensor.mlp=w8-g64,tensor.up_proj=keep",  // the first does not decide in silence
       "tensor.up_proj: covers mlp.up_proj of layer 0, as 'tensor.mlp' does"},
      {"rtn-w4-g64:layers.0-1=keep", "its rules keep every linear"},
  };
  for (const auto& [recipe, message] : bad) EXPECT_THAT(RefusalOf(recipe, config), HasSubstr(message));
  for (const char* good : {"rtn-w4-g64:layers.0-1=w8-g64", "rtn-w4-g64:head=w8-g64,layers.0-1=keep",
                           "gptq-w4-g64:tensor.q_proj=keep", "rtn-w4-g64:layers.0=keep,layers.0.mlp=w4-g64"})
    EXPECT_EQ(RefusalOf(good, config), "no error");
}

TEST(RequireRules, AwqNeedsOneSpecForTheReadersOfAnInputAndAProducerToDivide) {
  ModelConfig grouped = LoadConfig(TinyModel()), full = grouped;
  full.num_key_value_heads = full.num_attention_heads;
  for (const char* method : {"awq", "awq+gptq"}) {
    const auto refusal = [&](const char* rules, const ModelConfig& config) {
      return RefusalOf(std::string(method) + "-w4-g64:" + rules, config);
    };
    EXPECT_THAT(refusal("tensor.v_proj=w8-g64", grouped),
                AllOf(HasSubstr("layer 0: self_attn.q_proj is w4-g64 but self_attn.v_proj is w8-g64")));
    EXPECT_THAT(refusal("layers.1.gate_proj=keep", grouped), HasSubstr("layer 1: mlp.gate_proj is keep but"));
    EXPECT_THAT(refusal("layers.0.mlp=keep,layers.0.down_proj=w4-g32", grouped), HasSubstr("one rule"));
    EXPECT_THAT(refusal("layers.0=keep,layers.0.down_proj=w4-g64", grouped),
                HasSubstr("mlp.up_proj is kept but mlp.down_proj is w4-g64"));
    EXPECT_EQ(refusal("layers.0=keep,layers.0.o_proj=w4-g64", grouped), "no error");
    EXPECT_THAT(refusal("layers.0=keep,layers.0.o_proj=w4-g64", full), HasSubstr("self_attn.v_proj is kept"));
    for (const char* good : {"layers.0=keep", "tensor.self_attn=keep", "tensor.down_proj=keep",
                             "tensor.mlp=w8-channel", "tensor.down_proj=w8-g64"})
      EXPECT_EQ(refusal(good, full), "no error") << good;
  }
}

TEST(RequireRules, SmoothQuantNeedsTheSameOfWhatItFoldsInto) {
  const ModelConfig config = LoadConfig(TinyModel());
  const std::pair<const char*, const char*> bad[] = {
      {"smoothquant-w8a8:tensor.q_proj=keep", "smoothquant scales what they read together"},
      {"smoothquant+gptq-w4a8-g64:tensor.up_proj=w8-g64", "smoothquant scales what they read together"},
      {"smoothquant-w8a8:smooth=down,tensor.gate_proj=keep,tensor.up_proj=keep",
       "smoothquant divides the one by the scales"},
      {"smoothquant-w8a8:smooth=all,tensor.q_proj=keep,tensor.k_proj=keep,tensor.v_proj=keep",
       "smoothquant divides the one by the scales"},
  };
  for (const auto& [recipe, message] : bad)
    EXPECT_THAT(RefusalOf(recipe, config), HasSubstr(message)) << recipe;
  for (const char* recipe :
       {"smoothquant-w8a8:tensor.gate_proj=keep,tensor.up_proj=keep",
        "smoothquant-w8a8:smooth=all,tensor.o_proj=keep", "smoothquant-w8a8:tensor.down_proj=w8-g32"})
    EXPECT_EQ(RefusalOf(recipe, config), "no error") << recipe;
}

TEST(QuantizeWithRules, EveryLinearHasItsOwnBitsAndKeptOnesAreTheBases) {
  const TestFolder folder;
  const std::string text =
      "rtn-w3-g32:layers.0=w8-channel-sym,layers.1.self_attn=keep,tensor.down_proj=w1-g16,head=w6-g64";
  const Recipe recipe = ParseRecipe(text);
  for (const char* name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe", "tiny-qwen3-bf16-sharded"}) {
    const std::string out = folder.File(name);
    const ArtefactInfo info = Quantize(text, out, 2, TinyModel(name)).info;
    EXPECT_EQ(info.recipe, recipe.Text());
    const ArtefactSource source(out);
    const CheckpointSource base(TinyModel(name));
    uint64_t bits = 0, weights = 0, kept = 0;
    for (size_t l = 0; l < source.layout().layers.size(); ++l) {
      const LayerWeights layer = source.Layer(l), dense = base.Layer(l);
      const auto settings = source.PackedLinears(l);
      uint64_t kept_here = 0;
      for (const LinearSpec& linear : source.layout().layers[l].linears) {
        const std::optional<WeightSpec> spec = recipe.WeightsOf(l, linear.name);
        const Weight& weight = layer.linears.at(linear.name);
        Matrix original(linear.out, linear.in);
        for (size_t r = 0; r < linear.out; ++r)
          RowsToFloat(dense.linears.at(linear.name), r, original.view().Rows(r, 1));
        ASSERT_EQ(std::holds_alternative<TensorView>(weight), !spec) << linear.name;
        ASSERT_EQ(settings.contains(linear.name), spec.has_value()) << linear.name;
        if (!spec) {
          EXPECT_TRUE(std::ranges::equal(std::get<TensorView>(weight).bytes,
                                         std::get<TensorView>(dense.linears.at(linear.name)).bytes));
          kept_here += std::get<TensorView>(weight).bytes.size();
          continue;
        }
        const PackedSettings& packed = *std::get<std::shared_ptr<const PackedTensor>>(weight);
        EXPECT_EQ(settings.at(linear.name), packed) << linear.name;
        PackedTensor want = MakePacked(linear.out, linear.in, *spec);
        RoundRows(original.view(), *spec, 0, Place("test"), Threads(1), want);
        ExpectEqual(*std::get<std::shared_ptr<const PackedTensor>>(weight), want);
        bits += want.StoredBits();
        weights += linear.out * linear.in;
      }
      EXPECT_EQ(source.StoredBytes(l), info.files.at(LayerFileName(l)).bytes + kept_here);
      kept += kept_here;
    }
    EXPECT_GT(kept, 0u);
    for (const auto& [tensor, packed] : source.artefact().Head()) {
      bits += packed.StoredBits();
      weights += packed.rows * packed.cols;
    }
    EXPECT_EQ(info.quantized_bits, bits);
    EXPECT_EQ(info.quantized_weights, weights);
    EXPECT_GE(info.model_bits, bits + 8 * kept);
    source.artefact().VerifyBase(Threads(1));
  }
}

TEST(QuantizeWithRules, OneModelDescribedInTwoWaysHasTheSameBytes) {
  const TestFolder folder;
  for (const char* method : {"rtn", "gptq", "awq", "awq+gptq"}) {
    const std::string a = folder.File(std::string("a") + method), b = folder.File(std::string("b") + method);
    const ArtefactInfo one = Quantize(std::string(method) + "-w3-g32:layers.1=w8-g16", a).info;
    const ArtefactInfo two = Quantize(std::string(method) + "-w8-g16:layers.0=w3-g32", b).info;
    EXPECT_TRUE(TensorFiles(a) == TensorFiles(b)) << method;  // too long to print
    EXPECT_EQ(one.quantized_bits, two.quantized_bits);
    EXPECT_DOUBLE_EQ(one.relative_error, two.relative_error);
  }
}

TEST(QuantizeWithRules, ThreadsAndResumingDoNotChangeAByte) {
  const TestFolder folder;
  int n = 0;
  for (const std::string recipe : {"rtn-w3-g32:layers.0=keep,range=hdiag",
                                   "gptq-w3-g32:layers.1=keep,act_order=true,layers.0.v_proj=w8-channel",
                                   "awq-w3-g32:awq_loss=hessian,layers.0=keep,layers.1.down_proj=w4-channel",
                                   "awq+gptq-w3-g32:awq_loss=hessian,tensor.self_attn=keep"}) {
    const std::string whole = folder.File(fmt::format("whole{}", n)),
                      other = folder.File(fmt::format("other{}", n));
    ++n;
    const ArtefactInfo first = Quantize(recipe, whole, 1).info;
    const auto files = TensorFiles(whole);
    ASSERT_EQ(files.size(), 2u);
    Quantize(recipe, other, 3);
    EXPECT_TRUE(TensorFiles(other) == files) << recipe;
    for (const auto& [file, bytes] : files) {
      fs::remove(other + "/" + file);
      const QuantizeResult again = Quantize(recipe, other);
      EXPECT_EQ(again.kept_files, 1u);
      EXPECT_TRUE(TensorFiles(other) == files) << recipe << " without " << file;
      EXPECT_DOUBLE_EQ(again.info.relative_error, first.relative_error);
      EXPECT_EQ(again.info.quantized_bits, first.quantized_bits);
    }
  }
}

// A matrix does not see what rules say about others that read the same input, nor AWQ other steps.
TEST(QuantizeWithRules, ARuleChangesOnlyWhatItCovers) {
  const TestFolder folder;
  for (const char* recipe :
       {"gptq-w3-g32", "gptq-w8-g32", "awq-w3-g32:awq_loss=hessian", "awq-w8-g32:awq_loss=hessian",
        "gptq-w3-g32:tensor.q_proj=w8-g32", "awq-w3-g32:awq_loss=hessian,tensor.down_proj=w8-g32",
        "awq-w3-g32:awq_loss=hessian,layers.0=keep"})
    Quantize(recipe, folder.File(recipe));
  const auto same = [&](const char* a, const char* b, size_t layer, const char* linear) {
    SCOPED_TRACE(linear);
    ExpectEqual(Packed(folder.File(a), layer, linear), Packed(folder.File(b), layer, linear));
  };
  same("gptq-w3-g32:tensor.q_proj=w8-g32", "gptq-w8-g32", 0, "self_attn.q_proj");
  same("gptq-w3-g32:tensor.q_proj=w8-g32", "gptq-w3-g32", 0, "self_attn.k_proj");
  for (const size_t layer : {0, 1}) {
    same("awq-w3-g32:awq_loss=hessian,tensor.down_proj=w8-g32", "awq-w8-g32:awq_loss=hessian", layer,
         "mlp.down_proj");
    same("awq-w3-g32:awq_loss=hessian,tensor.down_proj=w8-g32", "awq-w3-g32:awq_loss=hessian", layer,
         "self_attn.o_proj");
  }
  const ArtefactSource plain(folder.File("awq-w3-g32:awq_loss=hessian"));
  for (const LinearSpec& linear : plain.layout().layers[1].linears)
    same("awq-w3-g32:awq_loss=hessian,layers.0=keep", "awq-w3-g32:awq_loss=hessian", 1, linear.name.c_str());
  EXPECT_EQ(Artefact(folder.File("awq-w3-g32:awq_loss=hessian,layers.0=keep")).Layer(1).vectors,
            Artefact(folder.File("awq-w3-g32:awq_loss=hessian")).Layer(1).vectors);
  const LayerPatch patch = Artefact(folder.File("awq-w3-g32:awq_loss=hessian,layers.0=keep")).Layer(0);
  EXPECT_TRUE(patch.packed.empty());
  EXPECT_TRUE(patch.vectors.empty());
}

// What GPTQ learns behind linears that are kept is what the full-precision model's linears read.
TEST(QuantizeWithRules, GptqRunsKeptLinearsAsTheyAre) {
  const TestFolder folder;
  Quantize("gptq-w3-g32:layers.0=keep", folder.File("layer"));
  Quantize("gptq-w3-g32:tensor.self_attn=keep", folder.File("attention"));
  const CheckpointSource model(TinyModel());
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const Recipe recipe = ParseRecipe("gptq-w3-g32");
  const CalibrationSet set = SomeTokens();
  CalibrationStream stream(model, set, *backend, {});
  const Method& gptq = *FindMethod("gptq");
  const auto check = [&](LayerRecord& record, size_t layer, const char* tap, const std::string& linear,
                         const std::string& artefact) {
    Notes notes;
    const auto context =
        gptq.Prepare(recipe, recipe.weights, {record.inputs.at(tap), {}}, Place(tap), threads, notes);
    const LinearSpec& spec = model.layout().layers[layer].Linear(linear);
    Matrix weights(spec.out, spec.in);
    const LayerWeights dense = model.Layer(layer);
    for (size_t r = 0; r < spec.out; ++r) RowsToFloat(dense.linears.at(linear), r, weights.view().Rows(r, 1));
    const std::string source = "test";
    const RoundJob job{weights.view(), 0, linear, source, recipe, recipe.weights, threads, context.get()};
    PackedTensor want = gptq.Make(spec.out, spec.in, job);
    gptq.Round(job, want);
    ExpectEqual(Packed(folder.File(artefact), layer, linear), want);
  };
  LayerRecord first = stream.Record(0, model.Layer(0), {.gram = GramPart::kFull});
  check(first, 0, "mlp_in", "mlp.gate_proj", "attention");
  LayerRecord second = stream.Record(1, model.Layer(1), {.gram = GramPart::kFull});
  check(second, 1, "attn_in", "self_attn.v_proj", "layer");
}

// Packed and kept linears side by side, through the whole model.
TEST(QuantizeWithRules, ThePassOfAMixedModelIsThatOfItsWeights) {
  const TestFolder folder;
  Quantize("rtn-w2-g16:tensor.q_proj=keep,tensor.gate_proj=w8-g16,layers.1.v_proj=w4-channel",
           folder.File("q"));
  const Threads threads(2);
  const auto cpu = MakeBackend("cpu", "f32", threads), ref = MakeBackend("ref", "f32", threads);
  const auto mixed = OpenModel(folder.File("q")), base = OpenModel(TinyModel());
  const CalibrationSet set = SomeTokens();
  const Matrix x = Decoder(*mixed, *cpu).Forward(set.sequences),
               y = Decoder(*mixed, *ref).Forward(set.sequences),
               z = Decoder(*base, *cpu).Forward(set.sequences);
  double to_ref = 0, to_base = 0, norm = 0;
  for (size_t i = 0; i < x.rows() * x.cols(); ++i) {
    to_ref += std::pow(static_cast<double>(x.data()[i]) - y.data()[i], 2);
    to_base += std::pow(static_cast<double>(x.data()[i]) - z.data()[i], 2);
    norm += std::pow(static_cast<double>(y.data()[i]), 2);
  }
  EXPECT_LT(to_ref, 1e-9 * norm);
  EXPECT_GT(to_base, 1e-6 * norm);
}

}  // namespace
}  // namespace lowbit
