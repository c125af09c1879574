"""The bundle of balanced networks over end-to-end matrices, and the metric that it gives them."""

from __future__ import annotations

from typing import Any

import geomstats.backend as gs
from geomstats.geometry.fiber_bundle import FiberBundle
from geomstats.geometry.quotient_metric import QuotientMetric

from dlngeom import curvatures, factored, geodesics, network
from dlngeom._array import Array, identity, inner, namespace
from dlngeom.covectors import components
from dlngeom.geomstats.coordinates import EntryCoordinates
from dlngeom.geomstats.forms import Form, as_array, broadcast
from dlngeom.geomstats.gauge import layers_of, stacked
from dlngeom.geomstats.metrics import chosen_direction, unit_tangent_vector
from dlngeom.points import factors, svd
from dlngeom.spectral import root
from dlngeom.tuples import SVD, Frames, dense

__all__ = ["BalancedBundle", "BalancedQuotientMetric"]


class BalancedBundle(FiberBundle):  # type: ignore[misc]
    r"""Balanced networks over their end-to-end matrices, a Riemannian submersion.

    .. math:: \phi(W_1, \dots, W_N) = W_N \cdots W_1

    Parameters
    ----------
    total_space : BalancedMatrices

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
        return stacked(Frames(root(s, space.depth), q))

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
        covector = factored.scaled(vector, factored.metric(below.s, space.depth), -1.0)
        return stacked(broadcast(2, *network.lift(factors(at), dense((below, covector)))))

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
        """O'Neill's tensor, :func:`dlngeom.curvatures.integrability_tensor`."""
        base, first, second = broadcast(3, base_point, tangent_vec_a, tangent_vec_b)
        at = self._total_space.frames(base)
        return stacked(curvatures.integrability_tensor(at, layers_of(first), layers_of(second)))

    def align(self, point: Array, base_point: Array) -> Array:
        """Network over that of ``point`` at the end of the horizontal geodesic from ``base_point``.

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
    """Metric of end-to-end matrices that everything is lifted for, layer by layer.

    The same as :class:`DeepLinearMetric`, by other means: a check on the closed forms there.

    Parameters
    ----------
    space : EndToEndMatrices
    total_space : BalancedMatrices
        After ``equip_with_group_action`` and ``equip_with_quotient``.
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
        # Of more than one layer it is invisible below.
        bent = curvatures.second_fundamental_form(frames, first, second)
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
