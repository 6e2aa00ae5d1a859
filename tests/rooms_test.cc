// SPDX-License-Identifier: Apache-2.0
// Holds every #include and every CMake dependency against the table of docs/rooms.md.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "lowbit/base/files.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using RoomTable = std::map<std::string, std::set<std::string>>;

const fs::path kRoot = LOWBIT_SOURCE_DIR;

std::set<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

RoomTable ReadTable() {
  RoomTable table;
  const std::regex row(R"(^\| (\w+) \| .* \| ([^|]*) \|$)");
  std::istringstream lines(ReadFile((kRoot / "docs/rooms.md").string()));
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, row) || match[1] == "Room") continue;
    table[match[1]] = Words(match[2]);
  }
  for (auto& [room, allowed] : table) {
    allowed.erase("–");
    if (allowed.erase("all") != 0) {
      for (const auto& [other, unused] : table) allowed.insert(other);
    }
    allowed.insert(room);
  }
  return table;
}

TEST(Rooms, TheTableListsEveryFolderAndNothingElse) {
  std::set<std::string> folders, listed;
  for (const auto& entry : fs::directory_iterator(kRoot / "lowbit"))
    folders.insert(entry.path().filename().string());
  for (const auto& [room, allowed] : ReadTable()) listed.insert(room);
  EXPECT_EQ(folders, listed);
}

TEST(Rooms, EveryIncludeIsAllowedByTheTable) {
  const RoomTable table = ReadTable();
  const std::regex include(R"(^\s*#\s*include\s+[<"]lowbit/(\w+)/([^">]+)[">])");
  size_t includes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "lowbit")) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".h" && extension != ".cc") continue;
    const std::string path = fs::relative(entry.path(), kRoot).string();
    const std::string room = path.substr(7, path.find('/', 7) - 7);
    std::istringstream lines(ReadFile(entry.path().string()));
    for (std::string line; std::getline(lines, line);) {
      std::smatch match;
      if (!std::regex_search(line, match, include)) continue;
      ++includes;
      EXPECT_TRUE(table.at(room).contains(match[1]))
          << path << " may not include lowbit/" << match[1] << "/" << match[2];
      EXPECT_TRUE(fs::exists(kRoot / "lowbit" / match[1].str() / match[2].str()))
          << path << ": no such header";
    }
  }
  EXPECT_GT(includes, 100u);
}

TEST(Rooms, TheLibrariesRepeatTheTable) {
  const RoomTable table = ReadTable();
  std::string cmake = ReadFile((kRoot / "CMakeLists.txt").string());
  const std::regex call(R"(lowbit_room\((\w+)([^)]*)\))");
  std::set<std::string> seen;
  for (std::sregex_iterator it(cmake.begin(), cmake.end(), call), end; it != end; ++it) {
    const std::string room = (*it)[1], arguments = (*it)[2];
    seen.insert(room);
    std::smatch match;
    std::set<std::string> depends = {room};
    if (std::regex_search(arguments, match, std::regex(R"(DEPENDS ([a-z_ \n]+))")))
      depends.merge(Words(match[1]));
    std::set<std::string> allowed = table.at(room);
    if (room == "cli") depends.insert(room);
    EXPECT_EQ(depends, allowed) << "room " << room << " in CMakeLists.txt";
  }
  EXPECT_EQ(seen.size(), table.size());
}

TEST(Rooms, EveryMainHeaderSaysWhatTheRoomIsFor) {
  std::istringstream lines(ReadFile((kRoot / "docs/rooms.md").string()));
  const std::regex paragraph(R"(^\*\*(\w+)\*\* \(`([\w.]+)`\))");
  std::set<std::string> described;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (!std::regex_search(line, match, paragraph)) continue;
    described.insert(match[1]);
    const fs::path header = kRoot / "lowbit" / match[1].str() / match[2].str();
    // Where lines break is up to the formatter.
    const std::string text = std::regex_replace(ReadFile(header.string()), std::regex(R"(\n//)"), "");
    for (const std::string& part :
         {" Room " + match[1].str() + ":", std::string(" In: "), std::string("Out:"),
          std::string(" Non-goals:"), std::string(" Start reading here")}) {
      EXPECT_NE(text.find(part), std::string::npos) << header << " does not say \"" << part << "\"";
    }
  }
  EXPECT_EQ(described.size(), ReadTable().size());
}

}  // namespace
}  // namespace lowbit
