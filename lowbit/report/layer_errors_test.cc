// SPDX-License-Identifier: Apache-2.0
// What each layer loses, as the page shows it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/json.h"
#include "lowbit/report/fixture.h"
#include "lowbit/report/page.h"
#include "lowbit/report/page_parts.h"
#include "lowbit/report/report.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

Json DataOf(const Report& report) {
  return ParseJson(PageData(report), Place("data"));
}

TEST(LayerErrors, OfARecipeAreInTheDataOfThePageLayerByLayer) {
  const Report report = BuildReport(fixture::Measured(), "", "results.db");
  const Json data = DataOf(report);
  for (const Json& row : data["models"][0]["rows"]) {
    ASSERT_EQ(row.contains("layerErrors"), row["method"] != "full") << row["recipe"];
    if (row["method"] == "full") continue;
    ASSERT_EQ(row["layerErrors"].size(), 28u);
    const Json& last = row["layerErrors"][27];
    EXPECT_EQ(last["layer"], 27);
    EXPECT_NEAR(last["value"].get<double>(), 28 * row["layerErrors"][0]["value"].get<double>(), 1e-9);
    EXPECT_THAT(last["worst"].get<std::string>(), HasSubstr("mlp.down_proj "));
  }
  EXPECT_THAT(RenderPage(report), HasSubstr(R"(id="layers-chart")"));
}

TEST(LayerErrors, ThatWereNotMeasuredAreNotThere) {
  const Json data = DataOf(BuildReport(fixture::Compared(), "", "results.db"));
  for (const Json& row : data["models"][0]["rows"]) EXPECT_FALSE(row.contains("layerErrors"));
}

TEST(LayerErrors, OfALayerWithoutOneOfItsOwnAreLeftOut) {
  std::vector<CellRow> rows = fixture::Measured();
  for (CellRow& row : rows) {
    std::erase_if(row.layer_errors, [](const LayerError& e) { return e.layer == 3 && e.part == "layer"; });
  }
  const Json data = DataOf(BuildReport(std::move(rows), "", "results.db"));
  EXPECT_EQ(data["models"][0]["rows"][1]["layerErrors"].size(), 27u);
}

TEST(LayerErrors, NamesThatAttackThePageAreOnlyText) {
  std::vector<CellRow> rows = fixture::Measured();
  rows[1].layer_errors[1].part = fixture::kHostile;
  const std::string page = RenderPage(BuildReport(std::move(rows), "", "results.db"));
  EXPECT_EQ(page.find("<img src=x"), std::string::npos);
}

}  // namespace
}  // namespace lowbit
