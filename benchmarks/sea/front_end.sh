#!/bin/sh
# One command for the comparison of the mel front end with librosa and torchaudio: sh benchmarks/sea/front_end.sh
set -eu
cd "$(dirname "$0")/../.."
mkdir -p build
[ -x build/.venv-audio/bin/python ] || python3 -m venv build/.venv-audio
build/.venv-audio/bin/python -c 'import librosa, torchaudio' 2> /dev/null || build/.venv-audio/bin/pip install librosa "torchaudio==2.11.*" "torch==2.11.*"
cmake -B build/audio -DCMAKE_BUILD_TYPE=Release -DRETORT_BUILD_BENCHMARKS=ON -DRETORT_BUILD_TESTS=OFF -DRETORT_BUILD_EXAMPLES=OFF -DRETORT_INSTALL=OFF > /dev/null
cmake --build build/audio --target sea_front_end
OMP_NUM_THREADS=1 build/.venv-audio/bin/python benchmarks/sea/front_end.py build/audio/benchmarks/sea/sea_front_end
