"""Flows and geodesics as differential equations in coordinates that a space chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Point, Vector

__all__ = ["Equation", "Geodesic", "Shooting"]


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
    below : callable, optional
        From points ``(chain, ...)`` to what an energy sees; by default the points themselves.
    observables : mapping of str to callable
        What to observe where the caller does not say.
    escape : callable, optional
        From the first point, the last one and the index of a chain that runs away to a clause
        that says where it went.
    """

    start: tuple[Array, ...]
    rates: Callable[[tuple[Array, ...]], tuple[Array, ...]]
    point: Callable[[tuple[Array, ...]], Point]
    single: bool
    initial: Point = None
    below: Callable[[Point], Any] | None = None
    observables: Mapping[str, Callable[[Point], Any]] = MappingProxyType({})
    escape: Callable[[Point, Point, int], str] | None = None


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

    guesses: list[Array]
    separated: Array
    geodesic: Callable[[Array], Geodesic]
    residual: Callable[[Point], Array]
    miss: Callable[[Point], Array]
    vector: Callable[[Array], Vector]
