// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/forward_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/model/decoder.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

const std::string kModels = LOWBIT_TESTDATA "/models/";

// Sizes of a published model; nothing is read from it.
class ShapeOnly : public LayerSource {
 public:
  explicit ShapeOnly(ModelConfig config) : config_(std::move(config)), layout_(LayoutOf(config_)) {}
  const ModelConfig& config() const override { return config_; }
  const ModelLayout& layout() const override { return layout_; }
  uint64_t StoredBytes(size_t index) const override {
    uint64_t bytes = 0;
    for (const LinearSpec& linear : layout_.layers[index].linears) bytes += linear.out * linear.in * 2;
    for (const auto& [name, settings] : PackedLinears(index))
      bytes -= settings.rows * settings.cols * 2 - settings.Bytes(settings.scale_type);
    return bytes;
  }
  std::map<std::string, PackedSettings, std::less<>> PackedLinears(size_t index) const override {
    std::map<std::string, PackedSettings, std::less<>> packed;
    if (!is_packed) return packed;
    for (const LinearSpec& linear : layout_.layers[index].linears) {
      PackedSettings& settings = packed[linear.name];
      settings.bits = 4;
      settings.symmetric = true;
      settings.rows = linear.out;
      settings.cols = settings.group_size = linear.in;
      settings.input.bits = input_bits;
    }
    return packed;
  }
  LayerWeights Layer(size_t) const override { return {}; }
  Weight Embedding() const override { return {}; }
  Weight Head() const override { return {}; }
  std::vector<float> FinalNorm() const override { return {}; }
  void Prefetch(size_t) const override {}
  void Release(size_t) const override {}
  void ReleaseEmbeddingAndHead() const override {}

  bool is_packed = false;  // in 4 bits per channel
  int input_bits = 0;      // of packed linears

 private:
  ModelConfig config_;
  ModelLayout layout_;
};

ModelConfig Qwen3_32B() {
  ModelConfig c;
  c.model_type = "qwen3";
  c.vocab_size = 151936;
  c.hidden_size = 5120;
  c.intermediate_size = 25600;
  c.num_hidden_layers = 64;
  c.num_attention_heads = 64;
  c.num_key_value_heads = 8;
  c.head_dim = 128;
  return c;
}

class ForwardPlanTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kProgram = uint64_t{64} << 20;  // measured, it moves from one plan to the next

  ForwardPlan Plan(const ForwardJob& job, uint64_t bytes) const {
    return PlanForward(source_, *backend_, job, {.bytes = bytes, .program = kProgram});
  }
  static ForwardJob WikiText(bool repeats = false) {
    return {.sequences = 146, .rows = 146 * 2047, .longest = 2047, .scored = 146 * 2047, .repeats = repeats};
  }
  Threads threads_{2};
  std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
  ShapeOnly source_{Qwen3_32B()};
};

TEST_F(ForwardPlanTest, OfPlentyEverythingIsInMemoryAndLayersStayOnlyForMoreJobs) {
  const ForwardPlan once = Plan(WikiText(), uint64_t{1} << 40),
                    again = Plan(WikiText(true), uint64_t{1} << 40);
  EXPECT_FALSE(once.scratch_file);
  EXPECT_FALSE(once.keeps_layers);
  EXPECT_EQ(once.rows_in_memory, 146u * 2047);
  EXPECT_EQ(once.rows_per_group, kRowsPerGroup);
  EXPECT_TRUE(again.keeps_layers);
  EXPECT_GT(again.weights, 60 * once.weights);
}

TEST_F(ForwardPlanTest, A32BModelFitsALaptopWithActivationsInAFile) {
  // One layer in f32 is 2 GB, all activations 6 GB.
  const ForwardPlan plan = Plan(WikiText(), uint64_t{5} << 30);
  EXPECT_TRUE(plan.scratch_file);
  EXPECT_LE(plan.Peak(), uint64_t{5} << 30);
  EXPECT_GE(plan.rows_in_memory, 2047u);
  EXPECT_FALSE(Plan(WikiText(), uint64_t{12} << 30).scratch_file);
}

TEST_F(ForwardPlanTest, LessMemoryNeverMeansLargerPieces) {
  size_t in_memory = 0;
  for (uint64_t gb = 4; gb <= 200; gb *= 2) {
    const ForwardPlan plan = Plan(WikiText(true), gb << 30);
    EXPECT_LE(plan.Peak(), gb << 30);
    EXPECT_GE(plan.rows_in_memory, in_memory);
    in_memory = plan.rows_in_memory;
  }
}

TEST_F(ForwardPlanTest, TooLittleIsRefusedWithWhatIsNeededAndThatMuchIsEnough) {
  uint64_t needed = 0;
  try {
    Plan(WikiText(), uint64_t{1} << 30);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kResource);
    EXPECT_THAT(e.what(), HasSubstr("1.07 GB of memory allowed by --ram, expected at least"));
    EXPECT_THAT(e.what(), HasSubstr("for sequences of 2047 tokens"));
    const ForwardPlan least =
        PlanForward(source_, *backend_, WikiText(), {.least = true, .program = kProgram});
    needed = least.Peak();
  }
  EXPECT_LE(Plan(WikiText(), needed).Peak(), needed);
}

// Inputs that are rotated or rounded to integers are copied, 512 rows at a time, beside what the MLP holds.
TEST_F(ForwardPlanTest, ShortGroupsLeaveRoomForCopiesOfTheWidestInput) {
  const ForwardJob job{.sequences = 100, .rows = 100 * 512, .longest = 512, .scored = 100};
  const ForwardPlan least = PlanForward(source_, *backend_, job, {.least = true, .program = kProgram});
  EXPECT_EQ(least.rows_per_group, 512u);
  const uint64_t inside = 512 * (5120 + 2 * 64 * 128 + 2 * 8 * 128 + 25600), copy = 512 * 25600;
  EXPECT_GE(least.working, (inside + copy) * sizeof(float));
}

TEST_F(ForwardPlanTest, LinearsWithIntegerInputsTakeWhatTheBackendSaysOfThem) {
  const std::unique_ptr<Backend> ref = MakeBackend("ref", "f32", threads_);
  const auto plan = [&] {
    return PlanForward(source_, *ref, WikiText(), {.bytes = uint64_t{1} << 40, .program = kProgram});
  };
  const ForwardPlan in_floats = plan();
  source_.is_packed = true;
  source_.input_bits = 8;
  const ForwardPlan in_codes = plan();
  EXPECT_LT(in_codes.weights, in_floats.weights / 7);
  EXPECT_GT(in_codes.weights, in_floats.weights / 9);
  EXPECT_LT(in_codes.mapped, in_floats.mapped);
}

// What is read from a layer file gives way to the prepared layer, linear by linear.
TEST_F(ForwardPlanTest, ALayerFilesTensorsAreNotHeldBesideAllThatIsPrepared) {
  const auto plan = [&] {
    return PlanForward(source_, *backend_, WikiText(), {.least = true, .program = kProgram});
  };
  const ForwardPlan dense = plan();
  source_.is_packed = true;
  const ForwardPlan packed = plan();
  EXPECT_EQ(packed.weights, dense.weights);
  const uint64_t largest = 25600 * 5120 / 2 + 25600 * 4, panels = 2 * 512 * 25600 * sizeof(float);
  EXPECT_GE(packed.mapped, largest + panels);
  EXPECT_LE(packed.mapped, largest + panels + (uint64_t{1} << 20));
}

TEST_F(ForwardPlanTest, WorkIsWhatTheSizesSay) {
  ForwardJob job{.sequences = 1, .rows = 2048, .longest = 2048, .scored = 2048};
  // 63.97 GFLOP a token and 2.15 at 1024 positions, the mean of a window (docs/models.md).
  EXPECT_NEAR(Plan(job, uint64_t{1} << 40).flop / 2048e9, 63.97 + 2.15, 0.02);
  job.scored = 0;
  EXPECT_NEAR(Plan(job, uint64_t{1} << 40).flop / 2048e9, 63.97 + 2.15 - 2 * 151936 * 5120 / 1e9, 0.02);
}

// Many short branches: keys are packed some at a time, and those of the way to a branch are held twice.
TEST_F(ForwardPlanTest, BranchesTakeTheWayToThemAndNoMorePackedKeysThanABundle) {
  ForwardJob job{.sequences = 40000, .rows = 1'000'000, .longest = 256, .scored = 800'000};
  const uint64_t plain = Plan(job, uint64_t{1} << 40).working;
  job.branches = true;
  const uint64_t shorter = Plan(job, uint64_t{1} << 40).working;
  EXPECT_LT(shorter, plain);
  job.longest = 1256;
  const uint64_t key_value_bytes = 2 * 8 * 128 * sizeof(float);
  EXPECT_GE(Plan(job, uint64_t{1} << 40).working, shorter + 2 * 1000 * key_value_bytes);
}

TEST_F(ForwardPlanTest, ComparingHeadsCountsTheRowsAndTheProductsThatItTakes) {
  ForwardJob job = WikiText();
  const ForwardPlan alone = Plan(job, uint64_t{1} << 40);
  job.kept_bytes = 6'000'000'000;
  EXPECT_EQ(Plan(job, uint64_t{1} << 40).activations, alone.activations + job.kept_bytes);
  EXPECT_TRUE(Plan(job, uint64_t{12} << 30).scratch_file);
  job.kept_bytes = 0;
  job.compares = true;
  const ForwardPlan compared = Plan(job, uint64_t{1} << 40);
  EXPECT_GT(compared.head, alone.head + 4096 * 5120 * sizeof(float));
  EXPECT_NEAR(compared.flop - alone.flop, 2.0 * 151936 * 5120 * static_cast<double>(job.scored), 1e9);
}

TEST(Decoder, ABudgetThatIsTooSmallIsRefusedBeforeAnythingIsRead) {
  const CheckpointSource source(kModels + "tiny-qwen3");
  const Threads threads(1);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const Decoder decoder(source, *backend, {.bytes = 1'000'000});
  const TokenIds ids = {1, 2, 3};
  try {
    decoder.Score(std::vector<ScoreRequest>{{ids, 1}});
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kResource);
  }
}

TEST(ProbeSeconds, IsAPositiveTime) {
  for (const char* name : {"tiny-qwen3", "tiny-qwen3-moe"}) {
    const CheckpointSource source(kModels + name);
    const Threads threads(1);
    const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
    const double one =
        ProbeSeconds(source, *backend, {.sequences = 1, .rows = 90, .longest = 90, .scored = 90});
    EXPECT_GT(one, 0);
    EXPECT_LT(one, 60);
    EXPECT_EQ(ProbeSeconds(source, *backend, {}), 0);
  }
}

}  // namespace
}  // namespace lowbit
