r"""Points and tangent vectors as named tuples, and the charts between them.

An end-to-end matrix is dense or an :class:`SVD`; a balanced network is a tuple of factors,
input layer first, or its :class:`Frames`.  Leading axes are a batch everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from dlngeom import _check
from dlngeom._array import Array, eps, namespace

__all__ = [
    "SVD",
    "Frames",
    "LowRank",
    "Tangent",
    "check_factors",
    "check_frames",
    "check_svd",
    "dense",
    "factors",
    "frames",
    "require_positive",
    "svd",
]


class SVD(NamedTuple):
    r"""A matrix :math:`W = u\,\mathrm{diag}(s)\,v^T` of rank ``r``.

    Attributes
    ----------
    u : array (..., m, r)
    s : array (..., r)
    vt : array (..., r, n)
    """

    u: Array
    s: Array
    vt: Array


class Tangent(NamedTuple):
    r"""A tangent vector :math:`Z = u M v^T + U_p v^T + u V_p^T` at an :class:`SVD`.

    Attributes
    ----------
    Up : array (..., m, r)
        Orthogonal to ``u``.
    M : array (..., r, r)
    Vp : array (..., n, r)
        Orthogonal to ``v``.
    """

    Up: Array
    M: Array
    Vp: Array


class LowRank(NamedTuple):
    r"""An ambient matrix or covector :math:`Z = U S V^T`.

    Attributes
    ----------
    U : array (..., m, k)
    S : array (..., k, l)
    V : array (..., n, l)
    """

    U: Array
    S: Array
    V: Array


class Frames(NamedTuple):
    r"""A balanced network :math:`W_p = Q_p \Lambda Q_{p-1}^T`, (5.16) and (5.20) of Menon.

    Attributes
    ----------
    lam : array (..., r)
        Singular values of every layer, descending.
    q : tuple of N+1 arrays (..., d_p, r)
        Orthonormal frames, ``Q_0`` first.
    """

    lam: Array
    q: tuple[Array, ...]


def svd(W: Array, rank: int | None = None) -> SVD:
    r"""Leading ``rank`` singular triples of a matrix.

    .. math:: W \approx u\,\mathrm{diag}(s)\,v^T

    Parameters
    ----------
    W : array (..., m, n)
        Matrices.
    rank : int, optional
        How many triples to keep; ``min(m, n)`` by default.

    Returns
    -------
    SVD
        The best approximation of rank ``rank``, equal to ``W`` if that is its rank.

    Raises
    ------
    ValueError
        If ``W`` is not a finite matrix or ``rank`` is not in ``1..min(m, n)``.
    """
    _check.matrix("W", W)
    kept = _check.rank(rank, *W.shape[-2:])
    _check.finite("W", W)
    linalg: Any = namespace(W).linalg
    u, s, vt = linalg.svd(W, full_matrices=False)
    return SVD(u[..., :kept], s[..., :kept], vt[..., :kept, :])


def dense(value: SVD | LowRank | Frames | tuple[SVD, Tangent]) -> Array:
    r"""Dense matrix of a point, a tangent vector or a low-rank matrix.

    .. math:: u\,\mathrm{diag}(s)\,v^T, \qquad u M v^T + U_p v^T + u V_p^T, \qquad U S V^T

    Parameters
    ----------
    value : SVD, LowRank, Frames or (SVD, Tangent)
        ``Frames`` give the end-to-end matrix.

    Returns
    -------
    array (..., m, n)

    Raises
    ------
    TypeError
        If ``value`` is none of these.
    """
    if isinstance(value, SVD):
        return (value.u * value.s[..., None, :]) @ value.vt
    if isinstance(value, LowRank):
        return value.U @ value.S @ value.V.mT
    if isinstance(value, Frames):
        depth = len(value.q) - 1
        return (value.q[-1] * (value.lam**depth)[..., None, :]) @ value.q[0].mT
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], SVD):
        (u, _, vt), (Up, M, Vp) = value
        return (u @ M + Up) @ vt + u @ Vp.mT
    raise TypeError(f"dense takes an SVD, LowRank, Frames or (SVD, Tangent), got {type(value)}")


def factors(point: Frames) -> tuple[Array, ...]:
    r"""Layers of a balanced network, input layer first.

    .. math:: W_p = Q_p \Lambda Q_{p-1}^T, \qquad p = 1, \dots, N

    Parameters
    ----------
    point : Frames

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    check_frames(point, check_finite=False)
    lam = point.lam[..., None, :]
    return tuple((upper * lam) @ lower.mT for lower, upper in _neighbours(point.q))


def frames(factors: Sequence[Array], rank: int | None = None) -> Frames:
    r"""Frames of a balanced network, the inverse of :func:`factors`.

    .. math:: W_1 = Q_1 \Lambda Q_0^T, \qquad W_p Q_{p-1} = Q_p \Lambda

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers with ``W_p W_p^T = W_{p+1}^T W_{p+1}``, input layer first.
    rank : int, optional
        Rank of every layer; the smallest width by default.

    Returns
    -------
    Frames

    Raises
    ------
    ValueError
        If the layers are not balanced to 1e-8 relative (1e-3 in float32), or have another rank.
    """
    factors = check_factors(factors)
    kept = _check.rank(rank, *_widths(factors))
    _require_balanced(factors)
    xp = namespace(*factors)
    u, s, vt = xp.linalg.svd(factors[0], full_matrices=False)
    _require_rank(factors[0], s, kept)
    q = [vt[..., :kept, :].mT, u[..., :kept]]
    for factor in factors[1:]:
        q.append(_next_frame(factor, q[-1]))
    diagonals = [
        xp.sum(hi * (W @ lo), axis=-2) for W, (lo, hi) in zip(factors, _neighbours(q), strict=True)
    ]
    return Frames(sum(diagonals[1:], diagonals[0]) / len(factors), tuple(q))


def _next_frame(factor: Array, frame: Array) -> Array:
    """Orthonormalise ``W Q``, large singular values first so that small ones inherit no error."""
    xp = namespace(factor)
    linalg: Any = xp.linalg
    image = factor @ frame
    q, _ = linalg.qr(image)
    overlap = xp.sum(q * image, axis=-2)
    return q * xp.where(overlap < 0, -xp.ones_like(overlap), xp.ones_like(overlap))[..., None, :]


def _neighbours(q: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Pairs ``(Q_{p-1}, Q_p)`` for ``p = 1, ..., N``."""
    return list(pairwise(q))


def _widths(factors: Sequence[Array]) -> tuple[int, ...]:
    return (factors[0].shape[-1], *(factor.shape[-2] for factor in factors))


def _require_balanced(factors: Sequence[Array]) -> None:
    xp = namespace(*factors)
    limit = _check.relative_tolerance(factors[0])
    for p, (lower, upper) in enumerate(pairwise(factors), start=1):
        left, right = lower @ lower.mT, upper.mT @ upper
        scale = xp.sqrt(xp.sum(left * left, axis=(-2, -1)) + xp.sum(right * right, axis=(-2, -1)))
        gap = xp.sqrt(xp.sum((left - right) ** 2, axis=(-2, -1)))
        worst = float(xp.max(gap / xp.where(scale == 0, xp.ones_like(scale), scale)))
        if not worst <= limit:
            raise ValueError(
                f"layers {p} and {p + 1} are not balanced: |W_{p} W_{p}^T - W_{p + 1}^T W_{p + 1}| "
                f"is {worst:.2g} relative, allowed {limit:g}"
            )


def _require_rank(factor: Array, s: Array, kept: int) -> None:
    xp = namespace(s)
    tail = float(xp.max(s[..., kept] / s[..., 0])) if s.shape[-1] > kept else 0.0
    if tail > _check.relative_tolerance(s):
        raise ValueError(
            f"rank={kept}: the layers have a larger one, sigma_{kept + 1}/sigma_1 = {tail:.2g}"
        )
    # Below this, a singular value of dense layers is only rounding error.
    require_positive("lam", s[..., :kept], max(factor.shape[-2:]) * eps(s))


def require_positive(name: str, s: Array, limit: float = 0.0) -> None:
    """Require the smallest singular value to exceed ``limit`` times the largest."""
    xp = namespace(s)
    largest, smallest = xp.max(s, axis=-1), xp.min(s, axis=-1)
    if bool(xp.any(smallest <= limit * largest)):
        raise ValueError(
            f"{name} has a smallest singular value {float(xp.min(smallest)):.3g}, its rank is "
            f"below {s.shape[-1]}: give the rank, or an SVD of that rank"
        )


def check_svd(point: SVD, *, check_finite: bool = True) -> SVD:
    """Return ``point`` as an SVD after checking its shapes and, if asked, its values."""
    u, s, vt = point
    _check.matrix("u", u)
    _check.same_dtype("SVD", u, s, vt)
    r = u.shape[-1]
    _check.shape("s", s, (r,))
    _check.shape("vt", vt, (r, vt.shape[-1]))
    _check.batches_agree("SVD", (u, 2), (s, 1), (vt, 2))
    _check.rank(r, u.shape[-2], vt.shape[-1])
    if check_finite:
        for name, x in zip(["u", "s", "vt"], (u, s, vt), strict=True):
            _check.finite(name, x)
        _check.orthonormal("u", u)
        _check.orthonormal("vt^T", vt.mT)
        _require_nonnegative("s", s)
    return SVD(u, s, vt)


def _require_nonnegative(name: str, s: Array) -> None:
    smallest = float(namespace(s).min(s))
    if smallest < 0:
        raise ValueError(f"{name} has an entry {smallest:.3g}: singular values must be >= 0")


def check_factors(factors: Sequence[Array], *, check_finite: bool = True) -> tuple[Array, ...]:
    """Return the layers as a tuple after checking that their product is defined."""
    factors = tuple(factors)
    if not factors:
        raise ValueError("factors=(): a network needs at least one layer")
    namespace(*factors)
    for p, factor in enumerate(factors, start=1):
        _check.matrix(f"W_{p}", factor)
    _check.same_dtype("factors", *factors)
    _check.batches_agree("factors", *((factor, 2) for factor in factors))
    for p, (lower, upper) in enumerate(pairwise(factors), start=1):
        if lower.shape[-2] != upper.shape[-1]:
            raise ValueError(
                f"W_{p + 1} W_{p} is not defined: "
                f"shapes {tuple(upper.shape)} and {tuple(lower.shape)}"
            )
    if check_finite:
        for p, factor in enumerate(factors, start=1):
            _check.finite(f"W_{p}", factor)
    return factors


def check_frames(point: Frames, *, check_finite: bool = True) -> Frames:
    """Return ``point`` as Frames after checking its shapes and, if asked, its values."""
    lam, q = point[0], tuple(point[1])
    if len(q) < 2:
        raise ValueError(f"Frames has {len(q)} frames: a network has N + 1 >= 2")
    namespace(lam, *q)
    r = lam.shape[-1]
    for p, frame in enumerate(q):
        _check.matrix(f"Q_{p}", frame)
        _check.shape(f"Q_{p}", frame, (frame.shape[-2], r))
        _check.rank(r, frame.shape[-2])
    _check.same_dtype("Frames", lam, *q)
    _check.batches_agree("Frames", (lam, 1), *((frame, 2) for frame in q))
    if check_finite:
        _check.finite("lam", lam)
        _require_nonnegative("lam", lam)
        require_positive("lam", lam)
        for p, frame in enumerate(q):
            _check.finite(f"Q_{p}", frame)
            _check.orthonormal(f"Q_{p}", frame)
    return Frames(lam, q)
