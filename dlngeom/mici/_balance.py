r"""The balance equations of networks as functions of one vector.

.. math:: c(q) = \tfrac12\, q^T H q

for the entries on and above the diagonal of ``W_p W_p^T - W_{p+1}^T W_{p+1}``, with constant and
very sparse matrices ``H``, which all derivatives share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from dlngeom._lib.arrays import NumpyArray

__all__ = ["BalanceEquations", "balance_equations"]

HessianProduct = Callable[[NumpyArray], NumpyArray]


@dataclass(frozen=True, eq=False)
class BalanceEquations:
    """Quadratic forms, by the entries of their matrices that are not zero.

    Attributes
    ----------
    shape : (int, int)
        Number of equations, number of entries of the layers.
    target : array (entry,) of int
        Place of the equation and the row in an array of this shape, laid out flat.
    source : array (entry,) of int
        Column.
    weight : array (entry,)
    """

    shape: tuple[int, int]
    target: NumpyArray
    source: NumpyArray
    weight: NumpyArray

    def value(self, position: NumpyArray) -> NumpyArray:
        """Values of the equations."""
        return self.jacobian(position)[1]

    def jacobian(self, position: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
        """Jacobian ``(equation, size)``, and the values."""
        found = np.zeros(self.shape)
        found.ravel()[self.target] = self.weight * position[self.source]
        return found, found @ position / 2

    def hessian_product(
        self, position: NumpyArray
    ) -> tuple[HessianProduct, NumpyArray, NumpyArray]:
        """Sum of Hessians times rows of a matrix, as a function of it; Jacobian; values."""
        return self._product, *self.jacobian(position)

    def _product(self, rows: NumpyArray) -> NumpyArray:
        weights = self.weight * np.ravel(rows)[self.target]
        return np.bincount(self.source, weights, self.shape[1])


@cache
def balance_equations(widths: tuple[int, ...], rank: int) -> BalanceEquations:
    """Balance equations of networks whose inner widths are their rank."""
    places, start = [], 0
    for below, above in pairwise(widths):
        places.append(np.arange(start, start + above * below).reshape(above, below))
        start += above * below
    entries = list(_entries(places, rank))
    equation, row, column, weight = (np.array(x) for x in zip(*entries, strict=True))
    count = (len(widths) - 2) * rank * (rank + 1) // 2
    return BalanceEquations((count, start), equation * start + row, column, weight.astype(float))


def _entries(places: Sequence[NumpyArray], rank: int) -> Iterator[tuple[int, int, int, int]]:
    """Equation, row, column and value of the entries of all ``H``."""
    equation = 0
    for lower, upper in pairwise(places):
        for k in range(rank):
            for l in range(k, rank):  # noqa: E741
                for sign, vectors in ((1, lower), (-1, upper.T)):
                    for i, j in zip(vectors[k], vectors[l], strict=True):
                        if k == l:
                            yield equation, i, i, 2 * sign
                        else:
                            yield equation, i, j, sign
                            yield equation, j, i, sign
                equation += 1
