#!/bin/sh
# One experiment on graphs: sh benchmarks/graph/run.sh PROGRAM [name=value ...], PROGRAM one of gcn, cora, tu, fair, speed.
# RETORT_DATA_DIR holds graphs/ (cora, bail, german, PROTEINS, MUTAG). Compiles one program and runs it on one thread.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
program=${1:?names the program}
shift
mkdir -p "$root/build/graph"
${CXX:-g++} -std=c++20 -O3 -march=native -I "$root/include" -I "$root/benchmarks" "$root/benchmarks/graph/$program.cpp" -o "$root/build/graph/$program" -pthread
"$root/build/graph/$program" data="${RETORT_DATA_DIR:?names the folder with the data sets}" "$@"
