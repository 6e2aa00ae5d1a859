// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/compute_options.h"

#include <fmt/ranges.h>

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

}  // namespace lowbit
