// SPDX-License-Identifier: Apache-2.0
// browser_fixture FOLDER: writes one.db, compared.db, two.db, many.db, measured.db and answered.db, invented studies to look at
// the report page with.
#include <cstdio>
#include <string>

#include "lowbit/report/fixture.h"

namespace {

void Write(const std::string& path, const std::vector<lowbit::CellRow>& rows) {
  lowbit::ResultsDb db = lowbit::ResultsDb::Open(path, lowbit::ResultsDb::Mode::kWrite);
  for (const lowbit::CellRow& row : rows) db.Put(row);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: browser_fixture FOLDER\n", stderr);
    return 2;
  }
  try {
    Write(std::string(argv[1]) + "/one.db", lowbit::fixture::OneModel());
    Write(std::string(argv[1]) + "/compared.db", lowbit::fixture::Compared());
    Write(std::string(argv[1]) + "/two.db", lowbit::fixture::TwoModels());
    Write(std::string(argv[1]) + "/many.db", lowbit::fixture::ManyLines());
    Write(std::string(argv[1]) + "/measured.db", lowbit::fixture::Measured());
    Write(std::string(argv[1]) + "/answered.db", lowbit::fixture::Answered());
  } catch (const lowbit::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
