// SPDX-License-Identifier: Apache-2.0
// Files of packed tensors: WritePackedFile and ReadPackedFile of artefact.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <numeric>
#include <random>

#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/checkpoint/packed_testing.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

PackedTensor AsPlanes(PackedTensor p, uint32_t seed) {
  std::mt19937 rng(seed);
  p.format = PackFormat::kPlanes;
  std::vector<float> scales;
  for (const float s : p.scales) {
    for (int i = 0; i < kPlaneScalars; ++i) scales.push_back(i % 2 == 0 ? s : -s);
  }
  p.scales = scales;
  p.zeros.clear();
  for (size_t i = 0; i < (p.cols + 7) / 8; ++i) p.salient.push_back(static_cast<uint8_t>(rng()));
  Validate(p, Place("test"));
  return p;
}

PackedTensor Shuffled(PackedTensor p, uint32_t seed) {
  p.column_order.resize(p.cols);
  std::iota(p.column_order.begin(), p.column_order.end(), 0u);
  std::ranges::shuffle(p.column_order, std::mt19937(seed));
  Validate(p, Place("test"));
  return p;
}

PackedTensors SmallTensors() {
  PackedTensors tensors;
  tensors["a"] = RandomPacked(3, false, 2, 5, 2, DType::kF16, 1);
  tensors["a"].input = {.bits = 8, .scale = 0.25f};
  tensors["b"] = RandomPacked(1, false, 1, 9, 9, DType::kF32, 2);
  tensors["c"] = Shuffled(RandomPacked(2, true, 1, 7, 3, DType::kF16, 3), 4);
  return tensors;
}

// In a file of their own: what is done to every bit of a file takes time with the square of its size.
PackedTensors SmallPlanes() {
  return {{"d", AsPlanes(RandomPacked(2, false, 1, 9, 6, DType::kF16, 5), 6)}};
}

TEST(PackedFile, RoundTripIsExactForEveryFormatWidthAndScaleType) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  PackedTensors tensors;
  uint32_t seed = 0;
  for (const DType type : {DType::kF16, DType::kF32}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const bool symmetric : {false, true}) {
        if (bits == 1 && symmetric) continue;
        const std::string name = fmt::format("{}.{}.{}.weight", Name(type), bits, symmetric);
        tensors[name] = RandomPacked(bits, symmetric, 7, 37, 16, type, ++seed);
      }
    }
  }
  tensors["channel"] = RandomPacked(4, false, 3, 11, 11, DType::kF16, ++seed);
  tensors["ordered"] = Shuffled(RandomPacked(3, false, 5, 37, 16, DType::kF16, ++seed), 5);
  tensors["ordered.f32"] = Shuffled(RandomPacked(3, true, 5, 9, 4, DType::kF32, ++seed), 6);
  tensors["planes"] = AsPlanes(RandomPacked(2, false, 5, 37, 16, DType::kF16, ++seed), 7);
  tensors["planes.f32"] = AsPlanes(RandomPacked(2, false, 3, 8, 8, DType::kF32, ++seed), 8);
  const std::string content = WritePackedFile(path, tensors);
  EXPECT_TRUE(Same(ReadPackedFile(path).packed, tensors));
  EXPECT_TRUE(Same(ReadPackedFile(path, content).packed, tensors));
  EXPECT_EQ(content, ContentHash(tensors));
}

TEST(PackedFile, SettingsAreReadWithoutTheirData) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  PackedTensors tensors = SmallTensors();
  tensors.merge(SmallPlanes());
  tensors["d"].input = {.rotation = 8};
  WritePackedFile(path, LayerPatch(tensors));
  const std::map<std::string, PackedSettings> settings = ReadPackedSettings(path);
  EXPECT_EQ(settings.size(), tensors.size());
  for (const auto& [name, packed] : tensors) {
    EXPECT_EQ(settings.at(name), static_cast<const PackedSettings&>(packed)) << name;
    const size_t held = packed.codes.size() + 4 * (packed.scales.size() + packed.means.size()) +
                        packed.zeros.size() + packed.salient.size();
    EXPECT_EQ(settings.at(name).Bytes(DType::kF32), held) << name;
    EXPECT_EQ(settings.at(name).Bytes(DType::kF16), held - 2 * (packed.scales.size() + packed.means.size()))
        << name;
  }
}

TEST(PackedFile, OutputErrorsComeBackAndAreCovered) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  LayerPatch patch = SmallTensors();
  const std::string without = WritePackedFile(path, patch);
  EXPECT_FALSE(ReadPackedFile(path).output_errors);
  patch.output_errors = OutputErrors{"these rows", {{"layer", 0.1}, {"mlp.up_proj", 5e-324}, {"q", 0}}};
  const std::string content = WritePackedFile(path, patch);
  EXPECT_NE(content, without);
  EXPECT_EQ(ReadPackedFile(path, content).output_errors, patch.output_errors);
  patch.output_errors->inputs = {{"mlp.up_proj", {5e-324, 1.0 / 3}}};
  const std::string with_ranges = WritePackedFile(folder.File("ranges"), patch);
  EXPECT_NE(with_ranges, content);
  EXPECT_EQ(ReadPackedFile(folder.File("ranges"), with_ranges).output_errors, patch.output_errors);
  std::string bytes = ReadFile(path);
  bytes.replace(bytes.find("these rows"), 5, "other");
  EXPECT_THAT(MessageOf([&] { ParsePackedFile(std::as_bytes(std::span(bytes)), "x"); }),
              HasSubstr("the content has hash"));
  const auto says = [&](const std::string& text) {  // in place of the errors, with a header of the same size
    std::string changed = ReadFile(path);
    const size_t begin = changed.find(R"({\"rows\")"), end = changed.find("}}", begin) + 2;
    EXPECT_LT(text.size(), end - begin);
    changed.replace(begin, end - begin, text + std::string(end - begin - text.size(), ' '));
    return MessageOf([&] { ParsePackedFile(std::as_bytes(std::span(changed)), "x"); });
  };
  EXPECT_THAT(says("[]"), HasSubstr("key 'output_errors': a list, expected an object"));
  EXPECT_THAT(says(R"({\"rows\": \"r\", \"relative\": {\"layer\": -1}})"), HasSubstr("key 'layer': -1"));
  EXPECT_THAT(says(R"({\"rows\": \"\", \"relative\": {}})"), HasSubstr("key 'rows'"));
}

TEST(PackedFile, BytesDependOnTheContentOnly) {
  const TestFolder folder;
  WritePackedFile(folder.File("x"), SmallTensors());
  WritePackedFile(folder.File("y"), SmallTensors());
  EXPECT_EQ(ReadFile(folder.File("x")), ReadFile(folder.File("y")));
}

void RefusesEveryFlippedBit(const PackedTensors& tensors) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  WritePackedFile(path, tensors);
  const std::string good = ReadFile(path);
  size_t refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      Overwrite(path, bad);
      try {
        EXPECT_TRUE(Same(ReadPackedFile(path).packed, tensors)) << "byte " << at << " bit " << bit;
      } catch (const Error& e) {
        EXPECT_TRUE(e.kind() == ErrorKind::kContent || e.kind() == ErrorKind::kNumeric) << e.what();
        EXPECT_EQ(e.place().file(), path);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 8 * good.size() * 95 / 100);  // what passes is white space of the header
}

TEST(PackedFile, EveryFlippedBitIsRefusedOrChangesNothing) {
  RefusesEveryFlippedBit(SmallTensors());
}

TEST(PackedFile, EveryFlippedBitOfPlanesIsRefusedOrChangesNothing) {
  RefusesEveryFlippedBit(SmallPlanes());
}

TEST(PackedFile, EveryCutIsRefused) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  for (const PackedTensors& tensors : {SmallTensors(), SmallPlanes()}) {
    WritePackedFile(path, tensors);
    const std::string good = ReadFile(path);
    for (size_t size = 0; size < good.size(); ++size) {
      Overwrite(path, good.substr(0, size));
      EXPECT_NE(MessageOf([&] { ReadPackedFile(path); }), "no error") << size;
    }
  }
}

// A file with one packed tensor "w" of 2 x 10 codes of 4 bits in groups of 4, of which a test changes a part.
struct RawFile {
  std::map<std::string, std::string> metadata = {
      {"lowbit_packed", "1"},
      {"content", std::string(64, '0')},
      {"packed:w",
       R"({"format":"uniform","bits":4,"symmetric":false,"rows":2,"cols":10,"group_size":4,"scales":"F16"})"}};
  struct Tensor {
    DType type;
    Shape shape;
  };
  std::map<std::string, Tensor> tensors = {{"w.codes", {DType::kU8, {2, 5}}},
                                           {"w.scales", {DType::kF16, {2, 3}}},
                                           {"w.zeros", {DType::kU8, {2, 3}}}};

  void Settings(const std::string& from, const std::string& to) {
    std::string& text = metadata["packed:w"];
    text.replace(text.find(from), from.size(), to);
  }
  void MakePlanes() {
    Settings("uniform", "planes");
    Settings("\"bits\":4", "\"bits\":2");
    tensors["w.codes"].shape = {2, 3};
    tensors["w.scales"].shape = {2, 3, 7};
    tensors["w.salient"] = {DType::kU8, {2}};
    tensors.erase("w.zeros");
  }
  std::string MessageWhenRead(const std::string& path) const {
    std::vector<std::vector<std::byte>> data;
    std::vector<NamedTensor> named;
    for (const auto& [name, t] : tensors) {
      data.emplace_back(ElementCount(t.shape) * SizeOf(t.type));
      named.push_back({name, {t.type, t.shape, data.back()}});
    }
    WriteSafetensors(path, named, metadata);
    return MessageOf([&] { ReadPackedFile(path); });
  }
};

TEST(PackedFile, RefusesPartsThatDoNotFitNamingThem) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  struct Row {
    std::function<void(RawFile&)> change;
    const char* message;  // behind the path
  };
  const std::string settings = "key '__metadata__': key 'packed:w': ";
  const std::vector<Row> rows = {
      {[](RawFile&) {}, "the content has hash "},
      {[](RawFile& f) { f.metadata.erase("lowbit_packed"); },
       "key '__metadata__': key 'lowbit_packed': missing, expected a file of packed tensors"},
      {[](RawFile& f) { f.metadata["lowbit_packed"] = "2"; },
       "key '__metadata__': key 'lowbit_packed': \"2\", expected \"1\""},
      {[](RawFile& f) { f.metadata.erase("content"); }, "key '__metadata__': key 'content': missing"},
      {[](RawFile& f) { f.metadata["extra"] = ""; }, "key '__metadata__': key 'extra': unknown key"},
      {[](RawFile& f) { f.metadata["packed:w"] = "{"; },
       "key '__metadata__': key 'packed:w': byte 1: not valid JSON"},
      {[](RawFile& f) { f.metadata["packed:w"] = "[]"; },
       "key '__metadata__': key 'packed:w': a list, expected an object"},
      {[](RawFile& f) { f.Settings("\"bits\":4,", ""); },
       "key '__metadata__': key 'packed:w': key 'bits': missing"},
      {[](RawFile& f) { f.Settings("\"bits\":4", "\"bits\":9"); },
       "key '__metadata__': key 'packed:w': key 'bits': 9, expected an integer from 1 to 8"},
      {[](RawFile& f) { f.Settings("\"bits\":4", "\"bits\":4.0"); },
       "key '__metadata__': key 'packed:w': key 'bits': 4.0, expected"},
      {[](RawFile& f) { f.Settings("\"bits\":4", "\"bits\":-4"); },
       "key '__metadata__': key 'packed:w': key 'bits': -4, expected"},
      {[](RawFile& f) { f.Settings("\"rows\":2", "\"rows\":0"); },
       "key '__metadata__': key 'packed:w': key 'rows': 0, expected"},
      {[](RawFile& f) { f.Settings("uniform", "ternary"); },
       "key '__metadata__': key 'packed:w': key 'format': \"ternary\", expected uniform, binary or planes"},
      {[](RawFile& f) { f.Settings("F16", "BF16"); },
       "key '__metadata__': key 'packed:w': key 'scales': \"BF16\", expected F16 or F32"},
      {[](RawFile& f) { f.Settings("false", "0"); },
       "key '__metadata__': key 'packed:w': key 'symmetric': 0, expected true or false"},
      {[](RawFile& f) { f.Settings("\"group_size\":4", "\"group_size\":11"); },
       "key '__metadata__': key 'packed:w': key 'group_size': 11, expected an integer from 1 to 10"},
      {[](RawFile& f) { f.Settings("\"bits\":4", "\"bits\":4,\"more\":1"); },
       "key '__metadata__': key 'packed:w': key 'more': unknown key"},
      {[](RawFile& f) {
         f.Settings("uniform", "binary");
         f.tensors["w.means"] = f.tensors["w.scales"];
         f.tensors.erase("w.zeros");
       },
       "tensor 'w': bits of a binary tensor is 4, expected 1"},
      {[](RawFile& f) { f.MakePlanes(); }, "the content has hash "},
      {[](RawFile& f) {
         f.MakePlanes();
         f.Settings("\"bits\":2", "\"bits\":4");
         f.tensors["w.codes"].shape = {2, 5};
       },
       "tensor 'w': bits of a tensor of planes is 4, expected 2"},
      {[](RawFile& f) {
         f.MakePlanes();
         f.Settings("\"symmetric\":false", "\"symmetric\":true");
       },
       "tensor 'w': symmetric of a tensor of planes is 1, expected 0"},
      {[](RawFile& f) {
         f.MakePlanes();
         f.tensors["w.scales"].shape = {2, 3};
       },
       "tensor 'w.scales': shape [2, 3], expected [2, 3, 7] (rows × groups × scalars)"},
      {[](RawFile& f) {
         f.MakePlanes();
         f.tensors["w.codes"].shape = {2, 2};
       },
       "tensor 'w': codes: shape [2, 2], expected rows of 10 codes of 2 bits, 2 of them"},
      {[](RawFile& f) {
         f.MakePlanes();
         f.tensors.erase("w.salient");
       },
       "tensor 'w.salient': missing"},
      {[](RawFile& f) {
         f.MakePlanes();
         f.tensors["w.salient"].shape = {3};
       },
       "tensor 'w.salient': shape [3], expected [2] (a bit per column)"},
      {[](RawFile& f) {
         f.MakePlanes();
         f.tensors["w.salient"] = {DType::kF16, {2}};
       },
       "tensor 'w.salient': dtype F16, expected U8"},
      {[](RawFile& f) {
         f.MakePlanes();
         f.Settings("\"bits\":2", "\"bits\":2,\"ordered\":true");
         f.tensors["w.order"] = {DType::kI32, {10}};
       },
       "tensor 'w': length of the column order is 10, expected 0"},
      {[](RawFile& f) {
         f.tensors["w.salient"] = {DType::kU8, {2}};
       },
       "tensor 'w.salient': belongs to no packed tensor"},
      {[](RawFile& f) { f.Settings("\"cols\":10", "\"cols\":12"); },
       "tensor 'w': codes: shape [2, 5], expected rows of 12 codes of 4 bits"},
      {[](RawFile& f) { f.Settings("\"cols\":10", "\"cols\":9223372036854775807"); },
       "tensor 'w': codes: shape [2, 5], expected rows of 9223372036854775807"},
      {[](RawFile& f) { f.Settings("\"rows\":2", "\"rows\":4611686018427387904"); },
       "tensor 'w': codes: shape [2, 5], expected"},
      {[](RawFile& f) { f.tensors["w.codes"].shape = {10}; }, "tensor 'w': codes: shape [10], expected"},
      {[](RawFile& f) {
         f.tensors["w.codes"] = {DType::kF16, {2, 5}};
       },
       "tensor 'w.codes': dtype F16, expected U8"},
      {[](RawFile& f) { f.tensors.erase("w.codes"); }, "tensor 'w.codes': missing"},
      {[](RawFile& f) { f.tensors.erase("w.zeros"); }, "tensor 'w.zeros': missing"},
      {[](RawFile& f) {
         f.tensors["w.scales"].shape = {3, 2};
       },
       "tensor 'w.scales': shape [3, 2], expected [2, 3] (rows × groups)"},
      {[](RawFile& f) { f.tensors["w.scales"].type = DType::kF32; },
       "tensor 'w.scales': dtype F32, expected F16"},
      {[](RawFile& f) {
         f.tensors["w.zeros"].shape = {2, 4};
       },
       "tensor 'w.zeros': shape [2, 4], expected [2, 3] (rows × groups)"},
      {[](RawFile& f) {
         f.tensors["w.means"] = {DType::kF16, {2, 3}};
       },
       "tensor 'w.means': belongs to no packed tensor"},
      {[](RawFile& f) {
         f.tensors["w.order"] = {DType::kI32, {10}};
       },
       "tensor 'w.order': belongs to no packed tensor"},
      {[](RawFile& f) { f.Settings("\"bits\":4", "\"bits\":4,\"ordered\":1"); },
       "key '__metadata__': key 'packed:w': key 'ordered': 1, expected true or false"},
      {[](RawFile& f) { f.Settings("\"bits\":4", "\"bits\":4,\"ordered\":true"); },
       "tensor 'w.order': missing"},
      {[](RawFile& f) {
         f.Settings("\"bits\":4", "\"bits\":4,\"ordered\":true");
         f.tensors["w.order"] = {DType::kU8, {10}};
       },
       "tensor 'w.order': dtype U8, expected I32"},
      {[](RawFile& f) {
         f.Settings("\"bits\":4", "\"bits\":4,\"ordered\":true");
         f.tensors["w.order"] = {DType::kI32, {9}};
       },
       "tensor 'w.order': shape [9], expected [10] (columns)"},
      {[](RawFile& f) {
         f.Settings("\"bits\":4", "\"bits\":4,\"ordered\":true");
         f.tensors["w.order"] = {DType::kI32, {10}};  // all 0
       },
       "tensor 'w': column order has 0 at position 1, expected every column from 0 to 9 once"},
      {[](RawFile& f) {
         f.tensors["v"] = {DType::kU8, {1}};
       },
       "tensor 'v': belongs to no packed tensor"},
  };
  for (const Row& row : rows) {
    RawFile file;
    row.change(file);
    EXPECT_THAT(file.MessageWhenRead(path), ::testing::StartsWith(path + ": " + row.message));
  }
}

TEST(PackedFile, RefusesAColumnThatIsNone) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  for (const uint32_t column : {7u, 0xFFFFFFFFu}) {  // the second reads as -1
    PackedTensors tensors = SmallTensors();
    tensors["c"].column_order[2] = column;
    WritePackedFile(path, tensors);
    EXPECT_THAT(MessageOf([&] { ReadPackedFile(path); }),
                HasSubstr(fmt::format("tensor 'c': column order has {} at position 2, expected", column)));
  }
}

TEST(PackedFile, RefusesScalesThatAreNotFiniteAndZeroPointsThatDoNotFit) {
  const TestFolder folder;
  const std::string path = folder.File("x.safetensors");
  PackedTensors tensors = SmallTensors();
  tensors["a"].scales[3] = std::numeric_limits<float>::infinity();
  WritePackedFile(path, tensors);
  EXPECT_THAT(MessageOf([&] { ReadPackedFile(path); }, ErrorKind::kNumeric),
              HasSubstr("tensor 'a': scale of group 3"));
  tensors = SmallTensors();
  tensors["a"].zeros[2] = 8;
  WritePackedFile(path, tensors);
  EXPECT_THAT(MessageOf([&] { ReadPackedFile(path); }),
              HasSubstr("tensor 'a': zero point of group 2 is 8, expected 0 to 7"));
}

}  // namespace
}  // namespace lowbit
