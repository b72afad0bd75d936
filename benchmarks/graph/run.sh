#!/bin/sh
# One experiment on graphs: sh benchmarks/graph/run.sh PROGRAM [name=value ...], PROGRAM one of gcn, cora, tu, fair, speed.
# RETORT_DATA_DIR holds graphs/ (cora, bail, german, PROTEINS, MUTAG). Compiles one program and runs it on one thread.
# speed goes on with the same nets in PyTorch Geometric (speed.py), which it installs into build/.venv-peers beside PyTorch.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
program=${1:?names the program}
shift
mkdir -p "$root/build/graph"
${CXX:-g++} -std=c++20 -O3 -march=native -I "$root/include" -I "$root/benchmarks" "$root/benchmarks/graph/$program.cpp" -o "$root/build/graph/$program" -pthread
"$root/build/graph/$program" data="${RETORT_DATA_DIR:?names the folder with the data sets}" "$@"
if [ "$program" = speed ]; then
  epochs=100
  for argument; do
    case $argument in epochs=*) epochs=${argument#epochs=} ;; esac
  done
  sh "$root/benchmarks/peers/setup.sh"
  python=$root/build/.venv-peers/bin/python
  "$python" -c 'import torch_geometric' 2>/dev/null || "$python" -m pip install torch-geometric
  "$python" -W ignore "$root/benchmarks/graph/speed.py" "$RETORT_DATA_DIR" "$epochs"
fi
