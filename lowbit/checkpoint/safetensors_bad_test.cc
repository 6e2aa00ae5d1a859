// SPDX-License-Identifier: Apache-2.0
// What is refused, and what the refusal says: one row per defect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <ctime>
#include <filesystem>
#include <fstream>

#include "lowbit/base/memory.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {
namespace {
namespace fs = std::filesystem;

using ::testing::HasSubstr;
using namespace std::string_literals;

std::string Length(uint64_t n) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(n >> (8 * i));
  return bytes;
}

std::string File(std::string_view header, size_t data_bytes) {
  return Length(header.size()) + std::string(header) + std::string(data_bytes, 'x');
}

// A file of one tensor "t" whose entry is `entry`, with 8 bytes of data.
std::string Entry(std::string_view entry) {
  return File(fmt::format(R"({{"t":{}}})", entry), 8);
}

std::string Shaped(std::string_view shape) {
  return Entry(fmt::format(R"({{"dtype":"F32","shape":{},"data_offsets":[0,8]}})", shape));
}
std::string Placed(std::string_view offsets) {
  return Entry(fmt::format(R"({{"dtype":"F32","shape":[2],"data_offsets":{}}})", offsets));
}
std::string Typed(std::string_view type) {
  return Entry(fmt::format(R"({{"dtype":{},"shape":[2],"data_offsets":[0,8]}})", type));
}

// Two U8 tensors "a" and "b" at the given bytes, with `size` bytes of data.
std::string Two(size_t a, size_t a_end, size_t b, size_t b_end, size_t size) {
  const auto entry = [](size_t begin, size_t end) {
    return fmt::format(R"({{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", end - begin, begin, end);
  };
  return File(fmt::format(R"({{"a":{},"b":{}}})", entry(a, a_end), entry(b, b_end)), size);
}

const std::string kGoodHeader = R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
const std::string kGood = File(kGoodHeader, 8);

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  LOWBIT_ASSERT(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

// kGood with another text in place of its header.
std::string Header(std::string_view header) {
  return File(header, 8);
}

struct Bad {
  const char* name;
  std::string bytes;
  const char* place;    // what follows the path: "byte 8", "tensor 't'"
  const char* message;  // part of the message

  friend void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
};

std::vector<Bad> Container() {
  return {
      {"empty file", "", "byte 0", "the file has 0 bytes, expected at least 8"},
      {"one byte", "\x08", "byte 0", "the file has 1 bytes"},
      {"seven bytes", std::string(7, '\1'), "byte 0", "the file has 7 bytes"},
      {"eight bytes that promise a header", Length(2), "byte 0", "header length 2, but the file has 8 bytes"},
      {"length 0", Length(0) + "{}", "byte 0", "header length 0"},
      {"length 1", Length(1) + "{", "byte 9", "the JSON text ends here"},
      {"length 2^63", Length(uint64_t{1} << 63) + "{}", "byte 0", "header length 9223372036854775808"},
      {"length 2^64 - 1", Length(~uint64_t{0}) + "{}", "byte 0", "header length 18446744073709551615"},
      {"length that wraps", Length(~uint64_t{0} - 7) + "{}", "byte 0", "header length 18446744073709551608"},
      {"length of one byte more", Length(3) + "{}", "byte 0", "expected at least 11"},
      {"length over the limit", Length(100'000'001) + "{}", "byte 0",
       "header length 100000001, expected at most 100000000"},
      {"length in big-endian", "\0\0\0\0\0\0\0\x02{}"s, "byte 0",
       "read in the other byte order it would be 2"},
      {"cut in the header", kGood.substr(0, 20), "byte 0", "the file is cut"},
      {"cut in the data", kGood.substr(0, kGood.size() - 1), "tensor 't'",
       "the file has 69 bytes, expected at least 70"},
      {"all data gone", kGood.substr(0, kGood.size() - 8), "tensor 't'", "the file has 62 bytes"},
      {"one byte too many", kGood + "x", "byte 70", "1 bytes after the last tensor"},
      {"a second file behind", kGood + kGood, "byte 70", "70 bytes after the last tensor"},
      {"bytes without a tensor", File("{}", 4), "byte 10", "4 bytes after the last tensor"},
  };
}

std::vector<Bad> Text() {
  return {
      {"header not UTF-8", Header("{\"t\xff\":1}"), "byte 11", "not valid UTF-8"},
      {"header no JSON", Header("{t:1}"), "byte 9", "found 't', expected a key in quotes"},
      {"header a list", Header("[]"), "byte 8", "begins with '[]', expected '{'"},
      {"text behind the object", Header(kGoodHeader + "x"), "byte 62", "found 'x', expected the end"},
      {"NUL padding", Header(kGoodHeader + "\0\0"s), "byte 62", "found '\\x00'"},
      {"leading space", Header(" " + kGoodHeader), "byte 8", "begins with ' {"},
      {"comment", Header("{/**/" + kGoodHeader.substr(1)), "byte 9", "found '/'"},
      {"control character in a name", Header("{\"a\nb\":1}"), "byte 11", "control character \\x0a"},
      {"lone surrogate", Header(R"({"\ud800":1})"), "byte 10", "lone surrogate"},
      {"pair with a wrong second half", Header(R"({"\ud800\u0041":1})"), "byte 10", "lone surrogate"},
      {"low surrogate first", Header(R"({"\udc00":1})"), "byte 10", "lone surrogate"},
      {"escape of no meaning", Header(R"({"\x41":1})"), "byte 10", "unknown escape"},
      {"escape that is cut", Header(R"({"\u00)"), "byte 12", "four hexadecimal digits"},
      {"name without end", Header("{\"abc"), "byte 9", "a string without end"},
      {"trailing comma", Header(Replaced(kGoodHeader, "}}", "},}")), "byte 62", "found '}', expected a key"},
      {"comma missing", Header(Replaced(kGoodHeader, ",\"shape", "\"shape")), "byte 27",
       "expected ',' or '}'"},
      {"colon missing", Header(Replaced(kGoodHeader, ":{", "{")), "byte 12", "expected ':'"},
      {"object without end", Header(kGoodHeader.substr(0, kGoodHeader.size() - 1)), "byte 61", "ends here"},
      {"number with a leading zero", Shaped("[02]"), "byte 38", "found '2', expected ',' or ']'"},
      {"same name twice",
       File("{" + kGoodHeader.substr(1, kGoodHeader.size() - 2) + "," + kGoodHeader.substr(1), 8),
       "tensor 't'", "is there twice"},
      {"same name twice through an escape",
       File(Replaced(kGoodHeader, "}}", "},") + Replaced(kGoodHeader, "{\"t\"", "\"\\u0074\""), 8),
       "tensor 't'", "is there twice"},
      {"metadata twice", Header(R"({"__metadata__":{},"__metadata__":{}})"), "key '__metadata__'",
       "is there twice"},
      {"metadata key twice", Header(R"({"__metadata__":{"k":"1","k":"1"}})"), "key '__metadata__': key 'k'",
       "twice"},
      {"metadata a list", Header(R"({"__metadata__":["x"]})"), "key '__metadata__'",
       "[\"x\"], expected an object"},
      {"metadata null", Header(R"({"__metadata__":null})"), "key '__metadata__'", "null, expected an object"},
      {"metadata value a number", Header(R"({"__metadata__":{"k":1}})"), "key '__metadata__': key 'k'",
       "1, expected a string"},
      {"metadata value an object", Header(R"({"__metadata__":{"k":{}}})"), "key '__metadata__': key 'k'",
       "an object, expected a string"},
  };
}

std::vector<Bad> Entries() {
  return {
      {"entry null", Entry("null"), "tensor 't'", "null, expected an object"},
      {"entry a list", Entry("[1]"), "tensor 't'", "[1], expected an object"},
      {"entry a number", Entry("5"), "tensor 't'", "5, expected an object"},
      {"dtype missing", Entry(R"({"shape":[2],"data_offsets":[0,8]})"), "tensor 't'", "dtype is missing"},
      {"shape missing", Entry(R"({"dtype":"F32","data_offsets":[0,8]})"), "tensor 't'", "shape is missing"},
      {"offsets missing", Entry(R"({"dtype":"F32","shape":[2]})"), "tensor 't'", "data_offsets is missing"},
      {"dtype twice", Entry(R"({"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]})"),
       "tensor 't'", "dtype is there twice"},
      {"field of no meaning", Entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})"),
       "tensor 't'", "unknown field 'x'"},
      {"dtype unknown", Typed(R"("FOO")"), "tensor 't'", "dtype 'FOO'"},
      {"dtype in lower case", Typed(R"("f32")"), "tensor 't'", "dtype 'f32'"},
      {"dtype a number", Typed("32"), "tensor 't'", "dtype 32, expected a string"},
      {"dtype with control characters", Typed(R"("F\n32")"), "tensor 't'", "dtype 'F\\x0a32'"},
      {"shape a number", Shaped("2"), "tensor 't'", "shape 2, expected a list"},
      {"shape of strings", Shaped(R"(["2"])"), "tensor 't'", "shape [\"2\"] holds \"2\""},
      {"shape of floats", Shaped("[2.0]"), "tensor 't'", "shape [2.0] holds 2.0"},
      {"shape with an exponent", Shaped("[2e0]"), "tensor 't'", "holds 2e0"},
      {"shape minus zero", Shaped("[-0]"), "tensor 't'", "holds -0"},
      {"shape of booleans", Shaped("[true]"), "tensor 't'", "holds true"},
      {"shape of lists", Shaped("[[2]]"), "tensor 't'", "holds [2]"},
      {"negative sizes with the right product", Shaped("[-1,-2]"), "tensor 't'", "holds -1"},
      {"product that wraps to the right number", Shaped("[4294967296,4294967296,2]"), "tensor 't'",
       "shape [4294967296, 4294967296, 2] of F32 overflows"},
      {"bytes that wrap to the right number", Shaped("[4611686018427387906]"), "tensor 't'", "overflows"},
      {"size above 64 bits", Shaped("[18446744073709551616]"), "tensor 't'", "holds 18446744073709551616"},
      {"one offset", Placed("[0]"), "tensor 't'", "data_offsets has 1 values, expected 2"},
      {"three offsets", Placed("[0,8,8]"), "tensor 't'", "data_offsets has 3 values, expected 2"},
      {"offsets reversed", Placed("[8,0]"), "tensor 't'", "data_offsets [8, 0] end before they begin"},
      {"offset negative", Placed("[-8,0]"), "tensor 't'", "data_offsets [-8,0] holds -8"},
      {"offset a float", Placed("[0,8.0]"), "tensor 't'", "holds 8.0"},
      {"offsets above 2^63", Placed("[9223372036854775808,9223372036854775816]"), "tensor 't'",
       "leave a gap"},
      {"offset above 2^64", Placed("[0,18446744073709551624]"), "tensor 't'", "holds 18446744073709551624"},
      {"offsets an object", Placed("{}"), "tensor 't'", "data_offsets an object, expected a list"},
      {"offsets past the end", Entry(R"({"dtype":"U8","shape":[9],"data_offsets":[0,9]})"), "tensor 't'",
       "go past the end"},
      {"end at 2^64 - 1",
       Entry(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]})"),
       "tensor 't'", "overflows"},
      {"size of shape and of offsets differ", Shaped("[3]"), "tensor 't'",
       "data_offsets [0, 8] hold 8 bytes, expected 12 for shape [3] of F32"},
      {"half a byte", Entry(R"({"dtype":"F4","shape":[15],"data_offsets":[0,8]})"), "tensor 't'", "60 bits"},
      {"whole overlap", Two(0, 8, 0, 8, 8), "tensor 'b'", "overlap with tensor 'a' [0, 8]"},
      {"overlap of two bytes", Two(0, 5, 3, 8, 8), "tensor 'b'",
       "data_offsets [3, 8] overlap with tensor 'a' [0, 5]"},
      {"empty tensor inside another", Two(0, 8, 4, 4, 8), "tensor 'b'", "overlap with tensor 'a'"},
      {"gap at the front", Two(1, 4, 4, 8, 8), "tensor 'a'",
       "leave a gap of 1 bytes after the begin of the data"},
      {"gap in the middle", Two(0, 3, 4, 8, 8), "tensor 'b'",
       "leave a gap of 1 bytes after tensor 'a' [0, 3]"},
      {"gap at the end", Two(0, 3, 3, 7, 8), "byte 120", "1 bytes after the last tensor"},
  };
}

std::vector<Bad> OtherFormats() {
  const auto padded = [](std::string begin) { return begin + std::string(200, 'q'); };
  return {
      {"Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n", "byte 0",
       "a Git LFS pointer"},
      {"HTML", padded("<!DOCTYPE html><html>"), "byte 0", "HTML"},
      {"zip", padded("PK\x03\x04"), "byte 0", "a zip archive"},
      {"pickle", padded("\x80\x02}q"), "byte 0", "a Python pickle"},
      {"GGUF", padded("GGUF\x03\0\0\0"s), "byte 0", "a GGUF file"},
      {"gzip", padded("\x1f\x8b\x08"), "byte 0", "gzip"},
      {"zeros", std::string(5000, '\0'), "byte 0", "first 4096 bytes are zeros"},
      {"few zeros", std::string(16, '\0'), "byte 0", "first 16 bytes are zeros"},
      {"header without its length", padded("{\"t\":"), "byte 0", "without the 8 bytes"},
  };
}

class BadSafetensors : public ::testing::TestWithParam<Bad> {};

TEST_P(BadSafetensors, IsRefusedWithFileAndPlace) {
  const TestFolder folder;
  const std::string path = folder.Write("model.safetensors", GetParam().bytes);
  try {
    SafetensorsFile{path};
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), ::testing::StartsWith(path + ": " + GetParam().place + ": "));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().message));
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << "more than one line";
  }
}

std::string TestName(const ::testing::TestParamInfo<Bad>& info) {
  std::string name = info.param.name;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Container, BadSafetensors, ::testing::ValuesIn(Container()), TestName);
INSTANTIATE_TEST_SUITE_P(Text, BadSafetensors, ::testing::ValuesIn(Text()), TestName);
INSTANTIATE_TEST_SUITE_P(Entries, BadSafetensors, ::testing::ValuesIn(Entries()), TestName);
INSTANTIATE_TEST_SUITE_P(OtherFormats, BadSafetensors, ::testing::ValuesIn(OtherFormats()), TestName);

TEST(GoodSafetensors, ControlsOfTheTableAreAccepted) {
  const TestFolder folder;
  const std::vector<std::string> good = {
      kGood,
      Header(kGoodHeader + "  \n"),
      Header(Replaced(kGoodHeader, ":{", " : {")),
      Header(Replaced(kGoodHeader, "\"t\"", R"("\u0074\ud83d\ude00")")),
      Two(4, 8, 0, 4, 8),
      Two(0, 8, 8, 8, 8),
      Two(0, 0, 0, 8, 8),
      Shaped("[1,2,1]"),
      Typed(R"("I32")"),
      File("{}", 0),
      File(R"({"__metadata__":{"a":"b","":""}})", 0),
      File(R"({"t":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}})", 0),
      File(R"({"t":{"dtype":"F4","shape":[16],"data_offsets":[0,8]}})", 8),
  };
  for (const std::string& bytes : good) {
    EXPECT_NO_THROW(SafetensorsFile{folder.Write("good.safetensors", bytes)}) << bytes;
  }
}

// What a name leads to, when that is no regular file: refused as unreadable, without waiting for a writer.
TEST(HostileSafetensors, NamesOfOtherThingsThanFilesAreRefusedAtOnce) {
  const TestFolder folder;
  fs::create_directory(folder.File("directory"));
  fs::create_symlink("nowhere", folder.File("dangling"));
  fs::create_symlink("loop", folder.File("loop"));
  ASSERT_EQ(mkfifo(folder.File("pipe").c_str(), 0600), 0);
  fs::create_symlink("/dev/zero", folder.File("zeros"));
  for (const std::string name : {"directory", "dangling", "loop", "pipe", "zeros", "absent"}) {
    try {
      SafetensorsFile{folder.File(name)};
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kMissing) << name;
      EXPECT_THAT(e.what(), HasSubstr(folder.File(name)));
    }
  }
}

// Time of this process: what else the machine does must not fail a test.
double CpuSeconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

struct Huge {
  const char* name;
  std::string bytes;
  const char* message;
};

std::vector<Huge> HugeFiles() {
  const auto repeated = [](size_t n, std::string_view text) {
    std::string out;
    out.reserve(n * text.size());
    for (size_t i = 0; i < n; ++i) out += text;
    return out;
  };
  const std::string entry = R"("t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  return {
      {"a million empty tensors", File("{" + entry + repeated(999'999, "," + entry) + "}", 0),
       "lists more than lowbit keeps in memory"},
      {"name of 10 MB", Header("{\"" + std::string(10'000'000, 'n') + "\":1}"),
       "a string of more than 65535 bytes"},
      {"metadata of 30 MB", Header(R"({"__metadata__":{"k":")" + std::string(30'000'000, 'v') + "\"}}"),
       "a string of more than"},
      {"number of a million digits", Shaped("[" + std::string(1'000'000, '1') + "]"),
       "a number of more than"},
      {"nesting of 100,000 in metadata", Header(R"({"__metadata__":{"k":)" + repeated(100'000, "[")),
       "expected a string"},
      {"nesting of 100,000 in a shape", Shaped(repeated(100'000, "[")), "expected integers"},
      {"100,000 dimensions", Shaped("[1" + repeated(99'999, ",1") + "]"), "more than 32 dimensions"},
      {"20 MB of white space", Header("{" + std::string(20'000'000, ' ') + "}"), "of white space"},
      {"header over the limit", Length(100'000'001) + "{", "expected at most 100000000"},
      {"a million offsets", Placed("[0" + repeated(1'000'000, ",1") + "]"), "has 1000001 values"},
  };
}

TEST(HostileSafetensors, HugeClaimsAreRefusedWithinOneSecondAnd64MiB) {
  const TestFolder folder;
  for (const Huge& huge : HugeFiles()) {
    SCOPED_TRACE(huge.name);
    const std::string path = folder.File("huge.safetensors");
    std::ofstream(path, std::ios::binary) << huge.bytes;
    if (huge.bytes.size() < 100) fs::resize_file(path, 100'000'100);  // truly there
    const bool can_measure = ResetPeakMemory();
    const uint64_t before = PeakMemoryBytes();
    const double start = CpuSeconds();
    try {
      SafetensorsFile{path};
      ADD_FAILURE() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kContent);
      EXPECT_THAT(e.what(), HasSubstr(huge.message));
      EXPECT_LT(std::string_view(e.what()).size(), 1000u);
    }
    const double seconds = CpuSeconds() - start;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they take memory and time of their own
    EXPECT_LT(seconds, 1.0);
    if (can_measure) {
      EXPECT_LT(PeakMemoryBytes() - before, uint64_t{64} << 20);
    }
#else
    static_cast<void>(before);
    static_cast<void>(can_measure);
    EXPECT_LT(seconds, 20.0);
#endif
    fs::remove(path);
  }
}

TEST(GoodSafetensors, HeaderOf19000TensorsIsReadInATenthOfASecond) {
  std::string header = "{";
  for (size_t i = 0; i < 19'000; ++i) {
    header +=
        fmt::format(R"({}"model.layers.{}.mlp.experts.{}.gate_proj.weight":{{"dtype":"BF16","shape":[2,3],)"
                    R"("data_offsets":[{},{}]}})",
                    i == 0 ? "" : ",", i / 400, i % 400, i * 12, i * 12 + 12);
  }
  const TestFolder folder;
  const std::string path = folder.Write("model.safetensors", File(header + "}", 19'000 * 12));
  const double start = CpuSeconds();
  const SafetensorsFile file(path);
  const double seconds = CpuSeconds() - start;
  EXPECT_EQ(file.header().tensors.size(), 19'000u);
  EXPECT_EQ(file.Get("model.layers.3.mlp.experts.7.gate_proj.weight").bytes.size(), 12u);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(seconds, 0.1);
#else
  EXPECT_LT(seconds, 5.0);
#endif
  RecordProperty("milliseconds", static_cast<int>(seconds * 1000));
}

}  // namespace
}  // namespace lowbit
