"""Optional protocols of a geometry: equations of its gradient flows and its geodesics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Point, Vector

__all__ = ["Equation", "Geodesic", "HasFlow", "HasGeodesics", "Shooting"]


class Equation(NamedTuple):
    """Ordinary differential equation on a manifold, in coordinates without singularities.

    Attributes
    ----------
    start : tuple of arrays
        Coordinates of the initial point.
    rates : callable
        Time derivatives as a function of the coordinates.
    point : callable
        Point as a function of the coordinates, exactly on the manifold.
    single : bool
        Whether there is one point, without a batch axis.
    initial : point, optional
        The initial point, where coordinates determine it only up to a choice of frames.
    """

    start: tuple[Array, ...]
    rates: Callable[[tuple[Array, ...]], tuple[Array, ...]]
    point: Callable[[tuple[Array, ...]], Point]
    single: bool
    initial: Point = None


class Geodesic(NamedTuple):
    """Geodesic as a differential equation in coordinates without singularities.

    Attributes
    ----------
    start : tuple of arrays
        Coordinates of the initial point and velocity.
    rates : callable
        Time derivatives as a function of the coordinates.
    point, velocity : callable
        Point and velocity as functions of the coordinates.
    clearance : callable
        Function of the coordinates that falls to zero at the boundary of the manifold.
    transport : callable
        Rates of the arrays of an ambient vector under parallel transport, as a function of the
        coordinates and these arrays.
    lifted : callable, optional
        The same for the horizontal lift of a field that is parallel downstairs.
    """

    start: tuple[Array, ...]
    rates: Callable[[tuple[Array, ...]], tuple[Array, ...]]
    point: Callable[[tuple[Array, ...]], Point]
    velocity: Callable[[tuple[Array, ...]], Vector]
    clearance: Callable[[tuple[Array, ...]], Array]
    transport: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
    lifted: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]] | None = None


class Shooting(NamedTuple):
    """Boundary value problems of geodesics between pairs of points, in numpy.

    Attributes
    ----------
    guesses : list of arrays (pair, dim)
        Coefficients of initial velocities in an orthonormal basis.
    separated : array (pair,)
        Whether no curve joins a pair, since the determinants differ in sign.
    geodesic : callable
        Geodesics from coefficients ``(..., pair, dim)``.
    residual : callable
        Numbers ``(..., pair, dim)``, zero at the target, from the points reached ``(..., pair)``.
    miss : callable
        Relative distances ``(..., pair)`` of the points reached from the target.
    vector : callable
        Tangent vectors from coefficients ``(pair, dim)``.
    """

    guesses: list[Array]
    separated: Array
    geodesic: Callable[[Array], Geodesic]
    residual: Callable[[Point], Array]
    miss: Callable[[Point], Array]
    vector: Callable[[Array], Vector]


@runtime_checkable
class HasFlow(Protocol):
    """A geometry that provides the equation of its gradient flows."""

    def gradient_flow(self, point: Point, energy_gradient: Callable[[Any], Any]) -> Equation:
        """Check a point and return the equation of the flow from it."""


@runtime_checkable
class HasGeodesics(Protocol):
    """A geometry that provides the equations of its geodesics."""

    def geodesic(self, point: Point, vector: Vector) -> Geodesic:
        """Check a point and a tangent vector and return the geodesic."""

    def shooting(self, point: Point, other: Point) -> Shooting:
        """Check points with one batch axis and return the problems between them."""

    def ambient(self, point: Point, vector: Vector) -> tuple[Array, ...]:
        """Check a tangent vector and return the arrays of its ambient form."""

    def tangent(self, point: Point, vector: tuple[Array, ...]) -> Vector:
        """Inverse of :meth:`ambient`, after projecting out a normal component due to rounding."""

    def norm(self, point: Point, vector: Vector) -> Array:
        """Length of a tangent vector."""

    def steps(self, curve: Point) -> Array:
        """Check points along a curve and return the lengths of the steps between them."""

    def batch_axes(self, point: Point) -> int:
        """Count the batch axes of a point."""
