"""Steps of an optimizer on small matrices, against pymanopt's manifold of fixed rank.

A row is the CPU time of what one step of first order asks of a manifold over that of
``FixedRankEmbedded`` from the same point: a retraction, and at the new point, of which nothing is
known yet, a transport, the gradient from derivatives in the factors, and an inner product.  The
parts are rows too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from _rows import Case, Row, fastest
from pymanopt.manifolds import FixedRankEmbedded

from dlngeom.pymanopt import EndToEnd

__all__ = ["pymanopt_rows"]

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


def pymanopt_rows() -> Iterator[Case]:
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
                name = f"{part} {m}x{n} r={rank} N={depth} {retraction}"
                note = f"wanted {limit:.1f}" if part == "step" else ""
                yield name, partial(_row, here, shipped[part], note)


def _row(
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
    return Row(*(x / CALLS for x in fastest(*calls, repeats=5 * options.repeats)), note)
