// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/output_errors.h"

namespace lowbit {

Json ToJson(const InputRanges& ranges) {
  Json json = Json::object();
  for (const auto& [linear, range] : ranges)
    json[linear] = {{"largest", range.largest}, {"peak", range.peak}};
  return json;
}

InputRanges ReadInputRanges(JsonFields& fields, std::string_view key) {
  InputRanges ranges;
  const Json& object = fields.Object(key);
  JsonFields linears(object, fields.At(key));
  for (const auto& [linear, value] : object.items()) {
    JsonFields range(linears.Object(linear), linears.At(linear));
    ranges[linear] = {range.NonNegative("largest"), range.NonNegative("peak")};
    range.RefuseOthers();
  }
  return ranges;
}

std::string ToText(const OutputErrors& errors) {
  Json json;
  json["rows"] = errors.rows;
  json["relative"] = errors.relative;
  if (!errors.inputs.empty()) json["inputs"] = ToJson(errors.inputs);
  return json.dump();
}

OutputErrors ParseOutputErrors(const std::string& text, const Place& place) {
  const Json json = ParseJson(text, place);
  JsonFields fields(json, place);
  OutputErrors errors;
  errors.rows = fields.String("rows");
  errors.relative = fields.NonNegatives("relative");
  if (json.contains("inputs")) errors.inputs = ReadInputRanges(fields, "inputs");
  fields.RefuseOthers();
  return errors;
}

}  // namespace lowbit
