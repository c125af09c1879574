"""The metric ``g^N`` as a Riemannian metric of geomstats."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from geomstats.geometry.riemannian_metric import RiemannianMetric

from dlngeom import endtoend, geodesics
from dlngeom._lib.arrays import Array, inner, namespace, symmetric
from dlngeom._lib.derivatives import detached, is_differentiated, smooth_in
from dlngeom.dln._closed_forms import aligned_roots
from dlngeom.endtoend import _kernels
from dlngeom.endtoend._curvature import christoffel_table, contract
from dlngeom.geodesics._maps import squared_dist
from dlngeom.geomstats._coordinates import EntryCoordinates
from dlngeom.geomstats._forms import as_array, broadcast, form_of, in_groups
from dlngeom.points import SVD, Tangent, dense
from dlngeom.points._checks import require_symmetric
from dlngeom.points._covectors import components

__all__ = ["DeepLinearMetric", "chosen_direction", "unit_tangent_vector"]


def _smooth_at_base(method: Any) -> Any:
    """Decorate a method whose last argument is a point, where it is smooth at equal values."""

    @functools.wraps(method)
    def called(self: Any, *args: Any, **named: Any) -> Any:
        base = named["base_point"] if "base_point" in named else args[-1]
        if not is_differentiated(base):
            return method(self, *args, **named)
        rest = args if named.pop("base_point", None) is not None else args[:-1]
        function: Any = smooth_in("W")(
            lambda W: method(self, *rest, **named, base_point=self.form.array(W))
        )
        return function(self.form.matrices(base))

    return called


class DeepLinearMetric(EntryCoordinates, RiemannianMetric):  # type: ignore[misc]
    r"""Metric of the end-to-end matrices of a deep linear network.

    .. math:: g^N(W)(Z_1, Z_2) = \mathrm{tr}(Z_1^T \mathcal{A}_{N,W}^{-1} Z_2), \qquad
              \mathcal{A}_{N,W}(Y) = \sum_{k=1}^N (WW^T)^{\frac{N-k}{N}} Y (W^TW)^{\frac{k-1}{N}}

    ``depth=1`` is the Euclidean metric, ``depth=2`` on symmetric positive definite matrices twice
    that of Bures and Wasserstein.  Methods take and return arrays of the backend with leading
    batch axes; components of vectors off the tangent space are ignored.

    Parameters
    ----------
    space : Manifold
        :class:`EndToEndMatrices`, :class:`DeepLinearCoordinates`, or ``GeneralLinear``,
        ``FullRankMatrices`` or ``SPDMatrices`` of geomstats.
    depth : int or inf
        Number of layers ``N``; ``inf`` is the limit of ``N g^N``, for invertible matrices.

    Raises
    ------
    ValueError
        If the metric is not defined on the space, or ``depth`` is not an integer >= 1 or ``inf``.

    See Also
    --------
    dlngeom.geodesics.exp : The same geodesics as functions of a space.
    dlngeom.endtoend.inner : The same metric as a function of arrays.
    dlngeom.geomstats.BalancedMetric : The metric upstairs.

    Notes
    -----
    Equations (4.14), (4.17) and (14.10) of Menon, *The geometry of the deep linear network*.
    On the pytorch backend, ``exp``, ``log``, geodesics and parallel transport carry no derivatives.
    Methods raise ValueError at matrices of lower rank, on ``SPDMatrices`` also at matrices that
    are not symmetric (to 1e-8 relative, 1e-3 in float32) or not positive definite, and
    :class:`dlngeom.geodesics.GeodesicError` where no geodesic was found, as between matrices with
    determinants of opposite sign.
    """

    def __init__(self, space: Any, depth: float) -> None:
        self.form = form_of(space, depth)
        super().__init__(space=space)

    @property
    def depth(self) -> float:
        """Number of layers."""
        return self.form.depth

    def _vector(self, point: SVD, vector: Array) -> Tangent:
        """Tangent vector of the core, in the frames of a point."""
        Z = self.form.matrices(as_array(vector))
        return components(point, symmetric(Z) if self.form.symmetric else Z)

    def _located(self, base_point: Array, *vectors: Array) -> tuple[Any, ...]:
        """Point and vectors of the core with the same batch axes."""
        point = self.form.point(base_point)
        tangents = [self._vector(point, x) for x in vectors]
        batch = np.broadcast_shapes(*(z.M.shape[:-2] for z in tangents))
        u, s, vt = point
        at = SVD(_spread(u, batch, 2), _spread(s, batch, 1), _spread(vt, batch, 2))
        return at, *(Tangent(*(_spread(x, batch, 2) for x in z)) for z in tangents)

    @_smooth_at_base
    def inner_product(self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array) -> Array:
        r"""Inner product of tangent vectors: :math:`\langle Z_1, \mathcal{A}^{-1} Z_2 \rangle`."""
        arrays = (as_array(x) for x in (tangent_vec_a, tangent_vec_b, base_point))
        if tangent_vec_b is tangent_vec_a:
            first, _, base = arrays
            return in_groups(lambda x, at: self._product(x, x, at), first, base)
        return in_groups(self._product, *arrays)

    def _product(self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array) -> Array:
        point = self.form.point(base_point, ordered=False)
        first = self._vector(point, tangent_vec_a)
        same = tangent_vec_b is tangent_vec_a
        second = first if same else self._vector(point, tangent_vec_b)
        return _kernels.inner_product(first, second, _kernels.metric(point.s, self.depth))

    def inner_coproduct(
        self, cotangent_vec_a: Array, cotangent_vec_b: Array, base_point: Array
    ) -> Array:
        r"""Inner product of covectors: :math:`\langle Y_1, \mathcal{A} Y_2 \rangle`."""
        vector = self.form.matrices(self.riemannian_gradient(cotangent_vec_b, base_point))
        return inner(self.form.matrices(as_array(cotangent_vec_a)), vector)

    @_smooth_at_base
    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        r"""Riemannian gradient: :math:`\mathcal{A}_{N,W}(E'(W))`, Theorem 3."""
        point = self.form.point(base_point)
        covector = self.form.matrices(as_array(euclidean_gradient))
        covector = symmetric(covector) if self.form.symmetric else covector
        at = _kernels.metric(point.s, self.depth)
        vector = _kernels.scaled(components(point, covector), at, 1.0)
        return self.form.array(dense((point, vector)))

    def exp(self, tangent_vec: Array, base_point: Array) -> Array:
        """Exponential map, :func:`dlngeom.geodesics.exp`."""
        point, vector = self._located(detached(base_point), detached(tangent_vec))
        return self.form.array(dense(geodesics.exp(self.form.space, point, vector)))

    def log(self, point: Array, base_point: Array) -> Array:
        """Logarithm, :func:`dlngeom.geodesics.log`."""
        roots = self._roots(base_point, point)
        if roots is not None:
            half = roots[1] @ roots[0].mT
            return half + half.mT
        return self.form.array(dense(self._log(point, base_point)))

    def _roots(self, point: Any, other: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """Root and its change from positive definite points of two layers to others, in numpy."""
        if not (self.form.symmetric and self.depth == 2):
            return None
        if not type(point) is type(other) is np.ndarray or point.dtype != np.float64:
            return None
        if not point.shape[-2:] == other.shape[-2:] == self._space.shape:
            return None
        for x in (point, other):
            # The factorisation reads one triangle.
            require_symmetric("the point", x)
        return aligned_roots(point, other)

    def _log(self, point: Array, base_point: Array) -> tuple[SVD, Tangent]:
        target, start = self._points(point, base_point)
        return start, geodesics.log(self.form.space, start, target)

    def _points(self, point: Array, other: Array) -> list[SVD]:
        """Two points of the core with the same batch axes."""
        arrays = broadcast(len(self._space.shape), detached(point), detached(other))
        return [self.form.point(x) for x in arrays]

    def squared_dist(self, point_a: Array, point_b: Array) -> Array:
        """Squared length of the logarithm, with its gradient on the pytorch backend."""
        roots = self._roots(point_a, point_b)
        if roots is not None:
            return 2 * inner(roots[1], roots[1])
        matrices = (
            self.form.matrices(x) for x in broadcast(len(self._space.shape), point_a, point_b)
        )
        squared = squared_dist(self.form.space, *matrices)
        if squared is not None:
            return squared
        return geodesics.dist(self.form.space, *self._points(point_a, point_b)) ** 2

    def dist_pairwise(self, points: Array, n_jobs: int = 1, **joblib_kwargs: Any) -> Array:
        """Distances ``(count, count)`` between all pairs of points, in one call.

        Parameters
        ----------
        points : array (count, ...)
        n_jobs, joblib_kwargs
            Not used: all pairs are worked on together.
        """
        points = as_array(points)
        count = points.shape[0]
        rows, columns = np.triu_indices(count, 1)
        upper = self.dist(points[rows, ...], points[columns, ...])
        where = np.zeros((count, count), dtype=int)
        where[rows, columns] = where[columns, rows] = np.arange(1, len(rows) + 1)
        xp = namespace(upper)
        return xp.concat([xp.zeros((1,), dtype=upper.dtype), upper])[where]

    def _geodesic_from_exp(
        self, initial_point: Array, initial_tangent_vec: Array
    ) -> Callable[[Any], Array]:
        """Path from times to points ``(..., time, *shape)``."""
        point, vector = self._located(detached(initial_point), detached(initial_tangent_vec))

        def path(t: Any) -> Array:
            times = np.atleast_1d(np.asarray(t, dtype=np.float64))
            return self.form.array(dense(geodesics.geodesic(self.form.space, point, vector, times)))

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
        located = self._located(*(detached(x) for x in (base_point, tangent_vec, direction)))
        point, vector, along = located
        moved = geodesics.parallel_transport(self.form.space, point, vector, along)
        return self.form.array(dense(moved))

    @_smooth_at_base
    def christoffel_operator(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Correction of the covariant derivative, :func:`dlngeom.endtoend.christoffel`."""
        point = self.form.point(base_point)
        first = self._vector(point, tangent_vec_a)
        same = tangent_vec_b is tangent_vec_a
        second = first if same else self._vector(point, tangent_vec_b)
        table = christoffel_table(point.s, self.depth)
        return self.form.array(contract(point, table, first, second))

    @_smooth_at_base
    def curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, tangent_vec_c: Array, base_point: Array
    ) -> Array:
        """Curvature ``R(a, b) c``, :func:`dlngeom.endtoend.curvature`."""
        point, a, b, c = self._located(base_point, tangent_vec_a, tangent_vec_b, tangent_vec_c)
        vector = endtoend.curvature(point, a, b, c, self.depth)
        return self.form.array(dense((point, vector)))

    def injectivity_radius(self, base_point: Array) -> Array:
        r"""Injectivity radius, where it is known to be the distance to lower rank.

        .. math:: \sqrt{N} \lambda_{\min}

        It is so for one layer of full rank, and for two on symmetric positive definite matrices.

        Raises
        ------
        NotImplementedError
            In other cases, where the radius is not known.
        """
        full = self.form.rank == min(self.form.m, self.form.n)
        if not (full and self.depth == 1) and not (self.form.symmetric and self.depth == 2):
            raise NotImplementedError(f"the injectivity radius is not known at {self.form}")
        return (self.depth * self.form.point(base_point).s[..., -1] ** (2 / self.depth)) ** 0.5

    def random_unit_tangent_vec(self, base_point: Array, n_vectors: int = 1) -> Array:
        """Draw tangent vectors of length one."""
        return unit_tangent_vector(self, self._space, base_point, n_vectors)


def _spread(x: Array, batch: tuple[int, ...], axes: int) -> Array:
    """Give an array leading axes."""
    return namespace(x).broadcast_to(x, (*batch, *x.shape[x.ndim - axes :]))


def chosen_direction(
    metric: Any, base_point: Array, direction: Array | None, end_point: Array | None
) -> Array:
    """Direction of a geodesic that is given by its direction or by its end point."""
    if (direction is None) == (end_point is None):
        raise ValueError("give the direction of the geodesic or its end point, one of the two")
    return metric.log(end_point, base_point) if direction is None else direction


def unit_tangent_vector(metric: Any, space: Any, base_point: Array, n_vectors: int) -> Array:
    """Random tangent vectors, divided by their lengths."""
    if n_vectors > 1 and base_point.ndim > space.point_ndim:
        raise ValueError(f"n_vectors={n_vectors} needs one point, not {base_point.shape[0]}")
    return metric.normalize(space.random_tangent_vec(base_point, n_vectors), base_point)
