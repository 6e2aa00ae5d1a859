# SPDX-License-Identifier: Apache-2.0
# Writes build_version.h at build time, so that the commit recorded with every result is the one compiled.
add_custom_target(lowbit_version
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DVERSION=${PROJECT_VERSION}
          -DOUT=${PROJECT_BINARY_DIR}/generated/build_version.h -P ${PROJECT_SOURCE_DIR}/cmake/WriteVersion.cmake
  BYPRODUCTS ${PROJECT_BINARY_DIR}/generated/build_version.h
  COMMENT "Recording the code version")
