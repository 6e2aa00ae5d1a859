// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: which shard holds which tensor. Used by checkpoint.cc only.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace lowbit {

struct ShardIndex {
  std::map<std::string, std::string> weight_map;  // tensor -> file name
  std::string total_size;                         // as written; empty when absent or not a number
};

// Reads the index and checks it by itself: a map that is there once and not empty, no tensor twice, every
// file name plain. Throws Error{kMissing} or Error{kContent} naming the key, or the tensor.
ShardIndex ReadShardIndex(const std::string& path);
ShardIndex ParseShardIndex(std::string_view text, const std::string& path);

// Throws Error{kMissing} unless `name`, which index `index_path` gives as the home of `tensor`, is a file in
// `folder`, and Error{kContent} when it is a link that leads out of the folder. A hub cache, where
// snapshots/REVISION holds links to ../../blobs, counts as inside.
void RequireShardInside(const std::string& folder, const std::string& name, const std::string& index_path,
                        const std::string& tensor);

}  // namespace lowbit
