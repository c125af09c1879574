"""Solution of the boundary value problem of geodesics by shooting."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import least_squares

from dlngeom.equations import Shooting
from dlngeom.geodesic_paths import PRECISE, GeodesicError, states_at

__all__ = ["shoot"]

# The search needs no more, its last steps do.
_ROUGH = 1e-8
_STEPS = 12
# A shot that misses by more than this has not found its target.
_MISS = 1e-9
# What rounding leaves between equal points.
_EQUAL = 1e-14


def shoot(problem: Shooting) -> Any:
    """Return the initial velocity of a geodesic to the target.

    From each guess Broyden's method tries first: near the target it needs one Jacobian only.
    Then least squares, which shortens steps that go astray.

    Raises
    ------
    GeodesicError
        If none was found.
    """
    if not problem.guesses:
        raise GeodesicError("found no geodesic to the target: determinants differ in sign")
    still = np.zeros_like(problem.guesses[0])
    if problem.miss(_reached(problem, still, _ROUGH)) <= _EQUAL:
        return problem.vector(still)
    best = np.inf
    for search in (_chord, _least_squares):
        for guess in problem.guesses:
            try:
                found, miss = search(problem, guess)
            except GeodesicError:
                continue
            if miss <= _MISS:
                return problem.vector(found)
            best = min(best, miss)
    nearest = f"missed by {best:.2g}" if best < np.inf else "every try met matrices of lower rank"
    raise GeodesicError(
        f"found no geodesic to the target, {nearest}: it lies beyond matrices of lower rank, as "
        "where determinants differ in sign, or too far to be reached in one step"
    )


def _chord(problem: Shooting, guess: np.ndarray) -> tuple[np.ndarray, float]:
    """Broyden's method from a guess."""
    return _refine(problem, guess, _jacobian(guess, problem))


def _least_squares(problem: Shooting, guess: np.ndarray) -> tuple[np.ndarray, float]:
    """Levenberg-Marquardt from a guess, then Broyden's method."""
    found = least_squares(
        _residual, guess, _jacobian, method="lm", xtol=1e-6, ftol=1e-12, gtol=1e-12,
        max_nfev=50, args=(problem,),
    )  # fmt: skip
    return _refine(problem, found.x, found.jac)


def _refine(
    problem: Shooting, coefficients: np.ndarray, jacobian: np.ndarray
) -> tuple[np.ndarray, float]:
    """Broyden's method, at full accuracy once that is needed, until it stops to gain."""
    best, miss, rtol = coefficients, np.inf, _ROUGH
    before: tuple[np.ndarray, np.ndarray] | None = None
    for _ in range(_STEPS):
        reached = _reached(problem, coefficients, rtol)
        now, residual = problem.miss(reached), np.asarray(problem.residual(reached))
        if before is not None:
            step, old = before
            jacobian = jacobian + np.outer(residual - old - jacobian @ step, step) / (step @ step)
        if now < miss:
            best, miss = coefficients, now
        elif miss <= _MISS or now > 4 * miss:
            break
        step = -np.linalg.lstsq(jacobian, residual, rcond=None)[0]
        if not np.any(step):
            break
        before, coefficients = (step, residual), coefficients + step
        if rtol > PRECISE and miss < 1e-5:
            # A residual of another accuracy would spoil the update.
            rtol, before, miss = PRECISE, None, np.inf
    return best, miss


def _reached(problem: Shooting, coefficients: np.ndarray, rtol: float) -> Any:
    curve = problem.geodesic(coefficients)
    try:
        return curve.point(states_at(curve, np.ones(1), rtol)[0])
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
    step = 1e-4 * float(np.max(np.abs(coefficients)))
    around = coefficients + step * np.concatenate([np.zeros((1, size)), np.eye(size)])
    values = problem.residual(_reached(problem, around, _ROUGH))
    return np.asarray((values[1:] - values[0]).T / step)
