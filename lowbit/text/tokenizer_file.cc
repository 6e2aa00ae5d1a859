// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/tokenizer_file.h"

#include <array>

namespace lowbit {
namespace {

constexpr std::string_view kFamilies =
    "the tokenizers of Qwen2, Qwen3, LLaMA-3, SmolLM2 and GPT-2 can be read";

std::string_view TypeOf(const JsonField& component) {
  return component.Get("type").String();
}

[[noreturn]] void FailType(const JsonField& component, std::string_view expected) {
  const JsonField type = component.Get("type");
  throw Error(ErrorKind::kContent, type.place(),
              fmt::format("is {}, expected {}", PreviewOf(type.value()), expected))
      .Hint(std::string(kFamilies));
}

bool ReadNormalizer(const JsonField& root) {
  const std::optional<JsonField> normalizer = root.Find("normalizer");
  if (!normalizer) return false;
  if (TypeOf(*normalizer) != "NFC") FailType(*normalizer, "null or \"NFC\"");
  return true;
}

// ByteLevel: returns use_regex, which is true where it is not said.
bool ReadByteLevel(const JsonField& component) {
  if (TypeOf(component) != "ByteLevel") FailType(component, "\"ByteLevel\"");
  component.ExpectOnly("add_prefix_space", false);
  const std::optional<JsonField> use_regex = component.Find("use_regex");
  return !use_regex || use_regex->Bool();
}

SplitRule ReadSplit(const JsonField& split) {
  const JsonField behavior = split.Get("behavior"), pattern = split.Get("pattern").Get("Regex");
  if (behavior.String() != "Isolated") behavior.Fail("\"Isolated\"");
  split.ExpectOnly("invert", false);
  const std::optional<SplitRule> rule = SplitRuleOfPattern(pattern.String());
  if (!rule) pattern.Fail("the pattern of Qwen2 or of LLaMA-3, character by character");
  return *rule;
}

// ByteLevel alone, or what Qwen, LLaMA-3 and SmolLM2 put before it.
SplitRule ReadPreTokenizer(const JsonField& root) {
  const JsonField pre_tokenizer = root.Get("pre_tokenizer");
  if (pre_tokenizer.value().is_null()) pre_tokenizer.Fail("a Sequence or ByteLevel");
  if (TypeOf(pre_tokenizer) != "Sequence") {
    const bool use_regex = ReadByteLevel(pre_tokenizer);
    if (!use_regex) pre_tokenizer.Get("use_regex").Fail("true, as nothing else splits the text");
    return SplitRule::kGpt2;
  }
  const JsonField list = pre_tokenizer.Get("pretokenizers");
  const std::vector<JsonField> parts = list.Elements();
  if (parts.size() != 2) {
    throw Error(ErrorKind::kContent, list.place(),
                fmt::format("has {} parts, expected 2: Split or Digits, then ByteLevel", parts.size()));
  }
  const bool is_split = TypeOf(parts[0]) == "Split";
  SplitRule rule = SplitRule::kDigitsGpt2;
  if (is_split) {
    rule = ReadSplit(parts[0]);
  } else if (TypeOf(parts[0]) == "Digits") {
    const JsonField individual = parts[0].Get("individual_digits");
    if (!individual.Bool()) individual.Fail("true");
  } else {
    FailType(parts[0], "\"Split\" or \"Digits\"");
  }
  const bool use_regex = ReadByteLevel(parts[1]);
  if (use_regex == is_split) {
    throw Error(ErrorKind::kContent, parts[1].place(),
                fmt::format("use_regex is {}, expected {} after {}", use_regex, !is_split, TypeOf(parts[0])));
  }
  return rule;
}

// Ids that one special token of a template stands for.
void AppendTemplateIds(const JsonField& post_processor, const JsonField& special,
                       const Vocabulary& vocabulary, std::vector<int32_t>& ids) {
  const JsonField definition = post_processor.Get("special_tokens").Get(special.Get("id").String());
  for (const JsonField& id : definition.Get("ids").Elements()) {
    ids.push_back(static_cast<int32_t>(id.Int(0, Vocabulary::kMaxId)));
    if (!vocabulary.Has(ids.back())) id.Fail("the id of a token");
  }
}

void ReadTemplate(const JsonField& post_processor, TokenizerFile& file) {
  const JsonField single = post_processor.Get("single");
  const std::vector<JsonField> pieces = single.Elements();
  constexpr size_t kMaxPieces = 64;  // each is looked up among the special tokens one by one
  if (pieces.size() > kMaxPieces) single.Fail(fmt::format("at most {} pieces", kMaxPieces));
  bool text_seen = false;
  for (const JsonField& piece : pieces) {
    if (const std::optional<JsonField> special = piece.Find("SpecialToken")) {
      AppendTemplateIds(post_processor, *special, file.tables.vocabulary,
                        text_seen ? file.suffix : file.prefix);
      continue;
    }
    const JsonField sequence = piece.Get("Sequence").Get("id");
    if (sequence.String() != "A" || text_seen) sequence.Fail("one sequence \"A\"");
    text_seen = true;
  }
  if (!text_seen) single.Fail("special tokens and one sequence \"A\"");
}

// ByteLevel concerns offsets only; a template puts special tokens around the text.
void ReadPostProcessor(const JsonField& root, TokenizerFile& file) {
  const std::optional<JsonField> top = root.Find("post_processor");
  if (!top) return;
  const bool is_sequence = TypeOf(*top) == "Sequence";
  bool template_seen = false;
  for (const JsonField& part : is_sequence ? top->Get("processors").Elements() : std::vector{*top}) {
    if (TypeOf(part) == "ByteLevel") continue;
    if (TypeOf(part) != "TemplateProcessing" || template_seen) {
      FailType(part, "\"ByteLevel\" or one \"TemplateProcessing\"");
    }
    ReadTemplate(part, file);
    template_seen = true;
  }
}

void CheckDecoder(const JsonField& root) {
  const JsonField decoder = root.Get("decoder");
  if (decoder.value().is_null()) decoder.Fail("a ByteLevel decoder");
  if (TypeOf(decoder) != "ByteLevel") FailType(decoder, "\"ByteLevel\"");
}

// Returns ignore_merges.
bool ReadModelOptions(const JsonField& root) {
  const JsonField model = root.Get("model");
  if (TypeOf(model) != "BPE") FailType(model, "\"BPE\"");
  model.ExpectOnly("byte_fallback", false);
  for (const char* name : {"dropout", "unk_token"}) {
    if (const std::optional<JsonField> field = model.Find(name)) field->Fail("null");
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::optional<JsonField> field = model.Find(name);
    if (field && !field->String().empty()) field->Fail("null or an empty string");
  }
  const std::optional<JsonField> ignore_merges = model.Find("ignore_merges");
  return ignore_merges && ignore_merges->Bool();
}

void CheckVersion(const JsonField& root) {
  const std::optional<JsonField> version = root.Find("version");
  if (version && version->String() != "1.0") version->Fail("\"1.0\"");
}

}  // namespace

TokenizerFile ParseTokenizerFile(std::string_view text, const Place& place) {
  const JsonDocument document(text, place);
  constexpr std::array<std::string_view, 2> kLargeTables = {"model.vocab", "model.merges"};
  document.RejectDuplicateKeys(kLargeTables);
  const JsonField root = document.Root();
  TokenizerFile file;
  CheckVersion(root);
  file.nfc = ReadNormalizer(root);
  file.split = ReadPreTokenizer(root);
  file.whole_tokens_first = ReadModelOptions(root);
  CheckDecoder(root);
  file.tables = ReadTokenTables(root);
  ReadPostProcessor(root, file);
  return file;
}

}  // namespace lowbit
