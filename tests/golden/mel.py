"""Writes mel.tsv: mel features of a made-up clip by librosa (PyPI), the reference of tests/audio/mel_test.cpp.

python3 -m venv v && v/bin/pip install librosa && v/bin/python tests/golden/mel.py > tests/golden/mel.tsv
"""
import sys

import librosa
import numpy as np


def clip(rate):
    """One second: a rising tone and integer noise. The same formula stands in the test."""
    i = np.arange(rate)
    t = i / rate
    return (0.5 * np.sin(2 * np.pi * (200 * t + 0.2 * rate * t * t)) + 0.1 * ((i * 7919 % 1000) / 1000 - 0.5)).astype(np.float32)


def decibels(s, squared):
    s = s * s if squared else s
    db = 10 * np.log10(np.maximum(1e-10, s))
    return np.maximum(db - db.max(), -80)


def mel(rate, window, hop, bands, same, power, norm, low, high):
    x = clip(rate)
    if same:
        frames = -(-rate // hop)
        pad = (frames - 1) * hop + window - rate
        x = np.pad(x, (pad // 2, pad - pad // 2))
    return librosa.feature.melspectrogram(y=x, sr=rate, n_fft=window, hop_length=hop, n_mels=bands, htk=True, norm=norm, power=power, fmin=low, fmax=high,
                                          center=not same, pad_mode="constant")


print(f"# librosa {librosa.__version__}; case, band, frame, decibels")
cases = {
    "student": (mel(8000, 1024, 160, 64, True, 1.0, "slaney", 0, 4000), False),
    "teacher": (mel(48000, 2048, 242, 256, True, 1.0, "slaney", 0, 24000), False),
    "centred": (mel(8000, 1024, 320, 32, False, 1.0, "slaney", 0, 4000), True),
    "power": (mel(8000, 1024, 160, 64, False, 2.0, None, 50, 3500), False),
}
for name, (s, squared) in cases.items():
    print(f"# {name}: {s.shape[0]} x {s.shape[1]}")
    db = decibels(s, squared)
    for band in range(0, s.shape[0], max(1, s.shape[0] // 9)):
        for frame in range(0, s.shape[1], max(1, s.shape[1] // 9)):
            print(f"{name}\t{band}\t{frame}\t{db[band, frame]:.6f}")
