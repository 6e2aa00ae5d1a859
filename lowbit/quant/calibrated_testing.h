// SPDX-License-Identifier: Apache-2.0
// For tests of recipes that learn from calibration tokens.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "lowbit/base/files.h"
#include "lowbit/calib/calibration_set.h"
#include "lowbit/checkpoint/safetensors.h"
#include "lowbit/quant/layer_stream.h"

namespace lowbit {

inline std::string TinyModel(std::string_view name) {
  return fmt::format("{}/models/{}", LOWBIT_TESTDATA, name);
}

inline CalibrationSet SomeTokens(size_t samples = 6, size_t length = 48) {
  CalibrationSet set;
  set.spec.samples = samples;
  set.spec.length = length;
  set.hash = std::string(64, 'c');
  set.held_out_hash = std::string(64, 'e');
  std::mt19937 random(7);
  const auto sequence = [&] {
    TokenIds ids;
    for (size_t t = 0; t < length; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
    return ids;
  };
  for (size_t s = 0; s < samples; ++s) set.sequences.push_back(sequence());
  for (size_t s = 0; s < 2; ++s) set.held_out.push_back(sequence());
  return set;
}

struct How {
  int threads = 2;
  bool least_memory = false;
  Failures failures = Failures::kThrow;
};

inline std::vector<QuantizeResult> Quantize(const std::string& model, const std::vector<std::string>& recipes,
                                            const std::string& out, How how = {}) {
  const CheckpointSource source(model);
  const Threads threads(how.threads);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const CalibrationSet set = SomeTokens();
  std::vector<QuantizeCell> cells;
  for (const std::string& recipe : recipes) cells.push_back({ParseRecipe(recipe), out + "/" + recipe});
  return QuantizeModel({source, *backend, &set, {.least = how.least_memory, .scratch = out}}, cells,
                       how.failures);
}

inline std::string WhatOf(const std::exception_ptr& failure) {
  if (!failure) return "no failure";
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    return e.what();
  }
}

// Puts `value` in the place of element `index` of a tensor of a single-file checkpoint in f32.
inline void Poke(const std::string& folder, std::string_view tensor, size_t index, float value) {
  const std::string path = folder + "/model.safetensors";
  size_t at = 0;
  {
    const SafetensorsFile file(path);
    at = file.header().data_start + file.Find(tensor)->begin + 4 * index;
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.write(reinterpret_cast<const char*>(&value), 4);
}

inline std::map<std::string, std::string> TensorFiles(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files[entry.path().filename()] = ReadFile(entry.path());
  }
  return files;
}

}  // namespace lowbit
