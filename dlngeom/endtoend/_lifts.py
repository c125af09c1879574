"""Retractions downstairs for ``g^N``, by end-to-end matrices of curves of balanced networks.

The horizontal lift of ``Z`` to the smallest network moves the frames by rotations ``omega_p``
and by ``K_p = L_p / lam`` out of their span, and ``Lam`` by a symmetric ``h``.  Replacing the
frames by polar factors and ``Lam`` by ``Lam + h``, which may be indefinite, keeps the network
balanced for every step.  The end-to-end matrix depends only on the two end frames and ``h``.

All of it is computed in the unit of the largest singular value of a layer, as cores ``r x r``;
of the large arrays only ``K`` and the new frames are formed.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dlngeom import spectral
from dlngeom._lib.arrays import (
    Array,
    antisymmetric,
    constant,
    identity,
    is_square,
    namespace,
    polars_of_expansions,
    symmetric,
)
from dlngeom.balanced._balance import Rotations, rotations, squares
from dlngeom.balanced._curves import bent_cores, damped_share, signed_svd
from dlngeom.balanced._in_frames import TangentInFrames
from dlngeom.endtoend._kernels import pair
from dlngeom.points import SVD, Frames, Tangent

__all__ = [
    "first_order_retraction",
    "lifted_core",
    "push_down",
    "second_order_retraction",
    "smallest_lift",
    "smallest_network",
]


class _Lift(NamedTuple):
    """Horizontal lift of cores at the nodes of a sum over layers.

    Attributes
    ----------
    depth : int or inf
    lam : array (..., r)
        Singular values of the layers over the largest; their logarithms for ``depth=inf``.
    largest : array (..., 1)
        That largest value; one for ``depth=inf``.
    ratios : array (..., r)
        Singular values over the largest.
    larger : array (..., r, r)
        The power ``1 - 1/N`` of the larger ratio of each pair.
    unit : array (..., 1, 1)
        What ``larger`` has to be multiplied by to be the scale of ``M`` over that of the lift.
    shares, factors : array (..., L, r, r)
        Products of powers of a pair over ``larger``, and those over the sum of their squares.
    """

    depth: float
    lam: Array
    largest: Array
    ratios: Array
    larger: Array
    unit: Array
    shares: Array
    factors: Array


class _Motion(NamedTuple):
    """Velocity of the smallest network along a horizontal lift.

    Attributes
    ----------
    core : array (..., L, r, r)
        The lift in the frames.
    turns : Rotations
        Of the frames, and the velocity ``h`` of ``Lam``, or of ``log Sigma`` for ``depth=inf``.
    first, last : array (..., r, r)
        Rotation rates of the input and output frames.
    """

    core: Array
    turns: Rotations
    first: Array
    last: Array


class _Ends(NamedTuple):
    """What the output and the input frame have; None where the frame is square."""

    last: Array | None
    first: Array | None


def first_order_retraction(point: SVD, Z: Tangent, depth: float) -> SVD:
    """Retract along the end-to-end matrices of a curve that is exactly balanced."""
    lift = _lift(point.s, depth)
    motion = _motion(lift, point.s, _relative(lift, Z.M))
    return _moved(point, lift, motion, _outward(point, Z))


def second_order_retraction(point: SVD, Z: Tangent, depth: float) -> SVD:
    """First-order retraction of ``Z`` minus half the acceleration of that curve.

    A correction as long as ``Z`` is damped smoothly, an effect of fourth order in ``Z``; it never
    exceeds half of the step.
    """
    lift, outward = _lift(point.s, depth), _outward(point, Z)
    core = _relative(lift, Z.M)
    motion = _motion(lift, point.s, core)
    grams = _Ends(*(None if K is None else K.mT @ K for K in outward))
    bend, tilts = _core_acceleration(lift, motion, grams), _tilts(lift, motion, grams)
    share = _share(lift, motion, bend, grams, tilts)
    bent = _motion(lift, point.s, core - share * bend)
    ends = zip(outward, tilts, strict=True)
    unit, column = identity(lift.lam.shape[-1], lift.lam), lift.lam[..., None, :]
    outward = _Ends(
        *(None if K is None else K @ (unit - (2 * share) * (tilt / column)) for K, tilt in ends)
    )
    return _moved(point, lift, bent, outward)


def _outward(point: SVD, Z: Tangent) -> _Ends:
    """Velocities ``K`` of the end frames out of their span."""
    columns = point.s[..., None, :]
    ends = ((point.u, Z.Up), (point.vt.mT, Z.Vp))
    return _Ends(*(None if is_square(frame) else perp / columns for frame, perp in ends))


def _moved(point: SVD, lift: _Lift, motion: _Motion, outward: _Ends) -> SVD:
    """Polar factors of the moved frames, turned by the singular vectors of the moved core."""
    core = _exponential_core if lift.depth == math.inf else _power_core
    values, left, right = core(lift, motion.turns.h, point.s)
    unit, moved = identity(left.shape[-1], left), []
    for frame, omega, K in (
        (point.u, motion.last, outward.last),
        (point.vt.mT, motion.first, outward.first),
    ):
        # No singular value is below one, since Om is antisymmetric and K orthogonal to the frame.
        turned = frame @ (unit + omega)
        moved.append(turned if K is None else turned + K)
    u, v = polars_of_expansions(moved, (left, right))
    return SVD(u, values, v.mT)


def _power_core(lift: _Lift, h: Array, s: Array) -> tuple[Array, Array, Array]:
    """SVD of ``(Lam + h)^N``, whose root may be indefinite."""
    depth, lam = int(lift.depth), lift.lam[..., :, None]
    values, left, right = signed_svd(lam * identity(lam.shape[-2], lam) + h)
    xp, most = namespace(s), _log_range(s)[1]
    lower, upper = (constant(math.exp(x / depth), s) for x in (most / 4, most - 1))
    limit = xp.minimum(xp.maximum(lift.largest * math.exp(2 / depth), lower), upper)
    # H = P S Q^T is symmetric, so H^N is P S^N P^T or P S^N Q^T by the parity of N.
    turn = left if depth % 2 == 0 else right
    return xp.minimum(values * lift.largest, limit) ** depth, turn, left


def _log_range(s: Array) -> tuple[float, float]:
    """Logarithms of the smallest and largest positive numbers of a dtype."""
    return _log_range_of_bits(namespace(s).finfo(s.dtype).bits)


@lru_cache(maxsize=2)
def _log_range_of_bits(bits: int) -> tuple[float, float]:
    limits = np.finfo(f"float{bits}")
    return math.log(float(limits.smallest_normal)), math.log(float(limits.max))


def _exponential_core(lift: _Lift, h: Array, s: Array) -> tuple[Array, Array, Array]:
    """SVD of ``exp(log Sigma + h)``."""
    xp, logs = namespace(s), lift.lam
    values, vectors = xp.linalg.eigh(logs[..., :, None] * identity(s.shape[-1], s) + h)
    values, vectors = (xp.flip(x, axis=-1) for x in (values, vectors))
    least, most = _log_range(s)
    one = xp.ones_like(logs[..., :1])
    low = xp.minimum(least / 4 * one, logs[..., -1:] - 2)
    high = xp.minimum(xp.maximum(most / 4 * one, logs[..., :1] + 2), (most - 1) * one)
    return xp.exp(xp.maximum(xp.minimum(values, high), low)), vectors, vectors


def _core_acceleration(lift: _Lift, motion: _Motion, grams: _Ends) -> Array:
    """Acceleration of the first-order curve within the frames, in the unit of the cores.

    It is the push-down of the acceleration upstairs, a sum over layers.
    """
    xp = namespace(lift.lam)
    if lift.depth == math.inf:
        weight = constant(spectral._layer_nodes(lift.depth).weight, lift.lam)[:, None, None]
        return xp.sum(weight * lift.shares * _continuum_bend(lift, motion), axis=-3)
    total = xp.sum(lift.shares * bent_cores(motion.core, motion.turns), axis=-3)
    row, column = pair(lift.ratios)
    if grams.last is not None:
        total = total - grams.last * (column / lift.larger)
    if grams.first is not None:
        total = total - (row / lift.larger) * grams.first
    return total


def _tilts(lift: _Lift, motion: _Motion, grams: _Ends) -> _Ends:
    """Factors of ``2 K`` in the acceleration of the end layers out of the frames."""
    omega, h = motion.turns
    lam = lift.lam[..., :, None]
    return _Ends(
        None if grams.last is None else h - lam * omega[..., -2, :, :],
        None if grams.first is None else h - lam * omega[..., 1, :, :],
    )


def _share(lift: _Lift, motion: _Motion, bend: Array, grams: _Ends, tilts: _Ends) -> Array:
    """Share of the acceleration to subtract, from its length and that of the step."""
    length, excess = (_squares(lift, x) for x in (motion.core, _cores(lift, bend)))
    ends = [(G, T) for G, T in zip(grams, tilts, strict=True) if G is not None and T is not None]
    if ends:
        xp = namespace(bend)
        total, tilted = ends[0][0], ends[0][0] @ ends[0][1] * ends[0][1]
        for gram, tilt in ends[1:]:
            total, tilted = total + gram, tilted + (gram @ tilt) * tilt
        length = length + xp.vecdot(xp.linalg.diagonal(total), lift.lam**2)
        excess = excess + 4 * xp.sum(tilted, axis=(-2, -1))
    return damped_share(length, excess)


def _squares(lift: _Lift, core: Array) -> Array:
    """Squared length of a lift, which is the same downstairs."""
    if lift.depth == math.inf:
        weight = constant(spectral._layer_nodes(lift.depth).weight, core)[:, None, None]
        return namespace(core).sum(weight * core * core, axis=(-3, -2, -1))
    return squares(core)


def _relative(lift: _Lift, M: Array) -> Array:
    """Core of a tangent vector in the unit of the lift, without under- or overflow."""
    return M / (lift.unit * lift.larger)


def _cores(lift: _Lift, relative: Array) -> Array:
    return relative[..., None, :, :] * lift.factors


def lifted_core(s: Array, M: Array, depth: float) -> Array:
    """Horizontal lift ``left_k (M/w)_kl right_l`` at each node, without under- or overflow."""
    lift = _lift(s, depth)
    return _cores(lift, _relative(lift, M)) * lift.largest[..., None, None]


def _lift(s: Array, depth: float) -> _Lift:
    xp, nodes = namespace(s), spectral._layer_nodes(depth)
    left, right = (constant(x, s) for x in nodes[:2])
    first = s[..., :1]
    ratios = s / first
    larger = xp.maximum(*pair(ratios ** (1 - nodes.step)))
    above, below = ratios[..., :, None] ** left, ratios[..., :, None] ** right
    shares = above.mT[..., :, None] * below.mT[..., None, :] / larger[..., None, :, :]
    # At finite depth the weights are sums of squares of the shares, without logarithms.
    if depth == math.inf:
        row, column = (x / larger for x in pair(ratios))
        factors = shares / spectral.weights(row, column, depth)[..., None, :, :]
        logs, one = xp.log(s), xp.ones_like(first)
        return _Lift(depth, logs, one, ratios, larger, first[..., None], shares, factors)
    factors = shares / xp.sum(shares * shares, axis=-3, keepdims=True)
    largest, lam = spectral._root(first, depth), spectral._root(ratios, depth)
    return _Lift(depth, lam, largest, ratios, larger, first[..., None], shares, factors)


def _motion(lift: _Lift, s: Array, relative: Array) -> _Motion:
    core = _cores(lift, relative)
    if lift.depth == math.inf:
        return _continuum_motion(s, relative * (lift.unit * lift.larger), core)
    turns = rotations(lift.lam, core)
    return _Motion(core, turns, turns.omega[..., 0, :, :], turns.omega[..., -1, :, :])


def _continuum_motion(s: Array, M: Array, core: Array) -> _Motion:
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
    return _Motion(core, Rotations(omega, h), -mean, last)


def _continuum_bend(lift: _Lift, motion: _Motion) -> Array:
    """Second derivative of the cores in a continuum of layers."""
    omega, h = motion.turns
    rate = antisymmetric(motion.core)
    row, column = (x[..., None, :, :] for x in pair(lift.lam))
    h, squared = h[..., None, :, :], omega @ omega
    bend = squared * column + row * squared + 2 * (omega @ h - h @ omega)
    return bend - 2 * omega @ (row * omega) + omega @ rate - rate @ omega


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
