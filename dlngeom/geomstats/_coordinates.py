"""Tensors of a metric in the entries of matrices, where every direction is tangent."""

from __future__ import annotations

from typing import Any

import geomstats.backend as gs

from dlngeom._lib.arrays import Array
from dlngeom.geomstats._forms import Form

__all__ = ["EntryCoordinates"]


class EntryCoordinates:
    """Matrices and tensors of a metric, from its products, connection and curvature.

    A mixin for metrics that have ``inner_product``, ``inner_coproduct``, ``christoffel_operator``
    and ``curvature``.  ``dim`` is the number of entries, in the order of rows.
    """

    _space: Any
    form: Form
    inner_product: Any
    inner_coproduct: Any
    christoffel_operator: Any
    curvature: Any

    def _basis(self, axes: int) -> list[Array]:
        """Return unit vectors along some axes: ``(dim, 1, *shape)`` and ``(1, dim, *shape)``."""
        if not self.form.open:
            kind = "symmetric" if self.form.symmetric else f"of rank {self.form.rank}"
            raise NotImplementedError(f"entries are no coordinates of matrices that are {kind}")
        size, shape = self._space.dim, self._space.shape
        unit = gs.eye(size)
        places = (tuple(size if i == axis else 1 for i in range(axes)) for axis in range(axes))
        return [gs.reshape(unit, (*place, *shape)) for place in places]

    def _spread(self, base_point: Array, axes: int) -> Array:
        """Insert axes behind the batch of a point."""
        shape = self._space.shape
        return gs.reshape(base_point, (*base_point.shape[: -len(shape)], *([1] * axes), *shape))

    def metric_matrix(self, base_point: Array) -> Array:
        r"""Matrix ``(..., dim, dim)`` of the metric.

        .. math:: g_{ij} = g(e_i, e_j)
        """
        return self.inner_product(*self._basis(2), self._spread(base_point, 2))

    def cometric_matrix(self, base_point: Array) -> Array:
        r"""Matrix ``(..., dim, dim)`` of the cometric, without an inversion.

        .. math:: g^{ij} = \langle e_i, \mathcal{A}(e_j) \rangle
        """
        return self.inner_coproduct(*self._basis(2), self._spread(base_point, 2))

    def christoffels(self, base_point: Array) -> Array:
        r"""Christoffel symbols ``(..., dim, dim, dim)``, the contravariant index first.

        .. math:: \nabla_{e_i} e_j = \Gamma^k_{ij} e_k
        """
        vectors = self.christoffel_operator(*self._basis(2), self._spread(base_point, 2))
        flat = gs.reshape(vectors, (*vectors.shape[: -len(self._space.shape)], self._space.dim))
        return gs.moveaxis(flat, -1, -3)

    def inner_product_derivative_matrix(self, base_point: Array) -> Array:
        r"""Differentiate the metric: ``(..., dim, dim, dim)``, the direction last.

        .. math:: \partial_k g_{ij} = g_{lj} \Gamma^l_{ki} + g_{il} \Gamma^l_{kj}
        """
        lowered = gs.einsum(
            "...jl,...lki->...ijk", self.metric_matrix(base_point), self.christoffels(base_point)
        )
        return lowered + gs.moveaxis(lowered, -3, -2)

    def riemann_tensor(self, base_point: Array) -> Array:
        r"""Curvature tensor ``(..., dim, dim, dim, dim)``, the contravariant index last.

        .. math:: R(e_j, e_k) e_i = R_{ijk}{}^l e_l
        """
        i, j, k = self._basis(3)
        vectors = self.curvature(j, k, i, self._spread(base_point, 3))
        return gs.reshape(vectors, (*vectors.shape[: -len(self._space.shape)], self._space.dim))

    def geodesic_equation(self, state: Array) -> Array:
        r"""Velocity and acceleration of geodesics, from states ``(..., 2, *shape)``.

        .. math:: \dot x = v, \qquad \dot v = -\Gamma_x(v, v)
        """
        axis = -len(self._space.shape) - 1
        point, velocity = (gs.squeeze(x, axis) for x in gs.split(state, 2, axis=axis))
        acceleration = -self.christoffel_operator(velocity, velocity, point)
        return gs.stack([velocity, acceleration], axis=axis)
