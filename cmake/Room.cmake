# SPDX-License-Identifier: Apache-2.0
# lowbit_room(NAME [DEPENDS rooms...] [PLUGINS subfolders...] [LINK targets...] [NO_MAIN])
#
# Makes library lowbit_NAME of lowbit/NAME/*.cc and of the named subfolders, and test program
# NAME_test of the *_test.cc beside them. A room without sources yet becomes an interface library.
function(lowbit_room name)
  cmake_parse_arguments(ROOM "NO_MAIN" "" "DEPENDS;PLUGINS;LINK" ${ARGN})
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
    lowbit_compile_options(lowbit_${name})
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
  lowbit_compile_options(${name})
  target_link_libraries(${name} PRIVATE ${TEST_ROOMS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    LOWBIT_TESTDATA="${PROJECT_SOURCE_DIR}/testdata" LOWBIT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600)
endfunction()

function(lowbit_compile_options target)
  # GCC 12 warns of an overlap in std::string that cannot be (its bug 105651).
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wno-psabi -Wno-restrict
    $<$<BOOL:${LOWBIT_WERROR}>:-Werror> $<$<CONFIG:Dev>:-O1 -g1>)
  if(LOWBIT_ASSERTIONS)
    target_compile_definitions(${target} PRIVATE LOWBIT_ASSERTIONS=1)
  endif()
  if(LOWBIT_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${LOWBIT_SANITIZE} -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${LOWBIT_SANITIZE})
  endif()
endfunction()
