"""Boundary value problem of geodesics, for many pairs of points at once: shooting in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from dlngeom.geodesics._collocation import collocate
from dlngeom.geodesics._integration import PRECISE, GeodesicError, states_at
from dlngeom.submersion._equations import Shooting

__all__ = ["shoot"]

# Geodesics are followed to _ROUGH until the miss is below _CLOSE, then precisely.
_ROUGH = 1e-8
_CLOSE = 1e-5
_STEPS = 12
# A shot that misses by more than this has not found its target.
_MISS = 1e-9
# Largest miss that rounding leaves between equal points.
_EQUAL = 1e-14
# Largest number of geodesics in the batch of one Jacobian.
_GEODESICS = 4096

# Maps indices of pairs to their boundary value problems.
Problems = Callable[[np.ndarray], Shooting]


def shoot(problems: Problems, rows: np.ndarray, pairs: int) -> tuple[Any, np.ndarray]:
    """Find initial velocities of geodesics between some of the pairs, and their lengths.

    Where the points share a chart, a polynomial there is tried first.  For other pairs Broyden's
    method runs together and needs a single Jacobian.  Pairs for which it fails are tried one by
    one, from each initial guess, and by least squares too, which shortens steps that are too long.

    Raises
    ------
    GeodesicError
        If no geodesic was found for some pair.
    """
    problem = problems(rows)
    _require_reachable(problem, rows, pairs > 1)
    if not problem.charts or len(rows) == 0:
        coefficients = np.concatenate(_solve(problems, rows, problem))
    else:
        coefficients, left = _by_polynomials(problems, rows, problem)
        if len(left):
            coefficients[left] = np.concatenate(_solve(problems, rows[left]))
    return problem.vector(coefficients), np.linalg.norm(coefficients, axis=-1)


def _by_polynomials(
    problems: Problems, rows: np.ndarray, problem: Shooting
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the pairs in their charts, and the places of those for which none served."""
    chart = problem.charts[0]()
    velocity, found = collocate(chart)
    coefficients, left = chart.coefficients(velocity), np.flatnonzero(~found)
    for i in range(1, len(problem.charts)):
        if not len(left):
            break
        chart = problems(rows[left]).charts[i]()
        velocity, found = collocate(chart)
        coefficients[left[found]] = chart.coefficients(velocity)[found]
        left = left[~found]
    return coefficients, left


def _solve(
    problems: Problems, rows: np.ndarray, problem: Shooting | None = None
) -> list[np.ndarray]:
    """Coefficients of the pairs, in order, in parts."""
    problem, count = problem or problems(rows), len(rows)
    if count == 1:
        return [_single(problem)]
    first = problem.guesses[0]()
    if count == 0:
        return [first]
    if count * first.shape[-1] <= _GEODESICS:
        try:
            found, miss = _chord(problem, first)
        except GeodesicError:
            pass  # Halving the batch finds the pair that failed.
        else:
            if np.all(miss <= _MISS):
                return [found]
    middle = count // 2
    return _solve(problems, rows[:middle]) + _solve(problems, rows[middle:])


def _require_reachable(problem: Shooting, rows: np.ndarray, named: bool) -> None:
    """Refuse targets that no shot can reach, before any is fired."""
    reasons = (
        (problem.separated, "determinants differ in sign"),
        (
            problem.hidden,
            "it is so much smaller than the point that rounding errors on the way are larger; take "
            "the logarithm in the other direction",
        ),
    )
    for found, reason in reasons:
        if found is not None and np.any(found):
            pair = f" of pair {rows[int(np.argmax(found))]}" if named else ""
            raise GeodesicError(f"found no geodesic to the target{pair}: {reason}")


def _single(problem: Shooting) -> np.ndarray:
    """Solve for one pair by each method from each guess, until one succeeds."""
    best = np.inf
    for search in (_chord, _least_squares):
        for guess in problem.guesses:
            try:
                found, miss = search(problem, guess())
            except GeodesicError:
                continue
            if miss[0] <= _MISS:
                return found
            best = min(best, miss[0])
    nearest = f"missed by {best:.2g}" if best < np.inf else "every try met matrices of lower rank"
    raise GeodesicError(
        f"found no geodesic to the target, {nearest}: it lies beyond matrices of lower rank, as "
        "where determinants differ in sign, or too far to be reached in one step"
    )


def _chord(problem: Shooting, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Broyden's method from a guess; zero velocity where a point is its own target."""
    still = np.zeros_like(guess)
    curve = problem.geodesic(still)
    equal = problem.miss(curve.point(curve.start)) <= _EQUAL
    start = np.where(equal[:, None], still, guess)
    if np.all(equal):
        return start, np.zeros(len(guess))
    found, miss = _refine(problem, start, _jacobian(problem, start))
    return np.where(equal[:, None], still, found), np.where(equal, 0.0, miss)


def _least_squares(problem: Shooting, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt from a guess for one pair, then Broyden's method."""

    def residual(coefficients: np.ndarray) -> np.ndarray:
        try:
            reached = _reached(problem, coefficients[None], _ROUGH)
        except GeodesicError:
            # A large residual, so that the method shortens the step.
            return np.full(len(coefficients), 1e6)
        return np.asarray(problem.residual(reached)[0])

    found = least_squares(
        residual, guess[0], lambda x: _jacobian(problem, x[None])[0], method="lm",
        xtol=1e-6, ftol=1e-12, gtol=1e-12, max_nfev=50,
    )  # fmt: skip
    return _refine(problem, found.x[None], found.jac[None])


def _refine(
    problem: Shooting, coefficients: np.ndarray, jacobian: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Broyden's method, at full accuracy near the target, until it no longer improves."""
    best, miss = coefficients, np.full(len(coefficients), np.inf)
    live, rtol = np.ones(len(coefficients), dtype=bool), _ROUGH
    step = before = np.zeros_like(coefficients)
    for _ in range(_STEPS):
        reached = _reached(problem, coefficients, rtol)
        now, residual = problem.miss(reached), np.asarray(problem.residual(reached))
        jacobian = jacobian + _update(jacobian, step, residual - before)
        better = now < miss
        best = np.where(better[:, None], coefficients, best)
        # Steps below rounding error would spoil the Jacobian.
        live = live & (now > _EQUAL) & (better | ((miss > _MISS) & (now <= 4 * miss)))
        miss = np.where(better, now, miss)
        before, step = residual, -_quotient(jacobian, residual) * live[:, None]
        coefficients = coefficients + step
        if rtol > PRECISE and np.all((miss < _CLOSE) | ~live):
            # Residuals of two accuracies must not be mixed in one update.
            live = (miss < _CLOSE) & (miss > _EQUAL)
            coefficients = np.where(live[:, None], coefficients, best)
            rtol, step, miss = PRECISE, np.zeros_like(step), np.where(live, np.inf, miss)
        elif not np.any(step):
            break
    return best, miss


def _update(jacobian: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Broyden's correction of Jacobians along their steps; zero where no step was taken."""
    error = change - (jacobian @ step[..., None])[..., 0]
    length = np.sum(step * step, axis=-1)
    share = np.where(length > 0, 1 / np.where(length > 0, length, 1), 0)
    update: np.ndarray = error[:, :, None] * (step * share[:, None])[:, None, :]
    return update


def _quotient(jacobian: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Solve for the steps, by least norm where a Jacobian is singular."""
    column = residual[..., None]
    try:
        step: np.ndarray = np.linalg.solve(jacobian, column)
    except np.linalg.LinAlgError:
        step = np.linalg.pinv(jacobian) @ column
    return step[..., 0]


def _reached(problem: Shooting, coefficients: np.ndarray, rtol: float) -> Any:
    curve = problem.geodesic(coefficients)
    try:
        return curve.point(states_at(curve, np.ones(1), rtol)[0])
    except ValueError as error:
        raise GeodesicError(str(error)) from error  # The velocity overflows at the start.


def _jacobian(problem: Shooting, coefficients: np.ndarray) -> np.ndarray:
    """Jacobians by forward differences, with all columns of all pairs in one batch."""
    size = coefficients.shape[-1]
    step = 1e-4 * np.max(np.abs(coefficients), axis=-1, keepdims=True)
    step = np.where(step > 0, step, max(np.max(step), 1e-8))
    shifts = np.concatenate([np.zeros((1, size)), np.eye(size)])[:, None, :]
    values = problem.residual(_reached(problem, coefficients + step * shifts, _ROUGH))
    columns: np.ndarray = np.moveaxis(np.asarray(values[1:] - values[0]), 0, -1)
    columns /= step[:, :, None]
    return columns
