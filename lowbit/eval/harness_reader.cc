// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/harness_reader.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "lowbit/base/json.h"
#include "lowbit/eval/data_files.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kJson = ".json", kLines = ".jsonl", kSamples = "samples_";
constexpr int kMaxGroupDepth = 8;

std::vector<fs::path> SortedEntries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) entries.push_back(entry.path());
  if (code)
    throw Error(ErrorKind::kMissing, Place(folder.string()), fmt::format("cannot read: {}", code.message()));
  std::ranges::sort(entries);
  return entries;
}

// The newest results of a folder by the date in their name; empty where there are none.
fs::path NewestResults(const fs::path& folder) {
  fs::path newest;
  for (const fs::path& entry : SortedEntries(folder)) {
    const std::string name = entry.filename().string();
    if (name.starts_with("results_") && name.ends_with(kJson)) newest = entry;
  }
  return newest;
}

fs::path FindResults(const std::string& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return path;
  if (!fs::is_directory(path, ignored)) {
    throw Error(ErrorKind::kMissing, Place(path), "is no file or folder, expected results of an evaluation")
        .Hint("lowbit eval MODEL --tasks piqa --output-path FOLDER --log-samples writes them");
  }
  if (fs::path results = NewestResults(path); !results.empty()) return results;
  std::vector<fs::path> found;
  for (const fs::path& entry : SortedEntries(path)) {
    if (!fs::is_directory(entry, ignored)) continue;
    if (fs::path results = NewestResults(entry); !results.empty()) found.push_back(results);
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) throw Error(ErrorKind::kMissing, Place(path), "holds no results_*.json");
  throw Error(ErrorKind::kUsage, Place(path),
              fmt::format("holds results of {} models, expected one: name its folder", found.size()));
}

// The group that a task belongs to in the end: "mmlu" of "mmlu_anatomy", itself where there is none.
std::string RootOf(const Json& results, const std::string& task) {
  const auto groups = results.find("group_subtasks");
  if (groups == results.end() || !groups->is_object()) return task;
  std::string root = task;
  for (int depth = 0; depth < kMaxGroupDepth; ++depth) {
    std::string above;
    for (const auto& [group, members] : groups->items()) {
      const bool has = members.is_array() && std::ranges::find(members, Json(root)) != members.end();
      if (has && group != root && above.empty()) above = group;
    }
    if (above.empty()) break;
    root = above;
  }
  return root;
}

double RequireNumber(const Json& row, const std::string& key, const Place& place) {
  const Json& value = RequireMember(row, key, place);
  if (!value.is_number())
    throw Error(ErrorKind::kContent, place,
                fmt::format("'{}' is {}, expected a number", key, JsonPreview(value)));
  return value.get<double>();
}

// The harness writes numbers of responses as texts.
double ScoreOf(const Json& response, const Place& place) {
  const Json* value = response.is_array() && !response.empty() ? &response[0] : nullptr;
  if (value != nullptr && value->is_number()) return value->get<double>();
  double number = 0;
  if (value != nullptr && value->is_string()) {
    const std::string text = value->get<std::string>();
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code == std::errc() && end == text.data() + text.size()) return number;
  }
  throw Error(
      ErrorKind::kContent, place,
      fmt::format("'filtered_resps' holds {}, expected [log-likelihood, is_greedy]", JsonPreview(response)));
}

struct Sample {
  double doc_id = 0;
  Answer answer;
  WindowLoss window;
  bool is_window = false;
  std::string prompt;
};

Sample SampleOf(const Json& row, const Place& place) {
  Sample sample;
  sample.doc_id = RequireNumber(row, "doc_id", place);
  if (const auto prompt = row.find("prompt_hash"); prompt != row.end() && prompt->is_string())
    sample.prompt = prompt->get<std::string>();
  sample.is_window = row.contains("loss");
  if (sample.is_window) {
    sample.window = {RequireNumber(row, "loss", place), RequireNumber(row, "weight", place)};
    if (sample.window.weight > 0) return sample;
    throw Error(ErrorKind::kContent, place,
                fmt::format("'weight' is {}, expected more than 0", sample.window.weight));
  }
  const Json& responses = RequireMember(row, "filtered_resps", place);
  if (!responses.is_array() || responses.size() < 2)
    throw Error(
        ErrorKind::kContent, place,
        fmt::format("'filtered_resps' is {}, expected those of two choices or more", JsonPreview(responses)));
  for (const Json& response : responses) sample.answer.log_likelihoods.push_back(ScoreOf(response, place));
  sample.answer.acc = RequireNumber(row, "acc", place) > 0.5;
  if (row.contains("acc_norm")) sample.answer.acc_norm = RequireNumber(row, "acc_norm", place) > 0.5;
  return sample;
}

// `subset` of the task: the rest of the file's name.
void ReadSamples(const std::string& path, const std::string& subset, HarnessOutcomes& outcomes) {
  std::vector<Sample> samples;
  ForEachRow(path, [&](const Place& place, const Json& row) { samples.push_back(SampleOf(row, place)); });
  std::ranges::stable_sort(samples, {}, &Sample::doc_id);
  for (Sample& sample : samples) {
    if (sample.is_window) {
      outcomes.outcomes.windows.push_back(sample.window);
      continue;
    }
    sample.answer.subset = subset;
    outcomes.outcomes.answers.push_back(std::move(sample.answer));
    outcomes.prompts.push_back(std::move(sample.prompt));
  }
}

// "perplexity" of {"perplexity,none": …}.
std::string FirstMetric(const Json& results, const std::string& task) {
  const auto all = results.find("results");
  if (all == results.end() || !all->is_object() || !all->contains(task)) return "perplexity";
  for (const auto& [key, value] : (*all)[task].items()) {
    const size_t comma = key.find(",none");
    if (comma != std::string::npos && key.find("_stderr") == std::string::npos) return key.substr(0, comma);
  }
  return "perplexity";
}

std::string ProtocolOf(const Json& results, const std::string& task) {
  const Json::json_pointer protocols("/lowbit/protocols");
  if (!results.contains(protocols) || !results.at(protocols).is_object()) return "";
  const auto protocol = results.at(protocols).find(task);
  const bool is_there = protocol != results.at(protocols).end() && protocol->is_string();
  return is_there ? protocol->get<std::string>() : "";
}

}  // namespace

HarnessRunFiles ReadHarnessFiles(const std::string& path) {
  const fs::path file = FindResults(path);
  const Json results = ReadJsonFile(file.string());
  HarnessRunFiles run{file.string(), path, {}};
  if (!results.is_object() || !results.contains("results"))
    throw Error(ErrorKind::kContent, Place(run.path), "has no 'results', expected those of an evaluation");
  if (const auto name = results.find("model_name"); name != results.end() && name->is_string())
    run.model = name->get<std::string>();
  const std::string stem = file.stem().string();
  const std::string end = stem.substr(stem.rfind('_') + 1) + std::string(kLines);
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  for (const fs::path& entry : SortedEntries(folder)) {
    const std::string name = entry.filename().string();
    if (!name.starts_with(kSamples) || !name.ends_with("_" + end)) continue;
    const std::string task = name.substr(kSamples.size(), name.size() - kSamples.size() - end.size() - 1);
    const std::string root = RootOf(results, task);
    HarnessOutcomes& outcomes = run.tasks[root];
    outcomes.metric = FirstMetric(results, task);
    outcomes.protocol = ProtocolOf(results, root);
    ReadSamples(entry.string(), task.starts_with(root + "_") ? task.substr(root.size() + 1) : "", outcomes);
  }
  if (run.tasks.empty()) {
    throw Error(ErrorKind::kMissing, Place(run.path), fmt::format("has no {}*_{} beside it", kSamples, end))
        .Hint("evaluate with --log-samples");
  }
  return run;
}

}  // namespace lowbit
