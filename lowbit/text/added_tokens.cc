// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/added_tokens.h"

#include "lowbit/text/vocabulary.h"

namespace lowbit {
namespace {

size_t TotalBytes(std::span<const AddedToken> tokens) {
  size_t bytes = 0;
  for (const AddedToken& token : tokens) bytes += token.content.size();
  return bytes;
}

uint64_t Edge(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::span<const AddedToken> tokens)
    : children_(TotalBytes(tokens)), ids_(1, kNoToken) {
  for (const AddedToken& token : tokens) {
    uint32_t node = 0;
    for (const char byte : token.content) {
      const auto fresh = static_cast<uint32_t>(ids_.size());
      if (children_.Insert(Edge(node, byte), fresh)) ids_.push_back(kNoToken);
      node = *children_.Find(Edge(node, byte));
    }
    if (node == 0) continue;
    if (ids_[node] == kNoToken) ids_[node] = token.id;
    begins_[static_cast<uint8_t>(token.content[0])] = true;
  }
}

std::optional<AddedTokenFinder::Match> AddedTokenFinder::Find(std::string_view text, size_t from) const {
  if (ids_.size() == 1) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!begins_[static_cast<uint8_t>(text[begin])]) continue;
    std::optional<Match> longest;
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      const uint32_t* child = children_.Find(Edge(node, text[i]));
      if (child == nullptr) break;
      node = *child;
      if (ids_[node] != kNoToken) longest = {begin, i + 1, ids_[node]};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace lowbit
