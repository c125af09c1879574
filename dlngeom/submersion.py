"""What flows and samplers need to know of a geometry: two small abstract classes.

A :class:`Base` is a Riemannian manifold downstairs.  A :class:`RiemannianSubmersion` is a
manifold upstairs over a base.  Points are arrays or tuples of arrays, with leading batch axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from dlngeom._array import Array, Seed

__all__ = [
    "Base",
    "Equation",
    "Geodesic",
    "OwnFlow",
    "OwnGeodesics",
    "Point",
    "RiemannianSubmersion",
    "Shooting",
    "Vector",
    "ambient_flow",
    "combine",
    "horizontal_projection",
]

Point: TypeAlias = Any
Vector: TypeAlias = Any


class Equation(NamedTuple):
    """An ordinary differential equation in coordinates that have no singularity.

    Attributes
    ----------
    start : tuple of arrays
        Coordinates of the initial point.
    rates : callable
        From coordinates to their time derivatives.
    point : callable
        From coordinates to the point that they stand for, exactly on the manifold.
    single : bool
        Whether there is one point, without a batch axis.
    initial : point, optional
        The initial point itself, where coordinates fix it up to a choice of frames only.
    """

    start: tuple[Array, ...]
    rates: Callable[[tuple[Array, ...]], tuple[Array, ...]]
    point: Callable[[tuple[Array, ...]], Point]
    single: bool
    initial: Point = None


class Geodesic(NamedTuple):
    """A geodesic as a differential equation in coordinates that have no singularity.

    Attributes
    ----------
    start : tuple of arrays
        Coordinates of the initial point and velocity.
    rates : callable
        From coordinates to their time derivatives.
    point, velocity : callable
        From coordinates to the point and the velocity there.
    clearance : callable
        From coordinates to a number that falls to zero where the manifold ends.
    """

    start: tuple[Array, ...]
    rates: Callable[[tuple[Array, ...]], tuple[Array, ...]]
    point: Callable[[tuple[Array, ...]], Point]
    velocity: Callable[[tuple[Array, ...]], Vector]
    clearance: Callable[[tuple[Array, ...]], Array]


class Shooting(NamedTuple):
    """The boundary value problem of a geodesic from one point to another, in numpy.

    Attributes
    ----------
    guesses : list of arrays (dim,)
        Coefficients of initial velocities in an orthonormal basis.
    geodesic : callable
        From coefficients ``(chain, dim)`` to geodesics.
    residual : callable
        From points reached ``(chain, ...)`` to ``(chain, dim)`` numbers, zero at the target.
    miss : callable
        From one point reached to its relative distance from the target.
    vector : callable
        From coefficients to the tangent vector.
    """

    guesses: list[Array]
    geodesic: Callable[[Array], Geodesic]
    residual: Callable[[Point], Array]
    miss: Callable[[Point], float]
    vector: Callable[[Array], Vector]


@runtime_checkable
class OwnFlow(Protocol):
    """A geometry that knows good coordinates for its gradient flows."""

    def gradient_flow(self, point: Point, energy_gradient: Callable[[Any], Any]) -> Equation:
        """Check a point and return the equation of the flow from it."""


@runtime_checkable
class OwnGeodesics(Protocol):
    """A geometry that knows its geodesics."""

    def geodesic(self, point: Point, vector: Vector) -> Geodesic:
        """Check a point and a tangent vector and return the geodesic."""

    def shooting(self, point: Point, other: Point) -> Shooting:
        """Check two points and return the boundary value problem between them."""

    def norm(self, point: Point, vector: Vector) -> Array:
        """Length of a tangent vector."""

    def steps(self, curve: Point) -> Array:
        """Check points along a curve and return the lengths of the steps between them."""

    def batch_axes(self, point: Point) -> int:
        """Count the batch axes of a point."""


class Base(ABC):
    """A Riemannian manifold downstairs, given by its cometric."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension."""

    @abstractmethod
    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Point:
        """Random points."""

    @abstractmethod
    def cometric(self, point: Point, covector: Any) -> Vector:
        """Tangent vector of a covector: a Euclidean gradient becomes the Riemannian one."""

    @abstractmethod
    def inner(self, point: Point, first: Vector, second: Vector) -> Array:
        """Inner product of tangent vectors."""

    @abstractmethod
    def retraction(self, point: Point, vector: Vector, *, order: int = 2) -> Point:
        """Retraction, of second order by default."""


class RiemannianSubmersion(ABC):
    r"""A manifold over a base whose differential is isometric on horizontal vectors.

    .. math:: \mathrm{d}\phi\, \mathrm{d}\phi^* = \text{cometric of the base}
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
    @abstractmethod
    def base(self) -> Base:
        """Geometry downstairs."""

    @abstractmethod
    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Point:
        """Random points upstairs."""

    @abstractmethod
    def project(self, point: Point) -> Point:
        """Point downstairs below a point."""

    @abstractmethod
    def differential(self, point: Point, vector: Vector) -> Vector:
        """Push a tangent vector down."""

    @abstractmethod
    def codifferential(self, point: Point, covector: Any) -> Vector:
        """Pull a covector up: the adjoint of the differential, a horizontal vector."""

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
        """Random point upstairs over a point downstairs."""


def horizontal_projection(space: RiemannianSubmersion, point: Point, vector: Vector) -> Vector:
    """Orthogonal projection of an ambient vector on the horizontal space."""
    tangent = space.tangent_projection(point, vector)
    vertical = space.vertical_projection(point, vector)
    return combine(1.0, tangent, -1.0, vertical)


def combine(a: float, first: Vector, b: float, second: Vector) -> Vector:
    """Linear combination of vectors that are arrays or tuples of arrays."""
    if isinstance(first, tuple):
        return tuple(a * x + b * y for x, y in zip(first, second, strict=True))
    return a * first + b * second


def ambient_flow(
    space: RiemannianSubmersion, point: Point, energy_gradient: Callable[[Any], Any]
) -> Equation:
    r"""Gradient flow upstairs in the coordinates of the ambient space.

    .. math:: \dot x = -\mathrm{d}\phi^*(E'(\phi(x)))

    It is tangent to the manifold; a retraction of the zero vector removes the drift of a solver.
    """
    axes = _parts(point)[0].ndim - _parts(space.random_point(0))[0].ndim
    if axes not in (0, 1):
        raise ValueError(f"the point has {axes} batch axes: it must have none, or one of chains")

    def whole(state: tuple[Array, ...]) -> Point:
        if not isinstance(point, tuple):
            return state[0]
        return type(point)(*state) if hasattr(point, "_fields") else state

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        at = whole(state)
        lifted = space.codifferential(at, energy_gradient(space.project(at)))
        return tuple(-x for x in _parts(lifted))

    def clean(state: tuple[Array, ...]) -> Point:
        at = whole(state)
        return space.retraction(at, combine(0.0, at, 0.0, at))

    return Equation(tuple(_parts(point)), rates, clean, axes == 0)


def _parts(value: Any) -> tuple[Array, ...]:
    return value if isinstance(value, tuple) else (value,)
