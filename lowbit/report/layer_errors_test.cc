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

TEST(LayerErrors, OfLinearsAreInTheDataOfTheirMapWithWhatTheLinearsRead) {
  std::vector<CellRow> rows = fixture::Measured();
  for (CellRow& row : rows) {
    std::erase_if(row.layer_errors, [](const LayerError& e) { return e.layer == 3 && e.part != "layer"; });
    std::erase_if(row.inputs, [](const LinearInputs& i) { return i.layer == 3; });
  }
  const Report report = BuildReport(std::move(rows), "", "results.db");
  const Json data = DataOf(report);
  size_t rounded = 0;
  for (const Json& row : data["models"][0]["rows"]) {
    ASSERT_EQ(row.contains("layerParts"), row["method"] != "full");
    if (row["method"] == "full") continue;
    const Json& parts = row["layerParts"];
    ASSERT_EQ(parts["mlp.down_proj"].size(), 28u);
    EXPECT_TRUE(parts["mlp.down_proj"][3].is_null());
    EXPECT_NEAR(parts["mlp.down_proj"][27], 2 * row["layerErrors"][27]["value"].get<double>(),
                1e-2 * parts["mlp.down_proj"][27].get<double>());
    EXPECT_EQ(row.contains("layerInputs"), row["bits"] == 4);
    EXPECT_EQ(parts.contains("mlp.down_proj inputs"), row["bits"] == 4);
    if (!row.contains("layerInputs")) continue;
    ++rounded;
    EXPECT_EQ(row["layerInputs"]["mlp.down_proj"][27], Json({2700, 31}));
    EXPECT_TRUE(row["layerInputs"]["mlp.down_proj"][3].is_null());
  }
  EXPECT_GT(rounded, 0u);
  EXPECT_THAT(RenderPage(report), HasSubstr(R"(id="layer-map")"));
}

TEST(LayerErrors, ThatWereNotMeasuredAreNotThere) {
  const Json data = DataOf(BuildReport(fixture::Compared(), "", "results.db"));
  for (const Json& row : data["models"][0]["rows"]) {
    for (const char* key : {"layerErrors", "layerParts", "layerInputs"}) EXPECT_FALSE(row.contains(key));
  }
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
  rows[1].inputs.push_back({0, fixture::kHostile, 1, 1});
  const std::string page = RenderPage(BuildReport(std::move(rows), "", "results.db"));
  EXPECT_EQ(page.find("<img src=x"), std::string::npos);
}

}  // namespace
}  // namespace lowbit
