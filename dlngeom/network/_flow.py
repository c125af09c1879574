"""Gradient flow of the layers of any network, and what to watch along flows of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, to_numpy
from dlngeom._lib.vectors import copied
from dlngeom.network._chains_last import ChainsLast, many_small
from dlngeom.network._layers import lift_actions, product, suffix_products
from dlngeom.network._observables import effective_number, end_to_end, invariants, singular_values
from dlngeom.points._covectors import (
    Covector,
    EnergyGradient,
    apply,
    apply_transpose,
    checked_gradient,
    to_dense,
)
from dlngeom.points._tuples import Layers, LowRank
from dlngeom.submersion._equations import Equation

__all__ = [
    "GradientCheck",
    "descent",
    "escape",
    "flat_flow",
    "layers_flow",
    "watch_matrices",
    "watch_networks",
]


def watch_matrices(point: Any) -> dict[str, Any]:
    """End-to-end matrices, with their singular values and effective ranks."""
    s = singular_values(point)
    return {
        "end_to_end": end_to_end(point),
        "singular_values": s,
        "effective_rank": effective_number(s),
    }


def watch_networks(point: Any) -> dict[str, Any]:
    """Watch matrices, and the invariants of their networks."""
    return {**watch_matrices(point), "invariants": invariants(point)}


class GradientCheck:
    """Check of what an energy gradient returns, made once for each kind and shape of it."""

    def __init__(self, m: int, n: int) -> None:
        self._size = m, n
        self._known: Any = ()

    def __call__(self, value: Covector, like: Array) -> Covector:
        """Return a covector for points like an array."""
        kind = (type(value), getattr(value, "shape", None), getattr(value, "dtype", None))
        if kind != self._known or isinstance(value, LowRank):
            found = checked_gradient(value, *self._size, like, tuple(like.shape[:-2]))
            # What has to be converted is converted every time.
            self._known = kind if found is value else ()
            return found
        return value


def layers_flow(factors: Layers, gradient: EnergyGradient) -> Equation:
    r"""Flow of the layers of any network.

    .. math:: \dot W_p = -(W_N \cdots W_{p+1})^T\, E'(W)\, (W_{p-1} \cdots W_1)^T
    """
    if len(factors) == 1:
        equation = flat_flow(factors[0], gradient)._replace(point=tuple)
    else:
        equation = _deep_flow(factors, gradient)
    return equation._replace(below=product, watch=watch_networks, escape=escape)


def _deep_flow(factors: Layers, gradient: EnergyGradient) -> Equation:
    """Flow of two or more layers."""
    check = GradientCheck(factors[-1].shape[-2], factors[0].shape[-1])

    def rates(state: Layers) -> Layers:
        above = suffix_products(state)
        return descent(state, above, check(gradient(above[0] @ state[0]), state[0]))

    def small_rates(state: Layers) -> Layers:
        layers: Any = [ChainsLast.of(x) for x in state]
        above = suffix_products(layers)
        matrix = (above[0] @ layers[0]).chains_first().copy()
        covector = np.broadcast_to(to_dense(check(gradient(matrix), state[0])), matrix.shape)
        found = _dense_descent(layers, above, ChainsLast.of(covector))
        return tuple(x.chains_first() for x in found)

    chosen = small_rates if many_small(factors) else rates
    return Equation(factors, chosen, tuple, factors[0].ndim == 2)


def descent(layers: Layers, above: Sequence[Array], covector: Covector) -> Layers:
    """Rates of two or more layers, given the products of those above each."""
    if isinstance(covector, np.ndarray):
        rates: Layers = _dense_descent(layers, above, covector)
        return rates
    first, below = apply_transpose(covector, above[0]).mT, apply(covector, layers[0].mT)
    return lift_actions(layers, above, -first, -below)


def _dense_descent(layers: Any, above: Any, covector: Any) -> Any:
    """Rates by products of arrays, or of matrices with chains last."""
    down = -covector  # One change of sign, where it costs little.
    left, right = above[0].mT @ down, down @ layers[0].mT
    return lift_actions(layers, above, left, right)


def flat_flow(W: Array, gradient: EnergyGradient) -> Equation:
    r"""Euclidean gradient flow of a matrix.

    .. math:: \dot W = -E'(W)
    """
    check = GradientCheck(*W.shape[-2:])

    def rates(state: Layers) -> Layers:
        (X,) = state
        return (X * 0 - to_dense(check(gradient(copied(X)), X)),)

    return Equation((W,), rates, itemgetter(0), W.ndim == 2)


def escape(first: Any, last: Any, chain: int) -> str:
    """Say whether a flow that ran away grew without bound or lost rank."""
    before, after = (to_numpy(singular_values(x))[chain] for x in (first, last))
    # The other singular values of a dense matrix of low rank are rounding errors.
    rank = int(np.sum(before > len(before) * np.finfo(before.dtype).eps * before[0]))
    low = max(rank, 1) - 1
    if after[0] * after[low] > before[0] * before[low]:
        sizes = f"from {before[0]:.3g} to {after[0]:.3g}"
        return f"it leaves every compact set, |W| grew {sizes} in chain {chain}"
    sizes = f"from {before[low]:.3g} to {after[low]:.3g}"
    return f"it reaches matrices of lower rank, sigma_min fell {sizes} in chain {chain}"
