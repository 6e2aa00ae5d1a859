# SPDX-License-Identifier: Apache-2.0
# lowbit_embed(TARGET NAME=FILE ...): compiles each FILE into TARGET as
#   namespace lowbit { extern const std::string_view NAME; }
# The code that reads it declares it (see lowbit/report/assets.h). A changed file is embedded again.
function(lowbit_embed target)
  set(generated ${PROJECT_BINARY_DIR}/generated/embed/${target}.cc)
  set(inputs "")
  foreach(pair IN LISTS ARGN)
    string(REGEX REPLACE "^[^=]*=" "" file ${pair})
    list(APPEND inputs ${file})
  endforeach()
  string(JOIN "|" pairs ${ARGN})  # a list would be split by the command line
  set(script ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/EmbedFiles.cmake)
  add_custom_command(OUTPUT ${generated}
    COMMAND ${CMAKE_COMMAND} "-DPAIRS=${pairs}" -DOUT=${generated} -P ${script}
    DEPENDS ${inputs} ${script}
    COMMENT "Embedding files into ${target}"
    VERBATIM)
  target_sources(${target} PRIVATE ${generated})
endfunction()
