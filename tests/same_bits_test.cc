// SPDX-License-Identifier: Apache-2.0
// One result, whatever the number of threads, the batch, the memory: through the program, byte for byte.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "tests/program.h"

namespace lowbit::test {
namespace {

namespace fs = std::filesystem;

const std::string kModels = std::string(LOWBIT_TESTDATA) + "/models/";
const std::string kDemo = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";

// The program's folder is that of the build here: it would not find the texts that ship with it.
const int kDataIsSet = setenv("LOWBIT_DATA", LOWBIT_SOURCE_DIR "/data", 1);

using Flags = std::vector<std::string>;

// Ways to compute the same thing.
const std::vector<Flags>& Ways() {
  static const std::vector<Flags> ways = {
      {"-t", "1"}, {"-t", "2"}, {"-t", "3"}, {"--ram", "min"}, {"--ram", "min", "-t", "3"}, {"--ram", "8GB"}};
  return ways;
}

Outcome RunWith(Flags arguments, const Flags& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Outcome outcome = RunLowbit(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome;
}

std::string Shown(const Flags& flags) {
  std::string text;
  for (const std::string& flag : flags) text += flag + " ";
  return text;
}

// Everything that `eval` measured: its JSON without what legitimately differs.
std::string Metrics(const Outcome& outcome) {
  Json json = Json::parse(outcome.out);
  std::string text;
  for (const Json& result : json.at("results")) text += result.at("metrics").dump();
  return text;
}

TEST(SameBits, PerplexityOfTheDemoModel) {
  ASSERT_EQ(kDataIsSet, 0);
  const Flags eval = {"eval",      kDemo, "--tasks", "wikitext2", "--window", "64",
                      "--windows", "9",   "--json",  "--compute", "f32",      "-q"};
  const std::string want = Metrics(RunWith(eval, {}));
  std::vector<Flags> ways = Ways();
  for (const char* batch : {"1", "8"}) {
    ways.push_back({"--windows-per-batch", batch});
    ways.push_back({"--windows-per-batch", batch, "--ram", "min", "-t", "1"});
  }
  for (const Flags& way : ways) EXPECT_EQ(Metrics(RunWith(eval, way)), want) << Shown(way);
}

// Scores of every choice of every item, and what they come to.
std::string Samples(const Outcome& outcome) {
  Json json = Json::parse(outcome.out);
  std::string text;
  for (const Json& result : json.at("results"))
    text += result.at("metrics").dump() + result.at("samples").dump();
  return text;
}

// What --output-path wrote, by names without their date.
std::map<std::string, std::string> WrittenFiles(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (entry.is_regular_file()) files[name.substr(0, name.rfind('_'))] = ReadFile(entry.path());
  }
  return files;
}

TEST(SameBits, FilesOfAnEvaluation) {
  ASSERT_EQ(kDataIsSet, 0);
  const TempFolder folder("bits");
  size_t made = 0;
  const auto evaluate = [&](const Flags& way) {
    const std::string out = folder / std::to_string(made++);
    RunWith({"eval", kDemo, "--tasks", "piqa,mmlu,wikitext2", "--limit", "3", "--window", "64", "--windows",
             "4", "--compute", "f32", "--log-samples", "-q", "--output-path", out},
            way);
    return WrittenFiles(out);
  };
  const auto want = evaluate({});
  EXPECT_EQ(want.size(), 8u) << "results, and samples of piqa, five subjects and windows";
  for (const Flags& way : Ways()) EXPECT_EQ(evaluate(way), want) << Shown(way);
  EXPECT_EQ(evaluate({"--batch-size", "3", "--ram", "min"}), want);
}

TEST(SameBits, MultipleChoiceOfTheDemoModel) {
  ASSERT_EQ(kDataIsSet, 0);
  const Flags eval = {
      "eval", kDemo,           "--tasks", "piqa,winogrande,arc_easy", "--limit", "4", "--json", "--compute",
      "f32",  "--log-samples", "-q"};
  const std::string want = Samples(RunWith(eval, {}));
  std::vector<Flags> ways = Ways();
  for (const char* batch : {"1", "8"}) {
    ways.push_back({"--batch-size", batch});
    ways.push_back({"--batch-size", batch, "--ram", "min", "-t", "1"});
  }
  for (const Flags& way : ways) EXPECT_EQ(Samples(RunWith(eval, way)), want) << Shown(way);
}

TEST(SameBits, DivergenceOfAnArtefact) {
  const TempFolder folder("bits");
  const std::string artefact = folder / "q";
  RunWith({"quantize", kDemo, "rtn-w3-g64:head=w8-g64", "-o", artefact, "-q"}, {});
  const Flags eval = {"eval", artefact,    "--tasks", "wikitext2", "--window", "64",          "--windows",
                      "3",    "--compute", "f32",     "--json",    "-q",       "--divergence"};
  const std::string want = Metrics(RunWith(eval, {}));
  EXPECT_NE(want.find("kl_mean"), std::string::npos) << want;
  std::vector<Flags> ways = Ways();
  ways.push_back({"--windows-per-batch", "1"});
  ways.push_back({"--windows-per-batch", "2", "--ram", "min"});
  for (const Flags& way : ways) EXPECT_EQ(Metrics(RunWith(eval, way)), want) << Shown(way);
}

TEST(SameBits, LogitsAndHiddenStatesOfAllModels) {
  const TempFolder folder("bits");
  WriteFileAtomic(folder / "ids.json",
                  R"({"sequences": [[5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [11]]})");
  for (const std::string model : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe", "tiny-qwen3-bf16-sharded"}) {
    const Flags logits = {"logits",   "--model", kModels + model, "--ids", folder / "ids.json",
                          "--hidden", "--out",   folder / "out"};
    RunWith(logits, {});
    const std::string want = ReadFile(folder / "out");
    for (const Flags& way : Ways()) {
      RunWith(logits, way);
      EXPECT_EQ(ReadFile(folder / "out"), want) << model << " " << Shown(way);
    }
  }
}

std::map<std::string, std::string> LayerFiles(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files[entry.path().filename()] = ReadFile(entry.path());
  }
  return files;
}

TEST(SameBits, ArtefactsOfAllModels) {
  const TempFolder folder("bits");
  for (const std::string model : {"tiny-qwen3", "tiny-qwen3-moe", "tiny-qwen3-bf16-sharded"}) {
    size_t made = 0;
    const auto quantize = [&](const Flags& way) {
      const std::string out = folder / (model + std::to_string(made++));
      RunWith({"quantize", kModels + model, "rtn-w3-g16:head=w8-g32", "-o", out, "-q"}, way);
      return LayerFiles(out);
    };
    const auto want = quantize({});
    EXPECT_GE(want.size(), 3u);
    for (const Flags& way : Ways()) EXPECT_EQ(quantize(way), want) << model << " " << Shown(way);
  }
}

TEST(SameBits, PerplexityOfAnArtefactOfAMixture) {
  const TempFolder folder("bits");
  const std::string artefact = folder / "q";
  RunWith({"quantize", kModels + "tiny-qwen3-moe", "rtn-w4-g16", "-o", artefact, "-q"}, {});
  std::string lines;
  for (int i = 0; i < 12; ++i) {
    lines += R"({"context_ids": [3, 4, 5, 6, )" + std::to_string(i) +
             R"(], "continuations": [[7, 8], [9]]})" + "\n";
  }
  const auto score = [&](const Flags& way) {
    Flags arguments = {"score", artefact};
    arguments.insert(arguments.end(), way.begin(), way.end());
    const Outcome outcome = RunLowbit(arguments, lines);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string want = score({});
  EXPECT_NE(want.find("results"), std::string::npos);
  for (const Flags& way : Ways()) EXPECT_EQ(score(way), want) << Shown(way);
}

TEST(SameBits, TooLittleMemoryIsRefusedAtOnceWithWhatIsNeeded) {
  const Outcome eval = RunLowbit({"eval", kDemo, "--tasks", "wikitext2", "--ram", "2MB"});
  EXPECT_EQ(eval.exit_code, 5);
  EXPECT_NE(eval.err.find("2.00 MB of memory allowed by --ram, expected at least"), std::string::npos)
      << eval.err;
  EXPECT_TRUE(eval.out.empty());
  const TempFolder folder("bits");
  const Outcome quantize = RunLowbit({"quantize", kDemo, "rtn-w4-g64", "-o", folder / "q", "--ram", "2MB"});
  EXPECT_EQ(quantize.exit_code, 5);
  EXPECT_FALSE(fs::exists(folder / "q"));
  EXPECT_EQ(RunLowbit({"eval", kDemo, "--tasks", "wikitext2", "--ram", "much"}).exit_code, 2);
}

}  // namespace
}  // namespace lowbit::test
