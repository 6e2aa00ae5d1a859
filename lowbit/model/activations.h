// SPDX-License-Identifier: Apache-2.0
// The residual stream of a whole job, in memory or in a scratch file.
#pragma once

#include <string>

#include "lowbit/tensor/buffer.h"

namespace lowbit {

// rows × cols of f32, of which one run of neighbouring rows is looked at at a time.
class Activations {
 public:
  // In memory.
  Activations(size_t rows, size_t cols);
  // In a file of `folder` that has no name, so that nothing stays however the process ends. `held` rows at a
  // time are in memory. Throws Error{kResource} naming the folder when the disk is too small.
  Activations(size_t rows, size_t cols, const std::string& folder, size_t held);
  ~Activations();
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }

  // Rows [first, first + count), valid until the next call; `fresh` ones are not read, as they will be
  // written. Store() keeps what was written into them. Throws Error{kResource} when the disk fails.
  MatView<float> Load(size_t first, size_t count, bool fresh = false);
  void Store();

 private:
  [[noreturn]] void Fail(const char* action) const;

  size_t rows_, cols_;
  std::string folder_;
  int file_ = -1;  // in memory when negative
  Matrix held_;
  size_t first_ = 0, count_ = 0;  // the rows that held_ holds, in a file
};

}  // namespace lowbit
