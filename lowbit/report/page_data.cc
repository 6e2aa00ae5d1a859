// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "lowbit/base/human.h"
#include "lowbit/base/json.h"
#include "lowbit/report/format.h"
#include "lowbit/report/page_parts.h"
#include "lowbit/report/tables.h"

namespace lowbit {
namespace {

// Numbers as numbers, and beside them the texts that the table shows, so that a tooltip says the same.
Json CellData(const Report& report, const ReportCell& cell) {
  if (!cell.source) return nullptr;
  if (!cell.value) return Json{{"error", report.Source(cell).error}};
  const ReportValue& v = *cell.value;
  Json data = {{"value", v.value}, {"n", v.n}, {"best", v.best}, {"text", HtmlNumber(FormatValue(v.value))}};
  if (v.standard_error) {
    data["stderr"] = *v.standard_error;
    data["stderrText"] = HtmlNumber(FormatError(*v.standard_error));
  }
  if (v.delta) data["delta"] = *v.delta;
  if (v.paired) {
    const PairedDifference& d = v.paired->difference;
    data["paired"] = {{"low", d.low}, {"high", d.high}, {"p", d.p}};
    if (v.paired->flips)
      data["paired"].update({{"lost", v.paired->flips->lost}, {"gained", v.paired->flips->gained}});
  }
  if (v.relative) {
    data["relative"] = *v.relative;
    data["relativeText"] = HtmlNumber(FormatPercent(*v.relative));
  }
  return data;
}

// One entry per layer: its own error, and which of its linears loses most.
Json LayerErrorsData(const ReportRow& row) {
  std::map<uint32_t, Json> layers;
  std::map<uint32_t, double> worst;
  for (const LayerError& e : row.layer_errors) {
    Json& data = layers[e.layer];
    data["layer"] = e.layer;
    if (e.part == "layer") {
      data["value"] = e.relative;
      data["text"] = HtmlNumber(FormatValue(e.relative));
    } else if (const auto [most, first] = worst.try_emplace(e.layer, e.relative);
               first || e.relative > most->second) {
      most->second = e.relative;
      data["worst"] = e.part + " " + HtmlNumber(FormatValue(e.relative));
    }
  }
  Json list = Json::array();
  for (auto& [layer, data] : layers) {
    if (data.contains("value")) list.push_back(std::move(data));
  }
  return list;
}

// Digits that a map's reader can use: the page has one for every linear of every layer.
double Rounded(double value) {
  return std::stod(fmt::format("{:.3g}", value));
}

// By name, a list with a place for every layer.
Json& PlaceOf(Json& by_name, const std::string& name, uint32_t layer) {
  Json& list = by_name[name];
  while (list.size() <= layer) list.push_back(nullptr);
  return list[layer];
}

Json LayerPartsData(const ReportRow& row) {
  Json parts = Json::object();
  for (const LayerError& e : row.layer_errors) PlaceOf(parts, e.part, e.layer) = Rounded(e.relative);
  return parts;
}

// [largest, peak] of what each linear reads.
Json LayerInputsData(const ReportRow& row) {
  Json linears = Json::object();
  for (const LinearInputs& i : row.inputs)
    PlaceOf(linears, i.linear, i.layer) = {Rounded(i.largest), Rounded(i.peak)};
  return linears;
}

Json RowData(const Report& report, const ReportRow& row) {
  Json data = {{"recipe", row.recipe},    {"method", row.method}, {"bits", row.bits},
               {"group", row.group_size}, {"full", row.IsFull()}, {"series", row.series},
               {"cells", Json::array()}};
  if (row.storage) {
    data["bpw"] = row.storage->quantized_bpw;
    data["modelBpw"] = row.storage->model_bpw;
    data["bytes"] = row.storage->model_bytes;
    data["sizeText"] = HumanBytes(row.storage->model_bytes);
  }
  if (!row.layer_errors.empty()) {
    data["layerErrors"] = LayerErrorsData(row);
    data["layerParts"] = LayerPartsData(row);
  }
  if (!row.inputs.empty()) data["layerInputs"] = LayerInputsData(row);
  for (const ReportCell& cell : row.cells) data["cells"].push_back(CellData(report, cell));
  return data;
}

Json ModelData(const Report& report, const ReportModel& model) {
  Json data = {
      {"name", model.name}, {"finding", model.finding}, {"columns", Json::array()}, {"rows", Json::array()}};
  for (const ReportColumn& c : model.columns) {
    data["columns"].push_back({{"label", c.label},
                               {"task", c.task},
                               {"metric", c.metric},
                               {"name", c.name},
                               {"unit", c.unit},
                               {"comparesModels", c.compares_models},
                               {"protocol", c.protocol},
                               {"higherIsBetter", c.higher_is_better}});
  }
  for (const ReportRow& row : model.rows) data["rows"].push_back(RowData(report, row));
  return data;
}

}  // namespace

std::string PageData(const Report& report) {
  Json data = {{"title", report.title},
               {"models", Json::array()},
               {"facts", Json::object()},
               {"remarks", report.remarks},
               {"csv", RenderCsv(report)}};
  for (const ReportModel& model : report.models) data["models"].push_back(ModelData(report, model));
  for (const ReportFact& fact : report.facts) data["facts"][fact.name] = fact.values;
  std::string text;
  for (const char c : data.dump()) {
    if (c == '<') {
      text += "\\u003c";  // inside strings only: JSON itself has no "<"
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace lowbit
