"""The nets of speed.cpp in PyTorch Geometric and in plain PyTorch: dense features, one thread, each net in a process of its own.

PyTorch Geometric: GCNConv with its normalisation cached, once over an edge index (gather and scatter) and once over a sparse CSR
tensor (torch.sparse.mm), which is the faster of the two. Plain PyTorch: the same products with the matrix as its own transpose.

python3 benchmarks/graph/speed.py FOLDER [epochs]      (needs torch; torch-geometric for its rows)
"""
import csv
import os
import resource
import sys
import time

import torch
import torch.nn.functional as F

try:
    import torch_geometric.nn
except ImportError:
    torch_geometric = None

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


class Plain(torch.nn.Module):
    """A GCN of torch.nn.Linear and torch.sparse.mm, which multiplies by the weights first where that makes rows narrower."""

    def __init__(self, edges, n, inputs, outputs):
        super().__init__()
        self.linear = torch.nn.Linear(inputs, outputs)
        self.a = symmetric(edges, n)

    def forward(self, h):
        if self.linear.in_features > self.linear.out_features:
            return Propagate.apply(self.a, h @ self.linear.weight.T) + self.linear.bias
        return self.linear(Propagate.apply(self.a, h))


class Geometric(torch.nn.Module):
    def __init__(self, edges, n, inputs, outputs, sparse):
        super().__init__()
        self.conv = torch_geometric.nn.GCNConv(inputs, outputs, cached=True)
        both = torch.cat([edges, edges.flip(0)], 1)
        self.adjacency = torch.sparse_coo_tensor(both, torch.ones(both.shape[1]), (n, n)).coalesce().to_sparse_csr() if sparse else both

    def forward(self, h):
        return self.conv(h, self.adjacency)


def run(name, layer, x, y, train, widths, first_dropout, epochs):
    layers = torch.nn.ModuleList(layer(i, o) for i, o in zip(widths, widths[1:]))
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.01, weight_decay=5e-4)
    rounds = []
    for _ in range(epochs):
        start = time.thread_time()
        h = x
        for k, layer in enumerate(layers):
            if k or first_dropout:
                h = F.dropout(h, 0.5)
            h = layer(h)
            if k + 1 < len(layers):
                h = torch.relu(h)
        loss = F.cross_entropy(h[train], y[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rounds.append(time.thread_time() - start)
    rounds = sorted(rounds[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"|{name}|{1e3 * rounds[len(rounds) // 2]:.2f}|{1e3 * rounds[0]:.2f}|{peak:.0f}|{loss.item():.4f}|", flush=True)


def compare(net, edges, x, y, *rest):
    ways = {"PyTorch, CSR": lambda i, o: Plain(edges, len(x), i, o)}
    if torch_geometric:
        ways["PyTorch Geometric, CSR"] = lambda i, o: Geometric(edges, len(x), i, o, True)
        ways["PyTorch Geometric, edge index"] = lambda i, o: Geometric(edges, len(x), i, o, False)
    for way, layer in ways.items():  # a process each: the peak of one says nothing of the next
        child = os.fork()
        if not child:
            run(f"{net}|{way}", layer, x, y, *rest)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{net}, {way}: failed")


def pairs(path):
    return torch.tensor([[int(v) for v in line.split()] for line in open(path)]).T


folder = sys.argv[1] + "/graphs/"
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 100
print("PyTorch", torch.__version__, "with PyTorch Geometric " + torch_geometric.__version__ if torch_geometric else "without PyTorch Geometric")
base = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20  # what each process starts from
print(f"Libraries alone: {base:.0f} MiB.\n\n|net|way|median ms|best ms|peak RSS MiB|last loss|\n|---|---|---|---|---|---|", flush=True)
rows = [line.rstrip("\n").split("\t") for line in open(folder + "cora/cora.nodes.tsv")]
x = torch.zeros(len(rows), 1433)
for i, r in enumerate(rows):
    x[i, [int(f) for f in r[3].split()]] = 1
x = x / x.sum(1, keepdim=True).clamp(min=1)
y = torch.tensor([int(r[2]) for r in rows])
train = torch.tensor([i for i, r in enumerate(rows) if r[1] == "train"])
compare("GCN 1433-64-7, Cora", pairs(folder + "cora/cora.edges.txt"), x, y, train, [1433, 64, 7], True, epochs)
table = list(csv.DictReader(open(folder + "bail/bail.csv")))
y = torch.tensor([int(r["RECID"]) for r in table])
x = torch.tensor([[float(v) for k, v in r.items() if k != "RECID"] for r in table])
x = x / x.abs().sum(1, keepdim=True).clamp(min=1e-9)
compare("GCN 18-64-64-2, Bail", pairs(folder + "bail/bail_edges.txt"), x, y, torch.arange(0, len(table), 3), [18, 64, 64, 2], False, max(10, epochs // 5))
