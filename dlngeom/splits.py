"""A matrix of which some entries train and others decide when to stop, dense or sparse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from dlngeom.observed import Map, Matrix, Observed, entries, factors, rms
from dlngeom.tuples import SVD

__all__ = ["LeastSquares", "ObservedSplit", "Split", "rmse"]


def rmse(error: Matrix, where: Matrix) -> float:
    """Root mean square of the entries of ``error`` that a mask or index selects, NaN if none."""
    chosen = error[where]
    return math.sqrt(float(np.mean(chosen**2))) if chosen.size else math.nan


class LeastSquares(Protocol):
    r"""Half the squared residual on the training entries, and the error on those held out.

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

    def derivative(self, left: Matrix, right: Matrix) -> Any:
        """Differentiate the gradient along ``left @ right.T``."""

    def held_out_error(self, point: SVD) -> float:
        """RMSE on the entries held out, NaN if there are none."""


@dataclass(frozen=True)
class Split:
    """Dense data.

    Attributes
    ----------
    data : array (m, n)
    training, held_out : bool array (m, n)
        ``held_out`` may be empty.
    """

    data: Matrix
    training: Matrix
    held_out: Matrix

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
    def _mask(self) -> Matrix:
        return self.training.astype(self.data.dtype)

    @cached_property
    def _held_out(self) -> tuple[Matrix, Matrix, Matrix]:
        rows, columns = np.nonzero(self.held_out)
        return rows, columns, self.data[rows, columns]

    def residual(self, point: SVD) -> Matrix:
        """Residual on the training entries, ``(m, n)``."""
        return np.asarray(((point.u * point.s) @ point.vt - self.data) * self._mask)

    def derivative(self, left: Matrix, right: Matrix) -> Matrix:
        """Direction on the training entries, ``(m, n)``."""
        return np.asarray((left @ right.T) * self._mask)

    def held_out_error(self, point: SVD) -> float:
        """RMSE on the entries held out."""
        rows, columns, values = self._held_out
        error = entries(*factors(point), rows, columns) - values
        return rms(error) if len(values) else math.nan


@dataclass(frozen=True)
class ObservedSplit:
    """Sparse data: nothing of the size of the matrix is formed.

    Attributes
    ----------
    training : Observed (m, n)
    held_out : Observed (m, n) or None
    apply : callable
        Maps a function over blocks.
    """

    training: Observed
    held_out: Observed | None
    apply: Map = map

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
        return self.training.residual(*factors(point), self.apply)

    def derivative(self, left: Matrix, right: Matrix) -> Any:
        """Direction on the training entries, sparse."""
        return self.training.with_values(self.training.entries_of(left, right, self.apply))

    def held_out_error(self, point: SVD) -> float:
        """RMSE on the entries held out."""
        if self.held_out is None:
            return math.nan
        return rms(self.held_out.residual(*factors(point), self.apply).data)
