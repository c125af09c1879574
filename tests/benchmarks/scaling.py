"""How costs grow with width, rank, depth and chains: exponents by regression, beside theory.

One BLAS thread.  Each exponent is a least-squares slope of log time over log size, from the
shortest of several alternating measurements, in a range of sizes where the term that theory
counts is the largest and where a product of matrices runs at its full speed.  The target is
theory within 0.15.

Run ``python tests/benchmarks/scaling.py``; ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))

import numpy as np  # noqa: E402
from numpy.linalg import qr  # noqa: E402
from scipy import sparse  # noqa: E402

from dlngeom import SVD, DeepLinearNetwork, Tangent, endtoend, langevin  # noqa: E402
from dlngeom._lib.arrays import project_out  # noqa: E402
from dlngeom._lib.vectors import parts  # noqa: E402
from dlngeom.langevin import riemannian_langevin  # noqa: E402
from dlngeom.langevin._engine._groups import joined  # noqa: E402
from dlngeom.langevin._engine._steps import Plan, advance  # noqa: E402
from dlngeom.langevin._engine._streams import Streams  # noqa: E402

Call = Callable[[], object]


class Sweep(NamedTuple):
    """A cost as a function of one size."""

    name: str
    theory: float
    sizes: tuple[int, ...]
    make: Callable[[int], Call]


def rle_step(width: int, rank: int, depth: int, chains: int = 1) -> Call:
    """One step with its noise, as the drivers take it; groups as they cut them."""
    rng = np.random.default_rng(0)
    space = DeepLinearNetwork((width,) * (depth + 1), rank)
    # One chain many times: to draw many large networks would take longer than the steps.
    point = space.random_point(rng, (1,))._replace(lam=np.linspace(2, 1, rank)[None])
    count = min(chains, joined(_repeated(point, chains)) if chains > 1 else 1)
    point = _repeated(point, count)
    plan = Plan(space.random_walk(point), 1e-6, 1, 1, 0.1, 0.1, lambda W: W)
    state = plan.walk.start(point)
    streams = Streams([np.random.default_rng(i) for i in range(-(-count // 64))])

    def step() -> None:
        for _ in range(-(-chains // count)):
            advance(plan, state, streams, 1)

    return step


def given_noise(width: int, rank: int, depth: int) -> Call:
    """One step without its noise, which costs ``N d^2`` and would hide the growth with ``r``."""
    rng = np.random.default_rng(0)
    space = DeepLinearNetwork((width,) * (depth + 1), rank)
    point = space.random_point(rng, (1,))._replace(lam=np.linspace(2, 1, rank)[None])
    xi = tuple(1e-3 * rng.standard_normal((1, width, width)) for _ in range(depth))
    return lambda: langevin.step(space, point, xi, duration=1e-3, beta=1.0)


def _repeated(point: tuple, chains: int) -> tuple:
    lam, q = point
    many = [np.repeat(x, chains, axis=0) for x in (lam, *q)]
    return type(point)(many[0], tuple(many[1:]))


def large(size: int, rank: int, per_row: int) -> tuple[SVD, sparse.csr_array, Tangent]:
    """Point, sparse energy gradient with a fixed number of entries per row, and a tangent."""
    rng = np.random.default_rng(0)
    u, v = (qr(rng.standard_normal((size, rank)))[0] for _ in range(2))
    W = SVD(u, np.linspace(2, 1, rank), v.T.copy())
    G = sparse.random_array((size, size), density=per_row / size, rng=rng, format="csr")
    sides = [project_out(x, 1e-3 * rng.standard_normal(x.shape)) for x in (u, v)]
    return W, G, Tangent(sides[0], 1e-3 * rng.standard_normal((rank, rank)), sides[1])


def flow(size: int, rank: int, depth: int, per_row: int = 50) -> Call:
    """Right-hand side downstairs."""
    W, G, _ = large(size, rank, per_row)
    space = DeepLinearNetwork((size, *[rank] * (depth - 1), size), rank)
    equation = space.base.gradient_flow(W, lambda _: G)
    return lambda: equation.rates(equation.start)


def gradient(size: int, rank: int) -> Call:
    """Gradient from a dense energy gradient."""
    W, _, _ = large(size, rank, 1)
    G = np.random.default_rng(1).standard_normal((size, size))
    return lambda: endtoend.gradient(W, G, 3, check_finite=False)


def retraction(size: int, rank: int) -> Call:
    """Second-order retraction downstairs."""
    W, _, Z = large(size, rank, 1)
    return lambda: endtoend.retraction(W, Z, 3, check_finite=False)


SWEEPS = (
    Sweep("RLE step by d, r 8, N 3: N d^2 r", 2, (256, 512, 1024, 2048),
          lambda d: rle_step(d, 8, 3)),
    Sweep("RLE step by r, d 2000, N 2, noise given: N d^2 r", 1, (48, 72, 108, 162),
          lambda r: given_noise(2000, r, 2)),
    Sweep("RLE step by d = r, N 2: N d^3", 3, (700, 1000, 1400), lambda d: rle_step(d, d, 2)),
    Sweep("RLE step by N, d 64, r 32: N d^2 r", 1, (16, 24, 36, 54),
          lambda n: rle_step(64, 32, n, 4)),
    Sweep("RLE step by chains, d 8, N 3", 1, (1024, 2048, 4096, 8192),
          lambda c: rle_step(8, 8, 3, c)),
    Sweep("flow downstairs by d, r 100, 1 entry a row: d r^2", 1, (4000, 8000, 16000, 32000),
          lambda d: flow(d, 100, 3, 1)),
    Sweep("flow downstairs by r, d 4000, 1 entry a row: d r^2", 2, (128, 192, 288, 432),
          lambda r: flow(4000, r, 3, 1)),
    Sweep("flow downstairs by N, d 4000, r 20", 0, (4, 8, 16, 32), lambda n: flow(4000, 20, n)),
    Sweep("gradient by d, dense, r 20: d^2 r", 2, (2000, 2800, 4000), lambda d: gradient(d, 20)),
    Sweep("gradient by r, dense, d 2000: d^2 r", 1, (64, 128, 256, 512),
          lambda r: gradient(2000, r)),
    Sweep("retraction downstairs by d, r 100: d r^2", 1, (8000, 16000, 32000),
          lambda d: retraction(d, 100)),
    Sweep("retraction downstairs by r, d 8000: d r^2", 2, (200, 300, 450),
          lambda r: retraction(8000, r)),
)  # fmt: skip


def exponent(sweep: Sweep, rounds: int, budget: float) -> tuple[float, list[float]]:
    """Slope of log time over log size."""
    calls = [sweep.make(size) for size in sweep.sizes]
    best = [np.inf] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for i, call in enumerate(calls):
            end = time.perf_counter() + budget
            while True:
                start = time.perf_counter()
                call()
                now = time.perf_counter()
                best[i] = min(best[i], now - start)
                if now > end:
                    break
    return float(np.polyfit(np.log(sweep.sizes), np.log(best), 1)[0]), best


def memory(width: int, depth: int) -> tuple[float, float, int]:
    """Peak bytes of a run, as a constant and per chain in units of what is kept of a chain."""
    space = DeepLinearNetwork((width,) * (depth + 1))
    point = space.random_point(0)
    options = {"beta": 10.0, "duration": 1e-3, "rng": 0, "observe": {}}
    peaks, counts = [], (2048, 4096)
    for chains in counts:
        tracemalloc.start()
        run = riemannian_langevin(space, point, n_steps=4, save_every=1, n_chains=chains, **options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        kept = sum(x.nbytes for x in parts(run.points)) / chains
    slope = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    return peaks[0] - slope * counts[0], slope / kept, sum(x.size for x in parts(point))


def main() -> None:
    """Print the exponents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.2, help="seconds of one measurement")
    parser.add_argument("--only", default="", help="part of the names of the sweeps to run")
    options = parser.parse_args()
    # As in the drivers: the C library keeps the memory of temporary arrays.
    np.empty(2**24, dtype=np.uint8)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one BLAS thread, numpy {np.__version__}")
    print("measured  theory  cost")
    for sweep in SWEEPS:
        if options.only not in sweep.name:
            continue
        slope, best = exponent(sweep, options.rounds, options.budget)
        mark = "" if abs(slope - sweep.theory) <= 0.15 else "  OFF BY MORE THAN 0.15"
        times = ", ".join(f"{n}: {1e3 * t:.3g}" for n, t in zip(sweep.sizes, best, strict=True))
        print(f"{slope:8.2f}  {sweep.theory:6g}  {sweep.name} (ms: {times}){mark}", flush=True)
    for width in (4, 8, 16):
        constant, share, numbers = memory(width, 3)
        print(f"width {width}, depth 3, {numbers} numbers a state: {constant / 2**20:.0f} MiB, and "
              f"{share:.1f} times the draws that are kept")  # fmt: skip


if __name__ == "__main__":
    main()
