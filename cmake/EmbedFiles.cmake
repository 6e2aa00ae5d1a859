# SPDX-License-Identifier: Apache-2.0
# Run at build time by lowbit_embed: writes the bytes of the files in PAIRS ("name=file|name=file") to OUT as C++.
set(text "// Written by cmake/EmbedFiles.cmake.\n#include <string_view>\n\nnamespace lowbit {\n")
string(REPLACE "|" ";" pairs "${PAIRS}")
foreach(pair IN LISTS pairs)
  string(REGEX MATCH "^([^=]+)=(.+)$" matched "${pair}")
  set(name ${CMAKE_MATCH_1})
  set(file ${CMAKE_MATCH_2})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  string(APPEND text
    "static constexpr char ${name}_bytes[] = {${bytes}0};\n"  # the 0 keeps an empty file legal
    "extern const std::string_view ${name};\n"
    "constinit const std::string_view ${name}(${name}_bytes, sizeof(${name}_bytes) - 1);\n")
endforeach()
string(APPEND text "}  // namespace lowbit\n")
file(WRITE ${OUT} "${text}")
