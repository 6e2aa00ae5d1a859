// SPDX-License-Identifier: Apache-2.0
// Writing; what both directions share is in statistics_format.h, reading in statistics_reader.cc.
#include "lowbit/calib/statistics_file.h"

#include <functional>

#include "lowbit/base/hash.h"
#include "lowbit/base/json.h"
#include "lowbit/calib/statistics_format.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {
namespace {

using Sink = std::function<void(std::span<const std::byte>)>;

// A tensor of the file, and how its bytes are made.
struct Part {
  std::string name;
  DType type;
  Shape shape;
  std::function<void(const Sink&)> write;
};

void WriteTriangle(MatView<const double> gram, const Sink& sink) {
  for (size_t i = 0; i < gram.rows; ++i) sink(std::as_bytes(gram.RowSpan(i).subspan(i)));
}

// In the order of the file: what is made of eight bytes first, so that everything is aligned.
std::vector<Part> PartsOf(const ModelStatistics& statistics) {
  std::vector<Part> parts;
  for (const auto& [name, of_tap] : statistics.taps) {
    const InputStatistics& tap = of_tap;  // clang 14 does not capture structured bindings
    if (tap.part == GramPart::kFull) {
      parts.push_back({name + ".gram", DType::kU8, GramShape(tap.width),
                       [&tap](const Sink& sink) { WriteTriangle(tap.Gram(), sink); }});
    }
    parts.push_back({name + ".sum_abs", DType::kU8, {tap.width, sizeof(double)}, [&tap](const Sink& sink) {
                       sink(std::as_bytes(std::span(tap.sum_abs)));
                     }});
  }
  for (const auto& [name, of_tap] : statistics.taps) {
    const InputStatistics& tap = of_tap;
    parts.push_back({name + ".max_abs", DType::kF32, {tap.width}, [&tap](const Sink& sink) {
                       sink(std::as_bytes(std::span(tap.max_abs)));
                     }});
    const MatView<const float> rows = tap.samples.rows();
    if (rows.rows == 0) continue;
    parts.push_back({name + ".samples", DType::kF32, {rows.rows, rows.cols}, [rows](const Sink& sink) {
                       sink(std::as_bytes(std::span(rows.data, rows.rows * rows.cols)));
                     }});
  }
  return parts;
}

std::map<std::string, std::string> MetadataOf(const ModelStatistics& statistics) {
  const StatisticsOrigin& origin = statistics.origin;
  std::map<std::string, std::string> metadata;
  metadata[std::string(kStatisticsVersionKey)] = kStatisticsVersion;
  metadata[std::string(kOriginKey)] = Json{
      {"calibration", origin.calibration},
      {"weights", origin.weights},
      {"code_version", origin.code_version},
      {"tokens", origin.tokens}}.dump();
  for (const auto& [name, tap] : statistics.taps) {
    metadata[std::string(kTapKey) + name] = Json{
        {"width", tap.width},
        {"tokens", tap.tokens},
        {"gram", tap.part == GramPart::kFull},
        {"first_token", tap.samples.first()},
        {"most_samples", tap.samples.most()}}.dump();
  }
  for (const auto& [layer, counts] : statistics.expert_tokens) {
    metadata[std::string(kExpertsKey) + layer] = Json(counts).dump();
  }
  return metadata;
}

// What a reader would refuse is a mistake of the caller.
void RequireReadable(const std::string& path, const ModelStatistics& statistics) {
  const StatisticsOrigin& origin = statistics.origin;
  const auto require = [&](bool holds, std::string_view what) {
    if (!holds) throw Error(ErrorKind::kInternal, Place(path), fmt::format("statistics {}", what));
  };
  require(origin.calibration.size() == 64 && origin.weights.size() == 64 && !origin.code_version.empty() &&
              origin.tokens > 0,
          "whose origin is not known");
  for (const auto& [name, tap] : statistics.taps) {
    require(tap.tokens <= origin.tokens, name + " of more tokens than the calibration set has");
    tap.RequireFinite(name);
  }
}

}  // namespace

std::string StatisticsFileName(size_t layer) {
  return fmt::format("statistics-{:05}.safetensors", layer);
}

std::string WriteStatistics(const std::string& path, const ModelStatistics& statistics) {
  RequireReadable(path, statistics);
  std::map<std::string, std::string> metadata = MetadataOf(statistics);
  const std::vector<Part> parts = PartsOf(statistics);
  StatisticsHash hash(metadata);
  for (const Part& part : parts) {
    hash.Tensor(part.name);
    part.write([&](std::span<const std::byte> bytes) { hash.Bytes(bytes); });
  }
  const std::string content = hash.Hex();
  metadata[std::string(kContentKey)] = content;

  SafetensorsWriter writer(path);
  for (const auto& [key, value] : metadata) writer.SetMetadata(key, value);
  for (const Part& part : parts) writer.Declare(part.name, part.type, part.shape);
  writer.Begin();
  for (const Part& part : parts) {
    part.write([&](std::span<const std::byte> bytes) { writer.Write(bytes); });
  }
  writer.Commit();
  return content;
}

void RequireOrigin(const StatisticsOrigin& found, const StatisticsOrigin& expected, const std::string& path) {
  const auto require = [&](std::string_view key, const std::string& is, const std::string& wanted) {
    if (is == wanted) return;
    throw Error(ErrorKind::kConflict, Place(path).Key(kOriginKey).Key(key),
                fmt::format("is {}, expected {}", Printable(is, 80), wanted))
        .Hint("the statistics were made from something else; delete them and calibrate again");
  };
  require("calibration", found.calibration, expected.calibration);
  require("weights", found.weights, expected.weights);
  require("code_version", found.code_version, expected.code_version);
  require("tokens", fmt::format("{}", found.tokens), fmt::format("{}", expected.tokens));
}

}  // namespace lowbit
