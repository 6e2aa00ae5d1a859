// SPDX-License-Identifier: Apache-2.0
// model.safetensors: the container, its entries, and what the model needs of it.
#include <cstring>

#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kFile = "model/model.safetensors";

std::string LengthBytes(uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

// A file of this header and so many bytes of data.
std::string File(const std::string& header, size_t data = 0) {
  return LengthBytes(header.size()) + header + std::string(data, '\0');
}

Damage Holds(const std::string& header, size_t data = 0) {
  return [=](const Site& s) { s.Write(kFile, File(header, data)); };
}

Damage Length(uint64_t length) {
  return [=](const Site& s) { s.Write(kFile, LengthBytes(length) + s.Read(kFile).substr(8)); };
}

// The real file with another header; its data stay.
Damage Header(const std::function<void(Json&)>& edit) {
  return [=](const Site& s) {
    const std::string file = s.Read(kFile);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    Json header = ParseJson(std::string_view(file).substr(8, length), Place("header"));
    edit(header);
    const std::string text = header.dump();
    s.Write(kFile, LengthBytes(text.size()) + text + file.substr(8 + length));
  };
}

const std::string kQ = "model.layers.0.self_attn.q_proj.weight";

Damage OfQ(const std::string& field, const Json& value) {
  return Header([=](Json& h) { h[kQ][field] = value; });
}

// Bytes of a weight, `from_end` before its end.
Damage Values(const std::string& tensor, const std::string& bytes, bool at_end = false) {
  return [=](const Site& s) {
    std::string file = s.Read(kFile);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    const Json header = ParseJson(std::string_view(file).substr(8, length), Place("header"));
    const Json& offsets = header[tensor]["data_offsets"];
    const size_t at =
        8 + length + (at_end ? offsets[1].get<size_t>() - bytes.size() : offsets[0].get<size_t>());
    s.Write(kFile, file.replace(at, bytes.size(), bytes));
  };
}

std::string Entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

std::string ManyTensors(size_t count) {
  std::string header = "{";
  for (size_t i = 0; i < count; ++i)
    header += fmt::format("{}\"{}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                          i == 0 ? "" : ",", i);
  return header + "}";
}

void AddContainer(Table& t) {
  t.Add("empty", Text(kFile, ""), {kFile, "0 bytes"});
  t.Add("seven bytes", Cut(kFile, 7), {kFile, "byte 0", "7 bytes"});
  t.Add("eight bytes", Cut(kFile, 8), {kFile, "byte 0"});
  t.Add("header length 0", Length(0), {kFile, "header length 0"});
  t.Add("header length 1", Length(1), {kFile, "byte"});
  t.Add("header length 2^63", Length(uint64_t{1} << 63), {kFile, "header length 9223372036854775808"});
  t.Add("header length 2^64-1", Length(~uint64_t{0}), {kFile, "header length 18446744073709551615"});
  t.Add("header length wraps", Length(~uint64_t{0} - 7), {kFile, "header length 18446744073709551608"});
  t.Add("header length beyond the file", Length(99'999'999), {kFile, "header length 99999999", "cut"});
  t.Add("header length above the limit", Length(100'000'001), {kFile, "expected at most 100000000"});
  t.Add("header length big-endian", Text(kFile, std::string("\0\0\0\0\0\0\0\x02{}", 10)),
        {kFile, "little-endian"});
  t.Add("cut in the header", Cut(kFile, 100), {kFile, "cut"});
  t.Add("cut in the data", Cut(kFile, 300000), {kFile, "tensor 'model.", "cut"});
  t.Add("cut at a page", Cut(kFile, 4096 * 100), {kFile, "tensor 'model.", "cut"});
  t.Add("one byte short", [](const Site& s) { Cut(kFile, s.Read(kFile).size() - 1)(s); },
        {kFile, "tensor '", "cut"});
  t.Add("a byte after the data", [](const Site& s) { s.Write(kFile, s.Read(kFile) + "x"); },
        {kFile, "1 bytes after the last tensor"});
  t.Add("a second file after the data", [](const Site& s) { s.Write(kFile, s.Read(kFile) + s.Read(kFile)); },
        {kFile, "after the last tensor"});
  t.Add("a sparse terabyte", Sparse(kFile, uint64_t{1} << 40), {kFile, "zeros"});
  t.Add("a Git LFS pointer",
        Text(kFile, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), {kFile, "LFS"});
  t.Add("an HTML page", Text(kFile, "<!DOCTYPE html><html><head></head></html>"), {kFile, "HTML"});
  t.Add("a zip", Text(kFile, "PK\x03\x04 and more of it, as long as need be"), {kFile, "zip"});
  t.Add("a pickle", Text(kFile, "\x80\x02}q\x01 and more of it, as long as need be"), {kFile, "pickle"});
  t.Add("GGUF", Text(kFile, "GGUF\x03 and more of it, as long as need be"), {kFile, "GGUF"});
  t.Add("zeros", Text(kFile, std::string(5000, '\0')), {kFile, "zeros"});
}

void AddHeaderTexts(Table& t) {
  t.Add("header is a list", Holds("[]"), {kFile, "byte 8", "expected '{'"});
  t.Add("header begins with a space", Holds(" {}"), {kFile, "byte 8"});
  t.Add("header is not JSON", Holds("{\"a\""), {kFile, "byte"});
  t.Add("header is not UTF-8", Holds("{\"\xFF\":1}"), {kFile, "byte 10", "UTF-8"});
  t.Add("a control character in a name", Holds("{\"a\nb\":{}}"), {kFile, "byte 11", "control character"});
  t.Add("a lone surrogate in a name", Holds("{\"\\ud800\":{}}"), {kFile, "lone surrogate"});
  t.Add("text after the header", Holds("{} {}"), {kFile, "byte 11"});
  t.Add("NUL after the header", Holds(std::string("{}\0\0", 4)), {kFile, "byte 10"});
  t.Add("a comment", Holds("{/**/}"), {kFile, "byte 9"});
  t.Add("nesting of 10^5 in the metadata",
        Holds("{\"__metadata__\":{\"a\":" + std::string(100000, '[') + "}}"),
        {kFile, "key '__metadata__': key 'a'"});
  t.Add("nesting of 10^5 as an entry", Holds("{\"a\":" + std::string(100000, '[') + "}"),
        {kFile, "tensor 'a'"});
  t.Add("a number of 10^6 digits",
        Holds(Entry("\"F32\"", fmt::format("[{}]", std::string(1000000, '9')), "[0,0]")),
        {kFile, "a number of more than"});
  t.Add("a name of 10 MB", Holds(fmt::format("{{\"{}\":{{}}}}", std::string(10 << 20, 'n'))),
        {kFile, "a string of more than"});
  t.Add("10 MB of spaces", Holds(fmt::format("{{{}}}", std::string(10 << 20, ' '))), {kFile, "white space"});
  t.Add("10^6 tensors", Holds(ManyTensors(1000000)), {kFile, "more than lowbit keeps"});
  t.Add(
      "a name twice",
      Holds(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          2),
      {kFile, "tensor 'a'", "twice"});
  t.Add(
      "a name twice through an escape",
      Holds(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          2),
      {kFile, "tensor 'a'", "twice"});
  t.Add("metadata twice", Holds(R"({"__metadata__":{},"__metadata__":{}})"),
        {kFile, "__metadata__", "twice"});
  t.Add("metadata holds a number", Holds(R"({"__metadata__":{"format":1}})"),
        {kFile, "key 'format'", "a string"});
  t.Add("metadata is a list", Holds(R"({"__metadata__":[]})"), {kFile, "key '__metadata__'"});
  t.Add("metadata of 30 MB", Holds(R"({"__metadata__":{"a":")" + std::string(30 << 20, 'x') + "\"}}"),
        {kFile, "byte"});
}

void AddEntries(Table& t) {
  for (const std::string value : {"null", "[]", "7"})
    t.Add("an entry is " + value, Holds("{\"t\":" + value + "}"),
          {kFile, "tensor 't'", "expected an object"});
  t.Add("no dtype", Header([](Json& h) { h[kQ].erase("dtype"); }), {kFile, kQ, "dtype is missing"});
  t.Add("no shape", Header([](Json& h) { h[kQ].erase("shape"); }), {kFile, kQ, "shape is missing"});
  t.Add("no offsets", Header([](Json& h) { h[kQ].erase("data_offsets"); }),
        {kFile, kQ, "data_offsets is missing"});
  t.Add("an unknown field", OfQ("strides", 1), {kFile, kQ, "strides"});
  for (const Json& dtype : {Json("F3X"), Json("f32"), Json(32), Json(nullptr)})
    t.Add("dtype " + dtype.dump(), OfQ("dtype", dtype), {kFile, kQ, "dtype"});
  for (const char* shape : {"7", "[\"64\"]", "[64.0]", "[6e1]", "[true]", "[null]", "[[64]]", "[-1, -64]",
                            "[-0]", "[18446744073709551616]"})
    t.Add(std::string("shape ") + shape, Holds(Entry("\"F32\"", shape, "[0,0]")),
          {kFile, "tensor 't'", "shape"});
  t.Add("a shape whose product wraps", Holds(Entry("\"F32\"", "[4294967296,4294967296]", "[0,0]")),
        {kFile, "overflows"});
  t.Add("a shape whose bytes wrap", Holds(Entry("\"F32\"", "[4611686018427387904]", "[0,0]")),
        {kFile, "overflows"});
  t.Add("a shape of 10^5 dimensions",
        [](const Site& s) {
          std::string shape = "[1";
          for (int i = 1; i < 100000; ++i) shape += ",1";
          s.Write(kFile, File(Entry("\"F32\"", shape + "]", "[0,4]"), 4));
        },
        {kFile, "tensor 't'", "dimensions"});
  for (const char* offsets : {"7", "[]", "[0]", "[0,8,8]", "[8,0]", "[-8,0]", "[0,8.0]", "[\"0\",\"8\"]",
                              "[0,18446744073709551616]"})
    t.Add(std::string("offsets ") + offsets, Holds(Entry("\"F32\"", "[2]", offsets), 8),
          {kFile, "tensor 't'", "data_offsets"});
  t.Add("offsets of 2^60", Holds(Entry("\"U8\"", "[1152921504606846976]", "[0,1152921504606846976]"), 8),
        {kFile, "tensor 't'", "cut"});
  t.Add("offsets at the end of 64 bits",
        Holds(Entry("\"U8\"", "[1]", "[18446744073709551614,18446744073709551615]"), 8),
        {kFile, "tensor 't'", "gap"});
  t.Add("offsets that the shape does not fill", OfQ("shape", {128, 63}), {kFile, kQ, "expected 32256"});
  t.Add("a gap in front", Holds(Entry("\"U8\"", "[1]", "[1,2]"), 2), {kFile, "tensor 't'", "gap of 1 bytes"});
  t.Add(
      "an overlap",
      Holds(
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
          6),
      {kFile, "tensor 'b'", "overlap with tensor 'a' [0, 4]"});
  t.Add(
      "one place for two tensors",
      Holds(
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
          4),
      {kFile, "tensor 'b'", "overlap"});
}

void AddModel(Table& t) {
  t.Add("a tensor renamed", Swap(kFile, "layers.0.mlp.up_proj", "layers.0.mlp.xx_proj"),
        {"model.layers.0.mlp.up_proj.weight"});
  t.Add("a NUL in a tensor's name", Header([](Json& h) {
          h[kQ + std::string(1, '\0')] = h[kQ];
          h.erase(kQ);
        }),
        {kFile, kQ});
  t.Add("a tensor transposed", Header([](Json& h) {
          h["model.layers.1.mlp.down_proj.weight"]["shape"] = {128, 64};
        }),
        {kFile, "model.layers.1.mlp.down_proj.weight", "[64, 128]", "hidden_size"});
  t.Add("a tensor flat", OfQ("shape", {8192}), {kFile, kQ, "[128, 64]"});
  t.Add("a tensor of rank 5", OfQ("shape", {1, 1, 1, 128, 64}), {kFile, kQ, "[128, 64]"});
  t.Add("a tensor of integers", OfQ("dtype", "I32"), {kFile, kQ, "I32"});
  t.Add("a tensor of 8-bit floats", Header([](Json& h) {
          h[kQ]["dtype"] = "F8_E4M3";
          h[kQ]["shape"] = {512, 64};
        }),
        {kFile, kQ, "F8_E4M3"});
  t.Add("the data of nothing", Holds("{}"), {kFile, "0 layers are stored"});
  t.Add("a tensor of another family", Header([](Json& h) {
          h["model.layers.0.self_attn.q_proj.bias"] = h["model.norm.weight"];
          h.erase("model.norm.weight");
        }),
        {kFile, "model."});
  const std::string nan("\0\0\xC0\x7F", 4), infinite("\0\0\x80\x7F", 4);
  t.With(kQuantize).Exits(7);
  t.Add("NaN first", Values(kQ, nan), {kFile, kQ, "1 values are NaN", "the first at [0, 0]"});
  t.Add("NaN last", Values(kQ, nan, true), {kFile, kQ, "the first at [127, 63]"});
  t.With(kLogits);
  t.Add("infinity", Values("model.layers.1.mlp.gate_proj.weight", infinite),
        {kFile, "model.layers.1.mlp.gate_proj.weight", "1 infinite"});
  t.Add("NaN in the embedding", Values("model.embed_tokens.weight", nan, true),
        {kFile, "model.embed_tokens.weight", "the first at [511, 63]"});
  t.Add("NaN in a norm", Values("model.norm.weight", nan), {kFile, "model.norm.weight"});
}

}  // namespace

std::vector<Case> SafetensorsCases() {
  Table t(kInspect);
  AddContainer(t);
  AddHeaderTexts(t);
  AddEntries(t);
  AddModel(t);
  return t.Take();
}

}  // namespace lowbit::bad_input
