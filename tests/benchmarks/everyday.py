"""Everyday sizes against the shortest script that a user would write instead, on one BLAS thread.

Each row is the CPU time here over that of the script, the best of several runs that take turns.
A table is a function that yields the names of rows with their measurements, and is in ``TABLES``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from _rows import Case, Row, fastest  # noqa: E402
from langevin_everyday import langevin_rows  # noqa: E402
from pymanopt_everyday import pymanopt_rows  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402

from dlngeom import DeepLinearNetwork  # noqa: E402
from dlngeom.flow import gradient_flow  # noqa: E402

Gradient = Callable[[np.ndarray], np.ndarray]


def plain_flow(
    W: np.ndarray, depth: int, t: np.ndarray, force: Gradient, rtol: float, atol: float
) -> np.ndarray:
    """Flow of balanced layers over matrices (chain, d, d) to times t: (chain, t, d, d)."""
    u, s, vt = np.linalg.svd(W)
    root = s[:, None, :] ** (1 / depth)
    unit = np.eye(W.shape[-1])
    first = np.swapaxes(root, 1, 2) * vt
    layers = np.stack([first, *[root * unit] * (depth - 2), u * root])

    def products(x):
        below = [unit, x[0]]
        for layer in x[1:]:
            below.append(layer @ below[-1])
        return below

    def rates(_, y):
        x = y.reshape(layers.shape)
        below = products(x)
        G, out = -force(below[-1]), np.empty_like(x)
        for p in reversed(range(depth)):
            out[p] = G @ np.swapaxes(below[p], -1, -2)
            G = np.swapaxes(x[p], 1, 2) @ G
        return out.ravel()

    run = solve_ivp(rates, (t[0], t[-1]), layers.ravel(), "DOP853", t, rtol=rtol, atol=atol)
    states = run.y.T.reshape(len(t), *layers.shape)
    return np.stack([products(x)[-1] for x in states], axis=1)


# Size, chains and end of the flow; scale of the starts and rank of the targets of completion.
FLOWS = ((2, 1, 100.0), (2, 200, 100.0), (5, 1, 20.0), (5, 100, 20.0), (12, 1, 8.0), (12, 50, 8.0),
         (30, 1, 3.0), (30, 50, 3.0))  # fmt: skip
SCALE, RANK = 1e-2, 2
TOLERANCES = {"rtol": 1e-8, "atol": 1e-10}
PRECISE = {"rtol": 1e-12, "atol": 1e-14}


def completion(d: int, rng: np.random.Generator) -> Gradient:
    """Energy gradient: the diagonal of 2 x 2 matrices is known, or 60% of the entries."""
    if d == 2:
        return lambda W: np.eye(2) * (W - np.eye(2))
    seen = (rng.random((d, d)) < 0.6).astype(float)
    target = rng.normal(size=(d, RANK)) @ rng.normal(size=(RANK, d))
    return lambda W: seen * (W - target)


def flow_rows() -> Iterator[Case]:
    """Gradient flows of dense matrices to two and to 101 saved times."""
    for d, chains, end in FLOWS:
        for depth in (2, 3, 4):
            rng = np.random.default_rng(d)
            force = completion(d, rng)
            start = SCALE * rng.normal(size=(chains, d, d))
            for draws in (2, 101):
                name = f"flow d={d} chains={chains} N={depth}, {draws} times"
                t = np.linspace(0, end, draws)
                yield name, partial(flow_row, start, depth, t, force)


def flow_row(
    start: np.ndarray, depth: int, t: np.ndarray, force: Gradient, options: argparse.Namespace
) -> Row:
    """One flow: CPU times, evaluations and largest errors of both."""
    d = start.shape[-1]
    space = DeepLinearNetwork((d,) * (depth + 1))

    def here(force: Gradient = force) -> np.ndarray:
        return gradient_flow(space, start, force, t, **TOLERANCES).points

    def script(force: Gradient = force) -> np.ndarray:
        return plain_flow(start, depth, t, force, **TOLERANCES)

    seconds = fastest(here, script, repeats=options.repeats)
    note = ""
    if options.errors:
        exact = plain_flow(start, depth, t, force, **PRECISE)
        note = ", ".join(errors(run, force, exact) for run in (here, script))
    return Row(*seconds, note)


def errors(run: Callable[[Gradient], np.ndarray], force: Gradient, exact: np.ndarray) -> str:
    """Evaluations of a run and its largest error."""
    calls = []

    def counted(W: np.ndarray) -> np.ndarray:
        calls.append(1)
        return force(W)

    error = np.max(np.abs(run(counted) - exact))
    return f"{len(calls)} calls {error:.1e}"


TABLES: dict[str, Callable[[], Iterator[Case]]] = {
    "langevin": langevin_rows,
    "pymanopt": pymanopt_rows,
    "flow": flow_rows,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--errors", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", default="", help="rows whose name has this text")
    options = parser.parse_args()
    for table in options.tables:
        print(f"{table:32} {'ratio':>6} {'here ms':>9} {'script ms':>9}")
        for case, measure in TABLES[table]():
            if options.only in case:
                print(f"{case:32} {measure(options)}", flush=True)


if __name__ == "__main__":
    main()
