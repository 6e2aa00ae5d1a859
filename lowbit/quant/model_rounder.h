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
  WeightSpec spec;

  uint64_t Bytes() const;  // of its tensors
};
struct PlannedFile {
  std::string name;
  std::vector<PlannedMatrix> matrices;

  // Bytes of its tensors.
  uint64_t Bytes() const;
  // Whether `tensors` are what this file is to hold, their values aside.
  bool Describes(const PackedTensors& tensors) const;
};

// One file per layer, without the linears that the recipe keeps, then the head's if the recipe rounds it. A tied head is one matrix, under the
// embedding's name. Throws what RequireRules throws.
std::vector<PlannedFile> PlanFiles(const CheckpointSource& model, const Recipe& recipe);

class ModelRounder {
 public:
  // All must outlive this.
  ModelRounder(const CheckpointSource& model, const Recipe& recipe, const Threads& threads);

  // One matrix of planned file `index`: to be rounded, or `packed` already by an earlier run, which is measured against
  // the weights like a new one. `context`: what the method made of its inputs. `rescaled` takes the place of the
  // checkpoint's weights. `largest_input`: of what the matrix reads, for one scale of all rounded inputs.
  void RoundOne(size_t index, const PlannedMatrix& matrix, const RoundContext* context, bool is_new,
                PackedTensor& packed, const Matrix* rescaled = nullptr, float largest_input = 0);
  // A matrix that is packed already and whose error is known.
  void Count(const std::string& name, const PackedTensor& packed, const RoundingError& error);
  void AddError(const RoundingError& error) { error_ += error; }  // of a file whose errors are known
  const RoundingError& error() const { return error_; }           // of all matrices so far

  // The matrix of a layer's linear, "self_attn.q_proj"; nullptr when it is kept as it is.
  const PlannedMatrix* FindMatrix(size_t layer, const std::string& linear) const;
  // The method of a file: embedding and head are rounded to nearest whatever the recipe's.
  const Method& MethodOf(size_t index) const;

  const std::vector<PlannedFile>& files() const { return files_; }

  // Seconds that all files will take where nothing is learned, by rounding one matrix and hashing as much.
  double ProbeSeconds();

  // Fills in the sizes and the error. Call after the last file.
  void Describe(ArtefactInfo& info) const;

 private:
  RoundingError RoundMatrix(const PlannedMatrix& matrix, const Method& method, const RoundContext* context,
                            const Matrix* rescaled, float largest_input, bool is_new,
                            PackedTensor& packed) const;
  void RoundWhole(const PlannedMatrix& matrix, const Method& method, const RoundContext* context,
                  PackedTensor& packed) const;
  void Load(const std::string& name, size_t first, std::span<float> out) const;

  const CheckpointSource& model_;
  const Recipe& recipe_;
  const Method& method_;
  const Threads& threads_;
  std::vector<PlannedFile> files_;

  std::set<std::string, std::less<>> rounded_;  // names
  uint64_t weights_ = 0, bits_ = 0, code_bits_ = 0;
  bool has_planes_ = false;
  RoundingError error_;
};

}  // namespace lowbit
