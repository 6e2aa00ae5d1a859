// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/json.h"
#include "lowbit/base/log.h"
#include "lowbit/base/progress.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/cli/commands.h"
#include "lowbit/quant/method.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

const std::string kModel = std::string(LOWBIT_TESTDATA) + "/models/tiny-qwen3";

// What `lowbit` with these arguments writes to stdout.
std::string Output(std::vector<std::string> arguments) {
  CLI::App app;
  int exit_code = 0;
  AddQuantizeCommand(app, exit_code);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  SetLogLevel(LogLevel::kQuiet);
  ::testing::internal::CaptureStdout();
  try {
    app.parse(arguments);
  } catch (...) {
    ::testing::internal::GetCapturedStdout();
    throw;
  }
  return ::testing::internal::GetCapturedStdout();
}

TEST(QuantizeCommand, JsonSaysWhatTheArtefactSays) {
  const TestFolder folder;
  const std::string out = folder.File("q");
  const Json json = Json::parse(
      Output({"quantize", kModel, "rtn-w4-g32:scale=f16", "-o", out, "--threads", "1", "--json"}));
  const ArtefactInfo info = Artefact(out).info();
  EXPECT_EQ(json["recipe"], "rtn-w4-g32");
  EXPECT_EQ(json["artefact"], out);
  EXPECT_EQ(json["bits_per_quantized_weight"], info.BitsPerQuantizedWeight());
  EXPECT_EQ(json["bits_per_model_weight"], info.BitsPerModelWeight());
  EXPECT_EQ(json["relative_error"], info.relative_error);
  EXPECT_EQ(json["file_bytes"], info.FileBytes());
  EXPECT_EQ(json["files"], 2);
  EXPECT_EQ(json["kept_files"], 0);
  EXPECT_EQ(Json::parse(Output({"quantize", kModel, "rtn-w4-g32", "-o", out, "--json"}))["kept_files"], 2);
}

TEST(QuantizeCommand, SummaryShowsBitsSizesAndError) {
  const TestFolder folder;
  const std::string text = Output({"quantize", kModel, "rtn-w4-g32", "-o", folder.File("q")});
  EXPECT_THAT(text, HasSubstr("rtn-w4-g32 of " + kModel));
  EXPECT_THAT(text, HasSubstr("at 4.625 bits each"));  // 4 + (16 + 4) / 32
  EXPECT_THAT(text, HasSubstr("of the weights' norm"));
}

TEST(QuantizeCommand, RefusesARecipeBeforeItLooksAtTheModel) {
  const TestFolder folder;
  try {
    Output({"quantize", folder.File("nothing"), "rtn-w9-g128", "-o", folder.File("q")});
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    EXPECT_THAT(e.what(), HasSubstr("found 'w9'"));
  }
  EXPECT_THROW(Output({"quantize", kModel, "rtn-w4-g32"}), CLI::RequiredError);
  EXPECT_THROW(Output({"quantize", kModel, "rtn-w4-g32", "-o", folder.File("q"), "--threads", "0"}),
               CLI::ValidationError);
}

TEST(QuantizeCommand, HelpListsEveryMethod) {
  CLI::App app;
  int exit_code = 0;
  AddQuantizeCommand(app, exit_code);
  const std::string help = app.get_subcommand("quantize")->help();
  for (const Method* method : Methods())
    EXPECT_THAT(help, HasSubstr(std::string(method->Info().description)));
}

}  // namespace
}  // namespace lowbit
