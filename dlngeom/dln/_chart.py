r"""Charts of end-to-end matrices that hold both ends of a geodesic, and its equation there.

In frames whose first ``r`` vectors lie midway between the singular vectors of both ends, a matrix
of rank ``r`` is given by its first ``r`` columns and rows.  They are linear in the matrix, so their
second derivatives are entries of

.. math:: \ddot W = 2 \sum_{p<q} W_N \cdots V_q \cdots V_p \cdots W_1
          = 2 \sum_{k + l = N - 2} h_k(WW^T, \cdot)\, Y W^T Y (W^T W)^{l / N}, \qquad
          Y = \mathcal{A}_{N,W}^{-1}(\dot W)

in the frames of the matrix, with the complete homogeneous polynomials ``h_k`` of two squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom.endtoend import _kernels
from dlngeom.endtoend._curvature import christoffel_table, contract
from dlngeom.points import SVD, dense
from dlngeom.points._covectors import components
from dlngeom.submersion._equations import Chart

__all__ = ["end_to_end_chart"]

# Singular values of layers, relative to the largest product of N - 1, that leave enough digits.
_SPREAD = 1e-4
# Beyond this depth a sum over products of layers costs more than a quadrature.
_SUMMED = 16


def end_to_end_chart(
    point: SVD, target: SVD, depth: float, coefficients: Callable[[np.ndarray], np.ndarray]
) -> Chart:
    """Chart of the matrices between ends, given coefficients of dense tangent vectors."""
    rank = point.s.shape[-1]
    (L, dL), (R, dR) = _nearest_factors(point, target)
    left, right = _middle_frame(L + dL / 2), _middle_frame(R + dR / 2)
    a, b = left.shape[-1], right.shape[-1]

    def coordinates(W: np.ndarray) -> np.ndarray:
        parts = (W[..., :rank], W[..., :rank, rank:])
        flat = [x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1]) for x in parts]
        return np.concatenate(flat, axis=-1)

    def blocks(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns = x[..., : a * rank].reshape(*x.shape[:-1], a, rank)
        rest = x[..., a * rank :].reshape(*x.shape[:-1], rank, b - rank)
        return columns, np.concatenate([columns[..., :rank, :], rest], axis=-1)

    def matrices(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _joined(*blocks(x), *blocks(v))

    def acceleration(x: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
        return coordinates(_second_derivative(*matrices(x, v), rank, depth)[0])

    def span(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return _second_derivative(*matrices(x, v), rank, depth)[1]

    first, last = (coordinates(left.mT @ dense(x) @ right) for x in (point, target))
    bend = coordinates(left.mT @ (2 * dL @ dR.mT) @ right)
    return Chart(
        (first, last),
        _regular(point.s, depth) & _regular(target.s, depth),
        np.stack([first, (first + last) / 2 - bend / 8, last], axis=1),
        acceleration,
        lambda v: coefficients(left @ matrices(first, v)[1] @ right.mT),
        span,
    )


def _nearest_factors(
    point: SVD, target: SVD
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Factors ``L``, ``R`` of a point ``L R^T``, and their changes to nearest ones of a target."""
    (L, R), (other_left, other_right) = (
        tuple(np.asarray(q * np.sqrt(x.s)[..., None, :]) for q in (x.u, x.vt.mT))
        for x in (point, target)
    )
    u, _, vt = np.linalg.svd(other_left.mT @ L + other_right.mT @ R)
    turn = u @ vt
    return (L, other_left @ turn - L), (R, other_right @ turn - R)


def _middle_frame(factor: np.ndarray) -> np.ndarray:
    """Orthogonal matrices whose first columns span a factor."""
    if factor.shape[-1] == factor.shape[-2]:
        return np.broadcast_to(np.eye(factor.shape[-1]), factor.shape)
    return np.linalg.qr(factor, mode="complete")[0]


def _regular(s: Array, depth: float) -> np.ndarray:
    return np.asarray((s[..., -1] / s[..., 0]) ** (1 - 1 / depth) > _SPREAD)


def _joined(
    columns: np.ndarray, rows: np.ndarray, d_columns: np.ndarray, d_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of given first columns and rows, and their velocities."""
    r = columns.shape[-1]
    if r == columns.shape[-2]:
        return rows, d_rows
    if r == rows.shape[-1]:
        return columns, d_columns
    core = columns[..., :r, :]
    # Where the chart ends the answer is meaningless, but no error.
    inverse = np.linalg.inv(core + (np.linalg.det(core) == 0)[..., None, None] * np.eye(r))
    graph = columns @ inverse
    d_graph = (d_columns - graph @ d_columns[..., :r, :]) @ inverse
    return graph @ rows, d_graph @ rows + graph @ d_rows


def _second_derivative(
    W: np.ndarray, Z: np.ndarray, rank: int, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Second derivative of a geodesic, and the time for which it surely goes on."""
    if depth > _SUMMED:
        return _by_quadrature(W, Z, rank, depth)
    u, s, vt = np.linalg.svd(W)
    s, D = s[..., :rank], u.mT @ Z @ vt.mT
    if depth == 1:
        left, right = D[..., :rank], D[..., :rank, :]
        second = np.zeros_like(D)
        scaled = 2 * left[..., rank:, :] / s[..., None, :]
        second[..., rank:, rank:] = scaled @ right[..., rank:]
    else:
        left, right, second = _summed(s, D, int(depth))
    squares = np.sum(left * D[..., :rank], axis=(-2, -1))
    squares += np.sum(right[..., rank:] * D[..., :rank, rank:], axis=(-2, -1))
    return u @ second @ vt, _span(s[..., -1], squares, depth)


def _summed(s: np.ndarray, D: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covector and second derivative in frames, by sums over the layers."""
    a, b, r = D.shape[-2], D.shape[-1], s.shape[-1]
    squares = s ** (2 / depth)
    middle = squares[..., None, :]
    weights = _homogeneous(_padded(squares, a), middle, depth)
    left = D[..., :r] / weights[-1]
    right = left
    if not a == b == r:
        right = D[..., :r, :] / _homogeneous(_padded(squares, b), middle, depth)[-1].mT
    scaled, column = 2 * left * s[..., None, :], _padded(squares, b).mT
    second, power = np.zeros_like(D), right
    for k in range(depth - 2, -1, -1):
        second = second + (weights[k] * scaled) @ power
        power = power * column
    return left, right, second


def _padded(squares: np.ndarray, size: int) -> np.ndarray:
    """Column of squares, followed by the zeros of a null space."""
    r = squares.shape[-1]
    if size > r:
        zeros = np.zeros((*squares.shape[:-1], size - r))
        squares = np.concatenate([squares, zeros], axis=-1)
    return squares[..., None]


def _homogeneous(row: np.ndarray, column: np.ndarray, depth: int) -> list[np.ndarray]:
    """Complete homogeneous polynomials of pairs of squares, of degrees below the depth."""
    power = np.ones(np.broadcast_shapes(row.shape, column.shape))
    found = [power]
    for _ in range(depth - 1):
        power = power * row
        found.append(found[-1] * column + power)
    return found


def _by_quadrature(
    W: np.ndarray, Z: np.ndarray, rank: int, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Take the same from Christoffel symbols, whose cost does not grow with the depth."""
    u, s, vt = np.linalg.svd(W, full_matrices=False)
    at = SVD(u[..., :rank], s[..., :rank], vt[..., :rank, :])
    vector = components(at, Z)
    squares = _kernels.inner_product(vector, vector, _kernels.metric(at.s, depth))
    second = -contract(at, christoffel_table(at.s, depth), vector, vector)
    return np.asarray(second), _span(at.s[..., -1], squares, depth)


def _span(smallest: Array, squares: Array, depth: float) -> np.ndarray:
    """Distance ``sqrt(N) lam_r`` to lower rank over the speed."""
    if depth == math.inf:
        return np.full(smallest.shape, np.inf)
    with np.errstate(divide="ignore"):
        return np.asarray(math.sqrt(depth) * smallest ** (1 / depth) / np.sqrt(squares))
