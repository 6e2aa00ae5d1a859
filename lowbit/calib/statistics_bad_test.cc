// SPDX-License-Identifier: Apache-2.0
// Files of statistics with one thing wrong: each is refused, at its place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/calib/statistics_file.h"
#include "lowbit/calib/statistics_format.h"
#include "lowbit/calib/statistics_testing.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A file taken apart, so that one thing can be changed and the rest, the content hash too, is right.
struct Parts {
  struct Tensor {
    std::string name;
    DType type;
    Shape shape;
    std::string bytes;
  };
  std::map<std::string, std::string> metadata;
  std::vector<Tensor> tensors;

  Tensor& Get(const std::string& name) {
    for (Tensor& t : tensors) {
      if (t.name == name) return t;
    }
    throw std::out_of_range(name);
  }
  template <class T>
  void Set(const std::string& name, size_t element, T value) {
    std::memcpy(Get(name).bytes.data() + element * sizeof(T), &value, sizeof(T));
  }
  void Edit(const std::string& key, const std::function<void(Json&)>& edit) {
    Json json = Json::parse(metadata.at(key));
    edit(json);
    metadata[key] = json.dump();
  }
  void Drop(const std::string& name) {
    std::erase_if(tensors, [&](const Tensor& t) { return t.name == name; });
  }
};

Parts TakeApart(const std::string& path) {
  const SafetensorsFile file(path);
  Parts parts;
  parts.metadata = file.header().metadata;
  for (const TensorEntry& t : file.header().tensors) {
    const std::span<const std::byte> bytes = file.View(t).bytes;
    parts.tensors.push_back(
        {t.name, *t.type, t.shape, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
  }
  return parts;
}

void PutTogether(const std::string& path, const Parts& parts) {
  StatisticsHash hash(parts.metadata);
  SafetensorsWriter writer(path);
  for (const auto& [key, value] : parts.metadata) {
    if (key != kContentKey) writer.SetMetadata(key, value);
  }
  for (const Parts::Tensor& t : parts.tensors) {
    hash.Tensor(t.name);
    hash.Bytes(std::as_bytes(std::span(t.bytes)));
    writer.Declare(t.name, t.type, t.shape);
  }
  if (parts.metadata.contains("content")) writer.SetMetadata("content", hash.Hex());
  writer.Begin();
  for (const Parts::Tensor& t : parts.tensors) writer.Write(std::as_bytes(std::span(t.bytes)));
  writer.Commit();
}

void WriteGood(const std::string& path) {
  const Threads threads(1);
  const std::unique_ptr<Backend> backend = MakeBackend("ref", "f32", threads);
  ModelStatistics s;
  s.origin = calib_testing::SomeOrigin(100);
  const auto add = [&](const std::string& name, size_t tokens) {
    InputStatistics tap(6, true, 4);
    if (tokens > 0) tap.Add(*backend, RandomMatrix(tokens, 6).view());
    s.taps.emplace(name, std::move(tap));
  };
  add("model.layers.0.attn_in", 100);
  add("model.layers.0.mlp_mid.0", 60);
  add("model.layers.0.mlp_mid.1", 0);
  s.expert_tokens["model.layers.0."] = {60, 0};
  WriteStatistics(path, s);
}

struct Bad {
  const char* name;
  std::function<void(Parts&)> damage;
  std::vector<std::string> says;
};

const std::string kA = "model.layers.0.attn_in", kTap = "tap:model.layers.0.attn_in";

std::function<void(Parts&)> OfTap(const std::string& key, const Json& value) {
  return [=](Parts& p) { p.Edit(kTap, [&](Json& json) { json[key] = value; }); };
}

std::vector<Bad> Sizes() {
  return {
      {"width 0", OfTap("width", 0), {kTap, "key 'width'"}},
      {"width other than the data", OfTap("width", 7), {"attn_in.sum_abs", "[6, 8], expected U8 [7, 8]"}},
      {"width 2^40", OfTap("width", 1099511627776), {kTap, "key 'width'"}},
      {"width 2^24", OfTap("width", 16777216), {"attn_in.sum_abs", "expected U8 [16777216, 8]"}},
      {"width negative", OfTap("width", -1), {kTap, "key 'width'"}},
      {"width a string", OfTap("width", "6"), {kTap, "key 'width'"}},
      {"unknown key", OfTap("widht", 6), {kTap, "key 'widht'"}},
      {"gram a number", OfTap("gram", 1), {kTap, "key 'gram'"}},
      {"gram said to be absent", OfTap("gram", false), {"attn_in.gram", "belongs to no tap"}},
      {"gram missing", [](Parts& p) { p.Drop(kA + ".gram"); }, {"attn_in.gram"}},
      {"sums missing", [](Parts& p) { p.Drop(kA + ".sum_abs"); }, {"attn_in.sum_abs"}},
      {"maxima missing", [](Parts& p) { p.Drop(kA + ".max_abs"); }, {"attn_in.max_abs"}},
      {"samples missing", [](Parts& p) { p.Drop(kA + ".samples"); }, {"attn_in.samples"}},
      {"gram square",
       [](Parts& p) {
         p.Get(kA + ".gram").shape = {36, 8};
         p.Get(kA + ".gram").bytes.resize(36 * 8);
       },
       {"attn_in.gram", "[36, 8], expected U8 [21, 8]"}},
      {"maxima of another type",
       [](Parts& p) { p.Get(kA + ".max_abs").type = DType::kI32; },
       {"attn_in.max_abs", "is I32 [6], expected F32 [6]"}},
      {"more samples than the stride gives",
       [](Parts& p) {
         p.Get(kA + ".samples").shape = {5, 6};
         p.Get(kA + ".samples").bytes.resize(5 * 6 * 4);
       },
       {"attn_in.samples", "[5, 6], expected F32 [4, 6]"}},
      {"most_samples of 2^62", OfTap("most_samples", int64_t{1} << 62), {kTap, "key 'most_samples'"}},
      {"first_token of 2^62", OfTap("first_token", int64_t{1} << 62), {kTap, "key 'first_token'"}},
      {"a tensor of no tap",
       [](Parts& p) {
         p.tensors.push_back({"stray", DType::kU8, {1}, "x"});
       },
       {"tensor 'stray'", "belongs to no tap"}},
      {"a tap of no tensor",
       [](Parts& p) { p.metadata["tap:other"] = p.metadata.at(kTap); },
       {"other.sum_abs"}},
  };
}

std::vector<Bad> Values() {
  return {
      {"gram NaN", [](Parts& p) { p.Set(kA + ".gram", 3, kNan); }, {"attn_in.gram': element 3", "is nan"}},
      {"gram infinite",
       [](Parts& p) { p.Set(kA + ".gram", 20, -std::numeric_limits<double>::infinity()); },
       {"attn_in.gram': element 20", "is -inf"}},
      {"diagonal negative", [](Parts& p) { p.Set(kA + ".gram", 6, -1.0); }, {"attn_in.gram': element 6"}},
      {"sum NaN", [](Parts& p) { p.Set(kA + ".sum_abs", 2, kNan); }, {"attn_in.sum_abs': element 2"}},
      {"sum negative", [](Parts& p) { p.Set(kA + ".sum_abs", 2, -1.0); }, {"attn_in.sum_abs': element 2"}},
      {"maximum NaN",
       [](Parts& p) { p.Set(kA + ".max_abs", 1, static_cast<float>(kNan)); },
       {"attn_in.max_abs': element 1"}},
      {"maximum negative",
       [](Parts& p) { p.Set(kA + ".max_abs", 1, -1.0f); },
       {"attn_in.max_abs': element 1"}},
      {"sample infinite",
       [](Parts& p) { p.Set(kA + ".samples", 9, std::numeric_limits<float>::infinity()); },
       {"attn_in.samples': element 9"}},
      {"something seen of no token",
       [](Parts& p) { p.Set("model.layers.0.mlp_mid.1.max_abs", 0, 1.0f); },
       {"mlp_mid.1.max_abs': element 0", "no token"}},
  };
}

std::function<void(Parts&)> Metadata(const std::string& key, const std::string& value) {
  return [=](Parts& p) { p.metadata[key] = value; };
}
std::function<void(Parts&)> Origin(const std::string& key, const Json& value) {
  return [=](Parts& p) { p.Edit("origin", [&](Json& json) { json[key] = value; }); };
}

std::vector<Bad> Counts() {
  const std::string experts = "experts:model.layers.0.";
  return {
      {"another version", Metadata("lowbit_statistics", "2"), {"lowbit_statistics", "expected \"1\""}},
      {"no version",
       [](Parts& p) { p.metadata.erase("lowbit_statistics"); },
       {"lowbit_statistics", "missing"}},
      {"no origin", [](Parts& p) { p.metadata.erase("origin"); }, {"origin", "missing"}},
      {"no content hash", [](Parts& p) { p.metadata.erase("content"); }, {"content", "missing"}},
      {"origin no JSON", Metadata("origin", "{"), {"key 'origin'", "not valid JSON"}},
      {"origin a list", Metadata("origin", "[]"), {"key 'origin'"}},
      {"calibration no hash", Origin("calibration", "abc"), {"key 'origin': key 'calibration'"}},
      {"weights missing",
       [](Parts& p) { p.Edit("origin", [](Json& o) { o.erase("weights"); }); },
       {"'weights'"}},
      {"no tokens", Origin("tokens", 0), {"key 'origin': key 'tokens'"}},
      {"fewer tokens than a tap saw", Origin("tokens", 99), {kTap, "key 'tokens'"}},
      {"unknown key", Metadata("x", "1"), {"key 'x'", "unknown key"}},
      {"tap no JSON", Metadata(kTap, "6"), {kTap}},
      {"tokens of another number of samples", OfTap("tokens", 3), {"attn_in.samples"}},
      {"tokens a fraction", OfTap("tokens", 99.5), {kTap, "key 'tokens'"}},
      {"experts no list", Metadata(experts, "60"), {experts, "expected a list"}},
      {"experts empty", Metadata(experts, "[]"), {experts, "expected a list"}},
      {"expert negative", Metadata(experts, "[60, -1]"), {experts, "entry 1"}},
      {"expert of more tokens than there are", Metadata(experts, "[60, 101]"), {experts, "entry 1"}},
      {"expert with other tokens than its tap",
       Metadata(experts, "[61, 0]"),
       {"mlp_mid.0", "is 60, expected 61"}},
      {"too few experts", Metadata(experts, "[60]"), {"mlp_mid.1", "no such expert"}},
      {"no experts", [=](Parts& p) { p.metadata.erase(experts); }, {"mlp_mid.0", "no such expert"}},
  };
}

void ExpectRefused(const std::vector<Bad>& table) {
  const TestFolder folder;
  const std::string good = folder.File("good.safetensors"), path = folder.File("bad.safetensors");
  WriteGood(good);
  PutTogether(path, TakeApart(good));
  ReadStatistics(path);  // taken apart and put together it is as good
  for (const Bad& bad : table) {
    SCOPED_TRACE(bad.name);
    Parts parts = TakeApart(good);
    bad.damage(parts);
    PutTogether(path, parts);
    for (const ReadGrams grams : {ReadGrams::kYes, ReadGrams::kNo}) {
      try {
        ReadStatistics(path, grams);
        ADD_FAILURE() << "accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kContent) << error.what();
        EXPECT_EQ(error.place().file(), path);
        for (const std::string& part : bad.says) EXPECT_THAT(error.what(), HasSubstr(part));
      }
    }
  }
}

TEST(BadStatistics, SizesAreRefused) {
  ExpectRefused(Sizes());
}
TEST(BadStatistics, ValuesAreRefused) {
  ExpectRefused(Values());
}
TEST(BadStatistics, CountsAndOriginsAreRefused) {
  ExpectRefused(Counts());
}

// A bit of the data, or of what the metadata say, is found by the content hash if by nothing else.
TEST(BadStatistics, NoByteCanChangeUnseen) {
  const TestFolder folder;
  const std::string good = folder.File("good.safetensors");
  WriteGood(good);
  const std::string bytes = ReadFile(good);
  size_t accepted = 0;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1 << at % 7);
    try {
      ParseStatistics(std::as_bytes(std::span(damaged)), "x");
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent) << error.what();
    }
  }
  EXPECT_EQ(accepted, 0u);
}

TEST(BadStatistics, NoCutFileIsRead) {
  const TestFolder folder;
  const std::string good = folder.File("good.safetensors");
  WriteGood(good);
  const std::string bytes = ReadFile(good);
  for (size_t length = 0; length < bytes.size(); length += 7) {
    EXPECT_THROW(ParseStatistics(std::as_bytes(std::span(bytes).first(length)), "x"), Error) << length;
  }
}

}  // namespace
}  // namespace lowbit
