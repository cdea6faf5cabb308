# lcsm for people: `make demo` and `make test` are all one needs. CMake presets do the work.
#
# On a bare Debian machine git and make are enough: everything else is installed first (as root, or
# through sudo). Built under sudo, the files go back to the user who asked.

PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CTEST_FLAGS ?=
FUZZ_SECONDS ?= 20
CMAKE_FLAGS ?=
LCSM = build/release/bin/lcsm
# ccache where there is one: rebuilding after a checkout then takes seconds.
CACHE = $(if $(shell command -v ccache),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache,)
# Run by sudo: hand what we made back to the caller, so that a later `make` without sudo works.
GIVE_BACK = @if [ -n "$$SUDO_UID" ] && [ "$$(id -u)" = 0 ]; then chown -R "$$SUDO_UID:$$SUDO_GID" build; fi

.PHONY: help deps build demo test install asan tsan fuzz fftw lint format bench clean

help:
	@echo "make demo      install what is missing, build, and generate text from the model in the box"
	@echo "make test      build with assertions and tests, and run all of them"
	@echo "make build     the lcsm command alone: $(LCSM)"
	@echo "make install   to PREFIX ($(PREFIX)); DESTDIR is honoured"
	@echo "make asan      unit tests under the address and undefined-behaviour sanitizers"
	@echo "make tsan      base, conv and runtime tests under the thread sanitizer"
	@echo "make fuzz      each fuzzer for FUZZ_SECONDS (20)"
	@echo "make fftw      a build with FFTW (GPL) as the library FFT, with its rival benchmark"
	@echo "make bench     the figures of the README, about ten minutes on an idle machine"
	@echo "make lint      formatting, include order of the layers, links, lengths"
	@echo "make format    clang-format over everything"

deps:
	@tools/install-deps.sh build

build: deps
	@cmake --preset release $(CACHE) $(CMAKE_FLAGS) > build-configure.log 2>&1 \
	  || { cat build-configure.log; rm -f build-configure.log; exit 1; }
	@rm -f build-configure.log
	@echo "Building lcsm (a few minutes the first time) ..."
	@cmake --build --preset release -j $(JOBS)
	$(GIVE_BACK)

demo: build
	@tools/demo.sh $(LCSM)

test:
	@tools/install-deps.sh build test
	@cmake --preset dev $(CACHE) $(CMAKE_FLAGS)
	@cmake --build --preset dev -j $(JOBS)
	@ctest --preset dev -j $(JOBS) $(CTEST_FLAGS)
	$(GIVE_BACK)

install: build
	@cmake --install build/release --prefix "$(PREFIX)"

asan:
	@tools/install-deps.sh build test
	@cmake --preset asan $(CACHE) $(CMAKE_FLAGS)
	@cmake --build --preset asan -j $(JOBS)
	@ctest --preset asan -j $(JOBS) -L unit $(CTEST_FLAGS)
	$(GIVE_BACK)

tsan:
	@tools/install-deps.sh build test
	@cmake --preset tsan $(CACHE) $(CMAKE_FLAGS)
	@cmake --build --preset tsan -j $(JOBS) --target base_test conv_test runtime_test models_test
	@ctest --preset tsan -L tsan $(CTEST_FLAGS)
	$(GIVE_BACK)

fuzz:
	@tools/install-deps.sh build fuzz
	@cmake --preset fuzz $(CACHE) $(CMAKE_FLAGS)
	@cmake --build --preset fuzz -j $(JOBS)
	@tools/run-fuzzers.sh build/fuzz $(FUZZ_SECONDS)
	$(GIVE_BACK)

fftw:
	@tools/install-deps.sh build test fftw
	@cmake --preset fftw $(CACHE) $(CMAKE_FLAGS)
	@cmake --build --preset fftw -j $(JOBS) --target lcsm_cli rival_fftw kernels_test conv_test
	$(GIVE_BACK)

bench: build
	@tools/bench.sh $(LCSM)

lint:
	@tools/install-deps.sh lint
	@tools/lint/lint.sh

format:
	@tools/install-deps.sh lint
	@git ls-files '*.h' '*.cc' | xargs clang-format-14 -i

clean:
	@rm -rf build
