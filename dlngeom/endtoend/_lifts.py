"""Retractions downstairs for ``g^N``, by end-to-end matrices of curves of balanced networks.

The horizontal lift of ``Z`` to the smallest network moves the frames by rotations ``omega_p``
and by ``K_p = L_p / lam`` out of their span, and ``Lam`` by a symmetric ``h``.  Replacing the
frames by polar factors and ``Lam`` by ``Lam + h``, which may be indefinite, keeps the network
balanced for every step.  The end-to-end matrix depends only on the two end frames and ``h``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from dlngeom import spectral
from dlngeom._lib.arrays import Array, antisymmetric, constant, identity, namespace, symmetric
from dlngeom.balanced._balance import rotations
from dlngeom.balanced._curves import polar_move, signed_svd
from dlngeom.balanced._in_frames import TangentInFrames
from dlngeom.endtoend._kernels import combine_tangents, inner_product, metric, pair
from dlngeom.points import SVD, Frames, Tangent

__all__ = [
    "first_order_retraction",
    "lifted_core",
    "push_down",
    "second_order_retraction",
    "smallest_lift",
    "smallest_network",
]


class Motion(NamedTuple):
    """Velocity of the smallest network along a horizontal lift, per node of a sum over layers.

    Attributes
    ----------
    lower, upper : array (..., L, r, r)
        Antisymmetric rotation rates of the frames below and above each node.
    rate : array (..., L, r, r)
        Change of the rotation rate along the layers.
    first, last : array (..., r, r)
        Rotation rates of the input and output frames.
    h : array (..., r, r)
        Symmetric velocity of ``Lam``, or of ``log Sigma`` for ``depth=inf``.
    """

    lower: Array
    upper: Array
    rate: Array
    first: Array
    last: Array
    h: Array


def first_order_retraction(point: SVD, Z: Tangent, depth: float) -> SVD:
    """Retract along the end-to-end matrices of a curve that is exactly balanced."""
    return _moved(point, Z, depth, _lift_factors(point.s, depth))


def _moved(point: SVD, Z: Tangent, depth: float, factors: Array) -> SVD:
    motion = _motion(point.s, Z.M, depth, factors)
    columns, v = point.s[..., None, :], point.vt.mT
    new_u = polar_move(point.u, motion.last, Z.Up, columns)
    new_v = polar_move(v, motion.first, Z.Vp, columns)
    if depth == math.inf:
        return _exponential_core(point.s, motion.h, new_u, new_v)
    return _power_core(point.s, motion.h, int(depth), new_u, new_v)


def _power_core(s: Array, h: Array, depth: int, u: Array, v: Array) -> SVD:
    """SVD of ``u (Lam + h)^N v^T``; the symmetric core may be indefinite."""
    xp, lam = namespace(s), spectral._root(s, depth)
    values, left, right = signed_svd(lam[..., :, None] * identity(lam.shape[-1], lam) + h)
    # H = P S Q^T is symmetric, so H^N is P S^N P^T or P S^N Q^T by the parity of N.
    turn_u = left if depth % 2 == 0 else right
    new_v = v @ left
    bounded = xp.minimum(values, xp.exp(_log_limits(s)[1] / depth))
    return SVD(u @ turn_u, bounded**depth, new_v.mT)


def _log_limits(s: Array) -> tuple[Array, Array]:
    """Least and largest logarithm of the singular values after a step from ``s``.

    Even huge steps of a derivative-free optimizer must end at points whose squares are finite.
    A start beyond these bounds may go on by a factor of ``e^2``.
    """
    xp = namespace(s)
    most = math.log(float(xp.finfo(s.dtype).max))
    least = math.log(float(xp.finfo(s.dtype).smallest_normal))
    smallest, largest = xp.log(s[..., -1:]), xp.log(s[..., :1])
    one = xp.ones_like(largest)
    high = xp.minimum(xp.maximum(most / 4 * one, largest + 2), (most - 1) * one)
    return xp.minimum(least / 4 * one, smallest - 2), high


def _exponential_core(s: Array, h: Array, u: Array, v: Array) -> SVD:
    """SVD of ``u exp(log Sigma + h) v^T``."""
    xp = namespace(s)
    linalg = xp.linalg
    values, vectors = linalg.eigh(xp.log(s)[..., :, None] * identity(s.shape[-1], s) + h)
    vectors = xp.flip(vectors, axis=-1)
    low, high = _log_limits(s)
    bounded = xp.maximum(xp.minimum(xp.flip(values, axis=-1), high), low)
    return SVD(u @ vectors, xp.exp(bounded), (v @ vectors).mT)


def second_order_retraction(point: SVD, Z: Tangent, depth: float) -> SVD:
    """First-order retraction of ``Z`` minus half the acceleration of that curve.

    A correction as long as ``Z`` is damped smoothly, an effect of fourth order in ``Z``; it never
    exceeds half of the step.
    """
    xp = namespace(point.s)
    factors = _lift_factors(point.s, depth)
    correction = _acceleration(point, Z, depth, factors)
    at = metric(point.s, depth)
    # With this unit the squares that the metric divides stay in range at every scale.
    unit = 1.0 if depth == math.inf else spectral._root(point.s[..., :1, None], depth)
    direction, bend = (Tangent(*(x / unit for x in V)) for V in (Z, correction))
    length = inner_product(direction, direction, at)
    excess = inner_product(bend, bend, at) / xp.where(length == 0, 1 + length, length)
    share = (-0.5 / (1 + excess / 4))[..., None, None]
    return _moved(point, combine_tangents(1.0, Z, share, correction), depth, factors)


def _acceleration(point: SVD, Z: Tangent, depth: float, factors: Array) -> Tangent:
    """Covariant acceleration downstairs of the first-order curve: the push-down of ``c''(0)``."""
    s = point.s
    motion = _motion(s, Z.M, depth, factors)
    row, column = pair(s)
    Ku, Kv = Z.Up / s[..., None, :], Z.Vp / s[..., None, :]
    core = _core_acceleration(s, motion, depth)
    core = core - (Ku.mT @ Ku) * column - row * (Kv.mT @ Kv)
    if depth == math.inf:
        return Tangent(Z.Up * 0, core, Z.Vp * 0)
    lam = spectral._root(s, depth)[..., :, None]
    end = column ** (1 - 1 / depth)
    below_last, above_first = motion.lower[..., -1, :, :], motion.upper[..., 0, :, :]
    Up = 2 * Ku @ ((motion.h - lam * below_last) * end)
    Vp = 2 * Kv @ ((motion.h - lam * above_first) * end)
    return Tangent(Up, core, Vp)


def _core_acceleration(s: Array, motion: Motion, depth: float) -> Array:
    """Part of the acceleration within the frames: products of rotations, summed over layers."""
    xp = namespace(s)
    nodes = spectral._layer_nodes(depth)
    left, right, weight = (constant(x, s)[:, None, None] for x in nodes[:3])
    row, column = (x[..., None, :, :] for x in pair(s))
    lower, upper, h = motion.lower, motion.upper, motion.h[..., None, :, :]
    if depth == math.inf:
        lam_row, lam_column = xp.log(row), xp.log(column)
        extra = upper @ motion.rate - motion.rate @ upper
    else:
        lam_row, lam_column = row ** (1 / depth), column ** (1 / depth)
        extra = xp.zeros_like(upper)
    second = (upper @ upper) * lam_column + lam_row * (lower @ lower)
    second = second + 2 * (upper @ h - h @ lower) - 2 * upper @ (lam_row * lower) + extra
    return xp.sum(weight * row**left * second * column**right, axis=-3)


def _motion(s: Array, M: Array, depth: float, factors: Array) -> Motion:
    core = M[..., None, :, :] * factors
    if depth == math.inf:
        return _continuum_motion(s, M, core)
    return _layer_motion(s, core, int(depth))


def lifted_core(s: Array, M: Array, depth: float) -> Array:
    """Horizontal lift ``left_k (M/w)_kl right_l`` at each node, without under- or overflow."""
    return M[..., None, :, :] * _lift_factors(s, depth)


def _lift_factors(s: Array, depth: float) -> Array:
    """Factors ``left_k right_l / w_kl`` of the lift at each node."""
    xp = namespace(s)
    nodes = spectral._layer_nodes(depth)
    left, right = (constant(x, s)[:, None, None] for x in nodes[:2])
    row, column = pair(s)
    largest = xp.maximum(row, column)
    row, column = row / largest, column / largest
    shares = row[..., None, :, :] ** left * column[..., None, :, :] ** right
    # At finite depth the weights are sums of squares of the shares, without logarithms.
    if depth == math.inf:
        total = spectral.weights(row, column, depth)
    else:
        total = xp.sum(shares * shares, axis=-3)
    return shares / (total * largest ** (1 - nodes.step))[..., None, :, :]


def _layer_motion(s: Array, core: Array, depth: int) -> Motion:
    omega, h, rate = rotations(spectral._root(s, depth), core)
    lower, upper = omega[..., :-1, :, :], omega[..., 1:, :, :]
    return Motion(lower, upper, rate, omega[..., 0, :, :], omega[..., -1, :, :], h)


def _continuum_motion(s: Array, M: Array, core: Array) -> Motion:
    xp = namespace(s)
    nodes = spectral._layer_nodes(math.inf)
    right, weight = (
        constant(nodes.right, s)[:, None, None],
        constant(nodes.weight, s)[:, None, None],
    )
    row, column = pair(s)
    unit = (M / spectral.weights(row, column, math.inf))[..., None, :, :]
    row, column = row[..., None, :, :], column[..., None, :, :]
    below = row ** (1 - right) * spectral._partial_weights(row**0.5, column**0.5, right, math.inf)
    total = spectral._partial_weights(row**0.5, column**0.5, xp.ones_like(row), math.inf)
    omega = antisymmetric(unit * below)
    mean = xp.sum(weight * omega, axis=-3)
    omega = omega - mean[..., None, :, :]
    last = antisymmetric((unit * total)[..., 0, :, :]) - mean
    shift = (xp.log(column) - xp.log(row)) * omega
    h = xp.sum(weight * (symmetric(core) - shift), axis=-3)
    return Motion(omega, omega, antisymmetric(core), -mean, last, h)


def smallest_network(point: SVD, depth: int) -> Frames:
    """Balanced network whose inner widths are the rank and inner layers are diagonal."""
    u, s, vt = point
    r = s.shape[-1]
    unit = namespace(s).zeros_like(u[..., :r, :]) + identity(r, s)
    return Frames(spectral._root(s, depth), (vt.mT, *[unit] * (depth - 1), u))


def smallest_lift(point: SVD, Z: Tangent, depth: int) -> tuple[Array, ...]:
    """Horizontal lift of a tangent vector to :func:`smallest_network`, layer by layer."""
    u, s, v = point.u, point.s, point.vt.mT
    end = (spectral._root(s, depth) ** (depth - 1))[..., None, :]
    core = lifted_core(s, Z.M, depth)
    if depth == 1:
        return ((u @ core[..., 0, :, :] + Z.Up) @ v.mT + u @ Z.Vp.mT,)
    first = core[..., 0, :, :] @ v.mT + (Z.Vp / end).mT
    inner = [core[..., p, :, :] for p in range(1, depth - 1)]
    return (first, *inner, u @ core[..., -1, :, :] + Z.Up / end)


def push_down(frames: Frames, V: TangentInFrames) -> Tangent:
    """Differential of the end-to-end matrix, in the frames of its ends."""
    lam, depth = frames.lam, len(frames.q) - 1
    nodes = spectral._layer_nodes(depth)
    left, right = (constant(x * depth, lam)[:, None, None] for x in nodes[:2])
    row, column = lam[..., None, :, None], lam[..., None, None, :]
    M = namespace(lam).sum(row**left * V.core * column**right, axis=-3)
    end = (lam ** (depth - 1))[..., None, :]
    return Tangent(V.perp[-1] * end, M, V.perp[0] * end)
