// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json and the shards it names.
#include <filesystem>

#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kIndex = "sharded/model.safetensors.index.json";
const std::string kNorm = "model.norm.weight";
const std::string kFirst = "model-00001-of-00006.safetensors", kLast = "model-00006-of-00006.safetensors";

Damage Map(const std::function<void(Json&)>& edit) {
  return Edit(kIndex, [=](Json& j) { edit(j["weight_map"]); });
}
Damage NormIn(const Json& file) {
  return Map([=](Json& map) { map[kNorm] = file; });
}

}  // namespace

std::vector<Case> ShardIndexCases() {
  Table t(kInspectSharded);
  t.Add("empty", Text(kIndex, ""), {kIndex, "byte 0"});
  t.Add("cut", Cut(kIndex, 200), {kIndex, "byte 189"});
  t.Add("not JSON", Text(kIndex, "{\"weight_map\": {"), {kIndex, "byte"});
  t.Add("a list", Text(kIndex, "[]"), {kIndex, "expected an object"});
  t.Add("null", Text(kIndex, "null"), {kIndex, "expected an object"});
  t.Add("not UTF-8", Text(kIndex, "{\"weight_map\": {\"\xC3\": \"a\"}}"), {kIndex, "byte 17", "UTF-8"});
  t.Add("text after it", Text(kIndex, R"({"weight_map": {"a": "b"}} x)"), {kIndex, "byte 27"});
  t.Add("nesting of 10^5", Text(kIndex, "{\"x\":" + std::string(100000, '[')), {kIndex, "nested deeper"});
  t.Add("a sparse gigabyte", Sparse(kIndex, uint64_t{1} << 30), {kIndex, "expected at most"});
  t.Add("a name of 10 MB", Text(kIndex, "{\"weight_map\": {\"" + std::string(10 << 20, 'n') + "\": \"a\"}}"),
        {kIndex, "more than"});
  t.Add("no map", Edit(kIndex, [](Json& j) { j.erase("weight_map"); }),
        {kIndex, "key 'weight_map'", "missing"});
  t.Add("the map is a list", Edit(kIndex, [](Json& j) { j["weight_map"] = Json::array({1}); }),
        {kIndex, "key 'weight_map'"});
  t.Add("the map is empty", Edit(kIndex, [](Json& j) { j["weight_map"] = Json::object(); }),
        {kIndex, "key 'weight_map'", "empty"});
  t.Add("the map twice", Text(kIndex, R"({"weight_map": {"a": "b"}, "weight_map": {"a": "b"}})"),
        {kIndex, "key 'weight_map'", "twice"});
  t.Add("a tensor twice", Swap(kIndex, "\"" + kNorm + "\"", "\"" + kNorm + "\": \"x\", \"" + kNorm + "\""),
        {kIndex, "tensor '" + kNorm + "'", "twice"});
  for (const Json& name : {Json(7), Json(nullptr), Json(""), Json("."), Json(".."),
                           Json("../model/model.safetensors"), Json("a/b"), Json("/etc/passwd"), Json("a\\b"),
                           Json("C:x"), Json(std::string("a\0b", 3)), Json(std::string(300, 'n'))})
    t.Add("file name " + name.dump().substr(0, 40), NormIn(name),
          {kIndex, "tensor '" + kNorm + "'", "expected"});
  t.Add("the wrong shard", Map([](Json& map) { map[kNorm] = map[kNorm] == kFirst ? kLast : kFirst; }),
        {kIndex, kNorm, "which does not hold it"});
  t.Add("a tensor that no shard has", Map([](Json& map) { map["extra.weight"] = kFirst; }),
        {kIndex, "tensor 'extra.weight'", "no shard has it"});
  t.Add("a tensor left out", Map([](Json& map) { map.erase("lm_head.weight"); }),
        {kIndex, "tensor 'lm_head.weight'", "missing"});
  t.Add("a shard cut", Cut("sharded/" + kFirst, 30000), {kFirst, "tensor '", "cut"});
  t.Add("a shard empty", Text("sharded/" + kFirst, ""), {kFirst, "0 bytes"});
  t.Add("a shard of JSON", Text("sharded/" + kFirst, "{}"), {kFirst});
  t.Add("two shards exchanged",
        [](const Site& s) {
          const std::string first = s.Read("sharded/" + kFirst);
          s.Write("sharded/" + kFirst, s.Read("sharded/" + kLast));
          s.Write("sharded/" + kLast, first);
        },
        {kIndex, "which does not hold it"});
  t.Add("a shard that leads out of the folder",
        [](const Site& s) {
          s.Write("elsewhere", s.Read("sharded/" + kFirst));
          LinkTo("sharded/" + kFirst, "../elsewhere")(s);
        },
        {kIndex, "is a link to"});
  t.Exits(4).Add("a shard missing", Gone("sharded/" + kLast), {kLast, "no such file"});
  t.Add("a shard not listed anywhere", NormIn("model-7.safetensors"), {"model-7.safetensors", kNorm});
  return t.Take();
}

}  // namespace lowbit::bad_input
