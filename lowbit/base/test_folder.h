// SPDX-License-Identifier: Apache-2.0
// For tests: an empty folder of its own, removed with all it holds.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "lowbit/base/files.h"

namespace lowbit {

class TestFolder {
 public:
  TestFolder() {
    static int count = 0;
    path_ = ::testing::TempDir() + "lowbit-test-" + std::to_string(getpid()) + "-" + std::to_string(++count);
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }
  std::string Write(std::string_view name, std::string_view content) const {
    WriteFileAtomic(File(name), content);
    return File(name);
  }
  void CopyFrom(const std::string& folder) const {
    std::filesystem::copy(folder, path_, std::filesystem::copy_options::recursive);
  }

 private:
  std::string path_;
};

}  // namespace lowbit
