// SPDX-License-Identifier: Apache-2.0
// The three JSON readers agree on what JSON is: the tree, the cursor, and the large files' one.
#include "lowbit/base/json.h"
#include "fuzz/target.h"
#include "lowbit/base/json_reader.h"
#include "lowbit/text/json_field.h"

namespace lowbit::fuzz {
namespace {

bool IsKnownDifference(std::string_view refusal) {
  // Equal keys and the range of doubles are questions of the tree; lengths are limits of the cursor, and
  // integers beyond 64 bits of the large files' reader.
  for (const std::string_view known : {"twice", "out of range", "a number of more than", "a string of more",
                                       "of white space", "while parsing a number"}) {
    if (refusal.find(known) != std::string_view::npos) return true;
  }
  return false;
}

template <class Parse>
std::string RefusalOf(std::string_view input, const Parse& parse) {
  std::string refusal;
  Accepts(input, [&] {
    try {
      parse();
    } catch (const Error& error) {
      refusal = error.what();
      throw;
    }
  });
  return refusal;
}

}  // namespace

LOWBIT_FUZZ_TARGET(json) {
  Json json;
  const Place place("file");
  const std::string tree = RefusalOf(input, [&] { json = ParseJson(input, place); });
  const std::string cursor = RefusalOf(input, [&] {
    JsonReader reader(input, place);
    reader.Skip();
    reader.End();
  });
  const std::string fields = RefusalOf(input, [&] { JsonDocument(input, place).RejectDuplicateKeys({}); });
  if (!IsKnownDifference(tree) && !IsKnownDifference(cursor))
    Require(tree.empty() == cursor.empty(), "tree: " + tree + " | cursor: " + cursor);
  if (!IsKnownDifference(tree) && !IsKnownDifference(fields))
    Require(tree.empty() == fields.empty(), "tree: " + tree + " | fields: " + fields);
  if (tree.empty()) Require(ParseJson(json.dump(), place) == json, "written anew it reads back differently");
}

}  // namespace lowbit::fuzz
