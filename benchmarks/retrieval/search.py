"""Exact search of Retort's knowledge base beside FAISS flat: one process, one thread, the same keys, rounds in turn, the best of
each. Usage: search.py PATH_OF_libretort_search.so [--least N] [--most N]. Run it by search.sh."""
import ctypes
import sys
import time

import faiss
import numpy as np

WIDTH, K = 128, 10
library = ctypes.CDLL(sys.argv[1])
option = lambda name, fallback: int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else fallback
least, most = option("--least", 1000), option("--most", 1_000_000)
pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)
for kind in ("float", "int8"):
    getattr(library, kind + "_base").restype = ctypes.c_void_p
    getattr(library, kind + "_base").argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    getattr(library, kind + "_search").restype = None
    getattr(library, kind + "_search").argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    getattr(library, kind + "_bytes").restype = ctypes.c_int64
    getattr(library, kind + "_bytes").argtypes = [ctypes.c_void_p]
    getattr(library, kind + "_free").argtypes = [ctypes.c_void_p]
library.student_seconds.restype = ctypes.c_double
library.student_seconds.argtypes = [ctypes.c_int, ctypes.c_int64]
library.processor_name.restype = ctypes.c_char_p
faiss.omp_set_num_threads(1)


class Base:
    """Retort's base; results into memory that is there, as for FAISS."""

    def __init__(self, kind, keys):
        self.kind, self.self = kind, getattr(library, kind + "_base")(pointer(keys), len(keys), WIDTH)
        self.call = getattr(library, kind + "_search")
        self.bytes = getattr(library, kind + "_bytes")(self.self)

    def prepare(self, queries):
        self.ids, scores = np.empty((len(queries), K), np.int64), np.empty((len(queries), K), np.float32)
        self.arguments = [ctypes.c_void_p(self.self), pointer(queries), ctypes.c_int64(len(queries)), ctypes.c_int64(K), pointer(self.ids), pointer(scores)]
        self.kept = scores

    def search(self):
        self.call(*self.arguments)

    def __del__(self):
        getattr(library, self.kind + "_free")(self.self)


class Faiss:
    def __init__(self, index, keys):
        self.index = index
        index.train(keys)
        index.add(keys)

    def prepare(self, queries):
        self.ids, self.kept = np.empty((len(queries), K), np.int64), (queries, np.empty((len(queries), K), np.float32))
        self.arguments = [len(queries), faiss.swig_ptr(queries), K, faiss.swig_ptr(self.kept[1]), faiss.swig_ptr(self.ids)]

    def search(self):
        self.index.search_c(*self.arguments)


def unit(n, seed):
    rows = np.random.default_rng(seed).standard_normal((n, WIDTH), dtype=np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def main():
    students = {(kind, batch): library.student_seconds(kind, batch) / batch * 1e6 for kind in (0, 1, 2) for batch in (1, 128)}
    print(f"{library.processor_name().decode()}, one thread; faiss-cpu {faiss.__version__} ({faiss.get_compile_options().strip()}); {WIDTH} dimensions, "
          f"k {K}; {time.strftime('%Y-%m-%d', time.gmtime())}\n")
    print("|keys|queries at once|Retort us/query|FAISS flat us/query|ratio|Retort int8 us/query|FAISS SQ8 us/query|ratio|int8 recall@10|bytes|bytes int8|")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    shares = []
    n = least
    while n <= most:
        keys = unit(n, 1)
        arms = [Base("float", keys), Faiss(faiss.IndexFlatIP(WIDTH), keys), Base("int8", keys),
                Faiss(faiss.IndexScalarQuantizer(WIDTH, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT), keys)]
        for batch in (1, 16, 128, 1024):
            queries = unit(batch, 2)
            calls = max(1, min(200, int(2e7 / (n * batch))))
            rounds = 7 if n * batch <= 1e8 else 3
            best = [1e9] * 4
            for arm in arms:
                arm.prepare(queries)
            for turn in range(rounds):
                for a, arm in enumerate(arms):
                    if a == 3 and turn > 0 and n * batch > 1e8:  # a minute a round
                        continue
                    start = time.thread_time()
                    for _ in range(calls):
                        arm.search()
                    best[a] = min(best[a], (time.thread_time() - start) / calls / batch * 1e6)
            ids = [arm.ids for arm in arms]
            assert np.mean(ids[0] == ids[1]) > 0.999, "Retort and FAISS disagree"
            recall = np.mean([len(set(x) & set(y)) / K for x, y in zip(ids[2], ids[1])])
            print(f"|{n}|{batch}|{best[0]:.1f}|{best[1]:.1f}|{best[1] / best[0]:.2f}|{best[2]:.1f}|{best[3]:.1f}|{best[3] / best[2]:.2f}|{recall:.3f}|"
                  f"{arms[0].bytes}|{arms[2].bytes}|", flush=True)
            if batch in (1, 128):
                shares.append((n, batch, best[0]))
        n *= 10
    print("\nThe share of search in an answer (search / (search + student)):\n\n|keys|queries at once|bag of words|transformer 2x128|transformer 6x768|\n|---|---|---|---|---|")
    for n, batch, us in shares:
        print(f"|{n}|{batch}|" + "|".join(f"{100 * us / (us + students[kind, batch]):.1f} %" for kind in (0, 1, 2)) + "|")
    print("\nStudents, us per sentence of 20 tokens: " + ", ".join(f"{name} {students[kind, 1]:.0f} alone, {students[kind, 128]:.0f} in a batch of 128" for kind, name in
                                                              enumerate(("bag of words", "transformer 2x128", "transformer 6x768"))))


main()
