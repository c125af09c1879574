r"""Derivatives of the entropy of a deep linear network: the force that gauge noise exerts.

They are sums over pairs of singular values; what happens at ties is in ``_pair_entropy``.
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
from dlngeom.thermodynamics._pair_entropy import pair_force, pair_stiffness

__all__ = ["entropy_egrad", "entropy_ehess", "entropy_gradient"]


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
    force = _log_force(point.s, layers)
    core, side = _core_hessian(point.s, force, M, layers.depth), _diagonal(force / point.s**2)
    xp = namespace(core)
    upper = xp.concat([core, side], axis=-1)
    S = xp.concat([upper, xp.concat([side, 0 * side], axis=-1)], axis=-2)
    covector = LowRank(xp.concat([point.u, Up], axis=-1), S, xp.concat([point.vt.mT, Vp], axis=-1))
    return covector if isinstance(W, SVD) else dense(covector)


def _core_hessian(s: Array, force: Array, M: Array, depth: float) -> Array:
    """Hessian of the entropy in the frames: divided differences of ``force / s``."""
    xp = namespace(s)
    row, column = pair(s)
    force_row, force_column = pair(force)
    log_s = xp.log(s)
    v = log_s[..., :, None] - log_s[..., None, :]
    # The terms of the pair (k, l) itself complete the sum over all other values.
    stiffness = xp.sum(pair_stiffness(v[..., :, None, :], v[..., None, :, :], depth), axis=-1)
    mean = spectral.weights(row**0.5, column**0.5, math.inf)
    smaller = xp.where(row < column, force_row, force_column)
    even = stiffness / mean / xp.maximum(row, column) - smaller / row / column
    odd = (force_row / row + force_column / column) / (row + column)
    unit = identity(s.shape[-1], s)
    relative = xp.sum(M * unit, axis=-1) / s
    coupling = xp.sum(pair_stiffness(v, v, depth) * relative[..., None, :], axis=-1) / s
    return even * (M + M.mT) / 2 + odd * (M - M.mT) / 2 - coupling[..., None, :] * unit


def _diagonal(values: Array) -> Array:
    return values[..., None, :] * identity(values.shape[-1], values)


def _force(s: Array, layers: LayerWidths) -> Array:
    """Diagonal ``c`` of the gradient of the entropy."""
    power = 1.0 if layers.depth == math.inf else 1 - 2 / layers.depth
    return s**power * _lam_force(s, layers)


def _log_force(s: Array, layers: LayerWidths) -> Array:
    """Differentiate the entropy by ``log sigma``."""
    return _lam_force(s, layers) / (1.0 if layers.depth == math.inf else layers.depth)


def _lam_force(s: Array, layers: LayerWidths) -> Array:
    """Differentiate the entropy by ``log lam``; by ``log sigma`` for infinite depth."""
    xp = namespace(s)
    log_s = xp.log(s)
    forces = pair_force(log_s[..., :, None] - log_s[..., None, :], layers.depth)
    itself = pair_force(log_s * 0, layers.depth)
    return xp.sum(forces, axis=-1) - itself + layers.free(s.shape[-1])
