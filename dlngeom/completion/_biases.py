"""Additive model of a matrix and deviations of its columns, fitted to observed entries."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsqr

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion._observed import Observed

__all__ = [
    "KINDS",
    "Biases",
    "bias_values",
    "biases_of_kind",
    "column_deviations",
    "fit_biases",
    "row_biases",
]

KINDS = ("none", "columns", "rows+columns")


class Biases(NamedTuple):
    """Additive model ``mean + rows_i + columns_j``."""

    mean: float
    rows: NumpyArray
    columns: NumpyArray

    def matrix(self) -> NumpyArray:
        """Dense matrix of the additive model."""
        return np.asarray(self.mean + self.rows[:, None] + self.columns)


def fit_biases(observed: Observed, ridge: float) -> Biases:
    r"""Fit the mean and the row and column biases.

    .. math:: \min_{a, b} \sum_{(i,j) \in S} (x_{ij} - \mu - a_i - b_j)^2
              + \text{ridge}\,(|a|^2 + |b|^2)

    with ``mu`` the mean of the observed entries.
    """
    (m, n), rows, columns = observed.shape, observed.rows, observed.columns
    mean = float(np.mean(observed.values))

    def values(x: NumpyArray) -> NumpyArray:
        x = x.ravel()
        return np.asarray(x[rows] + x[m + columns])

    def sums(y: NumpyArray) -> NumpyArray:
        y = y.ravel()
        return np.concatenate([np.bincount(rows, y, m), np.bincount(columns, y, n)])

    count = len(observed.values)
    design = LinearOperator((count, m + n), matvec=values, rmatvec=sums, dtype=np.float64)
    target = observed.values - mean
    solution = lsqr(design, target, damp=math.sqrt(ridge), atol=1e-10, btol=1e-10)[0]
    biases = Biases(mean, solution[:m], solution[m:])
    # One exact half step, so that new rows with the same entries get the same biases.
    return biases._replace(rows=row_biases(observed, biases, ridge))


def biases_of_kind(
    observed: Observed, kind: str, ridge: float, deviations: NumpyArray | None = None
) -> Biases:
    """Fit none, the means of columns, or biases of rows and columns.

    Parameters
    ----------
    observed : Observed (m, n)
    kind : str
        One of ``KINDS``.
    ridge : float
    deviations : array (n,), optional
        Of columns in different units: rows are then fitted after the means of columns.

    Returns
    -------
    Biases
    """
    m, n = observed.shape
    if kind == "none":
        return Biases(0.0, np.zeros(m), np.zeros(n))
    if kind == "rows+columns" and deviations is None:
        return fit_biases(observed, ridge)
    mean = float(np.mean(observed.values))
    counts = np.bincount(observed.columns, minlength=n)
    sums = np.bincount(observed.columns, observed.values - mean, n)
    biases = Biases(mean, np.zeros(m), sums / np.maximum(counts, 1))
    if kind == "columns":
        return biases
    return biases._replace(rows=row_biases(observed, biases, ridge, deviations))


def column_deviations(observed: Observed, biases: Biases) -> NumpyArray:
    """Root mean square of the entries of each column without its bias, zero if constant."""
    n = observed.shape[1]
    columns = observed.columns
    rest = observed.values - biases.mean - biases.columns[columns]
    counts = np.maximum(np.bincount(columns, minlength=n), 1)
    square, size = (np.bincount(columns, x**2, n) / counts for x in (rest, observed.values))
    # What rounding leaves of a constant is none.
    return np.asarray(np.where(square > 1e-24 * size, np.sqrt(square), 0.0))


def row_biases(
    observed: Observed, biases: Biases, ridge: float, deviations: NumpyArray | None = None
) -> NumpyArray:
    r"""Biases of rows given those of the columns.

    .. math:: a_i = \frac{\sum_{j \in S_i} w_j (x_{ij} - \mu - b_j)}
              {\sum_{j \in S_i} w_j + \text{ridge}}

    with weights one, or ``w_j = 1 / deviations_j^2`` up to a factor that makes their mean one.
    """
    m = observed.shape[0]
    rest = observed.values - biases.mean - biases.columns[observed.columns]
    counts = np.diff(observed.matrix.indptr)
    if deviations is not None:
        weights = np.where(deviations > 0, deviations, np.inf) ** -2.0
        each = weights[observed.columns] / (np.mean(weights) or 1.0)
        rest, counts = rest * each, np.bincount(observed.rows, each, m)
    # Without a ridge an empty row divides by one, and its bias is zero.
    return np.asarray(np.bincount(observed.rows, rest, m) / np.maximum(counts + ridge, 1e-300))


def bias_values(biases: Biases, rows: NumpyArray, columns: NumpyArray) -> NumpyArray:
    """Additive model at single entries."""
    return np.asarray(biases.mean + biases.rows[rows] + biases.columns[columns])
