r"""Entropy of the gauge orbits of a deep linear network, and the force that it exerts.

References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlngeom import spectral
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, identity, namespace
from dlngeom._lib.stiefel import log_stiefel_volume
from dlngeom.endtoend._checks import checked_components, checked_point
from dlngeom.endtoend._kernels import pair
from dlngeom.points import SVD, LowRank, Tangent, dense
from dlngeom.points._checks import require_positive
from dlngeom.thermodynamics._pair_entropy import pair_force, pair_stiffness

__all__ = ["entropy", "entropy_egrad", "entropy_ehess", "entropy_gradient"]


def entropy(
    s: Array,
    widths: Sequence[int],
    rank: int | None = None,
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array:
    r"""Boltzmann entropy of an end-to-end matrix: log volume of the networks that lie over it.

    .. math:: S = \tfrac12 \sum_{k<l} \log
              \frac{\sigma_k^2 - \sigma_l^2}{\lambda_k^2 - \lambda_l^2}
              + \sum_{p=1}^{N-1} \Big[ (d_p - r) \sum_k \log \lambda_k
              + \log \mathrm{vol}\, St(r, d_p) \Big]

    Parameters
    ----------
    s : array (..., r)
        Singular values of ``W``, > 0.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    rank : int, optional
        ``r``; the length of ``s`` by default, which it must be.
    depth : inf, optional
        For ``inf``, ``widths`` are those of the two ends, ``(d, d)``, and the entropy is the
        limit up to a constant.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (...)
        Volumes are those of orbits of balanced networks in the Frobenius metric.

    Raises
    ------
    ValueError
        If ``s`` is not positive, or shapes, rank or depth do not fit.

    Notes
    -----
    Theorem 10, at every rank and for all widths; smooth at repeated singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> float(thermodynamics.entropy(np.array([2.0, 2.0]), (2, 2, 2)).round(6))
    3.570745
    """
    number, inner = _layers(widths, depth)
    checks.floating("s", s)
    r = checks.rank(rank if rank is not None else s.shape[-1], *checks.widths(widths))
    checks.shape("s", s, (r,))
    if check_finite:
        checks.finite("s", s)
        require_positive("s", s)
    xp = namespace(s)
    pairs = xp.triu(spectral._log_weights(*pair(s), number), k=1)
    total = xp.sum(pairs, axis=(-2, -1)) / 2
    if number == math.inf:
        return total
    free = sum(d - r for d in inner)
    constant_part = sum(log_stiefel_volume(r, d) for d in inner)
    return total + free / number * xp.sum(xp.log(s), axis=-1) + constant_part


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

    Notes
    -----
    (12.8) and (12.13), at every rank and for all widths; smooth at repeated singular values.
    """
    number, inner = _layers(widths, depth)
    point = _point(W, widths, check_finite)
    c = _force(point.s, number, sum(d - point.s.shape[-1] for d in inner))
    Z = Tangent(point.u * 0, _diagonal(c), point.vt.mT * 0)
    return Z if isinstance(W, SVD) else dense((point, Z))


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

    Notes
    -----
    Theorem 10; below full rank it is the gradient of the entropy of the ``r`` largest singular
    values.
    """
    number, inner = _layers(widths, depth)
    point = _point(W, widths, check_finite)
    slope = _log_force(point.s, number, sum(d - point.s.shape[-1] for d in inner)) / point.s
    covector = LowRank(point.u, _diagonal(slope), point.vt.mT)
    return covector if isinstance(W, SVD) else dense(covector)


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

    Notes
    -----
    Derivative of Theorem 10; ``O(r^3)`` memory, smooth at repeated singular values.
    """
    number, inner = _layers(widths, depth)
    point = _point(W, widths, check_finite)
    Up, M, Vp = checked_components("Z", W, point, Z, check_finite, tangent=True)
    force = _log_force(point.s, number, sum(d - point.s.shape[-1] for d in inner))
    core, side = _core_hessian(point.s, force, M, number), _diagonal(force / point.s**2)
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


def _layers(widths: Sequence[int], depth: float | None) -> tuple[float, tuple[int, ...]]:
    """Depth and inner widths."""
    widths = checks.widths(widths)
    if depth is None or depth == len(widths) - 1:
        return len(widths) - 1, widths[1:-1]
    if depth != math.inf or len(widths) > 2 or widths[0] != widths[1]:
        raise ValueError(
            f"depth={depth!r} with widths={widths}: give none, or inf with widths (d, d)"
        )
    return math.inf, ()


def _point(W: Array | SVD, widths: Sequence[int], check_finite: bool) -> SVD:
    point = checked_point(W, 1, check_finite)
    shape = (point.u.shape[-2], point.vt.shape[-1])
    if shape != (widths[-1], widths[0]):
        raise ValueError(
            f"W is {shape[0]} x {shape[1]}: widths={tuple(widths)} end with {widths[-1]} x "
            f"{widths[0]}"
        )
    checks.rank(point.s.shape[-1], *widths)
    if check_finite:
        require_positive("W", point.s)
    return point


def _force(s: Array, depth: float, free: int) -> Array:
    """Diagonal ``c`` of the gradient of the entropy."""
    power = 1.0 if depth == math.inf else 1 - 2 / depth
    return s**power * _lam_force(s, depth, free)


def _log_force(s: Array, depth: float, free: int) -> Array:
    """Differentiate the entropy by ``log sigma``."""
    return _lam_force(s, depth, free) / (1.0 if depth == math.inf else depth)


def _lam_force(s: Array, depth: float, free: int) -> Array:
    """Differentiate the entropy by ``log lam``; by ``log sigma`` for infinite depth."""
    xp = namespace(s)
    log_s = xp.log(s)
    forces = pair_force(log_s[..., :, None] - log_s[..., None, :], depth)
    itself = pair_force(log_s * 0, depth)
    return xp.sum(forces, axis=-1) - itself + free
