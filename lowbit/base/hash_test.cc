// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/hash.h"

#include <gtest/gtest.h>

#include "lowbit/base/error.h"
#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

// Vectors of FIPS 180-2, appendix B.
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kTwoBlocks = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
constexpr const char* kMillion = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, KnownVectors) {
  EXPECT_EQ(Sha256Hex(""), kEmpty);
  EXPECT_EQ(Sha256Hex("abc"), kAbc);
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), kTwoBlocks);
  EXPECT_EQ(Sha256Hex(std::string(1'000'000, 'a')), kMillion);
}

TEST(Sha256, PiecesMakeTheSameHashAsTheWhole) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("");
  hash.Update("bc");
  Sha256 moved(std::move(hash));
  EXPECT_EQ(moved.Hex(), kAbc);
}

TEST(Sha256OfFile, HashesContentAndNamesAMissingFile) {
  const TestFolder folder;
  EXPECT_EQ(Sha256OfFile(folder.Write("x", "abc")), kAbc);
  EXPECT_EQ(Sha256OfFile(folder.Write("empty", "")), kEmpty);
  EXPECT_THROW(Sha256OfFile(folder.File("absent")), Error);
}

}  // namespace
}  // namespace lowbit
