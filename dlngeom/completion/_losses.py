"""Squared loss of a completion on its training entries, dense or sparse, and held-out errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion._observed import MapFunction, Observed, entries, left_and_right, rms
from dlngeom.points import SVD

__all__ = ["DenseSplit", "LeastSquares", "ObservedSplit", "rmse"]


def rmse(error: NumpyArray, where: NumpyArray) -> float:
    """Root mean square of the entries of ``error`` that a mask or index selects, NaN if none."""
    chosen = error[where]
    return math.sqrt(float(np.mean(chosen**2))) if chosen.size else math.nan


class LeastSquares(Protocol):
    r"""Data of a descent: the loss on its training entries, and the error on the held-out ones.

    .. math:: E(W) = \tfrac12 \sum_{(i,j) \in S} (W_{ij} - x_{ij})^2
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(m, n)`` of the matrix."""

    @property
    def count(self) -> int:
        """Number of training entries."""

    def residual(self, point: SVD) -> Any:
        """Euclidean gradient: the residual on the training entries, zero elsewhere."""

    def derivative(self, left: NumpyArray, right: NumpyArray) -> Any:
        """Differentiate the gradient along ``left @ right.T``."""

    def held_out_error(self, point: SVD) -> float:
        """RMSE on the entries held out, NaN if there are none."""


@dataclass(frozen=True)
class DenseSplit:
    """Dense matrix, with masks of its training and of its held-out entries.

    Attributes
    ----------
    data : array (m, n)
    training, held_out : bool array (m, n)
        ``held_out`` may be empty.
    """

    data: NumpyArray
    training: NumpyArray
    held_out: NumpyArray

    @classmethod
    def of(cls, training: Observed, held_out: Observed | None) -> DenseSplit:
        """Dense form of sparse entries."""
        data = np.zeros(training.shape)
        masks = []
        for part in (training, held_out):
            masks.append(np.zeros(training.shape, dtype=bool))
            if part is not None:
                data[part.rows, part.columns] = part.values
                masks[-1][part.rows, part.columns] = True
        return cls(data, *masks)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        m, n = self.data.shape
        return m, n

    @cached_property
    def count(self) -> int:
        """Number of training entries."""
        return int(np.count_nonzero(self.training))

    @cached_property
    def _mask(self) -> NumpyArray:
        return self.training.astype(self.data.dtype)

    @cached_property
    def _held_out(self) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
        rows, columns = np.nonzero(self.held_out)
        return rows, columns, self.data[rows, columns]

    def residual(self, point: SVD) -> NumpyArray:
        """Residual on the training entries, ``(m, n)``."""
        return np.asarray(((point.u * point.s) @ point.vt - self.data) * self._mask)

    def derivative(self, left: NumpyArray, right: NumpyArray) -> NumpyArray:
        """``left @ right.T`` on the training entries, zero elsewhere, ``(m, n)``."""
        return np.asarray((left @ right.T) * self._mask)

    def held_out_error(self, point: SVD) -> float:
        """RMSE on the entries held out."""
        rows, columns, values = self._held_out
        error = entries(*left_and_right(point), rows, columns) - values
        return rms(error) if len(values) else math.nan


@dataclass(frozen=True)
class ObservedSplit:
    """Sparse training and held-out entries of a matrix; no dense matrix is formed.

    Attributes
    ----------
    training : Observed (m, n)
    held_out : Observed (m, n) or None
    apply : callable
        Maps a function over blocks.
    """

    training: Observed
    held_out: Observed | None
    apply: MapFunction = map

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        return self.training.shape

    @property
    def count(self) -> int:
        """Number of training entries."""
        return len(self.training.values)

    def residual(self, point: SVD) -> Any:
        """Residual on the training entries, sparse."""
        return self.training.residual(*left_and_right(point), self.apply)

    def derivative(self, left: NumpyArray, right: NumpyArray) -> Any:
        """``left @ right.T`` on the training entries, sparse."""
        return self.training.with_values(self.training.entries_of(left, right, self.apply))

    def held_out_error(self, point: SVD) -> float:
        """RMSE on the entries held out."""
        if self.held_out is None:
            return math.nan
        return rms(self.held_out.residual(*left_and_right(point), self.apply).data)
