#!/bin/sh
# Exact search against FAISS flat (PyPI faiss-cpu) in one run: sh benchmarks/retrieval/search.sh [--least N] [--most N]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
work=build/search
mkdir -p "$work"
[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
"$work/venv/bin/python" -c "import faiss" 2> /dev/null || "$work/venv/bin/pip" install -q faiss-cpu numpy
"${CXX:-c++}" -std=c++20 -O3 -march=native -shared -fPIC -Iinclude -Ibenchmarks benchmarks/retrieval/search.cpp -o "$work/libretort_search.so"
exec "$work/venv/bin/python" benchmarks/retrieval/search.py "$work/libretort_search.so" "$@"
