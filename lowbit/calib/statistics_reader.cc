// SPDX-License-Identifier: Apache-2.0
// ReadStatistics of statistics_file.h.
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>

#include "lowbit/base/json.h"
#include "lowbit/calib/statistics_file.h"
#include "lowbit/calib/statistics_format.h"
#include "lowbit/checkpoint/json_fields.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {
namespace {

constexpr uint64_t kMostTokens = uint64_t{1} << 48;
constexpr uint64_t kMostSamples = uint64_t{1} << 24;

Place MetadataPlace(const SafetensorsFile& file, std::string_view key) {
  return Place(file.path()).Key("__metadata__").Key(Printable(key, 100));
}

const std::string& MetadataOf(const SafetensorsFile& file, std::string_view key) {
  const auto it = file.header().metadata.find(std::string(key));
  if (it != file.header().metadata.end()) return it->second;
  throw Error(ErrorKind::kContent, MetadataPlace(file, key), "missing, expected a file of statistics");
}

// Takes one tap out of a file, everything checked before it is copied.
class TapReader {
 public:
  TapReader(const SafetensorsFile& file, std::string name, const std::string& settings, ReadGrams grams,
            uint64_t set_tokens)
      : file_(file), name_(std::move(name)) {
    const Place place = MetadataPlace(file, std::string(kTapKey) + name_);
    const Json json = ParseJson(settings, place);
    JsonFields fields(json, place);
    const uint64_t width = fields.Unsigned("width", 1, kWidestTap);
    const uint64_t tokens = fields.Unsigned("tokens", 0, set_tokens);
    const bool with_gram = fields.Boolean("gram");
    const uint64_t first = fields.Unsigned("first_token", 0, kMostTokens);
    const uint64_t most = fields.Unsigned("most_samples", 0, kMostSamples);
    fields.RefuseOthers();

    // Every size is held against the file before memory is taken.
    const TensorView sum_abs = Tensor(".sum_abs", DType::kU8, {width, sizeof(double)});
    const TensorView max_abs = Tensor(".max_abs", DType::kF32, {width});
    TensorView gram;
    if (with_gram) gram = Tensor(".gram", DType::kU8, GramShape(width));
    const SampleRows::Kept kept = SampleRows::KeptOf(most, first, tokens);
    TensorView samples;
    if (kept.rows > 0) samples = Tensor(".samples", DType::kF32, {kept.rows, width});

    statistics_ = InputStatistics(width, with_gram && grams == ReadGrams::kYes);
    statistics_.tokens = tokens;
    Copy(sum_abs, std::as_writable_bytes(std::span(statistics_.sum_abs)));
    Copy(max_abs, std::as_writable_bytes(std::span(statistics_.max_abs)));
    CheckSums();
    if (with_gram) ReadGram(gram);
    std::vector<float> rows(kept.rows * width);
    if (kept.rows > 0) Copy(samples, std::as_writable_bytes(std::span(rows)));
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!std::isfinite(rows[i])) Refuse(".samples", i, static_cast<double>(rows[i]), "a finite number");
    }
    statistics_.samples = SampleRows::Restore(width, most, first, tokens, std::move(rows));
  }

  InputStatistics Take() { return std::move(statistics_); }
  const std::vector<std::string>& used() const { return used_; }

 private:
  TensorView Tensor(std::string_view suffix, DType type, const Shape& shape) {
    used_.push_back(name_ + std::string(suffix));
    const TensorView view = file_.Get(used_.back());
    if (view.type == type && view.shape == shape) return view;
    throw Error(ErrorKind::kContent, TensorPlace(suffix),
                fmt::format("is {} {}, expected {} {}", Name(view.type), ShapeText(view.shape), Name(type),
                            ShapeText(shape)));
  }

  Place TensorPlace(std::string_view suffix) const {
    return Place(file_.path()).Tensor(Printable(name_) + std::string(suffix));
  }

  [[noreturn]] void Refuse(std::string_view suffix, size_t element, double value,
                           std::string_view expected) const {
    throw Error(ErrorKind::kContent, TensorPlace(suffix).Item(fmt::format("element {}", element)),
                fmt::format("is {}, expected {}", value, expected));
  }

  static void Copy(const TensorView& view, std::span<std::byte> out) {
    std::memcpy(out.data(), view.bytes.data(), out.size());
  }

  void CheckSums() const {
    const auto check = [&](std::string_view suffix, size_t j, double value) {
      if (!std::isfinite(value) || value < 0)
        Refuse(suffix, j, value, "a finite number that is not negative");
      if (statistics_.tokens == 0 && value != 0) Refuse(suffix, j, value, "0, as no token was seen");
    };
    for (size_t j = 0; j < statistics_.width; ++j) {
      check(".sum_abs", j, statistics_.sum_abs[j]);
      check(".max_abs", j, static_cast<double>(statistics_.max_abs[j]));
    }
  }

  void ReadGram(const TensorView& view) {
    const size_t width = statistics_.width;
    const bool keeps = statistics_.gram.size() > 0;
    std::vector<double> row(width);
    size_t at = 0;  // elements
    for (size_t i = 0; i < width; ++i) {
      const std::span<double> values(row.data(), width - i);
      std::memcpy(values.data(), view.bytes.data() + at * sizeof(double), values.size_bytes());
      for (size_t j = 0; j < values.size(); ++j) {
        if (!std::isfinite(values[j])) Refuse(".gram", at + j, values[j], "a finite number");
      }
      if (values[0] < 0) Refuse(".gram", at, values[0], "a sum of squares, on the diagonal");
      if (keeps) std::copy(values.begin(), values.end(), &statistics_.gram[i * width + i]);
      at += values.size();
    }
  }

  const SafetensorsFile& file_;
  std::string name_;
  InputStatistics statistics_;
  std::vector<std::string> used_;
};

StatisticsOrigin ReadOrigin(const SafetensorsFile& file) {
  const Place place = MetadataPlace(file, kOriginKey);
  const Json json = ParseJson(MetadataOf(file, kOriginKey), place);
  JsonFields fields(json, place);
  StatisticsOrigin origin;
  origin.calibration = fields.Sha256("calibration");
  origin.weights = fields.Sha256("weights");
  origin.code_version = fields.String("code_version");
  origin.tokens = fields.Unsigned("tokens", 1, kMostTokens);
  fields.RefuseOthers();
  return origin;
}

std::vector<uint64_t> ReadExperts(const SafetensorsFile& file, const std::string& key,
                                  const std::string& text, uint64_t set_tokens) {
  const Place place = MetadataPlace(file, key);
  const Json json = ParseJson(text, place);
  if (!json.is_array() || json.empty()) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("is {}, expected a list of tokens by expert", JsonPreview(json)));
  }
  std::vector<uint64_t> counts;
  for (const Json& entry : json) {
    if (!entry.is_number_unsigned() || entry.get<uint64_t>() > set_tokens) {
      throw Error(ErrorKind::kContent, place.Item(fmt::format("entry {}", counts.size())),
                  fmt::format("is {}, expected at most the {} tokens of the calibration set",
                              JsonPreview(entry), set_tokens));
    }
    counts.push_back(entry.get<uint64_t>());
  }
  return counts;
}

// A tap "LAYERmlp_mid.E" saw just the tokens that went to expert E.
void CheckExperts(const SafetensorsFile& file, const ModelStatistics& statistics) {
  for (const auto& [name, tap] : statistics.taps) {
    constexpr std::string_view kStage = "mlp_mid.";
    const size_t at = name.rfind(kStage);
    if (at == std::string::npos) continue;
    const std::string layer = name.substr(0, at), number = name.substr(at + kStage.size());
    size_t expert = 0;
    const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), expert);
    const auto counts = statistics.expert_tokens.find(layer);
    const bool known = code == std::errc() && end == number.data() + number.size() &&
                       counts != statistics.expert_tokens.end() && expert < counts->second.size();
    if (!known) {
      throw Error(ErrorKind::kContent, MetadataPlace(file, std::string(kTapKey) + name),
                  fmt::format("no such expert, expected one of '{}{}'", kExpertsKey, Printable(layer)));
    }
    if (counts->second[expert] == tap.tokens) continue;
    throw Error(ErrorKind::kContent, MetadataPlace(file, std::string(kTapKey) + name).Key("tokens"),
                fmt::format("is {}, expected {} as '{}{}' says", tap.tokens, counts->second[expert],
                            kExpertsKey, Printable(layer)));
  }
}

void CheckContent(const SafetensorsFile& file) {
  StatisticsHash hash(file.header().metadata);
  for (const TensorEntry& entry : file.header().tensors) {
    hash.Tensor(entry.name);
    hash.Bytes(file.View(entry).bytes);
  }
  const std::string actual = hash.Hex();
  const std::string& stored = MetadataOf(file, kContentKey);
  if (actual == stored) return;
  throw Error(
      ErrorKind::kContent, Place(file.path()),
      fmt::format("the content has hash {}, expected {} as its header says", actual, Printable(stored, 80)))
      .Hint("the file was damaged; delete it and calibrate again");
}

ModelStatistics Read(const SafetensorsFile& file, ReadGrams grams) {
  if (const std::string& version = MetadataOf(file, kStatisticsVersionKey); version != kStatisticsVersion) {
    throw Error(ErrorKind::kContent, MetadataPlace(file, kStatisticsVersionKey),
                fmt::format("\"{}\", expected \"{}\"", Printable(version, 40), kStatisticsVersion));
  }
  ModelStatistics statistics;
  statistics.origin = ReadOrigin(file);
  std::set<std::string, std::less<>> used;
  for (const auto& [key, value] : file.header().metadata) {
    if (key.starts_with(kTapKey)) {
      const std::string name = key.substr(kTapKey.size());
      TapReader reader(file, name, value, grams, statistics.origin.tokens);
      used.insert(reader.used().begin(), reader.used().end());
      statistics.taps.emplace(name, reader.Take());
    } else if (key.starts_with(kExpertsKey)) {
      statistics.expert_tokens.emplace(key.substr(kExpertsKey.size()),
                                       ReadExperts(file, key, value, statistics.origin.tokens));
    } else if (key != kStatisticsVersionKey && key != kOriginKey && key != kContentKey) {
      throw Error(ErrorKind::kContent, MetadataPlace(file, key), "unknown key");
    }
  }
  for (const TensorEntry& entry : file.header().tensors) {
    if (used.contains(entry.name)) continue;
    throw Error(ErrorKind::kContent, Place(file.path()).Tensor(Printable(entry.name)), "belongs to no tap");
  }
  CheckExperts(file, statistics);
  CheckContent(file);
  return statistics;
}

}  // namespace

ModelStatistics ReadStatistics(const std::string& path, ReadGrams grams) {
  const SafetensorsFile file(path);
  try {
    ModelStatistics statistics = Read(file, grams);
    file.RequireIntact();
    return statistics;
  } catch (const Error&) {
    file.RequireIntact();  // what is wrong with it otherwise, zeros in place of bytes may have caused
    throw;
  }
}

ModelStatistics ParseStatistics(std::span<const std::byte> file, const std::string& path, ReadGrams grams) {
  return Read(SafetensorsFile(file, path), grams);
}

}  // namespace lowbit
