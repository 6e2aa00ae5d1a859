// SPDX-License-Identifier: Apache-2.0
// lowbit tokenize: text to ids and back, one JSON object per line.
#include <iostream>
#include <memory>

#include "lowbit/cli/commands.h"
#include "lowbit/cli/token_json.h"
#include "lowbit/text/text_file.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, input = "-";
  bool decode = false, no_special = false, skip_special = false;
};

std::string InputName(const Options& options) {
  return options.input == "-" ? "stdin" : options.input;
}

Json EncodeLine(const Tokenizer& tokenizer, const Options& options, const Json& line, const Place& place) {
  const std::string& text = RequireString(line, "text", place);
  return {{"ids", tokenizer.Encode(text, !options.no_special)}};
}

Json DecodeLine(const Tokenizer& tokenizer, const Options& options, const Json& line, const Place& place) {
  const auto ids = line.find("ids");
  if (ids == line.end()) throw Error(ErrorKind::kContent, place, "has no key 'ids'");
  return {{"text", tokenizer.Decode(ParseTokenIds(*ids, place.Key("ids")),
                                    options.skip_special || options.no_special)}};
}

void RunTokenize(const Options& options) {
  const Tokenizer tokenizer = Tokenizer::Load(options.model);
  const Place input(InputName(options));
  const auto answer = [&](size_t number, const Json& line) {
    const auto convert = options.decode ? DecodeLine : EncodeLine;
    // Flushed line by line, so that a program at the other end of two pipes can wait for each answer.
    std::cout << convert(tokenizer, options, line, input.Line(number)).dump() << std::endl;
    if (!std::cout) throw Error(ErrorKind::kResource, Place("stdout"), "cannot write");
  };
  if (options.input == "-") {
    ForEachJsonLine(std::cin, InputName(options), answer);
  } else {
    ForEachJsonLine(options.input, answer);
  }
}

}  // namespace

void AddTokenizeCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "text to token ids and back, one JSON object per line");
  auto options = std::make_shared<Options>();
  command->add_option("-m,--model", options->model, "folder with a tokenizer.json, or the file itself")
      ->required();
  command->add_option("input", options->input, "JSON lines; - is stdin")->capture_default_str();
  CLI::Option* decode = command->add_flag("-d,--decode", options->decode, "ids to text");
  command->add_flag(
      "--no-special", options->no_special,
      "do not add what the tokenizer puts around a text (a BOS); with --decode: as --skip-special");
  command->add_flag("--skip-special", options->skip_special, "leave special tokens out of the text")
      ->needs(decode);
  command->footer(
      "Reads  {\"text\": \"…\"}, writes {\"ids\": […]}; with --decode the other way. Other keys are ignored, "
      "empty lines\n"
      "skipped. Ids that the tokenizer does not know decode to nothing, broken UTF-8 to U+FFFD.\n"
      "Examples:\n"
      "  echo '{\"text\": \"Hello, world!\"}' | lowbit tokenize --model Qwen3-0.6B\n"
      "  echo '{\"ids\": [9707, 11, 1879, 0]}' | lowbit tokenize --model Qwen3-0.6B --decode\n"
      "  lowbit tokenize --model Qwen3-0.6B/tokenizer.json c4.jsonl > c4.ids.jsonl");
  command->callback([options] { RunTokenize(*options); });
}

}  // namespace lowbit
