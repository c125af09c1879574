r"""Geometry upstairs: the manifold of balanced networks with the Frobenius metric.

Points are :class:`~dlngeom.points.Frames`; ambient and tangent vectors are tuples of ``N``
arrays, input layer first.  References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, antisymmetric, namespace, symmetric
from dlngeom._lib.derivatives import held, require_separate
from dlngeom._lib.door import takes_arrays
from dlngeom.balanced._balance import Balance, balance, balance_defect, correct, multipliers
from dlngeom.balanced._basis import core_basis, turning_basis
from dlngeom.balanced._curves import corrected, retract, turned
from dlngeom.balanced._in_frames import (
    AmbientInFrames,
    TangentInFrames,
    assemble,
    resolve,
    tangent_perpendicular,
)
from dlngeom.points import Frames
from dlngeom.points._checks import check_frames

__all__ = [
    "balance_at",
    "checked",
    "checked_vector",
    "dimension",
    "horizontal_projection",
    "orthonormal_frame",
    "retraction",
    "tangent_projection",
    "vertical_projection",
]


def dimension(widths: Sequence[int], rank: int | None = None) -> int:
    r"""Dimension of the manifold of balanced networks.

    .. math:: r^2 + (N-1)\,r(r-1)/2 + r \sum_{p=0}^N (d_p - r)

    Parameters
    ----------
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    rank : int, optional
        The smallest width by default.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a width or the rank is out of range.

    See Also
    --------
    dlngeom.balanced.orthonormal_frame : As many orthonormal tangent vectors.
    dlngeom.DeepLinearNetwork : The submersion as a space.

    Notes
    -----
    Parameters of the chart (5.15), (5.20) of Menon, *The geometry of the deep linear network*.
    """
    widths = checks.widths(widths)
    r = checks.rank(rank, *widths)
    return r * r + (len(widths) - 2) * r * (r - 1) // 2 + r * sum(d - r for d in widths)


@takes_arrays("frames", "X")
def tangent_projection(
    frames: Frames, X: Sequence[Array], *, check_finite: bool = True
) -> tuple[Array, ...]:
    r"""Orthogonal projection of an ambient vector on the tangent space.

    .. math:: C_p \mapsto C_p - (\Lambda S_{p-1} - S_p \Lambda), \qquad S_p = S_p^T, \qquad
              C_p = Q_p^T X_p Q_{p-1}

    Parameters
    ----------
    frames : Frames
    X : sequence of N arrays (..., d_p, d_{p-1})
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.balanced.vertical_projection : Projection on the directions of the gauge.
    dlngeom.balanced.horizontal_projection : Projection on their complement.
    dlngeom.pymanopt.Balanced : The manifold for pymanopt.

    Notes
    -----
    Its image consists of the vectors (8.2) of Menon, *The geometry of the deep linear network*.
    Parts across the frames are averaged over the layers next to each frame.  ``O(N r^2 log N)``
    after the change of frame; smooth at repeated singular values.

    Examples
    --------
    >>> import numpy as np
    >>> import dlngeom
    >>> from dlngeom import balanced
    >>> point = dlngeom.frames([np.eye(2), np.eye(2)])
    >>> balanced.tangent_projection(point, [np.eye(2), np.zeros((2, 2))])
    (array([[0.5, 0. ],
           [0. , 0.5]]), array([[0.5, 0. ],
           [0. , 0.5]]))
    """
    frames, X = checked(frames, "X", X, check_finite)
    return assemble(frames, tangent_part(frames, resolve(frames, X)))


@takes_arrays("frames", "X")
def vertical_projection(
    frames: Frames, X: Sequence[Array], *, check_finite: bool = True
) -> tuple[Array, ...]:
    r"""Orthogonal projection of an ambient vector on the tangent space of the gauge orbit.

    .. math:: C_p \mapsto \omega_p \Lambda - \Lambda \omega_{p-1}, \qquad \omega_p = -\omega_p^T,
              \quad \omega_0 = \omega_N = 0

    Parameters
    ----------
    frames : Frames
    X : sequence of N arrays (..., d_p, d_{p-1})
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        In the kernel of the differential of ``W_N ... W_1``.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.balanced.horizontal_projection : Projection on the complement.
    dlngeom.thermodynamics.entropy : Logarithm of the volume of the gauge orbit.
    dlngeom.DeepLinearNetwork : The submersion as a space.

    Notes
    -----
    Projection on the span of (8.21), ``1 <= p <= N-1``, of Menon, *The geometry of the deep linear
    network*, with the sign corrected; ``C_p`` is as in :func:`tangent_projection`.
    """
    frames, X = checked(frames, "X", X, check_finite)
    return assemble(frames, vertical_part(frames, resolve(frames, X)))


@takes_arrays("frames", "X")
def horizontal_projection(
    frames: Frames, X: Sequence[Array], *, check_finite: bool = True
) -> tuple[Array, ...]:
    r"""Orthogonal projection of an ambient vector on the horizontal space.

    .. math:: P_h = P - P_v

    Parameters
    ----------
    frames : Frames
    X : sequence of N arrays (..., d_p, d_{p-1})
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        Orthogonal to the gauge orbit.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.endtoend.cometric : The operator downstairs, from covectors to tangent vectors.
    dlngeom.network.lifted_gradient : A gradient that is horizontal.
    dlngeom.submersion.horizontal_projection : The projection in any submersion.

    Notes
    -----
    Projection on the span of (8.20), (8.23) and (8.24) of Menon, *The geometry of the deep linear
    network*.
    """
    frames, X = checked(frames, "X", X, check_finite)
    return assemble(frames, horizontal_part(frames, resolve(frames, X)))


def checked(
    frames: Frames, name: str, X: Sequence[Array], check_finite: bool
) -> tuple[Frames, tuple[Array, ...]]:
    frames = check_frames(frames, check_finite=check_finite)
    return frames, checked_vector(frames, name, X, check_finite)


def checked_vector(
    frames: Frames, name: str, X: Sequence[Array], check_finite: bool
) -> tuple[Array, ...]:
    X = tuple(X)
    if len(X) != len(frames.q) - 1:
        raise ValueError(f"{name} has {len(X)} layers: the network has {len(frames.q) - 1}")
    namespace(frames.lam, *X)
    for p, (x, (lower, upper)) in enumerate(zip(X, pairwise(frames.q), strict=True), start=1):
        checks.matrix(f"{name}_{p}", x)
        checks.shape(f"{name}_{p}", x, (upper.shape[-2], lower.shape[-2]))
        if check_finite:
            checks.finite(f"{name}_{p}", x)
    checks.same_dtype(f"{name} and the frames", frames.lam, *X)
    checks.batches_agree(f"{name} and the frames", (frames.lam, 1), *((x, 2) for x in X))
    return X


def tangent_part(frames: Frames, X: AmbientInFrames) -> TangentInFrames:
    """Unchecked :func:`tangent_projection` in frames."""
    at = balance_at(frames)
    S = multipliers(at, symmetric(balance_defect(at, X.core)))
    return TangentInFrames(X.core - correct(at, S), tangent_perpendicular(X))


def vertical_part(frames: Frames, X: AmbientInFrames) -> TangentInFrames:
    """Unchecked :func:`vertical_projection` in frames."""
    at = balance_at(frames)
    omega = multipliers(at, antisymmetric(balance_defect(at, X.core)))
    perp = tangent_perpendicular(X)
    return TangentInFrames(correct(at, omega), (perp[0] * 0, *perp[1:-1], perp[-1] * 0))


def horizontal_part(frames: Frames, X: AmbientInFrames) -> TangentInFrames:
    """Unchecked :func:`horizontal_projection` in frames: a solve with general multipliers."""
    at = balance_at(frames)
    S = multipliers(at, balance_defect(at, X.core))
    perp = tangent_perpendicular(X)
    inner = tuple(part * 0 for part in perp[1:-1])
    return TangentInFrames(X.core - correct(at, S), (perp[0], *inner, perp[-1]))


def balance_at(frames: Frames) -> Balance:
    return balance(frames.lam, len(frames.q) - 1)


@takes_arrays("frames", "V")
def retraction(
    frames: Frames, V: Sequence[Array], *, order: int = 2, check_finite: bool = True
) -> Frames:
    r"""Retract a tangent vector to a network that is exactly balanced, however long the step.

    .. math:: Q_p \leftarrow \mathrm{polar}(Q_p + Q_p \Omega_p + L_p \Lambda^{-1}), \qquad
              \Lambda \leftarrow \Lambda + h

    ``Lambda + h`` may be indefinite: it is diagonalised and its signs are absorbed by the
    frames.  The second-order retraction subtracts half the tangential acceleration first.

    Parameters
    ----------
    frames : Frames
    V : sequence of N arrays (..., d_p, d_{p-1})
        Tangent vector; a component off the tangent space is ignored.
    order : 1 or 2
        Order of agreement with the exponential map.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    Frames

    Raises
    ------
    ValueError
        If shapes do not fit, an entry is not finite, ``order`` is neither 1 nor 2, or torch
        differentiates frames of equal singular values; by jax that is NaN.

    See Also
    --------
    dlngeom.endtoend.retraction : The retraction downstairs.
    dlngeom.pymanopt.Balanced : The manifold for pymanopt.
    dlngeom.DeepLinearNetwork : The submersion as a space.

    Notes
    -----
    The rotations ``Omega_p``, ``h`` and ``L_p`` are the velocity of the chart (5.16), (5.20) of
    Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> import dlngeom
    >>> from dlngeom import balanced
    >>> point = dlngeom.frames([np.eye(2), np.eye(2)])
    >>> balanced.retraction(point, [np.eye(2), np.eye(2)]).lam
    array([2., 2.])
    """
    order = checks.integer("order", order, 1, 2)
    frames, V = checked(frames, "V", V, check_finite)
    vector = tangent_part(frames, resolve(frames, V))
    end = turned(frames, *corrected(frames, vector)) if order == 2 else retract(frames, vector)
    require_separate(end.lam[..., None, :], end.q[0], end.lam, end.q[-1])
    return end


@takes_arrays("frames")
def orthonormal_frame(frames: Frames, *, check_finite: bool = True) -> tuple[Array, ...]:
    r"""Orthonormal basis of the tangent space.

    .. math:: \langle e_i, e_j \rangle = \sum_p \mathrm{tr}(e_{i,p}^T e_{j,p}) = \delta_{ij}

    Parameters
    ----------
    frames : Frames
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., dim, d_p, d_{p-1})
        The ``r`` stretchings of single singular values first, then ``N + 1`` vectors for each
        pair of them (horizontal, ``N - 1`` vertical, horizontal), then, below full rank, the
        directions that move each frame out of its span.  They carry no derivatives of torch and
        jax.

    Raises
    ------
    ValueError
        If frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.balanced.tangent_projection : Projection on the span.
    dlngeom.balanced.dimension : Number of its vectors.

    Notes
    -----
    Theorem 14, (8.20)-(8.24), of Menon, *The geometry of the deep linear network*, with the sign of
    (8.21) corrected.
    """
    lam, q = held(check_frames(frames, check_finite=check_finite))
    xp = namespace(lam)
    depth = len(q) - 1
    cores = core_basis(lam, depth)
    layers = []
    for p, (lower, upper) in enumerate(pairwise(q)):
        blocks = [upper[..., None, :, :] @ cores[..., p, :, :] @ lower[..., None, :, :].mT]
        for i, frame in enumerate(q):
            turned = turning_basis(frame, 1.0 if i in (0, depth) else 0.5**0.5)
            if i == p:
                blocks.append(upper[..., None, :, :] @ turned.mT)
            elif i == p + 1:
                blocks.append(turned @ lower[..., None, :, :].mT)
            else:
                shape = (*turned.shape[:-2], upper.shape[-2], lower.shape[-2])
                blocks.append(xp.broadcast_to(turned[..., :1, :1] * 0, shape))
        layers.append(xp.concat(blocks, axis=-3))
    return tuple(layers)
