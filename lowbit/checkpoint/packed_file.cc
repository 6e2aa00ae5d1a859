// SPDX-License-Identifier: Apache-2.0
// Files of packed tensors: WritePackedFile and ReadPackedFile of artefact.h.
#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <vector>

#include "lowbit/base/hash.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/checkpoint/json_fields.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {
namespace {

constexpr std::string_view kSettingsKey = "packed:";  // followed by the tensor's name
constexpr std::string_view kContentKey = "content";
constexpr std::string_view kNotesKey = "notes";
constexpr std::string_view kErrorKey = "squared_error";         // [Σ (w - ŵ)², Σ w²]
constexpr std::string_view kOutputErrorsKey = "output_errors";  // OutputErrors
constexpr std::string_view kVersionKey = "lowbit_packed";
constexpr std::string_view kVersion = "1";

std::string SettingsText(const PackedTensor& p) {
  Json json;
  json["format"] = Name(p.format);
  json["bits"] = p.bits;
  json["symmetric"] = p.symmetric;
  json["rows"] = p.rows;
  json["cols"] = p.cols;
  json["group_size"] = p.group_size;
  json["scales"] = Name(p.scale_type);
  if (!p.column_order.empty()) json["ordered"] = true;
  if (p.input.rotation != 0) json["input_rotation"] = p.input.rotation;
  if (p.input.bits != 0) json["input_bits"] = p.input.bits;
  if (p.input.scale != 0) json["input_scale"] = p.input.scale;
  return json.dump();
}

// Values as they are stored: exact, because scales and means were rounded to the type when they were chosen.
std::vector<std::byte> StoredFloats(std::span<const float> values, DType type) {
  std::vector<std::byte> bytes(values.size() * SizeOf(type));
  if (type == DType::kF32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const F16 stored = ToF16(values[i]);
    LOWBIT_ASSERT(ToFloat(stored) == values[i]);
    std::memcpy(bytes.data() + i * sizeof(F16), &stored, sizeof(F16));
  }
  return bytes;
}

// One stored tensor of the up to four that make a packed one.
struct Part {
  std::string name;
  DType type;
  Shape shape;
  std::vector<std::byte> owned;  // empty for what is stored as it is
  std::span<const std::byte> borrowed;

  std::span<const std::byte> bytes() const { return owned.empty() ? borrowed : owned; }
};

std::vector<Part> PartsOf(const std::string& name, const PackedTensor& p) {
  const Shape per_group = {p.rows, p.Groups()};
  const bool is_planes = p.format == PackFormat::kPlanes;
  const Shape of_scales = is_planes ? Shape{p.rows, p.Groups(), kPlaneScalars} : per_group;
  const auto bytes = [](const std::vector<uint8_t>& v) { return std::as_bytes(std::span(v)); };
  std::vector<Part> parts;
  parts.push_back({name + ".scales", p.scale_type, of_scales, StoredFloats(p.scales, p.scale_type), {}});
  if (!p.means.empty()) {
    parts.push_back({name + ".means", p.scale_type, per_group, StoredFloats(p.means, p.scale_type), {}});
  }
  if (!p.column_order.empty()) {
    parts.push_back({name + ".order", DType::kI32, {p.cols}, {}, std::as_bytes(std::span(p.column_order))});
  }
  parts.push_back({name + ".codes", DType::kU8, {p.rows, p.RowBytes()}, {}, bytes(p.codes)});
  if (!p.zeros.empty()) parts.push_back({name + ".zeros", DType::kU8, per_group, {}, bytes(p.zeros)});
  if (is_planes) {
    parts.push_back({name + ".salient", DType::kU8, {p.salient.size()}, {}, bytes(p.salient)});
  }
  return parts;
}

// Everything a file holds, in the order it is written.
std::vector<Part> AllParts(const LayerPatch& patch) {
  std::vector<Part> parts;
  for (const auto& [name, packed] : patch.packed)
    std::ranges::move(PartsOf(name, packed), std::back_inserter(parts));
  for (const auto& [name, vector] : patch.vectors) {
    parts.push_back({name, DType::kF32, {vector.size()}, {}, std::as_bytes(std::span(vector))});
  }
  // Wide types first: then every tensor is aligned for its type.
  std::ranges::stable_sort(parts, std::greater(), [](const Part& part) { return SizeOf(part.type); });
  return parts;
}

std::string HashOf(const LayerPatch& patch, const std::vector<Part>& parts) {
  Sha256 hash;
  for (const auto& [name, packed] : patch.packed) hash.Update(name + "\n" + SettingsText(packed) + "\n");
  for (const auto& [name, vector] : patch.vectors) hash.Update(fmt::format("{}\n{}\n", name, vector.size()));
  for (const std::string& note : patch.notes) hash.Update("note " + note + "\n");
  if (patch.squared_error) hash.Update("error " + Json(*patch.squared_error).dump() + "\n");
  if (patch.output_errors) hash.Update("output errors " + ToText(*patch.output_errors) + "\n");
  for (const Part& part : parts) hash.Update(part.bytes());  // the settings give their sizes
  return hash.Hex();
}

struct StoredSettings {
  PackedSettings settings;
  bool is_ordered = false;  // columns are not in their own order
};

StoredSettings ParseSettings(const std::string& text, const Place& place) {
  const Json json = ParseJson(text, place);
  JsonFields fields(json, place);
  const std::string format = fields.String("format"), scales = fields.String("scales");
  StoredSettings stored;
  PackedSettings& s = stored.settings;
  s.bits = static_cast<int>(fields.Unsigned("bits", 1, 8));
  s.symmetric = fields.Boolean("symmetric");
  s.rows = fields.Unsigned("rows", 1);
  s.cols = fields.Unsigned("cols", 1);
  s.group_size = fields.Unsigned("group_size", 1, s.cols);
  stored.is_ordered = json.contains("ordered") && fields.Boolean("ordered");
  if (json.contains("input_rotation")) s.input.rotation = fields.Unsigned("input_rotation", 1, s.cols);
  if (json.contains("input_bits")) s.input.bits = static_cast<int>(fields.Unsigned("input_bits", 2, 8));
  if (json.contains("input_scale")) s.input.scale = static_cast<float>(fields.NonNegative("input_scale"));
  fields.RefuseOthers();
  const auto refuse = [&](std::string_view key, const std::string& got, std::string_view expected) {
    throw Error(ErrorKind::kContent, fields.At(key),
                fmt::format("\"{}\", expected {}", Printable(got, 40), expected));
  };
  for (const PackFormat each : {PackFormat::kBinary, PackFormat::kPlanes}) {
    if (format == Name(each)) s.format = each;
  }
  if (format != Name(s.format)) refuse("format", format, "uniform, binary or planes");
  s.scale_type = scales == Name(DType::kF32) ? DType::kF32 : DType::kF16;
  if (scales != Name(s.scale_type)) refuse("scales", scales, "F16 or F32");
  return stored;
}

// The settings of a tensor in a file, and where they stand.
StoredSettings SettingsOf(const SafetensorsFile& file, const std::string& name, const std::string& text) {
  return ParseSettings(
      text, Place(file.path()).Key("__metadata__").Key(std::string(kSettingsKey) + Printable(name)));
}

// Takes one packed tensor out of a file, everything checked before it is copied.
class TensorReader {
 public:
  TensorReader(const SafetensorsFile& file, std::string name, const std::string& settings)
      : file_(file), name_(std::move(name)), place_(Place(file.path()).Tensor(Printable(name_))) {
    const StoredSettings stored = SettingsOf(file, name_, settings);
    static_cast<PackedSettings&>(packed_) = stored.settings;
    ReadCodes();
    ReadGroups();
    if (packed_.format == PackFormat::kPlanes) ReadFlags();
    if (stored.is_ordered) ReadOrder();
    Validate(packed_, place_);
  }

  PackedTensor Take() { return std::move(packed_); }
  const std::vector<std::string>& used() const { return used_; }

 private:
  void ReadCodes() {
    const TensorView codes = Get(".codes", DType::kU8);
    // The shape is bounded by the file; rows and cols are not yet, so they are compared, not multiplied.
    const size_t row_bytes = codes.shape.size() == 2 ? codes.shape[1] : 0;
    const bool fits = row_bytes != 0 && codes.shape[0] == packed_.rows && packed_.cols / 8 <= row_bytes &&
                      packed_.RowBytes() == row_bytes;
    if (!fits) {
      throw Error(ErrorKind::kContent, place_.Item("codes"),
                  fmt::format("shape {}, expected rows of {} codes of {} bits, {} of them",
                              ShapeText(codes.shape), packed_.cols, packed_.bits, packed_.rows));
    }
    Copy(codes, packed_.codes);
  }

  void ReadGroups() {
    Floats(".scales", packed_.scales, packed_.ScalesPerGroup());
    if (packed_.format == PackFormat::kBinary) Floats(".means", packed_.means, 1);
    if (packed_.format == PackFormat::kUniform && !packed_.symmetric) {
      Copy(PerGroup(".zeros", DType::kU8), packed_.zeros);
    }
  }

  // Which columns are salient.
  void ReadFlags() {
    const TensorView flags = Get(".salient", DType::kU8);
    const size_t bytes = (packed_.cols + 7) / 8;
    if (flags.shape != Shape{bytes}) {
      throw Error(ErrorKind::kContent, Place(file_.path()).Tensor(Printable(name_ + ".salient")),
                  fmt::format("shape {}, expected [{}] (a bit per column)", ShapeText(flags.shape), bytes));
    }
    Copy(flags, packed_.salient);
  }

  // Which column each position holds. Validate checks that none is missing; negative numbers become large.
  void ReadOrder() {
    const TensorView order = Get(".order", DType::kI32);
    if (order.shape != Shape{packed_.cols}) {
      throw Error(ErrorKind::kContent, Place(file_.path()).Tensor(Printable(name_ + ".order")),
                  fmt::format("shape {}, expected [{}] (columns)", ShapeText(order.shape), packed_.cols));
    }
    packed_.column_order.resize(packed_.cols);
    std::memcpy(packed_.column_order.data(), order.bytes.data(), order.bytes.size());
  }

  TensorView Get(const std::string& suffix, DType type) {
    const std::string full = name_ + suffix;
    const TensorView view = file_.Get(full);
    if (view.type != type) {
      throw Error(ErrorKind::kContent, Place(file_.path()).Tensor(Printable(full)),
                  fmt::format("dtype {}, expected {}", Name(view.type), Name(type)));
    }
    used_.push_back(full);
    return view;
  }

  TensorView PerGroup(const std::string& suffix, DType type, size_t each = 1) {
    const TensorView view = Get(suffix, type);
    Shape expected = {packed_.rows, packed_.Groups()};
    if (each > 1) expected.push_back(each);
    if (view.shape != expected) {
      throw Error(ErrorKind::kContent, Place(file_.path()).Tensor(Printable(name_ + suffix)),
                  fmt::format("shape {}, expected {} (rows × groups{})", ShapeText(view.shape),
                              ShapeText(expected), each > 1 ? " × scalars" : ""));
    }
    return view;
  }

  void Floats(const std::string& suffix, std::vector<float>& out, size_t each) {
    out = ToFloatVector(PerGroup(suffix, packed_.scale_type, each));
  }

  static void Copy(const TensorView& view, std::vector<uint8_t>& out) {
    out.resize(view.bytes.size());
    std::memcpy(out.data(), view.bytes.data(), out.size());
  }

  const SafetensorsFile& file_;
  std::string name_;
  Place place_;
  PackedTensor packed_;
  std::vector<std::string> used_;
};

const std::string& MetadataOf(const SafetensorsFile& file, std::string_view key) {
  const auto it = file.header().metadata.find(std::string(key));
  if (it != file.header().metadata.end()) return it->second;
  throw Error(ErrorKind::kContent, Place(file.path()).Key("__metadata__").Key(key),
              "missing, expected a file of packed tensors");
}

void CheckContent(const SafetensorsFile& file, const LayerPatch& patch, std::string_view expected) {
  const std::string& stored = MetadataOf(file, kContentKey);
  const std::string actual = ContentHash(patch);
  const auto refuse = [&](std::string_view wanted, std::string_view by) {
    throw Error(
        ErrorKind::kContent, Place(file.path()),
        fmt::format("the content has hash {}, expected {} as {} says", actual, Printable(wanted, 80), by))
        .Hint("the file was damaged or exchanged; delete it and quantize again");
  };
  if (actual != stored) refuse(stored, "its header");
  if (!expected.empty() && actual != expected) refuse(expected, kArtefactManifest);
}

}  // namespace

std::string ContentHash(const LayerPatch& patch) {
  return HashOf(patch, AllParts(patch));
}

std::string WritePackedFile(const std::string& path, const LayerPatch& patch) {
  const std::vector<Part> parts = AllParts(patch);
  std::string hash = HashOf(patch, parts);
  SafetensorsWriter writer(path);
  writer.SetMetadata(std::string(kVersionKey), std::string(kVersion));
  writer.SetMetadata(std::string(kContentKey), hash);
  if (patch.squared_error) writer.SetMetadata(std::string(kErrorKey), Json(*patch.squared_error).dump());
  if (patch.output_errors) writer.SetMetadata(std::string(kOutputErrorsKey), ToText(*patch.output_errors));
  if (!patch.notes.empty()) writer.SetMetadata(std::string(kNotesKey), Json(patch.notes).dump());
  for (const auto& [name, packed] : patch.packed) {
    writer.SetMetadata(std::string(kSettingsKey) + name, SettingsText(packed));
  }
  for (const Part& part : parts) writer.Declare(part.name, part.type, part.shape);
  writer.Begin();
  for (const Part& part : parts) writer.Write(part.bytes());
  writer.Commit();
  return hash;
}

namespace {

std::vector<std::string> ParseNotes(const std::string& text, const Place& place) {
  std::vector<std::string> notes;
  const Json json = ParseJson(text, place);
  const auto refuse = [&] { throw Error(ErrorKind::kContent, place, "expected a list of texts"); };
  if (!json.is_array()) refuse();
  for (const Json& note : json) {
    if (!note.is_string()) refuse();
    notes.push_back(note.get<std::string>());
  }
  return notes;
}

std::pair<double, double> ParseError(const std::string& text, const Place& place) {
  const Json json = ParseJson(text, place);
  const auto is_sum = [](const Json& value) { return value.is_number() && value.get<double>() >= 0; };
  if (!json.is_array() || json.size() != 2 || !is_sum(json[0]) || !is_sum(json[1])) {
    throw Error(ErrorKind::kContent, place, "expected two sums of squares");
  }
  return {json[0].get<double>(), json[1].get<double>()};
}

// A tensor that is no part of a packed one: finite f32 values in a row.
std::vector<float> ReadVector(const SafetensorsFile& file, const TensorEntry& entry) {
  const TensorView view = file.Get(entry.name);
  const Place place = Place(file.path()).Tensor(Printable(entry.name));
  if (view.type != DType::kF32 || view.shape.size() != 1) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("belongs to no packed tensor, expected codes, scales, zeros, means, salient or "
                            "order of one, or a "
                            "vector of F32, not {} {}",
                            Name(view.type), ShapeText(view.shape)));
  }
  RequireFinite(view, entry.name, file.path());
  return ToFloatVector(view);
}

LayerPatch ReadPacked(const SafetensorsFile& file, std::string_view content) {
  const std::string& path = file.path();
  if (const std::string& version = MetadataOf(file, kVersionKey); version != kVersion) {
    throw Error(ErrorKind::kContent, Place(path).Key("__metadata__").Key(kVersionKey),
                fmt::format("\"{}\", expected \"{}\"", Printable(version, 40), kVersion));
  }
  LayerPatch patch;
  std::set<std::string, std::less<>> used;
  for (const auto& [key, settings] : file.header().metadata) {
    if (key.starts_with(kSettingsKey)) {
      const std::string name = key.substr(kSettingsKey.size());
      TensorReader reader(file, name, settings);
      used.insert(reader.used().begin(), reader.used().end());
      patch.packed.emplace(name, reader.Take());
    } else if (key == kNotesKey) {
      patch.notes = ParseNotes(settings, Place(path).Key("__metadata__").Key(kNotesKey));
    } else if (key == kErrorKey) {
      patch.squared_error = ParseError(settings, Place(path).Key("__metadata__").Key(kErrorKey));
    } else if (key == kOutputErrorsKey) {
      patch.output_errors =
          ParseOutputErrors(settings, Place(path).Key("__metadata__").Key(kOutputErrorsKey));
    } else if (key != kVersionKey && key != kContentKey) {
      throw Error(ErrorKind::kContent, Place(path).Key("__metadata__").Key(Printable(key, 100)),
                  "unknown key");
    }
  }
  for (const TensorEntry& entry : file.header().tensors) {
    if (!used.contains(entry.name)) patch.vectors.emplace(entry.name, ReadVector(file, entry));
  }
  CheckContent(file, patch, content);
  return patch;
}

}  // namespace

std::map<std::string, PackedSettings> ReadPackedSettings(const std::string& path) {
  const SafetensorsFile file(path);
  std::map<std::string, PackedSettings> all;
  for (const auto& [key, text] : file.header().metadata) {
    if (!key.starts_with(kSettingsKey)) continue;
    const std::string name = key.substr(kSettingsKey.size());
    all[name] = SettingsOf(file, name, text).settings;
  }
  return all;
}

LayerPatch ReadPackedFile(const std::string& path, std::string_view content) {
  const SafetensorsFile file(path);
  try {
    LayerPatch patch = ReadPacked(file, content);
    file.RequireIntact();
    return patch;
  } catch (const Error&) {
    file.RequireIntact();  // what is wrong with it otherwise, zeros in place of bytes may have caused
    throw;
  }
}

LayerPatch ParsePackedFile(std::span<const std::byte> file, const std::string& path,
                           std::string_view content) {
  return ReadPacked(SafetensorsFile(file, path), content);
}

}  // namespace lowbit
