r"""Geodesics of dense matrices in the layers of their smallest network, smooth at equal values.

Balanced layers of a horizontal geodesic move by

.. math:: \ddot W_p = W_p S_{p-1} - S_p W_p, \qquad
          S_p W_p W_p^T + W_{p+1}^T W_{p+1} S_p - W_p S_{p-1} W_p^T - W_{p+1}^T S_{p+1} W_{p+1}
          = V_p V_p^T - V_{p+1}^T V_{p+1}

with ``S_0 = S_N = 0``.  The same system, for other right sides, takes any velocity of the layers to
the shortest one over the same velocity of the product.  Nothing here is decomposed along the way,
so that libraries with derivatives differentiate it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from operator import itemgetter
from typing import Any

import array_api_compat

from dlngeom._lib.arrays import Array, identity, namespace
from dlngeom._lib.derivatives import held
from dlngeom._lib.ode.system import SolverState
from dlngeom.dln._closed_forms import first_singular
from dlngeom.dln._flows import FEW_LAYERS, smooth_layers
from dlngeom.network._layers import product
from dlngeom.points import SVD
from dlngeom.submersion._equations import Geodesic

__all__ = ["may_be_compiled", "smooth_geodesic"]

# Largest system between layers that is solved by elimination at each evaluation.
_UNKNOWNS = 600


def may_be_compiled(point: Any, vector: Any, depth: float, rank: int) -> bool:
    """Whether a geodesic is that of dense arrays of jax, and not too large."""
    if isinstance(point, tuple) or not array_api_compat.is_jax_array(point):
        return False
    known = array_api_compat.is_jax_array(vector) and getattr(vector, "ndim", 0) > 1
    few = depth <= FEW_LAYERS and (depth - 1) * rank**2 <= _UNKNOWNS
    return bool(known and few)


def smooth_geodesic(W: Array, Z: Array, at: SVD, depth: int) -> Geodesic:
    """Geodesic of a dense matrix near a factored one, and of the tangent part of a dense vector."""
    if depth == 1 and at.s.shape[-1] == min(W.shape[-2:]):
        return _straight_line(W, Z)
    layers = smooth_layers(W, at, max(depth, 2))
    lift = _any_lift(layers, Z)
    if depth > 1:
        lift = _shortest(layers, lift)
    count, second = len(layers), _factor_accelerations if depth == 1 else _accelerations

    def rates(state: SolverState) -> SolverState:
        W, V = state[:count], state[count:]
        return (*V, *second(W, V))

    def clearance(state: SolverState) -> Array:
        values = held(product(state[:count]) if depth == 1 else state[0])
        s = namespace(values).linalg.svd(values, full_matrices=False)[1]
        return math.sqrt(depth) * s[..., at.s.shape[-1] - 1]

    def speed(state: SolverState) -> Array:
        V = state[count:] if depth > 1 else (_velocity(state),)
        squares = [namespace(x).sum(held(x) ** 2, axis=(-2, -1)) for x in V]
        return namespace(squares[0]).sqrt(sum(squares[1:], squares[0]))

    return Geodesic(
        (*layers, *lift),
        rates,
        lambda state: product(state[:count]),
        _velocity,
        clearance,
        lambda state, vector: vector,
        speed=speed,
    )


def _straight_line(W: Array, Z: Array) -> Geodesic:
    """Geodesic of one layer of full rank."""
    fixed = held((W, Z))
    return Geodesic(
        (W, Z),
        lambda state: (state[1], 0 * state[1]),
        itemgetter(0),
        itemgetter(1),
        lambda state: namespace(fixed[0]).linalg.svd(held(state[0]))[1][..., -1],
        lambda state, vector: (0 * vector[0],),
        meets=lambda time: first_singular(fixed[0], fixed[1], time),
    )


def _velocity(state: SolverState) -> Array:
    """Velocity of the product of layers."""
    count = len(state) // 2
    W, V = state[:count], state[count:]
    terms = [product((*W[:p], V[p], *W[p + 1 :])) for p in range(count)]
    return sum(terms[1:], terms[0])


def _any_lift(layers: tuple[Array, ...], Z: Array) -> tuple[Array, ...]:
    """Velocities of the outer layers over the tangent part of a vector."""
    first, *inner, last = layers
    inverse = namespace(first).linalg.inv
    left = inverse(last.mT @ last) @ last.mT @ Z
    right = Z @ first.mT @ inverse(first @ first.mT)
    core = left @ first.mT @ inverse(first @ first.mT)
    first_part, last_part = left - core @ first / 2, right - last @ core / 2
    if inner:
        between = inverse(product(tuple(inner)))
        first_part, last_part = between @ first_part, last_part @ between
    return (first_part, *(0 * x for x in inner), last_part)


def _shortest(layers: tuple[Array, ...], V: tuple[Array, ...]) -> tuple[Array, ...]:
    """Horizontal part of velocities: without those that leave the product as it is."""
    pairs = zip(layers[:-1], layers[1:], V[:-1], V[1:], strict=True)
    g = _solved(layers, [v @ w.mT - w_next.mT @ v_next for w, w_next, v, v_next in pairs])
    moved = _turned(layers, g)
    return tuple(v + x for v, x in zip(V, moved, strict=True))


def _accelerations(layers: tuple[Array, ...], V: tuple[Array, ...]) -> tuple[Array, ...]:
    """Second derivatives of the layers of a geodesic."""
    return _turned(
        layers, _solved(layers, [v @ v.mT - later.mT @ later for v, later in pairwise(V)])
    )


def _turned(layers: tuple[Array, ...], g: list[Array]) -> tuple[Array, ...]:
    """Return the changes ``W_p g_{p-1} - g_p W_p`` of layers."""
    inner = (w @ before - after @ w for w, before, after in zip(
        layers[1:-1], g[:-1], g[1:], strict=True
    ))  # fmt: skip
    return (-(g[0] @ layers[0]), *inner, layers[-1] @ g[-1])


def _solved(layers: tuple[Array, ...], right: list[Array]) -> list[Array]:
    """Solve the system of all layers for square matrices between them."""
    xp, r, count = namespace(right[0]), right[0].shape[-1], len(right)
    size, batch = r * r, tuple(right[0].shape[:-2])
    one, zero = identity(r, right[0]), xp.zeros((*batch, size, size), dtype=right[0].dtype)
    blocks = [[zero] * count for _ in right]
    for p in range(count):
        gram, next_gram = layers[p] @ layers[p].mT, layers[p + 1].mT @ layers[p + 1]
        blocks[p][p] = _product(one, gram.mT) + _product(next_gram, one)
    for p, w in enumerate(layers[1:-1]):
        blocks[p + 1][p] = -_product(w, w)
        blocks[p][p + 1] = -_product(w.mT, w.mT)
    matrix = xp.concat([xp.concat(row, axis=-1) for row in blocks], axis=-2)
    column = xp.concat([xp.reshape(x, (*batch, size, 1)) for x in right], axis=-2)
    found = xp.linalg.solve(matrix, column)
    return [
        xp.reshape(found[..., p * size : (p + 1) * size, 0], (*batch, r, r)) for p in range(count)
    ]


def _product(x: Array, y: Array) -> Array:
    """Matrix that takes the entries of ``g`` to those of ``x g y^T``."""
    r = x.shape[-1]
    both = x[..., :, None, :, None] * y[..., None, :, None, :]
    return namespace(both).reshape(both, (*both.shape[:-4], r * r, r * r))


def _factor_accelerations(factors: tuple[Array, ...], V: tuple[Array, ...]) -> tuple[Array, Array]:
    """Second derivatives of the factors of one layer below full rank, as in its chart."""
    inverse = namespace(factors[0]).linalg.inv
    (Rt, L), (dRt, dL) = factors, V
    turn_left = inverse(L.mT @ L) @ (L.mT @ dL)
    turn_right = inverse(Rt @ Rt.mT) @ (Rt @ dRt.mT)
    return turn_left @ (turn_right.mT @ Rt - 2 * dRt), (L @ turn_left - 2 * dL) @ turn_right.mT
