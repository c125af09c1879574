"""Boundary value problems for geodesics: unknowns, guesses and residuals of shooting.

The unknown is the initial velocity in an orthonormal basis, so its length is the distance, and
the residual is what is missing at the target, in an orthonormal basis there.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dlngeom import factored, network
from dlngeom.balanced import orthonormal_frame
from dlngeom.equations import Geodesic, Shooting
from dlngeom.geodesic_equations import end_to_end_geodesic, network_geodesic
from dlngeom.nearest import closest_frames
from dlngeom.tuples import SVD, Frames, Tangent, dense

__all__ = ["end_to_end_shooting", "network_shooting"]

# Guesses at infinite depth are those of a network of so many layers.
_FINITE_DEPTH = 8


class _Basis(NamedTuple):
    """Orthonormal basis of the tangent space at a matrix of rank ``r``.

    Attributes
    ----------
    u, v : array (m, r), (n, r)
    across_u, across_v : array (m, m - r), (n, n - r)
        Orthonormal complements.
    core, column : array (r, r), (1, r)
        Lengths, by the metric, of what has length one by Frobenius, inverted.
    """

    u: np.ndarray
    v: np.ndarray
    across_u: np.ndarray
    across_v: np.ndarray
    core: np.ndarray
    column: np.ndarray

    def vector(self, coefficients: np.ndarray) -> Tangent:
        """Tangent vectors of coefficients ``(..., dim)``."""
        r, batch = self.u.shape[-1], coefficients.shape[:-1]
        rows = (self.across_u.shape[-1], r, self.across_v.shape[-1])
        ends = np.cumsum([size * r for size in rows])[:-1]
        blocks = np.split(coefficients, ends, axis=-1)
        up, M, vp = (x.reshape(*batch, size, r) for x, size in zip(blocks, rows, strict=True))
        return Tangent(
            self.across_u @ (up * self.column), M * self.core, self.across_v @ (vp * self.column)
        )

    def coefficients(self, D: np.ndarray) -> np.ndarray:
        """Coefficients ``(..., dim)`` of the tangent part of dense matrices."""
        Dv, Dtu = D @ self.v, np.swapaxes(D, -1, -2) @ self.u
        up = self.across_u.T @ Dv / self.column
        vp = self.across_v.T @ Dtu / self.column
        blocks = (up, self.u.T @ Dv / self.core, vp)
        return np.concatenate([x.reshape(*D.shape[:-2], -1) for x in blocks], axis=-1)


def _basis(point: SVD, depth: float) -> _Basis:
    u, s, v = point.u, point.s, point.vt.T
    across_u, across_v = (np.linalg.qr(x, mode="complete")[0][:, len(s) :] for x in (u, v))
    at = factored.metric(s, depth)
    ones = factored.Metric(np.ones((len(s), len(s))), np.ones((1, len(s))))
    core, column = ones if at is None else at
    return _Basis(u, v, across_u, across_v, np.sqrt(core), np.sqrt(column))


def end_to_end_shooting(point: SVD, other: SVD, depth: float) -> Shooting:
    """Shoot from one matrix to another, within the spans of both.

    A geodesic stays in the spans of its initial frames and of their velocity, so the problem has
    at most ``2 r`` rows and columns however large the matrices are.
    """
    left, right = _joint_frame(point.u, other.u), _joint_frame(point.vt.T, other.vt.T)
    small, target = (SVD(left.T @ x.u, x.s, x.vt @ right) for x in (point, other))
    here, there, goal = _basis(small, depth), _basis(target, depth), dense(target)

    def geodesic(coefficients: np.ndarray) -> Geodesic:
        batch = coefficients.shape[:-1]
        start = SVD(*(np.broadcast_to(x, (*batch, *x.shape)) for x in small))
        return end_to_end_geodesic(start, here.vector(coefficients), depth)

    def residual(reached: SVD) -> np.ndarray:
        return there.coefficients(dense(reached) - goal)

    def miss(reached: SVD) -> float:
        return float(np.linalg.norm(dense(reached) - goal) / np.linalg.norm(goal))

    def vector(coefficients: np.ndarray) -> Tangent:
        Up, M, Vp = here.vector(coefficients)
        return Tangent(left @ Up, M, right @ Vp)

    if _separated((point.vt.T, point.u), (other.vt.T, other.u)):
        return Shooting([], geodesic, residual, miss, vector)
    guesses = [here.coefficients(D) for D in (_aligned(small, target, depth), goal - dense(small))]
    return Shooting(guesses, geodesic, residual, miss, vector)


def _separated(q: tuple[np.ndarray, ...], others: tuple[np.ndarray, ...]) -> bool:
    """Whether determinants differ in sign, of the product of layers between two full frames."""
    pairs = [(a, b) for a, b in zip(q, others, strict=True) if a.shape[0] == a.shape[1]]
    return len({np.linalg.det(a.T @ b) > 0 for a, b in pairs}) > 1


def _joint_frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span two frames."""
    return np.linalg.qr(np.concatenate([first, second], axis=-1))[0]


def _aligned(point: SVD, target: SVD, depth: float) -> np.ndarray:
    """Shadow of the difference to the nearest network over the target."""
    layers = int(min(depth, _FINITE_DEPTH))
    r = len(point.s)
    q = (point.vt.T, *[np.eye(r)] * (layers - 1), point.u)
    lam = point.s ** (1 / layers)
    factors = tuple((high * lam) @ low.T for low, high in pairwise(q))
    lam = target.s ** (1 / layers)
    nearest = closest_frames(factors, lam / lam[0], (target.vt.T, target.u))
    others = ((high * lam) @ low.T for low, high in pairwise(nearest))
    change = tuple(b - a for a, b in zip(factors, others, strict=True))
    shadow: np.ndarray = network.differential(factors, change)
    return shadow


def network_shooting(point: Frames, other: Frames) -> Shooting:
    """Shoot from one balanced network to another."""
    here, there = (_flat(orthonormal_frame(x), 3) for x in (point, other))
    goal = _flat(_layers(other), 2)
    widths = [len(q) for q in point.q]

    def vector(coefficients: np.ndarray) -> tuple[np.ndarray, ...]:
        flat = coefficients @ here
        shapes = [(high, low) for low, high in pairwise(widths)]
        parts = np.split(flat, np.cumsum([a * b for a, b in shapes])[:-1], axis=-1)
        return tuple(
            x.reshape(*x.shape[:-1], *shape) for x, shape in zip(parts, shapes, strict=True)
        )

    def geodesic(coefficients: np.ndarray) -> Geodesic:
        batch = coefficients.shape[:-1]
        lam, *q = (np.broadcast_to(x, (*batch, *x.shape)) for x in (point.lam, *point.q))
        return network_geodesic(Frames(lam, tuple(q)), vector(coefficients))

    def gap(reached: Frames) -> np.ndarray:
        missing: np.ndarray = _flat(_layers(reached), 2) - goal
        return missing

    def miss(reached: Frames) -> float:
        return float(np.linalg.norm(gap(reached)) / np.linalg.norm(goal))

    guess = here @ (goal - _flat(_layers(point), 2))
    guesses = [] if _separated(point.q, other.q) else [guess]
    return Shooting(guesses, geodesic, lambda reached: gap(reached) @ there.T, miss, vector)


def _layers(point: Frames) -> tuple[np.ndarray, ...]:
    column = point.lam[..., None, :]
    return tuple((high * column) @ np.swapaxes(low, -1, -2) for low, high in pairwise(point.q))


def _flat(layers: Any, axes: int) -> np.ndarray:
    """Entries of all layers in one last axis."""
    keep = axes - 2
    batch = layers[0].ndim - axes
    return np.concatenate([x.reshape(*x.shape[: batch + keep], -1) for x in layers], axis=-1)
