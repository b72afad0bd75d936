"""Times the mel front end of librosa, torchaudio and Retort in turn, on one thread, and prints a Markdown table.

Usage: front_end.py PROGRAM, where PROGRAM is the built sea_front_end. Called by front_end.sh.
"""
import statistics
import subprocess
import sys
import time

import librosa
import numpy as np
import torch
import torchaudio

torch.set_num_threads(1)
CASES = {"student": (8000, 1024, 160, 64), "teacher": (48000, 2048, 242, 256)}


def microseconds(f, repeats=40, rounds=15):
    f()
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(repeats):
            f()
        times.append((time.thread_time() - start) / repeats * 1e6)
    return statistics.median(times)


def peers(rate, window, hop, bands):
    i = np.arange(rate)
    x = (0.5 * np.sin(2 * np.pi * (200 + 0.1 * i) * i / rate)).astype(np.float32)
    t = torch.from_numpy(x)

    def by_librosa():
        s = librosa.feature.melspectrogram(y=x, sr=rate, n_fft=window, hop_length=hop, n_mels=bands, htk=True, power=1.0, pad_mode="constant")
        return librosa.power_to_db(s, ref=np.max, top_db=80)

    mel = torchaudio.transforms.MelSpectrogram(rate, window, hop_length=hop, n_mels=bands, power=1.0, pad_mode="constant")

    def by_torchaudio():
        with torch.inference_mode():
            db = 10 * torch.log10(torch.clamp(mel(t), min=1e-10))
            return torch.clamp(db - db.max(), min=-80)

    return {"librosa": by_librosa, "torchaudio": by_torchaudio}


times = {}
for _ in range(3):  # in turn, so that all see the same machine
    for line in subprocess.run([sys.argv[1]], capture_output=True, text=True, check=True).stdout.splitlines():
        case, value = line.split()
        times.setdefault((case, "Retort"), []).append(float(value))
    for case, settings in CASES.items():
        for name, f in peers(*settings).items():
            times.setdefault((case, name), []).append(microseconds(f))
print(f"librosa {librosa.__version__}, torchaudio {torchaudio.__version__}; microseconds for one second of sound, one thread, median of 3 x 15 rounds\n")
print("|front end|Retort|librosa|torchaudio|librosa / Retort|torchaudio / Retort|\n|---|---|---|---|---|---|")
for case, (rate, window, hop, bands) in CASES.items():
    own, lib, ta = (statistics.median(times[case, name]) for name in ("Retort", "librosa", "torchaudio"))
    print(f"|{case}: {rate} Hz, window {window}, hop {hop}, {bands} bands|{own:.0f}|{lib:.0f}|{ta:.0f}|{lib / own:.1f}|{ta / own:.1f}|")
