"""Balanced networks of one width as a manifold of geomstats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.manifold import Manifold, register_quotient
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.riemannian_metric import RiemannianMetric

from dlngeom import balanced, geodesics
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, eps, inner, namespace
from dlngeom.dln import DeepLinearNetwork
from dlngeom.geomstats._forms import as_array, broadcast, random_seed
from dlngeom.geomstats._metrics import chosen_direction, unit_tangent_vector
from dlngeom.geomstats._quotient import (
    BalancedBundle,
    BalancedGroupAction,
    BalancedQuotientMetric,
    layers_of,
    stacked,
)
from dlngeom.geomstats._spaces import EndToEndMatrices
from dlngeom.network import end_to_end, invariants
from dlngeom.points import Frames, frames, nearest_balanced

__all__ = ["BalancedMatrices", "BalancedMetric"]


class BalancedMetric(RiemannianMetric):  # type: ignore[misc]
    r"""Metric that balanced networks inherit from the space of all networks.

    .. math:: \iota(V, V') = \sum_{p=1}^N \mathrm{tr}(V_p^T V'_p)

    Parameters
    ----------
    space : BalancedMatrices

    Raises
    ------
    ValueError
        If the space is not :class:`BalancedMatrices`.

    See Also
    --------
    dlngeom.geomstats.DeepLinearMetric : The metric downstairs.
    dlngeom.geodesics.exp : The same geodesics as functions of a space.
    dlngeom.balanced.curvature : The same curvature as a function of arrays.

    Notes
    -----
    The manifold is curved in the flat space of all networks, so this is not a
    ``MatricesMetric``.  Section 8 of Menon, *The geometry of the deep linear network*.
    """

    def __init__(self, space: Any) -> None:
        if not isinstance(space, BalancedMatrices):
            raise ValueError(f"BalancedMetric is not defined on {type(space).__name__}")
        super().__init__(space=space)

    def _frames(self, point: Array) -> Frames:
        at: Frames = self._space.frames(point)
        return at

    def _located(self, base_point: Array, *vectors: Array) -> tuple[Any, ...]:
        """Frames and layers with the same batch axes."""
        base, *tangents = broadcast(3, base_point, *vectors)
        return self._frames(base), *(layers_of(x) for x in tangents)

    def inner_product(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array | None = None
    ) -> Array:
        """Frobenius inner product of tangent vectors."""
        arrays = (tangent_vec_a, tangent_vec_b)
        first, second, *_ = broadcast(3, *arrays, *(() if base_point is None else (base_point,)))
        return gs.sum(inner(first, second), axis=-1)

    def exp(self, tangent_vec: Array, base_point: Array) -> Array:
        """Exponential map, :func:`dlngeom.geodesics.exp`."""
        point, vector = self._located(base_point, tangent_vec)
        return stacked(geodesics.exp(self._space.network, point, vector, upstairs=True))

    def log(self, point: Array, base_point: Array) -> Array:
        """Logarithm, :func:`dlngeom.geodesics.log`."""
        target, base = broadcast(3, point, base_point)
        ends = self._frames(base), self._frames(target)
        return stacked(geodesics.log(self._space.network, *ends, upstairs=True))

    def _geodesic_from_exp(
        self, initial_point: Array, initial_tangent_vec: Array
    ) -> Callable[[Any], Array]:
        """Path from times to points ``(..., time, N, d, d)``."""
        point, vector = self._located(initial_point, initial_tangent_vec)

        def path(t: Any) -> Array:
            times = np.atleast_1d(np.asarray(t, dtype=np.float64))
            network = self._space.network
            return stacked(geodesics.geodesic(network, point, vector, times, upstairs=True))

        return path

    def parallel_transport(
        self,
        tangent_vec: Array,
        base_point: Array,
        direction: Array | None = None,
        end_point: Array | None = None,
    ) -> Array:
        """Parallel transport along a geodesic, :func:`dlngeom.geodesics.parallel_transport`."""
        direction = chosen_direction(self, base_point, direction, end_point)
        point, vector, along = self._located(base_point, tangent_vec, direction)
        network = self._space.network
        return stacked(
            geodesics.parallel_transport(network, point, vector, along, upstairs=True)[1]
        )

    def curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, tangent_vec_c: Array, base_point: Array
    ) -> Array:
        """Curvature ``R(a, b) c``, :func:`dlngeom.balanced.curvature`."""
        located = self._located(base_point, tangent_vec_a, tangent_vec_b, tangent_vec_c)
        return stacked(balanced.curvature(*located))

    def random_unit_tangent_vec(self, base_point: Array, n_vectors: int = 1) -> Array:
        """Draw tangent vectors of length one."""
        return unit_tangent_vector(self, self._space, base_point, n_vectors)


class BalancedMatrices(Manifold):  # type: ignore[misc]
    r"""Balanced networks of square layers of one width and rank.

    .. math:: W_p W_p^T = W_{p+1}^T W_{p+1}, \quad p = 1, \dots, N-1, \qquad
              \mathrm{rank}\, W_p = r

    Parameters
    ----------
    width : int
        Rows and columns ``d`` of every layer.
    depth : int
        Number of layers ``N``.
    rank : int, optional
        Rank of every layer; ``width`` by default.
    equip : bool
        Whether to equip the space with :class:`BalancedMetric`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    dlngeom.geomstats.EndToEndMatrices : The end-to-end matrices below.
    dlngeom.DeepLinearNetwork : The same manifold, with any widths, for flows and samplers.
    dlngeom.pymanopt.Balanced : The same manifold, with any widths, for pymanopt.

    Notes
    -----
    Points are arrays ``(..., N, d, d)``, input layer first.  Equation (4.4) and Section 5.4 of
    Menon, *The geometry of the deep linear network*.
    """

    def __init__(self, width: int, depth: int, rank: int | None = None, equip: bool = True) -> None:
        width, depth = checks.integer("width", width, 1), checks.integer("depth", depth, 1)
        self.network = DeepLinearNetwork((width,) * (depth + 1), rank)
        self.width, self.depth, self.rank = width, depth, self.network.rank
        self.embedding_space = Matrices(depth * width, width, equip=False)
        shape = (depth, width, width)
        super().__init__(dim=self.network.dim, shape=shape, intrinsic=False, equip=equip)

    def new(self, equip: bool = True) -> BalancedMatrices:
        """Make another space of the same parameters."""
        return BalancedMatrices(self.width, self.depth, self.rank, equip=equip)

    @staticmethod
    def default_metric() -> type:
        """Metric to equip the space with by default."""
        return BalancedMetric

    def frames(self, point: Array) -> Frames:
        """Frames of points.

        Raises
        ------
        ValueError
            If they have another shape or rank, or are not balanced.
        """
        point = as_array(point)
        if tuple(point.shape[-3:]) != self.shape:
            raise ValueError(f"the point has shape {tuple(point.shape)}: it must be {self.shape}")
        return frames(layers_of(point), self.rank)

    def belongs(self, point: Array, atol: float = gs.atol) -> Array:
        """Whether points have the shape, are balanced and have the rank, up to ``atol``."""
        point = as_array(point)
        if tuple(point.shape[-3:]) != self.shape:
            return gs.zeros(point.shape[:-3], dtype=bool)
        xp = namespace(point)
        finite = xp.all(xp.isfinite(point), axis=(-3, -2, -1))
        layers = layers_of(xp.where(xp.isfinite(point), point, xp.zeros_like(point)))
        belongs = finite
        for G in invariants(layers):
            belongs = belongs & xp.all(xp.abs(G) <= atol, axis=(-2, -1))
        for W in layers:
            s = xp.linalg.svdvals(W)
            belongs = belongs & (s[..., self.rank - 1] > self.width * eps(s) * s[..., 0])
            if self.rank < self.width:
                belongs = belongs & (s[..., self.rank] <= atol)
        return belongs

    def is_tangent(self, vector: Array, base_point: Array, atol: float = gs.atol) -> Array:
        """Whether vectors lie in the tangent space, up to ``atol``."""
        gap = gs.abs(as_array(vector) - self.to_tangent(vector, base_point))
        return gs.all(gap <= atol, axis=(-3, -2, -1))

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Project vectors on the tangent space, :func:`dlngeom.balanced.tangent_projection`."""
        base, vector = broadcast(3, base_point, vector)
        return stacked(self.network.tangent_projection(self.frames(base), layers_of(vector)))

    def projection(self, point: Array) -> Array:
        """Balanced network near any network, :func:`dlngeom.points.nearest_balanced`."""
        layers = layers_of(as_array(point))
        return stacked(nearest_balanced(layers, self.rank, truncate=True))

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Uniform frames; singular values of the layers uniform in ``(0, bound]``."""
        batch = () if n_samples == 1 else (n_samples,)
        return as_array(bound * stacked(self.network.random_point(random_seed(), batch)))

    def end_to_end(self, point: Array) -> Array:
        """Products ``(..., d, d)`` of the layers."""
        return end_to_end(layers_of(as_array(point)))

    def equip_with_group_action(self, group_action: Any = None) -> BalancedMatrices:
        """Equip the space with a group action, :class:`BalancedGroupAction` by default."""
        own = BalancedGroupAction(self.width, self.depth)
        super().equip_with_group_action(own if group_action is None else group_action)
        return self

    def equip_with_quotient(self) -> Any:
        """Equip the space with its bundle and return the end-to-end matrices below.

        Their metric is the :class:`BalancedQuotientMetric` of this space.
        """
        super().equip_with_quotient()
        base = EndToEndMatrices(self.width, self.width, self.rank, self.depth, equip=False)
        self.quotient = base.equip_with_metric(BalancedQuotientMetric, total_space=self)
        return self.quotient


register_quotient(
    Space=BalancedMatrices,
    Metric=BalancedMetric,
    GroupAction=BalancedGroupAction,
    FiberBundle=BalancedBundle,
)
