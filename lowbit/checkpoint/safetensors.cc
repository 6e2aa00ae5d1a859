// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "lowbit/checkpoint/safetensors_header.h"

namespace lowbit {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // of the format

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What a file that is no safetensors file looks like, by its first bytes; empty when nothing is known.
std::string LooksLike(std::string_view file) {
  struct Magic {
    std::string_view bytes, meaning;
  };
  using namespace std::string_view_literals;
  static constexpr std::array kMagics = {
      Magic{"version https://git-lfs"sv, "a Git LFS pointer; fetch the file itself with 'git lfs pull'"sv},
      Magic{"<"sv, "HTML or XML, perhaps an error page saved by a download"sv},
      Magic{"PK\x03\x04"sv, "a zip archive, perhaps a PyTorch checkpoint"sv},
      Magic{"\x80\x02"sv, "a Python pickle, perhaps an old PyTorch checkpoint"sv},
      Magic{"\x80\x04"sv, "a Python pickle"sv},
      Magic{"\x80\x05"sv, "a Python pickle"sv},
      Magic{"GGUF"sv, "a GGUF file"sv},
      Magic{"\x1f\x8b"sv, "gzip data"sv},
      Magic{"\x28\xb5\x2f\xfd"sv, "zstd data"sv},
      Magic{"\x89HDF"sv, "an HDF5 file"sv},
      Magic{"{"sv, "JSON text without the 8 bytes that give its length"sv},
  };
  for (const Magic& magic : kMagics) {
    if (file.starts_with(magic.bytes)) return fmt::format("this looks like {}", magic.meaning);
  }
  const std::string_view begin = file.substr(0, 4096);  // all of a file of zeros may be a terabyte
  if (begin.empty() || begin.find_first_not_of('\0') != begin.npos) return "";
  return fmt::format("its first {} bytes are zeros, as an interrupted download leaves them", begin.size());
}

[[noreturn]] void RefusePrefix(std::string_view file, const Place& place, std::string message,
                               std::string hint = "") {
  Error error(ErrorKind::kContent, place, std::move(message));
  const std::string looks = LooksLike(file);
  if (!looks.empty()) hint = looks;
  if (!hint.empty()) error.Hint(std::move(hint));
  throw error;
}

// Length of the header, checked against the file.
uint64_t HeaderLength(std::string_view file, const Place& place) {
  const Place at = place.Byte(0);
  if (file.size() < kLengthBytes) {
    RefusePrefix(file, at,
                 fmt::format("the file has {} bytes, expected at least {} for the header's length",
                             file.size(), kLengthBytes));
  }
  uint64_t length = 0, swapped = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    const auto byte = static_cast<unsigned char>(file[i]);
    length |= uint64_t{byte} << (8 * i);
    swapped = swapped << 8 | byte;
  }
  const uint64_t left = file.size() - kLengthBytes;
  const bool is_swapped = swapped > 0 && swapped <= std::min(left, kMaxHeaderBytes);
  const std::string hint =
      is_swapped
          ? fmt::format("read in the other byte order it would be {}; the format is little-endian", swapped)
          : "";
  if (length == 0) RefusePrefix(file, at, "header length 0, expected at least 2");
  if (length > kMaxHeaderBytes) {
    RefusePrefix(file, at, fmt::format("header length {}, expected at most {}", length, kMaxHeaderBytes),
                 hint);
  }
  if (length > left) {
    RefusePrefix(file, at,
                 fmt::format("header length {}, but the file has {} bytes, expected at least {}", length,
                             file.size(), length + kLengthBytes),
                 is_swapped ? hint : "the file is cut");
  }
  const std::string_view begin = file.substr(kLengthBytes, std::min<uint64_t>(length, 16));
  if (begin[0] != '{') {
    RefusePrefix(file, place.Byte(kLengthBytes),
                 fmt::format("the header begins with '{}', expected '{{'", Printable(begin)));
  }
  return length;
}

// Sorts the tensors by their data, which they must cover from its first byte to its last, each byte once.
void SortAndCheckCoverage(SafetensorsHeader& header, uint64_t file_size, const Place& place) {
  std::ranges::sort(header.tensors, [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  const uint64_t data_size = file_size - header.data_start;
  const TensorEntry* previous = nullptr;
  uint64_t covered = 0;
  const auto refuse = [&](const TensorEntry& entry, std::string message) {
    const std::string before =
        previous == nullptr
            ? "the begin of the data"
            : fmt::format("tensor '{}' [{}, {}]", Printable(previous->name), previous->begin, previous->end);
    throw Error(ErrorKind::kContent, place.Tensor(Printable(entry.name)),
                fmt::format("data_offsets [{}, {}] {}", entry.begin, entry.end, message + before));
  };
  for (const TensorEntry& entry : header.tensors) {
    if (entry.begin < covered) refuse(entry, "overlap with ");
    if (entry.begin > covered)
      refuse(entry, fmt::format("leave a gap of {} bytes after ", entry.begin - covered));
    if (entry.end > data_size) {
      uint64_t needed = 0;
      const bool huge = __builtin_add_overflow(entry.end, header.data_start, &needed);
      throw Error(
          ErrorKind::kContent, place.Tensor(Printable(entry.name)),
          fmt::format("data_offsets [{}, {}] go past the end: the file has {} bytes, expected at least {}",
                      entry.begin, entry.end, file_size, huge ? "2^64" : fmt::to_string(needed)))
          .Hint("the file is cut");
    }
    covered = entry.end;
    previous = &entry;
  }
  if (covered < data_size) {
    throw Error(
        ErrorKind::kContent, place.Byte(header.data_start + covered),
        fmt::format("{} bytes after the last tensor, expected the end of the file", data_size - covered));
  }
}

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::span<const std::byte> file, const std::string& path) {
  const Place place(path);
  const uint64_t length = HeaderLength(Text(file), place);
  SafetensorsHeader header = ParseHeaderText(Text(file.subspan(kLengthBytes, length)), place);
  header.data_start = kLengthBytes + length;
  SortAndCheckCoverage(header, file.size(), place);
  return header;
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path),
      file_(path),
      bytes_(file_->bytes()),
      header_(ReadIntact(*file_, [&](auto bytes) { return ParseSafetensorsHeader(bytes, path); })) {
  IndexNames();
}

SafetensorsFile::SafetensorsFile(std::span<const std::byte> bytes, std::string path)
    : path_(std::move(path)), bytes_(bytes), header_(ParseSafetensorsHeader(bytes_, path_)) {
  IndexNames();
}

void SafetensorsFile::IndexNames() {
  index_.reserve(header_.tensors.size());
  for (size_t i = 0; i < header_.tensors.size(); ++i) index_.emplace(header_.tensors[i].name, i);
}

void SafetensorsFile::RequireIntact() const {
  if (file_) file_->RequireIntact();
}

const TensorEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.tensors[it->second];
}

TensorView SafetensorsFile::Get(std::string_view name) const {
  const TensorEntry* entry = Find(name);
  if (entry != nullptr) return View(*entry);
  throw Error(ErrorKind::kContent, Place(path()).Tensor(Printable(name)),
              "missing, expected it in this file");
}

TensorView SafetensorsFile::View(const TensorEntry& entry) const {
  if (!entry.type.has_value()) {
    throw Error(
        ErrorKind::kContent, Place(path()).Tensor(Printable(entry.name)),
        fmt::format("dtype {}, which lowbit does not read; expected BF16, F16 or F32", entry.type_name))
        .Hint("weights that another tool quantized cannot be used; take the original checkpoint");
  }
  return {*entry.type, entry.shape, bytes_.subspan(header_.data_start + entry.begin, entry.end - entry.begin),
          file_.has_value()};
}

}  // namespace lowbit
