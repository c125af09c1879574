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
from typing import NamedTuple

import numpy as np

from dlngeom.dln._layer_guess import aligned_layers
from dlngeom.points import SVD
from dlngeom.submersion._equations import Chart

__all__ = ["layer_chart"]

# Singular values of layers in a column and in a row.
_Grid = tuple[np.ndarray, np.ndarray]

# Smallest ratio of singular values of a layer that leaves enough digits of its square.
_SPREAD = 1e-4
# Speeds are proportional to this power of the singular values of layers near lower rank.
_PACE = 0.5
# Layers, relative to their size, between equal points: rounding errors of their alignment.
_EQUAL = 1e-14


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
        motion = _motion(layers(x), layers(v), m, depth)
        return _second_derivative(motion, middle[pair][:, None], depth).reshape(x.shape)

    def speed(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return _speed(_motion(layers(x), layers(v), m, depth))

    def span(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        motion = _motion(layers(x), layers(v), m, depth)
        return np.asarray(math.sqrt(depth) * motion.lam[..., 0] / _speed(motion))

    # Spelt out, since of no pairs a size cannot be told.
    count = (m + n) * r
    ends = tuple(x.reshape(len(x), count) for x in (first, last))
    return Chart(
        (ends[0], ends[1]),
        _regular(point, depth) & _regular(target, depth),
        np.moveaxis(path, 0, 1).reshape(len(first), len(path), count),
        acceleration,
        lambda v: coefficients(_velocity(_motion(first, layers(v), m, depth), depth)),
        span,
        speed,
    )


def _regular(point: SVD, depth: int) -> np.ndarray:
    return np.asarray((point.s[..., -1] / point.s[..., 0]) ** (1 / depth) > _SPREAD)


class _Motion(NamedTuple):
    """Outer layers and their horizontal velocities, in frames.

    Attributes
    ----------
    lam : array (..., r)
        Singular values, ascending.
    turn : array (..., r, r)
        From the columns of the layers to frames.
    layers, velocity : array (..., m + n, r)
        Outer layers and their velocities.
    rate : array (..., r, r)
        Derivative of ``L^T L``.
    core, covector : array (..., r, r)
        Velocity of the product in frames, and the same divided by the weights.
    spins : tuple of two arrays (..., r, r)
        Antisymmetric: velocities are ``h_L + L spins[0]`` and ``h_R + R spins[1]``.
    horizontal : tuple of two arrays
        Horizontal velocities ``h_L`` and ``h_R``.
    """

    lam: np.ndarray
    turn: np.ndarray
    layers: np.ndarray
    velocity: np.ndarray
    rate: np.ndarray
    core: np.ndarray
    covector: np.ndarray
    spins: tuple[np.ndarray, np.ndarray]
    horizontal: tuple[np.ndarray, np.ndarray]


def _motion(x: np.ndarray, v: np.ndarray, m: int, depth: int) -> _Motion:
    squares, turn = np.linalg.eigh(x.mT @ x / 2)
    lam = np.sqrt(np.maximum(squares, np.finfo(float).tiny))
    row, column, x, v = lam[..., :, None], lam[..., None, :], x @ turn, v @ turn
    L, R, dL, dR = x[..., :m, :], x[..., m:, :], v[..., :m, :], v[..., m:, :]
    along_left, along_right = L.mT @ dL, R.mT @ dR
    rate = along_left + along_right
    rate = (rate + rate.mT) / 2
    powers = column ** (depth - 1)
    core = along_left * (powers / row) + _inner_rate(row, column, depth) * rate
    core = core + (along_right * (powers / row)).mT
    covector = core / _homogeneous(row * row, column * column, depth - 1)[-1]
    h_left, h_right = covector * powers, covector.mT * powers
    scale = row * row + column * column
    spins = (_spin(along_left - row * h_left, scale), _spin(along_right - row * h_right, scale))
    horizontal = (dL - L @ spins[0], dR - R @ spins[1])
    return _Motion(lam, turn, x, v, rate, core, covector, spins, horizontal)


def _spin(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    spin: np.ndarray = (x - x.mT) / scale
    return spin


def _inner_rate(row: np.ndarray, column: np.ndarray, depth: int) -> np.ndarray | float:
    """Return the rate of the product of inner layers over that of ``L^T L``, in frames."""
    if depth == 2:
        return 0.0
    power = row * column * _homogeneous(row, column, depth - 3)[-1]
    return np.asarray(power / (row + column))


def _homogeneous(row: np.ndarray, column: np.ndarray, degree: int) -> list[np.ndarray]:
    """Complete homogeneous polynomials of pairs, up to a degree."""
    power = np.ones_like(row + column)
    found = [power]
    for _ in range(degree):
        power = power * row
        found.append(found[-1] * column + power)
    return found


def _speed(motion: _Motion) -> np.ndarray:
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


def _velocity(motion: _Motion, depth: int) -> np.ndarray:
    """Velocity of the end-to-end matrix."""
    lam, m = motion.lam[..., None, :], motion.horizontal[0].shape[-2]
    u, v = motion.layers[..., :m, :] / lam, motion.layers[..., m:, :] / lam
    up, vp = ((h - x @ (x.mT @ h)) * lam ** (depth - 1)
              for x, h in zip((u, v), motion.horizontal, strict=True))  # fmt: skip
    dense: np.ndarray = (u @ motion.core + up) @ v.mT + u @ vp.mT
    return dense


def _second_derivative(motion: _Motion, middle: np.ndarray, depth: int) -> np.ndarray:
    """Second derivative of a geodesic whose speed falls towards lower rank."""
    lam, x, (h_left, h_right) = motion.lam, motion.layers, motion.horizontal
    grid, m = (lam[..., :, None], lam[..., None, :]), h_left.shape[-2]
    inner = _inner_velocities(motion, grid, depth)
    multipliers = _multipliers(motion, inner, grid, depth)
    turn = multipliers[depth - 1] + motion.spins[0] @ motion.spins[0]
    lag = _lag(motion, inner, multipliers, grid)
    turn = turn if lag is None else turn + lag
    left = x[..., :m, :] @ turn + 2 * h_left @ motion.spins[0]
    turn = motion.spins[1] @ motion.spins[1] - multipliers[1]
    right = x[..., m:, :] @ turn + 2 * h_right @ motion.spins[1]
    second = np.concatenate([left, right], axis=-2)
    second += x @ _common_spin((middle @ motion.turn).mT, x, second)
    fall = np.sum(np.diagonal(motion.rate, axis1=-2, axis2=-1) / lam**4, axis=-1)
    fall *= _PACE / 2 / np.sum(lam**-2, axis=-1)
    second += fall[..., None, None] * motion.velocity
    return np.asarray(second @ motion.turn.mT)


def _inner_velocities(motion: _Motion, grid: _Grid, depth: int) -> list[np.ndarray]:
    """Horizontal velocities of the inner layers, from the second one."""
    row, column = grid
    return [row ** (depth - p) * motion.covector * column ** (p - 1) for p in range(2, depth)]


def _multipliers(
    motion: _Motion, inner: list[np.ndarray], grid: _Grid, depth: int
) -> list[np.ndarray]:
    """Multipliers ``S_0`` to ``S_N``."""
    (row, column), (left, right) = grid, (h.mT @ h for h in motion.horizontal)
    product = row * column
    inside = [(h @ h.mT, h.mT @ h) for h in inner]
    outer = [right, *(x for x, _ in inside)], [*(y for _, y in inside), left]
    weights = _homogeneous(row * row, column * column, depth - 1)
    # Elimination from the first layer on: pivots are ratios of complete polynomials.
    zero, sums = np.zeros_like(left), [np.zeros_like(left)]
    for p, (x, y) in enumerate(zip(*outer, strict=True)):
        sums.append((x - y + product * sums[-1]) * (weights[p] / weights[p + 1]))
    found = [zero]
    for p in range(depth - 1, 0, -1):
        found.append(sums[p] + product * weights[p - 1] / weights[p] * found[-1])
    return [zero, *found[:0:-1], zero]


def _lag(
    motion: _Motion, inner: list[np.ndarray], multipliers: list[np.ndarray], grid: _Grid
) -> np.ndarray | None:
    """Return how the spin of ``L`` gains on that of ``R``, if inner layers stay symmetric."""
    right, total = motion.spins[1], grid[0] + grid[1]
    lag, spin = None, right
    for p, h in enumerate(inner):
        later = spin + (h - h.mT) / total
        link = _link(multipliers[p + 1 : p + 3], (spin, later), h, grid)
        lag, spin = link if lag is None else lag + link, later
    return lag


def _link(
    multipliers: list[np.ndarray],
    spins: tuple[np.ndarray, np.ndarray],
    h: np.ndarray,
    grid: _Grid,
) -> np.ndarray:
    """Change between derivatives of spins on both sides of a layer that stays symmetric."""
    (row, column), (before, after) = grid, spins
    X = row * multipliers[0] - multipliers[1] * column
    X = X + (2 * h + row * before) @ before + after @ (after * column - 2 * h)
    X = X - 2 * (after * column) @ before
    link: np.ndarray = (X - X.mT) / (row + column)
    return link


def _common_spin(middle: np.ndarray, x: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the derivative of the common spin that keeps layers nearest to those in the middle."""
    gap, gram = middle @ second, middle @ x
    gap, r = gap.mT - gap, gap.shape[-1]
    if r == 2:
        return np.asarray(gap / np.trace(gram, axis1=-2, axis2=-1)[..., None, None])
    s, q = np.linalg.eigh((gram + gram.mT) / 2)
    return np.asarray(q @ ((q.mT @ gap @ q) / (s[..., :, None] + s[..., None, :])) @ q.mT)
