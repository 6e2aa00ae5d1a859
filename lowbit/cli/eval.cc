// SPDX-License-Identifier: Apache-2.0
// lowbit eval: measures of one model, or of one artefact.
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>

#include "lowbit/base/human.h"
#include "lowbit/base/json.h"
#include "lowbit/base/log.h"
#include "lowbit/base/memory.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/cli/commands.h"
#include "lowbit/cli/compute_options.h"
#include "lowbit/cli/eval_output.h"
#include "lowbit/cli/show_items.h"
#include "lowbit/eval/divergence.h"
#include "lowbit/eval/task.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, bos = "auto", show, output_path;
  std::vector<std::string> tasks;
  std::optional<size_t> shots;
  TaskOptions task;
  bool divergence = false, json = false, log_samples = false;
  ComputeOptions compute;
  MemoryOptions memory;
};

// Full precision of what is measured, where it is to be compared with that. Throws Error{kUsage} for a model that
// is not quantized, and for a task that compares nothing.
std::unique_ptr<LayerSource> OpenBase(const Options& options,
                                      const std::vector<std::unique_ptr<Task>>& tasks) {
  if (!options.divergence) return nullptr;
  if (!IsArtefact(options.model)) {
    throw Error(ErrorKind::kUsage, Place(options.model),
                "is not quantized: --divergence compares an artefact of lowbit quantize with its own base");
  }
  for (const std::unique_ptr<Task>& task : tasks) {
    if (task->ComparesModels()) continue;
    throw Error(ErrorKind::kUsage, fmt::format("task '{}' has no --divergence", task->Name()));
  }
  return OpenModel(BaseFolderOf(options.model));
}

// How the work is cut and how long it will take, before it begins. Throws Error{kResource} where memory is
// too small.
void PrintPlan(const std::string& what, const ForwardJob& job, const LayerSource& source,
               const Backend& backend, const MemoryBudget& budget) {
  PlanForward(source, backend, job, budget);  // refuses before anything is spent
  const double seconds = ProbeSeconds(source, backend, job);
  const ForwardPlan plan = PlanForward(source, backend, job, budget);  // with all libraries in memory
  LogInfo(fmt::format("plan {}: {} tokens through {} layers{}, about {}, reads {}; memory {}", what, job.rows,
                      source.config().num_hidden_layers, plan.keeps_layers ? " that stay in memory" : "",
                      HumanSeconds(seconds), HumanBytes(plan.bytes_read), plan.Text()));
}

Json ToJson(const std::vector<Measurement>& measurements) {
  Json metrics = Json::object();
  for (const Measurement& m : measurements) {
    metrics[m.name] = {{"value", m.value},
                       {"std_error", m.std_error ? Json(*m.std_error) : Json(nullptr)},
                       {"n", m.n},
                       {"higher_is_better", m.higher_is_better}};
  }
  return metrics;
}

Json ToJson(const std::vector<ItemScore>& items) {
  Json json = Json::array();
  for (const ItemScore& item : items) {
    json.push_back({{"log_likelihoods", item.log_likelihoods},
                    {"gold", item.gold},
                    {"acc", item.acc ? 1 : 0},
                    {"acc_norm", item.acc_norm ? 1 : 0},
                    {"acc_bytes", item.acc_bytes ? 1 : 0}});
  }
  return json;
}

Json ToJson(const TaskResult& result, double seconds, bool log_samples) {
  Json json = {{"task", result.task},
               {"protocol", result.protocol},
               {"data_sha256", result.data_hash},
               {"seconds", seconds},
               {"metrics", ToJson(result.measurements)}};
  if (!result.parts.empty()) json["subjects"] = ToJson(result.parts);
  if (result.tokens.asked > 0)
    json["tokens"] = {{"asked", result.tokens.asked}, {"computed", result.tokens.computed}};
  if (log_samples && !result.items.empty()) json["samples"] = ToJson(result.items);
  return json;
}

Json ToJson(const std::vector<ProfileRow>& rows) {
  Json json = Json::array();
  for (const ProfileRow& row : rows) {
    json.push_back({{"operation", row.operation},
                    {"calls", row.calls},
                    {"seconds", row.seconds},
                    {"gflop", row.flop / 1e9},
                    {"own_gflop_per_second", row.own_rate / 1e9}});
  }
  return json;
}

void PrintTable(const TaskResult& result, double seconds) {
  const bool of_items = !result.items.empty();
  const auto print = [&](const std::string& name, const Measurement& m) {
    // Shares as lm-evaluation-harness prints them.
    const std::string value = of_items ? fmt::format("{:.4f}", m.value) : fmt::format("{:.6g}", m.value);
    std::string error;
    if (m.std_error)
      error = of_items ? fmt::format(" ± {:.4f}", *m.std_error) : fmt::format(" ± {:.2g}", *m.std_error);
    fmt::print("{:<16} {:<15} {}{}   ({} {}, {})\n", result.task, name, value, error, m.n, result.counted,
               HumanSeconds(seconds));
  };
  for (const Measurement& m : result.measurements) print(m.name, m);
  for (const Measurement& m : result.parts) print("acc " + m.name, m);
  fmt::print("  {}\n", result.protocol);
  if (of_items) {
    fmt::print("  {} tokens asked, {} computed; data SHA-256 {}\n", result.tokens.asked,
               result.tokens.computed, result.data_hash);
  }
}

TaskOptions TaskOptionsOf(const Options& options) {
  TaskOptions task = options.task;
  task.shots = options.shots;
  task.bos = options.bos == "on" ? BosRule::kOn : options.bos == "off" ? BosRule::kOff : BosRule::kAuto;
  return task;
}

std::vector<std::unique_ptr<Task>> MakeTasks(const Options& options) {
  const TaskOptions task_options = TaskOptionsOf(options);
  std::vector<std::unique_ptr<Task>> tasks;
  for (const std::string& name : options.tasks) tasks.push_back(MakeTask(name, task_options));
  RequireUsed(task_options, tasks);
  return tasks;
}

// What the tasks ask, and nothing else: the model's folder is needed for its tokenizer only.
void RunShow(const Options& options) {
  const size_t items = ParseShownItems(options.show);
  const Tokenizer tokenizer =
      Tokenizer::Load(IsArtefact(options.model) ? BaseFolderOf(options.model) : options.model);
  for (const std::unique_ptr<Task>& task : MakeTasks(options)) {
    if (task->Choices() == nullptr)
      throw Error(ErrorKind::kUsage, fmt::format("task '{}' has no items to --show", task->Name()));
    ShowItems(*task->Choices(), tokenizer, {.bos = TaskOptionsOf(options).bos}, items, options.json);
  }
}

// Nothing where nobody asked for files.
std::optional<EvalOutput> OpenOutput(const Options& options, const LayerSource& source,
                                     const Tokenizer& tokenizer,
                                     const std::vector<std::unique_ptr<Task>>& tasks,
                                     const ComputeContext& context) {
  if (options.output_path.empty()) return std::nullopt;
  const std::string compute(Name(context.backend->compute()));
  HarnessRun run{.model = options.model,
                 .compute = compute,
                 .bos = options.bos,
                 .max_length = source.config().max_position_embeddings,
                 .limit = options.task.limit};
  std::string scored_by = fmt::format("{} {} {}", compute, context.backend->Name(), context.backend->Isa());
  if (std::ranges::any_of(tasks, [](const auto& task) { return task->Choices() != nullptr; }))
    scored_by += " " + ModelHash(options.model, tokenizer, context.threads);  // of those, blocks are kept
  return std::optional<EvalOutput>(std::in_place, options.output_path, std::move(run), options.log_samples,
                                   std::move(scored_by));
}

// Everything about one task but its numbers.
class TaskRun {
 public:
  // All must outlive it; `base` and `output` may be null.
  TaskRun(const Options& options, const ComputeContext& context, const Decoder& decoder,
          const LayerSource* base, const MemoryBudget& budget, EvalOutput* output)
      : options_(options),
        context_(context),
        decoder_(decoder),
        base_(base),
        budget_(budget),
        output_(output) {}

  // Prints what comes of it, or returns it for --json.
  Json Run(const Task& task, const Tokenizer& tokenizer, bool repeats) const {
    if (context_.profile != nullptr) context_.profile->Reset();
    const Stopwatch watch;
    std::unique_ptr<Reference> reference;
    if (base_ != nullptr) reference = std::make_unique<Reference>(*base_, *context_.backend, budget_);
    std::unique_ptr<ScoreKeeper> keeper;
    if (output_ != nullptr && task.Choices() != nullptr) keeper = output_->KeeperOf(task);
    const Scorer scorer(decoder_, options_.task.windows_per_batch, repeats, Sharing::kPrefixes, keeper.get());
    const TaskResult result = task.Run(scorer, tokenizer, reference.get());
    const double seconds = watch.Seconds();
    if (output_ != nullptr) output_->Add({result, task.Choices()});
    Json json;
    if (options_.json) {
      json = ToJson(result, seconds, options_.log_samples);
    } else {
      PrintTable(result, seconds);
    }
    TellProfile(seconds, json);
    return json;
  }

 private:
  void TellProfile(double seconds, Json& json) const {
    if (context_.profile == nullptr) return;
    const std::vector<ProfileRow> rows = context_.profile->Rows();
    if (options_.json) {
      json["profile"] = ToJson(rows);
    } else {
      fmt::print("{}", ProfileText(rows, seconds));
    }
  }

  const Options& options_;
  const ComputeContext& context_;
  const Decoder& decoder_;
  const LayerSource* base_;
  const MemoryBudget& budget_;
  EvalOutput* output_;
};

void PrintResults(const Options& options, const ComputeContext& context, const Json& results) {
  const Json out = {{"model", options.model},
                    {"backend", context.backend->Name()},
                    {"compute", Name(context.backend->compute())},
                    {"isa", context.backend->Isa()},
                    {"threads", context.threads.count()},
                    {"peak_bytes", PeakMemoryBytes()},
                    {"results", results}};
  fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
}

void RunEval(const Options& options) {
  if (options.log_samples && !options.json && options.output_path.empty())
    throw Error(ErrorKind::kUsage, "--log-samples needs --output-path, which it writes to, or --json");
  const MemoryBudget budget = options.memory.Budget();
  // Everything that can be refused is refused before the first forward pass.
  const std::unique_ptr<LayerSource> source = OpenModel(options.model);
  const Tokenizer tokenizer = Tokenizer::Load(BaseFolderOf(options.model));
  tokenizer.RequireRows(source->config().vocab_size);
  const std::vector<std::unique_ptr<Task>> tasks = MakeTasks(options);
  const std::unique_ptr<LayerSource> base = OpenBase(options, tasks);
  const ComputeContext context(options.compute);
  const Decoder decoder(*source, *context.backend, budget);
  const bool repeats = tasks.size() > 1;
  LogDetail(fmt::format("{} on {}, {} threads", Name(context.backend->compute()), context.backend->Isa(),
                        context.threads.count()));
  for (const std::unique_ptr<Task>& task : tasks) {
    ForwardJob job = task->Job(tokenizer, source->config());
    job.repeats = repeats;
    if (base) {
      PrintPlan(task->Name() + " in full precision", job, *base, *context.backend, budget);
      job = ComparedJob(job, *base, *context.backend, budget);
    }
    PrintPlan(task->Name(), job, *source, *context.backend, budget);
  }

  std::optional<EvalOutput> output = OpenOutput(options, *source, tokenizer, tasks, context);
  const TaskRun run(options, context, decoder, base.get(), budget, output ? &*output : nullptr);
  Json results = Json::array();
  for (const std::unique_ptr<Task>& task : tasks) results.push_back(run.Run(*task, tokenizer, repeats));
  if (options.json) PrintResults(options, context, results);
  if (output) {
    output->Finish();
    LogInfo(fmt::format("wrote {}{}", output->path(), options.log_samples ? " and its samples" : ""));
  }
  LogDetail(fmt::format("most memory held: {}", HumanBytes(PeakMemoryBytes())));
}

}  // namespace

void AddEvalCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "measure a checkpoint or an artefact");
  auto options = std::make_shared<Options>();
  std::string known;
  for (const TaskInfo& task : Tasks()) known += fmt::format("\n  {:<13} {}", task.name, task.description);
  command->add_option("model", options->model, "checkpoint or artefact folder")->required();
  command->add_option("--tasks", options->tasks, "comma-separated tasks, see below")
      ->required()
      ->delimiter(',');
  command
      ->add_option(
          "--window", options->task.window,
          "tokens per window (default 2048, as in the papers); of wikitext the most the model sees at once "
          "(default: its max_position_embeddings)")
      ->check(CLI::PositiveNumber);
  command->add_option("--windows", options->task.windows, "at most this many windows (default: all)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--windows-per-batch,--batch-size", options->task.windows_per_batch,
                   "windows, or choices, that pass through a layer together (default: all, cut by memory); "
                   "never changes "
                   "a result")
      ->check(CLI::PositiveNumber);
  command
      ->add_option(
          "--limit", options->task.limit,
          "multiple choice: the first items only, of mmlu of each subject; wikitext: the first pages")
      ->check(CLI::PositiveNumber);
  command->add_option("--num-fewshot", options->shots,
                      "solved examples before each question; mmlu has 5 (default 0, as in "
                      "lm-evaluation-harness; of mmlu@study 5)");
  command
      ->add_option("--bos", options->bos,
                   "multiple choice, wikitext: begin texts with BOS: auto as the tokenizer does, on, off")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  command->add_option(
      "--show", options->show,
      "print what the first N items, or all, ask with the borders of tokens, and measure nothing: "
      "the model is read for its tokenizer only");
  command->add_option("--data", options->task.data_folder,
                      "folder of data sets (default: $LOWBIT_DATA, then those that ship with lowbit)");
  command->add_flag("--divergence", options->divergence,
                    "also how far an artefact's predictions are from those of its own base, token by token");
  command->add_flag("--json", options->json, "machine-readable output on stdout");
  command->add_option(
      "--output-path", options->output_path,
      "also write the results as lm-evaluation-harness does: FOLDER/MODEL/results_DATE.json, or a "
      "name that ends in .json; killed, the same command goes on behind finished blocks of questions");
  command->add_flag("--log-samples", options->log_samples,
                    "also every item's scores: samples_TASK_DATE.jsonl beside the results, and in --json");
  options->compute.AddTo(*command, "auto");
  options->memory.AddTo(*command);
  command->add_flag(
      "--profile", options->compute.profile,
      "also where the time went: seconds and GFLOP/s of each operation, and of products the share "
      "of the rate they reach alone");
  command->footer("Tasks:" + known +
                  "\nExamples:\n"
                  "  lowbit eval Qwen3-0.6B --tasks wikitext2\n"
                  "  lowbit eval q4 --tasks wikitext2,text:notes.txt --window 512 --windows 40 --json\n"
                  "  lowbit eval q4 --tasks wikitext2 --divergence\n"
                  "  lowbit eval q4 --tasks piqa,arc_easy,hellaswag --limit 100\n"
                  "  lowbit eval q4 --tasks mmlu --num-fewshot 5 --data ~/data\n"
                  "  lowbit eval q4 --tasks piqa,wikitext2 --output-path out/q4 --log-samples\n"
                  "  lowbit eval q4 --tasks wikitext --window 2048\n"
                  "  lowbit eval q4 --tasks c4-new,c4@study,mmlu@study --data ~/data\n"
                  "  lowbit eval Qwen3-0.6B --tasks piqa --show 3\n"
                  "  lowbit eval Qwen3-32B --tasks wikitext2 --ram 6GB");
  command->callback([options] { options->show.empty() ? RunEval(*options) : RunShow(*options); });
}

}  // namespace lowbit
