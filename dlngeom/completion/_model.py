"""Model of a completed matrix, biases plus a row space: its fit, new rows, single entries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion import _biases, _observed
from dlngeom.completion._biases import Biases
from dlngeom.completion._descent import STARTS, Fit, ObservedSplit, descend, leading, small_start
from dlngeom.completion._observed import (
    MapFunction,
    Observed,
    entries,
    left_and_right,
    ridge_rows,
    rms,
)
from dlngeom.completion._path import (
    PathStep,
    PenaltyPath,
    Schedule,
    empty_path,
    follow_path,
    penalty,
    pruned,
    refit,
    svd_of_product,
)
from dlngeom.points import SVD

# Singular values above this fraction of the largest count in the rank of a step of a descent.
COUNTED = 1e-3

__all__ = ["FitOptions", "RowSpaceModel", "fit_rows", "learn", "values"]


class FitOptions(NamedTuple):
    """Options of a fit.

    Attributes
    ----------
    solver : str
        ``"alternating"``, or one of the Riemannian descents.
    schedule : Schedule
    with_biases : bool
    ridge : float
    fraction : float
        Fraction of the entries held out; zero for none.
    seed : int
        Seed of their choice.
    """

    solver: str
    schedule: Schedule
    with_biases: bool
    ridge: float
    fraction: float
    seed: int


class RowSpaceModel(NamedTuple):
    """Biases and a low-rank matrix ``left @ components``.

    Attributes
    ----------
    biases : Biases
    left : array (m, r)
    components : array (r, n)
        Orthonormal rows.
    s : array (r,)
        Singular values.
    penalty : array (r,)
        Ridge penalty of the coefficients of a row.
    path : PenaltyPath
        Path of the fit, in units of ``scale``.
    scale : float
    """

    biases: Biases
    left: NumpyArray
    components: NumpyArray
    s: NumpyArray
    penalty: NumpyArray
    path: PenaltyPath
    scale: float

    @property
    def validation_error(self) -> float:
        """Least RMSE on the held-out entries along the path, NaN if there are none."""
        errors = [step.held_out for step in self.path.steps]
        return self.scale * min(errors) if errors else math.nan


def learn(
    observed: Observed,
    options: FitOptions,
    *,
    old: PenaltyPath | None = None,
    apply: MapFunction = map,
    report: Callable[[PathStep], None] | None = None,
) -> RowSpaceModel:
    """Fit biases, follow the path on part of the entries, and refit its best point on all.

    Parameters
    ----------
    observed : Observed (m, n)
    options : FitOptions
    old : PenaltyPath, optional
        Path of a matrix of the same shape, from whose best point to go on.
    apply : callable
        Maps a function over blocks.
    report : callable, optional
        Called after every step of the path.

    Returns
    -------
    RowSpaceModel
    """
    biases = _fit_biases(observed, options)
    rest, scale = _scaled(_without_biases(observed, biases), rms(observed.values))
    training, held_out = rest, None
    if options.fraction > 0:
        mask = _observed.held_out_mask(rest, options.fraction, options.seed)
        training, held_out = rest.select(~mask), rest.select(mask)
    if old is not None:
        # Singular values descend, and the cap may have fallen since.
        (u, s, vt), cap = old.point, options.schedule.rank
        old = old._replace(point=SVD(u[:, :cap], s[:cap], vt[:cap]))
    solve = _follow if options.solver == "alternating" else _descend
    path, point, threshold = solve(rest, training, held_out, options, old, apply, report)
    return _model(rest, point, biases, threshold, path, options.schedule.depth, scale, apply)


FitSolution = tuple[PenaltyPath, SVD, float]
PathReport = Callable[[PathStep], None]


def _follow(
    rest: Observed,
    training: Observed,
    held_out: Observed | None,
    options: FitOptions,
    old: PenaltyPath | None,
    apply: MapFunction,
    report: PathReport | None,
) -> FitSolution:
    """Follow the path of penalised minimisers, and refit its best point on all entries."""
    start = None if old is None or not old.threshold else (old.point, old.threshold)
    rng, schedule = np.random.default_rng(options.seed), options.schedule
    path = follow_path(training, held_out, schedule, rng, start=start, apply=apply, report=report)
    # For the same least singular value, the threshold must grow with the number of entries.
    threshold = path.threshold * len(rest.values) / len(training.values)
    return path, refit(rest, path.point, schedule.depth, threshold, apply), threshold


def _descend(
    rest: Observed,
    training: Observed,
    held_out: Observed | None,
    options: FitOptions,
    old: PenaltyPath | None,
    apply: MapFunction,
    report: PathReport | None,
) -> FitSolution:
    """Descend from several small starts, or the old point, and repeat the best on all entries."""
    (depth, rank, steps, tol), seed = options.schedule, options.seed
    size = float(leading(training.matrix, 1, seed).s[0])
    if size == 0:
        return PenaltyPath(empty_path(*rest.shape), 0.0, []), empty_path(*rest.shape), 0.0
    aside = None if held_out is None else _divided(held_out, size)
    split = ObservedSplit(_divided(training, size), aside, apply)
    everything = ObservedSplit(_divided(rest, size), None, apply)
    if old is not None and old.point.s.shape[0]:
        starts = [_padded(old.point._replace(s=old.point.s / size), rank, seed)]
    else:
        small = small_start(training.matrix, rank, 1.0, seed)
        starts = [small._replace(s=x * small.s) for x in STARTS]
    tick = None if report is None else lambda _: report(PathStep(math.nan, rank, *[math.nan] * 2))
    target = tol * rms(training.values) / size
    fits = [descend(split, x, depth, options.solver, steps, tick, target) for x in starts]
    errors = [fit.training if held_out is None else fit.held_out for fit in fits]
    best = int(np.argmin(errors))
    fit = final = fits[best]
    if held_out is not None:
        cap = max(2 * fit.iterations, 10)
        final = descend(
            everything, starts[best], depth, options.solver, cap, tick, target=fit.training
        )
    return _judged(rest, fit, final, depth, size, apply)


def _judged(
    rest: Observed, fit: Fit, final: Fit, depth: int, size: float, apply: MapFunction
) -> FitSolution:
    """Turn a descent into a path, with the least threshold at which no direction would emerge."""
    point = final.point._replace(s=size * final.point.s)
    residual = rest.residual(*left_and_right(point), apply)
    threshold = max(float(leading(residual, 1, 0).s[0]), 1e-300)
    point = pruned(point, depth, threshold, len(rest.values) / math.prod(rest.shape))
    steps = [
        PathStep(math.nan, int(np.sum(s > COUNTED * s.max())), *(size * errors))
        for s, errors in zip(fit.singular_values, fit.errors, strict=True)
    ]
    return PenaltyPath(point, threshold, steps), point, threshold


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


def _fit_biases(observed: Observed, options: FitOptions) -> Biases:
    if options.with_biases:
        return _biases.fit_biases(observed, options.ridge)
    m, n = observed.shape
    return Biases(0.0, np.zeros(m), np.zeros(n))


def _without_biases(observed: Observed, biases: Biases) -> Observed:
    rest = observed.values - _biases.bias_values(biases, observed.rows, observed.columns)
    return Observed(observed.with_values(rest))


def _scaled(rest: Observed, size: float) -> tuple[Observed, float]:
    """Scale entries to root mean square one; if biases explain them all, rounding becomes zero."""
    scale = rms(rest.values)
    if scale <= 1e-12 * size:
        return Observed(rest.with_values(np.zeros_like(rest.values))), 1.0
    return Observed(rest.with_values(rest.values / scale)), scale


def _model(
    rest: Observed,
    point: SVD,
    biases: Biases,
    threshold: float,
    path: PenaltyPath,
    depth: int,
    scale: float,
    apply: MapFunction,
) -> RowSpaceModel:
    """Row coefficients by the same regression that serves new rows."""
    density = len(rest.values) / math.prod(rest.shape)
    weights = penalty(point.s, depth, threshold, density)
    left = scale * ridge_rows(rest, np.ascontiguousarray(point.vt.T), weights, apply)
    vt, s = np.asarray(point.vt), np.asarray(scale * point.s)
    return RowSpaceModel(biases, left, vt, s, weights, path, scale)


def fit_rows(
    model: RowSpaceModel,
    observed: Observed,
    with_biases: bool,
    ridge: float,
    apply: MapFunction = map,
) -> tuple[Biases, NumpyArray]:
    """Biases and coefficients of rows, new or old, from their observed entries.

    Returns
    -------
    biases : Biases
        With those of the columns from the model.
    left : array (k, r)
    """
    k = observed.shape[0]
    biases = model.biases._replace(rows=np.zeros(k))
    if with_biases:
        biases = biases._replace(rows=_biases.row_biases(observed, biases, ridge))
    rest = _without_biases(observed, biases)
    return biases, ridge_rows(rest, np.ascontiguousarray(model.components.T), model.penalty, apply)


def values(
    model: RowSpaceModel,
    biases: Biases,
    left: NumpyArray,
    rows: NumpyArray,
    columns: NumpyArray,
    apply: MapFunction = map,
) -> NumpyArray:
    """Predictions at single entries."""
    right = np.ascontiguousarray(model.components.T)
    low_rank = entries(left, right, rows, columns, apply)
    return np.asarray(_biases.bias_values(biases, rows, columns) + low_rank)
