// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {
namespace fs = std::filesystem;

using ::testing::HasSubstr;

const std::string kVectors = LOWBIT_TESTDATA "/safetensors/";

std::span<const std::byte> Bytes(const auto& values) {
  return std::as_bytes(std::span(values));
}

TEST(SafetensorsVectors, EveryGoodFileIsAcceptedWithItsTensorsAndEveryBadOneRefused) {
  const Json expected = ReadJsonFile(kVectors + "expected.json");
  size_t files = 0;
  for (const auto& [name, what] : expected.items()) {
    SCOPED_TRACE(name);
    const std::string path = kVectors + name + ".safetensors";
    ++files;
    if (name.starts_with("ok_")) {
      const SafetensorsFile file(path);
      std::set<std::string> names;
      for (const TensorEntry& entry : file.header().tensors) names.insert(entry.name);
      EXPECT_EQ(names, what.at("note").at("tensors").get<std::set<std::string>>());
    } else {
      try {
        SafetensorsFile{path};
        ADD_FAILURE() << "accepted";
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kContent);
        EXPECT_THAT(e.what(), HasSubstr(path));
      }
    }
  }
  EXPECT_EQ(files, 36u);
}

TEST(SafetensorsVectors, ValuesAreReadAtAnyAlignment) {
  const SafetensorsFile file(kVectors + "ok_unpadded_unaligned.safetensors");
  for (const TensorEntry& entry : file.header().tensors) {
    const TensorView view = file.Get(entry.name);
    EXPECT_EQ(view.bytes.size(), view.Count() * SizeOf(view.type)) << entry.name;
  }
}

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  const TestFolder folder_;
  const std::string path_ = folder_.File("x.safetensors");
};

TEST_F(SafetensorsWriterTest, WhatIsWrittenReadsBackEqual) {
  const std::vector<float> a = {1, -2, 3.5f, 0, 1e-30f, 6};
  const std::vector<uint16_t> b = {0x3F80, 0x4000, 0x7FC0};
  const std::vector<NamedTensor> tensors = {
      {"z.first", {DType::kF32, {2, 3}, Bytes(a)}},
      {"a \"quoted\"\n\u00e9", {DType::kBF16, {3}, Bytes(b)}},
      {"empty", {DType::kF32, {0, 5}, {}}},
      {"scalar", {DType::kF32, {}, Bytes(a).first(4)}},
  };
  const std::map<std::string, std::string> metadata = {{"k", "v \\ \t"}, {"", "empty key"}};
  WriteSafetensors(path_, tensors, metadata);

  const SafetensorsFile file(path_);
  EXPECT_EQ(file.header().metadata, metadata);
  EXPECT_EQ(file.header().data_start % 8, 0u);
  ASSERT_EQ(file.header().tensors.size(), tensors.size());
  for (const NamedTensor& t : tensors) {
    const TensorView view = file.Get(t.name);
    EXPECT_EQ(view.type, t.tensor.type);
    EXPECT_EQ(view.shape, t.tensor.shape);
    EXPECT_TRUE(std::ranges::equal(view.bytes, t.tensor.bytes)) << t.name;
  }
}

TEST_F(SafetensorsWriterTest, EqualContentMakesEqualBytes) {
  const std::vector<float> a = {1, 2};
  const std::vector<NamedTensor> tensors = {{"a", {DType::kF32, {2}, Bytes(a)}}};
  WriteSafetensors(path_, tensors, {{"x", "1"}});
  WriteSafetensors(folder_.File("y.safetensors"), tensors, {{"x", "1"}});
  EXPECT_EQ(ReadFile(path_), ReadFile(folder_.File("y.safetensors")));
}

TEST_F(SafetensorsWriterTest, NothingAppearsUntilAllDeclaredBytesAreThere) {
  const std::vector<float> a = {1, 2};
  {
    SafetensorsWriter writer(path_);
    writer.Declare("a", DType::kF32, {3});
    writer.Begin();
    writer.Write(Bytes(a));
    EXPECT_THROW(writer.Commit(), Error);
    EXPECT_THROW(writer.Write(Bytes(a)), Error);  // 16 bytes where 12 were declared
    EXPECT_FALSE(fs::exists(path_));
  }
  EXPECT_TRUE(fs::is_empty(folder_.path())) << "a temporary file was left";
}

TEST_F(SafetensorsWriterTest, NameThatIsNotUtf8IsRefused) {
  SafetensorsWriter writer(path_);
  writer.Declare("\xff", DType::kF32, {0});
  EXPECT_THROW(writer.Begin(), Error);
}

TEST_F(SafetensorsWriterTest, NamesWrittenTwiceAreRefusedAndNotLeftToTheReader) {
  SafetensorsWriter writer(path_);
  writer.Declare("a", DType::kF32, {0});
  EXPECT_THROW(
      {
        writer.Declare("a", DType::kF32, {0});
        writer.Begin();
      },
      Error);
}

TEST(SafetensorsFile, TypeThatLowbitDoesNotReadIsRefusedOnlyWhenAskedFor) {
  const TestFolder folder;
  std::string header = R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},)"
                       R"("b":{"dtype":"F4","shape":[4],"data_offsets":[2,4]},)"
                       R"("c":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  const SafetensorsFile opened(folder.Write("x.safetensors", file + header + "123456"));
  EXPECT_EQ(opened.Get("c").Count(), 1u);
  for (const auto& [name, type] : {std::pair{"a", "F8_E4M3"}, std::pair{"b", "F4"}}) {
    try {
      opened.Get(name);
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kContent);
      EXPECT_THAT(e.what(), HasSubstr(type));
      EXPECT_THAT(e.what(), HasSubstr(fmt::format("tensor '{}'", name)));
    }
  }
  EXPECT_THROW(opened.Get("d"), Error);
}

}  // namespace
}  // namespace lowbit
