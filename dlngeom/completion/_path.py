r"""Low-rank least squares along a path of penalties: the cheapest network that fits the data.

Among all networks of depth ``N`` with one end-to-end matrix, the balanced ones have the least
squared norm of the layers, ``N sum_k s_k^(2/N)``.  The path minimises the loss plus that norm
while its weight falls, so that singular directions appear one after the other, the largest
first, as along the flow from a small start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib.arrays import Array, NumpyArray
from dlngeom.completion._observed import (
    MapFunction,
    Observed,
    left_and_right,
    rms,
)
from dlngeom.completion._regression import ridge_rows
from dlngeom.completion._stopping import Patience
from dlngeom.points import SVD

__all__ = [
    "PathStep",
    "PenaltyPath",
    "Schedule",
    "empty_path",
    "follow_path",
    "penalty",
    "pruned",
    "refit",
    "svd_of_product",
]

# The threshold falls by this factor per step, by its cube while the error falls fast.
FACTOR = 0.7
FAST = 0.75
FIRST = 0.7

# Sweeps at one threshold: until one of them lowers the training error by less than SETTLED.
SETTLED = 0.02
SWEEPS = 12
REFIT_SWEEPS = (8, 30)

# Directions looked for at once; more follow in the next sweep.
BLOCK = 10
POWER_STEPS = 4

# The path ends once the error is this far above its least, or no better for a while; many held-out
# entries tell sooner that it rises.
PATIENCE = Patience(rising=1.05, when_rising=1, when_level=4)
SURE = PATIENCE._replace(rising=1.02)
MANY = 5000

# Relative to normal equations of norm at most one: keeps those of short rows regular.
LEAST_PENALTY = 1e-13


class Schedule(NamedTuple):
    """Depth of the penalty, cap of the rank, and end of the path.

    Attributes
    ----------
    depth : int
    rank : int
        Cap of the rank.
    max_steps : int
    tol : float
        The path ends once the RMSE on the training entries is below ``tol`` times that of the
        data.
    """

    depth: int
    rank: int
    max_steps: int
    tol: float


class PathStep(NamedTuple):
    """One step: threshold, rank, and RMSE on the training and the held-out entries."""

    threshold: float
    rank: int
    training: float
    held_out: float


class PenaltyPath(NamedTuple):
    """Best point of a path, the threshold it belongs to, the steps and their singular values."""

    point: SVD
    threshold: float
    steps: list[PathStep]
    course: list[NumpyArray]


class _PathState(NamedTuple):
    point: SVD
    # Orthonormal columns close to the leading right singular vectors of the residual.
    probe: NumpyArray
    # Residual of the training entries; none after directions were added, until the next sweep.
    residual: Any


def penalty(s: Array, depth: int, threshold: float, density: float) -> NumpyArray:
    r"""Ridge penalty of the coefficients along orthonormal singular vectors.

    .. math:: c_k = \lambda\, s_k^{2/N - 2}

    ``lambda`` over the weight of ``g^N`` normal to the singular vectors.  The iteration with this
    penalty minimises the loss plus ``(lambda / 2) N sum_k s_k^(2/N)``.

    Parameters
    ----------
    s : array (r,)
        Singular values, positive.
    depth : int
    threshold : float
        Singular value of the residual beyond which a new direction lowers the objective; it
        fixes ``lambda``.
    density : float
        Fraction of the entries that is observed.

    Returns
    -------
    array (r,)
    """
    weight = threshold
    if depth > 2:
        q = 1 - 2 / depth
        weight = density / q * _least(depth, threshold, density) ** (1 + q)
    return np.asarray(np.maximum(weight * s ** (2 / depth - 2), LEAST_PENALTY))


def _least(depth: int, threshold: float, density: float) -> float:
    """Least positive singular value at which the objective of one direction has a minimum."""
    q = max(1 - 2 / depth, 0.0)
    return threshold / density * q / (1 + q)


def follow_path(
    training: Observed,
    held_out: Observed | None,
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    start: tuple[SVD, float] | None = None,
    begun: PenaltyPath | None = None,
    apply: MapFunction = map,
    report: Callable[[PathStep], None] | None = None,
    is_behind: Callable[[PathStep], bool] | None = None,
) -> PenaltyPath:
    r"""Follow the minimisers while the threshold falls, and stop early.

    .. math:: \min_W \tfrac12 \sum_{(i,j) \in S} (W_{ij} - x_{ij})^2
              + \tfrac{\lambda}{2} N \sum_k s_k^{2/N}

    Parameters
    ----------
    training : Observed (m, n)
    held_out : Observed (m, n), optional
        Entries whose error ends the path; without them it goes on to ``schedule.tol``.
    schedule : Schedule
    rng : numpy.random.Generator
        Draws the first probe for singular vectors.
    start : (SVD, float), optional
        Point and threshold to go on from.
    begun : PenaltyPath, optional
        Path on the same entries, with a step at least, which is continued after its best one.
    apply : callable
        Maps a function over blocks.
    report : callable, optional
        Called after every step.
    is_behind : callable, optional
        Called with every step, and ends the path by returning true.

    Returns
    -------
    PenaltyPath
    """
    state, largest = _begin(training, schedule.rank, rng)
    best = PenaltyPath(state.point, 0.0, [], [])
    data = rms(training.values)
    if largest <= 1e-15 * math.sqrt(len(training.values)) * data or data == 0:
        return best
    threshold, fast = FIRST * largest, start is not None
    if start is not None:
        state, threshold = _at(training, start[0], state.probe, apply), start[1]
    elif begun is not None:
        best = _up_to_best(begun)
        state = _at(training, best.point, state.probe, apply)
        error = _errors(best.steps)
        state, threshold, fast = _next(state, best.threshold, error, _falls_fast(error[:-1]))
    steps, course = best.steps, best.course
    patience = PATIENCE if held_out is None or len(held_out.values) < MANY else SURE
    while len(steps) < schedule.max_steps:
        # While the error falls fast, the residual is what the directions have not fitted yet, and
        # new ones would fit the gaps between few entries.
        state = _settle(training, state, threshold, schedule, apply, grows=not fast)
        step = _judge(training, held_out, state, threshold, apply)
        steps.append(step)
        course.append(np.asarray(state.point.s))
        if report is not None:
            report(step)
        error = _errors(steps)
        if error[-1] <= min(error):
            best = PenaltyPath(state.point, threshold, steps, course)
        hopeless = is_behind is not None and is_behind(step)
        if hopeless or _ended(error, patience) or step.training <= schedule.tol * data:
            break
        state, threshold, fast = _next(state, threshold, error, fast)
    return best


def _errors(steps: list[PathStep]) -> list[float]:
    return [step.training if math.isnan(step.held_out) else step.held_out for step in steps]


def _falls_fast(error: list[float]) -> bool:
    return len(error) > 1 and error[-1] < FAST * error[-2]


def _next(
    state: _PathState, threshold: float, error: list[float], was_fast: bool
) -> tuple[_PathState, float, bool]:
    """Threshold of the next step, and whether the error falls fast."""
    fast = _falls_fast(error)
    threshold *= FACTOR**3 if fast else FACTOR
    if was_fast and not fast:
        # It fell far, perhaps beyond where the next direction enters.
        state, sizes, _ = _directions(state)
        threshold = max(threshold, FIRST * float(sizes[0]))
    return state, threshold, fast


def _up_to_best(path: PenaltyPath) -> PenaltyPath:
    steps = [step for step in path.steps if step.threshold >= path.threshold]
    return path._replace(steps=steps, course=path.course[: len(steps)])


def _ended(error: list[float], patience: Patience) -> bool:
    at = int(np.argmin(error))
    return patience.is_over(error[-1], error[at], len(error) - 1 - at, at)


def _begin(training: Observed, rank: int, rng: np.random.Generator) -> tuple[_PathState, float]:
    """Start without directions but with a probe, and the leading singular value of the data."""
    m, n = training.shape
    nothing = _at(training, empty_path(m, n), np.zeros((n, 0)), map)
    X = nothing.residual
    probe = np.linalg.qr(rng.normal(size=(n, min(BLOCK, rank))))[0]
    for _ in range(POWER_STEPS):
        probe = np.linalg.qr(X.T @ (X @ probe))[0]
    largest = float(np.linalg.svd(X @ probe, compute_uv=False)[0])
    return nothing._replace(probe=probe), largest


def _at(training: Observed, point: SVD, probe: NumpyArray, apply: MapFunction) -> _PathState:
    return _PathState(point, probe, training.gap(*left_and_right(point), apply))


def empty_path(m: int, n: int) -> SVD:
    """Zero matrix, without any direction."""
    return SVD(np.zeros((m, 0)), np.zeros(0), np.zeros((0, n)))


def _judge(
    training: Observed,
    held_out: Observed | None,
    state: _PathState,
    threshold: float,
    apply: MapFunction,
) -> PathStep:
    unseen = math.nan if held_out is None else _error(held_out, state.point, apply)
    fitted = training.rms_of(state.residual)
    return PathStep(threshold, state.point.s.shape[0], fitted, unseen)


def _error(observed: Observed, point: SVD, apply: MapFunction) -> float:
    return observed.rms_of(observed.gap(*left_and_right(point), apply))


def _settle(
    training: Observed,
    state: _PathState,
    threshold: float,
    schedule: Schedule,
    apply: MapFunction,
    *,
    grows: bool,
) -> _PathState:
    """Sweep until the training error is level."""
    error = math.inf
    for _ in range(SWEEPS):
        if grows:
            state = _emerge(training, state, threshold, schedule)
        state = _sweep(training, state, threshold, schedule, apply)
        last, error = error, training.rms_of(state.residual)
        if error > (1 - SETTLED) * last:
            break
    return state


def _sweep(
    training: Observed, state: _PathState, threshold: float, schedule: Schedule, apply: MapFunction
) -> _PathState:
    """Fit columns and rows in turn, and drop what the penalty shrank."""
    density = len(training.values) / math.prod(training.shape)
    if not state.point.s.shape[0]:
        return state
    point = _columns_then_rows(training, state.point, schedule.depth, threshold, apply)
    return _at(training, pruned(point, schedule.depth, threshold, density), state.probe, apply)


def pruned(point: SVD, depth: int, threshold: float, density: float) -> SVD:
    """Point without the directions that the penalty has shrunk to nothing."""
    kept = point.s > _dropped(point.s, depth, threshold, density)
    return SVD(point.u[:, kept], point.s[kept], point.vt[kept])


def _dropped(s: Array, depth: int, threshold: float, density: float) -> float:
    # The iteration shrinks a vanishing value only linearly, so a small one counts as zero.
    vanishing = 0.2 * _least(depth, threshold, density) + 1e-6 * threshold / density
    return max(vanishing if depth > 1 else 0.0, 1e-13 * float(s[0]))


def _emerge(
    training: Observed, state: _PathState, threshold: float, schedule: Schedule
) -> _PathState:
    """Add the singular directions of the residual beyond the threshold, the largest first."""
    (u, s, vt), density = state.point, len(training.values) / math.prod(training.shape)
    state, size, (a, right) = _directions(state)
    beyond = size > (threshold if schedule.depth > 1 else 0.0)
    k = min(int(np.sum(beyond)), schedule.rank - s.shape[0])
    if not k:
        return state
    excess = size[:k] - (0.999 * threshold if schedule.depth == 2 else 0.0)
    left = np.concatenate([u * s, -a[:, :k] * (excess / density)], axis=1)
    both = svd_of_product(left, np.concatenate([vt.T, right[:, :k]], axis=1))
    return state._replace(point=both, residual=None)


def _directions(
    state: _PathState,
) -> tuple[_PathState, NumpyArray, tuple[NumpyArray, NumpyArray]]:
    """Better probe, and leading singular values, left and right vectors of the residual."""
    G = state.residual
    probe = np.linalg.qr(G.T @ (G @ state.probe))[0]
    a, size, b = np.linalg.svd(G @ probe, full_matrices=False)
    return state._replace(probe=probe), size, (a, probe @ b.T)


def _columns_then_rows(
    training: Observed, point: SVD, depth: int, threshold: float, apply: MapFunction
) -> SVD:
    density = len(training.values) / math.prod(training.shape)
    u, weights = np.asarray(point.u), penalty(point.s, depth, threshold, density)
    near = np.asarray(point.vt.T * point.s)
    v, s, ut = _svd_along(u, ridge_rows(training.transposed, u, weights, apply, near))
    point = SVD(ut.T, s, v.T)
    return _rows(training, point, penalty(_positive(point.s), depth, threshold, density), apply)


def _rows(training: Observed, point: SVD, weights: NumpyArray, apply: MapFunction) -> SVD:
    near, frame = left_and_right(point)
    return _svd_along(frame, ridge_rows(training, frame, weights, apply, near))


def _svd_along(frame: NumpyArray, coefficients: NumpyArray) -> SVD:
    """Singular value decomposition of ``coefficients @ frame.T``, whose frame is orthonormal."""
    q, a = np.linalg.qr(coefficients)
    u, s, vt = np.linalg.svd(a)
    return SVD(q @ u, _positive(s), vt @ frame.T)


def _positive(s: Array) -> NumpyArray:
    return np.asarray(np.maximum(s, max(1e-15 * float(s[0]), 1e-300)))


def svd_of_product(left: NumpyArray, right: NumpyArray) -> SVD:
    """Singular value decomposition of ``left @ right.T``."""
    (q, a), (p, b) = np.linalg.qr(left), np.linalg.qr(right)
    u, s, vt = np.linalg.svd(a @ b.T)
    return SVD(q @ u, _positive(s), vt @ p.T)


def refit(
    observed: Observed, point: SVD, depth: int, threshold: float, apply: MapFunction = map
) -> SVD:
    """Improve the best point of a path on all observed entries, at a given threshold."""
    if not point.s.shape[0]:
        return point
    error, (least, most) = math.inf, REFIT_SWEEPS
    for k in range(most):
        point = _columns_then_rows(observed, point, depth, threshold, apply)
        last, error = error, _error(observed, point, apply)
        if k + 1 >= least and error > (1 - SETTLED) * last:
            break
    return point
