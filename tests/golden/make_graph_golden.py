"""Writes graph-golden.tsv: outputs and gradients of graph layers in double, by dense matrices in plain PyTorch.

python3 tests/golden/make_graph_golden.py > tests/golden/graph-golden.tsv     (needs torch)

A line: case, tensor, values row by row. The scalar that is differentiated is sum(output * factor).
"""
import torch

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
N, IN, OUT = 7, 5, 3
EDGES = [(0, 1), (0, 2), (2, 1), (3, 1), (4, 3), (4, 0), (5, 4), (1, 5)]  # as in tests/graph/small_graphs.hpp
A = torch.zeros(N, N)
for u, v in EDGES:
    A[u, v] = A[v, u] = 1
EYE = torch.eye(N)
FIFTH = float(torch.tensor(0.2, dtype=torch.float32))  # the layers keep such numbers in float


def emit(case, name, value):
    print(case, name, " ".join(repr(float(f"{x:.17g}")) for x in value.detach().flatten().tolist()), sep="\t")


def case(name, shapes, f, width=IN):
    """shapes: parameters in the order in which the layer shows them; f(x, parameters) -> output."""
    x = torch.randn(N, width, requires_grad=True)
    parameters = {k: torch.randn(*s, requires_grad=True) for k, s in shapes.items()}
    y = f(x, *parameters.values())
    factor = torch.randn_like(y)
    (y * factor).sum().backward()
    emit(name, "x", x)
    for k, p in parameters.items():
        emit(name, k, p)
    emit(name, "y", y)
    emit(name, "factor", factor)
    emit(name, "dx", x.grad)
    for k, p in parameters.items():
        emit(name, "d" + k, p.grad)


def symmetric():
    a = A + EYE
    d = a.sum(1)
    return a / torch.sqrt(d[:, None] * d[None, :])


def mean(a):
    return a / a.sum(1, keepdim=True).clamp(min=1)


S = symmetric()
case("gcn_narrow", {"weight": (IN, OUT), "bias": (OUT,)}, lambda x, w, b: S @ (x @ w) + b)
case("gcn_wide", {"weight": (IN, 8), "bias": (8,)}, lambda x, w, b: (S @ x) @ w + b)
case("sage", {"self.weight": (IN, OUT), "self.bias": (OUT,), "heard.weight": (IN, OUT)}, lambda x, ws, b, wn: x @ ws + b + mean(A) @ x @ wn)
case("sage_gcn", {"weight": (IN, OUT), "bias": (OUT,)}, lambda x, w, b: ((A + EYE) @ x / (A.sum(1, keepdim=True) + 1)) @ w + b)
case("gin", {"0.weight": (IN, 6), "0.bias": (6,), "2.weight": (6, OUT), "2.bias": (OUT,)},
     lambda x, w, b, v, c: torch.relu((1.25 * x + A @ x) @ w + b) @ v + c)
case("sgc", {"weight": (IN, OUT)}, lambda x, w: S @ (S @ (x @ w)))


def appnp(x):
    z = x
    for _ in range(3):
        z = (1 - FIFTH) * S @ z + FIFTH * x
    return z


case("appnp", {}, appnp)


def gat(x, w, a_source, a_target, b, average):
    heads, out = 2, OUT
    h = (x @ w).view(N, heads, out)
    left = (h * a_source.view(heads, out)).sum(-1)  # of the source u
    right = (h * a_target.view(heads, out)).sum(-1)  # of the target v
    e = torch.nn.functional.leaky_relu(left[None, :, :] + right[:, None, :], FIFTH)  # [v, u, head]
    e = e.masked_fill(((A + EYE) == 0)[:, :, None], float("-inf"))
    y = torch.einsum("vuh,uho->vho", torch.softmax(e, 1), h)
    return (y.mean(1) if average else y.reshape(N, -1)) + b


P = {"weight": (IN, 2 * OUT), "source": (1, 2 * OUT), "target": (1, 2 * OUT)}
case("gat", {**P, "bias": (2 * OUT,)}, lambda *p: gat(*p, average=False))
case("gat_average", {**P, "bias": (OUT,)}, lambda *p: gat(*p, average=True))

# PLP (CPF's student) in evaluation mode: steps - 1 = 3 propagations, nodes 0 and 4 labelled, three classes.
LABELS = {0: 2, 4: 0}


def plp(x, attention, gate, w, b, v, c):
    classes = 3
    clamp = torch.full((N, classes), 1 / classes)
    known = torch.zeros(N, 1)
    for node, y in LABELS.items():
        clamp[node] = torch.eye(classes)[y]
        known[node] = 1
    f = clamp
    for _ in range(3):
        e = (x @ attention)[:, 0][None, :].expand(N, N).masked_fill((A + EYE) == 0, float("-inf"))
        own = torch.relu(x @ w + b) @ v + c
        h = torch.relu(torch.sigmoid(gate) * (torch.softmax(e, 1) @ f) + torch.sigmoid(-gate) * own)
        f = known * clamp + (1 - known) * h
    return f


case("plp", {"attention": (IN, 1), "gate": (N, 1), "hidden.weight": (IN, 4), "hidden.bias": (4,), "last.weight": (4, 3), "last.bias": (3,)}, plp)
