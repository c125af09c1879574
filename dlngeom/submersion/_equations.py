"""Gradient flows and geodesics as differential equations in coordinates without singularities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Point, Vector

__all__ = ["Chart", "ClosedLog", "Equation", "Geodesic", "Shooting", "composed"]


class Equation(NamedTuple):
    """Ordinary differential equation on a manifold, in coordinates without singularities.

    Attributes
    ----------
    start : tuple of arrays
        Coordinates of the initial point.
    rates : callable
        Time derivatives as a function of the coordinates.
    point : callable
        Point as a function of the coordinates, exactly on the manifold.  It is made of functions
        of modules, since trajectories with an interpolant pickle.
    single : bool
        Whether there is one point, without a batch axis.
    initial : point, optional
        The initial point, where coordinates determine it only up to a choice of frames.
    below : callable, optional
        From points ``(chain, ...)`` to what an energy sees; by default the points themselves.
    watch : callable, optional
        What to observe where the caller does not say, by name, as a function of points with any
        batch axes; ``point`` then takes coordinates with any batch axes too.
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
    watch: Callable[[Point], Mapping[str, Any]] | None = None
    escape: Callable[[Point, Point, int], str] | None = None


def composed(outer: Callable[[Any], Any], inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Composition ``outer(inner(x))``, which pickles if both functions do."""
    return partial(_after, outer, inner)


def _after(outer: Callable[[Any], Any], inner: Callable[[Any], Any], value: Any) -> Any:
    return outer(inner(value))


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
    meets : callable, optional
        Where the coordinates are ``(x, v)`` and move on the straight line ``x + t v``: from a time
        of any sign to the first time on the way there at which the boundary is met, or None.
    speed : callable, optional
        Length of the velocity as a function of the coordinates.  Given where the clearance is the
        distance to the boundary and the rates are functions that jax can trace, so that they may be
        compiled.
    """

    start: tuple[Array, ...]
    rates: Callable[[tuple[Array, ...]], tuple[Array, ...]]
    point: Callable[[tuple[Array, ...]], Point]
    velocity: Callable[[tuple[Array, ...]], Vector]
    clearance: Callable[[tuple[Array, ...]], Array]
    transport: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
    lifted: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]] | None = None
    meets: Callable[[float], float | None] | None = None
    speed: Callable[[tuple[Array, ...]], Array] | None = None


class Chart(NamedTuple):
    """Geodesic equation in a chart that holds both points of each pair, in numpy.

    Attributes
    ----------
    ends : tuple of two arrays (pair, dim)
        Coordinates of the points.
    usable : array (pair,)
        For which pairs the chart is well conditioned.
    path : array (pair, time, dim)
        Coordinates on curves between the points, near the geodesics, at even times.
    acceleration : callable
        From coordinates and velocities ``(pair, time, dim)``, and the indices of the pairs, to
        second derivatives.
    coefficients : callable
        From velocities ``(pair, dim)`` at the first points to coefficients in the basis of the
        problem.
    span : callable
        From coordinates and velocities ``(pair, time, dim)`` to times ``(pair, time)`` within which
        the geodesic surely does not meet the boundary.
    speed : callable, optional
        From the same to lengths of the velocities, where the equation is that of geodesics at a
        pace that is not constant.
    slopes : callable, optional
        Derivatives ``(pair, time, dim, 2 dim)`` of the acceleration, by coordinates and then by
        velocities, as a function of the same; where it is not given, differences are taken.
    """

    ends: tuple[np.ndarray, np.ndarray]
    usable: np.ndarray
    path: np.ndarray
    acceleration: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    coefficients: Callable[[np.ndarray], np.ndarray]
    span: Callable[[np.ndarray, np.ndarray], np.ndarray]
    speed: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    slopes: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None


class ClosedLog(NamedTuple):
    """Logarithms of pairs of points that have a closed form.

    Attributes
    ----------
    found : array (pair,) of numpy
        Which pairs have one; the other entries mean nothing.
    vector : vectors (pair, ...)
        Logarithms, of the kind of the points.
    length : array (pair,) of numpy
        Their lengths.
    """

    found: np.ndarray
    vector: Vector
    length: np.ndarray


class Shooting(NamedTuple):
    """Boundary value problems of geodesics between pairs of points, in numpy.

    Attributes
    ----------
    guesses : tuple of callables
        Each returns coefficients ``(pair, dim)`` of initial velocities in an orthonormal basis.
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
    hidden : array (pair,), optional
        Whether the target is too small next to the point for double precision: rounding errors
        along the geodesic are larger than what a shot may miss by.
    charts : tuple of callables
        Each returns the same problems in a chart, with another guess of the geodesics.
    """

    guesses: Sequence[Callable[[], np.ndarray]]
    separated: np.ndarray
    geodesic: Callable[[np.ndarray], Geodesic]
    residual: Callable[[Point], np.ndarray]
    miss: Callable[[Point], np.ndarray]
    vector: Callable[[np.ndarray], Vector]
    hidden: np.ndarray | None = None
    charts: Sequence[Callable[[], Chart]] = ()
