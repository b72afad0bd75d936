#!/bin/sh
# ReAugKD-1 from scratch: sh benchmarks/retrieval/run.sh [trec|trec-tenth|sst2|sst2-tenth|all] [name=value ...]
# RETORT_DATA_DIR holds text/ (TREC.train.all, stsa.binary.train and their like). Compiles the program and runs it on one thread; alpha
# and tau are those that the sweeps on validation data gave (results/reaugkd.md). Later arguments count: seeds=2 for a short run.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
what=${1:-all}
[ $# -eq 0 ] || shift
data=${RETORT_DATA_DIR:?names the folder with the data sets}
work=$root/build/retrieval
mkdir -p "$work"
${CXX:-g++} -std=c++20 -O3 -march=native "-DRETORT_DATA_DIR=\"$data\"" -I "$root/include" -I "$root/benchmarks" "$root/benchmarks/retrieval/reaugkd.cpp" \
  -o "$work/reaugkd_experiment" -pthread
run() { "$work/reaugkd_experiment" seeds=10 "$@"; }
tenth="part=0.1 epochs=60 teacher_epochs=40"
for set in $([ "$what" = all ] && echo trec trec-tenth sst2 sst2-tenth || echo "$what"); do
  # shellcheck disable=SC2086  # words
  case $set in
    trec) run set=trec alpha=10 tau=0.5 "$@" ;;
    trec-tenth) run set=trec $tenth alpha=10 tau=0.5 "$@" ;;
    sst2) run set=sst2 alpha=1 tau=1 "$@" ;;
    sst2-tenth) run set=sst2 $tenth alpha=1 tau=1 "$@" ;;
    *) echo "no set $set: trec, trec-tenth, sst2, sst2-tenth or all" >&2 && exit 2 ;;
  esac
done
