r"""From derivatives in the factors ``(u, s, vt)`` to products with ambient ones.

Automatic differentiation of a cost of ``(u * s) @ vt`` gives, with ``G = E'(W)``,

.. math:: g_u = G v\,\Sigma, \qquad g_s = \mathrm{diag}(u^T G v), \qquad g_{vt} = \Sigma\, u^T G

so ``G v`` and ``G^T u`` are columns divided by ``s``, and no difference of singular values is
needed.  For a cost that depends on the factors in another way, such as ``sum(s)``, these three
sources of the core ``u^T G v`` disagree.  Entries that disagree are taken from the derivative of
the SVD instead, with an error of rounding divided by the relative gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, eps, identity, namespace, norm, remainder
from dlngeom.endtoend._kernels import hessian, pair
from dlngeom.points import SVD, Tangent

__all__ = ["FactorTriple", "ambient_actions", "euclidean_gradient", "riemannian_hessian"]


class FactorTriple(NamedTuple):
    """Derivatives, or a direction, in ``u (m, r)``, ``s (r,)`` and ``vt (r, n)``."""

    u: Array
    s: Array
    vt: Array


# Significant digits of float32, and the disagreement that they leave.
_SINGLE = (2.0**-23, 1e-3)


class _Sources(NamedTuple):
    """What the factors say about the core, entry by entry.

    Attributes
    ----------
    from_u, from_v : array (..., r, r)
        ``C_kl s_l`` and ``C_kl s_k`` if the cost sees only ``W``.
    larger, a, b : array (..., r, r)
        The larger singular value of each pair, one if both vanish, and both in this unit.
    agreed, disagreement : array (..., r, r)
        Weighted mean of the two sources of ``C``, and how much they differ.
    """

    from_u: Array
    from_v: Array
    larger: Array
    a: Array
    b: Array
    agreed: Array
    disagreement: Array


class _Core(NamedTuple):
    """Errors of the core, and its entries where the sources do not agree.

    The rounding error and the tolerance are those of the numbers, not of the arrays they are in.
    """

    differentiated: Array
    noise: Array
    gap: Array
    rounding: float
    tolerance: float


def check_triple(name: str, point: SVD, triple: FactorTriple) -> FactorTriple:
    """Require the shapes of ``(u, s, vt)``."""
    u, s, vt = point
    if triple.u.shape == u.shape and triple.s.shape == s.shape and triple.vt.shape == vt.shape:
        return triple
    for field, x, like in zip(triple._fields, triple, point, strict=True):
        if tuple(x.shape) != tuple(like.shape):
            raise ValueError(
                f"{name}.{field} has shape {tuple(x.shape)}: it must be {tuple(like.shape)}"
            )
    return triple


def ambient_actions(point: SVD, g: FactorTriple) -> tuple[Array, Array]:
    """Products ``G v`` and ``G^T u``; zero where a singular value is zero."""
    s = _nonzero(point.s)
    return g.u / s, g.vt.mT / s


def _nonzero(s: Array) -> Array:
    """Singular values, one for zero, as factors of columns."""
    xp = namespace(s)
    return (xp.where(s == 0, xp.ones_like(s), s) if _has_zeros(s) else s)[..., None, :]


def _has_zeros(s: Array) -> bool:
    return int(np.count_nonzero(s)) < math.prod(s.shape)


def euclidean_gradient(point: SVD, g: FactorTriple) -> Tangent:
    r"""Tangent part of the ambient gradient, for any cost of the factors.

    .. math:: U_p = (I - uu^T)\, g_u \Sigma^{-1}, \qquad M = u^T G v, \qquad
              V_p = (I - vv^T)\, g_{vt}^T \Sigma^{-1}

    Parameters
    ----------
    point : SVD
    g : FactorTriple

    Returns
    -------
    Tangent
        To rounding for a cost of ``(u * s) @ vt``, at ties too.  For other costs the error of
        an off-diagonal entry of ``M`` is the smaller of the disagreement of its sources and
        of the rounding error over the relative gap ``|s_k^2 - s_l^2| / max(s_k, s_l)^2``.  The
        rounding error is estimated for costs whose second derivatives are of order one.

    Raises
    ------
    ValueError
        If two singular values are equal and the cost tells their vectors apart: then it has
        no gradient, or its factor derivatives do not determine it.
    """
    sources = _sources(point, g)
    M = sources.agreed if _settled(point, g, sources) else _chosen(point, g, sources)
    # With u^T g_u known the product with s is divided out last, in the thin matrices alone.
    s = _nonzero(point.s)
    Up = remainder(point.u, g.u, sources.from_u) / s
    Vp = remainder(point.vt.mT, g.vt.mT, sources.from_v.mT) / s
    return Tangent(Up, _with_diagonal(M, g.s), Vp)


def _chosen(point: SVD, g: FactorTriple, sources: _Sources) -> Array:
    """Entries of the core from the sources that have the smaller error."""
    xp = namespace(point.s)
    core = _core(point, g, sources)
    _require_gradient(point, g, sources, core)
    limit = core.noise * (16 + 1 / xp.where(core.gap == 0, 1.0, core.gap))
    general = (sources.disagreement > limit) & (core.gap > 0)
    return xp.where(general, core.differentiated, sources.agreed)


def _with_diagonal(M: Array, diagonal: Array) -> Array:
    on = identity(M.shape[-1], M) == 1
    return namespace(M).where(on, diagonal[..., None, :], M)


def _sources(point: SVD, g: FactorTriple) -> _Sources:
    """Two estimates of the core, in units of the larger singular value of each pair."""
    xp = namespace(point.s)
    row, column = pair(point.s)
    larger = xp.maximum(row, column)
    has_zeros = _has_zeros(point.s)
    if has_zeros:
        larger = xp.where(larger == 0, xp.ones_like(larger), larger)
    a, b = row / larger, column / larger
    total = a * a + b * b
    if has_zeros:
        total = xp.where(total == 0, xp.ones_like(a), total)
    from_u, from_v = point.u.mT @ g.u, g.vt @ point.vt.mT
    scaled_u, scaled_v = from_u / larger, from_v / larger
    agreed = (scaled_u * b + scaled_v * a) / total
    disagreement = xp.abs(scaled_u * a - scaled_v * b) / xp.sqrt(total)
    return _Sources(from_u, from_v, larger, a, b, agreed, disagreement)


def _settled(point: SVD, g: FactorTriple, sources: _Sources) -> bool:
    """Whether no singular values are equal, and all sources agree to double precision.

    Then nothing is to be chosen or refused; the noise is bounded from below at little cost.
    """
    values = np.asarray(point.s).ravel().tolist()
    if len(set(values)) < len(values):
        return False
    sizes = _spread([_column_norms(x) for x in (g.u, g.vt.mT)])
    limit = 16 * eps(point.s) * (sizes / sources.larger + max(values))
    # An overflow is not a bound from below.
    return bool(namespace(limit).all((sources.disagreement <= limit) & (limit < math.inf)))


def _core(point: SVD, g: FactorTriple, sources: _Sources) -> _Core:
    """Errors of the sources, and the core that the derivative of the SVD gives."""
    xp = namespace(point.s)
    from_u, from_v, larger, a, b, _, _ = sources
    signed = (b - a) * (b + a)
    safe = xp.where(signed == 0, xp.ones_like(signed), signed)
    turned = ((from_u - from_u.mT) * b + a * (from_v.mT - from_v)) / larger
    sizes = _spread([_column_sizes(x) for x in (g.u, g.vt.mT)])
    # E'(W) rounds at the scale of W for a least-squares cost, even where E'(W) v vanishes.
    scale = xp.max(point.s, axis=-1)[..., None, None]
    rounding, tolerance = _precision(point, g)
    noise = rounding * (sizes / larger + scale)
    return _Core(turned / safe, noise, xp.abs(signed), rounding, tolerance)


def _precision(point: SVD, g: FactorTriple) -> tuple[float, float]:
    """Return the rounding error and tolerance, single where float32 holds one of the parts.

    A cost in single precision of points in double precision returns such numbers in float64.
    """
    if any(_is_single(x) for x in (g.u, g.vt)):
        return _SINGLE
    return eps(point.s), checks.relative_tolerance(point.s)


def _is_single(x: Array) -> bool:
    """Whether float32 holds all entries, some of which are not zero."""
    # The first entry decides nearly always, at a small fraction of the cost of all.
    first = float(x[0, 0])
    if first != 0 and (not 1e-30 < abs(first) < 1e30 or float(np.float32(first)) != first):
        return False
    with np.errstate(all="ignore"):
        return bool(np.any(x)) and np.array_equal(np.asarray(x, np.float32), x)


def _spread(sizes: Sequence[Array]) -> Array:
    """Add what the columns of ``g_u`` and ``g_vt^T`` have, for pairs of columns."""
    return sizes[0][..., None, :] + sizes[1][..., :, None]


def _column_norms(x: Array) -> Array:
    """Norms of columns, zero or infinite where the squares are."""
    with np.errstate(over="ignore"):
        return namespace(x).sqrt(namespace(x).vecdot(x, x, axis=-2))


def _column_sizes(x: Array) -> Array:
    """Norms of columns, for entries whose squares underflow too."""
    xp = namespace(x)
    largest = xp.max(xp.abs(x), axis=-2, keepdims=True)
    unit = x / xp.where(largest == 0, xp.ones_like(largest), largest)
    return xp.sqrt(xp.sum(unit * unit, axis=-2)) * largest[..., 0, :]


def _require_gradient(point: SVD, g: FactorTriple, sources: _Sources, core: _Core) -> None:
    xp = namespace(point.s)
    # What g_s adds to the core must commute with the rotations of tied vectors.
    added_row, added_column = pair(g.s - xp.linalg.diagonal(sources.agreed))
    size_row, size_column = pair(core.rounding * xp.abs(g.s))
    conflict = xp.maximum(sources.disagreement, xp.abs(added_row - added_column))
    limit = core.tolerance / core.rounding
    off = xp.eye(point.s.shape[-1], dtype=point.s.dtype) == 0
    allowed = limit * (core.noise + size_row + size_column)
    undefined = (core.gap == 0) & (conflict > allowed) & off
    undefined = undefined | undefined.mT
    if not bool(xp.any(undefined)):
        return
    k, other = (int(i[0]) for i in xp.nonzero(undefined))
    raise ValueError(
        f"singular values {k} and {other} are both {float(point.s[..., k]):.17g} and the cost "
        "depends on more than u diag(s) vt: its factor derivatives determine no gradient here"
    )


def riemannian_hessian(
    point: SVD,
    Z: Tangent,
    g: FactorTriple | tuple[Array, Array],
    h: FactorTriple,
    depth: float,
) -> Tangent:
    r"""Riemannian Hessian from factor derivatives along ``u' = (uM + U_p)/s``, ``v' = V_p/s``.

    .. math:: h_u \Sigma^{-1} = E''(Z)\, v + G v', \qquad
              h_{vt}^T \Sigma^{-1} = E''(Z)^T u + G^T u'

    Parameters
    ----------
    point, Z : SVD, Tangent
    g : FactorTriple or (G v, G^T u)
        First derivatives.
    h : FactorTriple
        Derivative of the factor gradient along the direction of ``Z``.
    depth : int or inf

    Returns
    -------
    Tangent

    Raises
    ------
    ValueError
        If the cost is not a function of ``u diag(s) vt`` alone.
    """
    if isinstance(g, FactorTriple):
        _require_lifted(point, Z, g, h)
        Gv, Gtu = ambient_actions(point, g)
    else:
        Gv, Gtu = g
    s = _nonzero(point.s)
    Kv = h.u / s
    Ktu = h.vt.mT / s - Gtu @ (Z.M / s)
    from_u = point.u.mT @ Kv - Gtu.mT @ (Z.Vp / s)
    from_v = (point.vt @ Ktu).mT - (Z.Up / s).mT @ Gv
    row, column = pair(point.s / namespace(point.s).max(point.s, axis=-1, keepdims=True))
    weight = column**2 / (row**2 + column**2)
    core = weight * from_u + (1 - weight) * from_v
    return hessian(point, Z, Gv, Gtu, Kv, Ktu, core, depth)


def _require_lifted(point: SVD, Z: Tangent, g: FactorTriple, h: FactorTriple) -> None:
    """Reject costs whose factor derivatives do not agree, measured against the Hessian too."""
    xp = namespace(point.s)
    sources = _sources(point, g)
    core = _core(point, g, sources)
    diagonal = xp.linalg.diagonal(sources.agreed)
    gap = xp.maximum(xp.max(xp.abs(diagonal - g.s)), xp.max(sources.disagreement))
    length = xp.sqrt(sum(norm(x) ** 2 for x in Z))
    scale = xp.max(xp.abs(g.s)) + xp.max(core.noise) / core.rounding
    scale = scale + (norm(h.u) + norm(h.vt)) / xp.where(length == 0, 1.0, length)
    if bool(gap > core.tolerance * scale) and bool(length > 0):
        raise ValueError(
            "the cost depends on its factors not only through u diag(s) vt: its derivatives "
            f"disagree by {float(gap):.2g}; give an ambient gradient and Hessian instead"
        )
