"""Time and peak memory of a fit to a big sparse matrix, and its kernels against their floors.

By default 100000 x 100000 with 10 million observed entries of a matrix of rank 10 plus noise;
the error is on entries that are not among the observed ones.  The peak is that of the process,
so it contains the data.

Run ``python tests/benchmarks/completion_scale.py``; ``--help`` lists the sizes.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))

import numpy as np
from scipy import sparse

from dlngeom.completion import DLNCompletion
from dlngeom.completion._observed import Observed, entries
from dlngeom.completion._regression import ridge_rows


def peak() -> float:
    """Peak memory of the process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def draw(left, right, count, noise, rng):
    """Sparse matrix of noisy entries at random places."""
    m, n = len(left), len(right)
    rows = np.sort(rng.integers(m, size=count, dtype=np.int32))
    columns = rng.integers(n, size=count, dtype=np.int32)
    values = entries(left, right, rows, columns)
    values += noise * rng.normal(size=count)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=m))]).astype(np.int32)
    matrix = sparse.csr_array((values, columns, indptr), shape=(m, n))
    matrix.sum_duplicates()
    return matrix


def timed(function, *arguments):
    """Result and seconds."""
    begin = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - begin


def gathers(left, right, rows, columns, size=2**14):
    """Floor of the residual: read the rows of both factors, block after block."""
    a, b = (np.empty((size, left.shape[1])) for _ in range(2))
    for start in range(0, len(rows) - size, size):
        part = slice(start, start + size)
        np.take(left, rows[part], axis=0, out=a, mode="clip")
        np.take(right, columns[part], axis=0, out=b, mode="clip")


def normal_floor(observed, right):
    """Floor of the row regressions: normal equations from one product of known pairs, solved."""
    (m, _), r = observed.shape, right.shape[1]
    i, j = np.triu_indices(r)
    mask = observed.with_values(observed.ones)
    for start in range(0, len(i), 10):
        part = slice(start, start + 10)
        mask @ (right[:, i[part]] * right[:, j[part]])
    np.linalg.solve(np.broadcast_to(np.eye(r), (m, r, r)), np.ones((m, r, 1)))


def kernels(matrix, rank, rng):
    """Kernels against what they cannot avoid."""
    observed = Observed(matrix)
    left, right = (rng.normal(size=(size, rank)) for size in matrix.shape)
    rows, columns = observed.rows, observed.columns
    observed.residual(left, right)
    _, floor = timed(gathers, left, right, rows, columns)
    G, seconds = timed(observed.residual, left, right)
    print(f"{seconds / floor:8.2f} x floor{seconds:8.2f} s  residual; floor: gathers")
    with ThreadPoolExecutor(2) as pool:
        _, two = timed(observed.residual, left, right, pool.map)
    print(f"{two / floor:8.2f} x floor{two:8.2f} s  the same with two threads")
    _, product = timed(lambda: (G @ right, G.T @ left))
    print(f"{'':16}{product:8.2f} s  gradient times both factors, by scipy")
    _, floor = timed(normal_floor, observed, right)
    _, seconds = timed(ridge_rows, observed, right, np.ones(rank))
    print(
        f"{seconds / floor:8.2f} x floor{seconds:8.2f} s  row regressions; floor: products, solve"
    )


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--rank", type=int, default=10)
    parser.add_argument("--cap", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    n = options.size
    left, right = (rng.normal(size=(n, options.rank)) for _ in range(2))
    left /= np.sqrt(options.rank)
    matrix = draw(left, right, options.entries, options.noise, rng)
    print(f"{n} x {n}, {matrix.nnz} entries, rank {options.rank}, noise {options.noise}")
    print(f"peak with the data alone: {peak():.2f} GiB")
    model = DLNCompletion(
        rank=options.cap, biases=True, random_state=options.seed, n_jobs=options.jobs,
        verbose=options.verbose,
    )  # fmt: skip
    _, seconds = timed(model.fit, matrix)
    print(f"fit: {seconds:.1f} s, {model.n_iter_} steps, rank {model.rank_}, peak {peak():.2f} GiB")
    rows, columns = rng.integers(n, size=(2, 100_000))
    error = model.predict(rows, columns) - entries(left, right, rows, columns)
    print(f"RMSE against the noise-free truth at 100000 other entries: {np.std(error):.4f}")
    kernels(matrix, options.rank, rng)


if __name__ == "__main__":
    main()
