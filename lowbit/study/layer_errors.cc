// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/layer_errors.h"

#include <fmt/format.h>

#include <cmath>
#include <set>
#include <utility>

#include "lowbit/model/config.h"

namespace lowbit {
void PutLayerErrors(const SqliteFile& file, int64_t cell, const std::vector<LayerError>& errors) {
  SqliteStatement insert(file, "INSERT INTO layer_errors VALUES (?, ?, ?, ?)");
  for (const LayerError& e : errors) {
    insert.Reset();
    insert.Bind(cell).Bind(e.layer).Bind(e.part).Bind(e.relative).Step();
  }
}

std::vector<LayerError> ReadLayerErrors(const SqliteFile& file, int64_t cell) {
  std::vector<LayerError> errors;
  SqliteStatement rows(
      file, "SELECT layer, part, relative_error FROM layer_errors WHERE cell_id = ? ORDER BY layer, part");
  rows.Bind(cell);
  while (rows.Step()) {
    LayerError& e = errors.emplace_back();
    rows.Get(e.layer);
    rows.Get(e.part);
    rows.Get(e.relative);
  }
  return errors;
}

void PutInputs(const SqliteFile& file, int64_t cell, const std::vector<LinearInputs>& inputs) {
  SqliteStatement insert(file, "INSERT INTO inputs VALUES (?, ?, ?, ?, ?)");
  for (const LinearInputs& i : inputs) {
    insert.Reset();
    insert.Bind(cell).Bind(i.layer).Bind(i.linear).Bind(i.largest).Bind(i.peak).Step();
  }
}

std::vector<LinearInputs> ReadInputs(const SqliteFile& file, int64_t cell) {
  std::vector<LinearInputs> inputs;
  SqliteStatement rows(
      file, "SELECT layer, linear, largest, peak FROM inputs WHERE cell_id = ? ORDER BY layer, linear");
  rows.Bind(cell);
  while (rows.Step()) {
    LinearInputs& i = inputs.emplace_back();
    rows.Get(i.layer);
    rows.Get(i.linear);
    rows.Get(i.largest);
    rows.Get(i.peak);
  }
  return inputs;
}

std::string BadLayerErrors(const std::vector<LayerError>& errors) {
  std::set<std::pair<uint32_t, std::string_view>> seen;
  for (const LayerError& e : errors) {
    if (e.layer >= kMaxLayers) return fmt::format("output errors of layer {}", e.layer);
    if (!std::isfinite(e.relative) || e.relative < 0)
      return fmt::format("the output error of layer {} {} is {}", e.layer, e.part, e.relative);
    if (e.part.empty() || !seen.emplace(e.layer, e.part).second)
      return "output errors need parts of their own";
  }
  return "";
}

std::string BadInputs(const std::vector<LinearInputs>& inputs) {
  std::set<std::pair<uint32_t, std::string_view>> seen;
  for (const LinearInputs& i : inputs) {
    if (i.layer >= kMaxLayers) return fmt::format("inputs of layer {}", i.layer);
    for (const auto& [what, value] : {std::pair{"largest", i.largest}, std::pair{"peak", i.peak}}) {
      if (!std::isfinite(value) || value < 0)
        return fmt::format("the {} input of layer {} {} is {}", what, i.layer, i.linear, value);
    }
    if (i.linear.empty() || !seen.emplace(i.layer, i.linear).second)
      return "inputs need linears of their own";
  }
  return "";
}

}  // namespace lowbit
