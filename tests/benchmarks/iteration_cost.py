"""Seconds per conjugate-gradient iteration on a large completion problem, on one BLAS thread.

Contenders, each in a process of its own: ``dlngeom.pymanopt.EndToEnd`` at depth 1 and 3 with
the projection retraction, and pymanopt's ``FixedRankEmbedded`` as shipped.  All start from the
same point and share one cost, cached per point.  The floor, timed before and after each run, is
what no method avoids: two products of a sparse with a thin matrix, two thin QRs and one small SVD.

Run ``python tests/benchmarks/iteration_cost.py``; ``--help`` lists the sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from typing import NamedTuple

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))
BLOCKED = ("torch", "jax", "tensorflow")
# pymanopt imports these where they are installed, at 300 MB that no contender uses.
sys.modules.update(dict.fromkeys(BLOCKED))

import numpy as np  # noqa: E402
import pymanopt  # noqa: E402
import scipy  # noqa: E402
from pymanopt.manifolds import FixedRankEmbedded  # noqa: E402
from pymanopt.optimizers import ConjugateGradient  # noqa: E402
from scipy import sparse  # noqa: E402

from dlngeom.pymanopt import EndToEnd, Point  # noqa: E402

DEPTHS = {"depth 1": 1, "depth 3": 3}
SHIPPED = "FixedRankEmbedded"
MEGABYTE = 2**20


class Completion:
    """Half the squared residual on observed entries, cached at the last point."""

    def __init__(self, observed: sparse.csr_array) -> None:
        self.observed = observed
        self.residual = observed.copy()
        self.sampler = Sampler(observed)
        self.point: tuple[np.ndarray, ...] = ()
        self.value = np.nan
        self.evaluations = 0
        self.seconds = 0.0

    def cost(self, u: np.ndarray, s: np.ndarray, vt: np.ndarray) -> float:
        """Half the squared norm of the residual."""
        self._move(u, s, vt)
        return self.value

    def sparse_gradient(self, u: np.ndarray, s: np.ndarray, vt: np.ndarray) -> sparse.csr_array:
        """The residual, as a sparse matrix of fixed structure."""
        self._move(u, s, vt)
        return self.residual

    def factor_gradient(
        self, u: np.ndarray, s: np.ndarray, vt: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Derivatives in ``u``, ``s`` and ``vt``, the form that pymanopt's class asks for."""
        self._move(u, s, vt)
        start = time.perf_counter()
        Gv, Gtu = self.residual @ vt.T, self.residual.T @ u
        triple = Gv * s, np.sum(u * Gv, axis=0), (Gtu * s).T
        self.seconds += time.perf_counter() - start
        return triple

    def _move(self, *point: np.ndarray) -> None:
        if len(self.point) and all(x is y for x, y in zip(point, self.point, strict=True)):
            return
        start = time.perf_counter()
        u, s, vt = point
        residual = self.residual.data
        self.sampler.sample(u * s, np.ascontiguousarray(vt.T), residual)
        residual -= self.observed.data
        self.value = 0.5 * float(residual @ residual)
        self.point = point
        self.evaluations += 1
        self.seconds += time.perf_counter() - start


class Sampler:
    """Entries of a product of thin matrices, for rows sorted by their number of entries.

    Rows with equally many entries make one batched product; no entry is visited in Python.
    """

    def __init__(self, pattern: sparse.csr_array, block: int = 4096) -> None:
        # Gathers convert any other integer type on every call.
        self.columns = pattern.indices.astype(np.intp)
        self.starts = pattern.indptr.astype(np.intp)
        counts = np.diff(self.starts)
        edges = [0, *(np.flatnonzero(np.diff(counts)) + 1), len(counts)]
        self.blocks: list[tuple[int, int]] = []
        for first, last in pairwise(edges):
            # Gathered rows stay in the cache until they are multiplied.
            step = max(1, block // max(1, int(counts[first])))
            cuts = [*range(first, last, step), last]
            self.blocks.extend(pairwise(cuts))

    def sample(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """Write the entries of ``left @ right.T`` to ``out``, in the order of the pattern."""
        for first, last in self.blocks:
            part = slice(self.starts[first], self.starts[last])
            # The default mode checks every index first.
            gathered = right.take(self.columns[part], axis=0, mode="clip")
            gathered = gathered.reshape(last - first, -1, left.shape[1]).mT
            entries = out[part].reshape(last - first, 1, -1)
            np.matmul(left[first:last, None, :], gathered, out=entries)


def problem_data(size: int, rank: int, fraction: float) -> tuple[sparse.csr_array, Point]:
    """Observed entries of a random matrix, and a start away from it."""
    rng = np.random.default_rng(0)
    truth = EndToEnd(size, size, rank, 1, rng=rng).random_point()
    truth = Point(truth.u, size * np.linspace(2, 1, rank), truth.vt)
    count = round(fraction * size**2)
    where = np.sort(rng.choice(size**2, count, replace=False, shuffle=False))
    rows, columns = np.divmod(where, size)
    # The order of the rows of a completion problem is free.
    order = np.argsort(np.bincount(rows, minlength=size), kind="stable")
    shape = (size, size)
    observed = sparse.csr_array((np.empty(count), (rows, columns)), shape=shape)[order]
    left, right = truth.u * truth.s, np.ascontiguousarray(truth.vt.T)
    Sampler(observed).sample(left, right, observed.data)
    u, s, vt = sparse.linalg.svds(observed / fraction, k=rank, rng=rng)
    return observed, Point(u[:, ::-1].copy(), s[::-1].copy(), vt[::-1].copy())


def floor(observed: sparse.csr_array, point: Point, repeats: int = 10) -> float:
    """Seconds for two sparse-thin products, two thin QRs and one SVD of size ``2k``."""
    u, v = point.u, np.ascontiguousarray(point.vt.T)
    block = np.random.default_rng(0).standard_normal((2 * len(point.s),) * 2)
    timings = []
    for _ in range(repeats):
        start = time.perf_counter()
        thin = observed @ v, observed.T @ u
        np.linalg.qr(thin[0])
        np.linalg.qr(thin[1])
        np.linalg.svd(block, full_matrices=False)
        timings.append(time.perf_counter() - start)
    return float(np.median(timings))


class Measurement(NamedTuple):
    """What a process reports about its contender; times in seconds."""

    total: float
    user: float
    floor: float
    evaluations: float
    decrease: float
    megabytes: float


def measure(contender: str, options: argparse.Namespace) -> Measurement:
    """Run one contender in this process; the best of several runs, to shed other load."""
    observed, start = problem_data(options.size, options.rank, options.fraction)
    runs = []
    for _ in range(options.repeats if contender in DEPTHS else 1):
        before = floor(observed, start)
        run = one_run(contender, options, observed, start)
        runs.append(run._replace(floor=min(before, floor(observed, start))))
    if imported := [name for name in BLOCKED if sys.modules.get(name)]:
        raise RuntimeError(f"imported although unused: {imported}")
    # A kibibyte on Linux, a byte on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE
    lowest = min(run.floor for run in runs)
    return min(runs, key=lambda run: run.total)._replace(floor=lowest, megabytes=peak)


def one_run(
    contender: str, options: argparse.Namespace, observed: sparse.csr_array, start: Point
) -> Measurement:
    """Time conjugate gradients with pymanopt's default line search."""
    ours = contender in DEPTHS
    sizes = options.size, options.size, options.rank
    if ours:
        manifold = EndToEnd(*sizes, DEPTHS[contender], retraction="projection")
    else:
        manifold = FixedRankEmbedded(*sizes)
    user = Completion(observed)
    gradient = user.sparse_gradient if ours else user.factor_gradient
    decorate = pymanopt.function.numpy(manifold)
    problem = pymanopt.Problem(manifold, decorate(user.cost), euclidean_gradient=decorate(gradient))
    steps = options.iterations if ours else options.shipped_iterations
    initial = problem.cost(start)
    user.evaluations, user.seconds = 0, 0.0
    optimizer = ConjugateGradient(max_iterations=steps + 1, verbosity=0)
    result = optimizer.run(problem, initial_point=start)
    # The optimizer counts the initial point as an iteration.
    done = result.iterations - 1
    per_step = (value / done for value in (result.time, user.seconds))
    decrease = result.cost / initial
    return Measurement(*per_step, np.nan, user.evaluations / done, decrease, np.nan)


def in_own_process(contender: str, options: argparse.Namespace) -> Measurement:
    """Measure a contender where its peak of memory is its own."""
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in vars(options).items()]
    command = [sys.executable, __file__, *arguments, f"--contender={contender}"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Measurement(**json.loads(output))


def report(results: dict[str, Measurement]) -> str:
    """Ratios first, then what they are made of."""
    lines = []
    for name in DEPTHS:
        ours = results[name]
        text = f"{name}: {ours.total / ours.floor:.2f} times the floor"
        if SHIPPED in results:
            text += f", {results[SHIPPED].total / ours.total:.1f} times faster than {SHIPPED}"
        lines.append(f"{text}, peak memory {ours.megabytes:.0f} MB")
    lines += ["", "milliseconds per iteration: total, of which the user's cost and the manifold"]
    lines += ["with the optimizer (two sparse products included); floor; cost evaluations"]
    for name, run in results.items():
        own = run.total - run.user
        times = (f"{1e3 * value:9.1f}" for value in (run.total, run.user, own, run.floor))
        rest = f"{run.evaluations:6.2f}  cost x {run.decrease:.1e}  {run.megabytes:5.0f} MB"
        lines.append(f"{name:>18} {' '.join(times)} {rest}")
    lines.append(f"{SHIPPED} computes its two sparse products in the user's gradient.")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Sizes and numbers of iterations."""
    result = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    result.add_argument("--size", type=int, default=10_000)
    result.add_argument("--rank", type=int, default=10)
    result.add_argument("--fraction", type=float, default=0.01, help="observed part")
    result.add_argument("--iterations", type=int, default=30)
    result.add_argument("--shipped-iterations", type=int, default=3, help="0 leaves it out")
    result.add_argument("--repeats", type=int, default=3)
    result.add_argument("--contender", choices=[*DEPTHS, SHIPPED], help=argparse.SUPPRESS)
    return result


def main() -> None:
    """Measure every contender and print the report, or measure one as a child process."""
    options = parser().parse_args()
    contender = vars(options).pop("contender")
    if contender:
        print(json.dumps(measure(contender, options)._asdict()))
        return
    names = [*DEPTHS, SHIPPED] if options.shipped_iterations else list(DEPTHS)
    print(report({name: in_own_process(name, options) for name in names}))
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}"
    print(f"{versions}, pymanopt {pymanopt.__version__}, {os.cpu_count()} cores, 1 BLAS thread")


if __name__ == "__main__":
    main()
