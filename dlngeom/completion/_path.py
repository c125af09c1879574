r"""Low-rank least squares along a path of penalties: the cheapest network that fits the data.

Among all networks of depth ``N`` with one end-to-end matrix, the balanced ones have the least
squared norm of the layers, ``N sum_k s_k^(2/N)``.  The path minimises the loss plus that norm
while its weight falls, so that singular directions appear one after the other, the largest
first, as along the flow from a small start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlngeom._lib.arrays import Array, NumpyArray
from dlngeom.completion._observed import (
    MapFunction,
    Observed,
    left_and_right,
    ridge_rows,
    rms,
)
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
    steps: list[PathStep] = []
    course: list[NumpyArray] = []
    best = PenaltyPath(state.point, 0.0, steps, course)
    data = rms(training.values)
    if largest <= 1e-15 * math.sqrt(len(training.values)) * data or data == 0:
        return best
    threshold = FIRST * largest
    if start is not None:
        state, threshold = state._replace(point=start[0]), start[1]
    fast = start is not None
    patience = PATIENCE if held_out is None or len(held_out.values) < MANY else SURE
    while len(steps) < schedule.max_steps:
        # While the error falls fast, the residual is what the directions have not fitted yet, and
        # new ones would fit the gaps between few entries.
        state = _settle(training, state, threshold, schedule, apply, grows=not fast)
        step = _judge(training, held_out, state.point, threshold, apply)
        steps.append(step)
        course.append(np.asarray(state.point.s))
        if report is not None:
            report(step)
        error = [s.training if held_out is None else s.held_out for s in steps]
        if error[-1] <= min(error):
            best = PenaltyPath(state.point, threshold, steps, course)
        hopeless = is_behind is not None and is_behind(step)
        if hopeless or _ended(error, patience) or step.training <= schedule.tol * data:
            break
        was_fast, fast = fast, len(error) > 1 and error[-1] < FAST * error[-2]
        threshold *= FACTOR**3 if fast else FACTOR
        if was_fast and not fast:
            # It fell far, perhaps beyond where the next direction enters.
            state, sizes, _ = _directions(training, state, apply)
            threshold = max(threshold, FIRST * float(sizes[0]))
    return best


def _ended(error: list[float], patience: Patience) -> bool:
    at = int(np.argmin(error))
    return patience.is_over(error[-1], error[at], len(error) - 1 - at, at)


def _begin(training: Observed, rank: int, rng: np.random.Generator) -> tuple[_PathState, float]:
    """Start without directions but with a probe, and the leading singular value of the data."""
    m, n = training.shape
    X = training.matrix
    probe = np.linalg.qr(rng.normal(size=(n, min(BLOCK, rank))))[0]
    for _ in range(POWER_STEPS):
        probe = np.linalg.qr(X.T @ (X @ probe))[0]
    largest = float(np.linalg.svd(X @ probe, compute_uv=False)[0])
    return _PathState(empty_path(m, n), probe), largest


def empty_path(m: int, n: int) -> SVD:
    """Zero matrix, without any direction."""
    return SVD(np.zeros((m, 0)), np.zeros(0), np.zeros((0, n)))


def _judge(
    training: Observed, held_out: Observed | None, point: SVD, threshold: float, apply: MapFunction
) -> PathStep:
    error = [
        math.nan if part is None else _error(part, point, apply) for part in (training, held_out)
    ]
    return PathStep(threshold, point.s.shape[0], *error)


def _error(observed: Observed, point: SVD, apply: MapFunction) -> float:
    return rms(observed.residual(*left_and_right(point), apply).data)


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
            state = _emerge(training, state, threshold, schedule, apply)
        state = _sweep(training, state, threshold, schedule, apply)
        last, error = error, _error(training, state.point, apply)
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
    return state._replace(point=pruned(point, schedule.depth, threshold, density))


def pruned(point: SVD, depth: int, threshold: float, density: float) -> SVD:
    """Point without the directions that the penalty has shrunk to nothing."""
    kept = point.s > _dropped(point.s, depth, threshold, density)
    return SVD(point.u[:, kept], point.s[kept], point.vt[kept])


def _dropped(s: Array, depth: int, threshold: float, density: float) -> float:
    # The iteration shrinks a vanishing value only linearly, so a small one counts as zero.
    vanishing = 0.2 * _least(depth, threshold, density) + 1e-6 * threshold / density
    return max(vanishing if depth > 1 else 0.0, 1e-13 * float(s[0]))


def _emerge(
    training: Observed, state: _PathState, threshold: float, schedule: Schedule, apply: MapFunction
) -> _PathState:
    """Add the singular directions of the residual beyond the threshold, the largest first."""
    (u, s, vt), density = state.point, len(training.values) / math.prod(training.shape)
    state, size, (a, right) = _directions(training, state, apply)
    beyond = size > (threshold if schedule.depth > 1 else 0.0)
    k = min(int(np.sum(beyond)), schedule.rank - s.shape[0])
    if not k:
        return state
    excess = size[:k] - (0.999 * threshold if schedule.depth == 2 else 0.0)
    left = np.concatenate([u * s, -a[:, :k] * (excess / density)], axis=1)
    both = svd_of_product(left, np.concatenate([vt.T, right[:, :k]], axis=1))
    return state._replace(point=both)


def _directions(
    training: Observed, state: _PathState, apply: MapFunction
) -> tuple[_PathState, NumpyArray, tuple[NumpyArray, NumpyArray]]:
    """Better probe, and leading singular values, left and right vectors of the residual."""
    G = training.residual(*left_and_right(state.point), apply)
    probe = np.linalg.qr(G.T @ (G @ state.probe))[0]
    a, size, b = np.linalg.svd(G @ probe, full_matrices=False)
    return state._replace(probe=probe), size, (a, probe @ b.T)


def _columns_then_rows(
    training: Observed, point: SVD, depth: int, threshold: float, apply: MapFunction
) -> SVD:
    density = len(training.values) / math.prod(training.shape)
    u, weights = np.asarray(point.u), penalty(point.s, depth, threshold, density)
    point = svd_of_product(u, ridge_rows(training.transposed, u, weights, apply))
    return _rows(training, point, penalty(_positive(point.s), depth, threshold, density), apply)


def _rows(training: Observed, point: SVD, weights: NumpyArray, apply: MapFunction) -> SVD:
    frame = np.ascontiguousarray(point.vt.T)
    point = svd_of_product(ridge_rows(training, frame, weights, apply), frame)
    return point._replace(s=_positive(point.s))


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
