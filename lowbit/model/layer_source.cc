// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/layer_source.h"

#include "lowbit/model/check.h"

namespace lowbit {

CheckpointSource::CheckpointSource(const std::string& folder)
    : config_(LoadConfig(folder)), layout_(LayoutOf(config_)), checkpoint_(folder) {
  CheckTensors(checkpoint_, config_);
}

TensorView CheckpointSource::FiniteTensor(const std::string& name) const {
  const TensorView tensor = checkpoint_.Get(name);
  RequireFinite(tensor, name, checkpoint_.FileOf(name).path());
  return tensor;
}

LayerWeights CheckpointSource::Layer(size_t index) const {
  const LayerLayout& layer = layout_.layers[index];
  const std::string prefix = ModelLayout::LayerPrefix(index);
  LayerWeights weights;
  for (const NormSpec& norm : layer.norms) {
    weights.norms[norm.name] = ToFloatVector(FiniteTensor(prefix + norm.name + ".weight"));
  }
  for (const LinearSpec& linear : layer.linears) {
    weights.linears[linear.name] = FiniteTensor(prefix + linear.name + ".weight");
    if (linear.bias)
      weights.biases[linear.name] = ToFloatVector(FiniteTensor(prefix + linear.name + ".bias"));
  }
  return weights;
}

Weight CheckpointSource::Embedding() const {
  return FiniteTensor(layout_.embedding);
}
Weight CheckpointSource::Head() const {
  return FiniteTensor(layout_.head);
}
std::vector<float> CheckpointSource::FinalNorm() const {
  return ToFloatVector(FiniteTensor(layout_.final_norm));
}

ArtefactSource::ArtefactSource(const std::string& folder)
    : artefact_(folder), base_(artefact_.info().base_folder) {
  if (artefact_.info().layers != base_.config().num_hidden_layers) {
    throw Error(ErrorKind::kConflict, Place(folder).Key("layers"),
                fmt::format("{} layers, the base checkpoint has {}", artefact_.info().layers,
                            base_.config().num_hidden_layers));
  }
  for (auto& [name, packed] : artefact_.Head())
    head_[name] = std::make_shared<PackedTensor>(std::move(packed));
}

LayerWeights ArtefactSource::Layer(size_t index) const {
  LayerWeights weights = base_.Layer(index);
  const std::string prefix = ModelLayout::LayerPrefix(index);
  for (auto& [name, packed] : artefact_.Layer(index)) {
    const Place place = Place(artefact_.folder() + "/" + LayerFileName(index)).Tensor(name);
    std::string_view relative = name;
    const bool ours = relative.starts_with(prefix) && relative.ends_with(".weight");
    if (ours)
      relative = relative.substr(prefix.size(),
                                 relative.size() - prefix.size() - std::string_view(".weight").size());
    const auto slot = ours ? weights.linears.find(relative) : weights.linears.end();
    if (slot == weights.linears.end()) {
      throw Error(ErrorKind::kContent, place,
                  fmt::format("not a linear of layer {} of the base checkpoint", index));
    }
    if (packed.rows != Rows(slot->second) || packed.cols != Cols(slot->second)) {
      throw Error(ErrorKind::kContent, place,
                  fmt::format("shape [{}, {}], the base checkpoint has [{}, {}]", packed.rows, packed.cols,
                              Rows(slot->second), Cols(slot->second)));
    }
    slot->second = std::make_shared<PackedTensor>(std::move(packed));
  }
  return weights;
}

Weight ArtefactSource::PackedOr(const std::string& name, const Weight& base) const {
  const auto packed = head_.find(name);
  if (packed == head_.end()) return base;
  if (packed->second->rows != Rows(base) || packed->second->cols != Cols(base)) {
    throw Error(ErrorKind::kContent, Place(artefact_.folder()).Tensor(name),
                "shape differs from the base checkpoint's");
  }
  return packed->second;
}

Weight ArtefactSource::Embedding() const {
  return PackedOr(layout().embedding, base_.Embedding());
}
Weight ArtefactSource::Head() const {
  return PackedOr(layout().head, base_.Head());
}

std::unique_ptr<LayerSource> OpenModel(const std::string& folder) {
  RequireDirectory(folder, "a Hugging Face checkpoint or an artefact of lowbit quantize");
  if (IsArtefact(folder)) return std::make_unique<ArtefactSource>(folder);
  return std::make_unique<CheckpointSource>(folder);
}

std::string BaseFolderOf(const std::string& folder) {
  RequireDirectory(folder, "a Hugging Face checkpoint or an artefact of lowbit quantize");
  return IsArtefact(folder) ? Artefact(folder).info().base_folder : folder;
}

}  // namespace lowbit
