// SPDX-License-Identifier: Apache-2.0
// Quantized models: lowbit.json, layer files, and the base they belong to.
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kManifest = "artefact/lowbit.json", kLayer = "artefact/layer-00001.safetensors",
                  kHead = "artefact/head.safetensors";

Damage Set(const std::string& key, const Json& value) {
  return Edit(kManifest, [=](Json& j) { j[key] = value; });
}
std::string Key(const std::string& key) {
  return "key '" + key + "'";
}

void AddManifest(Table& t) {
  t.Add("empty", Text(kManifest, ""), {kManifest, "byte 0"});
  t.Add("cut", Cut(kManifest, 100), {kManifest, "byte"});
  t.Add("a list", Text(kManifest, "[]"), {kManifest, "expected an object"});
  t.Add("nesting of 10^5", Text(kManifest, std::string(100000, '[')), {kManifest, "nested deeper"});
  t.Add("a sparse terabyte", Sparse(kManifest, uint64_t{1} << 40), {kManifest, "expected at most"});
  t.Add("version 0", Set("lowbit_artefact", 0), {kManifest, Key("lowbit_artefact")});
  t.Add("version 2", Set("lowbit_artefact", 2), {kManifest, Key("lowbit_artefact"), "from 1 to 1"});
  t.Add("a key of a newer version", Set("rotation", "x"), {kManifest, Key("rotation"), "newer lowbit"});
  t.Add("notes that are no list", Set("notes", "x"), {kManifest, Key("notes"), "list of texts"});
  t.Add("a note that is no text", Set("notes", Json::array({1})), {kManifest, Key("notes"), "list of texts"});
  t.Add("an empty calibration", Set("calibration", ""), {kManifest, Key("calibration")});
  t.Add("a key twice", Swap(kManifest, "{", "{\"layers\": 1, "), {kManifest, "layers", "twice"});
  for (const char* key : {"base", "weights_hash", "config_hash", "recipe", "layers", "has_head", "files",
                          "quantized_bits", "seconds"}) {
    t.Add(std::string("no ") + key, Edit(kManifest, [=](Json& j) { j.erase(key); }),
          {kManifest, Key(key), "missing"});
    t.Add(std::string("null as ") + key, Set(key, nullptr), {kManifest, Key(key)});
  }
  t.Add("0 layers", Set("layers", 0), {kManifest, Key("layers")});
  t.Add("2^62 layers", Set("layers", uint64_t{1} << 62), {kManifest, Key("files")});
  t.Add("a hash in capitals", Set("weights_hash", std::string(64, 'A')), {kManifest, Key("weights_hash")});
  t.Add("negative seconds", Set("seconds", -1), {kManifest, Key("seconds")});
  t.Add("more bits than the model", Set("model_bits", 1), {kManifest, Key("model_bits")});
  t.Add("a file too few", Edit(kManifest, [](Json& j) { j["files"].erase("head.safetensors"); }),
        {kManifest, Key("files")});
  t.Add("a file of another name",
        Edit(kManifest,
             [](Json& j) {
               j["files"]["../x"] = j["files"]["head.safetensors"];
               j["files"].erase("head.safetensors");
             }),
        {kManifest, Key("files")});
}

void AddFiles(Table& t) {
  t.Add("a layer cut", Cut(kLayer, 1000), {kLayer, "1000 bytes, expected"});
  t.Add("a layer longer", [](const Site& s) { s.Write(kLayer, s.Read(kLayer) + "x"); },
        {kLayer, "bytes, expected"});
  t.With(kArtefactLogits);
  t.Add("a bit flipped in the codes", [](const Site& s) { Flip(kLayer, s.Read(kLayer).size() - 9000)(s); },
        {kLayer, "has hash"});
  t.Add("the last bit flipped", [](const Site& s) { Flip(kLayer, s.Read(kLayer).size() - 1)(s); }, {kLayer});
  t.Add("a bit flipped in the header", Flip(kLayer, 40), {kLayer});
  t.Add("a bit flipped in the header's length", Flip(kLayer, 1), {kLayer});
  t.Add("two layers exchanged",
        [](const Site& s) {
          const std::string first = "artefact/layer-00000.safetensors", text = s.Read(first);
          s.Write(first, s.Read(kLayer));
          s.Write(kLayer, text);
        },
        {"artefact/layer-0000", "hash"});
  t.Add("a head of zeros", [](const Site& s) { s.Write(kHead, std::string(s.Read(kHead).size(), '\0')); },
        {kHead});
  t.With(kInspectArtefact);
  t.Add("a base with a NUL in its name", Set("base", std::string("../model\0x", 10)),
        {kManifest, Key("base")});
  t.Exits(4);
  t.Add("a layer missing", Gone(kLayer), {kLayer});
  t.Add("the base gone", Gone("model"), {kManifest, Key("base")});
  t.Add("a base that is nowhere", Set("base", "/no/such/folder"),
        {kManifest, Key("base"), "/no/such/folder"});
  t.Add("a base of 100,000 characters", Set("base", std::string(100000, 'b')), {kManifest, Key("base")});
  t.Exits(6);
  t.Add("another base", Set("base", "../demo"), {kManifest, Key("config_hash")});
  t.Add("a base whose config changed",
        Edit("model/config.json", [](Json& j) { j["torch_dtype"] = "float16"; }),
        {kManifest, Key("config_hash")});
}

}  // namespace

std::vector<Case> ArtefactCases() {
  Table t(kInspectArtefact);
  AddManifest(t);
  AddFiles(t);
  return t.Take();
}

}  // namespace lowbit::bad_input
