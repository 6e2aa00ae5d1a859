// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/tasks/readers.h"

namespace lowbit {

void RequireNoShots(const TaskOptions& options, std::string_view task) {
  if (options.shots.value_or(0) == 0) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("task '{}' is asked without examples: --num-fewshot {} would draw them from its "
                          "training split, which is not read",
                          task, *options.shots));
}

}  // namespace lowbit
