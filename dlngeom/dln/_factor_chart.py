r"""Chart of matrices of fixed rank in the Euclidean metric: any two factors of the matrix.

The acceleration of a geodesic of :math:`W = L R^T` is normal, :math:`L^T \ddot W = \ddot W R = 0`.
With :math:`\omega_L = (L^T L)^{-1} L^T \dot L`, and :math:`\omega_R` alike, that is so if

.. math:: \ddot L = (L \omega_L - 2 \dot L)\, \omega_R^T, \qquad
          \ddot R = (R \omega_R - 2 \dot R)\, \omega_L^T

which does not change its form where ``L`` is multiplied by any matrix, and ``R`` by its transposed
inverse: along constant matrices the factors then move by powers ``exp(t A)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlngeom.dln._short_paths import short_factors
from dlngeom.points import SVD
from dlngeom.submersion._equations import Chart

__all__ = ["factor_chart"]

# Smallest ratio of singular values that leaves enough digits of the squares of factors.
_SPREAD = 1e-6
# Speeds are proportional to this power of the singular values near lower rank.
_PACE = 0.75
# Factors, relative to their size, between equal points: rounding errors of their alignment.
_EQUAL = 1e-14


def factor_chart(
    point: SVD, target: SVD, coefficients: Callable[[np.ndarray], np.ndarray], choice: int = 0
) -> Chart:
    """Chart of the matrices between ends, given coefficients of dense tangent vectors.

    ``choice`` numbers the guesses, the shortest first.
    """
    (m, r), n = point.u.shape[-2:], point.vt.shape[-1]
    path = short_factors(point, target, choice)
    first, last = path[0], path[-1]
    size, gap = (np.max(np.abs(x), axis=(-2, -1)) for x in (first, last - first))
    last = np.where((gap <= _EQUAL * size)[:, None, None], first, last)

    def factors(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = x.reshape(*x.shape[:-1], m + n, r)
        return x[..., :m, :], x[..., m:, :]

    def acceleration(x: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
        return _second_derivative(factors(x), factors(v)).reshape(x.shape)

    def velocity(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        (L, R), (dL, dR) = factors(x), factors(v)
        return np.asarray(dL @ R.mT + L @ dR.mT)

    def speed(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(velocity(x, v), axis=(-2, -1)))

    def span(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        L, R = factors(x)
        lost = ~np.isfinite(x).all(axis=-1)
        smallest = np.linalg.svd(np.where(lost[..., None, None], 0.0, L @ R.mT))[1][..., r - 1]
        return np.asarray(smallest / np.maximum(speed(x, v), np.finfo(float).tiny))

    count = (m + n) * r
    ends = tuple(x.reshape(len(x), count) for x in (first, last))
    regular = [x.s[..., -1] > _SPREAD * x.s[..., 0] for x in (point, target)]
    return Chart(
        (ends[0], ends[1]),
        np.asarray(regular[0] & regular[1]),
        np.moveaxis(path, 0, 1).reshape(len(first), len(path), count),
        acceleration,
        lambda v: coefficients(velocity(ends[0], v)),
        span,
        speed,
    )


def _second_derivative(
    factors: tuple[np.ndarray, np.ndarray], velocities: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Second derivative of a geodesic whose speed falls towards lower rank."""
    (L, R), (dL, dR) = factors, velocities
    left, right = _inverse(L.mT @ L), _inverse(R.mT @ R)
    turn_left, turn_right = left @ (L.mT @ dL), right @ (R.mT @ dR)
    # Half the rate at which the sum of inverse squares of singular values, tr(product), falls.
    product = left @ right
    fall = _trace(turn_left, product) + _trace(turn_right, product.mT)
    fall = (_PACE * fall / np.trace(product, axis1=-2, axis2=-1))[..., None, None]
    second_left = (L @ turn_left - 2 * dL) @ turn_right.mT + fall * dL
    second_right = (R @ turn_right - 2 * dR) @ turn_left.mT + fall * dR
    return np.concatenate([second_left, second_right], axis=-2)


def _trace(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Trace of a product."""
    return np.asarray(np.sum(x * y.mT, axis=(-2, -1)))


def _inverse(gram: np.ndarray) -> np.ndarray:
    """Inverse; where there is none the answer is meaningless, but no error."""
    return np.linalg.inv(
        gram + (np.linalg.det(gram) == 0)[..., None, None] * np.eye(gram.shape[-1])
    )
