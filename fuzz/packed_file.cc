// SPDX-License-Identifier: Apache-2.0
// A layer file of an artefact. The content hash keeps the fuzzer from writing a file that is accepted, so
// the target makes it right first; what is accepted then must unpack.
#include "fuzz/target.h"
#include "lowbit/base/json.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/checkpoint/safetensors_header.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit::fuzz {
namespace {

constexpr std::string_view kContent = "has hash ";  // of the message that says what the hash should be

// `input` with the content hash that its tensors have, if that is all that is wrong with it.
std::string WithRightHash(std::string_view input) {
  try {
    ParsePackedFile(Bytes(input), "file");
  } catch (const Error& error) {
    const size_t at = error.message().find(kContent);
    if (at == std::string::npos) return std::string(input);
    SafetensorsHeader header = ParseSafetensorsHeader(Bytes(input), "file");
    header.metadata["content"] = error.message().substr(at + kContent.size(), 64);
    return HeaderBytes(header, "file") + std::string(input.substr(header.data_start));
  }
  return std::string(input);
}

}  // namespace

LOWBIT_FUZZ_TARGET(packed_file) {
  std::string file(input);
  Accepts(input, [&] { file = WithRightHash(input); });
  LayerPatch patch;
  if (!Accepts(input, [&] { patch = ParsePackedFile(Bytes(file), "file"); })) return;
  for (const auto& [name, packed] : patch.packed) {
    Require(packed.rows * packed.RowBytes() == packed.codes.size(), "codes of another size");
    Require(packed.rows * packed.Groups() * packed.ScalesPerGroup() == packed.scales.size(),
            "scales of another size");
    std::vector<float> row(packed.cols);
    for (size_t r = 0; r < packed.rows; ++r) Dequantize(packed, r, MatView<float>(row.data(), 1, row.size()));
  }
  const std::string hash = ContentHash(patch);
  Require(ParsePackedFile(Bytes(file), "file", hash).packed.size() == patch.packed.size(),
          "its own hash is refused");
}

}  // namespace lowbit::fuzz
