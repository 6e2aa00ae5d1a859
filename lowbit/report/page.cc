// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <set>

#include "lowbit/base/hash.h"
#include "lowbit/report/assets.h"
#include "lowbit/report/format.h"
#include "lowbit/report/page_parts.h"

namespace lowbit {
namespace {

// Base64 of the bytes that `hex` spells: how a content security policy writes a hash.
std::string Base64OfHex(std::string_view hex) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : hex) {
    bits = bits << 4 | static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    held += 4;
    if (held < 6) continue;
    held -= 6;
    out += kDigits[bits >> held & 63];
  }
  if (held > 0) out += kDigits[bits << (6 - held) & 63];
  out.resize((out.size() + 3) / 4 * 4, '=');
  return out;
}

std::string CspHash(std::string_view text) {
  return fmt::format("'sha256-{}'", Base64OfHex(Sha256Hex(text)));
}

// The browser runs these scripts and no other, and asks nobody for anything: should a hostile name ever
// get through the escaping, it still could do nothing.
std::string Policy(std::string_view chart_js) {
  return fmt::format(
      "default-src 'none'; script-src {} {} {}; style-src {} {}; img-src data: blob:; base-uri 'none'; "
      "form-action 'none'",
      CspHash(chart_js), CspHash(kLayerMapJs), CspHash(kPageJs), CspHash(kPageCss), CspHash(kPageDarkCss));
}

std::string Count(size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

// "1 model · 22 recipes · 1 task · 23 cells, 1 failed"
std::string Summary(const Report& report) {
  std::set<std::string> recipes, tasks;
  for (const ReportModel& model : report.models) {
    for (const ReportRow& row : model.rows) recipes.insert(row.recipe);
    for (const ReportColumn& column : model.columns) tasks.insert(column.task);
  }
  std::string text = Count(report.models.size(), "model") + " · " + Count(recipes.size(), "recipe") + " · " +
                     Count(tasks.size(), "task") + " · " + Count(report.done + report.failed, "cell");
  if (report.failed > 0) text += fmt::format(", {} failed", report.failed);
  return text;
}

// A number and its percent sign stay on one line.
std::string KeepPercents(std::string text) {
  for (size_t at = 0; (at = text.find(" %", at)) != std::string::npos;) text.replace(at, 1, "\u00A0");
  return text;
}

std::string Findings(const Report& report) {
  std::string html;
  for (const ReportModel& model : report.models) {
    if (model.finding.empty()) continue;
    const std::string name =
        report.models.size() > 1 ? fmt::format("<strong>{}</strong> ", HtmlText(model.name)) : "";
    html += fmt::format(R"(<p class="finding">{}{}</p>)", name, KeepPercents(HtmlText(model.finding)));
  }
  return html;
}

std::string Options(const std::vector<std::string>& labels) {
  std::string html;
  for (size_t i = 0; i < labels.size(); ++i) {
    html += fmt::format(R"(<option value="{}">{}</option>)", i, HtmlText(labels[i]));
  }
  return html;
}

std::string Remarks(const Report& report) {
  if (report.remarks.empty()) return "";
  std::string html = R"(<section class="remarks"><h2>Remarks</h2><ul>)";
  for (const std::string& remark : report.remarks) html += fmt::format("<li>{}</li>", HtmlText(remark));
  return html + "</ul></section>";
}

std::string Facts(const Report& report) {
  std::string html;
  for (const ReportFact& fact : report.facts) {
    const bool hash = fact.name.ends_with("SHA-256");
    html += fmt::format("<div{}><dt>{}</dt>", hash ? R"( class="hash")" : "", HtmlText(fact.name));
    for (const std::string& value : fact.values) html += fmt::format("<dd>{}</dd>", HtmlText(value));
    html += "</div>";
  }
  return html;
}

// `frame` with each {{name}} replaced, once: what is put in is not looked at again.
std::string Fill(std::string_view frame, const std::map<std::string_view, std::string>& places) {
  std::string out;
  while (true) {
    const size_t open = frame.find("{{");
    out += frame.substr(0, open);
    if (open == std::string_view::npos) return out;
    const size_t close = frame.find("}}", open);
    const auto place = places.find(frame.substr(open + 2, close - open - 2));
    LOWBIT_ASSERT(close != std::string_view::npos && place != places.end());
    out += place->second;
    frame.remove_prefix(close + 2);
  }
}

}  // namespace

std::string RenderPage(const Report& report) {
  const std::string chart_js = fmt::format("/*\n{}*/\n{}", kChartLicence, kChartJs);
  std::vector<std::string> names;
  std::string sections;
  for (size_t i = 0; i < report.models.size(); ++i) {
    names.push_back(report.models[i].name);
    sections += ModelSection(report, i);
  }
  return Fill(kPageHtml, {{"policy", Policy(chart_js)},
                          {"title", HtmlText(report.title)},
                          {"css", std::string(kPageCss)},
                          {"dark_css", std::string(kPageDarkCss)},
                          {"summary", Summary(report)},
                          {"findings", Findings(report)},
                          {"models", Options(names)},
                          {"sections", sections},
                          {"remarks", Remarks(report)},
                          {"facts", Facts(report)},
                          {"data", PageData(report)},
                          {"chart_js", chart_js},
                          {"layer_map_js", std::string(kLayerMapJs)},
                          {"page_js", std::string(kPageJs)}});
}

}  // namespace lowbit
