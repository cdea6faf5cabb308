# lcsm for people: `make demo` and `make test` are all one needs. CMake presets do the work.
#
# On a bare Debian machine git and make are enough: everything else is installed first (as root, or
# through sudo).

PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CTEST_FLAGS ?=
FUZZ_SECONDS ?= 20
CMAKE_FLAGS ?=
LCSM = build/release/bin/lcsm
# ccache where there is one: rebuilding after a checkout then takes seconds. It does not get on with precompiled headers.
CACHE = $(if $(shell command -v ccache),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DLCSM_PCH=OFF,)
# What root builds in somebody else's checkout goes to its owner, also when a step fails: a later
# `make` without sudo then works.
OWNED = tools/as-owner.sh
# Configuring says nothing unless something is wrong; that goes to stderr.
CONFIGURE = $(OWNED) cmake >/dev/null $(CACHE) $(CMAKE_FLAGS) --preset
BUILD = $(OWNED) cmake --build -j $(JOBS) --preset

.PHONY: help deps build demo test install asan tsan fuzz fftw neon cuda lint tidy format bench clean

help:
	@echo "make demo      install what is missing, build, and generate text from the model in the box"
	@echo "make test      build the same, and the tests, and run all of them"
	@echo "make build     the lcsm command alone: $(LCSM)"
	@echo "make install   to PREFIX ($(PREFIX)); DESTDIR is honoured"
	@echo "make asan      unit and end-to-end tests under the address and undefined-behaviour sanitizers"
	@echo "make tsan      everything threaded under the thread sanitizer"
	@echo "make fuzz      each fuzzer for FUZZ_SECONDS (20)"
	@echo "make fftw      a build with FFTW (GPL) as the library FFT, with its rival benchmark"
	@echo "make neon      unit tests built for 64-bit Arm, run under qemu"
	@echo "make cuda      what needs nvcc, compiled for sm_80 and sm_90 (bench/gpu.sh tests and measures on a GPU)"
	@echo "make bench     the figures of the README, about ten minutes on an idle machine"
	@echo "make lint      formatting, layers, links, lengths: seconds"
	@echo "make tidy      lint and clang-tidy over everything: minutes"
	@echo "make format    clang-format over everything"
	@echo "make clean     remove build/"

deps:
	@tools/install-deps.sh build

build: deps
	@$(CONFIGURE) release
	@echo "== building lcsm (a few minutes the first time)"
	@$(BUILD) release --target product

demo: build
	@tools/demo.sh $(LCSM)

test:
	@tools/install-deps.sh build test
	@$(CONFIGURE) release -DLCSM_DEVELOPER=ON
	@echo "== building lcsm and its tests (several minutes the first time)"
	@$(BUILD) release
	@echo "== running all tests"
	@$(OWNED) ctest --preset release -j $(JOBS) $(CTEST_FLAGS)

# DESTDIR reaches cmake through the environment.
install: export DESTDIR := $(DESTDIR)
install: build
	@echo "== installing to $(DESTDIR)$(PREFIX)"
	@$(OWNED) cmake --install build/release --prefix "$(PREFIX)"

# ASAN=unit leaves the end-to-end tests out, and so the command: half of the time goes to compiling it.
ASAN ?= all
asan:
	@tools/install-deps.sh build test fuzz
	@$(CONFIGURE) asan
	@$(BUILD) asan $(if $(filter unit,$(ASAN)),--target unit_tests)
	@$(OWNED) ctest --preset asan -j $(JOBS) -L '$(if $(filter unit,$(ASAN)),unit,unit|bench|cli)' $(CTEST_FLAGS)

# What is threaded; the other tests would only take time. Threads do the same on every SIMD target, so the slowest are left out, and what only computes.
tsan:
	@tools/install-deps.sh build test
	@$(CONFIGURE) tsan
	@$(BUILD) tsan --target tsan_tests
	@GTEST_FILTER='-*/scalar:*/sse4:*/ssse3:Folders/GoldenTest.*:*PublishedParameterCounts' $(OWNED) ctest --preset tsan -L tsan $(CTEST_FLAGS)

fuzz:
	@tools/install-deps.sh build test fuzz
	@$(CONFIGURE) asan
	@$(BUILD) asan --target fuzz_tests
	@$(OWNED) tools/run-fuzzers.sh build/asan $(FUZZ_SECONDS)

FFTW_TARGETS ?= lcsm_cli rival_fftw rival_avtx kernels_test conv_test
fftw:
	@tools/install-deps.sh build test fftw
	@$(CONFIGURE) fftw
	@$(BUILD) fftw --target $(FFTW_TARGETS)

neon:
	@tools/install-deps.sh neon
	@$(OWNED) tools/neon.sh $(JOBS)

# No more than device code and the driver's calls: the rest of src/cuda is in every build.
cuda:
	@tools/install-deps.sh build
	@$(CONFIGURE) release -B build/cuda -DLCSM_CUDA=ON -DLCSM_WERROR=ON
	@$(OWNED) cmake --build build/cuda -j $(JOBS) --target cuda_kernels lcsm_cuda_device

bench: build
	@$(OWNED) tools/bench.sh $(LCSM)

lint:
	@tools/install-deps.sh lint
	@tools/lint/lint.sh

# Minutes the first time; sources that passed are not looked at again.
tidy:
	@tools/install-deps.sh build test tidy
	@$(OWNED) tools/lint/lint.sh --tidy

format:
	@tools/install-deps.sh lint
	@tools/lint/sources.sh | xargs clang-format-14 -i

clean:
	@rm -rf build
