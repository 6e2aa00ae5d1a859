// SPDX-License-Identifier: Apache-2.0
// Rounds the files of an artefact one after the other, and counts what came out.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "lowbit/checkpoint/artefact.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {

// A file of an artefact before it is made: which matrices it will hold.
struct PlannedMatrix {
  std::string name;  // of its tensor
  size_t rows = 0, cols = 0;
};
struct PlannedFile {
  std::string name;
  WeightSpec spec;
  std::vector<PlannedMatrix> matrices;

  // Bytes of its tensors.
  uint64_t Bytes() const;
  // Whether `tensors` are what this file is to hold, their values aside.
  bool Describes(const PackedTensors& tensors) const;
};

// One file per layer, then the head's if the recipe rounds it. A tied head is one matrix, under the
// embedding's name.
std::vector<PlannedFile> PlanFiles(const CheckpointSource& model, const Recipe& recipe);

class ModelRounder {
 public:
  // All must outlive this.
  ModelRounder(const CheckpointSource& model, const Recipe& recipe, const Threads& threads);

  // The packed tensors of planned file `index`. When `kept` is not empty it holds them already, from an
  // earlier run: they are measured against the weights, like new ones, and returned.
  PackedTensors Round(size_t index, PackedTensors kept = {});

  // What it takes in memory beyond the program.
  static uint64_t PeakBytes(const CheckpointSource& model, const Recipe& recipe);

  const std::vector<PlannedFile>& files() const { return files_; }

  // Seconds that all files will take, by rounding one matrix and hashing as much.
  double ProbeSeconds();

  // Fills in the sizes and the error. Call after the last file.
  void Describe(ArtefactInfo& info) const;

 private:
  RoundingError RoundMatrix(const PlannedMatrix& matrix, const Method& method, const WeightSpec& spec,
                            bool is_new, PackedTensor& packed) const;
  void Load(const std::string& name, size_t first, std::span<float> out) const;
  void Count(const std::string& name, const PackedTensor& packed, const RoundingError& error);

  const CheckpointSource& model_;
  const Recipe& recipe_;
  const Method& method_;
  const Threads& threads_;
  std::vector<PlannedFile> files_;

  std::set<std::string, std::less<>> rounded_;  // names
  uint64_t weights_ = 0, bits_ = 0;
  RoundingError error_;
};

}  // namespace lowbit
