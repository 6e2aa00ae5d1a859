// SPDX-License-Identifier: Apache-2.0
// What the tests of results.db share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "lowbit/study/results_db.h"

namespace lowbit {

// Runs SQL behind lowbit's back, as another program would. Returns the first column of the first row.
inline std::string Sql(const std::string& path, const std::string& sql) {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  std::string result;
  char* message = nullptr;
  const auto take_first = [](void* out, int columns, char** values, char**) {
    auto& text = *static_cast<std::string*>(out);
    if (text.empty() && columns > 0 && values[0] != nullptr) text = values[0];
    return 0;
  };
  sqlite3_exec(db, sql.c_str(), take_first, &result, &message);
  EXPECT_EQ(message, nullptr) << message;
  sqlite3_free(message);
  sqlite3_close(db);
  return result;
}

// A row in which no two fields are equal, so that swapped columns show.
inline CellRow FullRow(const std::string& key = "key-1") {
  CellRow row;
  row.key = key;
  row.model = "Qwen3-0.6B";
  row.model_folder = "models/qwen3";
  row.recipe = "rtn-w4-g128-sym";
  row.method = "rtn";
  row.weight_bits = 4;
  row.group_size = 128;
  row.symmetric = true;
  row.task = "wikitext2";
  row.protocol = "wikitext2: raw test, windows of 512";
  row.notes = "layer 3: one dead column\nlayer 5: another";
  row.metrics = {{"perplexity", 86.031234567890123, 0.25, 51100, false},
                 {"acc", 0.5, std::nullopt, 70, true}};
  row.layer_errors = {{0, "layer", 0.015625}, {0, "mlp.up_proj", 0}, {1, "layer", 0.25}};
  row.inputs = {{0, "mlp.down_proj", 1234.5, 17.25}, {1, "mlp.down_proj", 0, 0}};
  row.outcomes.answers = {{"law", 1, {-1.0 / 3, -2.5e-7, -30}, true, std::nullopt},
                          {"physics", 0, {-4, -3}, false, true}};
  row.outcomes.windows = {{2.7182818284590452, 1}, {3.1, 417}};
  row.storage = CellStorage{4.25, 5.5, 350'000'000};
  row.provenance = {.weights_hash = "wh",
                    .tokenizer_hash = "th",
                    .text_hash = "xh",
                    .recipe_hash = "rh",
                    .code_version = "0.1.0+abc",
                    .compute_type = "f32",
                    .isa = "AVX2",
                    .cpu = "Some CPU",
                    .cores = 8,
                    .threads = 7,
                    .quantize_seconds = 1.5,
                    .shared_seconds = 2.75,
                    .shared_by = 3,
                    .eval_seconds = 20.25,
                    .peak_bytes = uint64_t{5} << 30,
                    .started = "2026-01-31T12:34:56Z"};
  return row;
}

inline CellRow FailedRow(const std::string& key) {
  CellRow row;
  row.key = key;
  row.model = "m";
  row.recipe = "gptq-w2-channel";
  row.method = "gptq";
  row.weight_bits = 2;
  row.task = "wikitext2";
  row.status = CellStatus::kFailed;
  row.error_kind = "numeric";
  row.error = "layer 0: pivot 17 is not positive";
  return row;
}

class ResultsDbTest : public testing::Test {
 protected:
  ResultsDbTest() {
    std::string name = testing::TempDir() + "results_db_XXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/results.db";
  }
  ~ResultsDbTest() override { std::filesystem::remove_all(folder_); }

  std::string MakeDatabase(const std::vector<CellRow>& rows) const {
    ResultsDb db = ResultsDb::Open(path_, ResultsDb::Mode::kWrite);
    for (const CellRow& row : rows) db.Put(row);
    return path_;
  }

  std::string folder_, path_;
};

// Runs `action`, expects an Error of `kind` whose text names `path` and holds `text`.
template <class Action>
void ExpectError(ErrorKind kind, const std::string& path, const std::string& text, Action action) {
  try {
    action();
    ADD_FAILURE() << "no error, expected one with '" << text << "'";
  } catch (const Error& error) {
    EXPECT_EQ(Name(error.kind()), Name(kind)) << error.what();
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(path), testing::HasSubstr(text)));
  }
}

}  // namespace lowbit
