// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/kept_scores.h"

#include <cmath>
#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "lowbit/base/log.h"

namespace lowbit {
namespace {

// Throws Error{kContent} or Json::exception for what Keep did not write.
ScoredBlock Parse(const Json& json, const std::string& key, std::span<const ContinuationRequest> requests,
                  const Place& place) {
  const auto require = [&](bool holds) {
    if (!holds) throw Error(ErrorKind::kContent, place, "is not of these questions");
  };
  require(json.at("key") == key && json.at("scores").size() == requests.size());
  ScoredBlock block;
  block.counts = {json.at("asked").get<size_t>(), json.at("computed").get<size_t>()};
  for (size_t i = 0; i < requests.size(); ++i) {
    const Json& row = json.at("scores")[i];
    require(row.size() == requests[i].continuations.size());
    std::vector<ContinuationScore>& scores = block.scores.emplace_back();
    for (const Json& score : row) {
      scores.push_back({score.at(0).get<double>(), score.at(1).get<bool>()});
      require(std::isfinite(scores.back().log_likelihood));
    }
  }
  return block;
}

}  // namespace

std::string KeptScores::FileOf(size_t index) const {
  return fmt::format("{}/block-{:05}.json", folder_, index);
}

std::optional<ScoredBlock> KeptScores::Find(size_t index, std::span<const ContinuationRequest> requests) {
  const std::string path = FileOf(index);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  try {
    return Parse(ReadJsonFile(path), key_, requests, Place(path));
  } catch (const Error& error) {
    LogDetail(fmt::format("computed again: {}", error.what()));
  } catch (const Json::exception& error) {
    LogDetail(fmt::format("computed again: {}: {}", path, error.what()));
  }
  return std::nullopt;
}

void KeptScores::Keep(size_t index, const ScoredBlock& block) {
  Json scores = Json::array();
  for (const std::vector<ContinuationScore>& row : block.scores) {
    Json& list = scores.emplace_back(Json::array());
    for (const ContinuationScore& score : row) list.push_back({score.log_likelihood, score.is_greedy});
  }
  const Json json = {{"key", key_},
                     {"asked", block.counts.asked},
                     {"computed", block.counts.computed},
                     {"scores", std::move(scores)}};
  MakeDirectory(folder_);
  WriteFileAtomic(FileOf(index), json.dump());
}

void KeptScores::Remove() const noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace lowbit
