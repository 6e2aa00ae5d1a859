// SPDX-License-Identifier: Apache-2.0
// results.db: no database, a damaged one, another's, another version's.
#include <sqlite3.h>

#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kDb = "done/results.db";

Damage Sql(const std::string& sql) {
  return [=](const Site& s) {
    s.Write(kDb, s.Read(kDb));  // a file of this site's own
    sqlite3* db = nullptr;
    char* reason = nullptr;
    const bool done = sqlite3_open(s.Path(kDb).c_str(), &db) == SQLITE_OK &&
                      sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &reason) == SQLITE_OK;
    const std::string why = reason == nullptr ? "" : reason;
    sqlite3_free(reason);
    sqlite3_close(db);
    if (!done) throw std::runtime_error(sql + ": " + why);
  };
}

Damage Overwrite(size_t at, size_t count) {
  return [=](const Site& s) {
    std::string file = s.Read(kDb);
    for (size_t i = at; i < std::min(file.size(), at + count); ++i) file[i] = static_cast<char>(0xA5 + i);
    s.Write(kDb, file);
  };
}

}  // namespace

std::vector<Case> ResultsDbCases() {
  Table t(kReport);
  t.Add("empty", Text(kDb, ""), {kDb, "0 bytes"});
  t.Add("a few bytes", Text(kDb, "SQLite format 3"), {kDb, "15 bytes"});
  t.Add("a text", Text(kDb, std::string(5000, 'x')), {kDb, "not an SQLite database"});
  t.Add("zeros", Text(kDb, std::string(8192, '\0')), {kDb});
  t.Add("a sparse terabyte", Sparse(kDb, uint64_t{1} << 40), {kDb});
  t.Add("the header's page overwritten", Overwrite(0, 4096), {kDb});
  t.Add("the table of contents overwritten", Overwrite(100, 3000), {kDb});
  t.Add("a page in the middle overwritten", Overwrite(4096, 4096), {kDb});
  t.Add("the last page overwritten", [](const Site& s) { Overwrite(s.Read(kDb).size() - 4096, 4096)(s); },
        {kDb});
  t.Add("cut to one page", Cut(kDb, 4096), {kDb});
  t.Add("cut in a page", [](const Site& s) { Cut(kDb, s.Read(kDb).size() - 2000)(s); }, {kDb});
  t.Add("another application's", Sql("PRAGMA application_id = 7"), {kDb, "another application"});
  t.Add("no schema version", Sql("PRAGMA user_version = 0"), {kDb, "schema version 0"});
  t.Add("a negative schema version", Sql("PRAGMA user_version = -1"), {kDb, "schema version -1"});
  t.Add("a table missing", Sql("DROP VIEW table_view; DROP TABLE metrics"), {kDb, "'metrics' is missing"});
  t.Add("a table with other columns", Sql("ALTER TABLE cells ADD COLUMN more TEXT"),
        {kDb, "'cells' has other columns"});
  t.Add("a value of another type",
        Sql("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE "
            "name = 'cells'"),
        {kDb});
  t.Add("a check that does not hold",
        Sql("PRAGMA ignore_check_constraints = ON; UPDATE cells SET weight_bits = 99"), {kDb});
  t.Add("a metric that is infinite", Sql("UPDATE metrics SET value = 9e999"), {kDb});
  t.Exits(6).Add("a newer schema", Sql("PRAGMA user_version = 99"), {kDb, "newer lowbit"});
  t.With({"study", "@study.yaml", "-o", "@done"});
  t.Add("study: a newer schema", Sql("PRAGMA user_version = 99"), {kDb, "newer lowbit"});
  t.Exits(3);
  t.Add("study: a text", Text(kDb, std::string(5000, 'x')), {kDb, "not an SQLite database"});
  t.Add("study: another application's", Sql("PRAGMA application_id = 7"), {kDb, "another application"});
  t.Add("study: a page overwritten", Overwrite(4096, 4096), {kDb});
  return t.Take();
}

}  // namespace lowbit::bad_input
