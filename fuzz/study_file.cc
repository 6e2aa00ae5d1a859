// SPDX-License-Identifier: Apache-2.0
// A study file: what is accepted has every part once, under names that stay inside the output folder.
#include <algorithm>
#include <set>

#include "fuzz/target.h"
#include "lowbit/study/study_file.h"

namespace lowbit::fuzz {
namespace {

// The task's name alone: its data would be any file of this machine.
void CheckName(const StudyTask& task) {
  const bool known = std::ranges::any_of(Tasks(), [&](const TaskInfo& info) {
    return info.name.ends_with(':') ? task.name.starts_with(info.name) : task.name == info.name;
  });
  if (!known) throw Error(ErrorKind::kUsage, "no such task");
}

}  // namespace

LOWBIT_FUZZ_TARGET(study_file) {
  StudyFile study;
  const std::string text(input);
  if (!Accepts(input, [&] { study = ParseStudyFile(text, "folder/study.yaml", &CheckName); })) return;
  Require(!study.models.empty() && !study.recipes.empty() && !study.tasks.empty(), "an empty list");
  std::set<std::string> names;
  for (const StudyModel& model : study.models) {
    Require(names.insert(model.name).second, "a model's name twice");
    Require(!model.name.empty() && model.name[0] != '.' && model.name.find('/') == std::string::npos,
            "a model's name that leads elsewhere");
  }
  for (const Recipe& recipe : study.recipes) Require(ParseRecipe(recipe.Text()) == recipe, "a recipe");
  for (const StudyTask& task : study.tasks)
    Require(task.options.window <= 1'000'000'000 && task.options.windows <= 1'000'000'000, "a window");
}

}  // namespace lowbit::fuzz
