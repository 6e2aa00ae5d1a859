// SPDX-License-Identifier: Apache-2.0
// lowbit.json: written anew it reads back equal.
#include "fuzz/target.h"
#include "lowbit/checkpoint/artefact.h"

namespace lowbit::fuzz {

LOWBIT_FUZZ_TARGET(artefact_manifest) {
  ArtefactInfo info;
  if (!Accepts(input, [&] { info = ParseArtefactInfo(input, "/artefact"); })) return;
  Require(info.files.size() == info.layers + (info.has_head ? 1 : 0), "files");
  Require(info.BitsPerQuantizedWeight() > 0 && info.BitsPerModelWeight() > 0, "bits per weight");
  info.base_folder = "/base";  // links on the way would be followed
  Require(ParseArtefactInfo(ArtefactText("/artefact", info), "/artefact") == info,
          "written anew it reads back differently");
}

}  // namespace lowbit::fuzz
