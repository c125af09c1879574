r"""Geometry downstairs in factored form: unchecked kernels on an SVD and its tangent vectors.

With ``W = u diag(s) v^T`` and ``Z = u M v^T + U_p v^T + u V_p^T`` the metric acts entry by
entry on ``M`` and column by column on ``U_p`` and ``V_p``.  Every function costs
``O((m + n) r^2)`` plus work on ``r x r`` matrices, is batched, and never branches on values.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from dlngeom import spectral
from dlngeom._lib.arrays import Array, constant, identity, inner, namespace, project_out, remainder
from dlngeom.points import SVD, Tangent
from dlngeom.points._covectors import Covector, apply, apply_transpose

__all__ = [
    "Metric",
    "combine_tangents",
    "hessian",
    "hessian_of_covectors",
    "inner_product",
    "metric",
    "pair",
    "scaled",
    "transport",
    "truncated_svd",
]


# Up to this depth a product of powers is cheaper than logarithms.
_FEW = 16


def pair(s: Array) -> tuple[Array, Array]:
    """Return views of ``s`` as rows ``s_k`` and columns ``s_l`` of an ``r x r`` matrix."""
    return s[..., :, None], s[..., None, :]


class Metric(NamedTuple):
    """Eigenvalues of the cometric ``A`` at a point, on the parts of a tangent vector.

    Attributes
    ----------
    core : array (..., r, r)
        Weights of ``M``, entry by entry.
    perpendicular : array (..., 1, r)
        Weights of ``U_p`` and ``V_p``, column by column.
    """

    core: Array
    perpendicular: Array


def metric(s: Array, depth: float) -> Metric | None:
    """Eigenvalues at a point with singular values ``s``; None at ``depth=1``, where all are one."""
    if depth == 1:
        return None
    if depth == math.inf:
        # Points at infinite depth are square and of full rank, without a perpendicular part.
        return Metric(spectral.weights(*pair(s), depth), s[..., None, :] * 0 + 1)
    if depth <= _FEW:
        return _sums_of_powers(s, int(depth))
    return Metric(spectral.weights(*pair(s), depth), s[..., None, :] ** (2 - 2 / depth))


def _sums_of_powers(s: Array, depth: int) -> Metric:
    """Weights of few layers by one matrix product, a sum of positive terms, hence accurate."""
    nodes = spectral._layer_nodes(depth)
    left, right = (s[..., :, None] ** constant(2 * x, s) for x in nodes[:2])
    return Metric(left @ right.mT, left[..., None, :, 0])


def scaled(Z: Tangent, at: Metric | None, power: float) -> Tangent:
    """Apply ``A^power`` to a tangent vector."""
    if at is None:
        return Z
    core, columns = at if power == 1 else (x**power for x in at)
    return Tangent(Z.Up * columns, Z.M * core, Z.Vp * columns)


def combine_tangents(a: float | Array, Z1: Tangent, b: float | Array, Z2: Tangent) -> Tangent:
    """Linear combination ``a Z1 + b Z2``; ``a`` and ``b`` broadcast against matrices."""
    return Tangent(*(a * x + b * y for x, y in zip(Z1, Z2, strict=True)))


def inner_product(Z1: Tangent, Z2: Tangent, at: Metric | None) -> Array:
    """Inner product ``g^N(Z1, Z2)``."""
    if Z1.Up.shape[-2] == Z1.M.shape[-2] == Z1.Vp.shape[-2]:
        # Square frames leave no perpendicular part.
        return inner(Z1.M, Z2.M if at is None else Z2.M / at.core)
    terms = [inner(x, y) for x, y in zip(Z1, scaled(Z2, at, -1.0), strict=True)]
    return terms[0] + terms[1] + terms[2]


def transport(
    point: SVD, other: SVD, Z: Tangent, here: Metric | None, there: Metric | None
) -> Tangent:
    r"""Vector transport :math:`A_{W'}^{1/2} P_{W'} A_W^{-1/2} Z`, which never lengthens a vector.

    At ``depth=1`` it is the orthogonal projection of the embedded geometry.
    """
    (Up, M, Vp), u, v = Z, point.u, point.vt.mT
    new_u, new_v = other.u, other.vt.mT
    uu, vv, up, vp = new_u.mT @ u, new_v.mT @ v, new_u.mT @ Up, new_v.mT @ Vp
    # Scaling acts on r x r products of frames, which leaves five thin products a side.
    left, right = uu, vv
    if here is not None:
        core, columns = (namespace(M).sqrt(x) for x in here)
        M, up, vp = M / core, up / columns, vp / columns
        left, right = uu / columns, vv / columns
    turn_u, turn_v = M @ vv.mT + vp.mT, M.mT @ uu.mT + up.mT
    turned = uu @ turn_u + up @ vv.mT
    new_core: Array | float = 1.0
    across = [turn_u, right.mT, turned, turn_v, left.mT, turned.mT]
    if there is not None:
        new_core, columns = (namespace(M).sqrt(x) for x in there)
        across = [x * columns for x in across]
    Up = remainder(new_u, u @ across[0] + Up @ across[1], across[2])
    Vp = remainder(new_v, v @ across[3] + Vp @ across[4], across[5])
    return Tangent(Up, turned * new_core, Vp)


def truncated_svd(point: SVD, Z: Tangent) -> SVD:
    """Best approximation of ``W + Z`` of rank ``r``, from an SVD of size ``2r x 2r``."""
    xp = namespace(*point)
    linalg = xp.linalg
    u, s, vt = point
    r = s.shape[-1]
    core = Z.M + s[..., :, None] * identity(r, s)
    qu, ru = linalg.qr(Z.Up)
    qv, rv = linalg.qr(Z.Vp)
    block = xp.concat(
        [xp.concat([core, rv.mT], axis=-1), xp.concat([ru, xp.zeros_like(core)], axis=-1)], axis=-2
    )
    left, values, right = linalg.svd(block, full_matrices=False)
    new_u = u @ left[..., :r, :r] + qu @ left[..., r:, :r]
    new_vt = right[..., :r, :r] @ vt + right[..., :r, r:] @ qv.mT
    return SVD(new_u, values[..., :r], new_vt)


def hessian_of_covectors(point: SVD, Z: Tangent, G: Covector, H: Covector, depth: float) -> Tangent:
    """Riemannian Hessian from covectors ``G = E'(W)`` and ``H = E''(W)[Z]``."""
    u, s, v = point.u, point.s[..., None, :], point.vt.mT
    Hv = apply(H, v)
    Kv = Hv + apply(G, Z.Vp / s)
    Ktu = apply_transpose(H, u) + apply_transpose(G, Z.Up / s)
    return hessian(point, Z, apply(G, v), apply_transpose(G, u), Kv, Ktu, u.mT @ Hv, depth)


def hessian(
    point: SVD,
    Z: Tangent,
    Gv: Array,
    Gtu: Array,
    Kv: Array,
    Ktu: Array,
    core: Array,
    depth: float,
) -> Tangent:
    r"""Riemannian Hessian of ``E`` applied to ``Z``, from thin products with ``G = E'(W)``.

    Lift ``Z`` to the smallest network over ``W``, differentiate the lifted gradient there and
    push the result down.  All inner factors are ``diag(lam)``, so the product rule leaves sums
    over layers of ``r x r`` matrices.

    Parameters
    ----------
    point, Z : SVD, Tangent
    Gv, Gtu : array (..., m, r), (..., n, r)
        ``G v`` and ``G^T u``.
    Kv, Ktu : array (..., m, r), (..., n, r)
        ``E''(Z) v + G v'`` and ``E''(Z)^T u + G^T u'`` with ``v' = V_p/s``, ``u' = U_p/s``.
    core : array (..., r, r)
        ``u^T E''(Z) v``.
    depth : int or inf
    """
    s = point.s
    row, column = pair(s)
    weight = spectral.weights(row, column, depth)
    C = point.u.mT @ Gv
    M = weight * core + _rotated(s, Z.M / weight, C, depth)
    if depth == math.inf:
        return Tangent(Kv * 0, M, Ktu * 0)
    lam_row, lam_column = pair(spectral._root(s, depth))
    # Weight of all layers but one, and their share of Z.
    partial = spectral._partial_weights(row, column, constant(1 - 1 / depth, s), depth)
    M = M + partial * lam_column**2 * (Gtu.mT @ (Z.Vp / s[..., None, :]))
    M = M + partial * lam_row**2 * ((Z.Up / s[..., None, :]).mT @ Gv)
    rest = partial * Z.M / weight
    end = column ** (1 - 1 / depth)
    left = Kv * end**2 + Gv @ ((rest * lam_row).mT * end)
    right = Ktu * end**2 + Gtu @ (rest * lam_column * end)
    return Tangent(project_out(point.u, left), M, project_out(point.vt.mT, right))


def _rotated(s: Array, Y: Array, C: Array, depth: float) -> Array:
    """Change of the products above and below each layer, summed over the layers."""
    nodes = spectral._layer_nodes(depth)
    row, column = (x[..., None, :, :] for x in pair(s))
    left, right, weight = (constant(x, s)[:, None, None] for x in nodes[:3])
    above = Y[..., None, :, :] * spectral._partial_weights(row, column, left, depth)
    below = Y[..., None, :, :] * spectral._partial_weights(row, column, right, depth)
    C = C[..., None, :, :]
    xp = namespace(s)
    first = xp.sum(weight * (above.mT @ C) * column ** (2 * right), axis=-3)
    second = xp.sum(weight * (C @ below.mT) * row ** (2 * left), axis=-3)
    return s[..., :, None] * first + s[..., None, :] * second
