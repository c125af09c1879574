r"""Noise on networks that are not balanced, and the motion of their leaf by curvature.

The noise is the ambient Brownian motion projected on the tangent space of
``M_G = {W_p W_p^T - W_{p+1}^T W_{p+1} = G_p}``, in the sense of Ito: its correction is normal, and
moves ``G``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dlngeom import network
from dlngeom._lib.arrays import Array, constant, namespace
from dlngeom._lib.trajectory import Observe
from dlngeom._lib.vectors import coordinates, from_coordinates
from dlngeom.network import _layers
from dlngeom.network._leaves import balance_normals
from dlngeom.points._covectors import checked_covector
from dlngeom.points._tuples import Layers
from dlngeom.submersion._offers import Draw

__all__ = ["UnbalancedWalk"]


# Singular values below this fraction of the largest mean that columns are dependent.
_RANK = 1e-10


@dataclass(frozen=True)
class UnbalancedWalk:
    r"""Euler steps of an Ito equation of the layers.

    .. math:: dW = -\nabla L\, dt + (a\,P_v + b\,P_h)\, dB
    """

    compiles: ClassVar[bool] = True

    def start(self, point: Layers) -> Layers:
        """Return the layers themselves."""
        return point

    def point(self, state: Layers) -> Layers:
        """Return the layers themselves."""
        return state

    def below(self, state: Layers) -> Array:
        """End-to-end matrix."""
        return _layers.product(state)

    def observables(self) -> Observe:
        """End-to-end matrix and invariants."""
        return {"end_to_end": network.end_to_end, "invariants": network.invariants}

    def covector(self, state: Layers, value: Any) -> Any:
        """Check a covector."""
        m, n = state[-1].shape[-2], state[0].shape[-1]
        return checked_covector(value, m, n, state[0])

    def noise(self, state: Layers, draw: Draw) -> Layers:
        """Gaussian layers."""
        return tuple(draw(tuple(x.shape)) for x in state)

    def reach(self, state: Layers) -> None:
        """No limit is known."""
        return

    def step(
        self, state: Layers, noise: Layers, covector: Any, time: Any, vertical: Any, horizontal: Any
    ) -> Layers:
        """Take an Euler step in the ambient space."""
        xi = coordinates(noise, 1)[..., None]
        normals = _span(_normals(state))
        tangent = xi - normals @ (normals.mT @ xi)
        if vertical is horizontal:
            move = vertical * tangent
        else:
            pushed = _rows(state)
            horizontals = _span(pushed - normals @ (normals.mT @ pushed))
            along = horizontals @ (horizontals.mT @ xi)
            move = vertical * (tangent - along) + horizontal * along
        change = from_coordinates(move[..., 0], state, 1)
        moved = tuple(x + y for x, y in zip(state, change, strict=True))
        if covector is None:
            return moved
        slope = _layers.lift(state, covector)
        return tuple(x - time * y for x, y in zip(moved, slope, strict=True))


def _span(columns: Array) -> Array:
    """Orthonormal basis, padded by zeros, of the span of columns that may be dependent."""
    if columns.shape[-1] == 0:
        return columns
    linalg = namespace(columns).linalg
    u, s, _ = linalg.svd(columns, full_matrices=False)
    kept = s > _RANK * s[..., :1]
    return u * namespace(s).astype(kept, s.dtype)[..., None, :]


def _normals(layers: Layers) -> Array:
    """Gradients of the invariants, as columns ``(chain, size, constraints)``."""
    return coordinates(balance_normals(layers), 2).mT


def _rows(layers: Layers) -> Array:
    """Gradients of the entries of the end-to-end matrix, as columns."""
    m, n, xp = layers[-1].shape[-2], layers[0].shape[-1], namespace(*layers)
    entries = constant(np.eye(m * n).reshape(m * n, 1, m, n), layers[0])
    parts = [_layers.lift(layers, entries[i, ...]) for i in range(m * n)]
    return xp.stack([coordinates(part, 1) for part in parts], axis=-1)
