r"""Exponential map, geodesics, logarithm and distance, upstairs and downstairs.

Downstairs points are dense or an :class:`~dlngeom.SVD`, upstairs :class:`~dlngeom.Frames` or
balanced layers; vectors are what the geometry there uses.  Leading axes are a batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from dlngeom._array import Array, constant, eps, namespace, to_numpy
from dlngeom.integration import HaltError, Options, Solution, checked_times, integrate
from dlngeom.submersion import Base, Geodesic, OwnGeodesics, RiemannianSubmersion, Shooting
from dlngeom.trajectory import stack

__all__ = ["GeodesicError", "dist", "energy", "exp", "geodesic", "length", "log"]

# Close to rounding: the maps are exact functions for whoever calls them.
_RTOL = 1e-12
# The search for a logarithm needs no more, its refinement does.
_ROUGH = 1e-8
_CHORDS = 12
# The end of the manifold, as a part of the initial distance from it.
_BOUNDARY = 1e-6
_EVALUATIONS = 20_000
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
        vector is shorter than ``sqrt(N)`` times the smallest singular value of a layer.

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
    if times.ndim > 1 or not np.all(np.isfinite(times)):
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
    axes = place.batch_axes(point)
    if place.batch_axes(other) != axes:
        raise ValueError(f"the points have {axes} and {place.batch_axes(other)} batch axes")
    if axes:
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
    steps = _place(space, upstairs).steps(curve)
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
    steps = _place(space, upstairs).steps(curve)
    times = checked_times(t)
    if len(times) != steps.shape[-1] + 1:
        raise ValueError(f"t has {len(times)} times, the curve {steps.shape[-1] + 1} points")
    return namespace(steps).sum(steps**2 / constant(2 * np.diff(times), steps), axis=-1)


def _place(space: Base | RiemannianSubmersion, upstairs: bool) -> OwnGeodesics:
    if upstairs and not isinstance(space, RiemannianSubmersion):
        raise ValueError(f"{space} is a base, nothing lies upstairs of it: upstairs=False")
    place = space if upstairs or isinstance(space, Base) else space.base
    if not isinstance(place, OwnGeodesics):
        raise TypeError(f"{place} does not know its geodesics")
    return place


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
    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(sign * x for x in curve.rates(state))

    chains = math.prod(curve.clearance(curve.start).shape)
    rtol = max(rtol, 100 * eps(curve.start[0]))
    options = Options(rtol=rtol, events=(_BoundaryWatch(curve),), max_evaluations=_EVALUATIONS)
    solution = integrate(curve.start, rates, times, options, chains)
    if solution.failure is not None:
        raise GeodesicError(
            f"the geodesic stopped at t={sign * solution.last[0]:.6g}, before "
            f"t={sign * times[-1]:.6g}: {solution.failure}"
        )
    return solution


class _BoundaryWatch:
    """Stops a geodesic at the boundary of the manifold, or behind it.

    The clearance falls to zero there and rises again, so a geodesic has passed if the straight
    continuation of its last two steps is negative.
    """

    terminal = False
    direction = 0.0

    def __init__(self, curve: Geodesic) -> None:
        self._clearance = curve.clearance
        self._floor = _BOUNDARY * np.atleast_1d(to_numpy(curve.clearance(curve.start)))
        self._seen: list[tuple[float, np.ndarray]] = []

    def __call__(self, t: float, state: Any) -> float:
        now = np.atleast_1d(to_numpy(self._clearance(state)))
        ahead = now
        if len(self._seen) == 2:
            (t0, c0), (t1, c1) = self._seen
            ahead = c1 + (c1 - c0) * (t - t1) / (t1 - t0)
        if np.any((now < self._floor) | (ahead < 0)):
            raise HaltError("it meets matrices of lower rank: a layer becomes singular there")
        if not self._seen or t > self._seen[-1][0]:
            self._seen = [*self._seen[-1:], (t, now)]
        return 1.0


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
    return curve.point(_states_at(curve, np.ones(1), rtol)[0])


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
