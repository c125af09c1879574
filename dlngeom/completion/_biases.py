"""Additive model of a matrix: a mean, row biases and column biases, fitted to observed entries."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsqr

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion._observed import Observed

__all__ = ["Biases", "bias_values", "fit_biases", "row_biases"]


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


def row_biases(observed: Observed, biases: Biases, ridge: float) -> NumpyArray:
    r"""Biases of rows given those of the columns.

    .. math:: a_i = \frac{\sum_{j \in S_i} (x_{ij} - \mu - b_j)}{|S_i| + \text{ridge}}
    """
    m = observed.shape[0]
    rest = observed.values - biases.mean - biases.columns[observed.columns]
    counts = np.diff(observed.matrix.indptr)
    # Without a ridge an empty row divides by one, and its bias is zero.
    return np.asarray(np.bincount(observed.rows, rest, m) / np.maximum(counts + ridge, 1e-300))


def bias_values(biases: Biases, rows: NumpyArray, columns: NumpyArray) -> NumpyArray:
    """Additive model at single entries."""
    return np.asarray(biases.mean + biases.rows[rows] + biases.columns[columns])
