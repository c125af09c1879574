r"""Entropy of the gauge orbits of a deep linear network, and the force that it exerts.

References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import zeta

from dlngeom import _check, spectral
from dlngeom._array import Array, constant, namespace
from dlngeom._check_points import check_svd, require_positive
from dlngeom.factored import pair
from dlngeom.points import svd
from dlngeom.tuples import SVD, Tangent, dense
from dlngeom.volumes import log_stiefel_volume

__all__ = ["entropy", "entropy_gradient"]

# Coefficients of coth(x) - 1/x in odd powers of x.
_LANGEVIN = [-2 * (-1) ** k * float(zeta(2 * k)) / math.pi ** (2 * k) for k in range(1, 15)]
# The series is used below this argument, where its last term is at rounding level.
_NEAR = 0.75


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
    """
    number, inner = _layers(widths, depth)
    _check.floating("s", s)
    r = _check.rank(rank if rank is not None else s.shape[-1], *_check.widths(widths))
    _check.shape("s", s, (r,))
    if check_finite:
        _check.finite("s", s)
    require_positive("s", s)
    xp = namespace(s)
    pairs = xp.triu(spectral.log_weights(*pair(s), number), k=1)
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
    unit = namespace(c).eye(c.shape[-1], dtype=c.dtype)
    core = c[..., None, :] * constant(unit, c)
    Z = Tangent(point.u * 0, core, point.vt.mT * 0)
    return Z if isinstance(W, SVD) else dense((point, Z))


def _layers(widths: Sequence[int], depth: float | None) -> tuple[float, tuple[int, ...]]:
    """Depth and inner widths."""
    widths = _check.widths(widths)
    if depth is None or depth == len(widths) - 1:
        return len(widths) - 1, widths[1:-1]
    if depth != math.inf or len(widths) > 2 or widths[0] != widths[1]:
        raise ValueError(
            f"depth={depth!r} with widths={widths}: give none, or inf with widths (d, d)"
        )
    return math.inf, ()


def _point(W: Array | SVD, widths: Sequence[int], check_finite: bool) -> SVD:
    if isinstance(W, SVD):
        point = check_svd(W, check_finite=check_finite)
    else:
        _check.matrix("W", W)
        point = svd(W)
    shape = (point.u.shape[-2], point.vt.shape[-1])
    if shape != (widths[-1], widths[0]):
        raise ValueError(
            f"W is {shape[0]} x {shape[1]}: widths={tuple(widths)} end with {widths[-1]} x "
            f"{widths[0]}"
        )
    _check.rank(point.s.shape[-1], *widths)
    require_positive("W", point.s)
    return point


def _force(s: Array, depth: float, free: int) -> Array:
    """Diagonal ``c`` of the gradient of the entropy."""
    xp = namespace(s)
    log_s = xp.log(s)
    forces = _pair_force(log_s[..., :, None] - log_s[..., None, :], depth)
    itself = _pair_force(log_s * 0, depth)
    power = 1.0 if depth == math.inf else 1 - 2 / depth
    return s**power * (xp.sum(forces, axis=-1) - itself + free)


def _pair_force(v: Array, depth: float) -> Array:
    """Differentiate by ``log lam_k`` a pair's entropy, at ``v = log(sigma_k / sigma_l)``.

    It is ``N e(v) - e(v/N)`` with ``e(x) = 1/(1 - exp(-2x))``; where both have a pole, the
    difference of what remains without it.
    """
    xp = namespace(v)
    near = xp.abs(v) < _NEAR
    small, large = xp.where(near, v, 0 * v), xp.where(near, xp.ones_like(v), v)
    if depth == math.inf:
        far = _step(large) - 1 / (2 * large)
        return xp.where(near, (1 + _langevin(small)) / 2, far)
    far = depth * _step(large) - _step(large / depth)
    close = (depth - 1 + depth * _langevin(small) - _langevin(small / depth)) / 2
    return xp.where(near, close, far)


def _step(x: Array) -> Array:
    """Return ``1 / (1 - exp(-2x))``, which is zero to rounding before ``exp`` overflows."""
    xp = namespace(x)
    largest = math.log(float(xp.finfo(x.dtype).max)) - 1
    return -1 / xp.expm1(xp.minimum(-2 * x, largest * xp.ones_like(x)))


def _langevin(x: Array) -> Array:
    """Series of ``coth(x) - 1/x`` for ``|x| < 0.75``, to rounding."""
    squared, total = x * x, 0 * x
    for coefficient in reversed(_LANGEVIN):
        total = total * squared + coefficient
    return x * total
