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
from dlngeom.dln._variations import (
    add_to,
    joined,
    left,
    right,
    second_variation,
    traces,
    transposed,
    units,
)
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

    def slopes(x: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
        return _variation(factors(x), factors(v)).reshape(*x.shape, 2 * count)

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
        slopes,
    )


def _second_derivative(
    factors: tuple[np.ndarray, np.ndarray], velocities: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Second derivative of a geodesic whose speed falls towards lower rank."""
    (L, R), (dL, dR) = factors, velocities
    inverses = _inverse(L.mT @ L), _inverse(R.mT @ R)
    turn_left, turn_right = inverses[0] @ (L.mT @ dL), inverses[1] @ (R.mT @ dR)
    # Half the rate at which the sum of inverse squares of singular values, tr(product), falls.
    product = inverses[0] @ inverses[1]
    fall = _trace(turn_left, product) + _trace(turn_right, product.mT)
    fall = (_PACE * fall / np.trace(product, axis1=-2, axis2=-1))[..., None, None]
    second_left = (L @ turn_left - 2 * dL) @ turn_right.mT + fall * dL
    second_right = (R @ turn_right - 2 * dR) @ turn_left.mT + fall * dR
    return np.concatenate([second_left, second_right], axis=-2)


def _variation(
    factors: tuple[np.ndarray, np.ndarray], velocities: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Variation of the second derivative in all entries of the factors and of their velocities."""
    (L, R), (dL, dR), m = factors, velocities, factors[0].shape[-2]
    unit = units(m + R.shape[-2], np.eye(R.shape[-1]))
    parts = ((L, dL), unit[:m]), ((R, dR), unit[m:])
    turns = tuple(_turn(*motion, unit) for motion, unit in parts)
    fall, d_fall = _fall_variation(*turns)
    identity, second = np.eye(R.shape[-1]), []
    fall, d_fall = (
        fall[..., None, None] * identity,
        d_fall[..., None, None, :] * identity[..., None],
    )
    for (motion, unit), (_, _, turn, d_turn), (_, _, other, d_other) in zip(
        parts, turns, turns[::-1], strict=True
    ):
        d_other = transposed(d_other)
        changes = right(d_turn, other.mT) + left(turn, d_other), d_fall - 2 * d_other
        second.append(
            second_variation(motion, unit, (turn @ other.mT, fall - 2 * other.mT), changes)
        )
    return np.concatenate(second, axis=-3)


_Turn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _turn(x: np.ndarray, v: np.ndarray, unit: np.ndarray) -> _Turn:
    """Inverse of ``X^T X`` and its product with ``X^T V``, with variations, one by positions."""
    inverse = _inverse(x.mT @ x)
    turn = inverse @ (x.mT @ v)
    by_x, by_v = np.split(left(np.concatenate([x.mT, v.mT], axis=-2), unit), 2, axis=-3)
    gram = by_x + transposed(by_x)
    change = joined(transposed(by_v) - right(gram, turn), by_x)
    return inverse, -left(inverse, right(gram, inverse)), turn, left(inverse, change)


def _fall_variation(first: _Turn, second: _Turn) -> tuple[np.ndarray, np.ndarray]:
    """Rate at which the speed falls, and its variation."""
    (A, d_A, turn_left, d_left), (B, d_B, turn_right, d_right) = first, second
    product, total = A @ B, _trace(A, B)
    fall = (_trace(turn_left, product) + _trace(turn_right, product.mT)) / total
    share = fall[..., None, None]
    change = traces(product, d_left) + traces(product.mT, d_right)
    change = add_to(change, traces(B @ turn_left + turn_right @ B - share * B, d_A))
    change = add_to(change, traces(turn_left @ A + A @ turn_right - share * A, d_B))
    return _PACE * fall, _PACE * change / total[..., None]


def _trace(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Trace of a product."""
    return np.asarray(np.sum(x * y.mT, axis=(-2, -1)))


def _inverse(gram: np.ndarray) -> np.ndarray:
    """Inverse; where there is none the answer is meaningless, but no error."""
    return np.linalg.inv(
        gram + (np.linalg.det(gram) == 0)[..., None, None] * np.eye(gram.shape[-1])
    )
