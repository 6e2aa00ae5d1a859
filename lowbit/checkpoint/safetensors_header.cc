// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/safetensors_header.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <utility>

#include "lowbit/base/json_reader.h"

namespace lowbit {
namespace {

constexpr size_t kMaxRank = 32;

// Bytes of memory that a parsed header may need; each tensor counts with its name, its shape and what maps
// and indices over it will add. Enough for 100,000 tensors of usual names in one file; a model of 30 B
// parameters in 128 experts per layer has 18,900 in all.
constexpr size_t kMaxKeptBytes = size_t{24} << 20;
constexpr size_t kBytesPerTensor = sizeof(TensorEntry) + 64;

// Every type of the format, also those that lowbit does not read: their sizes are checked all the same.
struct FormatType {
  std::string_view name;
  uint64_t bits;
};
constexpr std::array kFormatTypes = {
    FormatType{"BF16", 16},       FormatType{"F16", 16},    FormatType{"F32", 32},
    FormatType{"F64", 64},        FormatType{"C64", 64},    FormatType{"I64", 64},
    FormatType{"I32", 32},        FormatType{"I16", 16},    FormatType{"I8", 8},
    FormatType{"U64", 64},        FormatType{"U32", 32},    FormatType{"U16", 16},
    FormatType{"U8", 8},          FormatType{"BOOL", 8},    FormatType{"F8_E4M3", 8},
    FormatType{"F8_E5M2", 8},     FormatType{"F8_E8M0", 8}, FormatType{"F8_E4M3FNUZ", 8},
    FormatType{"F8_E5M2FNUZ", 8}, FormatType{"F6_E2M3", 6}, FormatType{"F6_E3M2", 6},
    FormatType{"F4", 4},
};

const FormatType* FindFormatType(std::string_view name) {
  const auto* row = std::ranges::find(kFormatTypes, name, &FormatType::name);
  return row == kFormatTypes.end() ? nullptr : row;
}

class HeaderParser {
 public:
  HeaderParser(std::string_view json, const Place& place)
      : place_(place), reader_(json, place, kLengthBytes) {}

  SafetensorsHeader Parse() {
    std::string name;
    reader_.BeginObject();
    while (reader_.NextKey(name)) {
      if (name == "__metadata__") {
        ParseMetadata();
      } else {
        ParseEntry(std::move(name));
      }
    }
    reader_.End();
    RefuseEqualNames();
    return std::move(header_);
  }

 private:
  using Type = JsonReader::Type;

  [[noreturn]] static void Refuse(const Place& place, std::string message) {
    throw Error(ErrorKind::kContent, place, std::move(message));
  }
  [[noreturn]] void Refuse(const TensorEntry& entry, std::string message) const {
    Refuse(place_.Tensor(Printable(entry.name)), std::move(message));
  }

  // Counts memory before it is used.
  void Keep(size_t bytes) {
    kept_ += bytes;
    if (kept_ <= kMaxKeptBytes) return;
    Refuse(
        place_.Byte(reader_.Position()),
        fmt::format("the header lists more than lowbit keeps in memory ({} tensors so far), expected at most "
                    "{} MiB of names, shapes and metadata",
                    header_.tensors.size(), kMaxKeptBytes >> 20));
  }

  void ParseMetadata() {
    const Place place = place_.Key("__metadata__");
    if (std::exchange(has_metadata_, true)) Refuse(place, "is there twice");
    if (reader_.Peek() != Type::kObject) {
      Refuse(place, fmt::format("{}, expected an object of strings", reader_.Preview()));
    }
    std::string key;
    reader_.BeginObject();
    while (reader_.NextKey(key)) {
      if (reader_.Peek() != Type::kString) {
        Refuse(place.Key(Printable(key)), fmt::format("{}, expected a string", reader_.Preview()));
      }
      std::string value = reader_.String(kMaxKeptBytes);
      Keep(key.size() + value.size() + 128);
      const auto [entry, is_new] = header_.metadata.emplace(std::move(key), std::move(value));
      if (!is_new) Refuse(place.Key(Printable(entry->first)), "is there twice");
    }
  }

  void ParseEntry(std::string name) {
    Keep(name.size() + kBytesPerTensor);
    TensorEntry entry;
    entry.name = std::move(name);
    Require(entry, "", Type::kObject, "an object of dtype, shape and data_offsets");
    constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};
    std::array<bool, 3> seen = {};
    std::string field;
    reader_.BeginObject();
    while (reader_.NextKey(field)) {
      const auto index = static_cast<size_t>(std::ranges::find(kFields, field) - kFields.begin());
      if (index == kFields.size()) {
        Refuse(entry,
               fmt::format("unknown field '{}', expected dtype, shape and data_offsets", Printable(field)));
      }
      if (std::exchange(seen[index], true)) Refuse(entry, fmt::format("{} is there twice", field));
      if (index == 0) ParseType(entry);
      if (index == 1) ParseShape(entry);
      if (index == 2) ParseOffsets(entry);
    }
    for (size_t i = 0; i < kFields.size(); ++i) {
      if (!seen[i]) Refuse(entry, fmt::format("{} is missing", kFields[i]));
    }
    CheckSize(entry);
    header_.tensors.push_back(std::move(entry));
  }

  void ParseType(TensorEntry& entry) {
    Require(entry, "dtype", Type::kString, "a string");
    entry.type_name = reader_.String();
    entry.type = ParseDType(entry.type_name);
    if (FindFormatType(entry.type_name) != nullptr) return;
    Refuse(entry, fmt::format("dtype '{}' is none of the format's, expected one such as BF16, F16 or F32",
                              Printable(entry.type_name, 40)));
  }

  void ParseShape(TensorEntry& entry) {
    ParseIntegers(entry, "shape", "a list of sizes", [&](uint64_t size) {
      if (entry.shape.size() == kMaxRank) {
        Refuse(entry, fmt::format("shape has more than {} dimensions", kMaxRank));
      }
      entry.shape.push_back(size);
    });
    Keep(entry.shape.size() * sizeof(size_t));
  }

  void ParseOffsets(TensorEntry& entry) {
    std::array<uint64_t, 2> offsets = {};
    size_t count = 0;
    ParseIntegers(entry, "data_offsets", "a list of two offsets", [&](uint64_t offset) {
      if (count < offsets.size()) offsets[count] = offset;
      ++count;
    });
    if (count != 2) Refuse(entry, fmt::format("data_offsets has {} values, expected 2", count));
    entry.begin = offsets[0];
    entry.end = offsets[1];
    if (entry.begin > entry.end) {
      Refuse(entry, fmt::format("data_offsets [{}, {}] end before they begin", entry.begin, entry.end));
    }
  }

  template <class Take>
  void ParseIntegers(const TensorEntry& entry, std::string_view field, std::string_view expected, Take take) {
    Require(entry, field, Type::kArray, expected);
    const size_t list = reader_.Position();
    reader_.BeginArray();
    while (reader_.NextElement()) {
      const bool is_number = reader_.Peek() == Type::kNumber;
      const size_t element = reader_.Position();
      const std::optional<uint64_t> value = is_number ? ParseUnsigned(reader_.Number()) : std::nullopt;
      if (!value.has_value()) {
        Refuse(entry, fmt::format("{} {} holds {}, expected integers from 0 to 2^64 - 1", field,
                                  reader_.PreviewAt(list), reader_.PreviewAt(element)));
      }
      take(*value);
    }
  }

  void Require(const TensorEntry& entry, std::string_view field, Type type, std::string_view expected) {
    if (reader_.Peek() == type) return;
    Refuse(entry,
           fmt::format("{}{}{}, expected {}", field, field.empty() ? "" : " ", reader_.Preview(), expected));
  }

  // The offsets must give as many bytes as type and shape need.
  void CheckSize(const TensorEntry& entry) const {
    uint64_t bits = FindFormatType(entry.type_name)->bits;
    uint64_t elements = 1;
    bool overflow = false;
    for (const size_t n : entry.shape) overflow |= __builtin_mul_overflow(elements, n, &elements);
    overflow |= __builtin_mul_overflow(elements, bits, &bits);
    const std::string_view type = entry.type_name;
    if (overflow)
      Refuse(entry, fmt::format("shape {} of {} overflows 64 bits", ShapeText(entry.shape), type));
    const uint64_t given = entry.end - entry.begin;
    if (bits % 8 == 0 && bits / 8 == given) return;
    const std::string needed = bits % 8 == 0 ? fmt::format("{}", bits / 8) : fmt::format("{} bits", bits);
    Refuse(entry, fmt::format("data_offsets [{}, {}] hold {} bytes, expected {} for shape {} of {}",
                              entry.begin, entry.end, given, needed, ShapeText(entry.shape), type));
  }

  void RefuseEqualNames() const {
    const std::vector<TensorEntry>& tensors = header_.tensors;
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto name = [&](size_t i) -> const std::string& { return tensors[i].name; };
    std::ranges::sort(order, {}, name);
    const auto twin = std::ranges::adjacent_find(order, {}, name);
    if (twin != order.end()) Refuse(tensors[*twin], "is there twice, expected one entry per name");
  }

  Place place_;
  JsonReader reader_;
  SafetensorsHeader header_;
  size_t kept_ = 0;
  bool has_metadata_ = false;
};

}  // namespace

SafetensorsHeader ParseHeaderText(std::string_view json, const Place& place) {
  return HeaderParser(json, place).Parse();
}

}  // namespace lowbit
