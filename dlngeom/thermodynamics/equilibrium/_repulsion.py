r"""Repulsion of singular values as it is printed, at every ratio of them.

.. math:: a \log|\lambda_k^2 - \lambda_l^2| + b \log|\sigma_k^2 - \sigma_l^2|

with ``a log |log(sigma_k / sigma_l)|`` as first term for infinite depth.  The larger value of a
pair stands before what depends on their ratio, so forces on small values are no differences.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dlngeom.thermodynamics.equilibrium._gas import Gas

__all__ = ["force", "log_repulsion"]


class _Pairs(NamedTuple):
    """The larger of two values, the ratio to it, ``1 - ratio``, and minus the log of the ratio."""

    large: np.ndarray
    ratio: np.ndarray
    gap: np.ndarray
    distance: np.ndarray


def _pairs(lam: np.ndarray) -> _Pairs:
    """Compare all values with each other; on the diagonal stands a ratio of one half."""
    row, column = lam[..., :, None], lam[..., None, :]
    large, small = np.maximum(row, column), np.minimum(row, column)
    alone = np.eye(lam.shape[-1], dtype=bool)
    ratio = np.where(alone, 0.5, small / large)
    # The difference of two floats that are near each other is exact.
    gap = np.where(alone, 0.5, (large - small) / large)
    apart = np.abs(np.log(row) - np.log(column))
    normal = ratio > np.finfo(float).tiny
    far = np.where(normal, -np.log(np.where(normal, ratio, 1.0)), apart)
    return _Pairs(large, ratio, gap, np.where(gap < 0.5, -np.log1p(-np.minimum(gap, 0.5)), far))


def log_repulsion(gas: Gas, lam: np.ndarray) -> np.ndarray:
    """Sum over all pairs of ``(..., r)`` values, minus infinity at ties."""
    large, ratio, gap, distance = _pairs(lam)
    height = np.log(large)
    with np.errstate(divide="ignore"):
        near = 2 * height + np.log(gap) + np.log1p(ratio)
        if gas.depth == math.inf:
            pairs = gas.b * near
            pairs = pairs + gas.a * np.log(distance) if gas.a else pairs
        else:
            powers = 2 * gas.depth * height + np.log(-np.expm1(-2 * gas.depth * distance))
            pairs = gas.b * powers + gas.a * near if gas.a else gas.b * powers
    return np.asarray(np.sum(np.triu(pairs, k=1), axis=(-2, -1)))


def force(gas: Gas, lam: np.ndarray) -> np.ndarray:
    """Gradient of :func:`log_repulsion` by ``lam``, whose entries differ."""
    large, ratio, gap, distance = _pairs(lam)
    row, column = lam[..., :, None], lam[..., None, :]
    below, sign = row < column, np.sign(row - column)
    # The number ``2 lam_k / |lam_k^2 - lam_l^2|``.
    plain = 2 * np.where(below, ratio, 1.0) / (large * gap * (1 + ratio))
    if gas.depth == math.inf:
        value = gas.b * plain
        value = value + gas.a / (distance * row) if gas.a else value
    else:
        power = np.where(below, ratio ** (2 * gas.depth - 1), 1.0)
        value = 2 * gas.b * gas.depth * power / (-np.expm1(-2 * gas.depth * distance) * large)
        value = value + gas.a * plain if gas.a else value
    # The sign is zero on the diagonal.
    return np.asarray(np.sum(sign * value, axis=-1))
