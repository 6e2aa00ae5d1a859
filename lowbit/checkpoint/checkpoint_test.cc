// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>
#include <limits>

#include "lowbit/base/hash.h"
#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {
namespace fs = std::filesystem;

using ::testing::HasSubstr;

const std::string kModels = LOWBIT_TESTDATA "/models/";
const std::string kSharded = kModels + "tiny-qwen3-bf16-sharded";

class CheckpointTest : public ::testing::Test {
 protected:
  void CopySharded() const { folder_.CopyFrom(kSharded); }
  // Replaces `from`, which is there, by `to` in the copied index.
  void EditIndex(std::string_view from, std::string_view to) const {
    std::string index = ReadFile(folder_.File("model.safetensors.index.json"));
    index.replace(index.find(from), from.size(), to);
    folder_.Write("model.safetensors.index.json", index);
  }

  TestFolder folder_;
};

std::string WarningsOf(const std::string& folder) {
  ::testing::internal::CaptureStderr();
  const Checkpoint checkpoint(folder);
  return ::testing::internal::GetCapturedStderr();
}

TEST(Checkpoint, SingleFileAndShardsAreReadByName) {
  const Checkpoint single(kModels + "tiny-qwen3");
  EXPECT_EQ(single.Get("model.embed_tokens.weight").shape, (Shape{512, 64}));
  EXPECT_EQ(single.FilePaths().size(), 1u);
  EXPECT_FALSE(single.Has("lm_head.weight"));

  const Checkpoint sharded(kSharded);
  EXPECT_EQ(sharded.FilePaths().size(), 6u);
  EXPECT_EQ(sharded.Names().size(), 25u);
  EXPECT_TRUE(std::ranges::is_sorted(sharded.Names()));
  EXPECT_EQ(sharded.TensorBytes(), 304000u);
  EXPECT_EQ(sharded.Get("lm_head.weight", {512, 64}, "").type, DType::kBF16);
  EXPECT_THAT(sharded.FileOf("lm_head.weight").path(), HasSubstr("model-00005-of-00006"));
  EXPECT_EQ(sharded.unlisted().size(), 0u);
}

TEST(Checkpoint, GoodFoldersGiveNoWarning) {
  EXPECT_EQ(WarningsOf(kSharded), "");
  EXPECT_EQ(WarningsOf(kModels + "tiny-qwen3"), "");
}

TEST(Checkpoint, OtherShapeOrTypeThanExpectedNamesFileTensorAndReason) {
  const Checkpoint checkpoint(kModels + "tiny-qwen3");
  try {
    checkpoint.Get("model.norm.weight", {65}, "hidden_size of config.json");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(),
                HasSubstr("model.safetensors: tensor 'model.norm.weight': shape [64], expected [65] "
                          "(hidden_size of config.json)"));
  }
}

TEST_F(CheckpointTest, HashOfWeightsIsThatOfNamesAndContents) {
  std::string expected;
  for (int i = 1; i <= 6; ++i) {
    const std::string name = fmt::format("model-{:05}-of-00006.safetensors", i);
    expected += name + "\n" + Sha256OfFile(kSharded + "/" + name) + "\n";
  }
  EXPECT_EQ(Checkpoint(kSharded).WeightsHash(Threads(2)), Sha256Hex(expected));

  CopySharded();
  EXPECT_EQ(Checkpoint(folder_.path()).WeightsHash(Threads(2)), Checkpoint(kSharded).WeightsHash(Threads(2)))
      << "the folder's name counts";
  const std::string shard = folder_.File("model-00006-of-00006.safetensors");
  std::string content = ReadFile(shard);
  content.back() = static_cast<char>(content.back() ^ 1);
  WriteFileAtomic(shard, content);
  EXPECT_NE(Checkpoint(folder_.path()).WeightsHash(Threads(2)), Checkpoint(kSharded).WeightsHash(Threads(2)))
      << "one bit of the last byte";
}

TEST_F(CheckpointTest, SingleFileWinsOverAnIndexAndAWarningSaysSo) {
  CopySharded();
  fs::copy(kModels + "tiny-qwen3/model.safetensors", folder_.path());
  EXPECT_THAT(WarningsOf(folder_.path()), HasSubstr("model.safetensors.index.json: not used"));
  EXPECT_EQ(Checkpoint(folder_.path()).FilePaths().size(), 1u);
}

TEST_F(CheckpointTest, WrongTotalSizeIsAWarningWithBothNumbers) {
  CopySharded();
  EditIndex("304000", "304001");
  const std::string warning = WarningsOf(folder_.path());
  EXPECT_THAT(warning, HasSubstr("304001"));
  EXPECT_THAT(warning, HasSubstr("304000"));
}

TEST_F(CheckpointTest, TensorThatIsNotListedIsAWarningAndNotPartOfTheModel) {
  CopySharded();
  EditIndex(",\n    \"model.norm.weight\": \"model-00006-of-00006.safetensors\"", "");
  EXPECT_THAT(WarningsOf(folder_.path()), HasSubstr("'model.norm.weight'"));
  const Checkpoint checkpoint(folder_.path());
  EXPECT_FALSE(checkpoint.Has("model.norm.weight"));
  EXPECT_EQ(checkpoint.unlisted(), std::vector<std::string>{"model.norm.weight"});
  EXPECT_THROW(checkpoint.Get("model.norm.weight"), Error);
}

TEST_F(CheckpointTest, LinksOfAHubCacheAreInsideTheFolder) {
  const fs::path blobs = folder_.File("models--x/blobs"), snapshot = folder_.File("models--x/snapshots/1234");
  fs::create_directories(blobs);
  fs::create_directories(snapshot);
  for (const fs::directory_entry& file : fs::directory_iterator(kSharded)) {
    const std::string name = file.path().filename().string();
    fs::copy_file(file.path(), blobs / Sha256Hex(name));
    fs::create_symlink("../../blobs/" + Sha256Hex(name), snapshot / name);
  }
  EXPECT_EQ(Checkpoint(snapshot.string()).WeightsHash(Threads(2)),
            Checkpoint(kSharded).WeightsHash(Threads(2)));
}

struct Poison {
  DType type;
  uint32_t bits;
  bool is_nan;
};

TEST(RequireFinite, FindsOneBadValueAtAnyPlaceOfAnyTypeAndAlignment) {
  const std::vector<Poison> poisons = {
      {DType::kF32, 0x7FC00000, true},  {DType::kF32, 0xFF800001, true}, {DType::kF32, 0x7F800000, false},
      {DType::kF32, 0xFF800000, false}, {DType::kF16, 0x7E00, true},     {DType::kF16, 0xFC00, false},
      {DType::kBF16, 0x7FC0, true},     {DType::kBF16, 0xFF80, false},   {DType::kBF16, 0x7F81, true},
  };
  for (const Poison& poison : poisons) {
    const size_t size = SizeOf(poison.type);
    for (const size_t cols : {1, 7, 2048, 2049, 5000}) {
      for (const size_t shift : {0, 1, 3}) {
        std::vector<std::byte> memory(2 * cols * size + shift, std::byte{0x7B});  // 0x7B7B…: large and finite
        const TensorView view{poison.type, {2, cols}, std::span(memory).subspan(shift)};
        EXPECT_NO_THROW(RequireFinite(view, "w", "f"));
        for (const size_t at : {size_t{0}, cols - 1, cols, 2 * cols - 1}) {
          std::vector<std::byte> bad = memory;
          std::memcpy(bad.data() + shift + at * size, &poison.bits, size);  // little-endian
          const TensorView bad_view{poison.type, {2, cols}, std::span<const std::byte>(bad).subspan(shift)};
          try {
            RequireFinite(bad_view, "w", "f");
            ADD_FAILURE() << Name(poison.type) << " " << cols << " " << at;
          } catch (const Error& e) {
            EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
            EXPECT_EQ(e.place().Text(), "f: tensor 'w'");
            EXPECT_THAT(e.message(), HasSubstr(fmt::format("first at [{}, {}]", at / cols, at % cols)));
            EXPECT_THAT(e.message(), HasSubstr(poison.is_nan ? "1 values are NaN and 0 infinite"
                                                             : "0 values are NaN and 1 infinite"));
          }
        }
      }
    }
  }
}

TEST(RequireFinite, CountsAllBadValues) {
  std::vector<float> values(10000, std::numeric_limits<float>::max());
  for (size_t i = 17; i < values.size(); i += 100) values[i] = std::numeric_limits<float>::quiet_NaN();
  values[9999] = -std::numeric_limits<float>::infinity();
  try {
    RequireFinite({DType::kF32, {10000}, std::as_bytes(std::span(values))}, "w", "f");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.message(), HasSubstr("100 values are NaN and 1 infinite of 10000, the first at [17]"));
  }
}

TEST(RequireFinite, EmptyTensorIsFinite) {
  RequireFinite({DType::kF32, {0, 3}, {}}, "w", "f");
}

}  // namespace
}  // namespace lowbit
