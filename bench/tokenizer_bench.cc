// SPDX-License-Identifier: Apache-2.0
// How fast a tokenizer loads and encodes, on one thread:
//   tokenizer_bench TOKENIZER [FILE…]
// FILE is text, or JSON lines with a key "text"; each is repeated to 10 MB. Without files: long runs only.
// The answer is checked first: decoding the ids must give the text back.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <functional>

#include "lowbit/base/error.h"
#include "lowbit/text/text_file.h"
#include "lowbit/text/tokenizer.h"
#include "lowbit/text/unicode.h"

namespace lowbit {
namespace {

constexpr size_t kBytes = 10'000'000;

// Processor time of this thread, which does all the work: other programs on the machine disturb it less
// than they disturb the clock on the wall.
double Seconds(const std::function<void()>& body) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  body();
  return now() - start;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string ReadTexts(const std::string& path) {
  if (!path.ends_with(".jsonl")) return ReadTextFile(path);
  std::string text;
  ForEachJsonLine(path, [&](size_t line, const Json& object) {
    text += RequireString(object, "text", Place(path).Line(line)) + "\n";
  });
  return text;
}

std::string Repeated(const std::string& unit) {
  std::string text;
  while (text.size() < kBytes) text += unit;
  return text;
}

std::string_view Check(const Tokenizer& tokenizer, const std::string& text) {
  const std::string back = tokenizer.Decode(tokenizer.Encode(text, false));
  std::string buffer;
  return back == text || back == ToNfc(text, buffer) ? "ok: decodes to the text" : "DECODES TO ANOTHER TEXT";
}

void Run(const std::string& path, const std::vector<std::string>& files) {
  std::vector<double> loads;
  for (int i = 0; i < 9; ++i) loads.push_back(Seconds([&] { Tokenizer::Load(path); }));
  fmt::print("load    {}: median {:.1f} ms, first {:.1f} ms, n={}\n", path, 1e3 * Median(loads),
             1e3 * loads[0], loads.size());
  for (const std::string& file : files) {
    const std::string text = ReadTexts(file), long_text = Repeated(text);
    std::vector<double> cold, warm;
    for (int i = 0; i < 5; ++i) {
      const Tokenizer tokenizer = Tokenizer::Load(path);
      cold.push_back(static_cast<double>(text.size()) / Seconds([&] { tokenizer.Encode(text); }) / 1e6);
      warm.push_back(static_cast<double>(long_text.size()) / Seconds([&] { tokenizer.Encode(long_text); }) /
                     1e6);
    }
    fmt::print("encode  {}: cold {:.1f} MB/s ({} bytes), warm {:.1f} MB/s ({} bytes), n={} [{}]\n", file,
               Median(cold), text.size(), Median(warm), long_text.size(), warm.size(),
               Check(Tokenizer::Load(path), text));
  }
  const Tokenizer tokenizer = Tokenizer::Load(path);
  for (const std::string unit : {"a", " ", "\n", "!", "7", "中", "\u0301", "\u0301\u0323", "<|im_"}) {
    const std::string text = Repeated(unit);
    fmt::print("run of  {}: {:.2f} s for {} bytes [{}]\n", Printable(unit),
               Seconds([&] { tokenizer.Encode(text); }), text.size(), Check(tokenizer, text));
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw lowbit::Error(lowbit::ErrorKind::kUsage, "usage: tokenizer_bench TOKENIZER [FILE…]");
    lowbit::Run(argv[1], {argv + 2, argv + argc});
    return 0;
  } catch (const lowbit::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return lowbit::ExitCode(error.kind());
  }
}
