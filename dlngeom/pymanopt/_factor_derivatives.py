r"""From derivatives in the factors ``(u, s, vt)`` to products with ambient ones.

Automatic differentiation of a cost of ``(u * s) @ vt`` gives, with ``G = E'(W)``,

.. math:: g_u = G v\,\Sigma, \qquad g_s = \mathrm{diag}(u^T G v), \qquad g_{vt} = \Sigma\, u^T G

so ``G v`` and ``G^T u`` are columns divided by ``s``, and no difference of singular values is
needed.  For a cost that depends on the factors in another way, such as ``sum(s)``, these three
sources of the core ``u^T G v`` disagree.  Entries that disagree are taken from the derivative of
the SVD instead, with an error of rounding divided by the relative gap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, eps, namespace, norm, project_out
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


class _Core(NamedTuple):
    """Estimates of the core and their errors, entry by entry.

    The rounding error and the tolerance are those of the numbers, not of the arrays they are in.
    """

    agreed: Array
    differentiated: Array
    disagreement: Array
    noise: Array
    gap: Array
    rounding: float
    tolerance: float


def check_triple(name: str, point: SVD, triple: FactorTriple) -> FactorTriple:
    """Require the shapes of ``(u, s, vt)``."""
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
    xp = namespace(s)
    return xp.where(s == 0, xp.ones_like(s), s)[..., None, :]


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
    Gv, Gtu = ambient_actions(point, g)
    core = _core(point, g)
    _require_gradient(point, g, core)
    xp = namespace(point.s)
    general = core.disagreement > core.noise * (16 + 1 / xp.where(core.gap == 0, 1.0, core.gap))
    general = general & (core.gap > 0)
    M = xp.where(general, core.differentiated, core.agreed)
    M = _with_diagonal(M, g.s)
    return Tangent(project_out(point.u, Gv), M, project_out(point.vt.mT, Gtu))


def _with_diagonal(M: Array, diagonal: Array) -> Array:
    xp = namespace(M)
    on = xp.eye(M.shape[-1], dtype=M.dtype) == 1
    return xp.where(on, diagonal[..., None, :], M)


def _core(point: SVD, g: FactorTriple) -> _Core:
    """Two estimates of the core, in units of the larger singular value of each pair."""
    xp = namespace(point.s)
    row, column = pair(point.s)
    largest = xp.maximum(row, column)
    largest = xp.where(largest == 0, xp.ones_like(largest), largest)
    a, b = row / largest, column / largest
    # from_u is C_kl s_l and from_v is C_kl s_k if the cost sees only W.
    from_u = point.u.mT @ g.u / largest
    from_v = (point.vt @ g.vt.mT).mT / largest
    total = xp.where(a + b == 0, xp.ones_like(a), a * a + b * b)
    agreed = (from_u * b + from_v * a) / total
    disagreement = xp.abs(from_u * a - from_v * b) / total**0.5
    signed = (b - a) * (b + a)
    safe = xp.where(signed == 0, xp.ones_like(signed), signed)
    turned = (from_u - from_u.mT) * b + a * (from_v.mT - from_v)
    sizes = _column_sizes(g.u)[..., None, :] + _column_sizes(g.vt.mT)[..., :, None]
    # E'(W) rounds at the scale of W for a least-squares cost, even where E'(W) v vanishes.
    scale = xp.max(point.s, axis=-1)[..., None, None]
    rounding, tolerance = _precision(point, g)
    noise = rounding * (sizes / largest + scale)
    return _Core(agreed, turned / safe, disagreement, noise, xp.abs(signed), rounding, tolerance)


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


def _column_sizes(x: Array) -> Array:
    """Norms of columns, for entries whose squares underflow too."""
    xp = namespace(x)
    largest = xp.max(xp.abs(x), axis=-2, keepdims=True)
    unit = x / xp.where(largest == 0, xp.ones_like(largest), largest)
    return xp.sqrt(xp.sum(unit * unit, axis=-2)) * largest[..., 0, :]


def _require_gradient(point: SVD, g: FactorTriple, core: _Core) -> None:
    xp = namespace(point.s)
    # What g_s adds to the core must commute with the rotations of tied vectors.
    added_row, added_column = pair(g.s - xp.linalg.diagonal(core.agreed))
    size_row, size_column = pair(core.rounding * xp.abs(g.s))
    conflict = xp.maximum(core.disagreement, xp.abs(added_row - added_column))
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
    core = _core(point, g)
    diagonal = xp.linalg.diagonal(core.agreed)
    gap = xp.maximum(xp.max(xp.abs(diagonal - g.s)), xp.max(core.disagreement))
    length = xp.sqrt(sum(norm(x) ** 2 for x in Z))
    scale = xp.max(xp.abs(g.s)) + xp.max(core.noise) / core.rounding
    scale = scale + (norm(h.u) + norm(h.vt)) / xp.where(length == 0, 1.0, length)
    if bool(gap > core.tolerance * scale) and bool(length > 0):
        raise ValueError(
            "the cost depends on its factors not only through u diag(s) vt: its derivatives "
            f"disagree by {float(gap):.2g}; give an ambient gradient and Hessian instead"
        )
