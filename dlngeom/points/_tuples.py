"""Points, tangent vectors and covectors as named tuples; leading axes are a batch."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from dlngeom._lib.arrays import Array

__all__ = ["SVD", "Frames", "Layers", "LowRank", "Tangent", "dense"]

Layers: TypeAlias = tuple[Array, ...]


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
    pair: Any = value  # Callers may pass what the annotation forbids.
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], SVD):
        (u, _, vt), (Up, M, Vp) = pair
        matrix: Array = (u @ M + Up) @ vt + u @ Vp.mT
        return matrix
    raise TypeError(f"dense takes an SVD, LowRank, Frames or (SVD, Tangent), got {type(value)}")
