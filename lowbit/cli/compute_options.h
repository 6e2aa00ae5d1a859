// SPDX-License-Identifier: Apache-2.0
// The flags every computing command shares.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "lowbit/kernels/profile.h"
#include "lowbit/model/forward_plan.h"

namespace lowbit {

struct ComputeOptions {
  std::string backend = "cpu";
  std::string compute = "f32";
  int threads = 0;
  bool profile = false;

  // `default_compute`: "auto" for a single eval, "f32" where numbers are kept.
  void AddTo(CLI::App& command, const std::string& default_compute);
};

// --ram and --scratch.
struct MemoryOptions {
  std::string ram, scratch;

  void AddTo(CLI::App& command);
  MemoryBudget Budget() const;  // Throws Error{kUsage} for what is no size
};

// Threads and the backend that uses them.
struct ComputeContext {
  explicit ComputeContext(const ComputeOptions& options);
  Threads threads;
  std::unique_ptr<Backend> backend;
  ProfiledBackend* profile = nullptr;  // is `backend`, with --profile
};

}  // namespace lowbit
