// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>

#include "lowbit/base/json.h"
#include "lowbit/report/assets.h"
#include "lowbit/report/fixture.h"

namespace lowbit {
namespace {

using fixture::kHostile;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string Page(std::vector<CellRow> rows, const std::string& title = "") {
  return RenderPage(BuildReport(std::move(rows), title, "results.db"));
}

size_t Count(const std::string& text, std::string_view what) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++count;
  return count;
}

// Everything between the first `open` at or after `from` and the next `close`.
std::string Between(const std::string& text, std::string_view open, std::string_view close, size_t from = 0) {
  const size_t begin = text.find(open, from) + open.size();
  return text.substr(begin, text.find(close, begin) - begin);
}

Json EmbeddedData(const std::string& page) {
  return ParseJson(Between(page, R"(<script type="application/json" id="study">)", "</script>"),
                   Place("page"));
}

TEST(Page, HoldsEveryNumberInFullAndRounded) {
  const std::string page = Page(fixture::OneModel());
  EXPECT_THAT(page, HasSubstr(R"(data-value="83.7203">83.72</td>)"));
  EXPECT_THAT(page, HasSubstr(R"(data-value="264.61">264.6</td>)"));
  EXPECT_THAT(page, HasSubstr("data-value=\"2100000\">2.100\u2009×\u200910⁶</td>"));
  EXPECT_THAT(page, HasSubstr(R"(data-value="86.0312">86.03</td>)"));
  EXPECT_EQ(Count(page, "<tr data-row="), 22u);
}

TEST(Page, HostileNamesAreOnlyText) {
  const std::string page = Page(fixture::TwoModels(), kHostile);
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page,
              HasSubstr("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;,|_%$#{}~^\\"));
  EXPECT_EQ(Count(page, "<script"), 4u);
  EXPECT_EQ(Count(page, "</script"), 4u);
  EXPECT_EQ(EmbeddedData(page)["models"][2]["name"], kHostile);
}

TEST(Page, PlacesInHostileTextAreNotFilled) {
  const std::string page = Page(fixture::OneModel(), "{{data}} {{nothing}} {{");
  EXPECT_THAT(page, HasSubstr("<h1>{{data}} {{nothing}} {{</h1>"));
}

TEST(Page, BytesThatAreNoTextDoNoHarm) {
  CellRow row = fixture::Perplexity(fixture::kSmall, "full", 16, 0, 80);
  row.model = std::string("a\0b\xFF\xC3", 5);
  row.notes = "\x01\x02\x7F";
  const std::string page = Page({row});
  EXPECT_EQ(page.find('\0'), std::string::npos);
  EXPECT_EQ(EmbeddedData(page)["models"][0]["name"], std::string("a\0b\uFFFD\uFFFD", 9));
}

// The policy names the hash of each script and style; one that does not match is dead in the browser.
TEST(Page, PolicyAllowsExactlyTheScriptsAndStylesOfThePage) {
  const std::string page = Page(fixture::OneModel());
  const std::string policy = Between(page, R"(http-equiv="Content-Security-Policy" content=")", "\"");
  EXPECT_THAT(policy, StartsWith("default-src 'none'; script-src 'sha256-"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  size_t scripts = 0, styles = 0;
  const auto expect_listed = [&policy](const std::string& content) {
    std::array<unsigned char, 32> digest{};
    std::array<unsigned char, 64> base64{};
    EVP_Digest(content.data(), content.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
    EVP_EncodeBlock(base64.data(), digest.data(), digest.size());
    EXPECT_THAT(policy, HasSubstr(fmt::format("'sha256-{}'", reinterpret_cast<const char*>(base64.data()))));
  };
  for (size_t at = 0; (at = page.find("<script>", at)) != std::string::npos; ++at, ++scripts) {
    expect_listed(Between(page, "<script>", "</script>", at));
  }
  for (size_t at = 0; (at = page.find("<style", at)) != std::string::npos; ++at, ++styles) {
    expect_listed(Between(page, ">", "</style>", at));
  }
  EXPECT_EQ(scripts, 3u);
  EXPECT_EQ(styles, 2u);
}

TEST(Page, NamesNoPlaceToLoadAnythingFrom) {
  std::string page = Page(fixture::OneModel());
  page.erase(page.find("<script>"),
             page.find("</script>", page.find("<script>")) - page.find("<script>"));  // Chart.js
  EXPECT_THAT(page, Not(HasSubstr("http:")));
  EXPECT_THAT(page, Not(HasSubstr("https:")));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(page, Not(HasSubstr("url(")));
  EXPECT_THAT(page, Not(HasSubstr("@import")));
}

TEST(Page, CarriesTheLicenceOfChartJs) {
  const std::string page = Page(fixture::OneModel());
  EXPECT_THAT(page, HasSubstr("Permission is hereby granted, free of charge"));
  EXPECT_THAT(page, HasSubstr("Chart.js v3."));
}

TEST(Page, AssetsCanStandInTheirElements) {
  for (const std::string_view asset : {kPageCss, kPageDarkCss, kPageJs, kChartJs, kChartLicence}) {
    EXPECT_GT(asset.size(), 100u);
    EXPECT_EQ(asset.find("</script"), std::string_view::npos);
    EXPECT_EQ(asset.find("</style"), std::string_view::npos);
    EXPECT_EQ(asset.find("<!--"), std::string_view::npos);
    EXPECT_EQ(asset.find('\r'), std::string_view::npos) << "a browser hashes \\n for \\r\\n";
  }
  EXPECT_EQ(kChartLicence.find("*/"), std::string_view::npos);
}

TEST(Page, TheSameDatabaseGivesTheSameBytes) {
  EXPECT_EQ(Page(fixture::TwoModels()), Page(fixture::TwoModels()));
}

TEST(Page, FailedCellsShowTheirErrorInTheTable) {
  const std::string page = Page(fixture::TwoModels());
  EXPECT_THAT(
      page,
      HasSubstr("<strong>failed</strong> tensor &#39;model.layers.3.mlp.down_proj.weight&#39;: pivot 17"));
  EXPECT_THAT(page, HasSubstr("45 cells, 2 failed"));
}

TEST(Page, DataForTheChartsHasTheTextsOfTheTable) {
  const Json model = EmbeddedData(Page(fixture::OneModel()))["models"][0];
  EXPECT_EQ(model["rows"].size(), 22u);
  const Json& row = model["rows"][1];
  EXPECT_EQ(row["recipe"], "rtn-w8-channel");
  EXPECT_EQ(row["series"], "rtn channel");
  EXPECT_EQ(row["cells"][0]["value"], 83.754);
  EXPECT_EQ(row["cells"][0]["text"], "83.75");
  EXPECT_EQ(row["cells"][0]["relativeText"], "+0.04\u00A0%");
  EXPECT_EQ(row["bytes"], 752289062u);  // 440e6 × 8.0234375 / 8 + 311e6
}

}  // namespace
}  // namespace lowbit
