// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "lowbit/base/hash.h"
#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr size_t kPages = 64, kBytes = kPages * 4096;

size_t SumOf(std::span<const std::byte> bytes) {
  size_t sum = 0;
  for (const std::byte b : bytes) sum += static_cast<size_t>(b);
  return sum;
}

std::string Refusal(const MappedFile& file) {
  try {
    file.RequireIntact();
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_EQ(e.place().file(), file.path());
    return e.what();
  }
}

class MappedFileTest : public testing::Test {
 protected:
  const TestFolder folder_;
  const std::string path_ = folder_.Write("a", std::string(kBytes, '\x01'));
  void Overwrite(char with) const { std::ofstream(path_) << std::string(kBytes, with); }
};

TEST_F(MappedFileTest, AnUntouchedFileIsIntact) {
  const MappedFile file(path_);
  EXPECT_EQ(SumOf(file.bytes()), kBytes);
  EXPECT_EQ(Refusal(file), "");
}

TEST_F(MappedFileTest, AnEmptyFileIsIntactUntilItGrows) {
  const MappedFile file(folder_.Write("empty", ""));
  EXPECT_TRUE(file.bytes().empty());
  EXPECT_EQ(Refusal(file), "");
  std::ofstream(file.path()) << "x";
  EXPECT_THAT(Refusal(file), HasSubstr("written to"));
}

TEST_F(MappedFileTest, ReadingOnAfterACutGivesZerosAndAnError) {
  const MappedFile file(path_);
  fs::resize_file(path_, 0);
  EXPECT_EQ(SumOf(file.bytes()), 0u);
  EXPECT_THAT(Refusal(file), HasSubstr("was cut or could not be read while in use"));
}

TEST_F(MappedFileTest, ACutThatWasReadStaysAnErrorWhenTheFileIsWholeAgain) {
  const MappedFile file(path_);
  fs::resize_file(path_, 100);
  EXPECT_LT(SumOf(file.bytes()), kBytes);
  Overwrite('\x01');
  EXPECT_NE(Refusal(file), "");
}

TEST_F(MappedFileTest, ACutInsideTheLastPageRaisesNoSignalButAnError) {
  const MappedFile file(path_);
  fs::resize_file(path_, kBytes - 1);
  EXPECT_EQ(SumOf(file.bytes()), kBytes - 1);
  EXPECT_THAT(Refusal(file), HasSubstr("cut to 262143 bytes while in use: expected 262144 bytes"));
}

TEST_F(MappedFileTest, NewBytesInPlaceOfTheOldOnesAreAnError) {
  const MappedFile file(path_);
  Overwrite('\x02');
  EXPECT_THAT(Refusal(file), HasSubstr("written to while in use"));
}

TEST_F(MappedFileTest, AFileRenamedOverTheNameGoesUnnoticed) {
  const MappedFile file(path_);
  folder_.Write("b", "short");
  fs::rename(folder_.File("b"), path_);
  EXPECT_EQ(SumOf(file.bytes()), kBytes);
  EXPECT_EQ(Refusal(file), "");
}

TEST_F(MappedFileTest, ADeletedFileStaysReadable) {
  const MappedFile file(path_);
  fs::remove(path_);
  EXPECT_EQ(SumOf(file.bytes()), kBytes);
  EXPECT_EQ(Refusal(file), "");
}

TEST_F(MappedFileTest, OnlyTheFileThatWasCutIsDamaged) {
  const MappedFile other(folder_.Write("other", std::string(kBytes, '\x03'))), file(path_);
  fs::resize_file(path_, 0);
  EXPECT_EQ(SumOf(file.bytes()), 0u);
  EXPECT_EQ(SumOf(other.bytes()), 3 * kBytes);
  EXPECT_EQ(Refusal(other), "");
}

TEST_F(MappedFileTest, AMappingMadeLaterStartsUndamaged) {
  for (int i = 0; i < 3; ++i) {
    Overwrite('\x01');
    const MappedFile file(path_);
    EXPECT_EQ(Refusal(file), "");
    fs::resize_file(path_, 0);
    EXPECT_EQ(SumOf(file.bytes()), 0u);
    EXPECT_NE(Refusal(file), "");
  }
}

TEST_F(MappedFileTest, AMovedFileKeepsItsState) {
  MappedFile file(path_);
  fs::resize_file(path_, 0);
  SumOf(file.bytes());
  const MappedFile moved(std::move(file));
  EXPECT_NE(Refusal(moved), "");
}

// Readers, and mappings that come and go, on all threads while files are cut under them.
TEST_F(MappedFileTest, AnyNumberOfThreadsMayReadWhileFilesAreCut) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string path = folder_.Write(fmt::format("t{}", t), std::string(kBytes, '\x01'));
      for (int i = 0; i < 50; ++i) {
        std::ofstream(path) << std::string(kBytes, '\x01');
        const MappedFile file(path), shared(path_);
        std::thread cutter([&] { fs::resize_file(path, static_cast<uintmax_t>(i) * 1000); });
        const size_t sum = SumOf(file.bytes());
        cutter.join();
        EXPECT_NE(Refusal(file), "") << sum;
        EXPECT_EQ(SumOf(shared.bytes()), kBytes);
        EXPECT_EQ(Refusal(shared), "");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(MappedFileTest, WhatAReaderSaysOfACutFileIsReplaced) {
  const MappedFile file(path_);
  const auto read = [&](std::span<const std::byte>) -> int {
    fs::resize_file(path_, 0);
    throw Error(ErrorKind::kContent, Place(path_), "not valid JSON");
  };
  try {
    ReadIntact(file, read);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("cut to 0 bytes while in use"));
  }
}

using MappedFileDeathTest = MappedFileTest;

// A sanitizer catches the signal in its own way and exits.
bool EndedByTheSignal(int status) {
  return (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) ||
         (WIFEXITED(status) && WEXITSTATUS(status) != 0);
}

TEST_F(MappedFileDeathTest, ASignalThatIsNotAboutAMappedFileKeepsItsEffect) {
  const MappedFile file(path_);
  EXPECT_EXIT(raise(SIGBUS), EndedByTheSignal, "");
}

TEST_F(MappedFileDeathTest, SoDoesAMappingOfSomebodyElse) {
  const MappedFile file(path_);
  const int fd = OpenRegularFile(path_);
  const auto* data = static_cast<const std::byte*>(mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd, 0));
  fs::resize_file(path_, 0);
  EXPECT_EXIT(
      {
        volatile size_t sum = SumOf({data, kBytes});
        (void)sum;
      },
      EndedByTheSignal, "");
  close(fd);
}

}  // namespace
}  // namespace lowbit
