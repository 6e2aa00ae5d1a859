// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/study_file.h"

#include <array>
#include <filesystem>
#include <set>
#include <utility>

#include "lowbit/base/files.h"
#include "lowbit/study/recipe_list.h"
#include "lowbit/study/yaml_reader.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

std::string Relative(const std::string& study_path, const std::string& path) {
  if (fs::path(path).is_absolute()) return path;
  return (fs::path(study_path).parent_path() / path).lexically_normal().string();
}

// A name that can be a folder.
void RequirePlainName(const std::string& name, const YamlReader& where) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (name.find_first_not_of(kAllowed) != std::string::npos || name.starts_with('.') || name.size() > 100) {
    where.Fail(fmt::format("name '{}', expected letters, digits, '.', '_' and '-', not beginning with '.'",
                           Printable(name, 60)));
  }
}

StudyModel ReadModel(const YamlReader& entry, const std::string& study_path) {
  StudyModel model;
  if (entry.IsMap()) {
    entry.Map({"folder", "name"});
    model.folder = entry.Get("folder").String();
    if (entry.Has("name")) model.name = entry.Get("name").String();
  } else {
    model.folder = entry.String();
  }
  model.folder = Relative(study_path, model.folder);
  if (model.name.empty()) {
    fs::path folder(model.folder);
    if (folder.filename().empty()) folder = folder.parent_path();  // "models/qwen/"
    model.name = folder.filename().string();
  }
  RequirePlainName(model.name, entry);
  return model;
}

// From 0 on, where Count() wants something to count.
size_t ReadShots(const YamlReader& entry) {
  return entry.String() == "0" ? 0 : entry.Count();
}

BosRule ReadBosRule(const YamlReader& entry) {
  const std::string rule = entry.String();
  if (rule == "auto") return BosRule::kAuto;
  if (rule == "on") return BosRule::kOn;
  if (rule == "off") return BosRule::kOff;
  entry.Fail(fmt::format("'{}', expected auto, on or off", Printable(rule, 60)));
}

StudyTask ReadTask(const YamlReader& entry, const std::string& study_path, const std::string& data_folder) {
  StudyTask task;
  if (entry.IsMap()) {
    entry.Map({"task", "window", "windows", "limit", "num_fewshot", "bos"});
    task.name = entry.Get("task").String();
    if (entry.Has("window")) task.options.window = entry.Get("window").Count();
    if (entry.Has("windows")) task.options.windows = entry.Get("windows").Count();
    if (entry.Has("limit")) task.options.limit = entry.Get("limit").Count();
    if (entry.Has("num_fewshot")) task.options.shots = ReadShots(entry.Get("num_fewshot"));
    if (entry.Has("bos")) task.options.bos = ReadBosRule(entry.Get("bos"));
  } else {
    task.name = entry.String();
  }
  constexpr std::string_view kTextPrefix = "text:";
  if (task.name.starts_with(kTextPrefix)) {
    task.name = std::string(kTextPrefix) + Relative(study_path, task.name.substr(kTextPrefix.size()));
  }
  task.options.data_folder = data_folder;
  return task;
}

// Errors of a recipe or a task get the line of the study file.
template <class F>
auto AtLine(const YamlReader& entry, F&& body) {
  try {
    return body();
  } catch (const Error& e) {
    throw e.kind() == ErrorKind::kUsage ? Error(ErrorKind::kContent, entry.place(), e.what()) : e;
  }
}

// "c4" is a text of the data folders, everything else a file beside the study.
CalibrationSpec ReadCalibration(const YamlReader& entry, const std::string& path, const std::string& data) {
  entry.Map({"file", "samples", "length", "policy", "seed"});
  CalibrationSpec spec;
  const std::string file = entry.Get("file").String();
  AtLine(entry, [&] {
    const std::string found = FindCalibrationText(file, DataFolders({.data_folder = data}));
    spec.file = found == file ? Relative(path, file) : found;
    if (entry.Has("samples")) spec.samples = entry.Get("samples").Count();
    if (entry.Has("length")) spec.length = entry.Get("length").Count();
    if (entry.Has("seed")) spec.seed = entry.Get("seed").Count();
    if (entry.Has("policy")) spec.policy = ParseCalibrationPolicy(entry.Get("policy").String());
    RequireSound(spec);
    return 0;
  });
  return spec;
}

template <class T, class Name>
void RequireDistinct(const std::vector<T>& items, const YamlReader& list, Name&& name) {
  std::set<std::string> seen;
  for (const T& item : items) {
    if (!seen.insert(name(item)).second) list.Fail(fmt::format("'{}' is there twice", name(item)));
  }
}

}  // namespace

void RequireTask(const StudyTask& task) {
  const std::array<std::unique_ptr<Task>, 1> made = {MakeTask(task.name, task.options)};
  RequireUsed(task.options, made);
}

StudyFile ParseStudyFile(const std::string& text, const std::string& path, const TaskCheck& check) {
  const YamlReader root = YamlReader::Parse(text, path);
  root.Map({"study", "models", "recipes", "tasks", "compute", "keep_artefacts", "divergence", "calibration",
            "data"});
  StudyFile study;
  study.path = path;
  study.name = root.Get("study").String();
  RequirePlainName(study.name, root.Get("study"));

  for (const YamlReader& entry : root.Get("models").List()) study.models.push_back(ReadModel(entry, path));
  RequireDistinct(study.models, root.Get("models"), [](const StudyModel& m) { return m.name; });

  RecipeList listed = ReadRecipes(root.Get("recipes"));
  for (const ListedRecipe& r : listed.recipes) study.recipes.push_back(r.recipe);
  study.left_out = std::move(listed.left_out);

  const std::string data = root.Has("data") ? Relative(path, root.Get("data").String()) : "";
  for (const YamlReader& entry : root.Get("tasks").List()) {
    study.tasks.push_back(ReadTask(entry, path, data));
    AtLine(entry, [&] { check(study.tasks.back()); });
  }
  RequireDistinct(study.tasks, root.Get("tasks"), [](const StudyTask& t) { return t.name; });

  if (root.Has("calibration")) study.calibration = ReadCalibration(root.Get("calibration"), path, data);
  for (const ListedRecipe& r : listed.recipes) {
    if (study.calibration || !r.recipe.NeedsCalibration()) continue;
    throw Error(ErrorKind::kContent, r.place,
                fmt::format("'{}' learns from a text, expected a key 'calibration' beside", r.recipe.Text()));
  }

  if (root.Has("compute")) {
    study.compute = root.Get("compute").String();
    if (study.compute != "f32" && study.compute != "bf16") {
      root.Get("compute").Fail(
          fmt::format("'{}', expected f32 or bf16: a study's numbers must not depend on the machine",
                      Printable(study.compute, 60)));
    }
  }
  if (root.Has("keep_artefacts")) study.keep_artefacts = root.Get("keep_artefacts").Bool();
  if (root.Has("divergence")) study.divergence = root.Get("divergence").Bool();
  return study;
}

StudyFile ReadStudyFile(const std::string& path) {
  return ParseStudyFile(ReadFile(path, size_t{1} << 20), path);
}

}  // namespace lowbit
