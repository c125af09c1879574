"""Horizontal motion of the outer layers of balanced networks: velocities and multipliers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = [
    "PACE",
    "Grid",
    "Motion",
    "eliminated",
    "homogeneous",
    "inner_velocities",
    "layer_lag",
    "motion_at",
    "multipliers_of",
]

# Singular values of layers in a column and in a row.
Grid = tuple[np.ndarray, np.ndarray]

# Speeds are proportional to this power of the singular values of layers near lower rank.
PACE = 0.5


class Motion(NamedTuple):
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


def motion_at(x: np.ndarray, v: np.ndarray, m: int, depth: int) -> Motion:
    """Motion of layers and velocities, whose first ``m`` rows are those of the last layer."""
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
    covector = core / homogeneous(row * row, column * column, depth - 1)[-1]
    h_left, h_right = covector * powers, covector.mT * powers
    scale = row * row + column * column
    spins = (_spin(along_left - row * h_left, scale), _spin(along_right - row * h_right, scale))
    horizontal = (dL - L @ spins[0], dR - R @ spins[1])
    return Motion(lam, turn, x, v, rate, core, covector, spins, horizontal)


def _spin(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    spin: np.ndarray = (x - x.mT) / scale
    return spin


def _inner_rate(row: np.ndarray, column: np.ndarray, depth: int) -> np.ndarray | float:
    """Return the rate of the product of inner layers over that of ``L^T L``, in frames."""
    if depth == 2:
        return 0.0
    power = row * column * homogeneous(row, column, depth - 3)[-1]
    return np.asarray(power / (row + column))


def homogeneous(row: np.ndarray, column: np.ndarray, degree: int) -> list[np.ndarray]:
    """Complete homogeneous polynomials of pairs, up to a degree."""
    power = np.ones_like(row + column)
    found = [power]
    for _ in range(degree):
        power = power * row
        found.append(found[-1] * column + power)
    return found


def inner_velocities(motion: Motion, grid: Grid, depth: int) -> list[np.ndarray]:
    """Horizontal velocities of the inner layers, from the second one."""
    row, column = grid
    return [row ** (depth - p) * motion.covector * column ** (p - 1) for p in range(2, depth)]


def multipliers_of(
    motion: Motion, inner: list[np.ndarray], grid: Grid, depth: int
) -> list[np.ndarray]:
    """Multipliers ``S_0`` to ``S_N``."""
    left, right = (h.mT @ h for h in motion.horizontal)
    inside = [(h @ h.mT, h.mT @ h) for h in inner]
    outer = [right, *(x for x, _ in inside)], [*(y for _, y in inside), left]
    rights = [x - y for x, y in zip(*outer, strict=True)]
    return eliminated(rights, grid, depth)


def eliminated(rights: list[np.ndarray], grid: Grid, depth: int) -> list[np.ndarray]:
    """Solve the system of the multipliers ``S_1`` to ``S_{N-1}``; zeros are put around them."""
    row, column = grid
    product, weights = row * column, homogeneous(row * row, column * column, depth - 1)
    zero = np.zeros_like(rights[0])
    sums = [zero]
    # Elimination from the first layer on: pivots are ratios of complete polynomials.
    for p, x in enumerate(rights):
        sums.append((x + product * sums[-1]) * (weights[p] / weights[p + 1]))
    found = [zero]
    for p in range(depth - 1, 0, -1):
        found.append(sums[p] + product * weights[p - 1] / weights[p] * found[-1])
    return [zero, *found[:0:-1], zero]


def layer_lag(
    multipliers: list[np.ndarray],
    spins: tuple[np.ndarray, np.ndarray],
    h: np.ndarray,
    grid: Grid,
) -> np.ndarray:
    """Change between derivatives of spins on both sides of a layer that stays symmetric."""
    (row, column), (before, after) = grid, spins
    X = row * multipliers[0] - multipliers[1] * column
    X = X + (2 * h + row * before) @ before + after @ (after * column - 2 * h)
    X = X - 2 * (after * column) @ before
    lag: np.ndarray = (X - X.mT) / (row + column)
    return lag
