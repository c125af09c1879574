"""Any Riemannian submersion as a manifold of pymanopt."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
from pymanopt.manifolds.manifold import Manifold

from dlngeom import geodesics
from dlngeom._lib.arrays import Array, Seed, as_separate_generator
from dlngeom._lib.vectors import (
    combine,
    coordinates,
    from_coordinates,
    norm,
    parts,
    rebuild,
)
from dlngeom.pymanopt._end_to_end import unusable
from dlngeom.pymanopt._layers_manifold import LayersVector
from dlngeom.submersion import RiemannianSubmersion, lift
from dlngeom.submersion._offers import HasEmbedding, HasGeodesics, HasPointCheck
from dlngeom.submersion._spaces import embedding

__all__ = ["Quotient"]

# Step of fourth-order differences of the tangent projection, relative to the point.
_STEP = 1e-3
# Parts of a gradient that are zero up to rounding, and along the fibres, relative to it.
_ROUNDING, _ALONG = 1e-13, 1e-5
# How often a step that leaves the space is halved.
_HALVINGS = 40


class _Above(tuple[Array, ...]):
    """Ambient arrays that carry the point of the space they were made from."""

    _own: Any
    _made: tuple[Array, ...]
    _space: Any

    @classmethod
    def of(cls, space: RiemannianSubmersion, own: Any) -> _Above:
        """Arrays of a point of a space."""
        above = cls(parts(embedding(space, own)))
        above._own, above._space = own, space
        above._made = tuple(np.array(x) for x in above)
        return above

    def own(self, space: RiemannianSubmersion) -> Any:
        """Point they were made from; None for another space or where they have changed since."""
        same = self._space is space and all(
            np.array_equal(x, y) for x, y in zip(self, self._made, strict=True)
        )
        return self._own if same else None


def _name(space: RiemannianSubmersion) -> str:
    """Name of a space for readers: that of its class, if it prints as nothing better."""
    plain = type(space).__repr__ is object.__repr__ and type(space).__str__ is object.__str__
    return type(space).__name__ if plain else str(space)


class Quotient(Manifold):  # type: ignore[misc]
    r"""Base of a Riemannian submersion, by points upstairs and horizontal vectors.

    .. math:: \mathrm{grad} = P\,G, \qquad \mathrm{Hess}\,[V] = P_h\,(H[V] + \mathrm{D}P[V]\,G)

    Costs are written upstairs, with any backend of pymanopt, and are constant along the fibres.
    A point is an array or a tuple of arrays in the ambient space, which the cost receives one by
    one: of a deep linear network its layers.  Horizontal vectors are as long as those downstairs.

    Parameters
    ----------
    space : RiemannianSubmersion
        One of ours, of :func:`dlngeom.from_map`, or of your own.
    rng : numpy.random.Generator or seed, optional
        Source of :meth:`random_point` and :meth:`random_tangent_vector`;
        a seed gives other numbers than ``numpy.random.default_rng`` makes of it.

    Raises
    ------
    TypeError
        If ``space`` is not a ``RiemannianSubmersion``.
    ValueError
        If it has an embedding and no ``check_point`` that inverts it, or ``rng`` is no seed;
        later, if a point is not one of the space, or a cost changes along a fibre.

    See Also
    --------
    dlngeom.pymanopt.EndToEnd : End-to-end matrices themselves.
    dlngeom.pymanopt.from_manifold : The reverse, manifolds of pymanopt for our samplers.

    Notes
    -----
    The retraction is that of the space, of second order; a step that leaves the space is halved
    until it does not.  Where the base has no geodesics, ``log`` is the lift of the difference of
    the projections and ``dist`` its length: equal to them to first order, and zero on a fibre.
    So is ``log`` where no geodesic joins two points, and ``dist`` an error.  Shooting for geodesics
    makes optimizers without derivatives slow.

    Section 12.1 of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import autograd.numpy as anp
    >>> import numpy as np
    >>> import pymanopt
    >>> from dlngeom.pymanopt import Quotient
    >>> from dlngeom.quotients import BuresWasserstein
    >>> manifold = Quotient(BuresWasserstein(3, 1), rng=0)
    >>> @pymanopt.function.autograd(manifold)
    ... def cost(X):
    ...     return anp.sum((X @ X.T - np.diag([4.0, 1.0, 0.0])) ** 2)
    >>> optimizer = pymanopt.optimizers.TrustRegions(verbosity=0)
    >>> found = optimizer.run(pymanopt.Problem(manifold, cost))
    >>> abs(found.point.ravel()).round(6)
    array([2., 0., 0.])
    """

    def __init__(self, space: RiemannianSubmersion, *, rng: Seed = None) -> None:
        if not isinstance(space, RiemannianSubmersion):
            raise TypeError(f"space={space!r}: it must be a RiemannianSubmersion")
        self._embedded = isinstance(space, HasEmbedding)
        if self._embedded and not isinstance(space, HasPointCheck):
            raise ValueError(
                f"{_name(space)} has an embedding: it needs a method check_point that makes points "
                "of what the embedding returns"
            )
        self._space, self._rng = space, as_separate_generator(rng)
        example = embedding(space, space.random_point(0))
        if isinstance(example, tuple) and any(isinstance(x, tuple) for x in example):
            raise ValueError(f"points of {_name(space)} are nested tuples: they must be flat ones")
        self._example, self._tuples = example, isinstance(example, tuple)
        self._typical = float(norm(example)) or 1.0
        layout = len(example) if self._tuples else 1
        super().__init__(f"Quotient by {_name(space)}", space.dim_base, point_layout=layout)

    @property
    def space(self) -> RiemannianSubmersion:
        """The submersion."""
        return self._space

    @property
    def typical_dist(self) -> float:
        """Length of a random point."""
        return self._typical

    def inner_product(self, point: Any, tangent_vector_a: Any, tangent_vector_b: Any) -> float:
        """Inner product upstairs, which for horizontal vectors is that downstairs."""
        pairs = zip(parts(tangent_vector_a), parts(tangent_vector_b), strict=True)
        return float(sum(np.vdot(x, y).real for x, y in pairs))

    def norm(self, point: Any, tangent_vector: Any) -> float:
        """Length of a vector."""
        return math.sqrt(self.inner_product(point, tangent_vector, tangent_vector))

    def projection(self, point: Any, vector: Any) -> Any:
        """Orthogonal projection of an ambient vector on the horizontal space."""
        return self._horizontal(self._own(point), vector)

    to_tangent_space = projection

    def euclidean_to_riemannian_gradient(self, point: Any, euclidean_gradient: Any) -> Any:
        """Tangent part of a gradient, which is horizontal.

        Raises
        ------
        ValueError
            If it is not, since the cost changes along the fibre.
        """
        own, G = self._own(point), self._plain(euclidean_gradient)
        along = self._space.vertical_projection(own, G)
        if self.norm(point, along) > _ALONG * self.norm(point, G):
            raise ValueError(
                f"the cost changes along the fibres, at a rate of {self.norm(point, along):.2g} "
                f"where its gradient is {self.norm(point, G):.2g}: it must depend on the point "
                "downstairs alone"
            )
        inside = self._space.tangent_projection(own, G)
        return self._vector(combine(1.0, self._plain(inside), -1.0, self._plain(along)))

    def euclidean_to_riemannian_hessian(
        self, point: Any, euclidean_gradient: Any, euclidean_hessian: Any, tangent_vector: Any
    ) -> Any:
        """Horizontal part of the derivative of the projected gradient along a vector."""
        own, G = self._own(point), self._plain(euclidean_gradient)
        inside = self._plain(self._space.tangent_projection(own, G))
        normal = combine(1.0, G, -1.0, inside)
        V, change = self._plain(tangent_vector), self._plain(euclidean_hessian)
        length = float(norm(V))
        # The projection turns tangent vectors into the normal space alone.
        if length > 0 and float(norm(normal)) > _ROUNDING * float(norm(G)):
            step = _STEP * (float(norm(embedding(self._space, own))) or 1.0) / length
            change = combine(1.0, change, 1.0, self._turning(own, V, normal, step))
        return self._horizontal(own, change)

    def retraction(self, point: Any, tangent_vector: Any) -> Any:
        """Move along a vector, by half of it as often as the space needs.

        Raises
        ------
        ValueError
            If the vector is not finite.
        """
        own, V = self._own(point), self._plain(tangent_vector)
        if not np.isfinite(coordinates(V)).all():
            raise ValueError(unusable(parts(V)))
        for _ in range(_HALVINGS):
            moved = self._moved(own, V)
            if moved is not None:
                return self._point(moved)
            V = combine(0.5, V, 0.0, V)
        raise ValueError(f"no step along the vector stays in {_name(self._space)}")

    def transport(self, point_a: Any, point_b: Any, tangent_vector_a: Any) -> Any:
        """Horizontal projection at the other point."""
        return self.projection(point_b, tangent_vector_a)

    def log(self, point_a: Any, point_b: Any) -> Any:
        """Lift of the logarithm downstairs, or of the difference of the projections."""
        own, other = self._own(point_a), self._own(point_b)
        below, target = self._space.project(own), self._space.project(other)
        if isinstance(self._space.base, HasGeodesics):
            # Optimizers without derivatives ask between any two points, connected or not.
            with contextlib.suppress(geodesics.GeodesicError):
                change = geodesics.log(self._space, below, target)
                return self._vector(self._plain(lift(self._space, own, change)))
        return self._lifted(own, combine(1.0, target, -1.0, below))

    def dist(self, point_a: Any, point_b: Any) -> float:
        """Distance of the projections, or the length of :meth:`log`."""
        if isinstance(self._space.base, HasGeodesics):
            below = [self._space.project(self._own(x)) for x in (point_a, point_b)]
            return float(geodesics.dist(self._space, *below))
        return self.norm(point_a, self.log(point_a, point_b))

    def pair_mean(self, point_a: Any, point_b: Any) -> Any:
        """Retraction of half of :meth:`log`."""
        return self.retraction(point_a, self.log(point_a, point_b) / 2)

    def random_point(self) -> Any:
        """Random point of the space."""
        return self._point(self._space.random_point(self._rng))

    def random_tangent_vector(self, point: Any) -> Any:
        """Horizontal vector of length one, uniform on the unit sphere."""
        noise = self._rng.standard_normal(coordinates(self._example).shape)
        vector = self.projection(point, from_coordinates(noise, self._example))
        length = self.norm(point, vector)
        return vector / length if length > 0 else vector

    def zero_vector(self, point: Any) -> Any:
        """Zero of the horizontal space."""
        return self._vector(rebuild(self._example, [0 * x for x in parts(self._example)]))

    def _own(self, point: Any) -> Any:
        """Point as the space wants it."""
        kept = point.own(self._space) if isinstance(point, _Above) else None
        if kept is not None:
            return kept
        given = self._plain(point)
        shapes = [np.shape(x) for x in parts(given)]
        wanted = [np.shape(x) for x in parts(self._example)]
        if shapes != wanted:
            raise ValueError(f"the point has shapes {shapes}: on this manifold it has {wanted}")
        space: Any = self._space
        return space.check_point(given) if self._embedded else given

    def _point(self, own: Any) -> Any:
        """Point as pymanopt and the cost want it."""
        if not self._embedded:
            return own
        return _Above.of(self._space, own) if self._tuples else embedding(self._space, own)

    def _plain(self, value: Any) -> Any:
        """Array or plain tuple of arrays."""
        return tuple(value) if self._tuples else value

    def _vector(self, value: Any) -> Any:
        return LayersVector(value) if self._tuples else value

    def _horizontal(self, own: Any, vector: Any) -> Any:
        given = self._plain(vector)
        inside = self._plain(self._space.tangent_projection(own, given))
        along = self._plain(self._space.vertical_projection(own, given))
        return self._vector(combine(1.0, inside, -1.0, along))

    def _lifted(self, own: Any, change: Any) -> Any:
        """Shortest vector whose push-forward is nearest to a change downstairs."""
        z: Any = coordinates(change)
        covectors = from_coordinates(np.eye(len(z)), change)
        repeated = [np.broadcast_to(x, (len(z), *np.shape(x))) for x in parts(own)]
        rows = self._space.codifferential(rebuild(own, repeated), covectors)
        u, s, vt = np.linalg.svd(np.asarray(coordinates(rows, 1)), full_matrices=False)
        kept = slice(self._space.dim_base)
        flat = ((z @ u[:, kept]) / s[kept]) @ vt[kept]
        return self._vector(self._plain(from_coordinates(flat, self._example)))

    def _moved(self, own: Any, V: Any) -> Any:
        """Retraction, None where it fails."""
        try:
            moved = self._space.retraction(own, V)
        except np.linalg.LinAlgError:
            return None
        return moved if all(np.isfinite(x).all() for x in parts(moved)) else None

    def _turning(self, own: Any, V: Any, normal: Any, step: float) -> Any:
        """Differentiate the tangent projection of a vector along another one."""

        def along(t: float) -> Any:
            moved = self._space.retraction(own, combine(t, V, 0.0, V))
            return self._plain(self._space.tangent_projection(moved, normal))

        near, far = (combine(1.0, along(k * step), -1.0, along(-k * step)) for k in (1, 2))
        return combine(8 / (12 * step), near, -1 / (12 * step), far)
