// SPDX-License-Identifier: Apache-2.0
// lowbit compare: two models on the same questions and windows.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "lowbit/base/json.h"
#include "lowbit/base/log.h"
#include "lowbit/cli/commands.h"
#include "lowbit/eval/comparison.h"
#include "lowbit/eval/harness_reader.h"
#include "lowbit/study/results_db.h"

namespace lowbit {
namespace {

struct Options {
  std::string a, b, results, model;
  std::vector<std::string> tasks;
  bool subjects = false, json = false;
};

// One side: what is known of each task; of one that was measured under several protocols, of each.
struct Side {
  std::string name;
  std::multimap<std::string, HarnessOutcomes> tasks;
};

// The done cells of one recipe.
Side ReadRecipe(const std::vector<CellRow>& rows, const std::string& recipe, const Options& options) {
  Side side{recipe, {}};
  std::string model;
  std::set<std::string> known;
  for (const CellRow& row : rows) {
    if (!options.model.empty() && row.model != options.model) continue;
    known.insert(row.recipe);
    if (row.recipe != recipe) continue;
    if (!model.empty() && model != row.model)
      throw Error(ErrorKind::kUsage, Place(options.results),
                  fmt::format("holds '{}' of {} and {}, expected --model", recipe, model, row.model));
    model = row.model;
    if (row.status != CellStatus::kDone) continue;
    side.tasks.insert({row.task, {row.outcomes, row.metrics.front().name, row.protocol, {}}});
  }
  if (side.tasks.empty()) {
    throw Error(ErrorKind::kUsage, Place(options.results),
                fmt::format("has no done cell of '{}'; recipes: {}", Printable(recipe),
                            Printable(fmt::format("{}", fmt::join(known, ", ")), 400)));
  }
  return side;
}

Side ReadFiles(const std::string& path) {
  HarnessRunFiles run = ReadHarnessFiles(path);
  Side side{run.path, {}};
  for (auto& [task, outcomes] : run.tasks) side.tasks.insert({task, std::move(outcomes)});
  return side;
}

struct ComparedTask {
  std::string name;
  TaskComparison comparison;
};

void RequireSamePrompts(const HarnessOutcomes& a, const HarnessOutcomes& b, const Place& place) {
  for (size_t i = 0; i < std::min(a.prompts.size(), b.prompts.size()); ++i) {
    if (a.prompts[i].empty() || b.prompts[i].empty() || a.prompts[i] == b.prompts[i]) continue;
    throw Error(ErrorKind::kContent, place, fmt::format("question {} was asked in other words", i))
        .Hint("the same items, number of examples and task version are needed on both sides");
  }
}

// Windows, and answers in a database, say nothing about what was asked: another length or number of examples is another
// protocol. Files of questions have the hashes of their prompts, which are compared one by one.
bool IsSameMeasure(const HarnessOutcomes& a, const HarnessOutcomes& b) {
  const bool has_prompts = !a.prompts.empty() && !b.prompts.empty();
  return has_prompts || a.protocol.empty() || b.protocol.empty() || a.protocol == b.protocol;
}

// What `side` has of the task under the same protocol; nullptr where it has none of it at all.
const HarnessOutcomes* FindSame(const Side& side, const std::string& task, const HarnessOutcomes& as) {
  const auto [begin, end] = side.tasks.equal_range(task);
  const auto same =
      std::find_if(begin, end, [&](const auto& entry) { return IsSameMeasure(as, entry.second); });
  if (same != end) return &same->second;
  if (begin == end) return nullptr;
  throw Error(ErrorKind::kContent, Place(side.name).Item(fmt::format("task '{}'", task)),
              fmt::format("was measured by another protocol: '{}', expected '{}'", begin->second.protocol,
                          as.protocol));
}

std::vector<ComparedTask> Compare(const Side& a, const Side& b, const Options& options) {
  std::vector<ComparedTask> all;
  for (const auto& [name, of_a] : a.tasks) {
    const bool wanted =
        options.tasks.empty() || std::ranges::find(options.tasks, name) != options.tasks.end();
    const HarnessOutcomes* of_b = wanted ? FindSame(b, name, of_a) : nullptr;
    if (of_b == nullptr) continue;
    const Place place = Place(b.name).Item(fmt::format("task '{}'", name));
    TaskComparison c = CompareOutcomes(of_a.outcomes, of_b->outcomes, of_a.metric, place);
    RequireSamePrompts(of_a, *of_b, place);
    if (c.metrics.empty()) {
      LogWarning(fmt::format("{}: no answers or windows are kept of it, nothing to compare", name));
      continue;
    }
    all.push_back({name, std::move(c)});
  }
  if (all.empty())
    throw Error(ErrorKind::kUsage, fmt::format("{} and {} have no measured task in common", a.name, b.name));
  return all;
}

// Perplexity and tasks that point to different sides: which to believe is for people to say.
std::string Disagreement(const std::vector<ComparedTask>& tasks) {
  std::string better, worse;
  for (const ComparedTask& task : tasks) {
    for (const MetricComparison& m : task.comparison.metrics) {
      const int verdict = m.Verdict();
      if (verdict == 0) continue;
      std::string& list = verdict > 0 ? better : worse;
      list += fmt::format("{}{} {}", list.empty() ? "" : ", ", task.name, m.metric);
    }
  }
  if (better.empty() || worse.empty()) return "";
  return fmt::format("B is better on {} and worse on {}", better, worse);
}

Json ToJson(const PairedDifference& d, const std::optional<Flips>& flips) {
  Json json = {{"a", d.a}, {"b", d.b}, {"difference", d.difference()},    {"low", d.low}, {"high", d.high},
               {"p", d.p}, {"n", d.n}, {"significant", d.IsSignificant()}};
  if (flips) json["flips"] = {{"lost", flips->lost}, {"gained", flips->gained}};
  return json;
}

void PrintJson(const Side& a, const Side& b, const std::vector<ComparedTask>& tasks) {
  Json json = {{"a", a.name}, {"b", b.name}, {"tasks", Json::object()}};
  for (const ComparedTask& task : tasks) {
    Json& of_task = json["tasks"][task.name];
    for (const MetricComparison& m : task.comparison.metrics)
      of_task["metrics"][m.metric] = ToJson(m.difference, m.flips);
    for (const SubsetComparison& s : task.comparison.subsets)
      of_task["subjects"][s.name] = ToJson(s.difference, s.flips);
  }
  const std::string disagreement = Disagreement(tasks);
  json["disagreement"] = disagreement.empty() ? Json(nullptr) : Json(disagreement);
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

// The first two columns of a row, and what they need in width.
struct RowNames {
  std::string task, metric;
  size_t task_width = 0, metric_width = 0;
};

void PrintRow(const RowNames& names, const PairedDifference& d, int digits, std::string_view verdict,
              const std::optional<Flips>& flips) {
  const auto number = [digits](double value) { return fmt::format("{:.{}f}", value, digits); };
  const auto change = [digits](double value) { return fmt::format("{:+.{}f}", value, digits); };
  fmt::print("{:<{}}  {:<{}}  {:>9} {:>9} {:>9}  {:<20} {:<7} {:<7}", names.task, names.task_width,
             names.metric, names.metric_width, number(d.a), number(d.b), change(d.difference()),
             fmt::format("[{}, {}]", change(d.low), change(d.high)),
             d.p < 0.0001 ? "<0.0001" : fmt::format("{:.4f}", d.p), verdict);
  if (flips) fmt::print(" {} lost, {} gained of {}", flips->lost, flips->gained, d.n);
  fmt::print("\n");
}

void PrintTable(const Side& a, const Side& b, const std::vector<ComparedTask>& tasks, bool subjects) {
  constexpr std::string_view kVerdicts[] = {"worse", "", "better"};
  RowNames names{"task", "metric", 4, 6};
  for (const ComparedTask& task : tasks) {
    names.task_width = std::max(names.task_width, task.name.size());
    for (const MetricComparison& m : task.comparison.metrics)
      names.metric_width = std::max(names.metric_width, m.metric.size());
    for (const SubsetComparison& s : task.comparison.subsets)
      names.metric_width = std::max(names.metric_width, subjects ? s.name.size() : 0);
  }
  fmt::print("A  {}\nB  {}\n\n", a.name, b.name);
  fmt::print("{:<{}}  {:<{}}  {:>9} {:>9} {:>9}  {:<20} {:<7} {:<7} {}\n", names.task, names.task_width,
             names.metric, names.metric_width, "A", "B", "B - A", "95 % interval", "p", "B is", "flips");
  for (const ComparedTask& task : tasks) {
    names.task = task.name;
    for (const MetricComparison& m : task.comparison.metrics) {
      names.metric = m.metric;
      PrintRow(names, m.difference, m.flips ? 4 : 3, kVerdicts[m.Verdict() + 1], m.flips);
      names.task.clear();
    }
    for (const SubsetComparison& s : task.comparison.subsets) {
      names.metric = s.name;
      if (subjects) PrintRow(names, s.difference, 4, "", s.flips);
    }
  }
  if (const std::string disagreement = Disagreement(tasks); !disagreement.empty()) LogWarning(disagreement);
}

void RunCompare(const Options& options) {
  Side a, b;
  if (options.results.empty()) {
    if (!options.model.empty()) throw Error(ErrorKind::kUsage, "--model is for recipes of --results");
    a = ReadFiles(options.a);
    b = ReadFiles(options.b);
  } else {
    const std::vector<CellRow> rows = ResultsDb::Open(options.results, ResultsDb::Mode::kRead).All();
    a = ReadRecipe(rows, options.a, options);
    b = ReadRecipe(rows, options.b, options);
  }
  const std::vector<ComparedTask> tasks = Compare(a, b, options);
  options.json ? PrintJson(a, b, tasks) : PrintTable(a, b, tasks, options.subjects);
}

}  // namespace

void AddCompareCommand(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("compare", "Tell two models apart: paired differences, their intervals, flips");
  command
      ->add_option("a", options->a,
                   "a recipe of --results, or results of lowbit eval or lm-eval with samples")
      ->required();
  command->add_option("b", options->b, "the same, compared with the first")->required();
  command->add_option("--results", options->results, "the results.db of a study; A and B are its recipes");
  command->add_option("--model", options->model, "which model's, where results.db has several");
  command->add_option("--tasks", options->tasks, "these only (default: all that both have)")->delimiter(',');
  command->add_flag("--subjects", options->subjects, "also each subject of mmlu");
  command->add_flag("--json", options->json, "machine-readable output on stdout, with the subjects");
  command->footer(
      "acc: McNemar's exact test; acc_norm and perplexities: paired bootstrap over questions or windows.\n"
      "'better' and 'worse' stand where p is below 0.05; lost: right in A only, gained: right in B only.\n"
      "Examples:\n"
      "  lowbit compare full gptq-w4-g64 --results study/results.db\n"
      "  lowbit compare rtn-w4-g128 awq-w4-g128 --results study/results.db --tasks piqa,mmlu --subjects\n"
      "  lowbit eval q4 --tasks piqa,wikitext2 --output-path out/q4 --log-samples\n"
      "  lowbit compare out/full out/q4 --json");
  command->callback([options] { RunCompare(*options); });
}

}  // namespace lowbit
