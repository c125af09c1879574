r"""Exponential map, geodesics, logarithm and distance, upstairs and downstairs.

Downstairs points are dense or an :class:`~dlngeom.SVD`, upstairs :class:`~dlngeom.Frames` or
balanced layers; vectors are what the geometry there uses.  Leading axes are a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares

from dlngeom._array import Array, constant, eps, inner, namespace, to_numpy
from dlngeom.integration import HaltError, Options, Solution, State, checked_times, integrate
from dlngeom.submersion import Base, Geodesic, OwnGeodesics, RiemannianSubmersion, Shooting
from dlngeom.trajectory import first_array, stack

__all__ = ["GeodesicError", "dist", "energy", "exp", "geodesic", "length", "log"]

# Close to rounding: the maps are exact functions for whoever calls them.
_RTOL = 1e-12
# The search for a logarithm needs no more, its refinement does.
_ROUGH = 1e-8
_CHORDS = 12
# The end of the manifold, as a part of the initial distance from it.
_BOUNDARY = 1e-6
_EVALUATIONS = 20_000
# Places in a step, and times to look closer, where its smallest clearance is searched.
_NODES, _ZOOMS = 8, 26
# A shot that misses by more than this has not found its target.
_MISS = 1e-9


class GeodesicError(RuntimeError):
    """A geodesic that leaves the manifold, or a target that none was found to."""


def exp(
    space: Base | RiemannianSubmersion, point: Any, tangent: Any, *, upstairs: bool = False
) -> Any:
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
    """
    return geodesic(space, point, tangent, 1.0, upstairs=upstairs)


def geodesic(
    space: Base | RiemannianSubmersion,
    point: Any,
    tangent: Any,
    t: Any,
    *,
    upstairs: bool = False,
    velocity: bool = False,
) -> Any:
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
    states = _states_at(curve, times)
    batch = len(curve.clearance(curve.start).shape)
    answers = []
    for value in (curve.point, curve.velocity):
        values = [value(state) for state in states]
        answers.append(values[0] if np.ndim(t) == 0 else stack(values, axis=batch))
    return tuple(answers) if velocity else answers[0]


def log(
    space: Base | RiemannianSubmersion, point: Any, other: Any, *, upstairs: bool = False
) -> Any:
    r"""Logarithm: initial velocity of a geodesic that reaches another point at time one.

    .. math:: \exp_W(\log_W(X)) = X

    Found by shooting from the inverse of a retraction.  It always is within half the distance to
    lower rank, ``sqrt(N)/2`` times the smallest singular value of a layer, and often far beyond.

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
        raise ValueError(f"the points have batch axes {batches[0]} and {batches[1]}: they must agree")
    if batches[0]:
        pairs = zip(_rows(point), _rows(other), strict=True)
        return stack([log(space, a, b, upstairs=upstairs) for a, b in pairs], axis=0)
    return _shoot(place.shooting(point, other))


def dist(space: Base | RiemannianSubmersion, a: Any, b: Any, *, upstairs: bool = False) -> Array:
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
    """
    return _place(space, upstairs).norm(a, log(space, a, b, upstairs=upstairs))


def length(space: Base | RiemannianSubmersion, curve: Any, *, upstairs: bool = False) -> Array:
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
    space: Base | RiemannianSubmersion, curve: Any, t: Any, *, upstairs: bool = False
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


def _steps(space: Base | RiemannianSubmersion, curve: Any, upstairs: bool) -> Array:
    place = _place(space, upstairs)
    if not _batch(place, curve) or _batch(place, curve)[-1] < 2:
        raise ValueError("the curve is one point: it must have two or more, along an axis of them")
    return place.steps(curve)


def _place(space: Base | RiemannianSubmersion, upstairs: bool) -> OwnGeodesics:
    if upstairs and not isinstance(space, RiemannianSubmersion):
        raise ValueError(f"{space} is a base, nothing lies upstairs of it: upstairs=False")
    place = space if upstairs or isinstance(space, Base) else space.base
    if not isinstance(place, OwnGeodesics):
        raise TypeError(f"{place} does not know its geodesics")
    return place


def _batch(place: OwnGeodesics, point: Any) -> tuple[int, ...]:
    first = first_array(tuple(point) if isinstance(point, list) else point)
    return tuple(first.shape[: place.batch_axes(point)])


def _rows(value: Any) -> list[Any]:
    """Split nested tuples of arrays along their first axis."""
    if not isinstance(value, (tuple, list)):
        return [value[i, ...] for i in range(value.shape[0])]
    rows = zip(*(_rows(x) for x in value), strict=True)
    return [type(value)(*row) if hasattr(value, "_fields") else tuple(row) for row in rows]


def _states_at(curve: Geodesic, times: np.ndarray, rtol: float = _RTOL) -> list[tuple[Array, ...]]:
    """States at times of any sign: backwards is forwards with the rates reversed."""
    states = {0.0: curve.start}
    for sign in (1.0, -1.0):
        ahead = np.unique(sign * times[sign * times > 0])
        if len(ahead):
            solution = _integrate(curve, sign, np.concatenate([[0.0], ahead]), rtol)
            states |= dict(zip((sign * ahead).tolist(), solution.states[1:], strict=True))
    return [states[time] for time in times.tolist()]


def _integrate(curve: Geodesic, sign: float, times: np.ndarray, rtol: float) -> Solution:
    count = 0

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        nonlocal count
        count += 1
        if count > _EVALUATIONS:
            raise HaltError("it is too long, or the network too deep, to be followed so far")
        return tuple(sign * x for x in curve.rates(state))

    chains = math.prod(curve.clearance(curve.start).shape)
    rtol = max(rtol, 100 * eps(curve.start[0]))
    watch = _BoundaryWatch(curve, rates)
    solution = integrate(curve.start, rates, times, Options(rtol=rtol, events=(watch,)), chains)
    if solution.failure is not None:
        stop = solution.last[0] if watch.end is None else watch.end
        raise GeodesicError(f"the geodesic stopped at t={sign * stop:.6g}: {solution.failure}")
    return solution


class _BoundaryWatch:
    """Stops a geodesic that meets the boundary of the manifold between two steps.

    The clearance falls to zero there and rises again, and changes no faster than the coordinates.
    Steps that are longer than this allows for are searched for their smallest clearance.
    """

    terminal = False
    direction = 0.0

    def __init__(self, curve: Geodesic, rates: Callable[[State], State]) -> None:
        self._clearance, self._rates = curve.clearance, rates
        self._floor = _BOUNDARY * curve.clearance(curve.start)
        self._last: _Knot | None = None
        self.end: float | None = None

    def __call__(self, t: float, state: State) -> float:
        t, last = float(t), self._last
        if last is None or t > last.time:
            self._last = _Knot(t, state, self._rates(state), self._clearance(state))
            if last is not None:
                self._search(last, self._last)
        return 1.0

    def _search(self, start: _Knot, end: _Knot) -> None:
        """Look closer at every place of a step where a clearance is least, unless it is large."""
        xp = namespace(self._floor)
        pace = float(end.time - start.time) * xp.maximum(_size(start.rates), _size(end.rates))
        if bool(xp.all(start.clearance + end.clearance > pace)):
            return
        values = self._clearances(start, end, xp.zeros_like(pace), 1.0)
        for i in range(_NODES + 1):
            first, last = max(i - 1, 0), min(i + 1, _NODES)
            least = (values[i] <= values[first]) & (values[i] <= values[last])
            if bool(xp.any(least & (values[i] <= pace / _NODES))):
                low = xp.zeros_like(pace) + first / _NODES
                self._zoom(start, end, pace, low, (last - first) / _NODES)

    def _zoom(self, start: _Knot, end: _Knot, pace: Array, low: Array, width: float) -> None:
        """Follow the least clearance of each geodesic until it is certain, or too small."""
        xp = namespace(pace)
        for _ in range(_ZOOMS):
            values = xp.stack(self._clearances(start, end, low, width))
            least = xp.min(values, axis=0)
            # At a boundary it is a small part of what it is nearby.
            certain = (least > pace * width / _NODES) | (least > xp.max(values, axis=0) / 4)
            if bool(xp.all(certain & (least > self._floor))):
                return
            if bool(xp.any(least <= self._floor)):
                break
            place = xp.astype(xp.argmin(values, axis=0), low.dtype) / _NODES
            low = low + width * xp.clip(place - 1 / _NODES, 0.0, 1 - 2 / _NODES)
            width *= 2 / _NODES
        way = to_numpy(low).ravel()[np.argmin(to_numpy(least))]
        self.end = start.time + (end.time - start.time) * float(way)
        raise HaltError("it meets matrices of lower rank, or such as rounding takes for them")

    def _clearances(self, start: _Knot, end: _Knot, low: Array, width: float) -> list[Array]:
        ways = (low + width * i / _NODES for i in range(_NODES + 1))
        return [self._clearance(_between(start, end, way)) for way in ways]


class _Knot(NamedTuple):
    """End of a step."""

    time: float
    state: State
    rates: State
    clearance: Array


def _size(state: State) -> Array:
    """Norm of all coordinates of each geodesic."""
    squares = [inner(x, x) for x in state]
    return namespace(squares[0]).sqrt(sum(squares[1:], squares[0]))


def _between(start: _Knot, end: _Knot, way: Array) -> State:
    """Hermite interpolation, at a part of the way for each geodesic."""
    span, x = float(end.time - start.time), way[..., None, None]
    back = 1 - x
    columns = zip(start.state, end.state, start.rates, end.rates, strict=True)
    return tuple(
        back**2 * ((1 + 2 * x) * a + span * x * da) + x**2 * ((1 + 2 * back) * b - span * back * db)
        for a, b, da, db in columns
    )


def _shoot(problem: Shooting) -> Any:
    """Least squares from each guess in turn; the first that comes close enough is refined."""
    best = math.inf
    for guess in problem.guesses:
        try:
            found = least_squares(
                _residual, guess, _jacobian, method="lm", xtol=1e-6, ftol=1e-12, gtol=1e-12,
                max_nfev=50, args=(problem,),
            )  # fmt: skip
            refined, miss = _refine(problem, found.x, found.jac)
        except GeodesicError:
            continue
        if miss <= _MISS:
            return problem.vector(refined)
        best = min(best, miss)
    nearest = (
        "every try met matrices of lower rank" if best == math.inf else f"missed by {best:.2g}"
    )
    raise GeodesicError(
        f"found no geodesic to the target, {nearest}: it lies beyond matrices of lower rank, as "
        "where determinants differ in sign, or too far to be reached in one step"
    )


def _refine(
    problem: Shooting, coefficients: np.ndarray, jacobian: np.ndarray
) -> tuple[np.ndarray, float]:
    """Chord method at full accuracy, until it stops to gain."""
    best, miss = coefficients, math.inf
    for _ in range(_CHORDS):
        reached = _reached(problem, coefficients, _RTOL)
        now = problem.miss(reached)
        if now < miss:
            best, miss = coefficients, now
        elif miss <= _MISS:
            break
        step = np.linalg.lstsq(jacobian, problem.residual(reached), rcond=None)[0]
        coefficients = coefficients - step
    return best, miss


def _reached(problem: Shooting, coefficients: np.ndarray, rtol: float) -> Any:
    curve = problem.geodesic(coefficients)
    try:
        return curve.point(_states_at(curve, np.ones(1), rtol)[0])
    except ValueError as error:
        raise GeodesicError(str(error)) from error  # So fast that it overflows at the start.


def _residual(coefficients: np.ndarray, problem: Shooting) -> np.ndarray:
    try:
        return np.asarray(problem.residual(_reached(problem, coefficients, _ROUGH)))
    except GeodesicError:
        # Longer than any step that reaches its end, so the method shortens it.
        return np.full(len(coefficients), 1e6)


def _jacobian(coefficients: np.ndarray, problem: Shooting) -> np.ndarray:
    """Forward differences, all columns along one batch of geodesics."""
    size = len(coefficients)
    step = 1e-4 * max(1e-3, float(np.max(np.abs(coefficients))))
    around = coefficients + step * np.concatenate([np.zeros((1, size)), np.eye(size)])
    values = problem.residual(_reached(problem, around, _ROUGH))
    return np.asarray((values[1:] - values[0]).T / step)
