#!/bin/sh
# Installs what is missing, builds one example and runs it: sh examples/quickstart.sh [--short]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/setup.sh"
setup header:nlohmann/json.hpp:nlohmann-json3-dev

out=$root/build/quickstart
mkdir -p "$out"
echo "Building examples/quickstart.cpp with $CXX (about half a minute) ..."
"$CXX" -std=c++20 -O3 -march=native -pthread -I"$root/include" -DRETORT_EXAMPLE_DATA="\"$root/examples/data\"" \
  "$root/examples/quickstart.cpp" -o "$out/quickstart"
exec "$out/quickstart" --out "$out" "$@"
