// SPDX-License-Identifier: Apache-2.0
// The table of methods. A new one is a file in methods/, a declaration and a row here.
#include <array>

#include "lowbit/quant/method.h"

namespace lowbit {

const Method& Rtn();  // methods/rtn.cc

std::span<const Method* const> Methods() {
  static const std::array methods = {&Rtn()};
  return methods;
}

const Method* FindMethod(std::string_view name) {
  for (const Method* method : Methods()) {
    if (method->Info().name == name) return method;
  }
  return nullptr;
}

}  // namespace lowbit
