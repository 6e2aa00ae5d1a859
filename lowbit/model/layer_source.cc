// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/layer_source.h"

#include <algorithm>

#include "lowbit/model/check.h"
#include "lowbit/tensor/dense_view.h"

namespace lowbit {

CheckpointSource::CheckpointSource(const std::string& folder)
    : config_(LoadConfig(folder)), layout_(LayoutOf(config_)), checkpoint_(folder) {
  CheckTensors(checkpoint_, config_);
}

// Large tensors are looked through in pieces, each of which leaves this process's memory again: an embedding
// may be larger than all else that is needed.
TensorView CheckpointSource::FiniteTensor(const std::string& name) const {
  constexpr size_t kPiece = size_t{8} << 20;
  const TensorView tensor = checkpoint_.Get(name);
  {
    const std::lock_guard lock(mutex_);
    if (finite_.contains(name)) return tensor;
  }
  for (size_t at = 0; at < tensor.bytes.size(); at += kPiece) {
    TensorView piece = tensor;
    piece.bytes = tensor.bytes.subspan(at, std::min(kPiece, tensor.bytes.size() - at));
    piece.shape = {piece.bytes.size() / SizeOf(tensor.type)};
    if (!IsFinite(piece)) RequireFinite(tensor, name, checkpoint_.FileOf(name).path());
    if (tensor.bytes.size() > 8 * kPiece) ReleasePages(piece.bytes);
  }
  const std::lock_guard lock(mutex_);
  finite_.insert(name);
  return tensor;
}

LayerWeights CheckpointSource::Layer(size_t index) const {
  return LayerWithout(index, [](const std::string&) { return false; });
}

LayerWeights CheckpointSource::LayerWithout(size_t index, const IsReplaced& replaced) const {
  const LayerLayout& layer = layout_.layers[index];
  const std::string prefix = ModelLayout::LayerPrefix(index);
  LayerWeights weights;
  for (const NormSpec& norm : layer.norms) {
    const std::string name = prefix + norm.name + ".weight";
    weights.norms[norm.name] = ToFloatVector(FiniteTensor(name));
    checkpoint_.Release(name);  // small, but with it the system maps up to 2 MiB around
  }
  if (layer.experts) weights.router = FiniteTensor(prefix + layer.experts->router.name + ".weight");
  for (const LinearSpec& linear : layer.linears) {
    const std::string name = prefix + linear.name + ".weight";
    if (!replaced(name)) weights.linears[linear.name] = FiniteTensor(name);
    if (layer.experts) checkpoint_.Release(name);  // many, of which one is prepared at a time
    if (linear.bias)
      weights.biases[linear.name] = ToFloatVector(FiniteTensor(prefix + linear.name + ".bias"));
  }
  return weights;
}

// The matrices; norms and biases are too small to count.
std::vector<std::string> CheckpointSource::TensorsOf(size_t layer) const {
  const std::string prefix = ModelLayout::LayerPrefix(layer);
  std::vector<std::string> names;
  for (const LinearSpec& linear : layout_.layers[layer].linears)
    names.push_back(prefix + linear.name + ".weight");
  return names;
}

uint64_t CheckpointSource::StoredBytes(size_t index) const {
  uint64_t bytes = 0;
  for (const std::string& name : TensorsOf(index)) bytes += checkpoint_.Get(name).bytes.size();
  return bytes;
}

void CheckpointSource::Prefetch(size_t index) const {
  for (const std::string& name : TensorsOf(index)) checkpoint_.Prefetch(name);
}
void CheckpointSource::Release(size_t index) const {
  for (const std::string& name : TensorsOf(index)) checkpoint_.Release(name);
}
void CheckpointSource::ReleaseEmbeddingAndHead() const {
  checkpoint_.Release(layout_.embedding);
  checkpoint_.Release(layout_.head);
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

std::set<std::string> ReplaceVectors(const std::map<std::string, std::vector<float>>& vectors,
                                     const std::string& prefix, LayerWeights& weights) {
  std::set<std::string> used;
  const auto replace = [&](auto& kept, std::string_view suffix) {
    for (auto& [name, values] : kept) {
      const auto it = vectors.find(fmt::format("{}{}.{}", prefix, name, suffix));
      if (it == vectors.end() || it->second.size() != values.size()) continue;
      values = it->second;
      used.insert(it->first);
    }
  };
  replace(weights.norms, "weight");
  replace(weights.biases, "bias");
  const auto router = vectors.find(fmt::format("{}{}.weight", prefix, kRouterName));
  if (router == vectors.end() || !weights.router) return used;
  const size_t rows = Rows(*weights.router), cols = Cols(*weights.router);
  if (router->second.size() != rows * cols) return used;
  weights.own_router = std::make_shared<const std::vector<float>>(router->second);
  weights.router = DenseView(MatView<const float>(weights.own_router->data(), rows, cols));
  used.insert(router->first);
  return used;
}

std::string ArtefactSource::LayerPath(size_t index) const {
  return artefact_.folder() + "/" + LayerFileName(index);
}

void ArtefactSource::RequireShape(const PackedSettings& packed, size_t index,
                                  const LinearSpec& linear) const {
  if (packed.rows == linear.out && packed.cols == linear.in) return;
  throw Error(ErrorKind::kContent,
              Place(LayerPath(index)).Tensor(ModelLayout::LayerPrefix(index) + linear.name + ".weight"),
              fmt::format("shape [{}, {}], the base checkpoint has [{}, {}]", packed.rows, packed.cols,
                          linear.out, linear.in));
}

std::map<std::string, PackedSettings, std::less<>> ArtefactSource::PackedLinears(size_t index) const {
  const std::map<std::string, PackedSettings> stored = ReadPackedSettings(LayerPath(index));
  std::map<std::string, PackedSettings, std::less<>> packed;
  for (const LinearSpec& linear : layout().layers[index].linears) {
    const auto it = stored.find(ModelLayout::LayerPrefix(index) + linear.name + ".weight");
    if (it == stored.end()) continue;
    RequireShape(it->second, index, linear);
    packed[linear.name] = it->second;
  }
  return packed;
}

LayerWeights ArtefactSource::Layer(size_t index) const {
  LayerPatch patch = artefact_.Layer(index);
  PackedTensors& packed = patch.packed;
  LayerWeights weights =
      base_.LayerWithout(index, [&](const std::string& tensor) { return packed.contains(tensor); });
  const std::string prefix = ModelLayout::LayerPrefix(index);
  for (const LinearSpec& linear : layout().layers[index].linears) {
    const auto it = packed.find(prefix + linear.name + ".weight");
    if (it == packed.end()) continue;
    RequireShape(it->second, index, linear);
    weights.linears[linear.name] = std::make_shared<PackedTensor>(std::move(it->second));
    packed.erase(it);
  }
  for (const std::string& name : ReplaceVectors(patch.vectors, prefix, weights)) patch.vectors.erase(name);
  if (patch.Empty()) return weights;
  const std::string& other = packed.empty() ? patch.vectors.begin()->first : packed.begin()->first;
  throw Error(ErrorKind::kContent, Place(LayerPath(index)).Tensor(Printable(other)),
              fmt::format("not a linear, norm, bias or router of layer {} of the base checkpoint", index));
}

// A layer's file, and the linears that it leaves to the base.
uint64_t ArtefactSource::StoredBytes(size_t index) const {
  uint64_t bytes = artefact_.info().files.at(LayerFileName(index)).bytes;
  const auto packed = PackedLinears(index);
  for (const LinearSpec& linear : layout().layers[index].linears) {
    const std::string name = ModelLayout::LayerPrefix(index) + linear.name + ".weight";
    if (!packed.contains(linear.name)) bytes += base_.checkpoint().Get(name).bytes.size();
  }
  return bytes;
}

std::shared_ptr<const PackedTensor> ArtefactSource::FindPacked(const std::string& name) const {
  const auto packed = head_.find(name);
  if (packed == head_.end()) return nullptr;
  if (packed->second->rows != config().vocab_size || packed->second->cols != config().hidden_size) {
    throw Error(ErrorKind::kContent, Place(artefact_.folder()).Tensor(name),
                "shape differs from the base checkpoint's");
  }
  return packed->second;
}

Weight ArtefactSource::Embedding() const {
  const auto packed = FindPacked(layout().embedding);
  return packed ? Weight(packed) : base_.Embedding();
}
Weight ArtefactSource::Head() const {
  const auto packed = FindPacked(layout().head);
  return packed ? Weight(packed) : base_.Head();
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
