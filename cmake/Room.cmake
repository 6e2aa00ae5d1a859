# SPDX-License-Identifier: Apache-2.0
# lowbit_room(NAME [DEPENDS rooms...] [PLUGINS subfolders...] [LINK targets...] [NO_MAIN] [GLUE])
#
# Makes library lowbit_NAME of lowbit/NAME/*.cc and of the named subfolders, and test program
# NAME_test of the *_test.cc beside them. GLUE: no loops worth optimising in preset dev, where templates under
# sanitizers take twice as long to optimise as to compile. A room without sources yet becomes an interface library.
function(lowbit_room name)
  cmake_parse_arguments(ROOM "NO_MAIN;GLUE" "" "DEPENDS;PLUGINS;LINK" ${ARGN})
  set(dir ${PROJECT_SOURCE_DIR}/lowbit/${name})
  set(patterns ${dir}/*.cc)
  foreach(plugin IN LISTS ROOM_PLUGINS)
    list(APPEND patterns ${dir}/${plugin}/*.cc)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  if(ROOM_NO_MAIN)
    list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  endif()

  list(TRANSFORM ROOM_DEPENDS PREPEND lowbit_ OUTPUT_VARIABLE rooms)
  if(sources)
    add_library(lowbit_${name} STATIC ${sources})
    set(scope PUBLIC)
    if(ROOM_GLUE)
      set(glue GLUE)
    endif()
    lowbit_compile_options(lowbit_${name} ${glue})
  else()
    add_library(lowbit_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(lowbit_${name} ${scope} ${PROJECT_SOURCE_DIR})
  target_link_libraries(lowbit_${name} ${scope} ${rooms} ${ROOM_LINK})
  add_library(lowbit::${name} ALIAS lowbit_${name})

  if(tests AND LOWBIT_BUILD_TESTS)
    lowbit_test(${name}_test SOURCES ${tests} ROOMS ${name})
  endif()
endfunction()

# lowbit_test(NAME SOURCES files... ROOMS rooms...): one GoogleTest program, one ctest entry per program.
# Tests find golden files through the macros LOWBIT_TESTDATA and LOWBIT_SOURCE_DIR.
function(lowbit_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;ROOMS" ${ARGN})
  list(TRANSFORM TEST_ROOMS PREPEND lowbit_)
  add_executable(${name} ${TEST_SOURCES})
  lowbit_compile_options(${name} GLUE)
  target_link_libraries(${name} PRIVATE ${TEST_ROOMS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    LOWBIT_TESTDATA="${PROJECT_SOURCE_DIR}/testdata" LOWBIT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_precompile_headers(${name} REUSE_FROM lowbit_test_headers)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600)
endfunction()

# GoogleTest's and the JSON library's headers take longer to read than most tests to compile: read once here.
if(LOWBIT_BUILD_TESTS)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/test_headers.cc CONTENT "int main() {}\n")
  add_executable(lowbit_test_headers ${PROJECT_BINARY_DIR}/generated/test_headers.cc)
  target_precompile_headers(lowbit_test_headers PRIVATE
    <gmock/gmock.h> <gtest/gtest.h> <fmt/format.h> <nlohmann/json.hpp>
    <algorithm> <filesystem> <fstream> <functional> <map> <random> <sstream> <string> <vector>)
  target_link_libraries(lowbit_test_headers PRIVATE GTest::gtest GTest::gmock fmt::fmt nlohmann_json::nlohmann_json)
endif()

# lowbit_compile_options(TARGET [GLUE])
function(lowbit_compile_options target)
  set(dev_level -O1)
  if("GLUE" IN_LIST ARGN)
    set(dev_level -O0)
  endif()
  # GCC 12 warns of an overlap in std::string that cannot be (its bug 105651).
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wno-psabi -Wno-restrict
    $<$<BOOL:${LOWBIT_WERROR}>:-Werror> $<$<CONFIG:Dev>:${dev_level}> $<$<CONFIG:Dev>:-g1>)
  if(LOWBIT_ASSERTIONS)
    target_compile_definitions(${target} PRIVATE LOWBIT_ASSERTIONS=1)
  endif()
  if(LOWBIT_BUILD_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  if(LOWBIT_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${LOWBIT_SANITIZE} -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${LOWBIT_SANITIZE})
  endif()
endfunction()

if(TARGET lowbit_test_headers)
  lowbit_compile_options(lowbit_test_headers GLUE)
endif()
