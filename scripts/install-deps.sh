#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what lowbit builds with, from Debian 12's or Ubuntu 24.04's own packages. Does nothing when all are there.
set -euo pipefail

packages=(
  g++ make cmake ninja-build pkg-config git ca-certificates
  libdnnl-dev libhwy-dev libtbb-dev                   # kernels, threads
  liblapacke-dev libopenblas-pthread-dev              # GPTQ's Cholesky factor
  nlohmann-json3-dev libsimdjson-dev libyaml-cpp-dev  # formats
  zlib1g-dev libzstd-dev                              # texts kept compressed
  libcli11-dev libfmt-dev libspdlog-dev               # command line, text, log
  libutf8proc-dev libssl-dev libsqlite3-dev           # Unicode, SHA-256, results.db
  libjs-chart.js                                      # the report's charts, embedded at build time
  libgtest-dev libgmock-dev                           # tests
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "error: apt-get not found; install these packages by hand: ${missing[*]}" >&2
  exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "error: run as root or install sudo; missing packages: ${missing[*]}" >&2; exit 1; }
  sudo=sudo
fi
echo "installing: ${missing[*]}"
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
