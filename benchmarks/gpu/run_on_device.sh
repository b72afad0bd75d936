#!/bin/sh
# On a machine with a GPU, from a checkout: builds the CUDA tests and benchmarks, compares the device with the emulation, runs
# compute-sanitizer, and writes what came out to OUT (default benchmarks/results). Needs nvcc, g++ and doctest's header.
# Steps can be chosen: run_on_device.sh build test sanitize benchmark. Nothing here has been run on a device yet.
set -eu
cd "$(dirname "$0")/../.."
out=${OUT:-benchmarks/results}
architecture=${RETORT_CUDA_ARCHITECTURES:-90}
build=build/device
mkdir -p "$build" "$out"
[ $# -gt 0 ] || set -- build test sanitize benchmark

nv() { nvcc -std=c++20 -O2 -arch="sm_$architecture" -Iinclude -Itests "$@"; }
for step in "$@"; do
  echo "=== $step"
  case $step in
    build)
      g++ -std=c++20 -c tests/main.cpp -o "$build/main.o" &
      for name in row_loss ops method graph replay; do
        nv -x cu -DRETORT_ON_DEVICE -c "tests/cuda/${name}_test.cpp" -o "$build/$name.device.o" &
        g++ -std=c++20 -O1 -Itests/cuda/emulation -Iinclude -Itests -c "tests/cuda/${name}_test.cpp" -o "$build/$name.emulated.o" &
      done
      nv tests/cuda_compile/program.cu -lcublas -o "$build/program" &
      nv benchmarks/gpu/row_loss.cu -lcublas -o "$build/row_loss" &
      wait
      nvcc "$build"/*.device.o "$build/main.o" -lcublas -o "$build/test_device"
      g++ "$build"/*.emulated.o "$build/main.o" -pthread -o "$build/test_emulated"
      ;;
    test)
      RETORT_TRANSCRIPT=$build/transcript "$build/test_emulated" > "$build/emulated.log"
      RETORT_EXPECTED=$build/transcript "$build/test_device" | tee "$out/gpu_tests.txt"
      "$build/program" | tee -a "$out/gpu_tests.txt"
      ;;
    sanitize)
      for tool in memcheck racecheck initcheck; do
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/test_device" > "$build/$tool.log" 2>&1 && result=clean || result=FAILED
        echo "$tool: $result ($(tail -n 1 "$build/$tool.log"))" | tee -a "$out/gpu_tests.txt"
      done
      ;;
    benchmark) "$build/row_loss" | tee "$out/gpu_row_loss.md" ;;
    *) echo "unknown step: $step" >&2; exit 2 ;;
  esac
done
