#!/bin/sh
# One command for the comparison with PyTorch: builds, runs, writes benchmarks/results/ops.md.
# Arguments name groups to run (loss step threads conv norm) and only print; without any, all run and are recorded.
set -eu
cd "$(dirname "$0")/../.."
sh benchmarks/peers/setup.sh
torch=$(build/.venv-peers/bin/python -c 'import os, torch; print(os.path.dirname(torch.__file__))')
cmake -B build/peers -DCMAKE_BUILD_TYPE=Release -DRETORT_BUILD_BENCHMARKS=ON -DRETORT_BUILD_TESTS=OFF \
      -DRETORT_BUILD_EXAMPLES=OFF -DRETORT_INSTALL=OFF -DRETORT_TORCH_DIR="$torch" >/dev/null
cmake --build build/peers --target compare_peers
# Large buffers stay mapped between calls, for both sides alike; the peer's fastest kernels; no leftover tuning.
unset OPENBLAS_CORETYPE || true
export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824 OMP_NUM_THREADS=1
grep -q avx512f /proc/cpuinfo && export ATEN_CPU_CAPABILITY=avx512
mkdir -p benchmarks/results
if [ $# -gt 0 ]; then
  build/peers/benchmarks/peers/compare_peers "$@"
else
  build/peers/benchmarks/peers/compare_peers | tee benchmarks/results/ops.md
fi
