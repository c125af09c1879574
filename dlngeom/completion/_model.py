"""Model of a completed matrix, biases plus a row space: its fit, new rows, single entries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion import _biases, _observed, _solvers
from dlngeom.completion._biases import Biases
from dlngeom.completion._observed import (
    MapFunction,
    Observed,
    entries,
    left_and_right,
    rms,
)
from dlngeom.completion._path import PathStep, PenaltyPath, penalty
from dlngeom.completion._regression import ridge_rows
from dlngeom.completion._solvers import FitOptions, Progress, Refit
from dlngeom.points import SVD

__all__ = ["RowSpaceModel", "Trial", "attempt", "finish", "fit_rows", "held_out_parts", "values"]


class Units(NamedTuple):
    """``x_ij = biases_ij + scale * columns_j * W_ij``, with the same weight for all of ``W``.

    Attributes
    ----------
    biases : Biases
    columns : array (n,) or None
        Deviations of the columns, if each is on its own scale.
    scale : float
        Zero if the biases explain everything but rounding.
    """

    biases: Biases
    columns: NumpyArray | None
    scale: float

    def of(self, observed: Observed) -> Observed:
        """Entries in these units; those of a column without deviation are zero."""
        rest = observed.values - _biases.bias_values(self.biases, observed.rows, observed.columns)
        if self.columns is not None:
            rest *= _inverse(self.columns)[observed.columns]
        rest *= 1 / self.scale if self.scale else 0.0
        return Observed(observed.with_values(rest))

    def errors(self, point: SVD, observed: Observed, apply: MapFunction) -> NumpyArray:
        """Prediction by a point in these units minus entry, in the units of the data."""
        error = self.scale * observed.entries_of(*left_and_right(point), apply)
        if self.columns is not None:
            error *= self.columns[observed.columns]
        error += _biases.bias_values(self.biases, observed.rows, observed.columns)
        return np.asarray(error - observed.values)


class RowSpaceModel(NamedTuple):
    """Biases and a low-rank matrix ``left @ components``, whose columns may be scaled.

    Attributes
    ----------
    options : FitOptions
        Of the fit, after what was to be chosen was chosen.
    biases : Biases
    columns : array (n,) or None
        Deviations of the columns, if each is on its own scale.
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
    validation_error : float
        RMSE on the held-out entries in the units of the data, NaN if there are none.
    bounds : (float or array (n,), float or array (n,))
        Observed range, of each column where these are scaled.
    """

    options: FitOptions
    biases: Biases
    columns: NumpyArray | None
    left: NumpyArray
    components: NumpyArray
    s: NumpyArray
    penalty: NumpyArray
    path: PenaltyPath
    scale: float
    validation_error: float
    bounds: tuple[NumpyArray, NumpyArray]

    @property
    def right(self) -> NumpyArray:
        """Right factor in the units of the data, ``(n, r)``."""
        right = self.components.T
        if self.columns is not None:
            right = right * self.columns[:, None]
        return np.ascontiguousarray(right)

    def clipped(self, predicted: NumpyArray, columns: NumpyArray | slice) -> NumpyArray:
        """Predictions moved into the observed range, if the options ask for it."""
        if not self.options.clip:
            return predicted
        low, high = (x if x.ndim == 0 else x[columns] for x in self.bounds)
        return np.clip(predicted, low, high, out=predicted)


class Trial(NamedTuple):
    """A fit to the training entries, and how to refit it to all.

    Attributes
    ----------
    options : FitOptions
    units : Units
    path : PenaltyPath
    refit : callable
    errors : array (e,)
        Errors on the held-out entries, in the units of the data.
    """

    options: FitOptions
    units: Units
    path: PenaltyPath
    refit: Refit
    errors: NumpyArray


def held_out_parts(
    observed: Observed, fraction: float, seed: int
) -> tuple[Observed, Observed | None]:
    """Training and held-out entries; all train if the fraction is zero."""
    if not fraction:
        return observed, None
    mask = _observed.held_out_mask(observed, fraction, seed)
    return observed.select(~mask), observed.select(mask)


def attempt(
    parts: tuple[Observed, Observed | None],
    options: FitOptions,
    progress: Progress,
    *,
    units: Units | None = None,
    old: PenaltyPath | None = None,
    is_behind: Callable[[PathStep, float], bool] | None = None,
    begun: PenaltyPath | None = None,
) -> Trial:
    """Fit biases and follow the path on the training entries alone.

    Parameters
    ----------
    parts : (Observed, Observed or None)
        Training and held-out entries.
    options : FitOptions
    progress : Progress
    units : Units, optional
        Those of another trial with the same biases on the same entries.
    old : PenaltyPath, optional
        Path of a matrix of the same shape, from whose best point to go on.
    is_behind : callable, optional
        Called with every step and the unit of its errors; ends the path by returning true.
    begun : PenaltyPath, optional
        Path of such a trial that ended early, to be continued by the alternating solver.

    Returns
    -------
    Trial
    """
    training, held_out = parts
    units = _units(training, options) if units is None else units
    aside = None if held_out is None else units.of(held_out)
    end = None if is_behind is None else lambda step: is_behind(step, units.scale)
    solve = _solvers.function_of(options.solver)
    path, refit = solve(
        units.of(training), aside, options, _within(old, options), progress, end, begun
    )
    errors = np.zeros(0) if held_out is None else units.errors(path.point, held_out, progress.apply)
    return Trial(options, units, path, refit, errors)


def _within(old: PenaltyPath | None, options: FitOptions) -> PenaltyPath | None:
    """Old path whose point keeps to the cap of the rank, which may have fallen since."""
    if old is None:
        return None
    (u, s, vt), cap = old.point, options.schedule.rank
    return old._replace(point=old.point._replace(u=u[:, :cap], s=s[:cap], vt=vt[:cap]))


def _units(observed: Observed, options: FitOptions) -> Units:
    """Biases and scales of some entries; if biases explain them all, rounding becomes zero."""
    ridge, columns = options.ridge, None
    if options.scaled:
        kind = "none" if options.biases == "none" else "columns"
        centre = _biases.biases_of_kind(observed, kind, ridge)
        columns = _biases.column_deviations(observed, centre)
    biases = _biases.biases_of_kind(observed, options.biases, ridge, columns)
    units = Units(biases, columns, 1.0)
    scale = rms(units.of(observed).values)
    size = rms(observed.values) if columns is None else 1.0
    return units._replace(scale=scale if scale > 1e-12 * size else 0.0)


def _inverse(columns: NumpyArray) -> NumpyArray:
    return np.asarray(1 / np.where(columns > 0, columns, np.inf))


def finish(observed: Observed, trial: Trial, progress: Progress) -> RowSpaceModel:
    """Refit biases and the low-rank part of a trial to all entries.

    Row coefficients come from the same regression that serves new rows.
    """
    options, (depth, *_) = trial.options, trial.options.schedule
    scale = trial.units.scale
    units = _units(observed, options)._replace(scale=scale)
    rest = units.of(observed)
    point, threshold = trial.refit(rest)
    vt = _unseen_to_zero(observed, np.asarray(point.vt))
    weights = penalty(point.s, depth, threshold, len(rest.values) / math.prod(rest.shape))
    scale = scale or 1.0
    left = scale * ridge_rows(rest, np.ascontiguousarray(vt.T), weights, progress.apply)
    error = rms(trial.errors) if len(trial.errors) else math.nan
    return RowSpaceModel(
        options, units.biases, units.columns, left, vt, np.asarray(scale * point.s), weights,
        trial.path, scale, error, _bounds(observed, options.scaled),
    )  # fmt: skip


def _unseen_to_zero(observed: Observed, vt: NumpyArray) -> NumpyArray:
    """Right vectors that predict nothing where no entry of a column is observed."""
    seen = np.bincount(observed.columns, minlength=observed.shape[1]) > 0
    return vt if seen.all() else np.asarray(np.where(seen, vt, 0.0))


def _bounds(observed: Observed, by_column: bool) -> tuple[NumpyArray, NumpyArray]:
    """Least and largest entry, of each column or of all."""
    low, high = np.min(observed.values), np.max(observed.values)
    if not by_column:
        return np.asarray(low), np.asarray(high)
    n, columns = observed.shape[1], observed.columns
    seen = np.bincount(columns, minlength=n) > 0
    least, largest = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(least, columns, observed.values)
    np.maximum.at(largest, columns, observed.values)
    return np.where(seen, least, low), np.where(seen, largest, high)


def fit_rows(
    model: RowSpaceModel, observed: Observed, ridge: float, apply: MapFunction = map
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
    if model.options.biases == "rows+columns":
        rows = _biases.row_biases(observed, biases, ridge, model.columns)
        biases = biases._replace(rows=rows)
    rest = Units(biases, model.columns, 1.0).of(observed)
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
    low_rank = entries(left, model.right, rows, columns, apply)
    predicted = np.asarray(_biases.bias_values(biases, rows, columns) + low_rank)
    return model.clipped(predicted, columns)
