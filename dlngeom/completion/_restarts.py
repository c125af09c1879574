"""Riemannian descents from several small starts, of which the best is repeated on all entries."""

from __future__ import annotations

import math

import numpy as np

from dlngeom.completion._descent import STARTS, Fit, descend, leading, small_start
from dlngeom.completion._losses import DenseSplit, LeastSquares, ObservedSplit
from dlngeom.completion._observed import MapFunction, Observed, left_and_right, rms
from dlngeom.completion._path import PathStep, PenaltyPath, empty_path, pruned, svd_of_product
from dlngeom.completion._solvers import Behind, FitOptions, Progress, Refit
from dlngeom.points import SVD

__all__ = ["descend_path"]

# Singular values above this fraction of the largest count in the rank of a step of a descent.
COUNTED = 1e-3


def descend_path(
    training: Observed,
    held_out: Observed | None,
    options: FitOptions,
    old: PenaltyPath | None,
    progress: Progress,
    is_behind: Behind | None = None,
    begun: PenaltyPath | None = None,
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
