"""Boundary value problems for geodesics: unknowns, guesses and residuals of shooting.

The unknown is the initial velocity in an orthonormal basis, so its length is the distance; the
residual is the gap at the target, in an orthonormal basis there.  Points have one axis of pairs;
axes in front of it hold several tries for each pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dlngeom import network
from dlngeom._lib.arrays import Array, norm
from dlngeom.balanced import orthonormal_frame
from dlngeom.dln._chart import end_to_end_chart
from dlngeom.dln._factor_chart import factor_chart
from dlngeom.dln._geodesics import _LAYERS, end_to_end_geodesic, network_geodesic
from dlngeom.dln._layer_chart import layer_chart
from dlngeom.dln._layer_guess import CHOICES
from dlngeom.endtoend import _kernels
from dlngeom.points import SVD, Frames, Tangent, dense
from dlngeom.points._nearest import closest_frames
from dlngeom.submersion._equations import Chart, Geodesic, Shooting

__all__ = ["end_to_end_shooting", "network_shooting"]

# A layer that shrinks to this part of its size, times the depth, is lost to rounding: no shot comes
# within 1e-9 of the product.
_HIDDEN = 1e-6
# Guesses for deeper networks are those of a network with this many layers.
_FINITE_DEPTH = 8
# Beyond this depth the layers of a chart cost more than entries.
_CHARTED = 16


class _Basis(NamedTuple):
    """Orthonormal basis of the tangent space at a matrix of rank ``r``.

    Attributes
    ----------
    u, v : array (pair, m, r), (pair, n, r)
    across_u, across_v : array (pair, m, m - r), (pair, n, n - r)
        Orthonormal complements.
    core, column : array (pair, r, r), (pair, 1, r)
        Inverse lengths, in the metric, of directions with Frobenius norm one.
    """

    u: Array
    v: Array
    across_u: np.ndarray
    across_v: np.ndarray
    core: np.ndarray
    column: np.ndarray

    def vector(self, coefficients: np.ndarray) -> Tangent:
        """Tangent vectors of coefficients ``(..., pair, dim)``."""
        r, batch = self.u.shape[-1], coefficients.shape[:-1]
        rows = (self.across_u.shape[-1], r, self.across_v.shape[-1])
        ends = np.cumsum([size * r for size in rows])[:-1]
        blocks = np.split(coefficients, ends, axis=-1)
        up, M, vp = (x.reshape(*batch, size, r) for x, size in zip(blocks, rows, strict=True))
        return Tangent(
            self.across_u @ (up * self.column), M * self.core, self.across_v @ (vp * self.column)
        )

    def coefficients(self, D: Array) -> np.ndarray:
        """Coefficients ``(..., pair, dim)`` of the tangent part of dense matrices."""
        Dv, Dtu = D @ self.v, D.mT @ self.u
        up = self.across_u.mT @ Dv / self.column
        vp = self.across_v.mT @ Dtu / self.column
        blocks = (up, self.u.mT @ Dv / self.core, vp)
        return np.concatenate([_row(x, x.ndim - 2) for x in blocks], axis=-1)


def _basis(point: SVD, depth: float) -> _Basis:
    u, s, v = point.u, point.s, point.vt.mT
    r = s.shape[-1]
    across_u, across_v = (np.linalg.qr(x, mode="complete")[0][..., r:] for x in (u, v))
    at = _kernels.metric(s, depth)
    ones = _kernels.Metric(np.ones((s.shape[0], r, r)), np.ones((s.shape[0], 1, r)))
    core, column = ones if at is None else at
    return _Basis(u, v, across_u, across_v, np.sqrt(core), np.sqrt(column))


def end_to_end_shooting(point: SVD, other: SVD, depth: float) -> Shooting:
    """Boundary value problem between end-to-end matrices, within the spans of both.

    A geodesic stays in the spans of its initial frames and of their velocity, so the problem has
    at most ``2 r`` rows and columns however large the matrices are.
    """
    left, right = _joint_frame(point.u, other.u), _joint_frame(point.vt.mT, other.vt.mT)
    small, target = (SVD(left.mT @ x.u, x.s, x.vt @ right) for x in (point, other))
    here, there, goal = _basis(small, depth), _basis(target, depth), dense(target)

    def geodesic(coefficients: np.ndarray) -> Geodesic:
        start = SVD(*(_spread(x, coefficients) for x in small))
        return end_to_end_geodesic(start, here.vector(coefficients), depth)

    def residual(reached: SVD) -> np.ndarray:
        return there.coefficients(dense(reached) - goal)

    def miss(reached: SVD) -> np.ndarray:
        return np.asarray(norm(dense(reached) - goal) / norm(goal))

    def vector(coefficients: np.ndarray) -> Tangent:
        Up, M, Vp = here.vector(coefficients)
        return Tangent(left @ Up, M, right @ Vp)

    apart = _separated((point.vt.mT, point.u), (other.vt.mT, other.u))
    guesses = (
        lambda: here.coefficients(_aligned(small, target, depth)),
        lambda: here.coefficients(goal - dense(small)),
    )
    hidden = _hidden(point.s ** (1 / depth), target.s ** (1 / depth), depth)
    charts = _charts(small, target, depth, here.coefficients)
    return Shooting(guesses, apart, geodesic, residual, miss, vector, hidden, charts)


def _charts(
    point: SVD, target: SVD, depth: float, coefficients: Callable[[np.ndarray], np.ndarray]
) -> tuple[Callable[[], Chart], ...]:
    """Charts of layers, but of entries for invertible matrices, which bend less, and deep ones."""
    if depth > _CHARTED or point.u.shape[-2] == point.vt.shape[-1] == point.s.shape[-1]:
        return (lambda: end_to_end_chart(point, target, depth, coefficients),)
    if depth == 1:
        return tuple(partial(factor_chart, point, target, coefficients, i) for i in range(CHOICES))
    return tuple(
        partial(layer_chart, point, target, int(depth), coefficients, i) for i in range(CHOICES)
    )


def _spread(x: Array, coefficients: np.ndarray) -> np.ndarray:
    """Repeat arrays of points for several tries."""
    return np.broadcast_to(x, (*coefficients.shape[:-2], *x.shape))


def _separated(q: tuple[Array, ...], others: tuple[Array, ...]) -> np.ndarray:
    """Whether a product of layers between square frames has determinants of opposite sign."""
    pairs = [(a, b) for a, b in zip(q, others, strict=True) if a.shape[-1] == a.shape[-2]]
    signs = [np.linalg.det(a.mT @ b) > 0 for a, b in pairs]
    return (
        np.any([x != signs[0] for x in signs], axis=0) if pairs else np.zeros(q[0].shape[0], bool)
    )


def _hidden(lam: Array, other: Array, depth: float) -> np.ndarray:
    """Whether the layers of the target are lost in the rounding errors of those of the point."""
    # One layer goes on a straight line, and the limit scales all singular values alike.
    if not 1 < depth <= _LAYERS:
        return np.zeros(lam.shape[:-1], dtype=bool)
    return np.asarray(other[..., 0] < _HIDDEN * depth * lam[..., 0])


def _joint_frame(first: Array, second: Array) -> np.ndarray:
    """Orthonormal columns that span two frames."""
    return np.linalg.qr(np.concatenate([first, second], axis=-1))[0]


def _aligned(point: SVD, target: SVD, depth: float) -> Array:
    """Image downstairs of the difference to the nearest network over the target."""
    layers = int(min(depth, _FINITE_DEPTH))
    pairs, r = point.s.shape
    q = (point.vt.mT, *[np.broadcast_to(np.eye(r), (pairs, r, r))] * (layers - 1), point.u)
    factors = _layers(Frames(point.s ** (1 / layers), q))
    lam = target.s ** (1 / layers)
    nearest = closest_frames(factors, lam / lam[..., :1], (target.vt.mT, target.u))
    others = _layers(Frames(lam, nearest))
    change = tuple(b - a for a, b in zip(factors, others, strict=True))
    return network.differential(factors, change)


def network_shooting(point: Frames, other: Frames) -> Shooting:
    """Boundary value problem between balanced networks."""
    here, there = (_flat(orthonormal_frame(x)) for x in (point, other))
    goal = _flat(_layers(other))
    widths = [q.shape[-2] for q in point.q]

    def vector(coefficients: np.ndarray) -> tuple[np.ndarray, ...]:
        flat = (coefficients[..., None, :] @ here)[..., 0, :]
        shapes = [(high, low) for low, high in pairwise(widths)]
        parts = np.split(flat, np.cumsum([a * b for a, b in shapes])[:-1], axis=-1)
        return tuple(
            x.reshape(*x.shape[:-1], *shape) for x, shape in zip(parts, shapes, strict=True)
        )

    def geodesic(coefficients: np.ndarray) -> Geodesic:
        lam, *q = (_spread(x, coefficients) for x in (point.lam, *point.q))
        return network_geodesic(Frames(lam, tuple(q)), vector(coefficients))

    def gap(reached: Frames) -> np.ndarray:
        return np.asarray(_flat(_layers(reached)) - goal)

    def miss(reached: Frames) -> np.ndarray:
        return np.asarray(np.linalg.norm(gap(reached), axis=-1) / np.linalg.norm(goal, axis=-1))

    def residual(reached: Frames) -> np.ndarray:
        return _times(there, gap(reached))

    def guess() -> np.ndarray:
        return _times(here, goal - _flat(_layers(point)))

    apart, hidden = _separated(point.q, other.q), _hidden(point.lam, other.lam, len(point.q) - 1)
    return Shooting((guess,), apart, geodesic, residual, miss, vector, hidden)


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Matrix-vector products, pair by pair."""
    product: np.ndarray = (matrices @ vectors[..., None])[..., 0]
    return product


def _layers(point: Frames) -> tuple[Array, ...]:
    column = point.lam[..., None, :]
    return tuple((high * column) @ low.mT for low, high in pairwise(point.q))


def _flat(layers: Any) -> np.ndarray:
    """Entries of all layers in one last axis."""
    return np.concatenate([_row(x, x.ndim - 2) for x in layers], axis=-1)


def _row(x: Array, batch: int) -> np.ndarray:
    """Join the axes behind the first ones, of empty batches too."""
    return np.reshape(x, (*x.shape[:batch], math.prod(x.shape[batch:])))
