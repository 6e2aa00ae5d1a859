// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "lowbit/base/error.h"
#include "lowbit/base/lock_file.h"
#include "lowbit/base/mapped_file.h"
#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {
namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::StartsWith;

size_t FilesIn(const std::string& folder) {
  size_t n = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) n += entry.path().empty() ? 0 : 1;
  return n;
}

void ExpectError(ErrorKind kind, const std::string& path, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error for " << path;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    EXPECT_THAT(e.what(), StartsWith(path + ": "));
  }
}

TEST(AtomicFile, AppearsWholeOnlyWithCommit) {
  const TestFolder folder;
  const std::string path = folder.File("x");
  {
    AtomicFile file(path);
    file.Write("hello ");
    file.Write("world");
    EXPECT_EQ(file.size(), 11u);
    EXPECT_FALSE(fs::exists(path));
    file.Commit();
    EXPECT_EQ(ReadFile(path), "hello world");
  }
  EXPECT_EQ(FilesIn(folder.path()), 1u);
}

TEST(AtomicFile, DroppedLeavesTheOldFileAndNothingElse) {
  const TestFolder folder;
  const std::string path = folder.Write("x", "old");
  {
    AtomicFile file(path);
    file.Write("half of the n");
  }
  EXPECT_EQ(ReadFile(path), "old");
  EXPECT_EQ(FilesIn(folder.path()), 1u);
}

TEST(AtomicFile, ReplacesAnExistingFile) {
  const TestFolder folder;
  folder.Write("x", "a longer old text");
  EXPECT_EQ(ReadFile(folder.Write("x", "new")), "new");
}

TEST(AtomicFile, WorksInTheCurrentFolder) {
  const TestFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  WriteFileAtomic("plain-name", "x");
  fs::current_path(before);
  EXPECT_EQ(ReadFile(folder.File("plain-name")), "x");
}

TEST(AtomicFile, WhatCannotBeWrittenIsAnErrorWithThePath) {
  const TestFolder folder;
  ExpectError(ErrorKind::kConflict, folder.path(), [&] { AtomicFile{folder.path()}; });
  for (const std::string& path :
       {folder.File("absent/x"), folder.Write("file", "") + "/x", folder.File(std::string(300, 'n'))}) {
    ExpectError(ErrorKind::kResource, path, [&] { AtomicFile{path}; });
  }
  fs::create_symlink("loop", folder.File("loop"));
  ExpectError(ErrorKind::kResource, folder.File("loop/x"), [&] { AtomicFile{folder.File("loop/x")}; });
}

TEST(AtomicFile, TwoWritersOfOneFileAtATimeAreRefused) {
  const TestFolder folder;
  const std::string path = folder.File("x");
  AtomicFile first(path);
  first.Write("first");
  ExpectError(ErrorKind::kConflict, path, [&] { AtomicFile{path}; });
  first.Commit();
  EXPECT_EQ(ReadFile(path), "first");
}

TEST(AtomicFile, TemporaryOfAKilledProcessWithTheSameNumberDoesNotLeakIntoTheFile) {
  const TestFolder folder;
  std::ofstream(folder.File(fmt::format(".x.{}.tmp", getpid()))) << "a long leftover of an earlier process";
  EXPECT_EQ(ReadFile(folder.Write("x", "short")), "short");
  EXPECT_EQ(FilesIn(folder.path()), 1u);
}

TEST(AtomicFile, FullDiskIsAnErrorThatKeepsTheOldFile) {
  const TestFolder folder;
  const std::string path = folder.Write("x", "old");
  // A limit on the size of files, in a process of its own: the signal that goes with it is ignored.
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    int code = 1;
    try {
      WriteFileAtomic(path, std::string(5000, 'n'));
    } catch (const Error& e) {
      const bool told = std::string(e.what()).find("cannot write") != std::string::npos &&
                        std::string(e.what()).find("1000 bytes written so far") != std::string::npos;
      code = e.kind() == ErrorKind::kResource && told ? 0 : 2;
    }
    _exit(code);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(ReadFile(path), "old");
  EXPECT_EQ(FilesIn(folder.path()), 1u);
}

// The number of a process that has ended.
pid_t GoneProcess() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return child;
}

TEST(RemoveStaleTemporaries, RemovesItsOwnKindOfFilesOnly) {
  const TestFolder folder;
  const pid_t gone = GoneProcess();
  const auto touch = [&](const std::string& name) { std::ofstream(folder.File(name)) << "x"; };
  touch(fmt::format(".a.{}.tmp", gone));
  touch(fmt::format(".layer-1.safetensors.{}.tmp", gone));
  touch(fmt::format(".b.{}.tmp", getpid()));   // of a process before it that had the same number
  touch(fmt::format(".c.{}.tmp", getppid()));  // likewise
  touch(fmt::format("d.{}.tmp", gone));        // not ours: no dot in front
  touch(fmt::format(".e.{}.bak", gone));
  touch(fmt::format(".f.{}x.tmp", gone));
  touch(".tmp");
  touch(fmt::format(".{}.tmp", gone));
  touch(".g.99999999999999999999.tmp");
  fs::create_directory(folder.File(fmt::format(".h.{}.tmp", gone)));
  AtomicFile under_way(folder.File("i"));
  EXPECT_EQ(RemoveStaleTemporaries(folder.path(), "results"), 0u);
  const size_t before = FilesIn(folder.path());
  EXPECT_EQ(RemoveStaleTemporaries(folder.path()), 4u);
  EXPECT_EQ(FilesIn(folder.path()), before - 4);
  EXPECT_FALSE(fs::exists(folder.File(fmt::format(".a.{}.tmp", gone))));
  EXPECT_EQ(RemoveStaleTemporaries(folder.path()), 0u);
}

TEST(RemoveStaleTemporaries, KeepsAFileThatIsBeingWrittenFromAnotherMachine) {
  const TestFolder folder;
  const std::string path = folder.File(fmt::format(".a.{}.tmp", GoneProcess()));  // a number of that machine
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  EXPECT_EQ(RemoveStaleTemporaries(folder.path()), 0u);
  close(fd);
  EXPECT_EQ(RemoveStaleTemporaries(folder.path()), 1u);
}

TEST(RemoveStaleTemporaries, CleansUpAfterAProcessKilledWhileWriting) {
  const TestFolder folder;
  const pid_t child = fork();
  if (child == 0) {
    AtomicFile file(folder.File("x"));
    file.Write("half");
    kill(getpid(), SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(FilesIn(folder.path()), 1u);
  EXPECT_FALSE(fs::exists(folder.File("x")));
  EXPECT_EQ(RemoveStaleTemporaries(folder.path()), 1u);
  EXPECT_EQ(FilesIn(folder.path()), 0u);
}

TEST(RemoveTemporariesOfTheDead, KeepsThoseOfTheLiving) {
  const TestFolder folder;
  const std::string gone = folder.Write(fmt::format(".results_1.json.{}.tmp", GoneProcess()), "half");
  const std::string other = folder.Write(fmt::format(".other.{}.tmp", GoneProcess()), "half");
  const std::string living = folder.Write(fmt::format(".results_1.json.{}.tmp", getppid()), "half");
  EXPECT_EQ(RemoveTemporariesOfTheDead(folder.path(), "results_"), 1u);
  EXPECT_FALSE(fs::exists(gone));
  EXPECT_TRUE(fs::exists(other));
  EXPECT_TRUE(fs::exists(living));
}

TEST(AtomicFile, RemovesWhatAKilledWriterOfTheSameFileLeft) {
  const TestFolder folder;
  const pid_t gone = GoneProcess();
  const std::string mine = folder.File(fmt::format(".x.{}.tmp", gone));
  const std::string other = folder.File(fmt::format(".x.y.{}.tmp", gone));
  const std::string living = folder.File(fmt::format(".x.{}.tmp", getppid()));
  for (const std::string& path : {mine, other, living}) std::ofstream(path) << "half";
  folder.Write("x", "whole");
  EXPECT_FALSE(fs::exists(mine));
  EXPECT_TRUE(fs::exists(other));
  EXPECT_TRUE(fs::exists(living));
}

TEST(LockFile, IsTakenOnceAndFreeAgainAfterwards) {
  const TestFolder folder;
  {
    const LockFile lock(folder.path());
    ExpectError(ErrorKind::kConflict, folder.path(), [&] { LockFile{folder.path()}; });
  }
  EXPECT_NO_THROW(LockFile{folder.path()});
  ExpectError(ErrorKind::kResource, folder.File("absent/.lock"), [&] { LockFile{folder.File("absent")}; });
}

TEST(WriteError, OfAFullDiskSaysWhatIsFree) {
  const TestFolder folder;
  EXPECT_THAT(WriteError::Of(folder.File("x"), "write", ENOSPC, "7 bytes written so far").what(),
              ::testing::MatchesRegex(".*/x: cannot write: No space left on device \\(7 bytes written so "
                                      "far, [0-9]+ bytes free\\)"));
  EXPECT_THAT(WriteError::Of(folder.File("x"), "write", EIO).what(),
              ::testing::EndsWith("/x: cannot write: Input/output error"));
}

TEST(RemoveStaleTemporaries, MissingFolderHasNone) {
  EXPECT_EQ(RemoveStaleTemporaries("/nowhere/at/all"), 0u);
}

TEST(ReadFile, ReadsAllBytes) {
  const TestFolder folder;
  const std::string content = std::string("a\0b\n", 4) + std::string(100'000, '\xff');
  EXPECT_EQ(ReadFile(folder.Write("x", content)), content);
  EXPECT_EQ(ReadFile(folder.Write("empty", "")), "");
}

TEST(ReadFile, LimitIsCheckedBeforeReading) {
  const TestFolder folder;
  const std::string path = folder.Write("x", "12345");
  EXPECT_EQ(ReadFile(path, 5), "12345");
  ExpectError(ErrorKind::kContent, path, [&] { ReadFile(path, 4); });
  std::ofstream(folder.File("sparse")).flush();
  fs::resize_file(folder.File("sparse"), uintmax_t{1} << 40);
  ExpectError(ErrorKind::kContent, folder.File("sparse"), [&] { ReadFile(folder.File("sparse")); });
}

TEST(ReadFile, OtherThingsThanFilesAreMissingAndNeverBlock) {
  const TestFolder folder;
  fs::create_symlink("nowhere", folder.File("dangling"));
  fs::create_symlink("loop", folder.File("loop"));
  fs::create_symlink("/dev/zero", folder.File("zero"));
  ASSERT_EQ(mkfifo(folder.File("pipe").c_str(), 0600), 0);
  for (const std::string& path : {folder.path(), folder.File("absent"), folder.File("dangling"),
                                  folder.File("loop"), folder.File("zero"), folder.File("pipe")}) {
    ExpectError(ErrorKind::kMissing, path, [&] { ReadFile(path); });
    ExpectError(ErrorKind::kMissing, path, [&] { MappedFile{path}; });
  }
}

TEST(MappedFile, GivesTheBytesAndKeepsThemWhenMoved) {
  const TestFolder folder;
  MappedFile file(folder.Write("x", "12345"));
  const std::byte* data = file.bytes().data();
  MappedFile moved(std::move(file));
  EXPECT_EQ(moved.bytes().data(), data);
  EXPECT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[4]), '5');
  EXPECT_EQ(moved.path(), folder.File("x"));
  EXPECT_TRUE(MappedFile(folder.Write("empty", "")).bytes().empty());
}

TEST(MappedFile, KeepsTheOldContentWhenTheFileIsReplaced) {
  const TestFolder folder;
  const MappedFile file(folder.Write("x", "old"));
  folder.Write("x", "new");
  EXPECT_EQ(static_cast<char>(file.bytes()[0]), 'o');
}

TEST(MakeDirectory, MakesParentsAndAcceptsAnExistingFolder) {
  const TestFolder folder;
  MakeDirectory(folder.File("a/b/c"));
  EXPECT_TRUE(fs::is_directory(folder.File("a/b/c")));
  EXPECT_NO_THROW(MakeDirectory(folder.File("a/b/c")));
}

TEST(MakeDirectory, WhatIsInTheWayIsNamed) {
  const TestFolder folder;
  const std::string file = folder.Write("file", "");
  ExpectError(ErrorKind::kConflict, file, [&] { MakeDirectory(file); });
  ExpectError(ErrorKind::kResource, file + "/x", [&] { MakeDirectory(file + "/x"); });
  const std::string long_name = folder.File(std::string(300, 'n'));
  ExpectError(ErrorKind::kResource, long_name, [&] { MakeDirectory(long_name); });
}

TEST(RequireDirectory, AcceptsFoldersOnly) {
  const TestFolder folder;
  EXPECT_NO_THROW(RequireDirectory(folder.path(), "a folder"));
  const std::string file = folder.Write("file", "");
  ExpectError(ErrorKind::kMissing, file, [&] { RequireDirectory(file, "a checkpoint"); });
  ExpectError(ErrorKind::kMissing, folder.File("absent"),
              [&] { RequireDirectory(folder.File("absent"), "x"); });
}

}  // namespace
}  // namespace lowbit
