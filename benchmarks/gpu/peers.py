"""The work of row_loss.cu, linear_loss.cu and step.cu in PyTorch: eager, compiled, and by a Triton kernel. JSON lines for report.py.

The Triton kernel takes its plan from Liger-Kernel (Hsu et al. 2024, "Liger Kernel: Efficient Triton Kernels for LLM Training"): a
program per row, softmax online, the gradient written in the forward pass; and the output layer in chunks of rows whose gradient
overwrites their logits. Each way is first checked against eager PyTorch in float. Where several phrasings of one way are known, the
fastest counts. Logits of bf16 are computed with in float, as Retort does.

python3 benchmarks/gpu/peers.py [--device cpu] [--quick] [--compile] [--seconds N] [--out FILE]    (needs torch; triton for its rows)
On a CPU, --quick takes tiny sizes, torch.compile waits for --compile, and Triton for TRITON_INTERPRET=1.
"""
import argparse
import gc
import json
import math
import os
import sys
import time

import torch
import torch.nn.functional as F

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

T = 4.0
TOLERANCE = {"float": 1e-4, "tf32": 1e-2, "bf16": 3e-2}  # of the largest entry; bf16 also sums gradients to weights
DTYPE = {"float": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cuda")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--compile", action="store_true")
parser.add_argument("--seconds", type=float, default=1e9, help="what has not begun by then is left out")
parser.add_argument("--out", default="")
options = parser.parse_args()
cuda = options.device == "cuda"
compiles = cuda or options.compile
interpreted = os.environ.get("TRITON_INTERPRET") == "1"
has_triton = triton is not None and (cuda or interpreted)
device_name = torch.cuda.get_device_name() if cuda else "PyTorch on a CPU"
out = open(options.out, "w") if options.out else None
start = time.monotonic()
failed = False


def emit(**record):
    line = json.dumps({"device": device_name, **{k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in record.items()}})
    print(line, flush=True)
    if out:
        print(line, file=out, flush=True)


# --- timing ---------------------------------------------------------------------------------------------------------------


def milliseconds(f, rounds, calls):
    """Median of `rounds` means over `calls` calls one behind the other, after one round of warm-up."""
    times = []
    for r in range(rounds + 1):
        if cuda:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for i in range(calls):
                f(r * calls + i)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / calls)
        else:
            begin = time.perf_counter()
            for i in range(calls):
                f(r * calls + i)
            times.append((time.perf_counter() - begin) * 1e3 / calls)
    return sorted(times[1:])[rounds // 2]


def race(work, kind, shape, ways, reference=None, rounds=10, calls=3, moved=0, flops=0):
    """`ways`: name -> {phrasing: f}, where f(i) does the work on the i-th set of inputs and returns tensors to check."""
    global failed
    if options.quick:
        rounds = calls = 1
    for by, phrasings in ways.items():
        best = None
        for phrasing, f in phrasings.items():
            where = f"{work}, {kind}, {shape}, {by} {phrasing}".rstrip()
            if time.monotonic() - start > options.seconds:
                print(f"{where}: left out, no time", file=sys.stderr)
                continue
            try:
                gc.collect()
                if cuda:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                answer = f(0)
                for expected, actual in zip(reference or (), answer):
                    error = ((actual.float() - expected.float()).abs().max() / expected.abs().max()).item()
                    if not error <= TOLERANCE[kind]:
                        raise ValueError(f"differs from eager PyTorch in float by {error:.3g} of the largest entry")
                del answer
                ms = milliseconds(f, rounds, calls)
            except Exception as e:  # one way less, not the whole run
                out_of_memory = isinstance(e, torch.cuda.OutOfMemoryError)
                failed = failed or not out_of_memory
                print(f"{where}: {'out of memory' if out_of_memory else repr(e)}", file=sys.stderr)
                continue
            record = {"by": by, "work": work, "type": kind, "shape": shape, "ms": ms}
            if moved:
                record |= {"bytes": moved, "gb_per_s": moved / ms * 1e-6}
            if flops:
                record |= {"flops": flops, "tflop_per_s": flops / ms * 1e-9}
            if cuda:
                record["peak_bytes"] = torch.cuda.max_memory_allocated()
            if phrasing:
                record["note"] = phrasing
            if best is None or ms < best["ms"]:
                best = record
        if best:
            emit(**best)


def precision(kind):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind == "tf32"


def uniform(shape, scale, dtype=torch.float32):
    return torch.empty(shape, device=options.device).uniform_(-scale, scale).to(dtype)


def compiled(f, **how):
    torch._dynamo.reset()
    return torch.compile(f, dynamic=False, **how)


# --- losses ---------------------------------------------------------------------------------------------------------------


def kl(log_q, log_p):
    """KL(p || q), summed over classes, mean over rows."""
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True) / log_q.shape[0]


def kl_by_hand(log_q, log_p):
    return (log_p.exp() * (log_p - log_q)).sum() / log_q.shape[0]


def soft_targets(z, t, y, d=kl):
    return T * T * d(F.log_softmax(z.float() / T, 1), F.log_softmax(t.float() / T, 1))


def middle(log_q, log_p, d):
    log_m = torch.logaddexp(log_q, log_p) - math.log(2)
    return 0.5 * (d(log_m, log_p) + d(log_m, log_q))


def sum_of_four(z, t, y, d=kl):
    log_q, log_p = F.log_softmax(z.float() / T, 1), F.log_softmax(t.float() / T, 1)
    return T * T * (d(log_q, log_p) + d(log_p, log_q) + middle(log_q, log_p, d)) + F.cross_entropy(z.float(), y)


def jensen_shannon(z, t, d=kl):
    return middle(F.log_softmax(z.float(), 1), F.log_softmax(t.float(), 1), d)


def jensen_shannon_rows(s, t, rows):
    """Value and gradient to s of some of `rows` rows, by hand; the gradient over s."""
    log_q, log_p = F.log_softmax(s.float(), 1), F.log_softmax(t.float(), 1)
    log_m = torch.logaddexp(log_q, log_p) - math.log(2)
    q = log_q.exp()
    term = q * (log_q - log_m)
    row = term.sum(1, keepdim=True)
    value = 0.5 * ((log_p.exp() * (log_p - log_m)).sum() + row.sum()) / rows
    s.copy_(0.5 * (term - q * row) / rows)
    return value


if triton:

    @triton.jit
    def online(top, total, x):
        """A running maximum and the sum of exponentials below it, with some more logits."""
        higher = tl.maximum(top, tl.max(x, 0))
        return higher, total * tl.exp(top - higher) + tl.sum(tl.exp(x - higher), 0)

    @triton.jit
    def row_kernel(s_at, t_at, y_at, g_at, value_at, classes, rows, inverse_t, KD: tl.constexpr, CE: tl.constexpr, RKL: tl.constexpr, JSD: tl.constexpr,
                   BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        s_at += row * classes
        t_at += row * classes
        g_at += row * classes
        column = tl.arange(0, BLOCK)
        low = float("-inf")
        top_s, top_t, top_1, sum_s, sum_t, sum_1 = low, low, low, 0.0, 0.0, 0.0
        for at in range(0, classes, BLOCK):
            there = at + column < classes
            s = tl.load(s_at + at + column, mask=there, other=low).to(tl.float32)
            t = tl.load(t_at + at + column, mask=there, other=low).to(tl.float32)
            top_s, sum_s = online(top_s, sum_s, s * inverse_t)
            top_t, sum_t = online(top_t, sum_t, t * inverse_t)
            if CE:
                top_1, sum_1 = online(top_1, sum_1, s)
        all_s, all_t, all_1 = top_s + tl.log(sum_s), top_t + tl.log(sum_t), 0.0
        value, label = 0.0, -1
        if CE:
            all_1 = top_1 + tl.log(sum_1)
            label = tl.load(y_at + row)
            value = all_1 - tl.load(s_at + label).to(tl.float32)
        t_squared = 1 / (inverse_t * inverse_t)
        backward, above = 0.0, 0.0  # KL(q || p) and KL(q || m), which their gradients want first
        if RKL or JSD:
            for at in range(0, classes, BLOCK):
                there = at + column < classes
                log_q = tl.load(s_at + at + column, mask=there, other=0).to(tl.float32) * inverse_t - all_s
                log_p = tl.load(t_at + at + column, mask=there, other=0).to(tl.float32) * inverse_t - all_t
                q = tl.where(there, tl.exp(log_q), 0)
                if RKL:
                    backward += tl.sum(q * (log_q - log_p), 0)
                if JSD:
                    above += tl.sum(q * (log_q - tl.log(tl.maximum(0.5 * (q + tl.exp(log_p)), 1e-37))), 0)
            value += t_squared * (RKL * backward + JSD * 0.5 * above)
        for at in range(0, classes, BLOCK):
            there = at + column < classes
            s = tl.load(s_at + at + column, mask=there, other=0).to(tl.float32)
            log_q = s * inverse_t - all_s
            log_p = tl.load(t_at + at + column, mask=there, other=0).to(tl.float32) * inverse_t - all_t
            q, p = tl.where(there, tl.exp(log_q), 0), tl.where(there, tl.exp(log_p), 0)
            g = KD * (q - p) + RKL * q * (log_q - log_p - backward)
            if KD:
                value += t_squared * KD * tl.sum(p * (log_p - log_q), 0)
            if JSD:
                log_m = tl.log(tl.maximum(0.5 * (q + p), 1e-37))
                g += JSD * 0.5 * q * (log_q - log_m - above)
                value += t_squared * JSD * 0.5 * tl.sum(p * (log_p - log_m), 0)
            g = g * (t_squared * inverse_t)
            if CE:
                g += tl.exp(s - all_1) - tl.where(at + column == label, 1.0, 0.0)
            tl.store(g_at + at + column, (g / rows).to(g_at.dtype.element_ty), mask=there)
        tl.store(value_at + row, value / rows)


def triton_rows(s, t, y, g, rows, temperature, weights, warps):
    """Weights of KD, CE, reverse KL, JSD. `g` may be `s`. Returns the value."""
    n, c = s.shape
    values = torch.empty(n, device=s.device)
    block = min(triton.next_power_of_2(c), 512 * warps)
    row_kernel[(n,)](s, t, y, g, values, c, rows, 1 / temperature, *weights, BLOCK=block, num_warps=warps)
    return values.sum()


# --- the work -------------------------------------------------------------------------------------------------------------


def row_losses(n, c, kind):
    sets = [(uniform((n, c), 3, DTYPE[kind]).requires_grad_(), uniform((n, c), 3, DTYPE[kind])) for _ in range(3)]  # together more than the L2
    y = torch.arange(n, device=options.device) % c
    for work, loss, weights in (("soft targets", soft_targets, (1, 0, 0, 0)), ("sum of four", sum_of_four, (1, 1, 1, 1))):
        def through_autograd(f, *d):
            def run(i):
                s, t = sets[i % 3]
                s.grad = None
                value = f(s, t, y, *d)
                value.backward()
                return value.detach(), s.grad
            return run

        def by_triton(warps):
            g = torch.empty_like(sets[0][1])
            return lambda i: (triton_rows(sets[i % 3][0].detach(), sets[i % 3][1], y, g, n, T, weights, warps), g)

        z = sets[0][0].detach().float().requires_grad_()
        value = loss(z, sets[0][1].float(), y)
        value.backward()
        reference = value.detach(), z.grad
        ways = {"PyTorch eager": {"kl_div": through_autograd(loss, kl), "products and sums": through_autograd(loss, kl_by_hand)}}
        if compiles:
            ways["torch.compile"] = {"": through_autograd(compiled(loss))}
        if has_triton:
            ways["Triton"] = {f"{w} warps": by_triton(w) for w in ((4, 8) if c <= 4096 else (8, 16))}
        race(work, kind, f"{n}x{c}", ways, reference, moved=3 * DTYPE[kind].itemsize * n * c)


def linear_divergence(tokens, hidden, vocabulary, kind):
    precision(kind)
    x, taught = (uniform((tokens, hidden), 1, DTYPE[kind]) for _ in range(2))
    w, w_taught = (uniform((vocabulary, hidden), 0.05, DTYPE[kind]) for _ in range(2))
    x.requires_grad_(), w.requires_grad_()

    def whole(x, w, taught, w_taught):
        with torch.no_grad():
            t = taught @ w_taught.T
        return jensen_shannon(x @ w.T, t)

    def through_autograd(f, *inputs):
        def run(_):
            inputs[0].grad = inputs[1].grad = None
            value = f(*inputs)
            value.backward()
            return value.detach(), inputs[0].grad, inputs[1].grad
        return run

    chunk = triton.next_power_of_2 if triton else lambda v: 1 << (v - 1).bit_length()
    chunk = chunk(-(-tokens // -(-vocabulary // hidden)))  # Liger's: logits of a chunk are about as large as the hidden states

    @torch.no_grad()
    def in_chunks(rows):
        dx, dw, value = torch.empty_like(x), torch.zeros_like(w), torch.zeros((), device=x.device)
        for a in range(0, tokens, chunk):
            s, t = x[a : a + chunk] @ w.T, taught[a : a + chunk] @ w_taught.T
            value += rows(s, t)  # s holds the gradient now
            torch.mm(s, w, out=dx[a : a + chunk])
            dw.addmm_(s.T, x[a : a + chunk])
        return value, dx, dw

    reference = None
    if tokens <= 1024:
        inputs = [v.detach().float() for v in (x, w, taught, w_taught)]
        inputs[0].requires_grad_(), inputs[1].requires_grad_()
        precision("float")
        reference = through_autograd(whole, *inputs)(0)
        precision(kind)
        del inputs
    ways = {"PyTorch eager": {"": through_autograd(whole, x, w, taught, w_taught)},
            "PyTorch, chunks": {f"{chunk} rows": lambda _: in_chunks(lambda s, t: jensen_shannon_rows(s, t, tokens))}}
    if compiles and kind != "float":
        ways["torch.compile"] = {"": through_autograd(compiled(whole), x, w, taught, w_taught)}
    if has_triton:
        ways["Triton, chunks"] = {f"{chunk} rows": lambda _: in_chunks(lambda s, t: triton_rows(s, t, s, s, tokens, 1.0, (0, 0, 0, 1), 16))}
    race("linear + JSD", kind, f"{tokens}x{hidden}x{vocabulary}", ways, reference, rounds=5, calls=1, flops=8 * tokens * hidden * vocabulary)


class Block(torch.nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        nn = torch.nn
        self.body = nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))
        self.shortcut = nn.Identity() if stride == 1 and i == o else nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(depth, widths, classes=100):
    nn = torch.nn
    layers = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    for stage in range(3):
        for b in range((depth - 2) // 6):
            layers.append(Block(widths[stage if b == 0 else stage + 1], widths[stage + 1], 2 if b == 0 and stage else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[3], classes))


def distillation_step(depth, widths, batch, size, kind):
    precision(kind)
    y = torch.arange(batch, device=options.device) % 100
    t = uniform((batch, 100), 3)

    def make(layout, graph=False, **how):
        torch.manual_seed(1)
        net = resnet(depth, widths).to(options.device, memory_format=layout)
        x = uniform((batch, 3, size, size), 1).contiguous(memory_format=layout)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

        def objective(x):
            z = net(x)
            return 0.9 * soft_targets(z, t, y) + 0.1 * F.cross_entropy(z, y)

        f = compiled(objective, **how) if how else objective

        def step(_):
            optimizer.zero_grad(set_to_none=not graph)
            value = f(x)
            value.backward()
            optimizer.step()
            return (value.detach(),)

        if not graph:
            return step
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for i in range(3):
                step(i)
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            kept = step(0)
        return lambda _: (recorded.replay(), kept)[1]

    def later(*arguments, **how):  # made when its turn comes, so that a failure is one way less
        made = []

        def step(i):
            if not made:
                made.append(make(*arguments, **how))
            return made[0](i)
        return step

    layouts = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
    ways = {"PyTorch eager": {name: later(layout) for name, layout in layouts.items()}}
    if cuda:
        ways["PyTorch, CUDA graph"] = {name: later(layout, graph=True) for name, layout in layouts.items()}
    if compiles:
        ways["torch.compile"] = {"channels_last, its CUDA graphs": later(torch.channels_last, mode="reduce-overhead")}
    race("KD step", kind, f"{batch}x{size}x{size}x3", ways, rounds=20, calls=5)


torch.manual_seed(0)
emit(by="PyTorch", work="versions", note=f"PyTorch {torch.__version__}, Triton {triton.__version__ if triton else 'missing'}")
if options.quick:
    for kind in ("float", "bf16"):
        row_losses(16, 100, kind)
        row_losses(4, 9000, kind)
        linear_divergence(16, 8, 100, kind)
    distillation_step(8, (8, 8, 16, 16), 2, 8, "float")  # narrower ones corrupt the heap of PyTorch 2.15 on a CPU
else:
    for kind in ("tf32", "float"):
        distillation_step(20, (16, 16, 32, 64), 128, 32, kind)
    for kind in ("bf16", "float"):
        row_losses(65536, 1000, kind)
        row_losses(8192, 32000, kind)
    linear_divergence(8192, 4096, 128256, "bf16")
    for kind in ("bf16", "tf32", "float"):
        linear_divergence(1024, 4096, 128256, kind)
    linear_divergence(8192, 4096, 128256, "tf32")
sys.exit(failed)
