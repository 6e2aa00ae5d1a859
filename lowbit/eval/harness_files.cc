// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/harness_files.h"

#include <algorithm>
#include <filesystem>

#include "lowbit/base/build_info.h"
#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kJson = ".json";
constexpr std::string_view kNoError =
    "N/A";  // what the harness writes for a standard error that is not known

// Version of the harness's task that is rendered here.
double VersionOf(const std::string& task) {
  return task == "boolq" ? 2.0 : 1.0;
}

std::string SubjectTask(const std::string& task, const std::string& subset) {
  return task + "_" + subset;
}

void AddMetric(Json& entry, const std::string& name, const Measurement& m) {
  entry[name + ",none"] = m.value;
  entry[name + "_stderr,none"] = m.std_error ? Json(*m.std_error) : Json(kNoError);
}

Json Entry(const std::string& name, const std::string& alias, size_t items) {
  return {{"name", name}, {"alias", alias}, {"sample_len", items}};
}

// "acc" of the task, "acc_stem" of its category; nullptr for a measurement that is none of a group.
const Measurement* GroupMeasurement(const TaskResult& result, const std::string& category) {
  const std::string name = category.empty() ? "acc" : "acc_" + category;
  const auto found = std::ranges::find(result.measurements, name, &Measurement::name);
  return found == result.measurements.end() ? nullptr : &*found;
}

// The harness replaces each run of characters that a file's name cannot have by two underscores.
std::string SanitizedName(const std::string& model) {
  std::string name;
  bool in_run = false;
  for (const char c : model) {
    const bool is_bad = std::string_view("\"<>:/\\|?*[]").find(c) != std::string_view::npos;
    if (!is_bad) name += c;
    if (is_bad && !in_run) name += "__";
    in_run = is_bad;
  }
  return name;
}

Json SampleOf(const MultipleChoiceSet& set, const ItemScore& score, size_t index, size_t doc_id) {
  const MultipleChoiceItem& item = set.items[index];
  Json arguments = Json::object(), responses = Json::array(), filtered = Json::array(),
       choices = Json::array();
  for (size_t c = 0; c < score.log_likelihoods.size(); ++c) {
    const std::string& continuation = ContinuationOf(item, c);
    arguments[fmt::format("gen_args_{}", c)] = {{"arg_0", ContextOf(set, item, c, score.shots)},
                                                {"arg_1", continuation}};
    const Json response = {fmt::format("{}", score.log_likelihoods[c]),
                           score.is_greedy[c] ? "True" : "False"};
    responses.push_back(Json::array({response}));
    filtered.push_back(response);
    choices.push_back(continuation);
  }
  const std::string context = ContextOf(set, item, 0, score.shots);
  const Json doc = {{"query", context}, {"choices", choices}, {"gold", score.gold}};
  const std::string target = fmt::format("{}", score.gold);
  Json metrics = {"acc"};
  if (set.normalizes) metrics.push_back("acc_norm");
  Json sample = {{"doc_id", doc_id},
                 {"doc", doc},
                 {"target", target},
                 {"arguments", std::move(arguments)},
                 {"resps", std::move(responses)},
                 {"filtered_resps", std::move(filtered)},
                 {"filter", "none"},
                 {"metrics", std::move(metrics)},
                 {"doc_hash", Sha256Hex(doc.dump())},
                 {"prompt_hash", Sha256Hex(context)},
                 {"target_hash", Sha256Hex(target)},
                 {"acc", score.acc ? 1.0 : 0.0}};
  if (set.normalizes) sample["acc_norm"] = score.acc_norm ? 1.0 : 0.0;
  return sample;
}

HarnessSamples WindowSamples(const TaskResult& result) {
  HarnessSamples samples{result.task, {}};
  for (size_t i = 0; i < result.windows.size(); ++i) {
    samples.lines.push_back({{"doc_id", i},
                             {"filter", "none"},
                             {"metrics", {"loss"}},
                             {"loss", result.windows[i].loss},
                             {"weight", result.windows[i].weight}});
  }
  return samples;
}

std::string HashOf(const HarnessSamples& samples) {
  std::string hashes;
  for (const Json& line : samples.lines) {
    for (const char* key : {"doc_hash", "prompt_hash", "target_hash"})
      hashes += line.at(key).get<std::string>();
  }
  return Sha256Hex(hashes);
}

std::string FileText(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

void ForEachSamples(const HarnessTask& task, const std::function<void(const HarnessSamples&)>& visit) {
  if (task.set == nullptr) return visit(WindowSamples(task.result));
  const std::vector<ItemScore>& items = task.result.items;
  for (size_t i = 0; i < items.size();) {
    const std::string& subset = items[i].subset;
    HarnessSamples samples{subset.empty() ? task.result.task : SubjectTask(task.result.task, subset), {}};
    for (; i < items.size() && items[i].subset == subset; ++i)
      samples.lines.push_back(SampleOf(*task.set, items[i], i, samples.lines.size()));
    visit(samples);
  }
}

HarnessWriter::HarnessWriter(const std::string& output_path, const std::string& date, HarnessRun run,
                             bool samples)
    : run_(std::move(run)), id_(date), writes_samples_(samples) {
  std::ranges::replace(id_, ':', '-');
  const fs::path path(output_path);
  const bool names_file = output_path.ends_with(kJson);
  folder_ = (names_file ? path.parent_path() : path / SanitizedName(run_.model)).string();
  if (folder_.empty()) folder_ = ".";
  MakeDirectory(folder_);
  const std::string stem = names_file ? path.stem().string() : "results";
  for (const std::string& of : {stem + "_", std::string("samples_")}) RemoveTemporariesOfTheDead(folder_, of);
  path_ = (fs::path(folder_) / fmt::format("{}_{}.json", stem, id_)).string();
}

struct HarnessWriter::TaskFacts {
  std::string name, alias;
  std::vector<Measurement> metrics;
  size_t available = 0, measured = 0;  // items
};

void HarnessWriter::AddMetrics(const HarnessTask& task, const TaskFacts& facts) {
  Sections& s = sections_;
  Json entry = Entry(facts.name, facts.alias, facts.measured), better = Json::object(),
       metrics = Json::array();
  for (const Measurement& m : facts.metrics) {
    AddMetric(entry, m.name, m);
    better[m.name] = m.higher_is_better;
    metrics.push_back({{"metric", m.name}, {"higher_is_better", m.higher_is_better}});
  }
  const size_t shots = task.set == nullptr ? 0 : task.set->shots;
  s.results[facts.name] = std::move(entry);
  s.configs[facts.name] = {{"task", facts.name},
                           {"output_type", task.set == nullptr ? "loglikelihood_rolling" : "multiple_choice"},
                           {"num_fewshot", shots},
                           {"metric_list", std::move(metrics)}};
  if (task.set != nullptr) {
    s.configs[facts.name]["metadata"] = {{"version", VersionOf(facts.name)}};
    s.versions[facts.name] = VersionOf(facts.name);
  }
  s.shots[facts.name] = shots;
  s.higher_is_better[facts.name] = std::move(better);
  s.samples[facts.name] = {{"original", facts.available}, {"effective", facts.measured}};
}

void HarnessWriter::AddGroup(const TaskResult& result, const std::string& category, Json members) {
  const std::string name = category.empty() ? result.task : SubjectTask(result.task, category);
  std::string alias = category.empty() ? result.task : category;
  std::ranges::replace(alias, '_', ' ');
  sections_.group_subtasks[name] = std::move(members);
  const Measurement* m = GroupMeasurement(result, category);
  if (m == nullptr) return;
  Json entry = Entry(name, alias, m->n);
  AddMetric(entry, "acc", *m);
  entry["sample_count"] = {{"acc,none", m->n}};
  sections_.results[name] = entry;
  sections_.groups[name] = std::move(entry);
}

// Subjects as tasks, categories and all of them as groups.
void HarnessWriter::AddSubjects(const HarnessTask& task) {
  const TaskResult& result = task.result;
  std::vector<std::pair<std::string, Json>> categories;
  for (size_t i = 0; i < result.parts.size(); ++i) {
    const TaskSubset& subset = task.set->subsets[i];
    Measurement acc = result.parts[i];
    acc.name = "acc";
    const std::string name = SubjectTask(result.task, subset.name);
    AddMetrics(task, {name, subset.name, {acc}, subset.available, acc.n});
    if (categories.empty() || categories.back().first != subset.category)
      categories.emplace_back(subset.category, Json::array());
    categories.back().second.push_back(name);
  }
  Json groups = Json::array();
  for (auto& [category, members] : categories) {
    groups.push_back(SubjectTask(result.task, category));
    AddGroup(result, category, std::move(members));
  }
  AddGroup(result, "", std::move(groups));
}

void HarnessWriter::Add(const HarnessTask& task) {
  const TaskResult& result = task.result;
  if (task.set != nullptr && !task.set->subsets.empty()) {
    AddSubjects(task);
  } else {
    const size_t items = task.set == nullptr ? result.windows.size() : result.items.size();
    const size_t available = task.set == nullptr ? items : task.set->available;
    AddMetrics(task, {result.task, result.task, result.measurements, available, items});
  }
  sections_.protocols[result.task] = result.protocol;
  sections_.data[result.task] = result.data_hash;
  if (result.tokens.asked > 0) sections_.tokens[result.task] = {{"asked", result.tokens.asked}};
  ForEachSamples(task, [&](const HarnessSamples& samples) {
    if (task.set != nullptr) sections_.hashes[samples.task] = HashOf(samples);
    if (!writes_samples_) return;
    std::string text;
    for (const Json& line : samples.lines) text += FileText(line, -1);
    const std::string name = fmt::format("samples_{}_{}.jsonl", SanitizedName(samples.task), id_);
    WriteFileAtomic((fs::path(folder_) / name).string(), text);
  });
  WriteFileAtomic(path_, FileText(Results(), 2));
}

Json HarnessWriter::Results() const {
  const Sections& s = sections_;
  Json json = {{"results", s.results}};
  if (!s.groups.empty()) json["groups"] = s.groups;
  json["group_subtasks"] = s.group_subtasks;
  json["configs"] = s.configs;
  json["versions"] = s.versions;
  json["n-shot"] = s.shots;
  json["higher_is_better"] = s.higher_is_better;
  json["n-samples"] = s.samples;
  json["config"] = {{"model", "lowbit"},
                    {"model_args", {{"pretrained", run_.model}, {"dtype", run_.compute}, {"bos", run_.bos}}},
                    {"limit", run_.limit > 0 ? Json(run_.limit) : Json(nullptr)}};
  json["max_length"] = run_.max_length;
  json["task_hashes"] = s.hashes;
  json["model_source"] = "lowbit";
  json["model_name"] = run_.model;
  json["model_name_sanitized"] = SanitizedName(run_.model);
  json["lowbit"] = {
      {"version", CodeVersion()}, {"protocols", s.protocols}, {"data_sha256", s.data}, {"tokens", s.tokens}};
  return json;
}

}  // namespace lowbit
