// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/inspection.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/model/check.h"
#include "lowbit/model/layout.h"
#include "lowbit/quant/spec.h"

namespace lowbit {
namespace {
namespace fs = std::filesystem;

constexpr size_t kUsualWindow = 2048;  // tokens, as in the papers
constexpr std::array<std::string_view, 4> kRecipes = {"rtn-w8-g128", "rtn-w4-g128", "rtn-w3-g128",
                                                      "rtn-w2-g128"};

std::vector<InspectedTensor> ListTensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  std::vector<std::string> names;
  std::set<std::string, std::less<>> others;
  for (const std::string& name : checkpoint.Names()) others.insert(name);
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) {
    names.push_back(tensor.name);
    others.erase(tensor.name);
  }
  names.insert(names.end(), others.begin(), others.end());

  std::vector<InspectedTensor> tensors;
  for (const std::string& name : names) {
    const TensorEntry& entry = *checkpoint.Find(name);
    tensors.push_back({name, entry.type_name, ShapeText(entry.shape),
                       fs::path(checkpoint.FileOf(name).path()).filename().string(),
                       entry.end - entry.begin});
  }
  return tensors;
}

MemoryEstimate EstimateMemory(const ModelConfig& config, const ModelSizes& sizes) {
  MemoryEstimate memory;
  memory.window = std::min(kUsualWindow, config.max_position_embeddings);
  const uint64_t work = ActivationBytes(config, memory.window);
  memory.all_layers_f32 = 4 * sizes.Parameters() + work;
  memory.all_layers_bf16 = 2 * sizes.Parameters() + work;
  memory.one_layer_f32 = 4 * sizes.largest_layer + work;
  memory.one_layer_bf16 = 2 * sizes.largest_layer + work;
  return memory;
}

// `kept_bytes`: of the tensors that no recipe quantizes, as they are stored.
ArtefactEstimate EstimateArtefact(std::string_view recipe, const ModelLayout& layout, uint64_t kept_bytes) {
  const WeightSpec spec = ParseRecipe(recipe).weights;
  ArtefactEstimate estimate;
  estimate.recipe = recipe;
  uint64_t weights = 0, bits = 0;
  for (const LayerLayout& layer : layout.layers) {
    for (const LinearSpec& linear : layer.linears) {
      PackedTensor packed;  // no data: only its sizes are asked for
      packed.bits = spec.bits;
      packed.symmetric = spec.symmetric;
      packed.scale_type = spec.scale_type;
      packed.rows = linear.out;
      packed.cols = linear.in;
      packed.group_size = spec.GroupSizeFor(linear.in);
      weights += uint64_t{packed.rows} * packed.cols;
      bits += packed.StoredBits();
      const uint64_t zero_bytes = packed.symmetric ? 0 : 1;  // a file gives each zero point a byte
      estimate.bytes +=
          packed.rows * (packed.RowBytes() + packed.Groups() * (SizeOf(spec.scale_type) + zero_bytes));
    }
  }
  estimate.bits_per_weight = static_cast<double>(bits) / static_cast<double>(weights);
  estimate.model_bytes = estimate.bytes + kept_bytes;
  return estimate;
}

uint64_t BytesOfLinears(const Checkpoint& checkpoint, const ModelLayout& layout) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < layout.layers.size(); ++i) {
    for (const LinearSpec& linear : layout.layers[i].linears) {
      bytes += checkpoint.Get(ModelLayout::LayerPrefix(i) + linear.name + ".weight").bytes.size();
    }
  }
  return bytes;
}

}  // namespace

Inspection Inspect(const std::string& folder) {
  Inspection out;
  out.folder = folder;
  if (IsArtefact(folder)) {
    out.artefact = Artefact(folder).info();
    out.folder = out.artefact->base_folder;
  }
  out.config = LoadConfig(out.folder);
  const Checkpoint checkpoint(out.folder);
  CheckTensors(checkpoint, out.config);

  const Family& family = *FindFamily(out.config.model_type);
  out.architecture = family.architecture;
  out.description = family.description;
  out.sizes = SizesOf(out.config);
  out.tensors = ListTensors(checkpoint, out.config);
  out.tensor_bytes = checkpoint.TensorBytes();
  for (const std::string& path : checkpoint.FilePaths()) out.disk_bytes += fs::file_size(path);
  out.files = checkpoint.FilePaths().size();
  out.memory = EstimateMemory(out.config, out.sizes);
  const ModelLayout layout = LayoutOf(out.config);
  const uint64_t kept = out.tensor_bytes - BytesOfLinears(checkpoint, layout);
  for (const std::string_view recipe : kRecipes)
    out.artefacts.push_back(EstimateArtefact(recipe, layout, kept));
  return out;
}

}  // namespace lowbit
