// SPDX-License-Identifier: Apache-2.0
// What methods learn from: files of statistics, texts kept compressed, and the flags that name them.
#include <cstring>

#include "lowbit/text/archive_testing.h"
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kStatistics = "statistics.safetensors";
const std::string kTap = "tap:model.layers.0.mlp_in", kExperts = "experts:model.layers.0.";

// The file with other metadata; its data stay.
Damage Metadata(const std::function<void(Json&)>& edit) {
  return [=](const Site& s) {
    const std::string file = s.Read(kStatistics);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    Json header = ParseJson(std::string_view(file).substr(8, length), Place("header"));
    edit(header["__metadata__"]);
    const std::string data = file.substr(8 + length), text = header.dump();
    std::string begin(8, '\0');
    length = text.size();
    std::memcpy(begin.data(), &length, 8);
    s.Write(kStatistics, begin + text + data);
  };
}

Damage OfTap(const std::string& key, const Json& value) {
  return Metadata([=](Json& metadata) {
    Json tap = Json::parse(metadata[kTap].get<std::string>());
    tap[key] = value;
    metadata[kTap] = tap.dump();
  });
}

Damage Says(const std::string& key, const std::string& value) {
  return Metadata([=](Json& metadata) { metadata[key] = value; });
}

// Other bytes in the data, by their distance from the end: the maxima of the last tap are the last 32.
Damage FromEnd(size_t distance, const std::string& bytes) {
  return [=](const Site& s) {
    std::string file = s.Read(kStatistics);
    s.Write(kStatistics, file.replace(file.size() - distance, bytes.size(), bytes));
  };
}

}  // namespace

std::vector<Case> StatisticsCases() {
  Table t(kInspectStatistics);
  t.Add("empty", Text(kStatistics, ""), {kStatistics, "0 bytes"});
  t.Add("cut in its header", Cut(kStatistics, 100), {kStatistics, "byte 0"});
  t.Add("cut in its data", Cut(kStatistics, 1500), {kStatistics});
  t.Add("a text", Text(kStatistics, "a text of some length"), {kStatistics, "byte 0"});
  t.Add("a model", LinkTo(kStatistics, "model/model.safetensors"),
        {kStatistics, "expected a file of statistics"});
  t.Add("a sparse gigabyte", Sparse(kStatistics, uint64_t{1} << 30), {kStatistics, "header length 0"});
  t.Add("another version", Says("lowbit_statistics", "7"), {kStatistics, "lowbit_statistics", "\"7\""});
  t.Add("origin no JSON", Says("origin", "x"), {kStatistics, "key 'origin'"});
  t.Add("an unknown key", Says("why", "x"), {kStatistics, "key 'why'", "unknown key"});
  t.Add("width 0", OfTap("width", 0), {kStatistics, kTap, "key 'width'"});
  t.Add("width 2^24", OfTap("width", 1 << 24), {kStatistics, "mlp_in.sum_abs", "expected U8 [16777216, 8]"});
  t.Add("width 2^60", OfTap("width", int64_t{1} << 60), {kStatistics, kTap, "key 'width'"});
  t.Add("no Gram matrix", OfTap("gram", false), {kStatistics, "mlp_in.gram", "belongs to no tap"});
  t.Add("sample rows of 2^20", OfTap("most_samples", 1 << 20), {kStatistics, "mlp_in.samples"});
  t.Add("more tokens than the set", OfTap("tokens", 101), {kStatistics, kTap, "key 'tokens'"});
  t.Add("an expert of other tokens", Says(kExperts, "[59, 0]"), {kStatistics, "mlp_mid.0", "expected 59"});
  t.Add("experts no list", Says(kExperts, "{}"), {kStatistics, kExperts});
  t.Add("a maximum NaN", FromEnd(4, "\xFF\xFF\xFF\x7F"), {kStatistics, "mlp_mid.1.max_abs", "is nan"});
  t.Add("a maximum of no token", FromEnd(4, {"\0\0\x80\x3F", 4}),
        {kStatistics, "mlp_mid.1.max_abs", "no token"});
  t.Add("a flipped bit", FromEnd(96, {"\1\0\x80\x3F", 4}), {kStatistics, "the content has hash"});
  return t.Take();
}

namespace {

using text_testing::Gzip;
using text_testing::Zstd;

std::string Good() {
  return "{\"context_ids\": [1], \"continuations\": [[2, 3]]}\n";
}

std::string Repeated(const std::string& part, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += part;
  return all;
}

void AddLines(Table& t, const std::string& name, const std::string& archive) {
  const std::string end = "of the archive";
  std::string other = archive;
  other.back() ^= 1;
  t.With({"score", "@model", "@" + name});
  t.Add(name + ": empty", Text(name, ""), {name, "byte 0 of the archive", "is empty"});
  t.Add(name + ": a plain text", Text(name, Good()), {name, "byte 0 of the archive", "is not"});
  t.Add(name + ": cut", Text(name, archive.substr(0, archive.size() / 2)), {name, end, "it was cut"});
  t.Add(name + ": wrong checksum", Text(name, other), {name, end, "damaged"});
  t.Add(name + ": something behind", Text(name, archive + "rubbish"), {name, end, "something else follows"});
  t.Add(name + ": a sparse terabyte", Sparse(name, uint64_t{1} << 40), {name, "byte 0 of the archive"});
}

}  // namespace

std::vector<Case> ArchiveCases() {
  Table t({});
  AddLines(t, "r.jsonl.gz", Gzip(Repeated(Good(), 50)));
  AddLines(t, "r.jsonl.zst", Zstd(Repeated(Good(), 50)));
  const auto add = [&](const std::string& name, const std::string& what, const std::string& archive,
                       const std::vector<std::string>& says) {
    t.With({"score", "@model", "@" + name}).Add(what, Text(name, archive), says);
  };
  add("r.jsonl.gz", "line 51 is no JSON", Gzip(Repeated(Good(), 50) + "x\n"), {"r.jsonl.gz", "line 51"});
  add("r.jsonl.gz", "bomb of one line", Repeated(Gzip(std::string(1 << 20, 'x')), 200),
      {"r.jsonl.gz", "line 1", "the limit of a line"});
  add("r.jsonl.zst", "bomb of one line, zst", Repeated(Zstd(std::string(1 << 20, 'x')), 200),
      {"r.jsonl.zst", "line 1", "the limit of a line"});
  add("r.jsonl.zst", "a window of 128 MiB", std::string("\x28\xB5\x2F\xFD\x00\x88\x01\0\0", 9),
      {"r.jsonl.zst", "window"});
  t.With({"eval", "@demo", "--tasks", "text:@text.txt.zst", "--window", "8"});
  t.Add("text: bomb", Text("text.txt.zst", Repeated(Zstd(std::string(1 << 20, 'x')), 600)),
        {"text.txt.zst", "expected at most 536870912"});
  t.Add("text: not UTF-8", Text("text.txt.zst", Zstd("ab\xFF")), {"text.txt.zst", "byte 2", "UTF-8"});
  t.Add("text: of nothing", Text("text.txt.zst", Zstd("")), {"text.txt.zst", "is empty"});
  return t.Take();
}

std::vector<Case> CalibrationFlagCases() {
  Table t({}, 2);
  const auto add = [&](const std::string& name, const Command& flags, const std::vector<std::string>& says) {
    Command command = {"quantize", "@model", "rtn-w4-g32", "-o", "@out"};
    command.insert(command.end(), flags.begin(), flags.end());
    t.With(command).Add("calib: " + name, Nothing(), says);
  };
  add("samples without a text", {"--calib-samples", "3"}, {"--calib-samples", "--calib"});
  add("no sample", {"--calib", "@text.txt", "--calib-samples", "0"}, {"0 calibration samples"});
  add("a negative length", {"--calib", "@text.txt", "--calib-length", "-5"}, {"--calib-length"});
  add("too many tokens", {"--calib", "@text.txt", "--calib-length", "99999999999"}, {"at most 2147483648"});
  add("an unknown policy", {"--calib", "@text.txt", "--calib-policy", "best"},
      {"'best'", "concat or window"});
  add("an empty name", {"--calib", ""}, {"--calib", "expected a file"});
  t.Exits(4);
  add("no data folder", {"--calib", "c4", "--data", "@nowhere"}, {"nowhere", "no such folder"});
  return t.Take();
}

}  // namespace lowbit::bad_input
