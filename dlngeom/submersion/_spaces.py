"""Abstract classes of a Riemannian submersion and of its base, and what follows from them.

A :class:`Base` is a Riemannian manifold downstairs.  A :class:`RiemannianSubmersion` is a manifold
upstairs that projects to a base, a submanifold of a Euclidean space with the induced metric.
Points and vectors are arrays or tuples of arrays, with leading batch axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from dlngeom._lib.arrays import Array, Seed, namespace, to_numpy
from dlngeom._lib.derivatives import held
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.vectors import (
    Point,
    Vector,
    batch_axes,
    combine,
    coordinates,
    from_coordinates,
    norm,
    parts,
    rebuild,
    unit_vector,
)
from dlngeom.submersion._given import check_like, finite_result, named, point_upstairs
from dlngeom.submersion._offers import (
    HasBasePoint,
    HasInverseCometric,
    HasMeanCurvature,
    HasPointCheck,
    Moves,
)

__all__ = [
    "Base",
    "BasePoint",
    "LiftedBase",
    "RiemannianSubmersion",
    "above",
    "base_point",
    "cometric",
    "embedding",
    "entropy_gradient",
    "geometry_on",
    "gradient",
    "horizontal_projection",
    "inverse_cometric",
    "lift",
    "mean_curvature",
]


# Step of the fourth-order differences, relative to the point: their error is about 1e-11.
_STEP = 1e-3


class Base(ABC):
    r"""Riemannian manifold downstairs, the base of a submersion, given by its cometric ``A``.

    .. math:: g(A\,Y, A\,Y) = \langle Y, A\,Y \rangle

    See Also
    --------
    dlngeom.submersion.RiemannianSubmersion : The manifold upstairs.
    dlngeom.submersion.LiftedBase : The base of any submersion, computed by lifting.
    dlngeom.EndToEndGeometry : The base of balanced networks.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension."""

    @abstractmethod
    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Point:
        """Random points."""

    @abstractmethod
    def cometric(self, point: Point, covector: Any) -> Vector:
        """Apply the cometric, which turns a Euclidean gradient into the Riemannian one."""

    @abstractmethod
    def inner(self, point: Point, first: Vector, second: Vector) -> Array:
        """Inner product of tangent vectors."""

    @abstractmethod
    def retraction(self, point: Point, vector: Vector, *, order: int = 2) -> Point:
        """Retraction, of second order by default."""


class RiemannianSubmersion(ABC):
    r"""Manifold with a projection to a base that is isometric on horizontal vectors.

    .. math:: \mathrm{d}\phi\, \mathrm{d}\phi^* = \text{cometric of the base}

    Subclasses implement the abstract methods below, for points with leading batch axes;
    :func:`dlngeom.check_submersion` tests an implementation.

    See Also
    --------
    dlngeom.submersion.Base : The manifold downstairs.
    dlngeom.check_submersion : Numerical check of an implementation.
    dlngeom.DeepLinearNetwork : Balanced networks over their end-to-end matrices.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension upstairs."""

    @property
    @abstractmethod
    def dim_base(self) -> int:
        """Dimension of the base."""

    @property
    @abstractmethod
    def dim_orbit(self) -> int:
        """Dimension of the fibres."""

    @property
    def base(self) -> Base:
        """Geometry downstairs, computed by lifting unless a subclass has a closed form."""
        return LiftedBase(self)

    @abstractmethod
    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Point:
        """Random points upstairs."""

    @abstractmethod
    def project(self, point: Point) -> Point:
        """Project a point to the base."""

    @abstractmethod
    def differential(self, point: Point, vector: Vector) -> Vector:
        """Apply the differential of the projection to a tangent vector."""

    @abstractmethod
    def codifferential(self, point: Point, covector: Any) -> Vector:
        """Apply the adjoint of the differential to a covector, which gives a horizontal vector."""

    @abstractmethod
    def tangent_projection(self, point: Point, vector: Vector) -> Vector:
        """Orthogonal projection of an ambient vector on the tangent space."""

    @abstractmethod
    def vertical_projection(self, point: Point, vector: Vector) -> Vector:
        """Orthogonal projection of an ambient vector on the tangent space of the fibre."""

    @abstractmethod
    def retraction(self, point: Point, vector: Vector, *, order: int = 2) -> Point:
        """Retraction upstairs, of second order by default."""

    @abstractmethod
    def orbit_point(self, point: Point, rng: Seed) -> Point:
        """Random point of the fibre over a point downstairs."""

    def log_orbit_volume(self, point: Point) -> Array:
        """Entropy: logarithm of the volume of the fibre over a point downstairs.

        Raises
        ------
        NotImplementedError
            If no formula is given.
        """
        raise NotImplementedError(
            f"{type(self).__name__} gives no volume of its orbits: the entropy is known by "
            "dlngeom.submersion.entropy_gradient alone"
        )


@dataclass(frozen=True)
class LiftedBase(Base):
    r"""Geometry downstairs of a submersion, computed upstairs.

    .. math:: A = \mathrm{d}\phi\, \mathrm{d}\phi^*, \qquad g(Z, Z) = \langle Z, A^{-1} Z \rangle

    Parameters
    ----------
    space : RiemannianSubmersion
        The manifold upstairs.

    See Also
    --------
    dlngeom.submersion.Base : The interface.
    dlngeom.EndToEndGeometry : The base of balanced networks, in closed form.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """

    space: RiemannianSubmersion

    @property
    def dim(self) -> int:
        """Dimension of the base."""
        return self.space.dim_base

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Point:
        """Projections of random points upstairs."""
        return base_point(self.space, self.space.random_point(rng, batch))

    def cometric(self, point: Point, covector: Any) -> Vector:
        """Apply the differential and its adjoint at a point of the fibre."""
        return cometric(self.space, above(self.space, point), covector)

    def inner(self, point: Point, first: Vector, second: Vector) -> Array:
        """Pair the covector of the first vector with the second."""
        batch = batch_axes(point, self.random_point(0))
        covector = coordinates(inverse_cometric(self, point, first), batch)
        values = covector * coordinates(second, batch)
        return namespace(values).sum(values, axis=-1)

    def retraction(self, point: Point, vector: Vector, *, order: int = 2) -> Point:
        """Project the retraction of the horizontal lift."""
        start = above(self.space, point)
        lifted = lift(self.space, start, vector)
        return base_point(self.space, self.space.retraction(start, lifted, order=order))


def geometry_on(space: Any, upstairs: bool) -> Base | RiemannianSubmersion:
    """Geometry upstairs or downstairs; a base is always downstairs.

    Raises
    ------
    TypeError, ValueError
        If ``space`` is neither a base nor a submersion, or is a base and ``upstairs`` is true.
    """
    if not isinstance(space, (Base, RiemannianSubmersion)):
        raise TypeError(f"space={named(space)}: it must be a Base or a RiemannianSubmersion")
    if upstairs and isinstance(space, Base):
        raise ValueError(f"{named(space)} is a base, nothing lies upstairs of it: upstairs=False")
    return space if upstairs or isinstance(space, Base) else space.base


class BasePoint(NamedTuple):
    r"""Point downstairs that remembers a point above it, where its value alone has no lift.

    .. math:: (\phi(x), x)

    Attributes
    ----------
    value : array or tuple of arrays
        Projection ``phi(x)``.
    above : array or tuple of arrays
        The point ``x``.

    See Also
    --------
    dlngeom.from_map : Spaces whose bases have such points.
    dlngeom.submersion.HasBasePoint : The methods of such a space.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """

    value: Any
    above: Any


def base_point(space: RiemannianSubmersion, point: Point) -> Any:
    """Point of the base under a point upstairs: its projection, unless that forgets too much."""
    return space.base_point(point) if isinstance(space, HasBasePoint) else space.project(point)


def above(space: RiemannianSubmersion, point: Any) -> Point:
    """Point of the fibre over a point of the base."""
    return space.above(point) if isinstance(space, HasBasePoint) else space.orbit_point(point, 0)


def embedding(space: RiemannianSubmersion | Moves, point: Point) -> Vector:
    """Ambient position of a point: the point itself, unless the space has an embedding."""
    own = getattr(space, "embedding", None)  # Checking a protocol costs as much as a small step.
    return point if own is None else own(point)


@takes_arrays("point", "vector")
def horizontal_projection(space: RiemannianSubmersion, point: Point, vector: Vector) -> Vector:
    r"""Orthogonal projection of an ambient vector on the horizontal space.

    .. math:: P_h = P - P_v

    Parameters
    ----------
    space : RiemannianSubmersion
        The manifold upstairs.
    point : Point
        Point upstairs.
    vector : Vector
        Ambient vector.

    Returns
    -------
    Vector
        Horizontal vector.

    See Also
    --------
    dlngeom.balanced.horizontal_projection : The projection for balanced networks.
    dlngeom.submersion.lift : Horizontal lift of a vector downstairs.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """
    point = point_upstairs(space, point)
    check_like("vector", vector, _ambient(space))
    return _horizontal_projection(space, point, vector)


def _ambient(space: RiemannianSubmersion) -> Vector:
    """Vector with the shapes of ambient ones."""
    return embedding(space, space.random_point(0))


def _horizontal_projection(space: RiemannianSubmersion, point: Point, vector: Vector) -> Vector:
    tangent = space.tangent_projection(point, vector)
    vertical = space.vertical_projection(point, vector)
    return combine(1.0, tangent, -1.0, vertical)


@takes_arrays("point", "covector")
def cometric(space: RiemannianSubmersion, point: Point, covector: Any) -> Vector:
    r"""Apply the cometric of the base, at a point upstairs.

    .. math:: A = \mathrm{d}\phi\, \mathrm{d}\phi^*

    Parameters
    ----------
    space : RiemannianSubmersion
        The manifold upstairs.
    point : Point
        Point upstairs.
    covector : Covector
        Covector downstairs.

    Returns
    -------
    Vector
        Tangent vector downstairs.

    See Also
    --------
    dlngeom.endtoend.cometric : The cometric of end-to-end matrices.
    dlngeom.submersion.inverse_cometric : The inverse.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """
    point, covector = _checked_covector(space, point, covector)
    return finite_result(space.differential(point, space.codifferential(point, covector)))


def _check_below(name: str, value: Vector, space: RiemannianSubmersion, point: Point) -> None:
    """Check a vector or covector downstairs at a point upstairs."""
    like = space.random_point(0)
    first = parts(point)[0]
    batch = tuple(first.shape[: batch_axes(point, like)])
    check_like(name, value, space.project(like), batch)


def _checked_covector(
    space: RiemannianSubmersion, point: Point, covector: Any
) -> tuple[Point, Any]:
    """Check a point upstairs and a covector downstairs."""
    point = point_upstairs(space, point)
    if not isinstance(space, HasPointCheck):
        _check_below("covector", covector, space, point)
    return point, covector


@takes_arrays("point", "vector")
def inverse_cometric(base: Base, point: Point, vector: Vector) -> Vector:
    r"""Covector of a tangent vector downstairs, by a closed form or the matrix of ``A``.

    .. math:: Y = A^{-1} Z

    Parameters
    ----------
    base : Base
        The manifold downstairs.
    point : Point
        Point downstairs.
    vector : Vector
        Tangent vector downstairs.

    Returns
    -------
    Vector
        Covector downstairs, of least norm.

    See Also
    --------
    dlngeom.endtoend.inverse_cometric : The closed form for end-to-end matrices.
    dlngeom.submersion.cometric : The inverse.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """
    if isinstance(base, HasInverseCometric):
        return base.inverse_cometric(point, vector)
    batch = batch_axes(point, base.random_point(0))
    flat = coordinates(vector, batch)
    xp = namespace(flat)
    columns = [
        coordinates(base.cometric(point, unit_vector(i, vector, batch)), batch)
        for i in range(flat.shape[-1])
    ]
    values, axes = xp.linalg.eigh(xp.stack(columns, axis=-1))
    kept = xp.arange(flat.shape[-1]) >= flat.shape[-1] - base.dim
    inverse = xp.where(kept, 1 / xp.where(kept, values, xp.ones_like(values)), 0 * values)
    solution = axes @ (inverse[..., None] * (axes.mT @ flat[..., None]))
    return from_coordinates(solution[..., 0], vector, batch)


@takes_arrays("point", "vector")
def lift(space: RiemannianSubmersion, point: Point, vector: Vector) -> Vector:
    r"""Horizontal lift of a tangent vector downstairs.

    .. math:: V = \mathrm{d}\phi^* (\mathrm{d}\phi\, \mathrm{d}\phi^*)^{-1} Z

    Parameters
    ----------
    space : RiemannianSubmersion
        The manifold upstairs.
    point : Point
        Point upstairs.
    vector : Vector
        Tangent vector downstairs, at the projection of the point.

    Returns
    -------
    Vector
        Horizontal vector upstairs.

    See Also
    --------
    dlngeom.submersion.horizontal_projection : Projection on the horizontal space.
    dlngeom.submersion.inverse_cometric : Covector whose pullback is the lift.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """
    point = point_upstairs(space, point)
    if not isinstance(space, HasPointCheck):
        _check_below("vector", vector, space, point)
    covector = inverse_cometric(space.base, base_point(space, point), vector)
    return space.codifferential(point, covector)


@takes_arrays("point", "egrad")
def gradient(space: RiemannianSubmersion, point: Point, egrad: Any) -> Vector:
    r"""Riemannian gradient upstairs of a lifted energy ``L(x) = E(phi(x))``.

    .. math:: \mathrm{grad}\, L(x) = \mathrm{d}\phi^*(E'(\phi(x)))

    Parameters
    ----------
    space : RiemannianSubmersion
        The manifold upstairs.
    point : Point
        Point upstairs.
    egrad : Covector
        Euclidean gradient ``E'`` at the projection of the point.

    Returns
    -------
    Vector
        Horizontal vector upstairs.

    See Also
    --------
    dlngeom.endtoend.gradient : The gradient downstairs.
    dlngeom.network.lifted_gradient : The closed form for layers.

    Notes
    -----
    Equation (3.6) of Menon, *The geometry of the deep linear network*, for the deep linear network.
    """
    point, egrad = _checked_covector(space, point, egrad)
    return finite_result(space.codifferential(point, egrad))


@takes_arrays("point")
def mean_curvature(space: RiemannianSubmersion, point: Point) -> Vector:
    r"""Mean curvature vector of the orbit of a point, as a submanifold of the space upstairs.

    .. math:: H = P_h \sum_i D P_v[e_i]\, e_i = -\mathrm{grad}\,(S \circ \phi)

    Parameters
    ----------
    space : RiemannianSubmersion
        The manifold upstairs.
    point : Point
        One point, without batch axes.

    Returns
    -------
    Vector
        A horizontal vector; a sum over an orthonormal basis ``e_i`` of the vertical space, not a
        mean.  It carries no derivatives of torch and jax.

    See Also
    --------
    dlngeom.thermodynamics.entropy : Logarithm of the volume of an orbit.
    dlngeom.thermodynamics.entropy_gradient : Minus the mean curvature, downstairs.

    Notes
    -----
    Section 12.1 (2) of Menon, *The geometry of the deep linear network*, with the sign corrected.
    Derivatives along the orbit are fourth-order differences, unless the space has a formula.
    """
    point = point_upstairs(space, point)
    if isinstance(space, HasMeanCurvature):
        return finite_result(space.mean_curvature(point))
    point = held(point)
    position = embedding(space, point)
    total = coordinates(position) * 0
    size = _STEP * float(to_numpy(norm(position)))
    for i in range(total.shape[-1]):
        # The projections of an ambient orthonormal basis give the sum over a vertical one.
        vector = space.vertical_projection(point, unit_vector(i, position))
        length = float(to_numpy(norm(vector)))
        if length > 0:
            total = total + _turning(space, point, vector, size / length)
    total = from_coordinates(total, position)
    return finite_result(_horizontal_projection(space, point, total))


@takes_arrays("point")
def entropy_gradient(space: RiemannianSubmersion, point: Point) -> Vector:
    r"""Gradient downstairs of the entropy, by the mean curvature of the orbit of a point.

    .. math:: \mathrm{grad}\, S = -\mathrm{d}\phi(H)

    Divided by ``beta`` it is the drift downstairs of the noise along the orbit.

    Parameters
    ----------
    space : RiemannianSubmersion
        The manifold upstairs; it need not have a formula for the volume of its orbits.
    point : Point
        One point upstairs, without batch axes.

    Returns
    -------
    Vector
        Tangent vector downstairs.

    Raises
    ------
    ValueError
        If the point is not one of the space.

    See Also
    --------
    dlngeom.submersion.mean_curvature : The vector upstairs.
    dlngeom.thermodynamics.entropy_gradient : The closed form for end-to-end matrices.

    Notes
    -----
    Section 12.1 (2) of Menon, *The geometry of the deep linear network*, with the sign corrected.
    Where fibres are not orbits of isometries, the result depends on the point upstairs: the drift
    is there, and no entropy.
    """
    point = point_upstairs(space, point)
    pushed = space.differential(point, mean_curvature(space, point))
    return rebuild(pushed, [-x for x in parts(pushed)])


def _turning(space: RiemannianSubmersion, point: Point, vector: Vector, step: float) -> Array:
    """Differentiate ``P_v(x) V`` by ``x`` in the direction ``V``, in coordinates."""

    def along(t: float) -> Array:
        moved = space.retraction(point, rebuild(vector, [t * x for x in parts(vector)]))
        return coordinates(space.vertical_projection(moved, vector))

    near, far = (along(k * step) - along(-k * step) for k in (1, 2))
    return (8 * near - far) / (12 * step)
