// SPDX-License-Identifier: Apache-2.0
// For tests of this room: golden tokenizers, a tokenizer small enough to break by hand, random text.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "lowbit/text/byte_alphabet.h"
#include "lowbit/text/pretokenizer.h"
#include "lowbit/text/text_file.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit::text_testing {

inline std::string GoldenPath(const std::string& name) {
  return LOWBIT_TESTDATA "/tokenizers/" + name;
}

// "qwen3", "smollm2", "llama3style", or "demo" for the model in data/. Loaded once per test program.
inline const Tokenizer& GoldenTokenizer(const std::string& kind) {
  const auto load = [](const char* name) {
    return Tokenizer::Load(GoldenPath(std::string(name) + "_tokenizer.json"));
  };
  static const Tokenizer qwen3 = load("qwen3"), smollm2 = load("smollm2"), llama3style = load("llama3style");
  static const Tokenizer demo = Tokenizer::Load(LOWBIT_SOURCE_DIR "/data/demo-qwen3");
  return kind == "qwen3" ? qwen3 : kind == "smollm2" ? smollm2 : kind == "llama3style" ? llama3style : demo;
}

inline std::vector<Json> ReadVectors(const std::string& name) {
  std::vector<Json> lines;
  ForEachJsonLine(GoldenPath(name), [&](size_t, const Json& line) { lines.push_back(line); });
  return lines;
}

inline const std::string kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// A whole tokenizer.json: the bytes have the ids 0 to 255, and with four merges "hell" is 258 and "ĠĠ" 259.
// Added: <|end|> 260 (special) and <think> 261.
inline Json SmallTokenizer() {
  Json vocab = Json::object();
  for (int b = 0; b < 256; ++b) vocab[AlphabetCharacter(static_cast<uint8_t>(b))] = b;
  int next = 256;
  for (const char* token : {"he", "ll", "hell", "ĠĠ"}) vocab[token] = next++;
  const auto added = [](int id, const char* content, bool special) {
    return Json{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", special}};
  };
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kQwenPattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {added(260, "<|end|>", true), added(261, "<think>", false)}},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", {"h e", "l l", "he ll", "Ġ Ġ"}}}}};
}

inline Tokenizer ParseSmall(const Json& json) {
  return Tokenizer::Parse(json.dump(), Place("tokenizer.json"));
}

// Valid UTF-8 of up to `max_characters` characters: mostly from `pool`, the rest from all of Unicode.
inline std::string RandomText(std::mt19937& rng, size_t max_characters,
                              const std::vector<std::string>& pool) {
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(rng); };
  std::string text;
  for (size_t n = below(max_characters + 1); n > 0; --n) {
    if (below(4) > 0) {
      text += pool[below(pool.size())];
      continue;
    }
    auto c = static_cast<char32_t>(below(0x110000 - 0x800));
    if (c >= 0xD800) c += 0x800;  // past the surrogates
    if (c >= 0x800) {
      if (c >= 0x10000) {
        text += static_cast<char>(0xF0 | c >> 18);
        text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
      } else {
        text += static_cast<char>(0xE0 | c >> 12);
      }
      text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
      text += static_cast<char>(0x80 | (c & 0x3F));
    } else if (c >= 0x80) {
      text += static_cast<char>(0xC0 | c >> 6);
      text += static_cast<char>(0x80 | (c & 0x3F));
    } else {
      text += static_cast<char>(c);
    }
  }
  return text;
}

// One or more of everything a split pattern or normalization looks at.
inline const std::vector<std::string> kInterestingCharacters = {
    "a",      "s",      "T",   "e",      "l",    "'",         "\u017F", "é",      "e\u0301",
    "\u0301", "\u0323", "1",   "9",      "½",    "一",        "中",     "Ⅳ",      " ",
    " ",      "\t",     "\n",  "\r",     "\r\n", "\u00A0",    "\u0085", "\u2003", "!",
    "-",      ".",      "_",   "😀",      "\x01", "\x1C",      "\u200B", "한",     "\u1100\u1161",
    "\u11A8", "\u212B", "क्षि", "\uFEFF", "ß",    "<|im_end|>"};

}  // namespace lowbit::text_testing
