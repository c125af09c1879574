"""Small matrices of many chains, whose products run along the chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array

__all__ = ["ChainsLast", "many_small"]

# Rows or columns up to which, and chains from which, this order of axes is the faster one.
_SMALL, _MANY = 4, 100


class ChainsLast:
    """Operands of ``@`` and ``.mT``, ``(m, n, chain)``, in the place of arrays ``(chain, m, n)``.

    A call of BLAS for each chain costs more than a product of small matrices itself; here the
    innermost loop is the one over chains.
    """

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @classmethod
    def of(cls, x: Any) -> ChainsLast:
        """Operand from an array ``(chain, m, n)``."""
        return cls(x.transpose(1, 2, 0).copy())

    def chains_first(self) -> np.ndarray:
        """Array ``(chain, m, n)`` of an operand."""
        return self.array.transpose(2, 0, 1)

    def __matmul__(self, other: ChainsLast) -> ChainsLast:
        return ChainsLast(np.einsum("ijc,jkc->ikc", self.array, other.array))

    def __neg__(self) -> ChainsLast:
        return ChainsLast(-self.array)

    @property
    def mT(self) -> ChainsLast:  # noqa: N802
        """Transposed matrices."""
        return ChainsLast(self.array.swapaxes(0, 1))


def many_small(layers: Sequence[Array]) -> bool:
    """Whether layers of many chains of numpy are so small that chains go last."""
    if not all(isinstance(x, np.ndarray) and x.ndim == 3 for x in layers):
        return False
    sizes = [size for x in layers for size in x.shape[1:]]
    return layers[0].shape[0] >= _MANY and max(sizes) <= _SMALL
