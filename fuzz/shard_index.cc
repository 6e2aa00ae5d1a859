// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: no file name leads anywhere else, and written anew it reads back equal.
#include "lowbit/checkpoint/shard_index.h"
#include "fuzz/target.h"
#include "lowbit/base/json.h"

namespace lowbit::fuzz {

LOWBIT_FUZZ_TARGET(shard_index) {
  ShardIndex index;
  if (!Accepts(input, [&] { index = ParseShardIndex(input, "index"); })) return;
  Require(!index.weight_map.empty(), "a map without a tensor");
  for (const auto& [tensor, file] : index.weight_map) {
    const bool plain = !file.empty() && file != "." && file != ".." &&
                       file.find_first_of(std::string_view("/\\:\0", 4)) == std::string::npos;
    Require(plain, "a file name that leads elsewhere");
  }
  const Json again = {{"weight_map", index.weight_map}};
  Require(ParseShardIndex(again.dump(), "index").weight_map == index.weight_map,
          "written anew it reads back differently");
}

}  // namespace lowbit::fuzz
