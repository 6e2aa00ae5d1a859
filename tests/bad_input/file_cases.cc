// SPDX-License-Identifier: Apache-2.0
// Where a file should be: nothing, a folder, a pipe, a device, a link to nowhere. Never blocks.
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {

std::vector<Case> FileCases() {
  Table t(kInspect, 4);
  t.With({"inspect", "@nowhere"}).Add("model folder missing", Nothing(), {"nowhere", "no such folder"});
  t.With({"inspect", "@text.txt"}).Add("file instead of a model", Nothing(), {"text.txt", "not a folder"});
  t.With(kInspect);
  t.Add("config missing", Gone("model/config.json"), {"model/config.json", "cannot open"});
  t.Add("weights missing", Gone("model/model.safetensors"), {"model", "expected a checkpoint"});
  t.Add("weights in another format",
        [](const Site& s) {
          s.Remove("model/model.safetensors");
          s.Write("model/pytorch_model.bin", "x");
        },
        {"model", "does not read pytorch_model.bin"});
  struct File {
    std::string name;
    Command command;
  };
  // Every kind of file, each in the ways a name can be no file.
  const std::vector<File> files = {
      {"model/config.json", kInspect},
      {"model/model.safetensors", kInspect},
      {"sharded/model.safetensors.index.json", kInspectSharded},
      {"sharded/model-00003-of-00006.safetensors", kInspectSharded},
      {"demo/tokenizer.json", kTokenize},
      {"text.txt", kEval},
      {"ids.json", kLogits},
      {"requests.jsonl", kScore},
      {"study.yaml", kStudy},
      {"artefact/lowbit.json", kInspectArtefact},
      {"artefact/layer-00001.safetensors", kArtefactLogits},
      {"done/results.db", kReport},
  };
  for (const File& file : files) {
    t.With(file.command);
    const bool is_db = file.name.ends_with(".db");
    t.Exits(is_db ? 6 : 4).Add(file.name + " is a folder", Folder(file.name), {file.name, "folder"});
    t.Exits(4).Add(file.name + " is a pipe", Pipe(file.name), {file.name, "not a regular file"});
    const bool is_shard =
        file.name.starts_with("sharded/model-");  // a link out of the folder is refused first
    if (!is_shard)
      t.Add(file.name + " is a device", LinkTo(file.name, "/dev/zero"), {file.name, "not a regular file"});
    t.Add(file.name + " is a link to nowhere", LinkTo(file.name, "no-such-file"), {file.name});
    t.Add(file.name + " is a link to itself", LinkTo(file.name, file.name.substr(file.name.rfind('/') + 1)),
          {file.name});
  }
  for (const File& file : {files[3], files[4], files[5], files[6], files[7], files[8], files[10], files[11]})
    t.With(file.command).Add(file.name + " missing", Gone(file.name), {file.name});
  return t.Take();
}

}  // namespace lowbit::bad_input
