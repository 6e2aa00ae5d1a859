// SPDX-License-Identifier: Apache-2.0
// Where the decoder gets its weights from, one layer at a time. It never learns which method packed them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lowbit/checkpoint/artefact.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/model/layout.h"
#include "lowbit/tensor/weight.h"

namespace lowbit {

// Weights of one decoder layer by name relative to it ("self_attn.q_proj"). Dense weights are views that
// stay valid as long as their source.
struct LayerWeights {
  std::map<std::string, Weight, std::less<>> linears;  // every expert's, too
  std::optional<Weight> router;
  std::shared_ptr<const std::vector<float>> own_router;  // its values, where they are not the checkpoint's
  std::map<std::string, std::vector<float>, std::less<>> biases;  // only those that exist
  std::map<std::string, std::vector<float>, std::less<>> norms;
};

// Norms, biases and the router of a layer give way to those of `vectors`, named in full, that have their size.
// Returns the names that were used.
std::set<std::string> ReplaceVectors(const std::map<std::string, std::vector<float>>& vectors,
                                     const std::string& prefix, LayerWeights& weights);

class LayerSource {
 public:
  virtual ~LayerSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const ModelLayout& layout() const = 0;

  // Throws Error{kNumeric} naming the first tensor with NaN or infinite values.
  virtual LayerWeights Layer(size_t index) const = 0;
  virtual Weight Embedding() const = 0;              // [vocab_size, hidden_size]
  virtual Weight Head() const = 0;                   // [vocab_size, hidden_size]; the embedding when tied
  virtual std::vector<float> FinalNorm() const = 0;  // [hidden_size]

  // Bytes of a layer's weights as they are stored: what Layer() reads.
  virtual uint64_t StoredBytes(size_t index) const = 0;
  // What Layer()'s result owns rather than maps, by name relative to the layer: linears that are packed. Reads
  // headers alone.
  virtual std::map<std::string, PackedSettings, std::less<>> PackedLinears(size_t) const { return {}; }

  // The layer is needed soon; not for now. Mapped pages only: nothing that this source owns.
  virtual void Prefetch(size_t index) const = 0;
  virtual void Release(size_t index) const = 0;
  virtual void ReleaseEmbeddingAndHead() const = 0;

  // Throws Error{kContent} when a file was cut or written to since it was opened. What was computed from
  // weights may be used only after this has returned.
  virtual void RequireIntact() const {}
};

// A Hugging Face folder, checked against its config.json when it is opened.
class CheckpointSource : public LayerSource {
 public:
  explicit CheckpointSource(const std::string& folder);
  const ModelConfig& config() const override { return config_; }
  const ModelLayout& layout() const override { return layout_; }
  LayerWeights Layer(size_t index) const override;
  Weight Embedding() const override;
  Weight Head() const override;
  std::vector<float> FinalNorm() const override;
  uint64_t StoredBytes(size_t index) const override;
  void Prefetch(size_t index) const override;
  void Release(size_t index) const override;
  void ReleaseEmbeddingAndHead() const override;
  void RequireIntact() const override { checkpoint_.RequireIntact(); }
  const Checkpoint& checkpoint() const { return checkpoint_; }

  // As Layer, without the linears that `replaced` names in full: they are not even read.
  using IsReplaced = std::function<bool(const std::string& tensor)>;
  LayerWeights LayerWithout(size_t index, const IsReplaced& replaced) const;

 private:
  TensorView FiniteTensor(const std::string& name) const;
  std::vector<std::string> TensorsOf(size_t layer) const;

  ModelConfig config_;
  ModelLayout layout_;
  Checkpoint checkpoint_;
  mutable std::mutex mutex_;
  mutable std::set<std::string> finite_;  // tensors that were looked through, under mutex_
};

// An artefact of `lowbit quantize`: packed tensors over the base checkpoint.
class ArtefactSource : public LayerSource {
 public:
  explicit ArtefactSource(const std::string& folder);
  const ModelConfig& config() const override { return base_.config(); }
  const ModelLayout& layout() const override { return base_.layout(); }
  LayerWeights Layer(size_t index) const override;
  Weight Embedding() const override;
  Weight Head() const override;
  std::vector<float> FinalNorm() const override { return base_.FinalNorm(); }
  uint64_t StoredBytes(size_t index) const override;
  std::map<std::string, PackedSettings, std::less<>> PackedLinears(size_t index) const override;
  void Prefetch(size_t) const override {}
  void Release(size_t index) const override { base_.Release(index); }  // linears that were kept
  void ReleaseEmbeddingAndHead() const override { base_.ReleaseEmbeddingAndHead(); }
  void RequireIntact() const override { base_.RequireIntact(); }
  const Artefact& artefact() const { return artefact_; }

 private:
  std::string LayerPath(size_t index) const;
  void RequireShape(const PackedSettings& packed, size_t index, const LinearSpec& linear) const;
  std::shared_ptr<const PackedTensor> FindPacked(const std::string& name) const;  // nullptr: not packed
  Artefact artefact_;
  CheckpointSource base_;
  std::map<std::string, std::shared_ptr<const PackedTensor>> head_;
};

// Opens whichever of the two `folder` holds. Throws Error{kMissing} or Error{kContent}.
std::unique_ptr<LayerSource> OpenModel(const std::string& folder);

// The folder with config.json and tokenizer.json: `folder` itself, or an artefact's base.
std::string BaseFolderOf(const std::string& folder);

}  // namespace lowbit
