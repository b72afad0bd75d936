#!/bin/sh
# The CPU-scale experiment on ABD: sh benchmarks/abd/run.sh [DATA FOLDER] [options of abd.cpp]. Compiles one program and runs it.
# The folder (or RETORT_DATA_DIR) holds mnist/ or fashion-mnist/ with their four idx files.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${1:-${RETORT_DATA_DIR:?names the folder with the data sets}}
[ $# -gt 0 ] && shift
mkdir -p "$root/build/abd"
${CXX:-g++} -std=c++20 -O3 -march=native -I "$root/include" "$root/benchmarks/abd/abd.cpp" -o "$root/build/abd/abd" -pthread
"$root/build/abd/abd" --data "$data" "$@"
