// SPDX-License-Identifier: Apache-2.0
// A study from the outside: rows, what a second run does, failed cells, changed inputs, the same bits.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "lowbit/study/results_db.h"
#include "tests/program.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::RunLowbit;
using test::TempFolder;
using testing::HasSubstr;

const std::string kDemo = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";

class StudyProgram : public testing::Test {
 protected:
  StudyProgram() {
    std::string text;
    for (int i = 0; i < 60; ++i)
      text += "The game was played on the first day of the year " + std::to_string(1900 + i) + ". ";
    WriteFileAtomic(folder_ / "text.txt", text);
    Describe("[full, rtn-w8-g64, 'rtn-w2-channel:head=w8-g64']");
  }
  void Describe(const std::string& recipes, const std::string& models = "[" + kDemo + "]",
                const std::string& more = "") {
    WriteFileAtomic(folder_ / "study.yaml",
                    "study: s\nmodels: " + models + "\nrecipes: " + recipes +
                        "\ntasks: [{task: 'text:text.txt', window: 64, windows: 4}]\n" + more);
  }
  Outcome Run(const std::string& out = "out", const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"study", folder_ / "study.yaml", "-o", folder_ / out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunLowbit(arguments);
  }
  std::vector<CellRow> Rows(const std::string& out = "out") {
    return ResultsDb::Open(folder_ / (out + "/results.db"), ResultsDb::Mode::kRead).All();
  }
  // The demo model with a NaN in its last tensor.
  std::string BrokenModel() {
    const std::string to = folder_ / "broken";
    fs::create_directories(to);
    for (const char* name : {"config.json", "tokenizer.json"})
      fs::copy_file(kDemo + "/" + name, to + "/" + name);
    std::string weights = ReadFile(kDemo + "/model.safetensors");
    const uint16_t nan = 0x7FC0;
    std::memcpy(weights.data() + weights.size() - 2, &nan, 2);
    WriteFileAtomic(to + "/model.safetensors", weights);
    return to;
  }
  TempFolder folder_{"study"};
};

TEST_F(StudyProgram, WritesOneRowPerCellWithItsProvenance) {
  const Outcome outcome = Run();
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("1 models × 3 recipes × 1 tasks = 3 cells"));
  EXPECT_THAT(outcome.out, HasSubstr("3 cells done, 0 failed"));
  const std::vector<CellRow> rows = Rows();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].recipe, "full");
  EXPECT_EQ(rows[0].weight_bits, 16u);
  EXPECT_DOUBLE_EQ(rows[0].storage->model_bpw, 16.0);
  EXPECT_DOUBLE_EQ(rows[1].storage->quantized_bpw, 8 + (16 + 8) / 64.0);
  EXPECT_LT(rows[2].storage->model_bpw, 6.5);  // head and embedding at 8 bits too
  for (const CellRow& row : rows) {
    EXPECT_EQ(row.status, CellStatus::kDone);
    ASSERT_EQ(row.metrics.size(), row.recipe == "full" ? 1u : 5u);
    EXPECT_EQ(row.metrics[0].name, "perplexity");
    EXPECT_EQ(row.metrics[0].n, 4u * 63);
    for (const std::string* hash : {&row.provenance.weights_hash, &row.provenance.tokenizer_hash,
                                    &row.provenance.text_hash, &row.provenance.recipe_hash}) {
      EXPECT_EQ(hash->size(), 64u);
    }
    EXPECT_EQ(row.provenance.compute_type, "f32");
    EXPECT_FALSE(row.provenance.isa.empty());
    EXPECT_GT(row.provenance.eval_seconds.value(), 0);
  }
  EXPECT_NEAR(rows[1].metrics[0].value / rows[0].metrics[0].value, 1.0, 0.005);
  EXPECT_GT(rows[2].metrics[0].value, 1.2 * rows[0].metrics[0].value);
  // Divergence is small where perplexity hardly moves, and never a failure of full precision.
  EXPECT_EQ(rows[1].metrics[1].name, "kl_mean");
  EXPECT_GT(rows[1].metrics[1].value, 0);
  EXPECT_LT(rows[1].metrics[1].value, 0.01);
  EXPECT_GT(rows[2].metrics[1].value, 20 * rows[1].metrics[1].value);
  EXPECT_EQ(rows[1].metrics[4].name, "top1_agreement");
  EXPECT_GT(rows[1].metrics[4].value, 0.9);
  EXPECT_LT(rows[2].metrics[4].value, rows[1].metrics[4].value);
  EXPECT_EQ(rows[2].metrics[4].n, 4u * 63);
  EXPECT_EQ(folder_.Files(),
            (std::vector<std::string>{"out", "out/.lock", "out/results.db", "study.yaml", "text.txt"}));
}

TEST_F(StudyProgram, RunAgainDoesWhatIsMissingAndNothingElse) {
  Describe("[full]");
  ASSERT_EQ(Run().exit_code, 0);
  const CellRow first = Rows().front();
  Describe("[full, rtn-w4-g64]");
  const Outcome second = Run();
  EXPECT_THAT(second.err, HasSubstr("1 done, 0 failed before, 1 missing"));
  ASSERT_EQ(Rows().size(), 2u);
  EXPECT_EQ(Rows().front(), first);
  EXPECT_THAT(Run().out, HasSubstr("0 cells done, 0 failed"));
}

// Full precision passes in its own cell, in an earlier run, or only to be compared with.
TEST_F(StudyProgram, DivergenceDoesNotDependOnWhenFullPrecisionRan) {
  Describe("[full, rtn-w3-g64]");
  ASSERT_EQ(Run("together").exit_code, 0);
  Describe("[full]");
  ASSERT_EQ(Run("earlier").exit_code, 0);
  Describe("[full, rtn-w3-g64]");
  ASSERT_EQ(Run("earlier").exit_code, 0);
  Describe("[rtn-w3-g64]");
  ASSERT_EQ(Run("never", {"--ram", "min"}).exit_code, 0);
  Describe("[rtn-w3-g64, full]");
  ASSERT_EQ(Run("later", {"-t", "1"}).exit_code, 0);
  const std::vector<Metric> want = Rows("together")[1].metrics;
  ASSERT_EQ(want.size(), 5u);
  EXPECT_EQ(Rows("earlier")[1].metrics, want);
  EXPECT_EQ(Rows("never")[0].metrics, want);
  EXPECT_EQ(Rows("later")[0].metrics, want);
}

TEST_F(StudyProgram, DivergenceCanBeTurnedOffAndIsNotMixed) {
  Describe("[full, rtn-w4-g64]", "[" + kDemo + "]", "divergence: false\n");
  ASSERT_EQ(Run().exit_code, 0);
  for (const CellRow& row : Rows()) EXPECT_EQ(row.metrics.size(), 1u) << row.recipe;
  Describe("[full, rtn-w4-g64]");
  const Outcome outcome = Run();
  EXPECT_EQ(outcome.exit_code, 6);
  EXPECT_THAT(outcome.err, HasSubstr("rtn-w4-g64"));
  EXPECT_THAT(outcome.err, HasSubstr("whether divergence is measured changed"));
}

TEST_F(StudyProgram, AFailedCellIsARowAndTheStudyGoesOn) {
  Describe("[full, rtn-w4-g64]", "[" + BrokenModel() + ", " + kDemo + "]");
  const Outcome outcome = Run();
  EXPECT_EQ(outcome.exit_code, 9) << outcome.err;
  const std::vector<CellRow> rows = Rows();
  ASSERT_EQ(rows.size(), 4u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(rows[i].status, CellStatus::kFailed);
    EXPECT_EQ(rows[i].error_kind, "numeric");
    EXPECT_THAT(rows[i].error, HasSubstr("model.safetensors"));
    EXPECT_THAT(rows[i].error, HasSubstr("tensor '"));
  }
  EXPECT_EQ(rows[2].status, CellStatus::kDone);
  EXPECT_EQ(rows[3].status, CellStatus::kDone);
  EXPECT_FALSE(fs::exists(folder_ / "out/artefacts")) << "half an artefact was left";
  EXPECT_THAT(Run().err, HasSubstr("2 done, 2 failed before, 0 missing"));  // and tries them again
  EXPECT_EQ(Rows().size(), 4u);
}

TEST_F(StudyProgram, OtherInputsUnderTheSameNameAreAConflict) {
  Describe("[full]");
  ASSERT_EQ(Run().exit_code, 0);
  WriteFileAtomic(folder_ / "text.txt", ReadFile(folder_ / "text.txt") + " One more sentence.");
  const Outcome outcome = Run();
  EXPECT_EQ(outcome.exit_code, 6);
  EXPECT_THAT(outcome.err, HasSubstr("the text changed"));
  EXPECT_EQ(Rows().size(), 1u);
}

TEST_F(StudyProgram, OneProcessAtATimeWorksInAFolder) {
  fs::create_directories(folder_ / "out");
  const int fd = open((folder_ / "out/.lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  const Outcome outcome = Run();
  close(fd);
  EXPECT_EQ(outcome.exit_code, 6);
  EXPECT_THAT(outcome.err, HasSubstr("in use by another lowbit"));
}

TEST_F(StudyProgram, NumbersAndArtefactsDoNotDependOnThreads) {
  Describe("[full, rtn-w3-g64]", "[" + kDemo + "]", "keep_artefacts: true\n");
  ASSERT_EQ(Run("one", {"-t", "1"}).exit_code, 0);
  ASSERT_EQ(Run("three", {"-t", "3"}).exit_code, 0);
  const std::vector<CellRow> one = Rows("one"), three = Rows("three");
  for (size_t i = 0; i < one.size(); ++i) EXPECT_EQ(one[i].metrics, three[i].metrics) << one[i].recipe;
  const std::string artefact = "/artefacts/demo-qwen3/rtn-w3-g64/";
  for (const char* file : {"layer-00000.safetensors", "layer-00003.safetensors"}) {
    EXPECT_EQ(ReadFile(folder_ / ("one" + artefact + file)), ReadFile(folder_ / ("three" + artefact + file)))
        << file;
  }
}

TEST_F(StudyProgram, AnArtefactEvaluatesToTheNumberOfItsRow) {
  Describe("[rtn-w3-g64]", "[" + kDemo + "]", "keep_artefacts: true\n");
  ASSERT_EQ(Run().exit_code, 0);
  const Outcome eval = RunLowbit({"eval", folder_ / "out/artefacts/demo-qwen3/rtn-w3-g64", "--tasks",
                                  "text:" + (folder_ / "text.txt"), "--window", "64", "--windows", "4",
                                  "--compute", "f32", "--divergence", "--json"});
  ASSERT_EQ(eval.exit_code, 0) << eval.err;
  const Json result = ParseJson(eval.out, Place("stdout"))["results"][0];
  const std::vector<Metric> metrics = Rows().front().metrics;
  ASSERT_EQ(metrics.size(), 5u);
  for (const Metric& m : metrics) {
    EXPECT_EQ(result["metrics"][m.name]["value"].get<double>(), m.value) << m.name;
    EXPECT_EQ(result["metrics"][m.name]["std_error"].is_null(), !m.standard_error.has_value()) << m.name;
  }
}

TEST_F(StudyProgram, EvalComparesOnlyWhatIsQuantized) {
  const Outcome outcome = RunLowbit(
      {"eval", kDemo, "--tasks", "text:" + (folder_ / "text.txt"), "--window", "64", "--divergence"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("demo-qwen3: is not quantized"));
  EXPECT_TRUE(outcome.out.empty());
}

TEST_F(StudyProgram, TheReportIsOneFileThatNamesEveryRecipe) {
  ASSERT_EQ(Run().exit_code, 0);
  const std::string database = folder_ / "out/results.db";
  for (const char* format : {"html", "csv", "md", "tex"}) {
    const std::string path = folder_ / (std::string("report.") + format);
    ASSERT_EQ(RunLowbit({"report", database, "-o", path}).exit_code, 0) << format;
    EXPECT_THAT(ReadFile(path), HasSubstr("rtn")) << format;
  }
  EXPECT_EQ(ReadFile(folder_ / "report.html").find("src=\"http"), std::string::npos);
}

TEST_F(StudyProgram, DryRunWritesNothing) {
  const Outcome outcome = Run("out", {"--dry-run"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("3 missing"));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

}  // namespace
}  // namespace lowbit
