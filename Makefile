# SPDX-License-Identifier: Apache-2.0
# Two commands do everything on a fresh Debian 12 or Ubuntu 24.04:
#   make demo   installs, builds, runs the demo study and names the report
#   make test   installs, builds with sanitizers and runs every test
.PHONY: demo test build deps format clean
.DEFAULT_GOAL := build

deps:
	@scripts/install-deps.sh

build: deps
	cmake --preset release -DLOWBIT_BUILD_TESTS=OFF >/dev/null
	cmake --build --preset release --target lowbit

demo: build
	build/release/lowbit study studies/demo.yaml -o build/demo
	build/release/lowbit report build/demo/results.db -o build/demo/report.html
	@echo "Open build/demo/report.html in a browser."

test: deps
	cmake --preset dev
	cmake --build --preset dev
	ctest --preset dev

format:
	clang-format -i $$(git ls-files '*.h' '*.cc')

clean:
	rm -rf build
