"""What a geometry may offer flows and geodesics: equations in coordinates of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Point, Vector

__all__ = ["Equation", "Geodesic", "HasFlow", "HasGeodesics", "Shooting"]


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
    transport : callable
        From coordinates and the arrays of an ambient vector to the rates of those arrays in a
        parallel field.
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
    """Boundary value problems of geodesics from points to others, pair by pair, in numpy.

    Attributes
    ----------
    guesses : list of arrays (pair, dim)
        Coefficients of initial velocities in an orthonormal basis.
    separated : array (pair,)
        Whether no geodesic joins a pair, since determinants differ in sign.
    geodesic : callable
        From coefficients ``(..., pair, dim)`` to geodesics.
    residual : callable
        From points reached ``(..., pair)`` to ``(..., pair, dim)`` numbers, zero at the target.
    miss : callable
        From points reached to their relative distances ``(..., pair)`` from the target.
    vector : callable
        From coefficients ``(pair, dim)`` to tangent vectors.
    """

    guesses: Sequence[np.ndarray]
    separated: np.ndarray
    geodesic: Callable[[np.ndarray], Geodesic]
    residual: Callable[[Point], np.ndarray]
    miss: Callable[[Point], np.ndarray]
    vector: Callable[[np.ndarray], Vector]


@runtime_checkable
class HasFlow(Protocol):
    """A geometry that knows good coordinates for its gradient flows."""

    def gradient_flow(self, point: Point, energy_gradient: Callable[[Any], Any]) -> Equation:
        """Check a point and return the equation of the flow from it."""


@runtime_checkable
class HasGeodesics(Protocol):
    """A geometry that knows its geodesics."""

    def geodesic(self, point: Point, vector: Vector) -> Geodesic:
        """Check a point and a tangent vector and return the geodesic."""

    def shooting(self, point: Point, other: Point) -> Shooting:
        """Check batches of points, with one axis, and return the problems between them."""

    def ambient(self, point: Point, vector: Vector) -> tuple[Array, ...]:
        """Check a tangent vector and return the arrays of its ambient form."""

    def tangent(self, point: Point, vector: tuple[Array, ...]) -> Vector:
        """Inverse of :meth:`ambient` up to rounding, which leaves a component off the space."""

    def norm(self, point: Point, vector: Vector) -> Array:
        """Length of a tangent vector."""

    def steps(self, curve: Point) -> Array:
        """Check points along a curve and return the lengths of the steps between them."""

    def batch_axes(self, point: Point) -> int:
        """Count the batch axes of a point."""
