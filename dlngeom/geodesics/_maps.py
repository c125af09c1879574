r"""Exponential map, geodesics, logarithm, distance and transport, upstairs and downstairs.

Downstairs, points are dense or an :class:`~dlngeom.SVD`; upstairs, :class:`~dlngeom.Frames` or
balanced layers.  Vectors are those of the geometry there.  Leading axes are a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, Numbers, constant, namespace
from dlngeom._lib.derivatives import detached, is_differentiated, with_gradients
from dlngeom._lib.door import real_numbers, takes_arrays
from dlngeom._lib.ode.integrate import checked_times
from dlngeom._lib.vectors import Point, Vector, concatenate, first_array, parts, rebuild, stack
from dlngeom.geodesics._integration import states_at
from dlngeom.geodesics._shooting import shoot
from dlngeom.points import SVD, Frames, dense, factors
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._equations import Shooting
from dlngeom.submersion._offers import HasClosedLog, HasGeodesics
from dlngeom.submersion._spaces import geometry_on

__all__ = ["dist", "energy", "exp", "geodesic", "length", "log", "parallel_transport"]


@takes_arrays("point", "tangent")
def exp(
    space: Base | RiemannianSubmersion, point: Point, tangent: Vector, *, upstairs: bool = False
) -> Point:
    r"""Exponential map: the end of the geodesic with a given initial velocity.

    .. math:: \exp_W(Z) = \gamma(1), \qquad \gamma(0) = W, \quad \dot\gamma(0) = Z

    Parameters
    ----------
    space : DeepLinearNetwork, EndToEndGeometry or InfinitelyDeepNetwork
    point : array (..., m, n) or SVD; upstairs Frames or balanced layers
    tangent : array (..., m, n) or Tangent; upstairs a tuple of N arrays (..., d_p, d_{p-1})
        Initial velocity.
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
    TypeError
        If the space does not know its geodesics.
    GeodesicError
        If the geodesic meets matrices of lower rank before time one, which needs a vector at
        least as long as ``sqrt(N)`` times the smallest singular value of a layer.  Beyond 64
        layers also if rounding errors hide the smallest singular value.

    See Also
    --------
    dlngeom.geodesics.log : The inverse.
    dlngeom.endtoend.retraction : Agrees to second order, at a lower cost.
    dlngeom.geomstats.DeepLinearMetric : The same maps as a metric of geomstats.

    Notes
    -----
    Results carry no derivatives of torch.  Downstairs, geodesics of dense arrays of jax, of depth
    up to 8, are compiled with diffrax, of the extra ``dlngeom[jax]``, unless they come too close to
    lower rank for that.  ``jax.grad`` differentiates them by the point and by the vector, at equal
    singular values too, through the steps of the solver (``diffrax.RecursiveCheckpointAdjoint``,
    reverse mode alone).

    A geodesic downstairs is the projection of a horizontal one upstairs, by Theorem 13 of Menon,
    *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import DeepLinearNetwork, geodesics
    >>> geodesics.exp(DeepLinearNetwork((2, 2, 2)), np.eye(2), 0.5 * np.eye(2))
    array([[1.5625, 0.    ],
           [0.    , 1.5625]])
    """
    return geodesic(space, point, tangent, 1.0, upstairs=upstairs)


@takes_arrays("point", "tangent")
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
        Times, of any sign and order, in units in which ``exp`` is reached at time one.
    velocity : bool
        Whether to return the velocities too.

    Returns
    -------
    points, or (points, velocities)
        Of the kind of ``point``; an array of times adds an axis in front of those of matrices.

    Raises
    ------
    ValueError
        If a time is not finite, and as for :func:`exp`.
    TypeError, GeodesicError
        As for :func:`exp`.

    See Also
    --------
    dlngeom.geodesics.exp : The point at time one.
    dlngeom.geodesics.length : Length of a curve given by points.

    Notes
    -----
    Results carry no derivatives of torch.

    Its speed is constant, in the metrics of Section 8 (upstairs) and (4.17) (downstairs) of Menon,
    *The geometry of the deep linear network*.
    """
    times = np.atleast_1d(real_numbers("t", t))
    if times.ndim > 1 or times.size == 0 or not np.all(np.isfinite(times)):
        raise ValueError(f"t={t!r}: it must be a finite time, or a vector of such")
    point, tangent = detached(point), detached(tangent)
    curve = _place(space, upstairs).geodesic(point, tangent)
    states = states_at(curve, times)
    batch = len(curve.clearance(curve.start).shape)
    answers = []
    for value in (curve.point, curve.velocity):
        values = [value(state) for state in states]
        answers.append(values[0] if np.ndim(t) == 0 else stack(values, axis=batch))
    return tuple(answers) if velocity else answers[0]


@takes_arrays("point", "other")
def log(
    space: Base | RiemannianSubmersion, point: Point, other: Point, *, upstairs: bool = False
) -> Vector:
    r"""Logarithm: initial velocity of a geodesic that reaches another point at time one.

    .. math:: \exp_W(\log_W(X)) = X

    Downstairs it has a closed form for one layer of full rank, for two layers on positive definite
    matrices, and at rank one.  Else it is found by collocation in a chart, for all pairs at once,
    and where that fails, and upstairs, by shooting.  In networks of up to eight layers that
    succeeds up to half the distance to lower rank, ``sqrt(N)/2`` times the smallest singular value
    of a layer, and often far beyond; in deeper ones, as long as double precision tells the singular
    values of the product from zero.

    Parameters
    ----------
    space, point, upstairs
        As for :func:`exp`.
    other : array (..., m, n) or SVD; upstairs Frames or balanced layers
        Target.

    Returns
    -------
    array (..., m, n) or Tangent; upstairs a tuple of N arrays (..., d_p, d_{p-1})

    Raises
    ------
    ValueError
        If a point is not one of the space, or the batch axes differ.
    TypeError
        If the space does not know its geodesics.
    GeodesicError
        If no geodesic was found, as between matrices with determinants of opposite sign.

    See Also
    --------
    dlngeom.geodesics.exp : The inverse.
    dlngeom.geodesics.dist : Its length.
    dlngeom.geomstats.DeepLinearMetric : The same maps as a metric of geomstats.

    Notes
    -----
    Results carry no derivatives of torch.

    In the metrics of Section 8 (upstairs) and (4.17) (downstairs) of Menon, *The geometry of the
    deep linear network*.
    """
    return _logarithm(space, point, other, upstairs)[0]


def _logarithm(
    space: Base | RiemannianSubmersion, point: Point, other: Point, upstairs: bool
) -> tuple[Vector, Array]:
    """Logarithm and its length."""
    place = _place(space, upstairs)
    like = namespace(*(x for end in (point, other) for x in parts(_tupled(end))))
    point, other = detached(point), detached(other)
    batches = [_batch(place, x) for x in (point, other)]
    if batches[0] != batches[1]:
        raise ValueError(
            f"the points have batch axes {batches[0]} and {batches[1]}: they must agree"
        )
    ends = [_flat_batch(x, len(batches[0])) for x in (point, other)]
    vector, length = _flat_logarithm(place, ends, math.prod(batches[0]))
    lengths = constant(length, first_array(ends[0]))
    return _with_batch(vector, batches[0]), like.reshape(lengths, batches[0])


def _flat_logarithm(
    place: HasGeodesics, ends: list[Point], pairs: int
) -> tuple[Vector, np.ndarray]:
    """Logarithms of points with one batch axis, in closed form where there is one."""

    def problems(rows: np.ndarray) -> Shooting:
        return place.shooting(*(_rows(x, rows) for x in ends))

    known = place.closed_log(*ends) if isinstance(place, HasClosedLog) else None
    if known is None:
        return shoot(problems, np.arange(pairs), pairs)
    if np.all(known.found):
        return known.vector, known.length
    rows = np.flatnonzero(~known.found)
    vector, length = shoot(problems, rows, pairs)
    place_of = np.where(known.found, np.arange(pairs), pairs + np.cumsum(~known.found) - 1)
    both = concatenate([known.vector, vector])
    return _rows(both, place_of), np.concatenate([known.length, length])[place_of]


@takes_arrays("point", "tangent", "direction")
def parallel_transport(
    space: Base | RiemannianSubmersion,
    point: Point,
    tangent: Vector,
    direction: Vector,
    *,
    upstairs: bool = False,
    horizontal: bool = False,
) -> tuple[Point, Vector]:
    r"""Parallel transport of a tangent vector along a geodesic, to time one.

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
        Whether to follow, upstairs, the horizontal lift of the field that is parallel downstairs;
        both vectors must then be horizontal.

    Returns
    -------
    end : array, SVD or Frames
        End of the geodesic.
    transported : array, Tangent or tuple
        Tangent vector there.

    Raises
    ------
    ValueError
        If ``horizontal`` is asked for downstairs, and as for :func:`exp`, with either vector.
    TypeError, GeodesicError
        As for :func:`exp`.

    See Also
    --------
    dlngeom.endtoend.transport : Vector transport downstairs that needs no integration.
    dlngeom.endtoend.christoffel : The connection downstairs.
    dlngeom.balanced.integrability_tensor : O'Neill's tensor, for horizontal lifts.

    Notes
    -----
    Results carry no derivatives of torch.

    The equation is integrated with the Christoffel operator downstairs, with the second
    fundamental form upstairs, and with O'Neill's tensor for horizontal lifts (O'Neill, *The
    fundamental equations of a submersion*, Michigan Math. J. 13, 1966); the error of the
    integration is below 1e-10.
    """
    place = _place(space, upstairs)
    point, tangent, direction = (detached(x) for x in (point, tangent, direction))
    curve, vector = place.geodesic(point, direction), place.ambient(point, tangent)
    count, transport = len(curve.start), curve.lifted if horizontal else curve.transport
    batches = [tuple(curve.clearance(curve.start).shape), tuple(vector[0].shape[:-2])]
    if batches[0] != batches[1]:
        raise ValueError(
            f"direction and tangent have batch axes {batches[0]} and {batches[1]}: they must agree"
        )
    if transport is None:
        raise ValueError("horizontal=True: nothing is lifted downstairs, pass upstairs=True")

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        at = state[:count]
        return (*curve.rates(at), *transport(at, state[count:]))

    joint = curve._replace(
        start=(*curve.start, *vector),
        rates=rates,
        clearance=lambda state: curve.clearance(state[:count]),
        meets=None,
    )
    state = states_at(joint, np.ones(1))[0]
    end = curve.point(state[:count])
    return end, place.tangent(end, state[count:])


@takes_arrays("a", "b")
def dist(
    space: Base | RiemannianSubmersion, a: Point, b: Point, *, upstairs: bool = False
) -> Array:
    r"""Geodesic distance: the length of :func:`log`.

    .. math:: d(a, b) = |\log_a b|_a

    Parameters
    ----------
    space, upstairs
        As for :func:`exp`.
    a, b : array (..., m, n) or SVD; upstairs Frames or balanced layers
        Points.

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError, TypeError, GeodesicError
        As for :func:`log`.

    See Also
    --------
    dlngeom.geodesics.log : The initial velocity of the geodesic.
    dlngeom.geodesics.length : Length of any curve.
    dlngeom.geomstats.DeepLinearMetric : The same distance as a metric of geomstats.

    Notes
    -----
    In the metrics of Section 8 (upstairs) and (4.17) (downstairs) of Menon, *The geometry of the
    deep linear network*.  It is the length of the geodesic that :func:`log` finds.  It has first
    derivatives of torch, NaN at ``a = b``, from the Euclidean gradient of its square in ``a``,
    ``-2 inverse_cometric(a, log(a, b))``.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import DeepLinearNetwork, geodesics
    >>> float(geodesics.dist(DeepLinearNetwork((2, 2)), np.eye(2), 2 * np.eye(2)).round(6))
    1.414214
    """
    squared = squared_dist(space, a, b, upstairs=upstairs)
    if squared is None:
        return _logarithm(space, a, b, upstairs)[1]
    return namespace(squared).sqrt(squared)


def squared_dist(
    space: Base | RiemannianSubmersion, a: Point, b: Point, *, upstairs: bool = False
) -> Array | None:
    """Squared distance with its gradient where torch asks for it, else None.

    The Euclidean gradient in ``a`` is ``-2 A_a^{-1} log_a(b)``.
    """
    if not any(is_differentiated(x) for point in (a, b) for x in parts(point)):
        return None
    place = _place(space, upstairs)
    start = detached(a)
    tangent = log(space, start, detached(b), upstairs=upstairs)
    end, velocity = geodesic(space, start, tangent, 1.0, upstairs=upstairs, velocity=True)
    ambient = [x for point in (a, b) for x in _ambient(point, upstairs)]
    gradients = [-2 * x for x in _covector(place, start, tangent, upstairs)]
    gradients += [2 * x for x in _covector(place, end, velocity, upstairs)]
    return with_gradients(place.norm(start, tangent) ** 2, ambient, gradients)


def _ambient(point: Point, upstairs: bool) -> tuple[Array, ...]:
    """Matrices of a point, as functions of its arrays."""
    if not upstairs:
        return (dense(point) if isinstance(point, SVD) else point,)
    return factors(point) if isinstance(point, Frames) else tuple(point)


def _covector(place: Any, point: Point, vector: Vector, upstairs: bool) -> tuple[Array, ...]:
    """Euclidean representative of a tangent vector; upstairs the metric is Euclidean."""
    if upstairs:
        return tuple(vector)
    found = place.inverse_cometric(point, vector)
    return (dense((point, found)) if isinstance(point, SVD) else found,)


@takes_arrays("curve")
def length(space: Base | RiemannianSubmersion, curve: Point, *, upstairs: bool = False) -> Array:
    r"""Length of a curve given by points, accurate to second order in their spacing.

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
        If a point is not one of the space, or there is only one.
    TypeError
        If the space does not know its geodesics.

    See Also
    --------
    dlngeom.geodesics.energy : Energy of the curve.
    dlngeom.geodesics.dist : Length of the geodesic between two points.

    Notes
    -----
    Upstairs steps are measured by their chords, downstairs by the mean of the metrics (4.17) of
    Menon, *The geometry of the deep linear network*, at both ends.
    """
    steps = _steps(space, curve, upstairs)
    return namespace(steps).sum(steps, axis=-1)


@takes_arrays("curve")
def energy(
    space: Base | RiemannianSubmersion,
    curve: Point,
    t: Array | Sequence[float],
    *,
    upstairs: bool = False,
) -> Array:
    r"""Energy of a curve given by points, accurate to second order in their spacing.

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
        If a point is not one of the space, times do not increase, or there is not one a point.
    TypeError
        If the space does not know its geodesics.

    See Also
    --------
    dlngeom.geodesics.length : Length of the curve.

    Notes
    -----
    The bound is the inequality of Cauchy and Schwarz, an equality at constant speed.
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
    axes = place.batch_axes(point)
    return tuple(first_array(_tupled(point)).shape[:axes])


def _tupled(point: Point) -> Point:
    return tuple(point) if isinstance(point, list) else point


def _flat_batch(point: Point, axes: int) -> Point:
    """Flatten the batch axes of a point to one."""
    point = _tupled(point)
    arrays = parts(point)
    return rebuild(point, [namespace(x).reshape(x, (-1, *x.shape[axes:])) for x in arrays])


def _with_batch(vector: Vector, batch: tuple[int, ...]) -> Vector:
    """Unflatten the one batch axis of a vector."""
    arrays = parts(vector)
    return rebuild(vector, [namespace(x).reshape(x, (*batch, *x.shape[1:])) for x in arrays])


def _rows(point: Point, rows: np.ndarray) -> Point:
    """Take some of the points of a batch."""
    return rebuild(point, [x[rows, ...] for x in parts(point)])
