#!/bin/sh
# On a machine with a GPU, from a checkout: builds the CUDA tests and benchmarks, compares the device with the emulation, measures
# beside PyTorch and Triton where python3 (or PYTHON) has them, joins both into a table, runs compute-sanitizer, and writes what came
# out to OUT (default benchmarks/results). Needs nvcc, g++ and doctest's header. Nothing here has been run on a device yet.
# Steps can be chosen: run_on_device.sh build test benchmark peers report sanitize. Estimated, with 16 cores: build 120 s, test 20,
# benchmark 40, peers 240 (what has not begun by then is left out), sanitize what is left of LIMIT (default 530) seconds.
set -eu
cd "$(dirname "$0")/../.."
out=${OUT:-benchmarks/results}
architecture=${RETORT_CUDA_ARCHITECTURES:-90}
build=build/device
end=$(($(date +%s) + ${LIMIT:-530}))
mkdir -p "$build" "$out"
[ $# -gt 0 ] || set -- build test benchmark peers report sanitize

left() {  # seconds until the end, at least 1
  now=$(date +%s)
  [ "$now" -lt "$end" ] && echo $((end - now)) || echo 1
}
nv() { nvcc -std=c++20 -O2 -arch="sm_$architecture" -Iinclude -Itests "$@"; }
benchmarks='row_loss linear_loss step'
failed=
for step in "$@"; do
  echo "=== $step, $(left) s left"
  case $step in
    build)
      rm -f "$build"/*.o  # nothing of an earlier build is linked where a unit fails
      jobs=
      g++ -std=c++20 -c tests/main.cpp -o "$build/main.o" & jobs="$jobs $!"
      for name in row_loss ops method graph replay; do
        nv -x cu -DRETORT_ON_DEVICE -c "tests/cuda/${name}_test.cpp" -o "$build/$name.device.o" & jobs="$jobs $!"
        g++ -std=c++20 -O1 -Itests/cuda/emulation -Iinclude -Itests -c "tests/cuda/${name}_test.cpp" -o "$build/$name.emulated.o" & jobs="$jobs $!"
      done
      nv tests/cuda_compile/program.cu -lcublas -lcublasLt -o "$build/program" & jobs="$jobs $!"
      for name in $benchmarks; do
        nv "benchmarks/gpu/$name.cu" -lcublas -lcublasLt -o "$build/$name" & jobs="$jobs $!"
      done
      for job in $jobs; do wait "$job"; done  # a bare wait would pass over failures
      nvcc "$build"/*.device.o "$build/main.o" -lcublas -lcublasLt -o "$build/test_device"
      g++ "$build"/*.emulated.o "$build/main.o" -pthread -o "$build/test_emulated"
      ;;
    test)
      RETORT_TRANSCRIPT=$build/transcript "$build/test_emulated" > "$build/emulated.log"
      RETORT_EXPECTED=$build/transcript "$build/test_device" > "$out/gpu_tests.txt" || failed="$failed $step"
      "$build/program" >> "$out/gpu_tests.txt" || failed="$failed program"
      cat "$out/gpu_tests.txt"
      ;;
    benchmark)
      rm -f "$out"/gpu_*.jsonl
      for name in $benchmarks; do
        timeout "$(left)" "$build/$name" > "$out/gpu_$name.jsonl" || failed="$failed $name"
        cat "$out/gpu_$name.jsonl"
      done
      ;;
    peers)
      if "${PYTHON:-python3}" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
        timeout "$(left)" "${PYTHON:-python3}" benchmarks/gpu/peers.py --seconds 210 --out "$out/gpu_peers.jsonl" || failed="$failed $step"
      else
        echo "peers: left out, ${PYTHON:-python3} has no PyTorch with a CUDA device"
      fi
      ;;
    report) "${PYTHON:-python3}" benchmarks/gpu/report.py "$out"/gpu_*.jsonl | tee "$out/gpu.md" ;;
    sanitize)
      for tool in memcheck racecheck initcheck; do
        timeout "$(left)" compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/test_device" > "$build/$tool.log" 2>&1 && result=clean || result=FAILED
        [ "$(left)" -gt 1 ] || result="out of time"
        [ "$result" = clean ] || failed="$failed $tool"
        echo "$tool: $result ($(tail -n 1 "$build/$tool.log"))" | tee -a "$out/gpu_tests.txt"
      done
      ;;
    *) echo "unknown step: $step" >&2; exit 2 ;;
  esac
done
[ -z "$failed" ] || { echo "FAILED:$failed"; exit 1; }
