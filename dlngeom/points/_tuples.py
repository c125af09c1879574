"""Points, tangent vectors and covectors as named tuples; leading axes are a batch."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from dlngeom._lib.arrays import Array
from dlngeom._lib.door import takes_arrays

__all__ = ["SVD", "Frames", "Layers", "LowRank", "Tangent", "dense"]

Layers: TypeAlias = tuple[Array, ...]


class SVD(NamedTuple):
    r"""Matrix of rank ``r`` by its singular value decomposition.

    .. math:: W = u\,\mathrm{diag}(s)\,v^T

    Attributes
    ----------
    u : array (..., m, r)
        Left singular vectors, in orthonormal columns.
    s : array (..., r)
        Singular values, >= 0.
    vt : array (..., r, n)
        Right singular vectors, in orthonormal rows.

    See Also
    --------
    dlngeom.points.svd : SVD of a dense matrix.
    dlngeom.Frames : A point upstairs.
    dlngeom.Tangent : Tangent vector at such a point.

    Notes
    -----
    Equation (5.17) of Menon, *The geometry of the deep linear network*.
    """

    u: Array
    s: Array
    vt: Array


class Tangent(NamedTuple):
    r"""Tangent vector to the matrices of rank ``r`` at an :class:`SVD`.

    .. math:: Z = u M v^T + U_p v^T + u V_p^T

    Attributes
    ----------
    Up : array (..., m, r)
        Orthogonal to ``u``.
    M : array (..., r, r)
        Core.
    Vp : array (..., n, r)
        Orthogonal to ``v``.

    See Also
    --------
    dlngeom.SVD : The point.
    dlngeom.LowRank : Covector in factored form.

    Notes
    -----
    B. Vandereycken, *Low-rank matrix completion by Riemannian optimization* (SIAM J. Optim. 23,
    2013).
    """

    Up: Array
    M: Array
    Vp: Array


class LowRank(NamedTuple):
    r"""Low-rank matrix or covector in factored form; the factors are arbitrary.

    .. math:: Z = U S V^T

    Attributes
    ----------
    U : array (..., m, k)
    S : array (..., k, l)
    V : array (..., n, l)

    See Also
    --------
    dlngeom.Tangent : Tangent vector in factored form.
    dlngeom.points.dense : Dense matrix of either.
    """

    U: Array
    S: Array
    V: Array


class Frames(NamedTuple):
    r"""Balanced network by its singular values and frames.

    .. math:: W_p = Q_p \Lambda Q_{p-1}^T, \qquad p = 1, \dots, N

    Attributes
    ----------
    lam : array (..., r)
        Singular values of every layer, descending.
    q : tuple of N+1 arrays (..., d_p, r)
        Orthonormal frames, ``Q_0`` first.

    See Also
    --------
    dlngeom.points.frames : Frames of balanced layers.
    dlngeom.points.factors : Layers of these frames.
    dlngeom.SVD : A point downstairs.

    Notes
    -----
    The chart (5.16), (5.20) of Menon, *The geometry of the deep linear network*.
    """

    lam: Array
    q: tuple[Array, ...]


@takes_arrays("value")
def dense(value: SVD | LowRank | Frames | tuple[SVD, Tangent]) -> Array:
    r"""Dense matrix of a point, a tangent vector or a low-rank matrix.

    .. math:: u\,\mathrm{diag}(s)\,v^T, \qquad Q_N \Lambda^N Q_0^T, \qquad
              u M v^T + U_p v^T + u V_p^T, \qquad U S V^T

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

    See Also
    --------
    dlngeom.points.svd : SVD of a dense matrix.
    dlngeom.network.end_to_end : Dense end-to-end matrix of layers.

    Notes
    -----
    Equation (5.17) of Menon, *The geometry of the deep linear network*.
    """
    try:
        return _dense(value)
    except (ValueError, IndexError, AttributeError, RuntimeError):
        shapes = ", ".join(str(tuple(getattr(x, "shape", "?"))) for x in _leaves(value))
        name = type(value).__name__
        raise ValueError(f"{name} has parts of shapes {shapes}: they do not fit") from None


def _leaves(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        return (value,)
    return tuple(x for part in value for x in _leaves(part))


def _dense(value: Any) -> Array:
    if isinstance(value, SVD):
        return (value.u * value.s[..., None, :]) @ value.vt
    if isinstance(value, LowRank):
        return value.U @ value.S @ value.V.mT
    if isinstance(value, Frames) and isinstance(value.q, tuple):
        depth = len(value.q) - 1
        return (value.q[-1] * (value.lam**depth)[..., None, :]) @ value.q[0].mT
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], SVD):
        (u, _, vt), (Up, M, Vp) = value
        matrix: Array = (u @ M + Up) @ vt + u @ Vp.mT
        return matrix
    raise TypeError(f"dense takes an SVD, LowRank, Frames or (SVD, Tangent), got {type(value)}")
