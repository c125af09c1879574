r"""Charts of end-to-end matrices by the outer layers of their smallest balanced networks.

The last layer ``L`` and the transposed first layer ``R`` of a horizontal geodesic move by

.. math:: \ddot L = L S_{N-1}, \qquad \ddot R = -R S_1, \qquad
          (\lambda_k^2 + \lambda_l^2) S_p - \lambda_k \lambda_l (S_{p-1} + S_{p+1})
          = V_p V_p^T - V_{p+1}^T V_{p+1}

with the multipliers ``S_p`` of the constraints in frames (``S_0 = S_N = 0``).  In these coordinates
the metric stays near the Euclidean one, however close to lower rank a geodesic comes.  Both are
turned so that ``L^T L = R^T R``, which leaves one common rotation: it is fixed by the layers midway
between the ends, to which all others are nearest.  Between them, all inner layers are then the
symmetric root of ``L^T L``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dlngeom.dln._layer_guess import aligned_layers
from dlngeom.dln._layer_motion import (
    PACE,
    Grid,
    Motion,
    inner_velocities,
    layer_lag,
    motion_at,
    multipliers_of,
)
from dlngeom.dln._layer_slopes import layer_slopes
from dlngeom.points import SVD
from dlngeom.submersion._equations import Chart

__all__ = ["layer_chart"]

# Smallest ratio of singular values of a layer that leaves enough digits of its square.
_SPREAD = 1e-4
# Layers, relative to their size, between equal points: rounding errors of their alignment.
_EQUAL = 1e-14
# Places of the vector of an antisymmetric 3 x 3 matrix, and of its opposite.
_AXIS, _OPPOSITE = [7, 2, 3], [5, 6, 1]


def layer_chart(
    point: SVD,
    target: SVD,
    depth: int,
    coefficients: Callable[[np.ndarray], np.ndarray],
    choice: int = 0,
) -> Chart:
    """Chart of the matrices between ends, given coefficients of dense tangent vectors.

    ``choice`` numbers the guesses, the shortest first.
    """
    (m, r), n = point.u.shape[-2:], point.vt.shape[-1]
    path = aligned_layers(point, target, depth, choice)
    first, middle, last = path[0], path[len(path) // 2], path[-1]
    size, gap = (np.max(np.abs(x), axis=(-2, -1)) for x in (first, last - first))
    last = np.where((gap <= _EQUAL * size)[:, None, None], first, last)

    def layers(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-1], m + n, r)

    def acceleration(x: np.ndarray, v: np.ndarray, pair: np.ndarray) -> np.ndarray:
        motion = motion_at(layers(x), layers(v), m, depth)
        return _second_derivative(motion, middle[pair][:, None], depth).reshape(x.shape)

    def slopes(x: np.ndarray, v: np.ndarray, pair: np.ndarray) -> np.ndarray:
        found = layer_slopes(layers(x), layers(v), middle[pair][:, None], m, depth)
        return found.reshape(*x.shape, 2 * count)

    def speed(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return _speed(motion_at(layers(x), layers(v), m, depth))

    def span(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        motion = motion_at(layers(x), layers(v), m, depth)
        return np.asarray(math.sqrt(depth) * motion.lam[..., 0] / _speed(motion))

    # Spelt out, since of no pairs a size cannot be told.
    count = (m + n) * r
    ends = tuple(x.reshape(len(x), count) for x in (first, last))
    return Chart(
        (ends[0], ends[1]),
        _regular(point, depth) & _regular(target, depth),
        np.moveaxis(path, 0, 1).reshape(len(first), len(path), count),
        acceleration,
        lambda v: coefficients(_velocity(motion_at(first, layers(v), m, depth), depth)),
        span,
        speed,
        slopes,
    )


def _regular(point: SVD, depth: int) -> np.ndarray:
    return np.asarray((point.s[..., -1] / point.s[..., 0]) ** (1 / depth) > _SPREAD)


def _speed(motion: Motion) -> np.ndarray:
    """Length of the velocity in the metric."""
    squares = _sum(motion.core * motion.covector)
    m = motion.horizontal[0].shape[-2]
    ends = (motion.layers[..., :m, :], motion.layers[..., m:, :])
    for h, x in zip(motion.horizontal, ends, strict=True):
        inside = x.mT @ h / motion.lam[..., None]
        squares = squares + _sum(h * h) - _sum(inside * inside)
    return np.asarray(np.sqrt(np.maximum(squares, np.finfo(float).tiny)))


def _sum(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(x, axis=(-2, -1)))


def _velocity(motion: Motion, depth: int) -> np.ndarray:
    """Velocity of the end-to-end matrix."""
    lam, m = motion.lam[..., None, :], motion.horizontal[0].shape[-2]
    u, v = motion.layers[..., :m, :] / lam, motion.layers[..., m:, :] / lam
    up, vp = ((h - x @ (x.mT @ h)) * lam ** (depth - 1)
              for x, h in zip((u, v), motion.horizontal, strict=True))  # fmt: skip
    dense: np.ndarray = (u @ motion.core + up) @ v.mT + u @ vp.mT
    return dense


def _second_derivative(motion: Motion, middle: np.ndarray, depth: int) -> np.ndarray:
    """Second derivative of a geodesic whose speed falls towards lower rank."""
    lam, x, (h_left, h_right) = motion.lam, motion.layers, motion.horizontal
    grid, m = (lam[..., :, None], lam[..., None, :]), h_left.shape[-2]
    inner = inner_velocities(motion, grid, depth)
    multipliers = multipliers_of(motion, inner, grid, depth)
    turn = multipliers[depth - 1] + motion.spins[0] @ motion.spins[0]
    lag = _lag(motion, inner, multipliers, grid)
    turn = turn if lag is None else turn + lag
    left = x[..., :m, :] @ turn + 2 * h_left @ motion.spins[0]
    turn = motion.spins[1] @ motion.spins[1] - multipliers[1]
    right = x[..., m:, :] @ turn + 2 * h_right @ motion.spins[1]
    second = np.concatenate([left, right], axis=-2)
    second += x @ _common_spin((middle @ motion.turn).mT, x, second)
    fall = np.sum(np.diagonal(motion.rate, axis1=-2, axis2=-1) / lam**4, axis=-1)
    fall *= PACE / 2 / np.sum(lam**-2, axis=-1)
    second += fall[..., None, None] * motion.velocity
    return np.asarray(second @ motion.turn.mT)


def _lag(
    motion: Motion, inner: list[np.ndarray], multipliers: list[np.ndarray], grid: Grid
) -> np.ndarray | None:
    """Return how the spin of ``L`` gains on that of ``R``, if inner layers stay symmetric."""
    right, total = motion.spins[1], grid[0] + grid[1]
    lag, spin = None, right
    for p, h in enumerate(inner):
        later = spin + (h - h.mT) / total
        link = layer_lag(multipliers[p + 1 : p + 3], (spin, later), h, grid)
        lag, spin = link if lag is None else lag + link, later
    return lag


def _common_spin(middle: np.ndarray, x: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the derivative of the common spin that keeps layers nearest to those in the middle."""
    gap, gram = middle @ second, middle @ x
    gap, r = gap.mT - gap, gap.shape[-1]
    if r == 2:
        return np.asarray(gap / np.trace(gram, axis1=-2, axis2=-1)[..., None, None])
    if r == 3:
        # Spins of three columns are vectors, on which a symmetric matrix acts as its trace less it.
        trace = np.trace(gram, axis1=-2, axis2=-1)[..., None, None]
        axis = gap.reshape(*gap.shape[:-2], 9)[..., _AXIS, None]
        axis = np.linalg.solve(trace * np.eye(3) - (gram + gram.mT) / 2, axis)[..., 0]
        spin = np.zeros((*axis.shape[:-1], 9))
        spin[..., _AXIS], spin[..., _OPPOSITE] = axis, -axis
        return spin.reshape(gap.shape)
    s, q = np.linalg.eigh((gram + gram.mT) / 2)
    return np.asarray(q @ ((q.mT @ gap @ q) / (s[..., :, None] + s[..., None, :])) @ q.mT)
