// SPDX-License-Identifier: Apache-2.0
// A safetensors file: what its header lists lies inside it, and written anew it reads back equal.
#include "fuzz/target.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/checkpoint/safetensors_header.h"

namespace lowbit::fuzz {
namespace {

// `view` is exactly the bytes of `entry`, and its values can be read.
void CheckView(const SafetensorsFile& file, const TensorEntry& entry, std::string_view input) {
  Require(file.Find(entry.name) == &entry, "a tensor cannot be found by its name");
  if (!entry.type) return;
  const TensorView view = file.View(entry);
  Require(view.Count() * SizeOf(view.type) == view.bytes.size(), "a view of the wrong size");
  if (view.Count() > 0) Require(view.Rows() * view.Cols() == view.Count(), "rows x columns");
  const std::span<const std::byte> all = Bytes(input);
  Require(view.bytes.data() >= all.data() && view.bytes.size() <= all.size() &&
              view.bytes.data() - all.data() <= static_cast<ptrdiff_t>(all.size() - view.bytes.size()),
          "a view outside the file");
  if (!IsFloating(view.type)) return;
  Accepts(input, [&] { RequireFinite(view, entry.name, "file"); });
  Require(ToFloatVector(view).size() == view.Count(), "values that cannot be read");
}

}  // namespace

LOWBIT_FUZZ_TARGET(safetensors) {
  SafetensorsHeader header;
  if (!Accepts(input, [&] { header = ParseSafetensorsHeader(Bytes(input), "file"); })) return;
  const SafetensorsFile file(Bytes(input), "file");
  uint64_t covered = 0;
  for (const TensorEntry& entry : file.header().tensors) {
    Require(entry.begin == covered && entry.end >= entry.begin, "data not covered byte by byte");
    covered = entry.end;
    CheckView(file, entry, input);
  }
  Require(header.data_start + covered == input.size(), "bytes that belong to no tensor");

  const std::string again = HeaderBytes(header, "file") + std::string(input.substr(header.data_start));
  const SafetensorsHeader reread = ParseSafetensorsHeader(Bytes(again), "file");
  Require(reread.tensors == header.tensors && reread.metadata == header.metadata,
          "written anew it reads back differently");
}

}  // namespace lowbit::fuzz
