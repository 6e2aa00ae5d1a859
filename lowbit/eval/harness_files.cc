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

// Sections of the results file that have one member a task.
struct Sections {
  Json results = Json::object(), groups = Json::object(), group_subtasks = Json::object(),
       configs = Json::object(), versions = Json::object(), shots = Json::object(),
       higher_is_better = Json::object(), samples = Json::object(), hashes = Json::object();
};

struct TaskFacts {
  std::string name, alias;
  std::vector<Measurement> metrics;
  size_t available = 0, measured = 0;  // items
};

void AddTask(Sections& s, const HarnessTask& task, const TaskFacts& facts) {
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

// "acc" of the task, "acc_stem" of its category; nullptr for a measurement that is none of a group.
const Measurement* GroupMeasurement(const TaskResult& result, const std::string& category) {
  const std::string name = category.empty() ? "acc" : "acc_" + category;
  const auto found = std::ranges::find(result.measurements, name, &Measurement::name);
  return found == result.measurements.end() ? nullptr : &*found;
}

void AddGroup(Sections& s, const TaskResult& result, const std::string& category, Json members) {
  const std::string name = category.empty() ? result.task : SubjectTask(result.task, category);
  std::string alias = category.empty() ? result.task : category;
  std::ranges::replace(alias, '_', ' ');
  s.group_subtasks[name] = std::move(members);
  const Measurement* m = GroupMeasurement(result, category);
  if (m == nullptr) return;
  Json entry = Entry(name, alias, m->n);
  AddMetric(entry, "acc", *m);
  entry["sample_count"] = {{"acc,none", m->n}};
  s.results[name] = entry;
  s.groups[name] = std::move(entry);
}

// Subjects as tasks, categories and all of them as groups.
void AddSubjects(Sections& s, const HarnessTask& task) {
  const TaskResult& result = task.result;
  std::vector<std::pair<std::string, Json>> categories;
  for (size_t i = 0; i < result.parts.size(); ++i) {
    const TaskSubset& subset = task.set->subsets[i];
    Measurement acc = result.parts[i];
    acc.name = "acc";
    const std::string name = SubjectTask(result.task, subset.name);
    AddTask(s, task, {name, subset.name, {acc}, subset.available, acc.n});
    if (categories.empty() || categories.back().first != subset.category)
      categories.emplace_back(subset.category, Json::array());
    categories.back().second.push_back(name);
  }
  Json groups = Json::array();
  for (auto& [category, members] : categories) {
    groups.push_back(SubjectTask(result.task, category));
    AddGroup(s, result, category, std::move(members));
  }
  AddGroup(s, result, "", std::move(groups));
}

Json Facts(std::span<const HarnessTask> tasks) {
  Json protocols = Json::object(), data = Json::object(), tokens = Json::object();
  for (const HarnessTask& task : tasks) {
    protocols[task.result.task] = task.result.protocol;
    data[task.result.task] = task.result.data_hash;
    if (task.result.tokens.asked > 0) tokens[task.result.task] = {{"asked", task.result.tokens.asked}};
  }
  return {{"version", CodeVersion()}, {"protocols", protocols}, {"data_sha256", data}, {"tokens", tokens}};
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

std::vector<HarnessSamples> HarnessSamplesOf(const HarnessTask& task) {
  if (task.set == nullptr) return {WindowSamples(task.result)};
  std::vector<HarnessSamples> all;
  for (size_t i = 0; i < task.result.items.size(); ++i) {
    const ItemScore& score = task.result.items[i];
    const std::string name =
        score.subset.empty() ? task.result.task : SubjectTask(task.result.task, score.subset);
    if (all.empty() || all.back().task != name) all.push_back({name, {}});
    all.back().lines.push_back(SampleOf(*task.set, score, i, all.back().lines.size()));
  }
  return all;
}

Json HarnessResults(const HarnessRun& run, std::span<const HarnessTask> tasks) {
  Sections s;
  for (const HarnessTask& task : tasks) {
    const TaskResult& result = task.result;
    if (task.set != nullptr && !task.set->subsets.empty()) {
      AddSubjects(s, task);
    } else {
      const size_t items = task.set == nullptr ? result.windows.size() : result.items.size();
      const size_t available = task.set == nullptr ? items : task.set->available;
      AddTask(s, task, {result.task, result.task, result.measurements, available, items});
    }
    if (task.set == nullptr) continue;
    for (const HarnessSamples& samples : HarnessSamplesOf(task)) s.hashes[samples.task] = HashOf(samples);
  }
  Json json = {{"results", s.results}};
  if (!s.groups.empty()) json["groups"] = s.groups;
  json["group_subtasks"] = s.group_subtasks;
  json["configs"] = s.configs;
  json["versions"] = s.versions;
  json["n-shot"] = s.shots;
  json["higher_is_better"] = s.higher_is_better;
  json["n-samples"] = s.samples;
  json["config"] = {{"model", "lowbit"},
                    {"model_args", {{"pretrained", run.model}, {"dtype", run.compute}, {"bos", run.bos}}},
                    {"limit", run.limit > 0 ? Json(run.limit) : Json(nullptr)}};
  json["max_length"] = run.max_length;
  json["task_hashes"] = s.hashes;
  json["model_source"] = "lowbit";
  json["model_name"] = run.model;
  json["model_name_sanitized"] = SanitizedName(run.model);
  json["lowbit"] = Facts(tasks);
  return json;
}

std::string HarnessFolder(const std::string& output_path, const std::string& model) {
  const fs::path path(output_path);
  if (!output_path.ends_with(kJson)) return (path / SanitizedName(model)).string();
  return path.has_parent_path() ? path.parent_path().string() : ".";
}

std::string WriteHarnessFiles(const std::string& output_path, const std::string& date, const HarnessRun& run,
                              std::span<const HarnessTask> tasks, bool samples) {
  std::string id = date;
  std::ranges::replace(id, ':', '-');
  const std::string stem = output_path.ends_with(kJson) ? fs::path(output_path).stem().string() : "results";
  const fs::path folder = HarnessFolder(output_path, run.model);
  MakeDirectory(folder.string());
  for (const HarnessTask& task : tasks) {
    if (!samples) break;
    for (const HarnessSamples& of_task : HarnessSamplesOf(task)) {
      std::string text;
      for (const Json& line : of_task.lines) text += FileText(line, -1);
      WriteFileAtomic((folder / fmt::format("samples_{}_{}.jsonl", SanitizedName(of_task.task), id)).string(),
                      text);
    }
  }
  std::string results = (folder / fmt::format("{}_{}.json", stem, id)).string();
  WriteFileAtomic(results, FileText(HarnessResults(run, tasks), 2));
  return results;
}

}  // namespace lowbit
