"""Balanced networks near given layers: the nearest one, and one that depends smoothly on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, eps, identity, inner, namespace, polar, symmetric
from dlngeom._lib.derivatives import held
from dlngeom._lib.door import takes_arrays
from dlngeom.points._checks import check_factors, require_positive, require_rank
from dlngeom.points._products import ScaledProduct
from dlngeom.points._tuples import Frames

__all__ = ["carried_frames", "closest_frames", "nearby_frames", "nearest_balanced"]


SWEEPS = 1000


@takes_arrays("factors")
def nearest_balanced(
    factors: Sequence[Array], rank: int | None = None, *, truncate: bool = False
) -> Frames:
    r"""Balanced network with the same end-to-end matrix, as close as possible to given layers.

    .. math:: \min_{Q_1, \dots, Q_{N-1}} \sum_{p=1}^N |W_p - Q_p \Lambda Q_{p-1}^T|^2,
        \qquad W_N \cdots W_1 = Q_N \Lambda^N Q_0^T

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first, balanced or not.
    rank : int, optional
        Rank of the product; the smallest width by default.
    truncate : bool
        Whether to replace a product of higher rank by its best approximation of rank ``rank``.

    Returns
    -------
    Frames
        A local minimum, the best of several starts; balanced layers come back unchanged.  It
        carries no derivatives of torch and jax.

    Raises
    ------
    ValueError
        If the product is not defined or not of rank ``rank``, or an entry is not finite.

    See Also
    --------
    dlngeom.points.frames : Frames of layers that are balanced.
    dlngeom.network.invariants : Zero if and only if layers are balanced.

    Notes
    -----
    The form of the layers is (5.16) and (5.20) of Menon, *The geometry of the deep linear
    network*.  Given its neighbours, each frame solves a Procrustes problem.  Sweeps over the frames
    never increase the sum; they stop when no frame moves, or after 1000.

    Examples
    --------
    >>> import numpy as np
    >>> import dlngeom
    >>> layers = np.diag([2.0, 1.0]), np.diag([1.0, 2.0])
    >>> dlngeom.nearest_balanced(layers).lam
    array([1.41421356, 1.41421356])
    """
    factors = held(check_factors(factors))
    kept = checks.rank(rank, factors[0].shape[-1], *(W.shape[-2] for W in factors))
    product = ScaledProduct(factors)
    u, s, vt = product.svd()
    require_rank("the product", s[..., :kept] if truncate else s, kept, 0)
    require_positive("the product", s[..., :kept], product.rounding(kept))
    lam = s[..., :kept] ** (1 / len(factors))
    q = closest_frames(factors, lam, (vt[..., :kept, :].mT, u[..., :kept]))
    return Frames(lam * product.root, q)


def closest_frames(
    factors: Sequence[Array], lam: Array, ends: tuple[Array, Array]
) -> tuple[Array, ...]:
    """Frames of least distance from the layers, by sweeps from several starts at once.

    ``lam`` may be scaled by a positive number, which changes the distance but not the frames.
    """
    xp = namespace(lam)
    lam = lam[..., None, :]
    q = _starts(factors, lam, ends)
    moving = xp.ones_like(q[0][..., 0, 0], dtype=xp.bool)
    for _ in range(SWEEPS):
        new = _sweep(factors, q, lam)
        # A move is weighted by its effect on the distance.
        moves = [xp.max(xp.abs(x - y) * lam**2, axis=(-2, -1)) for x, y in zip(new, q, strict=True)]
        # Networks that have converged stay fixed, so that no result depends on the others.
        q = [xp.where(moving[..., None, None], x, y) for x, y in zip(new, q, strict=True)]
        moving = moving & (xp.max(xp.stack(moves), axis=0) > 32 * eps(lam))
        if not bool(xp.any(moving)):
            break
    return _best(factors, q, lam)


def _starts(factors: Sequence[Array], lam: Array, ends: tuple[Array, Array]) -> list[Array]:
    """Stack four starts: frames carried up, carried down, between the two, and along the axes."""
    xp = namespace(lam)
    below, above = [ends[0]], [ends[1]]
    for lower, upper in zip(factors[:-1], factors[:0:-1], strict=True):
        below.append(_polar(lower @ below[-1] * lam))
        above.insert(0, _polar(upper.mT @ above[0] * lam))
    inner_frames = []
    for p, (lower, upper) in enumerate(pairwise(factors), start=1):
        between = _procrustes(lower, upper, below[p - 1], above[p], lam)
        axes = identity(between.shape[-2], lam)[:, : between.shape[-1]]
        axes = xp.broadcast_to(axes, between.shape)
        inner_frames.append(xp.stack([below[p], above[p - 1], between, axes]))
    lowest, highest = (xp.stack([x, x, x, x]) for x in ends)
    return [lowest, *inner_frames, highest]


def _procrustes(lower: Array, upper: Array, below: Array, above: Array, lam: Array) -> Array:
    """Best frame between two layers, given the frames at their other ends."""
    return _polar((lower @ below + upper.mT @ above) * lam)


def _sweep(factors: Sequence[Array], q: Sequence[Array], lam: Array) -> list[Array]:
    q, depth = list(q), len(factors)
    for p in (*range(1, depth), *range(depth - 2, 0, -1)):
        q[p] = _procrustes(factors[p - 1], factors[p], q[p - 1], q[p + 1], lam)
    return q


def _best(factors: Sequence[Array], q: Sequence[Array], lam: Array) -> tuple[Array, ...]:
    """Choose the start with the nearest result, the earlier one if they agree up to rounding."""
    xp = namespace(lam)
    overlaps = [
        inner(above, W @ below * lam)
        for W, (below, above) in zip(factors, pairwise(q), strict=True)
    ]
    overlap = sum(overlaps[1:], overlaps[0])
    top, best = overlap[0, ...], tuple(x[0, ...] for x in q)
    for i in range(1, overlap.shape[0]):
        better = overlap[i, ...] > top * (1 + 100 * eps(lam))
        top = xp.where(better, overlap[i, ...], top)
        best = tuple(
            xp.where(better[..., None, None], x[i, ...], y) for x, y in zip(q, best, strict=True)
        )
    return best


def _polar(x: Array) -> Array:
    """Orthonormal polar factor of tall matrices that may be rank-deficient, hence by one SVD."""
    linalg = namespace(x).linalg
    u, _, vt = linalg.svd(x, full_matrices=False)
    return u @ vt


def nearby_frames(factors: Sequence[Array], rank: int) -> Frames:
    """Frames of a nearby balanced network, carried up from the row space of the first layer.

    Each frame is the polar factor of ``W_p Q_{p-1}``, which rotates with ``Q_{p-1}``, so the
    network is a smooth function of the layers even at repeated singular values.
    """
    xp = namespace(*factors)
    linalg = xp.linalg
    u, _, vt = linalg.svd(factors[0], full_matrices=False)
    q = [vt[..., :rank, :].mT, u[..., :rank]]
    for factor in factors[1:]:
        q.append(polar(factor @ q[-1]))
    cores = [hi.mT @ W @ lo for W, (lo, hi) in zip(factors, pairwise(q), strict=True)]
    core = symmetric(sum(cores[1:], cores[0])) / len(factors)
    lam, turn = linalg.eigh(core)
    lam, turn = xp.flip(lam, axis=-1), xp.flip(turn, axis=-1)
    return Frames(lam, tuple(frame @ turn for frame in q))


def carried_frames(factors: Sequence[Array], rank: int) -> Frames:
    """Frames of a nearby balanced network, by the SVD of the first layer alone; much cheaper.

    For balanced layers the network is that of :func:`nearby_frames`.  Near them it depends smoothly
    on the layers, and the frames are orthonormal to second order.
    """
    linalg = namespace(*factors).linalg
    u, s, vt = linalg.svd(factors[0], full_matrices=False)
    lam = s[..., :rank]
    q = [vt[..., :rank, :].mT, u[..., :rank]]
    for factor in factors[1:]:
        frame = factor @ (q[-1] / lam[..., None, :])
        # One Newton-Schulz step towards orthonormal columns.
        q.append(1.5 * frame - frame @ (frame.mT @ frame) / 2)
    return Frames(lam, tuple(q))
