#!/bin/sh
# Every data-free method on Fashion-MNIST: sh benchmarks/data_free/run.sh [DATA FOLDER] [options of fashion.cpp]. Compiles one
# program and runs it. The folder (or RETORT_DATA_DIR) holds fashion-mnist/ with its four idx files.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${1:-${RETORT_DATA_DIR:?names the folder with the data sets}}
[ $# -gt 0 ] && shift
mkdir -p "$root/build/data_free"
${CXX:-g++} -std=c++20 -O3 -march=native -I "$root/include" "$root/benchmarks/data_free/fashion.cpp" -o "$root/build/data_free/fashion" -pthread
"$root/build/data_free/fashion" --data "$data" "$@"
