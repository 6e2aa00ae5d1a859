// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/backend.h"

#include <array>

#include "lowbit/kernels/cpu/cpu_backend.h"
#include "lowbit/kernels/ref/ref_backend.h"

namespace lowbit {
namespace {

struct BackendRow {
  std::string_view name;
  std::unique_ptr<Backend> (*make)(Compute, const Threads&);
};
constexpr std::array kBackends = {
    BackendRow{"cpu", &MakeCpuBackend},
    BackendRow{"ref", &MakeRefBackend},
};

Compute ParseCompute(std::string_view text) {
  if (text == "f32") return Compute::kF32;
  if (text == "bf16") return Compute::kBF16;
  if (text == "auto") return CpuPrefersBF16() ? Compute::kBF16 : Compute::kF32;
  throw Error(ErrorKind::kUsage,
              fmt::format("compute type '{}', expected f32, bf16 or auto", Printable(text)));
}

}  // namespace

std::string_view Name(Compute compute) {
  return compute == Compute::kF32 ? "f32" : "bf16";
}

std::vector<std::string> BackendNames() {
  std::vector<std::string> names;
  for (const BackendRow& row : kBackends) names.emplace_back(row.name);
  return names;
}

std::unique_ptr<Backend> MakeBackend(std::string_view name, std::string_view compute,
                                     const Threads& threads) {
  for (const BackendRow& row : kBackends) {
    if (row.name == name) return row.make(ParseCompute(compute), threads);
  }
  throw Error(ErrorKind::kUsage, fmt::format("backend '{}' is not in this build; available: {}",
                                             Printable(name), fmt::join(BackendNames(), ", ")));
}

}  // namespace lowbit
