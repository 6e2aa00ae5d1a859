// SPDX-License-Identifier: Apache-2.0
// lowbit study: a grid of models × recipes × tasks that survives being stopped.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "lowbit/base/files.h"
#include "lowbit/base/human.h"
#include "lowbit/base/json.h"
#include "lowbit/base/lock_file.h"
#include "lowbit/base/log.h"
#include "lowbit/cli/commands.h"
#include "lowbit/cli/compute_options.h"
#include "lowbit/study/runner.h"

namespace lowbit {
namespace {

struct Options {
  std::string file, out;
  bool dry_run = false, json = false;
  int threads = 0;
  std::string backend = "cpu";
  MemoryOptions memory;
};

void PrintPlan(const StudyPlan& plan, const std::string& folder, const Backend& backend) {
  LogInfo(fmt::format("study {}: {} models × {} recipes × {} tasks = {} cells, {} on {}", plan.study.name,
                      plan.models.size(), plan.study.recipes.size(), plan.tasks.size(), plan.cells.size(),
                      plan.study.compute, folder));
  for (const PlannedModel& m : plan.models) {
    LogInfo(fmt::format("  model {:<24} {} in {}, weights {:.12}", m.model.name,
                        HumanBytes(m.source->checkpoint().TensorBytes()), m.model.folder, m.weights_hash));
  }
  for (const std::unique_ptr<Task>& task : plan.tasks) {
    LogInfo(fmt::format("  task  {:<24} {}, text {:.12}", task->Name(), task->Settings(), task->DataHash()));
  }
  for (const std::string& recipe : plan.study.left_out) LogInfo("  left out " + recipe);
  LogInfo(fmt::format("  {} done, {} failed before, {} missing", plan.CountOf(CellState::kDone),
                      plan.CountOf(CellState::kFailed), plan.CountOf(CellState::kMissing)));
  double seconds = 0;
  for (const PlannedSweeps& sweeps : PlanSweeps(plan, folder, backend, Probe::kYes)) {
    seconds += sweeps.quantize.Seconds();
    const std::string& model = plan.models[sweeps.model].model.name;
    LogInfo(fmt::format("  plan  {} {}", model, sweeps.quantize.Text()));
    for (const QuantizeLane& lane : sweeps.quantize.lanes) {
      std::string recipes;
      for (const size_t place : lane.recipes)
        recipes += " " + plan.study.recipes[sweeps.recipes[place]].Text();
      LogInfo(fmt::format("  sweep {} about {}, memory {}:{}", model, HumanSeconds(lane.seconds),
                          HumanBytes(lane.peak_bytes), recipes));
    }
  }
  for (const CellCosts& cost : EstimateCosts(plan, backend)) {
    seconds += cost.seconds;
    LogInfo(fmt::format("  plan  {} {}: {} cells, about {}, memory {}", plan.models[cost.model].model.name,
                        plan.tasks[cost.task]->Name(), cost.cells, HumanSeconds(cost.seconds),
                        HumanBytes(cost.peak_bytes)));
  }
  LogInfo(fmt::format("  about {} in all", HumanSeconds(seconds)));
  if (plan.rows_of_other_code > 0) {
    LogWarning(fmt::format("{} of the rows that are done were made by another version of lowbit",
                           plan.rows_of_other_code));
  }
}

std::string RowText(const CellRow& row) {
  std::string text = fmt::format("{} {} {}: ", row.model, row.recipe, row.task);
  if (row.status == CellStatus::kFailed) return text + "FAILED, " + row.error;
  for (const Metric& m : row.metrics) {
    text += fmt::format("{}{} {:.5g}{}", &m == row.metrics.data() ? "" : ", ", m.name, m.value,
                        m.standard_error ? fmt::format(" ± {:.2g}", *m.standard_error) : "");
  }
  if (row.storage)
    text += fmt::format(", {:.3f} bits/weight, {}", row.storage->quantized_bpw,
                        HumanBytes(row.storage->model_bytes));
  const double seconds =
      row.provenance.quantize_seconds.value_or(0) + row.provenance.eval_seconds.value_or(0);
  return text + ", " + HumanSeconds(seconds);
}

int RunStudy(const Options& options) {
  const StudyFile study = ReadStudyFile(options.file);
  const std::string folder = options.out.empty() ? study.name + "-out" : options.out;
  const std::string database = folder + "/results.db";
  ComputeOptions compute;
  compute.backend = options.backend;
  compute.compute = study.compute;
  compute.threads = options.threads;
  const ComputeContext context(compute);

  StudyPlan plan = MakePlan(study, context.threads, options.memory.Budget());
  if (options.dry_run) {
    if (std::filesystem::exists(database))
      MarkKnownCells(plan, ResultsDb::Open(database, ResultsDb::Mode::kRead));
    PrintPlan(plan, folder, *context.backend);
    return 0;
  }
  MakeDirectory(folder);
  const LockFile lock(folder);
  RemoveStaleTemporaries(folder, "results.db");  // the folder may hold a user's things
  ResultsDb results = ResultsDb::Open(database, ResultsDb::Mode::kWrite);
  MarkKnownCells(plan, results);
  PrintPlan(plan, folder, *context.backend);

  const StudySummary summary = RunPlan(plan, folder, results, *context.backend,
                                       [&](const CellRow& row, size_t finished, size_t total) {
                                         LogInfo(fmt::format("[{}/{}] {}", finished, total, RowText(row)));
                                       });
  if (options.json) {
    fmt::print("{}\n", Json{{"study", study.name},
                            {"results", database},
                            {"cells", plan.cells.size()},
                            {"done", summary.done},
                            {"failed", summary.failed}}
                           .dump());
  } else {
    fmt::print("{} cells done, {} failed; {} in {}\n", summary.done, summary.failed, plan.cells.size(),
               database);
    fmt::print("next: lowbit report {} -o {}/report.html\n", database, folder);
  }
  return summary.failed > 0 ? kExitPartial : 0;
}

}  // namespace

void AddStudyCommand(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("study", "run a grid of models × recipes × tasks and keep every row");
  auto options = std::make_shared<Options>();
  command->add_option("file", options->file, "study file (YAML, docs/study-files.md)")->required();
  command->add_option("-o,--out", options->out, "folder for results.db and artefacts (default: NAME-out)");
  command->add_flag("--dry-run", options->dry_run, "print the plan and stop");
  command->add_flag("--json", options->json, "a summary as JSON on stdout");
  command->add_option("--backend", options->backend, "cpu or ref")->capture_default_str();
  command
      ->add_option("-t,--threads", options->threads, "threads (default: all cores); never changes a result")
      ->check(CLI::Range(1, 1024));
  options->memory.AddTo(*command);
  command->footer(
      "Run again, it does what is missing. Exit code 9: finished, but some cells failed (their rows say "
      "why).\n"
      "Recipes one by one, or as a grid: {methods: [rtn, gptq], bits: [4, 3], groups: [channel, 64]};\n"
      "skip_refused: true leaves out what cannot be, and the plan says why (docs/study-files.md).\n"
      "Examples:\n"
      "  lowbit study studies/demo.yaml -o demo\n"
      "  lowbit report demo/results.db -o demo/report.html");
  command->callback([options, &exit_code] { exit_code = RunStudy(*options); });
}

}  // namespace lowbit
