// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/layer_errors.h"

#include <fmt/format.h>

#include <cmath>
#include <set>
#include <utility>

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

std::string BadLayerErrors(const std::vector<LayerError>& errors) {
  std::set<std::pair<uint32_t, std::string_view>> seen;
  for (const LayerError& e : errors) {
    if (!std::isfinite(e.relative) || e.relative < 0)
      return fmt::format("the output error of layer {} {} is {}", e.layer, e.part, e.relative);
    if (e.part.empty() || !seen.emplace(e.layer, e.part).second)
      return "output errors need parts of their own";
  }
  return "";
}

}  // namespace lowbit
