r"""Exponential map, geodesics, logarithm and distance, upstairs and downstairs.

Downstairs points are dense or an :class:`~dlngeom.SVD`, upstairs :class:`~dlngeom.Frames` or
balanced layers; vectors are what the geometry there uses.  Leading axes are a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlngeom._lib.arrays import Array, Numbers, constant, namespace
from dlngeom._lib.ode.integrate import checked_times
from dlngeom._lib.vectors import Point, Vector, concatenate, first_array, parts, rebuild, stack
from dlngeom.geodesics._boundary_values import shoot
from dlngeom.geodesics._paths import GeodesicError, states_at
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._equations import HasGeodesics
from dlngeom.submersion._spaces import geometry_on

__all__ = [
    "GeodesicError",
    "dist",
    "energy",
    "exp",
    "geodesic",
    "length",
    "log",
    "parallel_transport",
]


def exp(
    space: Base | RiemannianSubmersion, point: Point, tangent: Vector, *, upstairs: bool = False
) -> Point:
    r"""Exponential map: the end of the geodesic of a given initial velocity.

    .. math:: \exp_W(Z) = \gamma(1), \qquad \gamma(0) = W, \quad \dot\gamma(0) = Z

    Parameters
    ----------
    space : DeepLinearNetwork or InfinitelyDeepNetwork
    point : array (..., m, n) or SVD; upstairs Frames or balanced layers
    tangent : array (..., m, n) or Tangent; upstairs a tuple of N arrays
    upstairs : bool
        Whether to move on the balanced manifold.

    Returns
    -------
    array, SVD or Frames
        A point of the kind of ``point``.

    Raises
    ------
    ValueError
        If the point or the vector is not one of the space.
    GeodesicError
        If the geodesic meets matrices of lower rank before time one.  It cannot while the
        vector is shorter than ``sqrt(N)`` times the smallest singular value of a layer; but
        beyond 64 layers, a spread of singular values that exceeds the precision is refused too.

    Notes
    -----
    Downstairs this is the shadow of the horizontal geodesic above, Theorem 13 of Menon, *The
    geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import DeepLinearNetwork, geodesics
    >>> geodesics.exp(DeepLinearNetwork((2, 2, 2)), np.eye(2), 0.5 * np.eye(2))
    array([[1.5625, 0.    ],
           [0.    , 1.5625]])
    """
    return geodesic(space, point, tangent, 1.0, upstairs=upstairs)


def geodesic(
    space: Base | RiemannianSubmersion,
    point: Point,
    tangent: Vector,
    t: Numbers,
    *,
    upstairs: bool = False,
    velocity: bool = False,
) -> Point:
    r"""Points of a geodesic at given times.

    .. math:: \gamma(t) = \exp_W(t Z)

    Parameters
    ----------
    space, point, tangent, upstairs
        As for :func:`exp`.
    t : float or array (draw,)
        Times, of any sign and order.
    velocity : bool
        Whether to return the velocities too.

    Returns
    -------
    points, or (points, velocities)
        Of the kind of ``point``, at one time with its axes, at many with an axis for them in
        front of the axes of matrices.

    Raises
    ------
    ValueError, GeodesicError
        As for :func:`exp`, and if a time is not finite.
    """
    times = np.atleast_1d(np.asarray(t, dtype=np.float64))
    if times.ndim > 1 or times.size == 0 or not np.all(np.isfinite(times)):
        raise ValueError(f"t={t!r}: it must be a finite time, or a vector of such")
    curve = _place(space, upstairs).geodesic(point, tangent)
    states = states_at(curve, times)
    batch = len(curve.clearance(curve.start).shape)
    answers = []
    for value in (curve.point, curve.velocity):
        values = [value(state) for state in states]
        answers.append(values[0] if np.ndim(t) == 0 else stack(values, axis=batch))
    return tuple(answers) if velocity else answers[0]


def log(
    space: Base | RiemannianSubmersion, point: Point, other: Point, *, upstairs: bool = False
) -> Vector:
    r"""Logarithm: initial velocity of a geodesic that reaches another point at time one.

    .. math:: \exp_W(\log_W(X)) = X

    Found by shooting from the inverse of a retraction.  In networks of up to eight layers it is
    within half the distance to lower rank, ``sqrt(N)/2`` times the smallest singular value of a
    layer, and often far beyond; in deeper ones, while the singular values of the product stay
    within double precision.

    Parameters
    ----------
    space, point, upstairs
        As for :func:`exp`.
    other : array (..., m, n) or SVD; upstairs Frames or balanced layers
        Target.

    Returns
    -------
    array or Tangent; upstairs a tuple of N arrays

    Raises
    ------
    ValueError
        If a point is not one of the space.
    GeodesicError
        If no geodesic was found, as between matrices with determinants of opposite sign.
    """
    place = _place(space, upstairs)
    batches = [_batch(place, x) for x in (point, other)]
    if batches[0] != batches[1]:
        raise ValueError(
            f"the points have batch axes {batches[0]} and {batches[1]}: they must agree"
        )
    ends = [_flat_batch(x, len(batches[0])) for x in (point, other)]
    pairs = math.prod(batches[0])
    if pairs == 0:
        raise ValueError(f"the points have batch axes {batches[0]}: there are none")
    found = shoot(lambda rows: place.shooting(*(_rows(x, rows) for x in ends)), pairs)
    return _with_batch(concatenate(found), batches[0])


def parallel_transport(
    space: Base | RiemannianSubmersion,
    point: Point,
    tangent: Vector,
    direction: Vector,
    *,
    upstairs: bool = False,
    horizontal: bool = False,
) -> tuple[Point, Vector]:
    r"""Parallel transport of a tangent vector along the geodesic of a direction, to time one.

    .. math:: \nabla_{\dot\gamma} Z = 0, \qquad \gamma(t) = \exp_W(t\, \dot\gamma(0))

    Parameters
    ----------
    space, point, upstairs
        As for :func:`exp`.
    tangent : array (..., m, n) or Tangent; upstairs a tuple of N arrays
        Vector to transport.
    direction : of the same kind
        Initial velocity of the geodesic.
    horizontal : bool
        Upstairs, with horizontal vectors: whether to follow the horizontal lift of the field that
        is parallel downstairs.

    Returns
    -------
    end : array, SVD or Frames
        End of the geodesic.
    transported : array, Tangent or tuple
        Tangent vector there.

    Raises
    ------
    ValueError, GeodesicError
        As for :func:`exp`, with either vector.

    Notes
    -----
    Downstairs by the Christoffel operator :func:`dlngeom.endtoend.christoffel`, upstairs by the
    second fundamental form, and O'Neill's tensor for horizontal lifts; the errors are those of the
    integration, below 1e-10.
    """
    place = _place(space, upstairs)
    curve, vector = place.geodesic(point, direction), place.ambient(point, tangent)
    count, transport = len(curve.start), curve.lifted if horizontal else curve.transport
    if transport is None:
        raise ValueError("horizontal=True: nothing is lifted downstairs, pass upstairs=True")

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        at = state[:count]
        return (*curve.rates(at), *transport(at, state[count:]))

    joint = curve._replace(
        start=(*curve.start, *vector),
        rates=rates,
        clearance=lambda state: curve.clearance(state[:count]),
    )
    state = states_at(joint, np.ones(1))[0]
    end = curve.point(state[:count])
    return end, place.tangent(end, state[count:])


def dist(
    space: Base | RiemannianSubmersion, a: Point, b: Point, *, upstairs: bool = False
) -> Array:
    r"""Geodesic distance: the length of :func:`log`.

    .. math:: d(a, b) = |\log_a b|_a

    Parameters
    ----------
    space, upstairs
        As for :func:`exp`.
    a, b : points

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError, GeodesicError
        As for :func:`log`.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import DeepLinearNetwork, geodesics
    >>> float(geodesics.dist(DeepLinearNetwork((2, 2)), np.eye(2), 2 * np.eye(2)).round(6))
    1.414214
    """
    return _place(space, upstairs).norm(a, log(space, a, b, upstairs=upstairs))


def length(space: Base | RiemannianSubmersion, curve: Point, *, upstairs: bool = False) -> Array:
    r"""Length of a curve of which points are given, to second order in their spacing.

    .. math:: \int |\dot\gamma| \, dt

    Parameters
    ----------
    space, upstairs
        As for :func:`exp`.
    curve : array (..., draw, m, n) or SVD; upstairs Frames or balanced layers
        Points, with an axis along the curve in front of the axes of matrices.

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError
        If a point is not one of the space.
    """
    steps = _steps(space, curve, upstairs)
    return namespace(steps).sum(steps, axis=-1)


def energy(
    space: Base | RiemannianSubmersion,
    curve: Point,
    t: Array | Sequence[float],
    *,
    upstairs: bool = False,
) -> Array:
    r"""Energy of a curve of which points are given, to second order in their spacing.

    .. math:: \tfrac12 \int |\dot\gamma|^2 \, dt \ge \frac{\text{length}^2}{2\,(t_1 - t_0)}

    Parameters
    ----------
    space, curve, upstairs
        As for :func:`length`.
    t : array (draw,)
        Increasing times of the points.

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError
        If a point is not one of the space, or times do not increase or do not match.
    """
    steps = _steps(space, curve, upstairs)
    times = checked_times(t)
    if len(times) != steps.shape[-1] + 1:
        raise ValueError(f"t has {len(times)} times, the curve {steps.shape[-1] + 1} points")
    return namespace(steps).sum(steps**2 / constant(2 * np.diff(times), steps), axis=-1)


def _steps(space: Base | RiemannianSubmersion, curve: Point, upstairs: bool) -> Array:
    place = _place(space, upstairs)
    if not _batch(place, curve) or _batch(place, curve)[-1] < 2:
        raise ValueError("the curve is one point: it must have two or more, along an axis of them")
    return place.steps(curve)


def _place(space: Base | RiemannianSubmersion, upstairs: bool) -> HasGeodesics:
    place = geometry_on(space, upstairs)
    if not isinstance(place, HasGeodesics):
        raise TypeError(f"{place} does not know its geodesics")
    return place


def _batch(place: HasGeodesics, point: Point) -> tuple[int, ...]:
    first = first_array(tuple(point) if isinstance(point, list) else point)
    return tuple(first.shape[: place.batch_axes(point)])


def _flat_batch(point: Point, axes: int) -> Point:
    """Give a point one batch axis."""
    point = tuple(point) if isinstance(point, list) else point
    arrays = parts(point)
    return rebuild(point, [namespace(x).reshape(x, (-1, *x.shape[axes:])) for x in arrays])


def _with_batch(vector: Vector, batch: tuple[int, ...]) -> Vector:
    """Give a vector with one batch axis others."""
    arrays = parts(vector)
    return rebuild(vector, [namespace(x).reshape(x, (*batch, *x.shape[1:])) for x in arrays])


def _rows(point: Point, rows: slice) -> Point:
    """Take some of the points of a batch."""
    return rebuild(point, [x[rows, ...] for x in parts(point)])
