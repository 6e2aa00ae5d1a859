// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/compute_options.h"

#include <fmt/ranges.h>

#include "lowbit/base/human.h"

namespace lowbit {

void ComputeOptions::AddTo(CLI::App& command, const std::string& default_compute) {
  compute = default_compute;
  command
      .add_option("--compute", compute,
                  "type of the factors of matrix products: f32, bf16 or auto (bf16 where this CPU multiplies "
                  "it faster)")
      ->capture_default_str();
  command.add_option("--backend", backend, fmt::format("{}", fmt::join(BackendNames(), " or ")))
      ->capture_default_str();
  command
      .add_option("-t,--threads", threads,
                  "threads (default: $OMP_NUM_THREADS, else all cores); never changes a result")
      ->check(CLI::Range(1, 1024));
}

ComputeContext::ComputeContext(const ComputeOptions& options)
    : threads(options.threads), backend(MakeBackend(options.backend, options.compute, threads)) {
  if (!options.profile) return;
  auto profiled = std::make_unique<ProfiledBackend>(std::move(backend));
  profile = profiled.get();
  backend = std::move(profiled);
}

void MemoryOptions::AddTo(CLI::App& command) {
  command.add_option(
      "--ram", ram,
      "memory this process may take, e.g. 4GB, or 'min' for as little as can be (default: four "
      "fifths of what is free); never changes a result");
  command.add_option("--scratch", scratch,
                     "folder for activations that do not fit (default: $TMPDIR, else /var/tmp)");
}

MemoryBudget MemoryOptions::Budget() const {
  MemoryBudget budget{.scratch = scratch};
  if (ram == "min") {
    budget.least = true;
  } else if (!ram.empty()) {
    budget.bytes = ParseBytes(ram);
  }
  return budget;
}

}  // namespace lowbit
