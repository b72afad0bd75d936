"""Joins the JSON lines of the benchmarks here and of peers.py into Markdown: ratios with the targets beside them, then every record.

python3 benchmarks/gpu/report.py FILE... > gpu.md    (needs nothing but Python)
"""
import json
import sys

records = []
for path in sys.argv[1:]:
    with open(path) as lines:
        records += [json.loads(line) for line in lines if line.startswith("{")]  # the rest says what was skipped
groups, ceilings = {}, {}
for r in records:
    if r["work"] in ("copy", "product"):
        ceilings[r["device"], r["work"], r["type"]] = r
    elif "ms" in r:
        groups.setdefault((r["device"], r["work"], r["type"], r["shape"]), {})[r["by"]] = r


def by_target(key, ours, ways):
    """What is asked for here: (words, how many times better than that it is, or None where it was not measured)."""
    _, work, kind, shape = key
    times = lambda by: ways[by]["ms"] / ours["ms"] if by in ways else None
    asked = lambda words, factor, by: (words, times(by) and times(by) / factor)
    if work in ("soft targets", "sum of four"):
        copy = ceilings.get((key[0], "copy", "bytes"))
        yield "85 % of the copy", copy and ours["gb_per_s"] / copy["gb_per_s"] / 0.85
        yield asked("5x eager", 5, "PyTorch eager")
        yield asked("1.2x compiled", 1.2, "torch.compile")
    if work == "linear + JSD" and kind == "bf16" and shape.startswith("8192x"):
        yield "61 ms", 61 / ours["ms"]
        yield "11.2 GB", 11.2e9 / ours["peak_bytes"]
    if work == "linear + JSD" and kind == "bf16" and shape.startswith("1024x"):
        yield asked("faster than unfused", 1, "PyTorch eager")
    if work == "KD step":
        yield asked("3x eager", 3, "PyTorch eager")
        yield asked("1.2x compiled", 1.2, "torch.compile")


def rate(key, r):
    if "gb_per_s" in r:
        value, unit, ceiling = r["gb_per_s"], "GB/s", ceilings.get((key[0], "copy", "bytes"), {}).get("gb_per_s")
    elif "tflop_per_s" in r:
        value, unit, ceiling = r["tflop_per_s"], "TFLOP/s", ceilings.get((key[0], "product", key[2]), {}).get("tflop_per_s")
    else:
        return ""
    return f"{value:.4g} {unit}" + (f", {100 * value / ceiling:.0f} %" if ceiling else "")


def gigabytes(r):
    return f"{r['peak_bytes'] * 1e-9:.1f}" if "peak_bytes" in r else ""


print("# On a GPU\n")
print("Devices: " + ", ".join(sorted({r["device"] for r in records})) + ".", *(r["note"] + "." for r in records if r["work"] == "versions"))
print("Medians of one run; the share is of the copy's bandwidth or of a product of 8192 x 8192 x 8192 in the same arithmetic; GB of device memory, inputs "
      "included. A ratio above 1: Retort is faster.\n")
columns = ["PyTorch eager", "torch.compile", "PyTorch, CUDA graph", "Triton", "PyTorch, chunks", "Triton, chunks", "Retort, unfused"]
columns = [c for c in columns if any(c in ways for ways in groups.values())]
print(f"| work | type | shape | Retort ms | rate, share | GB | {' | '.join(columns)} | targets |\n|{'---|' * (7 + len(columns))}")
for key, ways in groups.items():
    ours = ways.get("Retort, graphs") or ways.get("Retort")
    if not ours:
        continue
    ratios = [f"{ways[c]['ms'] / ours['ms']:.2f}" if c in ways else "" for c in columns]
    targets = [words + (": not measured" if times is None else ": met" if times >= 1 else f": **missed** ({times:.2f} of it)") for words, times in by_target(key, ours, ways)]
    print("| " + " | ".join([*key[1:], f"{ours['ms']:.4g}", rate(key, ours), gigabytes(ours), *ratios, "; ".join(targets)]) + " |")
print("\n## All records\n\n| work | type | shape | by | ms | rate, share | GB | |\n|---|---|---|---|---|---|---|---|")
for r in records:
    if "ms" in r:
        key = r["device"], r["work"], r["type"], r["shape"]
        print("| " + " | ".join([*key[1:], r["by"], f"{r['ms']:.4g}", rate(key, r), gigabytes(r), r.get("note", "")]) + " |")
