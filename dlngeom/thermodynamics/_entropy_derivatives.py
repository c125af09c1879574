r"""Derivatives of the entropy of a deep linear network: the force that gauge noise exerts.

They are sums over pairs of singular values; what happens at ties and at small ratios is in
``_pair_entropy`` and ``_pair_curvature``.
References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlngeom import spectral
from dlngeom._lib.arrays import Array, identity, namespace
from dlngeom._lib.derivatives import smooth_in
from dlngeom._lib.door import takes_arrays
from dlngeom.endtoend._checks import checked_components
from dlngeom.endtoend._kernels import pair
from dlngeom.points import SVD, LowRank, Tangent, dense
from dlngeom.thermodynamics._layers import LayerWidths, layer_widths, point_of
from dlngeom.thermodynamics._pair_curvature import pair_curvature
from dlngeom.thermodynamics._pair_entropy import others, pair_slope, pairs

__all__ = ["entropy_egrad", "entropy_ehess", "entropy_gradient", "entropy_hessian"]


@smooth_in("W")
@takes_arrays("W")
def entropy_gradient(
    W: Array | SVD,
    widths: Sequence[int],
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array | Tangent:
    r"""Gradient of the entropy for the metric ``g^N``: the force of the gauge noise.

    .. math:: \mathrm{grad}_{g^N} S = U\, \mathrm{diag}(c)\, V^T, \qquad
              c_k = \Sigma'_{kk} + \lambda_k^{N-2} \sum_{p=1}^{N-1} (d_p - r)

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point; a dense one has rank ``min(m, n)``.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    depth : inf, optional
        As for :func:`entropy`, with the metric of :class:`dlngeom.InfinitelyDeepNetwork`.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or Tangent

    Raises
    ------
    ValueError
        If ``W`` has a singular value of zero, or shapes, rank or depth do not fit.

    See Also
    --------
    dlngeom.submersion.mean_curvature : Minus the gradient upstairs.
    dlngeom.thermodynamics.entropy : The entropy.
    dlngeom.thermodynamics.entropy_egrad : The Euclidean gradient.

    Notes
    -----
    (12.8) and (12.13), at every rank and for all widths; smooth at repeated singular values.
    """
    layers = layer_widths(widths, depth)
    point = point_of(W, layers, check_finite)
    c = _force(point.s, layers)
    Z = Tangent(point.u * 0, _diagonal(c), point.vt.mT * 0)
    return Z if isinstance(W, SVD) else dense((point, Z))


@smooth_in("W")
@takes_arrays("W")
def entropy_egrad(
    W: Array | SVD,
    widths: Sequence[int],
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array | LowRank:
    r"""Euclidean gradient of the entropy: a covector for any optimizer.

    .. math:: S'(W) = U\, \mathrm{diag}(\partial S / \partial \sigma_k)\, V^T

    Parameters
    ----------
    W, widths, depth, check_finite
        As for :func:`entropy_gradient`.

    Returns
    -------
    array (..., m, n) or LowRank
        Dense for a dense ``W``.

    Raises
    ------
    ValueError
        As for :func:`entropy_gradient`.

    See Also
    --------
    dlngeom.thermodynamics.entropy_gradient : The gradient for ``g^N``.
    dlngeom.thermodynamics.entropy_ehess : The second derivative.

    Notes
    -----
    Theorem 10; below full rank it is the gradient of the entropy of the ``r`` largest singular
    values.
    """
    layers = layer_widths(widths, depth)
    point = point_of(W, layers, check_finite)
    slope = _log_force(point.s, layers) / point.s
    covector = LowRank(point.u, _diagonal(slope), point.vt.mT)
    return covector if isinstance(W, SVD) else dense(covector)


@smooth_in("W")
@takes_arrays("W", "Z")
def entropy_ehess(
    W: Array | SVD,
    Z: Array | Tangent,
    widths: Sequence[int],
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array | LowRank:
    r"""Euclidean Hessian of the entropy, applied to a tangent vector.

    .. math:: S''(W)[Z] = \left.\frac{d}{dt}\right|_{t=0} S'(W + tZ)

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point; a dense one has rank ``min(m, n)``.
    Z : array (..., m, n) or Tangent
        Tangent vector.
    widths, depth, check_finite
        As for :func:`entropy_gradient`.

    Returns
    -------
    array (..., m, n) or LowRank
        Dense for a dense ``W``.

    Raises
    ------
    ValueError
        If ``Z`` is not tangent, or as for :func:`entropy_gradient`.

    See Also
    --------
    dlngeom.thermodynamics.entropy_egrad : The first derivative.
    dlngeom.thermodynamics.free_energy_hessian : The Hessian for ``g^N``, with an energy.

    Notes
    -----
    Derivative of Theorem 10; ``O(r^3)`` memory, smooth at repeated singular values.
    """
    layers = layer_widths(widths, depth)
    point = point_of(W, layers, check_finite)
    Up, M, Vp = checked_components("Z", W, point, Z, check_finite, tangent=True)
    slope = _log_force(point.s, layers) / point.s
    core, side = _core_hessian(point.s, M, layers), _diagonal(slope)
    # The vectors go first: what they are divided by may be as small as they are.
    Up, Vp = Up / point.s[..., None, :], Vp / point.s[..., None, :]
    xp = namespace(core)
    batch = core.shape[:-2]
    side, u, v, Up, Vp = (
        xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (side, point.u, point.vt.mT, Up, Vp)
    )
    upper = xp.concat([core, side], axis=-1)
    S = xp.concat([upper, xp.concat([side, 0 * side], axis=-1)], axis=-2)
    covector = LowRank(xp.concat([u, Up], axis=-1), S, xp.concat([v, Vp], axis=-1))
    return covector if isinstance(W, SVD) else dense(covector)


def _core_hessian(s: Array, M: Array, layers: LayerWidths) -> Array:
    """Hessian of the entropy in the frames: divided differences of ``slope``."""
    xp, unit = namespace(s), identity(s.shape[-1], s)
    row, column = pair(s)
    crossed, even, mixed = pair_curvature(s, layers.depth)
    even = even - _free(layers, s.shape[-1]) / xp.minimum(row, column)
    # Entry (k, l) takes crossed from its own and even - crossed from the opposite one, which have
    # one sign each: the symmetric and the antisymmetric part would cancel at small ratios.
    large, apart = xp.maximum(row, column), others(s)
    relative = xp.sum(unit * M, axis=-1)[..., None, :] / large
    own = xp.sum((mixed + even * unit) * relative, axis=-1)
    M = apart * M / large
    return xp.where(apart == 0, own[..., None, :], crossed * M + (even - crossed) * M.mT)


def entropy_hessian(point: SVD, Z: Tangent, layers: LayerWidths) -> Tangent:
    r"""Hessian of the entropy for ``g^N``, applied to a tangent vector; nothing is checked.

    Functions of singular values do not change along rotations, and on two such fields the Hessian
    is half the derivative of their inner product along the gradient.  With ``F_k`` the derivative
    by ``log sigma_k`` it is ``(F_k - F_l) / (lam_k^2 - lam_l^2)`` from entry ``(k, l)`` to itself,
    and ``F_k / lam_k^2`` on the parts beyond the frames.
    """
    s, depth = point.s, layers.depth
    if depth == 1:
        return Tangent(*(x * 0 for x in Z))
    xp, unit, step = namespace(s), identity(s.shape[-1], s), 1 / depth
    number = 1.0 if step == 0 else depth
    row, column = pair(s)
    large, small = xp.maximum(row, column), xp.minimum(row, column)
    crossed, _, mixed = pair_curvature(s, depth)
    force = _log_force(s, layers)
    rate = force / s ** (2 * step)
    weight = spectral.weights(xp.ones_like(large), small / large, depth)
    own = crossed * large ** (1 - 2 * step) * weight
    least = 0 * own if step == 0 else xp.where(row < column, *pair(rate))
    opposite = number * (small / large / weight) * (own - least)
    # Derivatives of the forces by the logarithms of the other values.
    mixed = number * mixed * small
    growth = -xp.sum(mixed, axis=-1) / s ** (2 * step)
    growth = growth if step == 0 else growth - rate
    vector = xp.sum(unit * Z.M, axis=-1)
    turned = s ** (1 - 2 * step) * xp.sum(mixed * (vector / s)[..., None, :], axis=-1)
    diagonal = growth * vector + turned
    M = xp.where(unit == 1, diagonal[..., None, :], own * Z.M + opposite * Z.M.mT)
    if step == 0:
        return Tangent(Z.Up * 0, M, Z.Vp * 0)
    return Tangent(Z.Up * rate[..., None, :], M, Z.Vp * rate[..., None, :])


def _diagonal(values: Array) -> Array:
    return values[..., None, :] * identity(values.shape[-1], values)


def _force(s: Array, layers: LayerWidths) -> Array:
    """Diagonal ``c`` of the gradient of the entropy."""
    if layers.depth == math.inf:
        return s * _log_force(s, layers)
    return layers.depth * s ** (1 - 2 / layers.depth) * _log_force(s, layers)


def _log_force(s: Array, layers: LayerWidths) -> Array:
    """Differentiate the entropy by ``log sigma``; a value itself is left out of the sum."""
    xp, free = namespace(s), _free(layers, s.shape[-1])
    if layers.depth == 1:
        return s * 0 + free
    if layers.depth == 2:
        slopes = s[..., :, None] / (s[..., :, None] + s[..., None, :]) / 2
    else:
        slopes = pair_slope(pairs(s, layers.depth))
    return xp.sum(others(s) * slopes, axis=-1) + free


def _free(layers: LayerWidths, rank: int) -> float:
    """Exponent of the singular values due to directions beyond the rank."""
    return layers.free(rank) / layers.depth
