r"""Geodesics as differential equations, downstairs in frames and upstairs in the layers.

A geodesic downstairs is the projection of a horizontal one of balanced networks, whose
acceleration is normal to the manifold and so projects to zero.  The second derivative of
``W_N ... W_1`` then consists of the products with two layers replaced by their velocities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from dlngeom import spectral
from dlngeom._lib.arrays import (
    Array,
    constant,
    eps,
    identity,
    namespace,
    remainder,
    symmetric,
    to_numpy,
)
from dlngeom._lib.ode.system import SolverState
from dlngeom.balanced._curvature import integrability, normal_acceleration, second_form
from dlngeom.balanced._geometry import tangent_part
from dlngeom.balanced._in_frames import assemble, resolve
from dlngeom.dln._closed_forms import first_singular
from dlngeom.dln._rank_one import rank_one_geodesic
from dlngeom.endtoend._curvature import christoffel_table, contract
from dlngeom.endtoend._lifts import push_down, smallest_lift, smallest_network
from dlngeom.points import SVD, Frames, Tangent, dense
from dlngeom.points._covectors import components
from dlngeom.points._nearest import carried_frames, nearby_frames
from dlngeom.submersion._equations import Geodesic

__all__ = ["end_to_end_geodesic", "network_geodesic"]


# Beyond this depth a sum over layers in frames is cheaper than the layers themselves.
_LAYERS = 64
# Rounding errors, in units of the last place, with which matrices still count as symmetric.
_SYMMETRIC = 64


def end_to_end_geodesic(point: SVD, Z: Tangent, depth: float) -> Geodesic:
    """Geodesic of ``g^N``: by the smallest network upstairs, or in frames if that is too deep."""
    if depth == 1 and point.s.shape[-1] == min(point.u.shape[-2], point.vt.shape[-1]):
        return _straight_line(point, Z)
    if point.s.shape[-1] == 1 and depth < math.inf:
        curve = rank_one_geodesic(point, Z, int(depth))
        return curve._replace(transport=_transport(curve.point, curve.velocity, depth))
    line = _symmetric_line(point, Z) if depth == 2 and _is_square(point) else None
    if line is not None:
        return line
    if 1 < depth <= _LAYERS:
        return _lifted_geodesic(point, Z, int(depth))
    return _framed_geodesic(point, Z, depth)


def _is_square(point: SVD) -> bool:
    return bool(point.u.shape[-2] == point.s.shape[-1] == point.vt.shape[-1])


def _straight_line(point: SVD, Z: Tangent) -> Geodesic:
    """Geodesic of one layer of full rank: a straight line."""
    rank = point.s.shape[-1]

    def at(state: SolverState) -> SVD:
        linalg = namespace(state[0]).linalg
        return SVD(*linalg.svd(state[0], full_matrices=False))

    start = (dense(point), dense((point, Z)))
    return Geodesic(
        start,
        lambda state: (state[1], state[1] * 0),
        at,
        lambda state: components(at(state), state[1]),
        lambda state: at(state).s[..., rank - 1],
        lambda state, vector: (vector[0] * 0,),
        meets=lambda time: first_singular(*start, time),
    )


def _symmetric_line(point: SVD, Z: Tangent) -> Geodesic | None:
    r"""Geodesic of two layers in positive definite matrices: their roots move straight.

    .. math:: W(t) = F(t) F(t)^T, \qquad F(t) = (I + t L) F(0), \\qquad L W + W L = \dot W
    """
    u, s, vt = point
    M = u.mT @ dense((point, Z)) @ u
    if not _agree(u, vt.mT) or not _agree(M, M.mT):
        return None
    root = namespace(s).sqrt(s)[..., None, :]
    start = (u * root, u @ (symmetric(M) / (s[..., :, None] + s[..., None, :]) * root))

    def at(state: SolverState) -> SVD:
        left, singular, _ = namespace(s).linalg.svd(state[0])
        return SVD(left, singular**2, left.mT)

    def velocity(state: SolverState) -> Tangent:
        half = state[1] @ state[0].mT
        return components(at(state), half + half.mT)

    return Geodesic(
        start,
        lambda state: (state[1], state[1] * 0),
        at,
        velocity,
        lambda state: at(state).s[..., -1],
        _transport(at, velocity, 2),
        meets=lambda time: first_singular(*start, time),
    )


def _agree(x: Array, y: Array) -> bool:
    """Whether arrays are equal up to rounding."""
    gap, size = (np.max(np.abs(to_numpy(z)), initial=0.0) for z in (x - y, x))
    return bool(gap <= _SYMMETRIC * eps(x) * size)


def _lifted_geodesic(point: SVD, Z: Tangent, depth: int) -> Geodesic:
    """Projection of the horizontal geodesic of the smallest network."""
    curve = network_geodesic(smallest_network(point, depth), smallest_lift(point, Z, depth))

    def below(state: SolverState) -> SVD:
        lam, q = curve.point(state)
        return SVD(q[-1], lam**depth, q[0].mT)

    def velocity(state: SolverState) -> Tangent:
        frames = curve.point(state)
        return push_down(frames, tangent_part(frames, resolve(frames, state[depth:])))

    transport = _transport(below, velocity, depth)
    return curve._replace(point=below, velocity=velocity, transport=transport)


def _transport(
    point: Callable[[SolverState], SVD], velocity: Callable[[SolverState], Tangent], depth: float
) -> Callable[[SolverState, SolverState], SolverState]:
    """Rate ``-Gamma(W', Z)`` of a parallel field of dense vectors."""

    def rate(state: SolverState, vector: SolverState) -> SolverState:
        at = point(state)
        table = christoffel_table(at.s, depth)
        return (-contract(at, table, velocity(state), components(at, vector[0])),)

    return rate


def _framed_geodesic(point: SVD, Z: Tangent, depth: float) -> Geodesic:
    r"""Geodesic of ``g^N`` as :math:`W = U S V^T` with :math:`U^T \dot U = V^T \dot V = 0`.

    .. math:: \ddot W = 2 \sum_{p<q} W_N \cdots V_q \cdots V_p \cdots W_1

    with the horizontal lift ``V`` of the velocity; exact, but ``S`` holds singular values of the
    product, which vary more than those of the layers.
    """
    u, s, v = point.u, point.s, point.vt.mT
    column = s[..., None, :]
    start = (u, column * identity(s.shape[-1], s), v, Z.Up / column, Z.M, Z.Vp / column)

    def rates(state: SolverState) -> SolverState:
        U, S, V, dU, dS, dV = state
        return (dU, dS, dV, *_accelerations(U, S, V, dU, dS, dV, depth))

    return Geodesic(
        start,
        rates,
        _point,
        _velocity,
        lambda state: _clearance(state[1], depth),
        _transport(_point, _velocity, depth),
    )


def _accelerations(
    U: Array, S: Array, V: Array, dU: Array, dS: Array, dV: Array, depth: float
) -> tuple[Array, Array, Array]:
    linalg = namespace(S).linalg
    left, s, right_t = linalg.svd(S)
    right = right_t.mT
    row, column = s[..., :, None], s[..., None, :]
    Y = (left.mT @ dS @ right) / spectral.weights(row, column, depth)
    gram_u, gram_v = dU.mT @ dU, dV.mT @ dV
    core = left @ _products(s, Y, depth) @ right_t
    end = 1 - 2 / depth
    turn_u = left @ (Y * column**end) @ left.mT
    turn_v = right @ (Y * row**end).mT @ right_t
    ddU = -2 * dU @ turn_u - U @ gram_u
    ddV = -2 * dV @ turn_v - V @ gram_v
    return ddU, core + gram_u @ S + S @ gram_v, ddV


def _products(s: Array, Y: Array, depth: float) -> Array:
    """Twice the sum over pairs of layers of the product with both replaced by their velocity."""
    nodes = spectral._layer_nodes(depth)
    left, right, weight = (constant(x, s)[:, None, None] for x in nodes[:3])
    row, column = s[..., None, :, None], s[..., None, None, :]
    Y = Y[..., None, :, :]
    below = row * Y * spectral._partial_weights(row, column, right, depth)
    return 2 * namespace(s).sum(weight * row ** (2 * left) * (Y @ below), axis=-3)


def _point(state: SolverState) -> SVD:
    """Singular value decomposition, orthonormal to rounding."""
    U, S, V = state[:3]
    linalg = namespace(S).linalg
    (q_left, a), (q_right, b) = linalg.qr(U), linalg.qr(V)
    u, s, vt = linalg.svd(a @ S @ b.mT)
    return SVD(q_left @ u, s, vt @ q_right.mT)


def _velocity(state: SolverState) -> Tangent:
    """Velocity, in the frames of the point."""
    U, S, V, dU, dS, dV = state
    u, _, vt = _point(state)
    v = vt.mT
    right, left = V.mT @ v, U.mT @ u
    Zv = dU @ (S @ right) + U @ (dS @ right) + U @ (S @ (dV.mT @ v))
    Ztu = dV @ (S.mT @ left) + V @ (dS.mT @ left) + V @ (S.mT @ (dU.mT @ u))
    M = u.mT @ Zv
    return Tangent(remainder(u, Zv, M), M, remainder(v, Ztu, M.mT))


def _clearance(S: Array, depth: float) -> Array:
    """Distance to lower rank at depth one; deeper, 0 if rounding hides a singular value, else 1."""
    linalg = namespace(S).linalg
    s = linalg.svd(S)[1]
    told = s[..., -1] > 16 * eps(S) * s[..., 0]
    return s[..., -1] if depth == 1 else namespace(s).astype(told, s.dtype)


def network_geodesic(point: Frames, V: Sequence[Array]) -> Geodesic:
    r"""Geodesic of the balanced manifold, whose acceleration is normal.

    .. math:: \ddot W_p = \mathrm{II}(\dot W, \dot W)_p
    """
    depth, r = len(point.q) - 1, point.lam.shape[-1]
    column = point.lam[..., None, :]
    layers = ((high * column) @ low.mT for low, high in pairwise(point.q))
    start = (*layers, *V)

    def rates(state: SolverState) -> SolverState:
        W, dW = state[:depth], state[depth:]
        return (*dW, *normal_acceleration(carried_frames(W, r), dW))

    def velocity(state: SolverState) -> tuple[Array, ...]:
        frames = nearby_frames(state[:depth], r)
        return assemble(frames, tangent_part(frames, resolve(frames, state[depth:])))

    def transport(state: SolverState, vector: SolverState) -> SolverState:
        return second_form(carried_frames(state[:depth], r), state[depth:], vector)

    def lifted(state: SolverState, vector: SolverState) -> SolverState:
        frames, dW = carried_frames(state[:depth], r), state[depth:]
        pairs = zip(second_form(frames, dW, vector), integrability(frames, dW, vector), strict=True)
        return tuple(x + y for x, y in pairs)

    return Geodesic(
        start,
        rates,
        lambda state: nearby_frames(state[:depth], r),
        velocity,
        lambda state: nearby_frames(state[:depth], r).lam[..., -1],
        transport,
        lifted,
    )
