"""Observed entries of dense and sparse input, their additive model, and what is held out."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, lsqr

from dlngeom.observed import Matrix, Observed

__all__ = [
    "Biases",
    "bias_values",
    "fit_biases",
    "held_out_mask",
    "observed_entries",
    "require_dense_memory",
    "require_memory",
    "require_scale",
    "row_biases",
]

GIB = 2**30

# Bytes per observed entry and per unknown that a fit needs, measured and rounded up; a descent
# keeps more points and directions.
BYTES_PER_ENTRY = 150
BYTES_PER_UNKNOWN = 100
BYTES_PER_UNKNOWN_OF_A_DESCENT = 160


class Biases(NamedTuple):
    """Additive model ``mean + rows_i + columns_j``."""

    mean: float
    rows: Matrix
    columns: Matrix

    def matrix(self) -> Matrix:
        """Dense matrix of the additive model."""
        return np.asarray(self.mean + self.rows[:, None] + self.columns)


def observed_entries(values: Any) -> Observed:
    """Observed entries of a matrix: not NaN if it is dense, stored if it is sparse.

    Raises
    ------
    ValueError
        If an entry is infinite, or one that a sparse matrix stores is NaN.
    """
    if sparse.issparse(values):
        matrix = sparse.csr_array(values, dtype=np.float64)
        matrix.sum_duplicates()
        _require_finite(Observed(matrix), "NaN: leave missing entries out")
        return Observed(matrix)
    values = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(values)
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(present, axis=1))])
    columns = np.nonzero(present)[1]
    kind = np.int32 if values.size < 2**31 else np.int64
    index = (values[present], columns.astype(kind), indptr.astype(kind))
    observed = Observed(sparse.csr_array(index, shape=values.shape))
    _require_finite(observed, "")
    return observed


def _require_finite(observed: Observed, otherwise: str) -> None:
    bad = np.flatnonzero(~np.isfinite(observed.values))
    if not len(bad):
        return
    value = observed.values[bad[0]]
    i, j = observed.rows[bad[0]], observed.columns[bad[0]]
    if math.isnan(value):
        raise ValueError(f"sparse entry [{i}, {j}] is {otherwise}")
    raise ValueError(f"entry [{i}, {j}] is {value} (infinity): entries must be finite or missing")


def require_scale(values: Matrix) -> None:
    """Refuse entries whose squares would over- or underflow.

    Raises
    ------
    ValueError
        If the largest is not zero, nor between 1e-100 and 1e100.
    """
    largest = float(np.max(np.abs(values)))
    if largest != 0 and not 1e-100 < largest < 1e100:
        raise ValueError(f"the largest entry is {largest:.3g}: rescale to between 1e-100 and 1e100")


def require_memory(
    observed: Observed, rank: int, limit: float, solver: str = "alternating"
) -> None:
    """Refuse a fit that needs more memory than allowed.

    Raises
    ------
    ValueError
        With the GiB that it needs.
    """
    m, n = observed.shape
    unknown = BYTES_PER_UNKNOWN if solver == "alternating" else BYTES_PER_UNKNOWN_OF_A_DESCENT
    need = BYTES_PER_ENTRY * len(observed.values) + unknown * (m + n) * (rank + 2)
    _refuse(need + GIB / 8, limit, f"a fit to {len(observed.values)} entries at rank {rank}")


def require_dense_memory(shape: tuple[int, int], itemsize: int, limit: float) -> None:
    """Refuse a dense result that needs more memory than allowed.

    Raises
    ------
    ValueError
        With the GiB that it needs.
    """
    m, n = shape
    _refuse(m * n * itemsize, limit, f"a dense {m} x {n} matrix (predict gives single entries)")


def _refuse(need: float, limit: float, what: str) -> None:
    if need > limit * GIB:
        raise ValueError(f"{what} needs {need / GIB:.3g} GiB: memory_limit={limit} allows less")


def held_out_mask(observed: Observed, fraction: float, seed: int) -> Matrix:
    """Entries that are held out, by a hash of their place: the same ones as the data grow.

    At least one entry, and one is left.
    """
    mixed = observed.rows.astype(np.uint64) << np.uint64(32)
    mixed |= observed.columns.astype(np.uint64)
    mixed ^= np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    # The finaliser of splitmix64, in place: every bit of the place moves every bit of the hash.
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mask = mixed < np.uint64(int(fraction * 2**63) * 2)
    if not mask.any():
        mask[np.argmin(mixed)] = True
    if mask.all():
        mask[np.argmax(mixed)] = False
    return np.asarray(mask)


def fit_biases(observed: Observed, ridge: float) -> Biases:
    r"""Fit the mean and the row and column biases.

    .. math:: \min_{a, b} \sum_{(i,j) \in S} (x_{ij} - \mu - a_i - b_j)^2
              + \text{ridge}\,(|a|^2 + |b|^2)

    with ``mu`` the mean of the observed entries.
    """
    (m, n), rows, columns = observed.shape, observed.rows, observed.columns
    mean = float(np.mean(observed.values))

    def values(x: Matrix) -> Matrix:
        x = x.ravel()
        return np.asarray(x[rows] + x[m + columns])

    def sums(y: Matrix) -> Matrix:
        y = y.ravel()
        return np.concatenate([np.bincount(rows, y, m), np.bincount(columns, y, n)])

    count = len(observed.values)
    design = LinearOperator((count, m + n), matvec=values, rmatvec=sums, dtype=np.float64)
    target = observed.values - mean
    solution = lsqr(design, target, damp=math.sqrt(ridge), atol=1e-10, btol=1e-10)[0]
    biases = Biases(mean, solution[:m], solution[m:])
    # One exact half step, so that the rows of the fit are those of new rows with the same data.
    return biases._replace(rows=row_biases(observed, biases, ridge))


def row_biases(observed: Observed, biases: Biases, ridge: float) -> Matrix:
    r"""Biases of rows given those of the columns.

    .. math:: a_i = \frac{\sum_{j \in S_i} (x_{ij} - \mu - b_j)}{|S_i| + \text{ridge}}
    """
    m = observed.shape[0]
    rest = observed.values - biases.mean - biases.columns[observed.columns]
    counts = np.diff(observed.matrix.indptr)
    # Without a ridge an empty row divides by one, and its bias is zero.
    return np.asarray(np.bincount(observed.rows, rest, m) / np.maximum(counts + ridge, 1e-300))


def bias_values(biases: Biases, rows: Matrix, columns: Matrix) -> Matrix:
    """Additive model at single entries."""
    return np.asarray(biases.mean + biases.rows[rows] + biases.columns[columns])
