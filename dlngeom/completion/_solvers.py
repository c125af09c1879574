"""The two ways to fit a low-rank matrix: the path of penalties, and Riemannian descents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlngeom.completion import _descent
from dlngeom.completion._descent import (
    STARTS,
    DenseSplit,
    Fit,
    LeastSquares,
    ObservedSplit,
    descend,
    leading,
    small_start,
)
from dlngeom.completion._observed import MapFunction, Observed, left_and_right, rms
from dlngeom.completion._path import (
    PathStep,
    PenaltyPath,
    Schedule,
    empty_path,
    follow_path,
    pruned,
    refit,
    svd_of_product,
)
from dlngeom.points import SVD

__all__ = ["SOLVERS", "FitOptions", "Progress", "Refit", "descend_path", "follow"]

SOLVERS = ("alternating", *_descent.SOLVERS)

# Singular values above this fraction of the largest count in the rank of a step of a descent.
COUNTED = 1e-3


class FitOptions(NamedTuple):
    """Options of a fit.

    Attributes
    ----------
    solver : str
        ``"alternating"``, or one of the Riemannian descents.
    schedule : Schedule
    biases : str
        ``"none"``, ``"columns"`` or ``"rows+columns"``.
    scaled : bool
        Whether each column is brought to its own scale.
    ridge : float
    fraction : float
        Fraction of the entries held out; zero for none.
    seed : int
        Seed of their choice.
    clip : bool
        Whether predictions keep to the observed range.
    """

    solver: str
    schedule: Schedule
    biases: str
    scaled: bool
    ridge: float
    fraction: float
    seed: int
    clip: bool = False


class Progress(NamedTuple):
    """How blocks are mapped, and who is told of every step."""

    apply: MapFunction = map
    report: Callable[[PathStep], None] | None = None


# Takes all entries, returns the point fitted to them and the threshold that it belongs to.
Refit = Callable[[Observed], tuple[SVD, float]]
Behind = Callable[[PathStep], bool]


def follow(
    training: Observed,
    held_out: Observed | None,
    options: FitOptions,
    old: PenaltyPath | None,
    progress: Progress,
    is_behind: Behind | None = None,
) -> tuple[PenaltyPath, Refit]:
    """Follow the path of penalised minimisers; its best point is refitted at its threshold."""
    start = None if old is None or not old.threshold else (old.point, old.threshold)
    rng, schedule = np.random.default_rng(options.seed), options.schedule
    path = follow_path(
        training, held_out, schedule, rng, start=start, apply=progress.apply,
        report=progress.report, is_behind=is_behind,
    )  # fmt: skip
    count = len(training.values)

    def again(everything: Observed) -> tuple[SVD, float]:
        # For the same least singular value, the threshold must grow with the number of entries.
        threshold = path.threshold * len(everything.values) / count
        return refit(everything, path.point, schedule.depth, threshold, progress.apply), threshold

    return path, again


def descend_path(
    training: Observed,
    held_out: Observed | None,
    options: FitOptions,
    old: PenaltyPath | None,
    progress: Progress,
    is_behind: Behind | None = None,
) -> tuple[PenaltyPath, Refit]:
    """Descend from several small starts, or the old point; the best is repeated on all entries."""
    (depth, rank, steps, tol), seed = options.schedule, options.seed
    size = float(leading(training.matrix, 1, seed).s[0])
    if size == 0:
        nothing = empty_path(*training.shape)
        return PenaltyPath(nothing, 0.0, [], []), lambda everything: (nothing, 0.0)
    report = progress.report
    tick = None if report is None else lambda _: report(PathStep(math.nan, rank, *[math.nan] * 2))
    split = _split(training, held_out, size, progress.apply)
    starts = _starts(training, old, size, rank, seed)
    target = tol * rms(training.values) / size
    fits = [descend(split, x, depth, options.solver, steps, tick, target) for x in starts]
    errors = [fit.training if held_out is None else fit.held_out for fit in fits]
    best = int(np.argmin(errors))
    fit = fits[best]

    def again(everything: Observed) -> tuple[SVD, float]:
        final, cap = fit, max(2 * fit.iterations, 10)
        if held_out is not None:
            whole = _split(everything, None, size, progress.apply)
            final = descend(
                whole, starts[best], depth, options.solver, cap, tick, target=fit.training
            )
        return _judged(everything, final, depth, size, progress.apply)

    point, threshold = _judged(training, fit, depth, size, progress.apply)
    return PenaltyPath(point, threshold, *_steps(fit, size)), again


def _steps(fit: Fit, size: float) -> tuple[list[PathStep], list[np.ndarray]]:
    course = [size * s for s in fit.singular_values]
    steps = [
        PathStep(math.nan, int(np.sum(s > COUNTED * s.max())), *(size * errors))
        for s, errors in zip(fit.singular_values, fit.errors, strict=True)
    ]
    return steps, course


def _starts(
    training: Observed, old: PenaltyPath | None, size: float, rank: int, seed: int
) -> list[SVD]:
    if old is not None and old.point.s.shape[0]:
        return [_padded(old.point._replace(s=old.point.s / size), rank, seed)]
    small = small_start(training.matrix, rank, 1.0, seed)
    return [small._replace(s=x * small.s) for x in STARTS]


def _split(
    training: Observed, held_out: Observed | None, size: float, apply: MapFunction
) -> LeastSquares:
    """Split in units of the largest singular value, dense where products of matrices cost less."""
    training = _divided(training, size)
    held_out = None if held_out is None else _divided(held_out, size)
    if training.is_dense:
        return DenseSplit.of(training, held_out)
    return ObservedSplit(training, held_out, apply)


def _judged(
    rest: Observed, fit: Fit, depth: int, size: float, apply: MapFunction
) -> tuple[SVD, float]:
    """Point of a descent, with the least threshold at which no direction would emerge."""
    point = fit.point._replace(s=size * fit.point.s)
    residual = rest.residual(*left_and_right(point), apply)
    threshold = max(float(leading(residual, 1, 0).s[0]), 1e-300)
    return pruned(point, depth, threshold, len(rest.values) / math.prod(rest.shape)), threshold


def _divided(part: Observed, size: float) -> Observed:
    return Observed(part.with_values(part.values / size))


def _padded(point: SVD, rank: int, seed: int) -> SVD:
    """Add small random directions to a point, up to a rank."""
    rng, (u, s, vt) = np.random.default_rng(seed), point
    m, n, more = u.shape[0], vt.shape[1], rank - s.shape[0]
    left = STARTS[0] * rng.standard_normal((m, more)) / math.sqrt(m)
    right = rng.standard_normal((n, more)) / math.sqrt(n)
    return svd_of_product(
        np.concatenate([u * s, left], axis=1), np.concatenate([vt.T, right], axis=1)
    )
