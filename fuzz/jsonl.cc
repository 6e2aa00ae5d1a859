// SPDX-License-Identifier: Apache-2.0
// JSON Lines: read from memory and from a stream the objects and the refusal are the same, and written anew
// they read back equal.
#include <sstream>

#include "fuzz/target.h"
#include "lowbit/text/text_file.h"

namespace lowbit::fuzz {
namespace {

struct Outcome {
  std::vector<Json> objects;
  std::string refusal;
};

template <class Read>
Outcome Run(std::string_view input, const Read& read) {
  Outcome outcome;
  const JsonLineCallback keep = [&](size_t, const Json& object) { outcome.objects.push_back(object); };
  Accepts(input, [&] {
    try {
      read(keep);
    } catch (const Error& error) {
      outcome.refusal = error.what();
      throw;
    }
  });
  return outcome;
}

}  // namespace

LOWBIT_FUZZ_TARGET(jsonl) {
  const JsonLineLimits limits = {.max_line_bytes = 4096, .max_depth = 16};
  const Outcome whole = Run(
      input, [&](const JsonLineCallback& keep) { ForEachJsonLineIn(input, Place("file"), keep, limits); });
  const Outcome streamed = Run(input, [&](const JsonLineCallback& keep) {
    std::istringstream stream{std::string(input)};
    ForEachJsonLine(stream, "file", keep, limits);
  });
  Require(whole.refusal == streamed.refusal, whole.refusal + " | from a stream: " + streamed.refusal);
  Require(whole.objects == streamed.objects, "other objects from a stream");

  std::string again;
  for (const Json& object : whole.objects) again += object.dump() + "\n";
  std::vector<Json> reread;
  ForEachJsonLineIn(again, Place("file"), [&](size_t, const Json& object) { reread.push_back(object); });
  Require(reread == whole.objects, "written anew they read back differently");
}

}  // namespace lowbit::fuzz
