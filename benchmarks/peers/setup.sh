#!/bin/sh
# Makes build/.venv-peers with the current PyTorch from PyPI. Run from anywhere; needs python3 with venv.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p build
[ -x build/.venv-peers/bin/python ] || python3 -m venv build/.venv-peers
build/.venv-peers/bin/python -c 'import torch' 2>/dev/null || build/.venv-peers/bin/pip install torch numpy
build/.venv-peers/bin/python -c 'import torch; print("PyTorch", torch.__version__)'
