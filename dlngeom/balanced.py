r"""Geometry upstairs: the manifold of balanced networks with the Frobenius metric.

Points are :class:`~dlngeom.points.Frames`; ambient and tangent vectors are tuples of ``N``
arrays, input layer first.  References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import device

from dlngeom import _check
from dlngeom._array import Array, antisymmetric, constant, identity, namespace, polar, symmetric
from dlngeom.layers import (
    Along,
    Ambient,
    assemble,
    balance_defect,
    combine,
    correct,
    multipliers,
    resolve,
    tangent_perpendicular,
)
from dlngeom.points import Frames, check_frames

__all__ = [
    "dimension",
    "horizontal_projection",
    "orthonormal_frame",
    "retraction",
    "rotations",
    "tangent_projection",
    "vertical_projection",
    "weingarten",
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
    """
    widths = _check.widths(widths)
    r = _check.rank(rank, *widths)
    return r * r + (len(widths) - 2) * r * (r - 1) // 2 + r * sum(d - r for d in widths)


def tangent_projection(
    frames: Frames, X: Sequence[Array], *, check_finite: bool = True
) -> tuple[Array, ...]:
    r"""Orthogonal projection of an ambient vector on the tangent space.

    .. math:: C_p \mapsto C_p - (\Lambda S_{p-1} - S_p \Lambda), \qquad S_p = S_p^T

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

    Notes
    -----
    ``O(N r^2 log N)`` after the change of frame; smooth at repeated singular values.
    """
    frames, X = _checked(frames, "X", X, check_finite)
    return assemble(frames, tangent_part(frames, resolve(frames, X)))


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
        In the kernel of the differential of ``W_N ... W_1``; (8.21) for ``1 <= p <= N-1``.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.
    """
    frames, X = _checked(frames, "X", X, check_finite)
    return assemble(frames, vertical_part(frames, resolve(frames, X)))


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
        Orthogonal to the gauge orbit; the space of (8.20), (8.23), (8.24).

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.
    """
    frames, X = _checked(frames, "X", X, check_finite)
    return assemble(frames, horizontal_part(frames, resolve(frames, X)))


def _checked(
    frames: Frames, name: str, X: Sequence[Array], check_finite: bool
) -> tuple[Frames, tuple[Array, ...]]:
    frames = check_frames(frames, check_finite=check_finite)
    return frames, _checked_vector(frames, name, X, check_finite)


def _checked_vector(
    frames: Frames, name: str, X: Sequence[Array], check_finite: bool
) -> tuple[Array, ...]:
    X = tuple(X)
    if len(X) != len(frames.q) - 1:
        raise ValueError(f"{name} has {len(X)} layers: the network has {len(frames.q) - 1}")
    namespace(frames.lam, *X)
    for p, (x, (lower, upper)) in enumerate(zip(X, pairwise(frames.q), strict=True), start=1):
        _check.matrix(f"{name}_{p}", x)
        _check.shape(f"{name}_{p}", x, (upper.shape[-2], lower.shape[-2]))
        if check_finite:
            _check.finite(f"{name}_{p}", x)
    _check.same_dtype(f"{name} and the frames", frames.lam, *X)
    _check.batches_agree(f"{name} and the frames", (frames.lam, 1), *((x, 2) for x in X))
    return X


def tangent_part(frames: Frames, X: Ambient) -> Along:
    """Unchecked :func:`tangent_projection` in frames."""
    S = multipliers(frames.lam, symmetric(balance_defect(frames.lam, X.core)))
    return Along(X.core - correct(frames.lam, S), tangent_perpendicular(X))


def vertical_part(frames: Frames, X: Ambient) -> Along:
    """Unchecked :func:`vertical_projection` in frames."""
    omega = multipliers(frames.lam, antisymmetric(balance_defect(frames.lam, X.core)))
    perp = tangent_perpendicular(X)
    return Along(correct(frames.lam, omega), (perp[0] * 0, *perp[1:-1], perp[-1] * 0))


def horizontal_part(frames: Frames, X: Ambient) -> Along:
    """Unchecked :func:`horizontal_projection` in frames: the solve without a symmetry."""
    S = multipliers(frames.lam, balance_defect(frames.lam, X.core))
    perp = tangent_perpendicular(X)
    inner = tuple(part * 0 for part in perp[1:-1])
    return Along(X.core - correct(frames.lam, S), (perp[0], *inner, perp[-1]))


def rotations(lam: Array, core: Array) -> tuple[Array, Array, Array]:
    r"""Split tangent cores :math:`C_p = \Omega_p \Lambda + h - \Lambda \Omega_{p-1}`.

    Parameters
    ----------
    lam : array (..., r)
    core : array (..., N, r, r)

    Returns
    -------
    omega : array (..., N+1, r, r)
        Antisymmetric, with mean zero over the frames, which is smooth at repeated ``lam``.
    h : array (..., r, r)
        Symmetric.
    rate : array (..., N, r, r)
        Differences of ``omega``.
    """
    xp = namespace(lam, core)
    row, column = lam[..., None, :, None], lam[..., None, None, :]
    rate = 2 * antisymmetric(core) / (row + column)
    omega = xp.concat([rate[..., :1, :, :] * 0, xp.cumulative_sum(rate, axis=-3)], axis=-3)
    omega = omega - xp.mean(omega, axis=-3, keepdims=True)
    middle = (omega[..., 1:, :, :] + omega[..., :-1, :, :]) / 2
    h = xp.mean(symmetric(core) - (column - row) * middle, axis=-3)
    return omega, h, rate


def retraction(
    frames: Frames, V: Sequence[Array], *, order: int = 2, check_finite: bool = True
) -> Frames:
    r"""Retract a tangent vector, exactly on the balanced manifold for every step.

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
        If shapes do not fit, an entry is not finite or ``order`` is neither 1 nor 2.
    """
    if order not in (1, 2):
        raise ValueError(f"order={order!r}: it must be 1 or 2")
    frames, V = _checked(frames, "V", V, check_finite)
    vector = tangent_part(frames, resolve(frames, V))
    if order == 2:
        vector = combine(1.0, vector, -0.5, tangent_part(frames, acceleration(frames, vector)))
    return retract(frames, vector)


def retract(frames: Frames, V: Along) -> Frames:
    """First-order retraction of a tangent vector given in frames."""
    omega, h, _ = rotations(frames.lam, V.core)
    lam = frames.lam[..., None, :]
    unit = identity(lam.shape[-1], lam)
    linalg: Any = namespace(lam).linalg
    # H = P S Q^T is symmetric, so W_p = Q_p H Q_{p-1}^T takes P and Q in turn along the layers.
    left, values, right = linalg.svd(lam * unit + h)
    turns = (left, right.mT)
    q = tuple(
        polar(frame @ (unit + omega[..., p, :, :]) + V.perp[p] / lam) @ turns[p % 2]
        for p, frame in enumerate(frames.q)
    )
    return Frames(values, q)


def acceleration(frames: Frames, V: Along) -> Ambient:
    """Second derivative at zero of ``t -> retract(frames, t V)``, without doubly normal parts."""
    xp = namespace(frames.lam)
    lam = frames.lam[..., None, :]
    lower_lam = frames.lam[..., :, None]
    omega, h, _ = rotations(frames.lam, V.core)
    K = [part / lam for part in V.perp]
    gram = xp.stack([k.mT @ k for k in K], axis=-3) - omega @ omega
    below, above, h_ = omega[..., :-1, :, :], omega[..., 1:, :, :], h[..., None, :, :]
    core = -gram[..., 1:, :, :] * lam[..., None, :, :]
    core = core - lower_lam[..., None, :, :] * gram[..., :-1, :, :]
    core = core + 2 * (above @ h_ - h_ @ below) - 2 * above @ (lower_lam[..., None, :, :] * below)
    depth = len(frames.q) - 1
    left = tuple(2 * K[p + 1] @ (h - lower_lam * omega[..., p, :, :]) for p in range(depth))
    right = tuple(2 * K[p] @ (h - lower_lam * omega[..., p + 1, :, :]) for p in range(depth))
    return Ambient(core, left, right)


def weingarten(
    frames: Frames, V: Sequence[Array], normal: Sequence[Array], *, check_finite: bool = True
) -> tuple[Array, ...]:
    r"""Weingarten map of the balanced manifold in the ambient space.

    .. math:: \langle \mathcal{W}(V, \nu), U \rangle = \langle \nu, \mathrm{II}(V, U) \rangle

    A normal vector is :math:`\nu_p = W_p S_{p-1} - S_p W_p + R_p` with symmetric multipliers
    ``S_p`` and, below full rank, ``R_p`` that maps the complement of ``Q_{p-1}`` to that of
    ``Q_p``.

    Parameters
    ----------
    frames : Frames
    V : sequence of N arrays (..., d_p, d_{p-1})
        Tangent vector.
    normal : sequence of N arrays (..., d_p, d_{p-1})
        Normal vector; a tangent component is ignored.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        A tangent vector.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.
    """
    frames, V = _checked(frames, "V", V, check_finite)
    normal = _checked_vector(frames, "normal", normal, check_finite)
    vector = tangent_part(frames, resolve(frames, V))
    change = _normal_change(frames, vector, normal)
    return assemble(frames, tangent_part(frames, change))


def _normal_change(frames: Frames, V: Along, normal: Sequence[Array]) -> Ambient:
    """``-(V_p S_{p-1} - S_p V_p)`` and the part of ``R_p``, in frames."""
    S, s = _normal_multipliers(frames, resolve(frames, normal))
    lam = frames.lam[..., None, :]
    core, left, right = [], [], []
    for p, nu in enumerate(normal):
        C, low, high = V.core[..., p, :, :], V.perp[p], V.perp[p + 1]
        core.append(S[p + 1] @ C - C @ S[p] + s[p + 1].mT @ high - low.mT @ s[p])
        up, down = nu @ (low / lam), nu.mT @ (high / lam)
        q_low, q_high = frames.q[p], frames.q[p + 1]
        left.append(s[p + 1] @ C - high @ S[p] + up - q_high @ (q_high.mT @ up))
        right.append(low @ S[p + 1] - s[p] @ C.mT + down - q_low @ (q_low.mT @ down))
    return Ambient(namespace(frames.lam).stack(core, axis=-3), tuple(left), tuple(right))


def _normal_multipliers(frames: Frames, normal: Ambient) -> tuple[list[Array], list[Array]]:
    """Multipliers of a normal vector: cores ``S_p`` and parts ``s_p`` across the frames."""
    xp = namespace(frames.lam)
    row, column = frames.lam[..., :, None], frames.lam[..., None, :]
    scaled = multipliers(frames.lam, symmetric(balance_defect(frames.lam, normal.core)))
    inner = scaled / xp.maximum(row, column)[..., None, :, :]
    zero = row * column * 0
    S = [zero, *(inner[..., p, :, :] for p in range(inner.shape[-3])), zero]
    pairs = zip(normal.left[:-1], normal.right[1:], strict=True)
    s = [(hi - lo) / (2 * column) for lo, hi in pairs]
    return S, [normal.right[0] * 0, *s, normal.left[-1] * 0]


def orthonormal_frame(frames: Frames, *, check_finite: bool = True) -> tuple[Array, ...]:
    r"""Orthonormal basis of the tangent space, (8.20)-(8.24) with the sign of (8.21) corrected.

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
        directions that turn each frame out of its span.

    Raises
    ------
    ValueError
        If frames are not orthonormal or an entry is not finite.
    """
    frames = check_frames(frames, check_finite=check_finite)
    lam, q = frames
    xp = namespace(lam)
    depth = len(q) - 1
    cores = _core_basis(lam, depth)
    layers = []
    for p, (lower, upper) in enumerate(pairwise(q)):
        blocks = [upper[..., None, :, :] @ cores[..., p, :, :] @ lower[..., None, :, :].mT]
        for i, frame in enumerate(q):
            turned = _turning_basis(frame, 1.0 if i in (0, depth) else 0.5**0.5)
            if i == p:
                blocks.append(upper[..., None, :, :] @ turned.mT)
            elif i == p + 1:
                blocks.append(turned @ lower[..., None, :, :].mT)
            else:
                shape = (*turned.shape[:-2], upper.shape[-2], lower.shape[-2])
                blocks.append(xp.broadcast_to(turned[..., :1, :1] * 0, shape))
        layers.append(xp.concat(blocks, axis=-3))
    return tuple(layers)


def _core_basis(lam: Array, depth: int) -> Array:
    """Cores of the basis vectors, ``(..., r + (N+1) r(r-1)/2, N, r, r)``."""
    xp = namespace(lam)
    r = lam.shape[-1]
    unit = identity(r, lam)
    stretch = unit[:, None, :, None] * unit[:, None, None, :] / depth**0.5
    stretch = xp.broadcast_to(stretch, (*lam.shape[:-1], r, depth, r, r))
    k, low = np.triu_indices(r, 1)
    if not len(k):
        return stretch
    E = constant(np.eye(r)[k][:, :, None] * np.eye(r)[low][:, None, :], lam)[:, None, None, :, :]
    lam_k, lam_l = (xp.take(lam, xp.asarray(i, device=device(lam)), axis=-1) for i in (k, low))
    upper, lower = _pair_profiles(lam_k, lam_l, depth)
    pairs = upper[..., None, None] * E + lower[..., None, None] * E.mT
    pairs = xp.reshape(pairs, (*lam.shape[:-1], len(k) * (depth + 1), depth, r, r))
    return xp.concat([stretch, pairs], axis=-4)


def _pair_profiles(lam_k: Array, lam_l: Array, depth: int) -> tuple[Array, Array]:
    """Coefficients along depth of ``e_k e_l^T`` and ``e_l e_k^T``, ``(..., pairs, N+1, N)``."""
    xp = namespace(lam_k)
    largest = xp.maximum(lam_k, lam_l)
    a, b = (lam_k / largest)[..., None, None], (lam_l / largest)[..., None, None]
    s = np.arange(1, depth + 1)
    up, down = _powers(a, b, s, depth), _powers(b, a, s, depth)
    p = np.arange(1, depth)[:, None]
    before, after = (constant(np.sin(np.pi / depth * (p * j % (2 * depth))), a) for j in (s - 1, s))
    half = constant(np.sin(p * np.pi / (2 * depth)) ** 2, a)
    scale = ((a - b) ** 2 + 4 * a * b * half) ** -0.5 / depth**0.5
    upper = scale * (a * before - b * after)
    lower = scale * (a * after - b * before)
    return xp.concat([down * 0, upper, up], axis=-2), xp.concat([down, lower, up * 0], axis=-2)


def _powers(a: Array, b: Array, s: np.ndarray, depth: int) -> Array:
    """Normalised ``a^(N-s) b^(s-1)`` along depth."""
    xp = namespace(a)
    profile = a ** constant(depth - s, a) * b ** constant(s - 1, a)
    return profile / xp.sqrt(xp.sum(profile * profile, axis=-1, keepdims=True))


def _turning_basis(frame: Array, scale: float) -> Array:
    """Directions ``L`` of one frame, ``((d - r) r, d, r)`` per point, times ``scale``."""
    xp = namespace(frame)
    d, r = frame.shape[-2:]
    linalg: Any = xp.linalg
    complete, _ = linalg.qr(frame, mode="complete")
    across = complete[..., :, r:].mT
    unit = identity(r, frame)
    basis = scale * across[..., :, None, :, None] * unit[:, None, :]
    return xp.reshape(basis, (*frame.shape[:-2], (d - r) * r, d, r))
