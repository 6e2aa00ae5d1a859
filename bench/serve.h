// SPDX-License-Identifier: Apache-2.0
// What the programs that bench/quant.py talks to have in common: a command on each line of stdin, its answer as
// one line of JSON on stdout.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/calib/calibration_set.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/model/staged_layer.h"

namespace lowbit {

// By the clock, and of all of this process's threads together: the latter tells even while others use the machine.
struct Cost {
  double seconds = 0, cpu_seconds = 0;

  Json ToJson() const { return {{"seconds", seconds}, {"cpu_seconds", cpu_seconds}}; }
  Cost& operator+=(const Cost& other) {
    seconds += other.seconds;
    cpu_seconds += other.cpu_seconds;
    return *this;
  }
};

template <class F>
Cost CostOf(const F& body) {
  const std::clock_t begin = std::clock();
  const double seconds = SecondsOf(body);
  return {seconds, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC};
}

// `answer` sees the words of a line; the first is the command.
inline void AnswerEach(const std::function<Json(const std::vector<std::string>& words)>& answer) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::vector<std::string> words;
    for (std::string word; in >> word;) words.push_back(word);
    if (!words.empty()) std::cout << answer(words) << std::endl;
  }
}

[[noreturn]] inline void ThrowUnknown(const std::vector<std::string>& words, std::string_view expected) {
  throw Error(ErrorKind::kUsage,
              fmt::format("'{}' with {} arguments, expected {}", words[0], words.size() - 1, expected));
}

inline size_t Count(const std::string& word) {
  size_t end = 0;
  unsigned long long value = 0;
  try {
    value = std::stoull(word, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end == 0 || end != word.size())
    throw Error(ErrorKind::kUsage, fmt::format("'{}', expected a number", word));
  return value;
}

// The bytes of an array, for numpy.fromfile.
inline void WriteRaw(const std::string& path, const void* data, size_t bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes)).flush();
  if (!out) throw WriteError(path, fmt::format("{} bytes could not be written", bytes));
}

inline Matrix ToMatrix(const Weight& weight) {
  Matrix matrix(Rows(weight), Cols(weight));
  RowsToFloat(weight, 0, matrix.view());
  return matrix;
}

inline StagedLayer::WeightOf AsTheyAre(const LayerWeights& weights) {
  return [&](const std::string& name) { return weights.linears.find(name)->second; };
}

// TEXTS SAMPLES LENGTH, as `lowbit quantize --calib` reads them.
inline CalibrationSet LoadTokens(const std::string& model, const std::string& texts,
                                 const std::string& samples, const std::string& length) {
  return LoadCalibrationSet({.file = texts, .samples = Count(samples), .length = Count(length)},
                            Tokenizer::Load(model));
}

// What main() of such a program does with its arguments. Returns the exit code.
inline int RunServer(int argc, char** argv, int (*run)(const std::vector<std::string>& args)) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const Error& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return ExitCode(e.kind());
  }
}

}  // namespace lowbit
