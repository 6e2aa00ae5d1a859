# SPDX-License-Identifier: Apache-2.0
# Every library lowbit uses, found as Debian 12 and Ubuntu 24.04 package it. Why each one: docs/dependencies.md.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(TBB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json REQUIRED)
find_package(simdjson REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(ZLIB REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)

if(NOT TARGET hwy::hwy)  # the Debian package has a pkg-config file only
  add_library(lowbit_hwy INTERFACE)
  target_link_libraries(lowbit_hwy INTERFACE PkgConfig::HWY)
  add_library(hwy::hwy ALIAS lowbit_hwy)
endif()

add_library(lowbit_utf8proc INTERFACE)
target_link_libraries(lowbit_utf8proc INTERFACE PkgConfig::UTF8PROC)

add_library(lowbit_zstd INTERFACE)  # the names of its CMake package differ between Debian's releases
target_link_libraries(lowbit_zstd INTERFACE PkgConfig::ZSTD)

add_library(lowbit_yaml INTERFACE)  # the target's name changed between yaml-cpp 0.7 and 0.8
if(TARGET yaml-cpp::yaml-cpp)
  target_link_libraries(lowbit_yaml INTERFACE yaml-cpp::yaml-cpp)
else()
  target_link_libraries(lowbit_yaml INTERFACE yaml-cpp)
endif()

# Debian's oneDNN runs on OpenMP; we pin it to one thread per call (kernels/cpu/onednn.cc). Its own CMake
# package would ask for OpenCL's headers, which we have no use for.
find_library(DNNL_LIBRARY dnnl REQUIRED)
find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
add_library(lowbit_dnnl INTERFACE)
target_include_directories(lowbit_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(lowbit_dnnl INTERFACE ${DNNL_LIBRARY} $<LINK_ONLY:OpenMP::OpenMP_CXX>)

# The build of OpenBLAS with threads: the serial one is not safe to call from several threads at once. It is told to use
# one per call, and refused if the system offers the serial one under the same name at run time (quant/blas.cc).
# LAPACKE is a package of its own.
find_library(OPENBLAS_LIBRARY openblas REQUIRED PATH_SUFFIXES openblas-pthread)
find_path(OPENBLAS_INCLUDE_DIR openblas_config.h REQUIRED
          PATH_SUFFIXES openblas-pthread ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-pthread)
find_library(LAPACKE_LIBRARY lapacke REQUIRED)
find_path(LAPACKE_INCLUDE_DIR lapacke.h REQUIRED)
add_library(lowbit_lapack INTERFACE)
target_include_directories(lowbit_lapack SYSTEM INTERFACE ${OPENBLAS_INCLUDE_DIR} ${LAPACKE_INCLUDE_DIR})
target_link_libraries(lowbit_lapack INTERFACE ${OPENBLAS_LIBRARY} ${LAPACKE_LIBRARY})

if(LOWBIT_BUILD_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
endif()
