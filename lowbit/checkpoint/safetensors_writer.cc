// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "lowbit/base/json.h"
#include "lowbit/base/utf8.h"
#include "lowbit/checkpoint/safetensors_header.h"

namespace lowbit {
namespace {

// A mistake of the caller: what is written comes from lowbit, not from the user.
[[noreturn]] void Misused(const std::string& path, std::string message) {
  throw Error(ErrorKind::kInternal, Place(path), std::move(message));
}

std::string Quoted(const std::string& path, const std::string& text) {
  if (FirstInvalidUtf8(text) != std::string::npos) Misused(path, fmt::format("'{}' is not UTF-8", text));
  return Json(text).dump();
}

}  // namespace

std::string HeaderBytes(const SafetensorsHeader& header, const std::string& path) {
  std::string json = "{";
  const auto separate = [&] { json += json.back() == '{' ? "" : ","; };
  if (!header.metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : header.metadata) {
      separate();
      json += Quoted(path, key) + ":" + Quoted(path, value);
    }
    json += "}";
  }
  for (const TensorEntry& t : header.tensors) {
    separate();
    json += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", Quoted(path, t.name),
                        t.type_name, fmt::join(t.shape, ","), t.begin, t.end);
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');  // the data part begins aligned for every type

  std::string length(kLengthBytes, '\0');
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>(json.size() >> (8 * i));
  return length + json;
}

SafetensorsWriter::SafetensorsWriter(std::string path) : path_(std::move(path)), file_(path_) {}

void SafetensorsWriter::Declare(std::string name, DType type, Shape shape) {
  if (header_.data_start != 0) Misused(path_, "Declare after Begin");
  uint64_t bytes = SizeOf(type);
  for (const size_t n : shape) {
    if (__builtin_mul_overflow(bytes, n, &bytes)) {
      Misused(path_, fmt::format("tensor '{}' {} overflows", name, ShapeText(shape)));
    }
  }
  TensorEntry entry;
  entry.name = std::move(name);
  entry.type_name = Name(type);
  entry.type = type;
  entry.shape = std::move(shape);
  entry.begin = declared_;
  if (__builtin_add_overflow(declared_, bytes, &declared_)) Misused(path_, "more than 2^64 bytes of tensors");
  entry.end = declared_;
  header_.tensors.push_back(std::move(entry));
}

void SafetensorsWriter::SetMetadata(std::string key, std::string value) {
  if (header_.data_start != 0) Misused(path_, "SetMetadata after Begin");
  header_.metadata[std::move(key)] = std::move(value);
}

void SafetensorsWriter::Begin() {
  if (header_.data_start != 0) Misused(path_, "Begin called twice");
  std::set<std::string_view> names;
  for (const TensorEntry& t : header_.tensors) {
    if (!names.insert(t.name).second) Misused(path_, fmt::format("tensor '{}' declared twice", t.name));
  }
  const std::string begin = HeaderBytes(header_, path_);
  header_.data_start = begin.size();
  file_.Write(begin);
}

void SafetensorsWriter::Write(std::span<const std::byte> bytes) {
  if (header_.data_start == 0) Misused(path_, "Write before Begin");
  if (bytes.size() > declared_ - written_) {
    Misused(path_, fmt::format("{} bytes more than were declared", bytes.size() - (declared_ - written_)));
  }
  file_.Write(bytes);
  written_ += bytes.size();
}

void SafetensorsWriter::Commit() {
  if (header_.data_start == 0 || written_ != declared_) {
    Misused(path_, fmt::format("{} of {} declared bytes were written", written_, declared_));
  }
  file_.Commit();
}

void WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors,
                      const std::map<std::string, std::string>& metadata) {
  SafetensorsWriter writer(path);
  for (const auto& [key, value] : metadata) writer.SetMetadata(key, value);
  for (const NamedTensor& t : tensors) writer.Declare(t.name, t.tensor.type, t.tensor.shape);
  writer.Begin();
  for (const NamedTensor& t : tensors) writer.Write(t.tensor.bytes);
  writer.Commit();
}

}  // namespace lowbit
