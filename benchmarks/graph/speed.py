"""The nets of speed.cpp in plain PyTorch: dense features, sparse CSR propagation (torch.sparse.mm), one thread.

python3 benchmarks/graph/speed.py FOLDER [epochs]      (needs torch)
"""
import csv
import resource
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(1)


def symmetric(edges, n):
    loops = torch.arange(n).repeat(2, 1)
    index = torch.cat([edges, edges.flip(0), loops], 1)
    a = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), (n, n)).coalesce()
    i = a.indices()
    degree = torch.zeros(n).index_add_(0, i[0], torch.ones(i.shape[1]))
    return torch.sparse_coo_tensor(i, (degree[i[0]] * degree[i[1]]).rsqrt(), (n, n)).coalesce().to_sparse_csr()


class Propagate(torch.autograd.Function):
    """The matrix is symmetric: its backward is itself, which spares PyTorch a transpose."""

    @staticmethod
    def forward(ctx, a, x):
        ctx.a = a
        return torch.sparse.mm(a, x)

    @staticmethod
    def backward(ctx, dy):
        return None, torch.sparse.mm(ctx.a, dy)


def run(name, a, x, y, train, widths, first_dropout, epochs):
    layers = torch.nn.ModuleList(torch.nn.Linear(i, o) for i, o in zip(widths, widths[1:]))
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.01, weight_decay=5e-4)
    rounds = []
    for _ in range(epochs):
        start = time.thread_time()
        h = x
        for k, layer in enumerate(layers):
            if k or first_dropout:
                h = F.dropout(h, 0.5)
            narrow = layer.in_features > layer.out_features
            h = Propagate.apply(a, h @ layer.weight.T) + layer.bias if narrow else layer(Propagate.apply(a, h))
            if k + 1 < len(layers):
                h = torch.relu(h)
        loss = F.cross_entropy(h[train], y[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rounds.append(time.thread_time() - start)
    rounds = sorted(rounds[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"|{name}|{1e3 * rounds[len(rounds) // 2]:.2f}|{1e3 * rounds[0]:.2f}|{peak:.0f}|")


def pairs(path):
    return torch.tensor([[int(v) for v in line.split()] for line in open(path)]).T


folder = sys.argv[1] + "/graphs/"
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 100
print("PyTorch", torch.__version__)
print("|PyTorch|median ms|best ms|peak RSS MiB so far|\n|---|---|---|---|")
rows = [line.rstrip("\n").split("\t") for line in open(folder + "cora/cora.nodes.tsv")]
x = torch.zeros(len(rows), 1433)
for i, r in enumerate(rows):
    x[i, [int(f) for f in r[3].split()]] = 1
x = x / x.sum(1, keepdim=True).clamp(min=1)
y = torch.tensor([int(r[2]) for r in rows])
train = torch.tensor([i for i, r in enumerate(rows) if r[1] == "train"])
run("GCN 1433-64-7, Cora", symmetric(pairs(folder + "cora/cora.edges.txt"), len(rows)), x, y, train, [1433, 64, 7], True, epochs)
table = list(csv.DictReader(open(folder + "bail/bail.csv")))
y = torch.tensor([int(r["RECID"]) for r in table])
x = torch.tensor([[float(v) for k, v in r.items() if k != "RECID"] for r in table])
x = x / x.abs().sum(1, keepdim=True).clamp(min=1e-9)
run("GCN 18-64-64-2, Bail", symmetric(pairs(folder + "bail/bail_edges.txt"), len(table)), x, y, torch.arange(0, len(table), 3), [18, 64, 64, 2], False, max(10, epochs // 5))
