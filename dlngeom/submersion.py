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
    "OwnFlow",
    "Point",
    "RiemannianSubmersion",
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
    """

    start: tuple[Array, ...]
    rates: Callable[[tuple[Array, ...]], tuple[Array, ...]]
    point: Callable[[tuple[Array, ...]], Point]
    single: bool


@runtime_checkable
class OwnFlow(Protocol):
    """A geometry that knows good coordinates for its gradient flows."""

    def gradient_flow(self, point: Point, energy_gradient: Callable[[Any], Any]) -> Equation:
        """Check a point and return the equation of the flow from it."""


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
    single = _parts(point)[0].ndim == _parts(space.random_point(0))[0].ndim

    def whole(state: tuple[Array, ...]) -> Point:
        return state if isinstance(point, tuple) else state[0]

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        at = whole(state)
        lifted = space.codifferential(at, energy_gradient(space.project(at)))
        return tuple(-x for x in _parts(lifted))

    def clean(state: tuple[Array, ...]) -> Point:
        at = whole(state)
        return space.retraction(at, combine(0.0, at, 0.0, at))

    return Equation(_parts(point), rates, clean, single)


def _parts(value: Any) -> tuple[Array, ...]:
    return value if isinstance(value, tuple) else (value,)
