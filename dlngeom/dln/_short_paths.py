"""First guesses of geodesics of fixed rank in the Euclidean metric: polygons that are shortest.

The energy of a polygon falls by Newton's method in the tangent spaces of its corners, damped until
it does, so that it ends near a geodesic from wherever it begins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlngeom.dln._layer_guess import aligned_factors
from dlngeom.points import SVD

__all__ = ["short_factors"]

# Steps, relative fall of the energy that ends them, first damping, its changes, and its limit.
_STEPS, _FLAT, _DAMPING, _CHANGE, _STIFF = 40, 1e-5, 0.1, 4.0, 1e6
# Largest system of Newton's method.
_UNKNOWNS = 600
# Ends farther apart than this many smallest singular values need a shorter path.
_BENT = 0.5
# Power of the singular values to which the pace of a guess is proportional.
_PACE = 0.75


def short_factors(point: SVD, target: SVD, choice: int = 0) -> np.ndarray:
    """Factors ``(time, pair, m + n, r)`` of matrices on short paths, at even times.

    ``choice`` numbers the signs from which paths begin.  Beyond the first, polygons have twice as
    many corners.
    """
    path, (m, r), n = aligned_factors(point, target, choice), point.u.shape[-2:], point.vt.shape[-1]
    dim = (m + n - r) * r
    if choice > 0 and 2 * len(path) * dim <= _UNKNOWNS:
        path = _refined(path)
    if len(path) * dim > _UNKNOWNS:
        return path
    found = path.copy()
    for pair in np.flatnonzero(_is_bent(path, m)):
        corners = _shortened(path[:, pair, :m] @ path[:, pair, m:].mT, r)
        found[:, pair] = _even_factors(corners, path[[0, -1], pair])
    return found


def _is_bent(path: np.ndarray, m: int) -> np.ndarray:
    """Which pairs are far apart, next to the smallest singular value on the way."""
    matrices = path[..., :m, :] @ path[..., m:, :].mT
    squares = np.linalg.eigvalsh(path.mT @ path)[..., 0] / 2
    return np.asarray(_size(matrices[-1] - matrices[0]) > _BENT * np.min(squares, axis=0))


def _refined(path: np.ndarray) -> np.ndarray:
    """Corners with those in the middle between."""
    middles = (path[1:] + path[:-1]) / 2
    both = np.stack([path[:-1], middles], axis=1).reshape(-1, *path.shape[1:])
    return np.concatenate([both, path[-1:]])


def _shortened(path: np.ndarray, rank: int) -> np.ndarray:
    """Matrices ``(time, m, n)`` on a shorter polygon between the same ends."""
    pace = np.maximum(_size(np.diff(path, axis=0)), np.finfo(float).tiny)
    weights = np.sum(pace) / pace
    energy, damping, model = _energy(path, weights), _DAMPING, _model(path, weights, rank)
    for _ in range(_STEPS):
        step = model.step(damping)
        trial = path.copy()
        trial[1:-1] = _projected(path[1:-1] + model.across(step), rank)
        now = _energy(trial, weights)
        if not (now < energy and model.gradient @ step < 0):
            damping *= _CHANGE
            if damping > _STIFF:
                break
            continue
        fall, path, energy, damping = energy - now, trial, now, damping / _CHANGE
        if fall <= _FLAT * energy:
            break
        model = _model(path, weights, rank)
    return path


def _energy(path: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sum(np.sum(np.diff(path, axis=0) ** 2, axis=(-2, -1)) * weights) / 2)


def _projected(path: np.ndarray, rank: int) -> np.ndarray:
    """Nearest matrices of a rank."""
    u, s, vt = np.linalg.svd(path, full_matrices=False)
    return np.asarray((u[..., :rank] * s[..., None, :rank]) @ vt[..., :rank, :])


class _Model(NamedTuple):
    """Energy of a polygon to second order, in tangent directions of its corners.

    Attributes
    ----------
    gradient, hessian : array (unknown,), (unknown, unknown)
    u, vt : array (corner, m, m), (corner, n, n)
        Singular vectors of the corners.
    places : array of int
        Places of the tangent directions among the entries of a matrix in these frames.
    """

    gradient: np.ndarray
    hessian: np.ndarray
    u: np.ndarray
    vt: np.ndarray
    places: np.ndarray

    def step(self, damping: float) -> np.ndarray:
        """Step of Newton's method with an enlarged diagonal."""
        damped = self.hessian + damping * np.diag(np.diag(self.hessian))
        return np.linalg.solve(damped, -self.gradient)

    def across(self, step: np.ndarray) -> np.ndarray:
        """Tangent matrices ``(corner, m, n)`` of a step."""
        m, n = self.u.shape[-1], self.vt.shape[-1]
        entries = np.zeros((len(self.u), m * n))
        entries[:, self.places] = step.reshape(len(self.u), -1)
        return np.asarray(self.u @ entries.reshape(-1, m, n) @ self.vt)


def _model(path: np.ndarray, weights: np.ndarray, rank: int) -> _Model:
    count, m, n = path[1:-1].shape
    u, s, vt = np.linalg.svd(path[1:-1])
    tangent = np.ones((m, n), bool)
    tangent[rank:, rank:] = False
    places = np.flatnonzero(tangent)
    steps = np.diff(path, axis=0) * weights[:, None, None]
    force = u.mT @ (steps[:-1] - steps[1:]) @ vt.mT
    stiff = (weights[:-1] + weights[1:])[:, None, None] * np.eye(len(places))
    left, right = u[:-1].mT @ u[1:], vt[:-1] @ vt[1:].mT
    link = left[:, :, None, :, None] * right[:, None, :, None, :]
    link = link.reshape(count - 1, m * n, m * n)[:, places[:, None], places]
    hessian, here = np.zeros((count, len(places), count, len(places))), np.arange(count)
    hessian[here, :, here] = stiff + _bend(force, s[:, :rank])[:, places[:, None], places]
    hessian[here[:-1], :, here[1:]] = -weights[1:-1, None, None] * link
    hessian[here[1:], :, here[:-1]] = -weights[1:-1, None, None] * link.mT
    size = count * len(places)
    gradient = force.reshape(count, -1)[:, places].ravel()
    return _Model(gradient, hessian.reshape(size, size), u, vt, places)


def _bend(force: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Second derivatives of the energy for the curvature of the manifold, by entries in frames."""
    (count, m, n), r = force.shape, s.shape[-1]
    bend = np.zeros((count, m, n, m, n))
    i, k, j = np.ogrid[r:m, :r, r:n]
    value = force[:, r:, None, r:] / s[:, None, :, None]
    bend[:, i, k, k, j] = value
    bend[:, k, j, i, k] = value
    return bend.reshape(count, m * n, m * n)


def _even_factors(path: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Factors ``(time, m + n, r)`` along a polygon, at even times, slower towards lower rank."""
    rank = ends.shape[-1]
    u, s, vt = np.linalg.svd(path)
    u, s, v = u[..., :rank], s[..., :rank], vt[:, :rank].mT
    x = np.concatenate([u, v], axis=-2) * np.sqrt(s)[:, None]
    x[0], x[-1] = ends
    for i in range(1, len(x)):
        left, _, right = np.linalg.svd(x[i].T @ x[i - 1])
        x[i] = x[i] @ (left @ right)
    pace = np.sum(s**-2, axis=-1) ** (-_PACE / 2)
    times = np.cumsum(_size(np.diff(path, axis=0)) / (pace[1:] + pace[:-1]))
    times = np.concatenate([[0.0], times / times[-1]])
    even = np.linspace(0, 1, len(x))
    place = np.clip(np.searchsorted(times, even, side="right") - 1, 0, len(x) - 2)
    length = times[place + 1] - times[place]
    # A last part without length ends at the end.
    share = np.where(length > 0, (even - times[place]) / np.where(length > 0, length, 1.0), 1.0)
    share = share[:, None, None]
    return np.asarray((1 - share) * x[place] + share * x[place + 1])


def _size(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(x, axis=(-2, -1)))
