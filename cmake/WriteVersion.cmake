# SPDX-License-Identifier: Apache-2.0
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short=12 HEAD
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "unknown")
else()
  # Only what goes into the binary counts: a changed README does not make other numbers. Two builds of the same
  # commit with other changes are two versions, so the changes' hash belongs to the name.
  set(sources lowbit cmake CMakeLists.txt)
  execute_process(COMMAND git -C ${SOURCE_DIR} diff --no-ext-diff HEAD -- ${sources}
                  OUTPUT_VARIABLE changes ERROR_QUIET)
  execute_process(COMMAND git -C ${SOURCE_DIR} ls-files --others --exclude-standard -- ${sources}
                  OUTPUT_VARIABLE added OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  string(REPLACE "\n" ";" added "${added}")
  foreach(file IN LISTS added)
    if(NOT file MATCHES "_test\\.cc$" AND EXISTS ${SOURCE_DIR}/${file})
      file(SHA256 ${SOURCE_DIR}/${file} hash)
      string(APPEND changes "${file} ${hash}\n")
    endif()
  endforeach()
  if(changes)
    string(SHA256 hash "${changes}")
    string(SUBSTRING ${hash} 0 8 hash)
    string(APPEND commit "-dirty-${hash}")
  endif()
endif()
set(text "#pragma once\n#define LOWBIT_VERSION \"${VERSION}\"\n#define LOWBIT_COMMIT \"${commit}\"\n")
set(old "")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
