// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lowbit/report/fixture.h"

namespace lowbit {
namespace {

using fixture::Accuracy;
using fixture::Failed;
using fixture::kSmall;
using fixture::kTiny;
using fixture::Perplexity;
using fixture::Row;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Report Build(std::vector<CellRow> rows) {
  return BuildReport(std::move(rows), "", "results.db");
}

std::vector<std::string> Recipes(const ReportModel& model) {
  std::vector<std::string> recipes;
  for (const ReportRow& row : model.rows) recipes.push_back(row.recipe);
  return recipes;
}

const ReportRow& Find(const ReportModel& model, const std::string& recipe) {
  for (const ReportRow& row : model.rows) {
    if (row.recipe == recipe) return row;
  }
  throw std::runtime_error("no row " + recipe);
}

TEST(Report, FullPrecisionComesFirstThenBitsMethodAndCoarseGroupsWhateverTheOrderOfMeasuring) {
  CellRow symmetric = Perplexity(kSmall, "rtn", 4, 128, 1);
  symmetric.symmetric = true;
  symmetric.recipe = "rtn-w4-g128-sym";
  const Report report =
      Build({Perplexity(kSmall, "rtn", 4, 64, 1), Perplexity(kSmall, "rtn", 8, 0, 1), symmetric,
             Perplexity(kSmall, "rtn", 4, 128, 1), Perplexity(kSmall, "gptq", 4, 128, 1),
             Perplexity(kSmall, "full", 16, 0, 1), Perplexity(kSmall, "rtn", 4, 0, 1)});
  ASSERT_THAT(report.models, SizeIs(1));
  EXPECT_THAT(Recipes(report.models[0]),
              ElementsAre("full", "rtn-w8-channel", "gptq-w4-g128", "rtn-w4-channel", "rtn-w4-g128",
                          "rtn-w4-g128-sym", "rtn-w4-g64"));
}

TEST(Report, ASeriesIsTheRecipeWithoutItsBits) {
  CellRow sym = Perplexity(kSmall, "rtn", 4, 64, 1);
  sym.symmetric = true;
  sym.recipe = "rtn-w4-g64-sym:head=w8-g64";
  const Report report =
      Build({Perplexity(kSmall, "full", 16, 0, 1), Perplexity(kSmall, "rtn", 3, 0, 1), sym});
  EXPECT_EQ(report.models[0].rows[0].series, "");
  EXPECT_EQ(report.models[0].rows[1].series, "rtn g64 sym head=w8-g64");
  EXPECT_EQ(report.models[0].rows[2].series, "rtn channel");
  EXPECT_EQ(report.models[0].rows[2].grouping, "channel");
}

TEST(Report, ARowIsComparedAtTheBitsThatItStores) {
  CellRow planes = Perplexity(kSmall, "billm", 1, 128, 1), fine = Perplexity(kSmall, "rtn", 2, 8, 1);
  planes.storage->quantized_bpw = 2.88;
  const ReportModel model =
      Build({Perplexity(kSmall, "full", 16, 0, 1), planes, fine, Perplexity(kSmall, "rtn", 1, 64, 1)})
          .models[0];
  EXPECT_EQ(Find(model, planes.recipe).bits, 2u);
  EXPECT_EQ(Find(model, fine.recipe).bits, 4u) << "16 + 2 bits of every 8 columns";
  EXPECT_EQ(Find(model, "rtn-w1-g64").bits, 1u);
}

TEST(Report, ASeriesTellsChainsAndBitsOfActivationsApart) {
  std::vector<CellRow> rows = {Perplexity(kSmall, "full", 16, 0, 1)};
  for (const char* recipe : {"smoothquant-w8a8", "smoothquant-w4a8", "smoothquant-w4a4:alpha=0.8",
                             "gptq-w4a8-g64", "smoothquant+gptq-w4a8-g64", "billm"}) {
    rows.push_back(Perplexity(kSmall, "gptq", 4, std::string_view(recipe).ends_with("g64") ? 64 : 0, 1));
    rows.back().recipe = recipe;
    rows.back().key = recipe;
  }
  const ReportModel model = Build(rows).models[0];
  const auto series = [&](const char* recipe) { return Find(model, recipe).series; };
  EXPECT_EQ(series("smoothquant-w8a8"), "smoothquant a8 channel");
  EXPECT_EQ(series("smoothquant-w4a8"), "smoothquant a8 channel");
  EXPECT_EQ(series("smoothquant-w4a4:alpha=0.8"), "smoothquant a4 channel alpha=0.8");
  EXPECT_EQ(series("gptq-w4a8-g64"), "gptq a8 g64");
  EXPECT_EQ(series("smoothquant+gptq-w4a8-g64"), "smoothquant+gptq a8 g64");
  EXPECT_EQ(series("billm"), "gptq channel") << "the method of the row where the recipe names no bits";
}

TEST(Report, DifferencesAreToFullPrecisionOfTheSameColumn) {
  const Report report = Build({Perplexity(kSmall, "rtn", 4, 128, 90), Perplexity(kSmall, "full", 16, 0, 80),
                               Accuracy(kSmall, "full", 16, 0, 0.5), Accuracy(kSmall, "rtn", 4, 128, 0.4)});
  const ReportModel& model = report.models[0];
  ASSERT_THAT(model.columns, SizeIs(3));
  const std::vector<ReportCell>& cells = Find(model, "rtn-w4-g128").cells;
  EXPECT_EQ(cells[0].value->delta, 10);
  EXPECT_EQ(cells[0].value->relative, 0.125);
  EXPECT_NEAR(*cells[1].value->delta, -0.1, 1e-15);
  EXPECT_NEAR(*cells[1].value->relative, -0.2, 1e-15);
  EXPECT_EQ(Find(model, "full").cells[0].value->delta, std::nullopt);
}

TEST(Report, WithoutFullPrecisionThereAreNoDifferences) {
  const Report report = Build({Perplexity(kSmall, "rtn", 4, 128, 90),
                               Failed(Row(kSmall, "full", 16, 0, "wikitext2"), "resource", "out of memory")});
  const ReportModel& model = report.models[0];
  EXPECT_EQ(Find(model, "rtn-w4-g128").cells[0].value->delta, std::nullopt);
  EXPECT_EQ(model.finding, "");
  CellRow zero = Accuracy(kSmall, "full", 16, 0, 0);
  const Report divided = Build({zero, Accuracy(kSmall, "rtn", 4, 128, 0.1)});
  EXPECT_EQ(divided.models[0].rows[1].cells[0].value->relative, std::nullopt) << "nothing is divided by 0";
}

TEST(Report, TheBestOfEachBitWidthIsMarkedInTheDirectionOfTheMetric) {
  const Report report = Build({Perplexity(kSmall, "full", 16, 0, 1), Perplexity(kSmall, "rtn", 4, 0, 30),
                               Perplexity(kSmall, "rtn", 4, 128, 20), Perplexity(kSmall, "rtn", 4, 64, 20),
                               Perplexity(kSmall, "rtn", 3, 64, 25), Accuracy(kSmall, "rtn", 4, 0, 0.7),
                               Accuracy(kSmall, "rtn", 4, 64, 0.6)});
  const ReportModel& model = report.models[0];
  const auto best = [&model](const char* recipe, size_t column) {
    return Find(model, recipe).cells[column].value->best;
  };
  EXPECT_FALSE(best("full", 0));
  EXPECT_FALSE(best("rtn-w4-channel", 0));
  EXPECT_TRUE(best("rtn-w4-g128", 0)) << "equal values share the mark";
  EXPECT_TRUE(best("rtn-w4-g64", 0));
  EXPECT_FALSE(best("rtn-w3-g64", 0)) << "alone with its bits: nothing to be better than";
  EXPECT_TRUE(best("rtn-w4-channel", 1)) << "higher accuracy is better";
  EXPECT_FALSE(best("rtn-w4-g64", 1));
}

TEST(Report, AFailedCellKeepsItsPlaceAndPointsToItsError) {
  const Report report =
      Build({Perplexity(kSmall, "full", 16, 0, 80),
             Failed(Row(kSmall, "gptq", 2, 0, "wikitext2"), "numeric", "pivot 3 is negative")});
  const ReportRow& row = Find(report.models[0], "gptq-w2-channel");
  ASSERT_TRUE(row.cells[0].source.has_value());
  EXPECT_FALSE(row.cells[0].value.has_value());
  EXPECT_EQ(report.Source(row.cells[0]).error, "pivot 3 is negative");
  EXPECT_EQ(report.done, 1u);
  EXPECT_EQ(report.failed, 1u);
}

TEST(Report, ATaskOfWhichEveryCellFailedStillHasAColumn) {
  const Report report = Build({Failed(Row(kSmall, "rtn", 4, 0, "mmlu"), "missing", "no such file")});
  ASSERT_THAT(report.models[0].columns, SizeIs(1));
  EXPECT_EQ(report.models[0].columns[0].label, "mmlu");
  EXPECT_EQ(report.models[0].columns[0].Direction(), "") << "nobody knows which way is better";
  EXPECT_TRUE(report.models[0].rows[0].cells[0].source.has_value());
}

TEST(Report, ACellThatFailedBeforeItsProtocolWasKnownBelongsToItsTask) {
  CellRow early = Failed(Row(kSmall, "rtn", 4, 0, "wikitext2"), "missing", "no text");
  for (const char* protocol : {"", "wikitext2 window=512"}) {
    early.protocol = protocol;
    const Report report = Build({early, Perplexity(kSmall, "full", 16, 0, 80)});
    EXPECT_THAT(report.models[0].columns, SizeIs(1));
    EXPECT_TRUE(Find(report.models[0], "rtn-w4-channel").cells[0].source.has_value());
    EXPECT_EQ(report.failed, 1u);
  }
}

TEST(Report, AFailureNeverHidesANumber) {
  CellRow failed = Failed(Row(kSmall, "rtn", 4, 0, "wikitext2"), "missing", "no text");
  failed.protocol = "wikitext2 window=512";
  const CellRow done = Perplexity(kSmall, "rtn", 4, 0, 80);
  for (const std::vector<CellRow>& rows : {std::vector{failed, done}, std::vector{done, failed}}) {
    const Report report = Build(rows);
    EXPECT_EQ(report.models[0].rows[0].cells[0].value->value, 80);
    EXPECT_EQ(report.failed, 0u);
    EXPECT_THAT(report.remarks, ElementsAre(HasSubstr("1 other row")));
  }
}

TEST(Report, AFailureOfOneProtocolStaysInItsColumn) {
  CellRow longer = Perplexity(kSmall, "full", 16, 0, 70);
  longer.protocol = "wikitext2: windows of 2048";
  CellRow failed = Failed(Row(kSmall, "rtn", 4, 0, "wikitext2"), "resource", "out of memory");
  failed.protocol = longer.protocol;
  const Report report = Build({Perplexity(kSmall, "full", 16, 0, 80), longer, failed});
  EXPECT_FALSE(Find(report.models[0], "rtn-w4-channel").cells[0].source.has_value());
  EXPECT_TRUE(Find(report.models[0], "rtn-w4-channel").cells[1].source.has_value());
}

TEST(Report, ARecipeThatWasNotRunOnATaskHasNoCellThere) {
  const Report report = Build({Perplexity(kSmall, "rtn", 4, 0, 80), Accuracy(kSmall, "rtn", 3, 0, 0.5)});
  EXPECT_FALSE(Find(report.models[0], "rtn-w4-channel").cells[1].source.has_value());
  EXPECT_FALSE(Find(report.models[0], "rtn-w3-channel").cells[0].source.has_value());
}

TEST(Report, TwoProtocolsOfOneTaskAreTwoColumns) {
  CellRow longer = Perplexity(kSmall, "full", 16, 0, 70);
  longer.protocol = "wikitext2: windows of 2048";
  longer.key = "other";
  const Report report = Build({Perplexity(kSmall, "full", 16, 0, 80), longer});
  ASSERT_THAT(report.models[0].columns, SizeIs(2));
  EXPECT_EQ(report.models[0].columns[0].label, "wikitext2 perplexity");
  EXPECT_EQ(report.models[0].columns[1].label, "wikitext2 perplexity (protocol 2)");
  EXPECT_THAT(report.models[0].rows, SizeIs(1));
}

TEST(Report, OfACellRunAgainTheNewestDoneRowIsShownAndTheOthersAreCounted) {
  CellRow newer = Perplexity(kSmall, "rtn", 4, 0, 81), newest = newer;
  newer.key = "second";
  newest = Failed(newest, "resource", "disk full");
  newest.key = "third";
  const Report report = Build({Perplexity(kSmall, "rtn", 4, 0, 80), newer, newest});
  EXPECT_EQ(report.models[0].rows[0].cells[0].value->value, 81);
  EXPECT_EQ(report.done + report.failed, 1u);
  EXPECT_THAT(report.remarks, ElementsAre(HasSubstr("2 other rows")));
}

TEST(Report, ModelsOfOneNameAreToldApart) {
  CellRow other_folder = Perplexity(kSmall, "full", 16, 0, 1), other_weights = other_folder;
  other_folder.model_folder = "elsewhere";
  other_weights.provenance.weights_hash = "0123456789abcdef";
  const Report report = Build({Perplexity(kSmall, "full", 16, 0, 1), other_folder, other_weights});
  ASSERT_THAT(report.models, SizeIs(3));
  EXPECT_EQ(report.models[0].name, "Qwen3-0.6B (models/Qwen3-0.6B) (weights aaaaaaaa)");
  EXPECT_EQ(report.models[1].name, "Qwen3-0.6B (elsewhere)");
  EXPECT_EQ(report.models[2].name, "Qwen3-0.6B (models/Qwen3-0.6B) (weights 01234567)");
}

TEST(Report, ACellThatFailedBeforeItsWeightsWereHashedJoinsItsModel) {
  CellRow early = Failed(Row(kSmall, "rtn", 4, 0, "wikitext2"), "missing", "gone");
  early.provenance = {};
  const Report report =
      Build({early, Perplexity(kSmall, "full", 16, 0, 1), Perplexity(kTiny, "full", 16, 0, 1)});
  ASSERT_THAT(report.models, SizeIs(2));
  EXPECT_THAT(Recipes(report.models[0]), ElementsAre("full", "rtn-w4-channel"));
}

TEST(Report, WhatDiffersFromWhatWasAskedIsARemark) {
  CellRow noted = Perplexity(kSmall, "rtn", 4, 0, 1), other_code = Perplexity(kSmall, "rtn", 3, 0, 1);
  noted.notes = "layer 1: damped twice\n\nlayer 2: too";
  other_code.provenance.code_version = "0.2.0";
  const Report report = Build({noted, other_code});
  EXPECT_THAT(report.remarks, ElementsAre(HasSubstr("2 different ones (0.1.0+1a2b3c4d5e6f, 0.2.0)"),
                                          HasSubstr("rtn-w4-channel, wikitext2: layer 1: damped twice"),
                                          HasSubstr("layer 2: too")));
  EXPECT_THAT(Build(fixture::OneModel()).remarks, IsEmpty());
}

TEST(Report, AnEmptyDatabaseIsAnErrorThatNamesIt) {
  try {
    BuildReport({}, "", "some/results.db");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    EXPECT_THAT(error.what(), HasSubstr("some/results.db: has no results yet"));
  }
}

TEST(Report, TextBecomesValidUtf8) {
  CellRow row = Perplexity(kSmall, "full", 16, 0, 1);
  row.model = "bad \xFF name";
  EXPECT_EQ(Build({row}).models[0].name, "bad \uFFFD name");
  EXPECT_EQ(BuildReport({row}, "\xC0\x80", "x").title, "\uFFFD\uFFFD");
}

TEST(Finding, SaysWhereQualityIsFreeAndWhatTheLowBitsCost) {
  EXPECT_EQ(Build(fixture::OneModel()).models[0].finding,
            "Down to 5 bits, quantized weights cost less than 1 % of wikitext2 perplexity (83.72 in full "
            "precision); 4 bits cost +1.79 %, 3 bits +25.3 %, 2 bits +381 %, at the best recipe for each.");
}

TEST(Finding, SpeaksOfFactorsWhenPercentagesStopMeaningAnything) {
  const Report report = Build({Perplexity(kSmall, "full", 16, 0, 10), Perplexity(kSmall, "rtn", 2, 0, 50),
                               Perplexity(kSmall, "rtn", 1, 0, 2500)});
  EXPECT_EQ(
      report.models[0].finding,
      "On wikitext2 perplexity (10.00 in full precision), 2 bits cost +400 %, 1 bit multiplies it by 250, "
      "at the best recipe for each.");
}

TEST(Finding, CountsALossOfAccuracyAsALoss) {
  const Report report = Build({Accuracy(kSmall, "full", 16, 0, 0.5), Accuracy(kSmall, "rtn", 8, 0, 0.52),
                               Accuracy(kSmall, "rtn", 4, 0, 0.45), Accuracy(kSmall, "rtn", 4, 64, 0.49)});
  EXPECT_EQ(report.models[0].finding,
            "Down to 8 bits, quantized weights cost less than 1 % of piqa acc (0.5000 in full precision); "
            "4 bits cost -2.00 %, at the best recipe for each.");
}

TEST(Finding, EndsWhereNothingWasLost) {
  const Report report =
      Build({Perplexity(kSmall, "full", 16, 0, 10), Perplexity(kSmall, "rtn", 8, 0, 10.01)});
  EXPECT_EQ(report.models[0].finding,
            "Down to 8 bits, quantized weights cost less than 1 % of wikitext2 perplexity (10.00 in full "
            "precision).");
}

}  // namespace
}  // namespace lowbit
