#!/bin/sh
# Everything that must pass: installs what is missing, builds, tests, checks that each header stands alone, and runs the
# fast tests once more under the sanitizers. From any folder: sh tests/run.sh
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
. scripts/setup.sh

step=setup
trap '[ "$step" = finished ] || echo "tests/run.sh: FAILED in step: $step"' EXIT
say() {
  step=$1
  echo "=== $step"
}

build_tool=tool:ninja:ninja-build
command -v make > /dev/null && build_tool=
# shellcheck disable=SC2086  # empty when make is there
setup $build_tool tool:cmake:cmake header:doctest/doctest.h:doctest-dev header:nlohmann/json.hpp:nlohmann-json3-dev \
  header:xtl/xtl_config.hpp:libxtensor-dev header:zlib.h:zlib1g-dev header:png.h:libpng-dev header:jpeglib.h:libjpeg-dev \
  header:eigen3/Eigen/Core:libeigen3-dev header:sndfile.h:libsndfile1-dev header:samplerate.h:libsamplerate0-dev header:fftw3.h:libfftw3-dev \
  header:hnswlib/hnswlib.h:libhnswlib-dev
jobs=$(nproc 2> /dev/null || echo 2)

# Large data sets: from RETORT_DATA_DIR, or from archives beside the repository. Tests skip those that are missing.
if [ -z "${RETORT_DATA_DIR:-}" ] && ls ../shared/data/*.tar.xz > /dev/null 2>&1; then
  say "unpack the data sets"
  for archive in ../shared/data/*.tar.xz; do
    [ -e "build/data/$(basename "$archive" .tar.xz)" ] || { mkdir -p build/data && tar -xJf "$archive" -C build/data; }
  done
  RETORT_DATA_DIR=$root/build/data
fi
export RETORT_DATA_DIR="${RETORT_DATA_DIR:-}"

# configure PRESET ARGUMENT...: configures build/PRESET.
configure() {
  set -- "$@" "-DCMAKE_CXX_COMPILER=$CXX" "-DRETORT_DATA_DIR=$RETORT_DATA_DIR"
  # A cache of objects saves more than headers parsed once, and finds nothing behind them after a change of any header.
  command -v ccache > /dev/null && set -- "$@" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
  [ ! -e "build/$1/CMakeCache.txt" ] && command -v ninja > /dev/null && set -- "$@" -G Ninja
  cmake --preset "$@"
}
# build PRESET ARGUMENT...: configures and builds.
build() {
  configure "$@"
  cmake --build "build/$1" -j "$jobs"
}

# run_tests PRESET: runs them; sets `summary`.
run_tests() {
  log=build/$1/ctest.log status=0
  ctest --preset "$1" -j "$jobs" > "$log" 2>&1 || status=$?
  cat "$log"
  grep -h '^SKIPPED: ' "build/$1/Testing/Temporary/LastTest.log" | sort -u || :  # ctest itself does not say why
  cases=$(sed -n 's/^.*\[doctest\] test cases: *[0-9]* | *\([0-9]*\) passed.*/\1/p' "build/$1/Testing/Temporary/LastTest.log" |
    awk '{ n += $1 } END { print n + 0 }')
  passed=$(grep -c ' Passed ' "$log" || :)
  skipped=$(grep -c '\*\*\*Skipped ' "$log" || :)
  summary="$passed passed ($cases test cases), $skipped skipped"
  return "$status"
}

say "build (release)"
build release -DRETORT_EXAMPLE_OPTIONS=-O1  # stays in build/release: see tests/README.md
say "test (release)"
run_tests release
release_summary=$summary

say "each header by itself"
cmake --build build/release -j "$jobs" --target all_verify_interface_header_sets
headers=$(find include -name '*.hpp' | wc -l | tr -d ' ')

if command -v nvcc > /dev/null; then
  say "compile the CUDA backend for sm_${RETORT_CUDA_ARCHITECTURES:=90} (nvcc)"
  configure cuda-compile "-DCMAKE_CUDA_ARCHITECTURES=$RETORT_CUDA_ARCHITECTURES"
  cmake --build build/cuda-compile -j "$jobs" --target test_cuda_compile test_cuda_program benchmark_gpu
  build/cuda-compile/tests/cuda_compile/test_cuda_program
fi

say "build (asan-ubsan)"
build asan-ubsan
say "test (asan-ubsan)"
run_tests asan-ubsan

step=finished
echo "tests/run.sh: release: $release_summary; sanitizers: $summary; $headers headers stand alone; 0 failed"
