"""The gauge group of networks of one width, and its action."""

from __future__ import annotations

from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.group_action import GroupAction

from dlngeom._array import Array, namespace
from dlngeom._random import random_frame
from dlngeom.geomstats.forms import as_array, broadcast, random_seed
from dlngeom.points import factors
from dlngeom.tuples import Frames

__all__ = ["BalancedGroupAction", "GaugeGroup", "layers_of", "stacked"]


def layers_of(point: Array) -> tuple[Array, ...]:
    """Layers of networks ``(..., N, d, d)``, input layer first."""
    return tuple(point[..., p, :, :] for p in range(point.shape[-3]))


def stacked(layers: Any) -> Array:
    """Inverse of :func:`layers_of`; also takes Frames."""
    layers = factors(layers) if isinstance(layers, Frames) else tuple(layers)
    return namespace(*layers).stack(list(layers), axis=-3)


class GaugeGroup:
    r"""The group :math:`O_d^{N-1}` that turns the hidden layers of a network.

    Parameters
    ----------
    width : int
        Size ``d`` of the orthogonal matrices.
    depth : int
        Number of layers ``N``.

    Notes
    -----
    Elements are arrays ``(..., N - 1, d, d)``.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        self.shape = (depth - 1, width, width)
        self.dim = (depth - 1) * width * (width - 1) // 2
        self.point_ndim = 3

    @property
    def identity(self) -> Array:
        """Element that turns nothing."""
        return gs.stack([gs.eye(self.width)] * (self.depth - 1))

    def belongs(self, point: Array, atol: float = gs.atol) -> Array:
        """Whether elements have the shape and are orthogonal, up to ``atol``."""
        point = as_array(point)
        if tuple(point.shape[-3:]) != self.shape:
            return gs.zeros(point.shape[:-3], dtype=bool)
        gap = gs.abs(point @ point.mT - gs.eye(self.width))
        return gs.all(gap <= atol, axis=(-3, -2, -1))

    def compose(self, point_a: Array, point_b: Array) -> Array:
        """Product of elements: first ``point_b`` acts, then ``point_a``."""
        return as_array(point_a) @ as_array(point_b)

    def inverse(self, point: Array) -> Array:
        """Transposes."""
        return gs.copy(as_array(point).mT)

    def random_point(self, n_samples: int = 1) -> Array:
        """Uniform elements."""
        batch = (self.depth - 1,) if n_samples == 1 else (n_samples, self.depth - 1)
        rng = np.random.default_rng(random_seed())
        return as_array(random_frame(rng, self.width, self.width, batch))


class BalancedGroupAction(GroupAction):  # type: ignore[misc]
    r"""Action of the gauge group on networks, which leaves their products as they are.

    .. math:: (O \cdot W)_p = O_p W_p O_{p-1}^T, \qquad O_0 = O_N = I

    Parameters
    ----------
    width : int
        Width ``d``.
    depth : int
        Number of layers ``N``.

    Notes
    -----
    Section 5 of Menon, *The geometry of the deep linear network*.  With one layer the group is
    trivial.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.group = GaugeGroup(width, depth)

    @property
    def group_elem_shape(self) -> tuple[int, ...]:
        """Shape of an element of the group."""
        return self.group.shape

    def __call__(self, group_elem: Array, point: Array) -> Array:
        """Turn networks ``(..., N, d, d)`` by elements ``(..., N - 1, d, d)``."""
        turns, layers = as_array(group_elem), list(layers_of(as_array(point)))
        if tuple(turns.shape[-3:]) != self.group.shape or len(layers) != self.group.depth:
            raise ValueError(
                f"element {tuple(turns.shape)} and point {tuple(as_array(point).shape)}: they "
                f"must be {self.group.shape} and {self.group.depth} layers"
            )
        for p, turn in enumerate(layers_of(turns)):
            layers[p], layers[p + 1] = turn @ layers[p], layers[p + 1] @ turn.mT
        return stacked(broadcast(2, *layers))
