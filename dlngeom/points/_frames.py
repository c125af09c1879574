r"""Factorisations of points: the SVD of a matrix, the frames of a balanced network.

An end-to-end matrix is dense or an :class:`SVD`; a balanced network is a tuple of layers, input
layer first, or its :class:`Frames`.  Leading axes are a batch everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.derivatives import require_separate
from dlngeom._lib.door import takes_arrays
from dlngeom.points._checks import check_factors, check_frames, require_rank
from dlngeom.points._tuples import SVD, Frames

__all__ = ["factors", "frames", "frames_above", "svd"]


@takes_arrays("W")
def svd(W: Array, rank: int | None = None) -> SVD:
    r"""Leading ``rank`` singular triples of a matrix.

    .. math:: W \approx u\,\mathrm{diag}(s)\,v^T

    Parameters
    ----------
    W : array (..., m, n)
        Matrices.
    rank : int, optional
        Number of triples to keep; ``min(m, n)`` by default.

    Returns
    -------
    SVD
        The best approximation of rank ``rank``, equal to ``W`` if ``W`` has that rank.

    Raises
    ------
    ValueError
        If ``W`` is not a finite matrix or ``rank`` is not in ``1..min(m, n)``, or if torch or jax
        differentiates equal singular values, whose vectors have no derivative; in compiled code
        that is NaN.

    See Also
    --------
    dlngeom.points.dense : The inverse.
    dlngeom.points.frames : The factorisation upstairs.

    Notes
    -----
    Equation (5.17) of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> import dlngeom
    >>> dlngeom.svd(np.diag([3.0, 2.0, 0.0]), rank=2).s
    array([3., 2.])
    """
    checks.matrix("W", W)
    kept = checks.rank(rank, *W.shape[-2:])
    checks.finite("W", W)
    linalg = namespace(W).linalg
    u, s, vt = require_separate(W, *linalg.svd(W, full_matrices=False))
    return SVD(u[..., :kept], s[..., :kept], vt[..., :kept, :])


@takes_arrays("point")
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

    See Also
    --------
    dlngeom.points.frames : The inverse.
    dlngeom.points.polar_chart : The chart of networks with arbitrary invariants.
    dlngeom.network.end_to_end : Product of the layers.

    Notes
    -----
    The chart (5.16), (5.20) of Menon, *The geometry of the deep linear network*.
    """
    check_frames(point, check_finite=False)
    lam = point.lam[..., None, :]
    return tuple((upper * lam) @ lower.mT for lower, upper in _neighbours(point.q))


@takes_arrays("factors")
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
        If the layers are not balanced to 1e-8 relative (1e-3 in float32), or not of rank ``rank``,
        or if torch or jax differentiates equal singular values; in compiled code that is NaN.

    See Also
    --------
    dlngeom.points.factors : The inverse.
    dlngeom.points.nearest_balanced : Frames for layers that are not balanced.
    dlngeom.points.svd : The factorisation downstairs.

    Notes
    -----
    Inverse of the chart (5.16), (5.20) of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> import dlngeom
    >>> point = dlngeom.frames([2 * np.eye(3), 2 * np.eye(4, 3)])
    >>> point.lam, [q.shape for q in point.q]
    (array([2., 2., 2.]), [(3, 3), (3, 3), (4, 3)])
    """
    factors = check_factors(factors)
    kept = checks.rank(rank, *_widths(factors))
    _require_balanced(factors)
    xp = namespace(*factors)
    u, s, vt = require_separate(factors[0], *xp.linalg.svd(factors[0], full_matrices=False))
    require_rank("layer 1", s, kept, max(factors[0].shape[-2:]))
    return frames_above(factors, u[..., :kept], vt[..., :kept, :])


def frames_above(factors: Sequence[Array], u: Array, vt: Array) -> Frames:
    """Unchecked :func:`frames` of layers, given the singular vectors of the first one."""
    xp = namespace(u)
    q = [vt.mT, u]
    for factor in factors[1:]:
        q.append(_next_frame(factor, q[-1]))
    diagonals = [
        xp.sum(hi * (W @ lo), axis=-2) for W, (lo, hi) in zip(factors, _neighbours(q), strict=True)
    ]
    return Frames(sum(diagonals[1:], diagonals[0]) / len(factors), tuple(q))


def _next_frame(factor: Array, frame: Array) -> Array:
    """Orthonormalise ``W Q``, large singular values first so that small ones inherit no error."""
    xp = namespace(factor)
    linalg = xp.linalg
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
    limit = checks.relative_tolerance(factors[0])
    if any(0 in factor.shape for factor in factors):
        return  # An empty batch.
    # Scaled first, since fourth powers of the entries must not under- or overflow.
    largest = max(float(xp.max(xp.abs(factor))) for factor in factors) or 1.0
    factors = [factor / largest for factor in factors]
    for p, (lower, upper) in enumerate(pairwise(factors), start=1):
        left, right = lower @ lower.mT, upper.mT @ upper
        scale = xp.sqrt(xp.sum(left * left, axis=(-2, -1)) + xp.sum(right * right, axis=(-2, -1)))
        gap = xp.sqrt(xp.sum((left - right) ** 2, axis=(-2, -1)))
        worst = float(xp.max(gap / xp.where(scale == 0, xp.ones_like(scale), scale)))
        if not worst <= limit:
            raise ValueError(
                f"layers {p} and {p + 1} are not balanced: |W_{p} W_{p}^T - W_{p + 1}^T W_{p + 1}| "
                f"is {worst:.2g} relative, allowed {limit:g}; nearest_balanced(factors) gives a "
                "balanced network near them, dlngeom.flow.network_flow and "
                "dlngeom.langevin.network_langevin take them as they are"
            )
