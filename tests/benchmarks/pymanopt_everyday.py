"""Steps of an optimizer on small matrices, against pymanopt's manifold of fixed rank.

A row is the CPU time of what one step of first order asks of a manifold over that of
``FixedRankEmbedded`` from the same point: a retraction, and at the new point, of which nothing is
known yet, a transport, the gradient from derivatives in the factors, and an inner product.  The
parts are rows too.  On one BLAS thread; the best of several runs that take turns.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# pymanopt imports these where they are installed, at 300 MB that no row uses.
sys.modules.update(dict.fromkeys(("torch", "jax", "tensorflow")))

import numpy as np  # noqa: E402
from everyday import Row, fastest  # noqa: E402
from pymanopt.manifolds import FixedRankEmbedded  # noqa: E402

from dlngeom.pymanopt import EndToEnd  # noqa: E402

# Shape and rank, with the largest ratio that is wanted for each geometry.
SIZES = {(60, 40, 3): (1.3, 2.0, 3.0), (300, 200, 5): (1.0, 1.1, 1.5)}
GEOMETRIES = ((1, "projection"), (3, "projection"), (3, "second-order"))
CALLS = 50

Parts = dict[str, Callable[[], object]]


def factor_gradient(point: Any, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives in ``(u, s, vt)`` of half the squared distance to a matrix."""
    u, s, vt = point
    residual = (u * s) @ vt - target
    Gv = residual @ vt.T
    return Gv * s, np.sum(u * Gv, axis=0), (residual.T @ u * s).T


def step(manifold: Any, point: Any, direction: Any, target: np.ndarray) -> Parts:
    """One step and its parts."""
    Z = manifold.euclidean_to_riemannian_gradient(point, direction)
    Z = Z / (10 * manifold.norm(point, Z))
    moved = manifold.retraction(point, Z)
    g = factor_gradient(moved, target)

    def whole() -> float:
        new = manifold.retraction(point, Z)
        transported = manifold.transport(point, new, Z)
        gradient = manifold.euclidean_to_riemannian_gradient(new, g)
        return manifold.inner_product(new, gradient, transported)

    return {
        "step": whole,
        "gradient": lambda: manifold.euclidean_to_riemannian_gradient(moved, g),
        "retraction": lambda: manifold.retraction(point, Z),
        "transport": lambda: manifold.transport(point, moved, Z),
        "inner product": lambda: manifold.inner_product(moved, Z, Z),
    }


def pymanopt_rows() -> Iterator[tuple[str, Callable[[argparse.Namespace], Row]]]:
    """Steps and their parts, for each size and geometry."""
    for (m, n, rank), limits in SIZES.items():
        rng = np.random.default_rng(0)
        point = EndToEnd(m, n, rank, 1, rng=rng).random_point()
        target = rng.standard_normal((m, n))
        direction = factor_gradient(point, target)
        shipped = step(FixedRankEmbedded(m, n, rank), tuple(point), direction, target)
        for (depth, retraction), limit in zip(GEOMETRIES, limits, strict=True):
            manifold = EndToEnd(m, n, rank, depth, retraction=retraction)
            ours = step(manifold, point, direction, target)
            for part, here in ours.items():
                name = f"{m}x{n} r={rank} N={depth} {retraction}: {part}"
                note = f"wanted {limit:.1f}" if part == "step" else ""
                yield name, partial(row, here, shipped[part], note)


def row(
    here: Callable[[], object],
    script: Callable[[], object],
    note: str,
    options: argparse.Namespace,
) -> Row:
    """CPU time of one call here and there."""

    def repeated(call: Callable[[], object]) -> None:
        for _ in range(CALLS):
            call()

    calls = (partial(repeated, call) for call in (here, script))
    return Row(*(x / CALLS for x in fastest(*calls, repeats=options.repeats)), note)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", default="", help="rows whose name has this text")
    options = parser.parse_args()
    print(f"{'pymanopt':48} {'ratio':>6} {'here ms':>9} {'theirs ms':>9}")
    for name, measure in pymanopt_rows():
        if options.only in name:
            print(f"{name:48} {measure(options)}", flush=True)


if __name__ == "__main__":
    main()
