// SPDX-License-Identifier: Apache-2.0
// Random damage to good files: every outcome must be a model that passes its checks or an Error that names
// the file. Anything else (another exception, a crash, a sanitizer's report) is a bug. Seeds are fixed.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <random>
#include <set>

#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/model/check.h"
#include "lowbit/model/config.h"

namespace lowbit {
namespace {

const std::string kModels = LOWBIT_TESTDATA "/models/";

// Pieces that parsers of these files trip over.
const std::vector<std::string> kPieces = {"0",
                                          "-1",
                                          "1e9",
                                          "18446744073709551615",
                                          "18446744073709551616",
                                          "4294967296",
                                          "\"",
                                          "{",
                                          "}",
                                          "[",
                                          "]",
                                          ",",
                                          ":",
                                          "null",
                                          "true",
                                          "\\u0000",
                                          "\\ud800",
                                          "\xff",
                                          " ",
                                          "\\",
                                          "..",
                                          "/"};

std::string Mutated(std::string text, std::mt19937& rng) {
  const auto pick = [&](size_t n) { return static_cast<size_t>(rng() % n); };
  for (size_t edits = 1 + pick(4); edits > 0 && !text.empty(); --edits) {
    const size_t at = pick(text.size()), length = std::min(1 + pick(24), text.size() - at);
    switch (pick(7)) {
      case 0:  // one bit
        text[at] = static_cast<char>(text[at] ^ (1 << pick(8)));
        break;
      case 1:
        text[at] = static_cast<char>(rng());
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, kPieces[pick(kPieces.size())]);
        break;
      case 4:
        text.replace(at, length, kPieces[pick(kPieces.size())]);
        break;
      case 5:  // a part once more somewhere else
        text.insert(pick(text.size()), text.substr(at, length));
        break;
      default:  // a digit
        if (const size_t digit = text.find_first_of("0123456789", at); digit != std::string::npos) {
          text[digit] = static_cast<char>('0' + pick(10));
        }
    }
  }
  return text;
}

struct Outcomes {
  size_t accepted = 0, refused = 0;
  std::set<std::string> messages;  // different ones, without the numbers in them
};

// Runs `attempt` on `count` mutations of `good`, or on a quarter of them where the machine is slow.
Outcomes Try(const std::string& good, size_t count, const std::string& file,
             const std::function<void(const std::string&)>& attempt) {
  std::mt19937 rng(2024);
  Outcomes outcomes;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1200);
  for (size_t i = 0; i < count; ++i) {
    if (i > count / 4 && std::chrono::steady_clock::now() > end) break;
    const std::string text = Mutated(good, rng);
    try {
      attempt(text);
      ++outcomes.accepted;
    } catch (const Error& e) {
      ++outcomes.refused;
      // A file that an index names under a mutated name is missing; all else is wrong content.
      const bool is_missing = e.kind() == ErrorKind::kMissing;
      EXPECT_TRUE(is_missing || e.kind() == ErrorKind::kContent) << e.what() << "\n" << text;
      EXPECT_TRUE(is_missing || e.place().file().ends_with(file) ||
                  e.place().file().ends_with(".safetensors"))
          << e.what();
      std::string message = e.message();
      std::erase_if(message, [](char c) { return c >= '0' && c <= '9'; });
      outcomes.messages.insert(message);
    }
  }
  return outcomes;
}

TEST(Mutations, OfASafetensorsHeaderAreReadOrRefused) {
  const std::string file = ReadFile(kModels + "tiny-qwen3-bf16-sharded/model-00006-of-00006.safetensors");
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) length |= uint64_t{static_cast<unsigned char>(file[i])} << (8 * i);
  const std::string header = file.substr(8, length), data = file.substr(8 + length);
  const auto parse = [&](const std::string& bytes) {
    const SafetensorsHeader parsed = ParseSafetensorsHeader(std::as_bytes(std::span(bytes)), "x.safetensors");
    // What was accepted covers the data exactly.
    uint64_t covered = 0;
    for (const TensorEntry& entry : parsed.tensors) {
      ASSERT_EQ(entry.begin, covered);
      covered = entry.end;
    }
    ASSERT_EQ(parsed.data_start + covered, bytes.size());
  };
  // The text alone, with its length set right: mutations reach the entries.
  const Outcomes text = Try(header, 6000, ".safetensors", [&](const std::string& mutated) {
    std::string prefix(8, '\0');
    for (size_t i = 0; i < 8; ++i) prefix[i] = static_cast<char>(mutated.size() >> (8 * i));
    parse(prefix + mutated + data);
  });
  // The first bytes of the file, length included.
  const Outcomes whole = Try(file.substr(0, 64), 3000, ".safetensors",
                             [&](const std::string& mutated) { parse(mutated + file.substr(64)); });
  EXPECT_GT(text.messages.size(), 40u) << "the mutations are too tame to test anything";
  EXPECT_GT(text.accepted, 10u);
  EXPECT_GT(whole.refused, 100u);
}

TEST(Mutations, OfAConfigAreReadOrRefused) {
  const std::string v4 = ReadFile(kModels + "tiny-llama3/config.json"),
                    v5 = ReadFile(kModels + "tiny-qwen3/config_v5.json");
  ::testing::internal::CaptureStderr();  // warnings about keys that a mutation renamed
  size_t kinds = 0;
  for (const std::string& config : {v4, v5}) {
    const Outcomes outcomes = Try(config, 3000, "config.json", [](const std::string& text) {
      const ModelConfig c = ParseConfig(text, "config.json");
      // What was accepted can be computed with.
      ASSERT_GT(c.head_dim * c.num_key_value_heads * c.num_hidden_layers, 0u);
      ASSERT_EQ(c.num_attention_heads % c.num_key_value_heads, 0u);
      ASSERT_TRUE(c.rms_norm_eps > 0 && c.rope_theta >= 1);
    });
    EXPECT_GT(outcomes.accepted, 20u);
    kinds += outcomes.messages.size();
  }
  ::testing::internal::GetCapturedStderr();
  EXPECT_GT(kinds, 50u);
}

TEST(Mutations, OfAnIndexAreReadOrRefused) {
  const TestFolder folder;
  folder.CopyFrom(kModels + "tiny-qwen3-bf16-sharded");
  const std::string path = folder.File("model.safetensors.index.json");
  const ModelConfig config = LoadConfig(folder.path());
  ::testing::internal::CaptureStderr();
  const Outcomes outcomes = Try(ReadFile(path), 1000, "index.json", [&](const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
    CheckTensors(Checkpoint(folder.path()), config);
  });
  ::testing::internal::GetCapturedStderr();
  EXPECT_GT(outcomes.accepted, 0u);
  EXPECT_GT(outcomes.messages.size(), 15u);
}

}  // namespace
}  // namespace lowbit
