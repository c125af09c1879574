"""Gauge group of networks of one width: its action, bundle and quotient metric."""

from __future__ import annotations

from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.fiber_bundle import FiberBundle
from geomstats.geometry.group_action import GroupAction
from geomstats.geometry.quotient_metric import QuotientMetric

from dlngeom import balanced, geodesics, network
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, identity, inner, namespace
from dlngeom._lib.stiefel import random_frame
from dlngeom.endtoend import _kernels
from dlngeom.geomstats._coordinates import EntryCoordinates
from dlngeom.geomstats._forms import Form, as_array, broadcast, random_seed
from dlngeom.geomstats._metrics import chosen_direction, unit_tangent_vector
from dlngeom.network import _layers
from dlngeom.points import SVD, Frames, dense, factors, svd
from dlngeom.points._covectors import components
from dlngeom.spectral import _root

__all__ = [
    "BalancedBundle",
    "BalancedGroupAction",
    "BalancedQuotientMetric",
    "GaugeGroup",
    "layers_of",
    "stacked",
]


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

    See Also
    --------
    dlngeom.geomstats.BalancedGroupAction : Its action on networks.
    dlngeom.thermodynamics.entropy : Logarithm of the volume of its orbits.

    Notes
    -----
    Elements are arrays ``(..., N - 1, d, d)``.  Equation (6.1) of Menon, *The geometry of the deep
    linear network*.
    """

    def __init__(self, width: int, depth: int) -> None:
        width, depth = checks.integer("width", width, 1), checks.integer("depth", depth, 1)
        self.width, self.depth = width, depth
        self.shape = (depth - 1, width, width)
        self.dim = (depth - 1) * width * (width - 1) // 2
        self.point_ndim = 3

    @property
    def identity(self) -> Array:
        """Identity of the group."""
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
    r"""Action of the gauge group on networks, which leaves their products unchanged.

    .. math:: (O \cdot W)_p = O_p W_p O_{p-1}^T, \qquad O_0 = O_N = I

    Parameters
    ----------
    width : int
        Width ``d``.
    depth : int
        Number of layers ``N``.

    See Also
    --------
    dlngeom.geomstats.GaugeGroup : The group.
    dlngeom.geomstats.BalancedBundle : Its quotient map on balanced networks.

    Notes
    -----
    Sections 5.3 and 6.2 of Menon, *The geometry of the deep linear network*.  With one layer the
    group is trivial.
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


class BalancedBundle(FiberBundle):  # type: ignore[misc]
    r"""Balanced networks over their end-to-end matrices, a Riemannian submersion.

    .. math:: \phi(W_1, \dots, W_N) = W_N \cdots W_1

    Parameters
    ----------
    total_space : BalancedMatrices

    See Also
    --------
    dlngeom.DeepLinearNetwork : The same submersion for flows and samplers, with any widths.
    dlngeom.geomstats.BalancedQuotientMetric : The metric that it gives end-to-end matrices.
    dlngeom.geomstats.from_bundle : Bundles of geomstats as submersions.

    Notes
    -----
    Theorem 13 of Menon, *The geometry of the deep linear network*.
    """

    def __init__(self, total_space: Any) -> None:
        super().__init__(total_space=total_space)

    def riemannian_submersion(self, point: Array) -> Array:
        """Product of the layers, (3.3)."""
        return self._total_space.end_to_end(point)

    def lift(self, point: Array) -> Array:
        """Balanced network over matrices: inner layers are diagonal."""
        space = self._total_space
        u, s, vt = svd(as_array(point), space.rank)
        axes = identity(space.width, u)[:, : space.rank]
        axes = namespace(u).broadcast_to(axes, u.shape)
        q = (vt.mT, *[axes] * (space.depth - 1), u)
        return stacked(Frames(_root(s, space.depth), q))

    def tangent_riemannian_submersion(self, tangent_vec: Array, base_point: Array) -> Array:
        r"""Differential :math:`\sum_p W_N \cdots V_p \cdots W_1`."""
        base, vector = broadcast(3, base_point, tangent_vec)
        return network.differential(layers_of(base), layers_of(vector))

    def horizontal_lift(
        self, tangent_vec: Array, base_point: Array | None = None, fiber_point: Array | None = None
    ) -> Array:
        r"""Horizontal lift :math:`V_p = (W_N \cdots W_{p+1})^T \mathcal{A}^{-1}Z \cdots`.

        Raises
        ------
        ValueError
            If neither a point downstairs nor one upstairs is given.
        """
        if fiber_point is None:
            if base_point is None:
                raise ValueError("give base_point or fiber_point: both are None")
            fiber_point = self.lift(base_point)
        space = self._total_space
        at = space.frames(fiber_point)
        below = SVD(at.q[-1], at.lam**space.depth, at.q[0].mT)
        vector = components(below, as_array(tangent_vec))
        covector = _kernels.scaled(vector, _kernels.metric(below.s, space.depth), -1.0)
        return stacked(broadcast(2, *_layers.lift(factors(at), dense((below, covector)))))

    def vertical_projection(self, tangent_vec: Array, base_point: Array) -> Array:
        """Part along the orbits, :func:`dlngeom.balanced.vertical_projection`."""
        base, vector = broadcast(3, base_point, tangent_vec)
        space = self._total_space
        return stacked(space.network.vertical_projection(space.frames(base), layers_of(vector)))

    def horizontal_projection(self, tangent_vec: Array, base_point: Array) -> Array:
        """Part across the orbits."""
        vector = as_array(tangent_vec)
        return vector - self.vertical_projection(vector, base_point)

    def is_horizontal(self, tangent_vec: Array, base_point: Array, atol: float = gs.atol) -> Array:
        """Whether vectors are horizontal, up to ``atol``."""
        gap = gs.abs(as_array(tangent_vec) - self.horizontal_projection(tangent_vec, base_point))
        return gs.all(gap <= atol, axis=(-3, -2, -1))

    def integrability_tensor(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """O'Neill's tensor, :func:`dlngeom.balanced.integrability_tensor`."""
        base, first, second = broadcast(3, base_point, tangent_vec_a, tangent_vec_b)
        at = self._total_space.frames(base)
        return stacked(balanced.integrability_tensor(at, layers_of(first), layers_of(second)))

    def align(self, point: Array, base_point: Array) -> Array:
        """End of the horizontal geodesic from ``base_point`` to the fibre of ``point``.

        Raises
        ------
        GeodesicError
            If no geodesic downstairs was found.
        """
        space = self._total_space
        target, base = broadcast(3, point, base_point)
        at = space.frames(base)
        here = SVD(at.q[-1], at.lam**space.depth, at.q[0].mT)
        there = svd(self.riemannian_submersion(target), space.rank)
        vector = geodesics.log(space.network, here, there)
        lifted = self.horizontal_lift(dense((here, vector)), fiber_point=base)
        return space.metric.exp(lifted, base)


class BalancedQuotientMetric(EntryCoordinates, QuotientMetric):  # type: ignore[misc]
    r"""Metric of end-to-end matrices, computed upstairs from horizontal lifts.

    .. math:: g(Z_1, Z_2) = \iota(Z_1^h, Z_2^h)

    It equals :class:`DeepLinearMetric`, and checks the closed forms there.

    Parameters
    ----------
    space : EndToEndMatrices
    total_space : BalancedMatrices
        After ``equip_with_group_action`` and ``equip_with_quotient``.

    See Also
    --------
    dlngeom.geomstats.DeepLinearMetric : The same metric in closed form.
    dlngeom.geomstats.BalancedBundle : The submersion.

    Notes
    -----
    Theorem 13 of Menon, *The geometry of the deep linear network*.
    """

    def __init__(self, space: Any, total_space: Any) -> None:
        self.form = Form(space.form.m, space.form.n, space.form.rank, space.form.depth)
        super().__init__(space=space, total_space=total_space)

    def inner_coproduct(
        self, cotangent_vec_a: Array, cotangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Inner product of covectors: that of their pull-backs."""
        point, first, second = broadcast(2, base_point, cotangent_vec_a, cotangent_vec_b)
        space = self._total_space
        at = space.frames(self._fiber_bundle.lift(point))
        pulled = (stacked(space.network.codifferential(at, y)) for y in (first, second))
        return gs.sum(inner(*pulled), axis=-1)

    def christoffel_operator(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Minus the second derivative of the product along curves with horizontal velocities."""
        bundle = self._fiber_bundle
        at = bundle.lift(base_point)
        lifts = (bundle.horizontal_lift(x, fiber_point=at) for x in (tangent_vec_a, tangent_vec_b))
        layers, first, second = (layers_of(x) for x in broadcast(3, at, *lifts))
        frames = self._total_space.frames(stacked(layers))
        # With more than one layer it is mapped to zero.
        bent = balanced.second_fundamental_form(frames, first, second)
        return -_second_derivative(layers, first, second) - network.differential(layers, bent)

    def curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, tangent_vec_c: Array, base_point: Array
    ) -> Array:
        """Curvature ``R(a, b) c`` by O'Neill's formula, in the sign of ``Connection``."""
        bundle, tensor = self._fiber_bundle, self._fiber_bundle.integrability_tensor
        at = bundle.lift(base_point)
        a, b, c = (
            bundle.horizontal_lift(x, fiber_point=at)
            for x in (tangent_vec_a, tangent_vec_b, tangent_vec_c)
        )
        total = self._total_space.metric.curvature(a, b, c, at)
        for weight, x, y, z in ((2.0, c, a, b), (-1.0, a, b, c), (1.0, b, a, c)):
            total = total + weight * tensor(x, tensor(y, z, at), at)
        return bundle.tangent_riemannian_submersion(total, at)

    def parallel_transport(
        self,
        tangent_vec: Array,
        base_point: Array,
        direction: Array | None = None,
        end_point: Array | None = None,
    ) -> Array:
        """Parallel transport, followed upstairs by its horizontal lift."""
        direction = chosen_direction(self, base_point, direction, end_point)
        bundle, total = self._fiber_bundle, self._total_space
        at = bundle.lift(base_point)
        lifts = (bundle.horizontal_lift(x, fiber_point=at) for x in (tangent_vec, direction))
        base, vector, along = broadcast(3, at, *lifts)
        end, moved = geodesics.parallel_transport(
            total.network,
            total.frames(base),
            layers_of(vector),
            layers_of(along),
            upstairs=True,
            horizontal=True,
        )
        return bundle.tangent_riemannian_submersion(stacked(moved), stacked(end))

    def random_unit_tangent_vec(self, base_point: Array, n_vectors: int = 1) -> Array:
        """Draw tangent vectors of length one."""
        return unit_tangent_vector(self, self._space, base_point, n_vectors)


def _second_derivative(
    layers: tuple[Array, ...], first: tuple[Array, ...], second: tuple[Array, ...]
) -> Array:
    """Mixed second derivative of the product of layers along two vectors."""
    P, A, B, AB = layers[0], first[0], second[0], 0 * (first[0] + second[0])
    for W, X, Y in zip(layers[1:], first[1:], second[1:], strict=True):
        P, A, B, AB = W @ P, W @ A + X @ P, W @ B + Y @ P, W @ AB + X @ B + Y @ A
    return AB
