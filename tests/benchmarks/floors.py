"""Flow, RLE step, gradient and retraction against their floors, on one BLAS thread.

The floor of a call is what no method avoids: its products with the energy gradient, its matrix
products with the frames, one orthonormalisation per frame that leaves its place and one symmetric
eigenvalue problem where singular values change, batched alike, and no arithmetic on entries.
Ratios come first; the target is 3.

Run ``python tests/benchmarks/floors.py``; ``--help`` lists the sizes.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))

import numpy as np  # noqa: E402
from numpy.linalg import eigh, inv, qr  # noqa: E402
from scipy import sparse  # noqa: E402

from dlngeom import SVD, DeepLinearNetwork, Tangent, balanced, dense, endtoend  # noqa: E402
from dlngeom._lib.arrays import project_out  # noqa: E402
from dlngeom.langevin import step  # noqa: E402
from dlngeom.langevin._engine._steps import Plan, advance  # noqa: E402
from dlngeom.langevin._engine._streams import Streams  # noqa: E402

Call = Callable[[], object]


class Case(NamedTuple):
    """A call and its floor."""

    name: str
    ours: Call
    floor: Call


def large(size: int, rank: int, rng: np.random.Generator) -> tuple[SVD, sparse.csr_array]:
    """Point of low rank and a sparse energy gradient on a tenth of the entries."""
    u, v = (qr(rng.standard_normal((size, rank)))[0] for _ in range(2))
    s = np.sort(rng.uniform(1, 10, rank))[::-1].copy()
    G = sparse.random_array((size, size), density=0.1, rng=rng, format="csr")
    return SVD(u, s, v.T.copy()), G


def downstairs(size: int, rank: int, depth: int) -> list[Case]:
    """One large matrix of low rank."""
    rng = np.random.default_rng(0)
    W, G = large(size, rank, rng)
    u, v = W.u, W.vt.T
    space = DeepLinearNetwork((size, *[rank] * (depth - 1), size), rank)
    equation = space.base.gradient_flow(W, lambda _: G)
    up = space.gradient_flow(space.orbit_point(W, 1), lambda _: G)
    Z = Tangent(
        project_out(u, 0.01 * rng.standard_normal(u.shape)),
        0.01 * rng.standard_normal((rank, rank)),
        project_out(v, 0.01 * rng.standard_normal(v.shape)),
    )
    small = rng.standard_normal((rank, rank))

    def flow() -> None:
        _, P = eigh(u.T @ u + v.T @ v)
        left, right = u @ P, v @ P
        Gv, Gtu = G @ right, G.T @ left
        C = left.T @ Gv
        for side, image in ((left, Gv), (right, Gtu)):
            side @ C
            image @ P

    def flow_upstairs() -> None:
        # The energy here sees a dense matrix.
        inner, first, last = [small] * (depth - 2), u.T, u
        W = last
        for layer in (*inner, first):
            W = W @ layer
        for layer in inner:
            last = last @ layer
        G.T @ last
        below = G @ first.T
        for layer in inner:
            u.T @ below
            below = below @ layer

    def gradient() -> None:
        Gv, _ = G @ v, G.T @ u
        M = u.T @ Gv
        u @ M
        v @ M.T

    def retraction() -> None:
        _, P = eigh(small + small.T)
        for frame, perp in ((u, Z.Up), (v, Z.Vp)):
            qr(frame @ small + perp)[0] @ P

    where = f"{size} x {size}, r {rank}"
    return [
        Case(f"flow downstairs, {where}", lambda: equation.rates(equation.start), flow),
        Case(f"flow upstairs, {where}", lambda: up.rates(up.start), flow_upstairs),
        Case(f"gradient, {where}", lambda: endtoend.gradient(W, G, depth), gradient),
        Case(f"retraction downstairs, {where}", lambda: endtoend.retraction(W, Z, depth),
             retraction),
    ]  # fmt: skip


def upstairs(chains: int, widths: tuple[int, ...], rank: int) -> list[Case]:
    """Many small networks."""
    rng = np.random.default_rng(0)
    space = DeepLinearNetwork(widths, rank)
    point = space.random_point(rng, (chains,))
    point = point._replace(lam=np.sort(rng.uniform(1, 2, point.lam.shape))[:, ::-1].copy())
    xi = tuple(rng.standard_normal((chains, b, a)) for a, b in pairwise(widths))
    V = balanced.tangent_projection(point, tuple(0.01 * x for x in xi))
    G = rng.standard_normal((chains, widths[-1], widths[0]))
    small = rng.standard_normal((chains, rank, rank))
    q, pairs = point.q, list(zip(xi, point.q[:-1], point.q[1:], strict=True))
    plan = Plan(space.random_walk(point), 1e-3, 1, 1, 0.1, 0.1, lambda W: G)
    state = plan.walk.start(point)
    streams = Streams([np.random.default_rng(i) for i in range(-(-chains // 64))])

    def in_frames() -> None:
        for x, low, high in pairs:
            high.mT @ (x @ low)
            if high.shape[-2] > rank or low.shape[-2] > rank:
                x.mT @ high

    def moved() -> None:
        _, P = eigh(small + small.mT)
        for frame in q:
            square = frame.shape[-2] == rank
            new = frame @ inv(small) if square else qr(frame @ small)[0]
            new @ P

    def step_floor() -> None:
        in_frames()
        image = G @ q[0]
        q[-1].mT @ image
        if q[-1].shape[-2] > rank or q[0].shape[-2] > rank:
            G.mT @ q[-1]
        moved()

    def whole_step() -> None:
        dense(point)
        step_floor()
        for x in xi:
            rng.standard_normal(x.shape)

    def retraction() -> None:
        in_frames()
        moved()

    options = {"duration": 1e-3, "beta": 10.0, "covector": G}
    where = f"{chains} chains, widths {widths}, r {rank}"
    return [
        Case(f"RLE step, {where}", lambda: step(space, point, xi, **options), step_floor),
        Case(f"RLE step, kappa 0.5, {where}",
             lambda: step(space, point, xi, kappa=0.5, **options), step_floor),
        Case(f"RLE step in the driver, with noise, {where}",
             lambda: advance(plan, state, streams, 1), whole_step),
        Case(f"retraction upstairs, {where}", lambda: balanced.retraction(point, V), retraction),
    ]  # fmt: skip


def seconds(call: Call, budget: float) -> float:
    """Shortest of the calls that fit in a time."""
    best, end = np.inf, time.process_time() + budget
    while time.process_time() < end:
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=0.1, help="seconds of each measurement")
    options = parser.parse_args()
    # As in the drivers, or in any process that has once freed a large array: the C library then
    # keeps the memory of temporary arrays, rather than to fetch it again for each.
    np.empty(2**24, dtype=np.uint8)
    cases = []
    for size in options.sizes:
        cases += downstairs(size, options.rank, options.depth)
    cases += upstairs(options.chains, (10,) * (options.depth + 1), 10)
    cases += upstairs(options.chains, (20, *[10] * (options.depth - 1), 20), 10)
    cases += upstairs(options.chains, (20,) * (options.depth + 1), 5)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one BLAS thread, numpy {np.__version__}")
    print(f"{'ratio':>6} {'ours, ms':>9} {'floor, ms':>9}")
    for case in cases:
        ours, floor = np.inf, np.inf
        # Alternating measurements share what else the machine does.
        for _ in range(options.rounds):
            ours = min(ours, seconds(case.ours, options.budget))
            floor = min(floor, seconds(case.floor, options.budget))
        mark = "" if ours <= 3 * floor else "  MISSES 3"
        print(f"{ours / floor:6.2f} {1e3 * ours:9.3f} {1e3 * floor:9.3f}  {case.name}{mark}")


if __name__ == "__main__":
    main()
