"""A completed matrix as biases plus a row space: fit, new rows, single entries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlngeom import completion_input as given
from dlngeom.completion_input import Biases
from dlngeom.observed import Map, Matrix, Observed, entries, ridge_rows
from dlngeom.penalised_path import Path, PathStep, Schedule, follow, penalty, refit, rms
from dlngeom.tuples import SVD

__all__ = ["Model", "Options", "fit_rows", "learn", "values"]


class Options(NamedTuple):
    """What a fit does beside following the path.

    Attributes
    ----------
    schedule : Schedule
    with_biases : bool
    ridge : float
    fraction : float
        Part of the entries that is held out; zero for none.
    seed : int
        Of the choice of these.
    """

    schedule: Schedule
    with_biases: bool
    ridge: float
    fraction: float
    seed: int


class Model(NamedTuple):
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
        Of the coefficients of a row.
    path : Path
        In units of ``scale``.
    scale : float
    """

    biases: Biases
    left: Matrix
    components: Matrix
    s: Matrix
    penalty: Matrix
    path: Path
    scale: float

    @property
    def validation_error(self) -> float:
        """Least RMSE on the held-out entries along the path, NaN if there are none."""
        errors = [step.held_out for step in self.path.steps]
        return self.scale * min(errors) if errors else math.nan


def learn(
    observed: Observed,
    options: Options,
    *,
    old: Path | None = None,
    apply: Map = map,
    report: Callable[[PathStep], None] | None = None,
) -> Model:
    """Fit biases, follow the path on part of the entries, and refit its best point on all.

    Parameters
    ----------
    observed : Observed (m, n)
    options : Options
    old : Path, optional
        Path of a matrix of the same shape, from whose best point to go on.
    apply : callable
        Maps a function over blocks.
    report : callable, optional
        Called after every step of the path.

    Returns
    -------
    Model
    """
    biases = _fit_biases(observed, options)
    rest, scale = _scaled(_without_biases(observed, biases), rms(observed.values))
    training, held_out = rest, None
    if options.fraction > 0:
        mask = given.held_out_mask(rest, options.fraction, options.seed)
        training, held_out = rest.select(~mask), rest.select(mask)
    start = None if old is None or not old.threshold else (old.point, old.threshold)
    rng, schedule = np.random.default_rng(options.seed), options.schedule
    path = follow(training, held_out, schedule, rng, start=start, apply=apply, report=report)
    # The same least singular value on more entries: the threshold grows like their number.
    threshold = path.threshold * len(rest.values) / len(training.values)
    del training, held_out
    point = refit(rest, path.point, schedule.depth, threshold, apply)
    return _model(rest, point, biases, threshold, path, schedule.depth, scale, apply)


def _fit_biases(observed: Observed, options: Options) -> Biases:
    if options.with_biases:
        return given.fit_biases(observed, options.ridge)
    m, n = observed.shape
    return Biases(0.0, np.zeros(m), np.zeros(n))


def _without_biases(observed: Observed, biases: Biases) -> Observed:
    rest = observed.values - given.bias_values(biases, observed.rows, observed.columns)
    return Observed(observed.with_values(rest))


def _scaled(rest: Observed, size: float) -> tuple[Observed, float]:
    """Entries of root mean square one; what is left of biases alone is rounding, hence zero."""
    scale = rms(rest.values)
    if scale <= 1e-12 * size:
        return Observed(rest.with_values(np.zeros_like(rest.values))), 1.0
    return Observed(rest.with_values(rest.values / scale)), scale


def _model(
    rest: Observed,
    point: SVD,
    biases: Biases,
    threshold: float,
    path: Path,
    depth: int,
    scale: float,
    apply: Map,
) -> Model:
    """Row coefficients by the same regression that serves new rows."""
    density = len(rest.values) / math.prod(rest.shape)
    weights = penalty(point.s, depth, threshold, density)
    left = scale * ridge_rows(rest, np.ascontiguousarray(point.vt.T), weights, apply)
    return Model(biases, left, point.vt, scale * point.s, weights, path, scale)


def fit_rows(
    model: Model, observed: Observed, with_biases: bool, ridge: float, apply: Map = map
) -> tuple[Biases, Matrix]:
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
        biases = biases._replace(rows=given.row_biases(observed, biases, ridge))
    rest = _without_biases(observed, biases)
    return biases, ridge_rows(rest, np.ascontiguousarray(model.components.T), model.penalty, apply)


def values(
    model: Model, biases: Biases, left: Matrix, rows: Matrix, columns: Matrix, apply: Map = map
) -> Matrix:
    """Predictions at single entries."""
    right = np.ascontiguousarray(model.components.T)
    low_rank = entries(left, right, rows, columns, apply)
    return np.asarray(given.bias_values(biases, rows, columns) + low_rank)
