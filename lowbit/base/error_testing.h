// SPDX-License-Identifier: Apache-2.0
// For tests: the error that something throws.
#pragma once

#include <gtest/gtest.h>

#include "lowbit/base/error.h"

namespace lowbit {

// Fails the test where `body` throws nothing.
template <class F>
Error ErrorOf(F&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::kInternal, "none");
}

}  // namespace lowbit
