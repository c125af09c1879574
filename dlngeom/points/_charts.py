r"""Polar charts of networks with arbitrary invariants.

Balanced networks also have the chart of singular values, :func:`dlngeom.factors`.  The chart that
runs down from the output layer is the chart that runs up from the input layer, applied to the
transposed network: layers reversed and transposed, invariants negated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, eps, namespace, norm, symmetric
from dlngeom._lib.derivatives import smooth_in
from dlngeom._lib.door import takes_arrays
from dlngeom.points._checks import check_factors

__all__ = [
    "left_polar_chart",
    "left_polar_coordinates",
    "polar_chart",
    "polar_coordinates",
]

Coordinates = tuple[Array, tuple[Array, ...], tuple[Array, ...]]


class _Step(NamedTuple):
    """Names of the turn, the invariant and the matrix under the root of a step, for errors."""

    turn: str
    invariant: str
    square: str


@takes_arrays("W_1", "turns", "invariants")
def polar_chart(
    W_1: Array, turns: Sequence[Array], invariants: Sequence[Array] | None = None
) -> tuple[Array, ...]:
    r"""Network with given invariants, built up from its first layer.

    .. math:: W_{p+1} = Q_{p+1} P_{p+1}, \qquad P_{p+1} = \sqrt{W_p W_p^T - G_p}

    Parameters
    ----------
    W_1 : array (..., d_1, d_0)
        First layer.
    turns : sequence of N-1 arrays (..., d_{p+1}, d_p)
        ``Q_2`` to ``Q_N``: partial isometries that are isometric on the range of ``P_{p+1}``.
        Orthonormal columns always suffice.  Where layers shrink, orthonormal rows suffice if they
        span that range, whose dimension then cannot exceed ``d_{p+1}``.
    invariants : sequence of N-1 symmetric arrays (..., d_p, d_p), optional
        ``G_1`` to ``G_{N-1}``; all zero, a balanced network, by default.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})

    Raises
    ------
    ValueError
        If shapes do not fit, an entry is not finite, ``G_p`` is not symmetric,
        ``W_p W_p^T - G_p`` has a negative eigenvalue beyond 1e-8 relative (1e-3 in float32),
        or ``Q_{p+1}`` is not isometric on the range of ``P_{p+1}``.

    See Also
    --------
    dlngeom.points.polar_coordinates : The inverse.
    dlngeom.points.left_polar_chart : The chart from the last layer down.
    dlngeom.points.factors : The chart of balanced networks by singular values.

    Notes
    -----
    Differentiable by torch and jax where the roots are regular; elsewhere that is an error, in
    compiled code NaN.

    Equations (5.5)-(5.8) of Menon, *The geometry of the deep linear network*.  In terms of the
    right polar factors, (5.9), ``P_{p+1}^2 = Q_p P_p^2 Q_p^T - G_p`` starts from
    ``P_1^2 = W_1^T W_1``.
    """
    turns = tuple(turns)
    steps = [
        _Step(f"Q_{p + 1}", f"G_{p}", f"W_{p} W_{p}^T - G_{p}") for p in range(1, len(turns) + 1)
    ]
    return _climb("W_1", W_1, turns, invariants, steps)


@takes_arrays("W_N", "turns", "invariants")
def left_polar_chart(
    W_N: Array, turns: Sequence[Array], invariants: Sequence[Array] | None = None
) -> tuple[Array, ...]:
    r"""Network with given invariants, built down from its last layer.

    .. math:: W_p = R_p U_p^T, \qquad R_p = \sqrt{W_{p+1}^T W_{p+1} + G_p}

    Parameters
    ----------
    W_N : array (..., d_N, d_{N-1})
        Last layer.
    turns : sequence of N-1 arrays (..., d_{p-1}, d_p)
        ``U_1`` to ``U_{N-1}``, isometric on the range of ``R_p`` as in :func:`polar_chart`.
    invariants : sequence of N-1 symmetric arrays (..., d_p, d_p), optional
        ``G_1`` to ``G_{N-1}``; all zero by default.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})

    Raises
    ------
    ValueError
        As for :func:`polar_chart`, with the square root of ``W_{p+1}^T W_{p+1} + G_p``.

    See Also
    --------
    dlngeom.points.left_polar_coordinates : The inverse.
    dlngeom.points.polar_chart : The chart from the first layer up.

    Notes
    -----
    Derivatives of torch and jax are those of :func:`polar_chart`.

    Equations (5.11)-(5.12) of Menon, *The geometry of the deep linear network*.
    """
    turns = tuple(turns)
    depth = len(turns) + 1
    checks.matrix(f"W_{depth}", W_N)
    steps = [
        _Step(f"U_{p}", f"G_{p}", f"W_{p + 1}^T W_{p + 1} + G_{p}") for p in range(depth - 1, 0, -1)
    ]
    negated = None if invariants is None else [-G for G in reversed(tuple(invariants))]
    return _mirror(_climb(f"W_{depth}", W_N.mT, turns[::-1], negated, steps))


@takes_arrays("factors")
def polar_coordinates(factors: Sequence[Array]) -> Coordinates:
    r"""First layer, turns and invariants of any network, the inverse of :func:`polar_chart`.

    .. math:: W_p = Q_p \sqrt{W_p^T W_p}, \qquad G_p = W_p W_p^T - W_{p+1}^T W_{p+1}

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first.

    Returns
    -------
    W_1 : array (..., d_1, d_0)
        First layer.
    turns : tuple of N-1 arrays (..., d_p, d_{p-1})
        ``Q_2`` to ``Q_N``, zero on the null space of ``W_p``, where they are not determined.
    invariants : tuple of N-1 arrays (..., d_p, d_p)
        ``G_1`` to ``G_{N-1}``.

    Raises
    ------
    ValueError
        If the product of the layers is not defined or an entry is not finite, or if torch or
        jax differentiates a turn at a zero singular value; in compiled code that is NaN.

    See Also
    --------
    dlngeom.points.polar_chart : The inverse.
    dlngeom.points.left_polar_coordinates : Coordinates from the last layer down.
    dlngeom.network.invariants : The invariants alone.

    Notes
    -----
    Equations (5.2)-(5.4) and (4.2) of Menon, *The geometry of the deep linear network*.
    Invariants have rounding errors of ``eps s_1^2``, so the chart reproduces a singular value ``s``
    of a layer up to ``eps s_1^2 / s``; without invariants it reproduces a balanced network up to
    ``eps s_1``.
    """
    return _coordinates(check_factors(factors))


@takes_arrays("factors")
def left_polar_coordinates(factors: Sequence[Array]) -> Coordinates:
    r"""Last layer, turns and invariants of any network, the inverse of :func:`left_polar_chart`.

    .. math:: W_p = \sqrt{W_p W_p^T}\, U_p^T, \qquad G_p = W_p W_p^T - W_{p+1}^T W_{p+1}

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first.

    Returns
    -------
    W_N : array (..., d_N, d_{N-1})
        Last layer.
    turns : tuple of N-1 arrays (..., d_{p-1}, d_p)
        ``U_1`` to ``U_{N-1}``, zero on the null space of ``W_p^T``.
    invariants : tuple of N-1 arrays (..., d_p, d_p)
        ``G_1`` to ``G_{N-1}``.

    Raises
    ------
    ValueError
        If the product of the layers is not defined or an entry is not finite, or if torch or
        jax differentiates a turn at a zero singular value; in compiled code that is NaN.

    See Also
    --------
    dlngeom.points.left_polar_chart : The inverse.
    dlngeom.points.polar_coordinates : Coordinates from the first layer up.

    Notes
    -----
    Equations (5.2)-(5.4) and (4.2) of Menon, *The geometry of the deep linear network*.
    """
    last, turns, negated = _coordinates(_mirror(check_factors(factors)))
    return last.mT, turns[::-1], tuple(-G for G in reversed(negated))


def _mirror(factors: Sequence[Array]) -> tuple[Array, ...]:
    """Layers of the transposed network."""
    return tuple(W.mT for W in reversed(factors))


def _coordinates(factors: Sequence[Array]) -> Coordinates:
    invariants = (lower @ lower.mT - upper.mT @ upper for lower, upper in pairwise(factors))
    return factors[0], tuple(_turn(W) for W in factors[1:]), tuple(invariants)


@smooth_in("W")
def _turn(W: Array) -> Array:
    """Polar factor that is zero on the null space, so that a chart adds no rounding there."""
    linalg = namespace(W).linalg
    u, s, vt = linalg.svd(W, full_matrices=False)
    kept = s > max(W.shape[-2:]) * eps(s) * s[..., :1]
    return (u * namespace(s).astype(kept, s.dtype)[..., None, :]) @ vt


def _climb(
    name: str,
    first: Array,
    turns: tuple[Array, ...],
    invariants: Sequence[Array] | None,
    steps: Sequence[_Step],
) -> tuple[Array, ...]:
    """Build each layer from the one before it, by a square root and a turn."""
    given = (None,) * len(turns) if invariants is None else tuple(invariants)
    if len(given) != len(turns):
        raise ValueError(
            f"{len(given)} invariants for {len(turns)} turns: N layers have N - 1 of each"
        )
    checks.matrix(name, first)
    checks.finite(name, first)
    layers = [first]
    for step, Q, G in zip(steps, turns, given, strict=True):
        _check_step(step, layers[-1], Q, G)
        roots, vectors, limit = _root(layers[-1], G, step.square)
        _require_isometry(Q, roots, vectors, limit, step)
        layers.append(_raised(layers[-1], G, Q, roots, vectors))
    return tuple(layers)


def _raised(W: Array, G: Array | None, Q: Array, roots: Array, vectors: Array) -> Array:
    """Next layer, ``Q sqrt(W W^T - G)``."""
    if isinstance(W, np.ndarray):
        return (Q @ (vectors * roots[..., None, :])) @ vectors.mT
    return Q @ (_root_of_square(W) if G is None else _root_of(symmetric(W @ W.mT - G)))


@smooth_in("W")
def _root_of_square(W: Array) -> Array:
    """Square root of ``W W^T``, without squaring the condition number."""
    u, s, _ = namespace(W).linalg.svd(W, full_matrices=False)
    return (u * s[..., None, :]) @ u.mT


@smooth_in("square")
def _root_of(square: Array) -> Array:
    """Square root of symmetric matrices, whose eigenvalues are zero up to rounding or positive."""
    xp = namespace(square)
    values, vectors = xp.linalg.eigh(square)
    sizes = xp.max(xp.abs(values), axis=-1, keepdims=True)
    kept = values > max(square.shape[-2:]) * eps(square) * sizes
    roots = xp.where(kept, xp.sqrt(xp.where(kept, values, xp.ones_like(values))), 0 * values)
    return (vectors * roots[..., None, :]) @ vectors.mT


def _check_step(step: _Step, W: Array, Q: Array, G: Array | None) -> None:
    named = [(step.turn, Q)] if G is None else [(step.turn, Q), (step.invariant, G)]
    xp = namespace(W, *(x for _, x in named))
    for name, x in named:
        checks.matrix(name, x)
        rows = x.shape[-2] if name == step.turn else W.shape[-2]
        checks.shape(name, x, (rows, W.shape[-2]))
        checks.same_dtype(f"layers and {name}", W, x)
        checks.batches_agree(f"layers and {name}", (W, 2), (x, 2))
        checks.finite(name, x)
    if G is not None:
        gap, size = float(xp.max(xp.abs(G - G.mT))), float(xp.max(xp.abs(G)))
        if not gap <= checks.relative_tolerance(G) * size:
            raise ValueError(f"{step.invariant} is not symmetric: off by {gap:.2g}")


def _root(W: Array, G: Array | None, square: str) -> tuple[Array, Array, Array]:
    """Spectrum and eigenvectors of ``sqrt(W W^T - G)``, and the bound below which roots vanish."""
    xp = namespace(W)
    linalg = xp.linalg
    tolerance = checks.relative_tolerance(W)
    if G is None:
        # An SVD gives the root of W W^T without squaring the condition number.
        vectors, roots, _ = linalg.svd(W, full_matrices=False)
        return roots, vectors, tolerance * roots[..., :1]
    outer = W @ W.mT
    values, vectors = linalg.eigh(symmetric(outer - G))
    scale = (norm(outer) + norm(G))[..., None]
    relative = xp.reshape(values / xp.where(scale == 0, xp.ones_like(scale), scale), (-1,))
    worst = int(xp.argmin(relative))
    if not float(relative[worst]) >= -tolerance:
        raise ValueError(
            f"{square} has the eigenvalue {float(xp.reshape(values, (-1,))[worst]):.3g}: "
            f"it has a square root only if all are >= 0, to {tolerance:g} relative"
        )
    # The square root of a rounding error is much larger than a rounding error.
    kept = values > max(W.shape[-2:]) * eps(W) * scale
    return (
        xp.sqrt(xp.where(kept, values, xp.zeros_like(values))),
        vectors,
        xp.sqrt(tolerance * scale),
    )


def _require_isometry(Q: Array, roots: Array, vectors: Array, limit: Array, step: _Step) -> None:
    xp = namespace(Q)
    rank = int(xp.max(xp.sum(xp.astype(roots > limit, xp.int32), axis=-1)))
    if rank > Q.shape[-2]:
        raise ValueError(
            f"{step.square} has rank {rank}: {step.turn} must have as many rows, not {Q.shape[-2]}"
        )
    twice = Q.mT @ Q
    gap = float(xp.max(xp.abs(Q @ twice - Q)))
    if not gap <= checks.relative_tolerance(Q):
        raise ValueError(f"{step.turn} is not a partial isometry: Q Q^T Q - Q is up to {gap:.2g}")
    root = vectors * roots[..., None, :]
    lost = xp.abs(root - twice @ root)
    if bool(xp.any(lost > limit[..., None])):
        raise ValueError(
            f"{step.turn} does not keep the range of the root of {step.square}: "
            f"it loses up to {float(xp.max(lost)):.2g}"
        )
