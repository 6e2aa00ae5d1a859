// SPDX-License-Identifier: Apache-2.0
// CSV: records have as many fields as are asked for, on ascending lines; written anew, every field in quotes, they
// read back equal.
#include <utility>

#include "fuzz/target.h"
#include "lowbit/text/csv_file.h"

namespace lowbit::fuzz {
namespace {

constexpr size_t kColumns = 3;
using Record = std::vector<std::string>;

std::vector<Record> Read(std::string_view text) {
  std::vector<Record> records;
  size_t before = 0;
  ForEachCsvRecordIn(text, Place("file"), kColumns,
                     [&](size_t line, const Record& fields) {
                       Require(line > before, "lines do not ascend");
                       before = line;
                       Require(fields.size() == kColumns, "another number of fields");
                       records.push_back(fields);
                     },
                     {.max_record_bytes = 1024});
  return records;
}

std::string Quoted(const std::string& field) {
  std::string text = "\"";
  for (const char c : field) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + "\"";
}

}  // namespace

LOWBIT_FUZZ_TARGET(csv) {
  std::vector<Record> records;
  if (!Accepts(input, [&] { records = Read(input); })) return;
  for (const Record& record : records) {  // one at a time: quotes may take a record over the limit
    std::string line;
    for (const std::string& field : record) line += (line.empty() ? "" : ",") + Quoted(field);
    if (line.size() <= 1024)
      Require(Read(line + "\r\n") == std::vector<Record>{record}, "read back differently");
  }
}

}  // namespace lowbit::fuzz
