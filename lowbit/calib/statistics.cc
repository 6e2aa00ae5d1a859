// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/statistics.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

constexpr size_t kColumns = 64;  // of one task

[[noreturn]] void RefuseMerge(const std::string& what) {
  throw Error(ErrorKind::kConflict, "statistics cannot be merged: " + what);
}

void RequireEqual(std::string_view what, uint64_t mine, uint64_t its) {
  if (mine != its) RefuseMerge(fmt::format("{} {}, expected {}", what, its, mine));
}

size_t GramSize(size_t width, GramPart part) {
  switch (part) {
    case GramPart::kNone:
      return 0;
    case GramPart::kDiagonal:
      return (width + kGramBlock - 1) / kGramBlock * kGramBlock * kGramBlock;
    case GramPart::kFull:
      return width * width;
  }
  return 0;
}

}  // namespace

InputStatistics::InputStatistics(size_t columns, GramPart gram_part, size_t sample_rows, uint64_t first_token)
    : width(columns),
      part(gram_part),
      gram(GramSize(columns, gram_part)),
      sum_abs(columns),
      max_abs(columns),
      samples(columns, sample_rows, first_token) {
  std::fill_n(gram.data(), gram.size(), 0.0);
}

double InputStatistics::SumOfSquares(size_t channel) const {
  LOWBIT_ASSERT(channel < width && part != GramPart::kNone);
  if (part == GramPart::kFull) return gram[channel * width + channel];
  const size_t block = channel / kGramBlock, place = channel % kGramBlock;
  return gram[(block * kGramBlock + place) * kGramBlock + place];
}

void InputStatistics::Add(const Backend& backend, MatView<const float> rows) {
  LOWBIT_ASSERT(rows.cols == width);
  if (part == GramPart::kFull) backend.AddGram(rows, Gram());
  for (size_t begin = 0; begin < width && part == GramPart::kDiagonal; begin += kGramBlock) {
    const size_t cols = std::min(kGramBlock, width - begin);
    const MatView<double> block(gram.data() + begin * kGramBlock, cols, cols, kGramBlock);
    backend.AddGram({rows.data + begin, rows.rows, cols, rows.stride}, block);
  }
  backend.threads().For((width + kColumns - 1) / kColumns, [&](size_t task) {
    const size_t end = std::min(width, (task + 1) * kColumns);
    for (size_t t = 0; t < rows.rows; ++t) {
      const float* row = rows.Row(t);
      for (size_t j = task * kColumns; j < end; ++j) {
        const float value = std::abs(row[j]);
        sum_abs[j] += static_cast<double>(value);
        max_abs[j] = std::max(max_abs[j], value);
      }
    }
  });
  samples.Add(rows);
  tokens += rows.rows;
}

void InputStatistics::AddAgain(const Backend& backend, std::span<const float> row, uint32_t times) {
  LOWBIT_ASSERT(row.size() == width && part == GramPart::kFull);
  backend.threads().For(width, [&](size_t i) {
    const double weighted = static_cast<double>(times) * static_cast<double>(row[i]);
    for (size_t j = i; j < width; ++j) gram[i * width + j] += weighted * static_cast<double>(row[j]);
  });
}

void InputStatistics::Merge(const InputStatistics& other) {
  RequireEqual("a width of", width, other.width);
  RequireEqual("a Gram matrix of", gram.size(), other.gram.size());
  RequireEqual("sample rows up to", samples.most(), other.samples.most());
  if (samples.most() > 0) {
    RequireEqual("a part that begins at token", samples.first() + tokens, other.samples.first());
  }
  if (part != other.part) RefuseMerge("one has a Gram matrix, the other its diagonal alone");
  const size_t side = part == GramPart::kFull ? width : kGramBlock;  // the lower triangle is nobody's
  for (size_t row = 0; row * side < gram.size(); ++row) {
    for (size_t j = row % side; j < side; ++j) gram[row * side + j] += other.gram[row * side + j];
  }
  for (size_t j = 0; j < width; ++j) {
    sum_abs[j] += other.sum_abs[j];
    max_abs[j] = std::max(max_abs[j], other.max_abs[j]);
  }
  if (samples.most() > 0) samples.Merge(other.samples);
  tokens += other.tokens;
}

std::vector<double> InputStatistics::mean_abs() const {
  std::vector<double> mean = sum_abs;
  for (double& value : mean) value = tokens == 0 ? 0.0 : value / static_cast<double>(tokens);
  return mean;
}

void InputStatistics::RequireFinite(std::string_view tap) const {
  const auto require = [&](double value, std::string_view what, size_t channel) {
    if (std::isfinite(value)) return;
    throw Error(ErrorKind::kNumeric, Place(std::string(tap)).Item(fmt::format("channel {}", channel)),
                fmt::format("{} is {}, expected a finite number", what, value));
  };
  for (size_t j = 0; j < width; ++j) {
    require(sum_abs[j], "the sum of |x|", j);
    require(static_cast<double>(max_abs[j]), "the largest |x|", j);
  }
  for (size_t i = 0; i < width && part == GramPart::kFull; ++i) {
    for (size_t j = i; j < width; ++j) require(gram[i * width + j], "the sum of x xᵀ", i);
  }
  for (size_t j = 0; j < width && part == GramPart::kDiagonal; ++j)
    require(SumOfSquares(j), "the sum of x²", j);
}

void ModelStatistics::Merge(ModelStatistics part) {
  const auto require = [](std::string_view what, const std::string& mine, const std::string& its) {
    if (mine != its) RefuseMerge(fmt::format("made with {} {}, expected {}", what, its, mine));
  };
  require("calibration set", origin.calibration, part.origin.calibration);
  require("weights", origin.weights, part.origin.weights);
  require("version", origin.code_version, part.origin.code_version);
  RequireEqual("a calibration set of tokens", origin.tokens, part.origin.tokens);
  for (auto& [name, statistics] : part.taps) {
    const auto mine = taps.find(name);
    if (mine == taps.end()) {
      taps.emplace(name, std::move(statistics));
      continue;
    }
    try {
      mine->second.Merge(statistics);
    } catch (const Error& error) {
      throw Error(error.kind(), Place(name), error.message());
    }
  }
  for (const auto& [layer, counts] : part.expert_tokens) {
    std::vector<uint64_t>& mine = expert_tokens[layer];
    if (mine.empty()) mine.resize(counts.size());
    RequireEqual("experts in " + layer, mine.size(), counts.size());
    for (size_t e = 0; e < counts.size(); ++e) mine[e] += counts[e];
  }
}

}  // namespace lowbit
