"""Gradient flows as differential equations in coordinates without singularities.

Singular vectors turn infinitely fast where singular values cross, so nothing here integrates
them.  Balanced networks, and end-to-end matrices of up to eight layers, move as the smallest
network over them, by products of layers; matrices of more layers as two thin factors.
"""

from __future__ import annotations

import math
from functools import partial
from operator import itemgetter

import numpy as np

from dlngeom import endtoend, spectral
from dlngeom._lib.arrays import Array, antisymmetric, eps, identity, namespace, symmetric
from dlngeom._lib.derivatives import held, is_traced, smooth_in
from dlngeom._lib.vectors import copied
from dlngeom.network._flow import GradientCheck, descent, flat_flow, layers_flow
from dlngeom.network._layers import product, suffix_products
from dlngeom.points import SVD, Frames, _covectors, dense, svd
from dlngeom.points._covectors import Covector, EnergyGradient
from dlngeom.points._nearest import nearby_frames
from dlngeom.points._products import singular_value_decomposition
from dlngeom.submersion._equations import Equation, composed

__all__ = ["FEW_LAYERS", "balanced_flow", "matrix_flow", "singular_flow", "smooth_layers"]

# Up to this depth products of layers cost less than decompositions of thin factors.
FEW_LAYERS = 8
# Gram matrices square condition numbers: beyond this one a QR decomposition is worth its price.
_WELL_CONDITIONED = 100.0


def matrix_flow(W: Array, gradient: EnergyGradient, depth: float, rank: int) -> Equation:
    """Flow of dense end-to-end matrices, in coordinates that suit their depth and ranks."""
    full = rank == min(W.shape[-2:])
    if depth == 1 and full:
        return flat_flow(W, gradient)
    start = svd(held(W), rank)
    xp = namespace(start.s)
    # Singular values that are rounding errors are zero in all layers, and stay so.
    present = start.s > (max(W.shape[-2:]) * eps(W) if full else 0.0) * start.s[..., :1]
    ranks = xp.sum(xp.astype(present, xp.int64), axis=-1)
    lowest, highest = int(xp.min(ranks)), max(int(xp.max(ranks)), 1)
    s = (start.s * xp.astype(present, start.s.dtype))[..., :highest]
    start = SVD(start.u[..., :highest], s, start.vt[..., :highest, :])
    if 2 <= depth <= FEW_LAYERS:
        layers = smooth_layers if is_traced(W) else _layers_over
        return smallest_flow(layers(W, start, int(depth)), gradient)._replace(initial=W)
    if lowest < highest:
        return dense_flow(W, gradient, depth)
    equation = factored_flow(start, gradient, depth, dense_point=True)
    return equation._replace(point=composed(dense, equation.point), initial=W)


def _layers_over(_: Array, start: SVD, depth: int) -> tuple[Array, ...]:
    return _layers(start, depth)


def smallest_flow(layers: tuple[Array, ...], gradient: EnergyGradient) -> Equation:
    r"""Flow of a dense matrix as the smallest balanced network over it, by products alone.

    .. math:: W = W_N \cdots W_1, \qquad W_N = u\, \sigma^{1/N}, \quad W_p = \sigma^{1/N},
              \quad W_1 = \sigma^{1/N} v^T
    """
    return layers_flow(layers, gradient)._replace(point=product, below=None)


def _layers(point: SVD, depth: int) -> tuple[Array, ...]:
    """Smallest balanced network over a matrix."""
    root = (point.s ** (1 / depth))[..., None, :]
    inner = root * identity(point.s.shape[-1], point.s)
    return (root.mT * point.vt, *[inner] * (depth - 2), point.u * root)


def smooth_layers(W: Array, start: SVD, depth: int) -> tuple[Array, ...]:
    r"""Smallest balanced network over a matrix, as a smooth function of it, for derivatives.

    .. math:: W = W v\, (u^T W v)^{-1}\, u^T W

    holds for all matrices of the rank near ``u s v^T``, with fixed ``u`` and ``v``.
    """
    u, s, v = start.u, start.s, start.vt.mT
    xp = namespace(s)
    inverse = xp.where(s > 0, 1 / xp.where(s > 0, s, 1 + s), 0 * s)
    # One Newton step from the inverse itself has the derivative of the inverse.
    rest = 2 * identity(s.shape[-1], s) - u.mT @ W @ v * inverse[..., None, :]
    (left, tall), (right, wide) = xp.linalg.qr(W @ v), xp.linalg.qr(W.mT @ u)
    root, last = _roots(tall @ (inverse[..., :, None] * rest) @ wide.mT, depth)
    return (root @ right.mT, *[root] * (depth - 2), left @ last)


@smooth_in("core")
def _roots(core: Array, depth: int) -> tuple[Array, Array]:
    """``P^(1/N)`` and ``U P^(1/N)`` of the polar decomposition ``U P`` of square matrices."""
    u, s, vt = namespace(core).linalg.svd(core)
    scaled = s[..., :, None] ** (1 / depth) * vt
    return vt.mT @ scaled, u @ scaled


def singular_flow(point: SVD, gradient: EnergyGradient, depth: float) -> Equation:
    """Flow of an SVD, whose energy sees SVDs: numpy's as the smallest network over it."""
    if not isinstance(point.s, np.ndarray) or not 2 <= depth <= FEW_LAYERS:
        return factored_flow(point, gradient, depth)
    check = GradientCheck(point.u.shape[-2], point.vt.shape[-1])

    def rates(layers: tuple[Array, ...]) -> tuple[Array, ...]:
        covector = check(gradient(_network_svd(layers)), layers[0])
        return descent(layers, suffix_products(layers), covector)

    start = _layers(point, int(depth))
    return Equation(start, rates, singular_value_decomposition, point.s.ndim == 1)


def _network_svd(layers: tuple[Array, ...]) -> SVD:
    """SVD of the product of balanced layers, through the frames between them."""
    first, *inner, last = layers
    values, q = np.linalg.eigh(last.mT @ last)
    if not np.all(values[..., 0] > values[..., -1] / _WELL_CONDITIONED**2):
        return _graded_svd(layers)
    lam, q = np.sqrt(values[..., ::-1]), q[..., ::-1] / np.sqrt(values[..., None, ::-1])
    u = last @ q
    for layer in inner[::-1]:
        q = (layer.mT @ q) / lam[..., None, :]
    return SVD(u, lam ** len(layers), q.mT @ first)


def _graded_svd(layers: tuple[Array, ...]) -> SVD:
    """SVD of a product of layers by QR decompositions of the outer ones."""
    (left, core), (right, triangle) = np.linalg.qr(layers[-1]), np.linalg.qr(layers[0].mT)
    for layer in layers[-2:0:-1]:
        core = core @ layer
    u, s, vt = np.linalg.svd(core @ triangle.mT)
    return SVD(left @ u, s, vt @ right.mT)


def dense_flow(W: Array, gradient: EnergyGradient, depth: float) -> Equation:
    r"""Flow of dense end-to-end matrices, singular or not, of two or more layers.

    .. math:: \dot W = -\mathcal{A}_{N,W}(E'(W))
    """
    check = GradientCheck(*W.shape[-2:])

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        (X,) = state
        covector = check(gradient(copied(X)), X)
        velocity: Array = endtoend.cometric(X, covector, depth, check_finite=False)
        return (-velocity,)

    return Equation((W,), rates, itemgetter(0), W.ndim == 2)


def factored_flow(
    point: SVD, gradient: EnergyGradient, depth: float, *, dense_point: bool = False
) -> Equation:
    r"""Flow of an end-to-end matrix of rank ``r`` as two thin factors of equal Gram matrix.

    .. math:: W = L\,(L^T L)^{(k-2)/2}\, R^T, \qquad L^T L = R^T R, \qquad
              L = u\,\sigma^{1/k} P^T

    with ``k = N`` up to four layers, where ``L`` and ``R`` are the outer layers of the balanced
    network in one common gauge.  Beyond, ``k = 4``: the coordinates, and the cost
    ``O((m + n) r^2)``, no longer depend on the depth.
    """
    m, n = point.u.shape[-2], point.vt.shape[-1]
    if depth == 1 and point.s.shape[-1] == min(m, n):
        return _flat_flow(point, gradient, dense_point)
    k, check = _exponent(depth), GradientCheck(m, n)
    scale = (point.s ** (1 / k))[..., None, :]

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        L, R = state
        lam, P = _common_gauge(L, R)
        turn = P / lam[..., None, :]
        here = SVD(L @ turn, lam**k, (R @ turn).mT)
        covector = check(gradient(dense(here) if dense_point else here), L)
        return _thin_rates(here, lam, P, covector, depth)

    start = (point.u * scale, point.vt.mT * scale)
    return Equation(start, rates, partial(_of_factors, k), point.s.ndim == 1)


def _of_factors(k: int, state: tuple[Array, ...]) -> SVD:
    return _thin_svd(state[0], state[1], k)


def _flat_flow(point: SVD, gradient: EnergyGradient, dense_point: bool) -> Equation:
    """Flow of one layer of full rank, where the metric is Euclidean."""

    def whole(X: Array) -> Covector:
        return gradient(X if dense_point else svd(X))

    equation = flat_flow(dense(point), whole)
    return equation._replace(point=composed(svd, itemgetter(0)))


def _common_gauge(L: Array, R: Array) -> tuple[Array, Array]:
    """Singular values and right singular vectors that both factors share."""
    xp = namespace(L)
    linalg = xp.linalg
    values, P = linalg.eigh((L.mT @ L + R.mT @ R) / 2)
    limit = values[..., -1] / _WELL_CONDITIONED**2
    if bool(xp.all(values[..., 0] > limit)):
        return xp.sqrt(xp.flip(values, axis=-1)), xp.flip(P, axis=-1)
    triangles = [linalg.qr(x)[1] for x in (L, R)]
    _, values, Pt = linalg.svd(xp.concat(triangles, axis=-2) / math.sqrt(2), full_matrices=False)
    return values, Pt.mT


def _thin_rates(
    point: SVD, lam: Array, P: Array, covector: Covector, depth: float
) -> tuple[Array, Array]:
    """Rates of both factors; they keep equal Gram matrices."""
    u, s, vt = point
    v = vt.mT
    Gv, Gtu = _covectors.apply(covector, v), _covectors.apply_transpose(covector, u)
    if depth == 2:
        # The factors are the layers, whose own gauge is smooth at small singular values too.
        below = (lam[..., None, :] * P).mT
        return -Gv @ below, -Gtu @ below
    C = u.mT @ Gv
    k, column = _exponent(depth), lam[..., None, :]
    M = -_weights(s, lam, depth) * C
    turn = antisymmetric(M) * column / (s[..., :, None] + s[..., None, :])
    stretch = symmetric(M) / _power_sum(lam[..., :, None], column, k)
    across = _across(s, depth, k)[..., None, :]
    Pt, back = P.mT, (across * P).mT
    rate_L = u @ ((C * across + turn + stretch) @ Pt) - Gv @ back
    rate_R = v @ ((C.mT * across - turn + stretch) @ Pt) - Gtu @ back
    return rate_L, rate_R


def _exponent(depth: float) -> int:
    return 2 if depth == 1 else int(min(depth, 4))


def _weights(s: Array, lam: Array, depth: float) -> Array:
    """Weights of the metric; up to four layers as a sum, which costs less than logarithms."""
    if depth == 1:
        return namespace(s).ones_like(s[..., None])
    if depth <= 4:
        square = lam * lam
        return _power_sum(square[..., :, None], square[..., None, :], int(depth))
    return spectral.weights(s[..., :, None], s[..., None, :], depth)


def _power_sum(a: Array, b: Array, terms: int) -> Array:
    """``a^(k-1) + a^(k-2) b + ... + b^(k-1)``, also the quotient ``(a^k - b^k) / (a - b)``."""
    total, power = a + b, b
    for _ in range(terms - 2):
        power = power * b
        total = total * a + power
    return total


def _across(s: Array, depth: float, k: int) -> Array:
    """Rate at which a thin factor leaves its span, per unit of the energy gradient."""
    if depth == math.inf:
        return s * 0
    return s ** (1 - 2 / depth + 1 / k)


def _thin_svd(L: Array, R: Array, k: int) -> SVD:
    """Singular value decomposition, orthonormal to rounding."""
    xp = namespace(L)
    linalg = xp.linalg
    (q_left, left), (q_right, right) = linalg.qr(L), linalg.qr(R)
    _, lam, Pt = linalg.svd(xp.concat([left, right], axis=-2) / math.sqrt(2), full_matrices=False)
    core = (left @ Pt.mT) * lam[..., None, :] ** (k - 2) @ (right @ Pt.mT).mT
    u, s, vt = linalg.svd(core)
    return SVD(q_left @ u, s, vt @ q_right.mT)


def balanced_flow(point: Frames, gradient: EnergyGradient) -> Equation:
    r"""Flow of a balanced network: the smallest network moves, in the inner frames of the start.

    .. math:: W_p = Q_p\, \hat W_p\, Q_{p-1}^T, \qquad \dot Q_p = 0 \quad (1 \le p \le N - 1)
    """
    lam, q = point
    if len(q) == 2:
        return _single_layer_flow(point, gradient)
    column = lam[..., None, :]
    inner_layer = column * identity(lam.shape[-1], lam)
    small = ((q[0] * column).mT, *(inner_layer for _ in q[2:-1]), q[-1] * column)
    equation = layers_flow(small, gradient)
    return equation._replace(point=partial(_turned, point))


def _turned(start: Frames, state: tuple[Array, ...]) -> Frames:
    """Network over the smallest one, in the inner frames of the start."""
    lam, turns = nearby_frames(state, start.lam.shape[-1])
    inner = (frame @ turn for frame, turn in zip(start.q[1:-1], turns[1:-1], strict=True))
    return Frames(lam, (turns[0], *inner, turns[-1]))


def _single_layer_flow(point: Frames, gradient: EnergyGradient) -> Equation:
    """Flow of one layer, on the matrices of its rank."""
    layer = SVD(point.q[1], point.lam, point.q[0].mT)
    equation = factored_flow(layer, gradient, 1, dense_point=True)
    return equation._replace(point=composed(_one_layer, equation.point))


def _one_layer(point: SVD) -> Frames:
    u, s, vt = point
    return Frames(s, (vt.mT, u))
