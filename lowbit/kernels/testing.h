// SPDX-License-Identifier: Apache-2.0
// For tests that compare the cpu backend with ref.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "lowbit/kernels/backend.h"
#include "lowbit/kernels/cpu/vector_ops.h"

namespace lowbit {

struct Backends {
  explicit Backends(const char* compute = "f32", int count = 2) : threads(count) {
    cpu = MakeBackend("cpu", compute, threads);
    ref = MakeBackend("ref", compute, threads);
  }
  Threads threads;
  std::unique_ptr<Backend> cpu, ref;
};

// Runs a body under each target of Highway that this CPU has.
template <class F>
void OnEveryTarget(F&& body) {
  for (const std::string& isa : vector::IsaNamesForTest()) {
    vector::ForceIsaForTest(isa);
    SCOPED_TRACE(isa);
    body(isa);
  }
  vector::ForceIsaForTest("");
}

}  // namespace lowbit
