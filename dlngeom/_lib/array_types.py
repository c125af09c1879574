"""Types of arrays, their namespaces and seeds, as type checkers see them."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

__all__ = ["Array", "Linalg", "Namespace", "Numbers", "NumpyArray", "Seed"]

NumpyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Seed: TypeAlias = (
    int
    | np.integer[Any]
    | Sequence[int]
    | np.ndarray[Any, np.dtype[np.integer[Any]]]
    | np.random.SeedSequence
    | np.random.BitGenerator
    | np.random.Generator
    | None
)


class Array(Protocol):
    """Array of numpy, torch, jax or another library that follows the array API standard.

    Of the standard it has what all of them do alike.  ``T`` is for matrices alone; through
    ``__array__``, which they have beyond the standard, functions of numpy take results.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def dtype(self) -> Any:
        """Data type, an object of the library."""

    @property
    def T(self) -> Array:
        """Transpose of a matrix."""

    @property
    def mT(self) -> Array:
        """Transpose of the last two axes."""

    def __array__(self) -> np.ndarray: ...
    def __getitem__(self, key: Any, /) -> Array: ...
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...
    def __neg__(self) -> Array: ...
    def __abs__(self) -> Array: ...
    def __invert__(self) -> Array: ...
    def __add__(self, other: Any, /) -> Array: ...
    def __radd__(self, other: Any, /) -> Array: ...
    def __sub__(self, other: Any, /) -> Array: ...
    def __rsub__(self, other: Any, /) -> Array: ...
    def __mul__(self, other: Any, /) -> Array: ...
    def __rmul__(self, other: Any, /) -> Array: ...
    def __truediv__(self, other: Any, /) -> Array: ...
    def __rtruediv__(self, other: Any, /) -> Array: ...
    def __pow__(self, other: Any, /) -> Array: ...
    def __rpow__(self, other: Any, /) -> Array: ...
    def __matmul__(self, other: Any, /) -> Array: ...
    def __and__(self, other: Any, /) -> Array: ...
    def __or__(self, other: Any, /) -> Array: ...
    def __lt__(self, other: Any, /) -> Array: ...
    def __le__(self, other: Any, /) -> Array: ...
    def __gt__(self, other: Any, /) -> Array: ...
    def __ge__(self, other: Any, /) -> Array: ...

    # Arrays, but ``object`` promises a bool.
    def __eq__(self, other: Any, /) -> Any: ...
    def __ne__(self, other: Any, /) -> Any: ...


# What numpy makes an array of numbers of.
Numbers: TypeAlias = float | Array | Sequence[float]


class Linalg(Protocol):
    """The linear algebra of an array library."""

    def qr(self, x: Array, /, *, mode: str = "reduced") -> tuple[Array, Array]:
        """Orthonormal and triangular factor."""

    def svd(self, x: Array, /, *, full_matrices: bool = True) -> tuple[Array, Array, Array]:
        """Left vectors, values, transposed right vectors."""

    def eigh(self, x: Array, /) -> tuple[Array, Array]:
        """Eigenvalues, ascending, and eigenvectors."""

    def slogdet(self, x: Array, /) -> tuple[Array, Array]:
        """Sign and logarithm of the absolute value of the determinant."""

    def __getattr__(self, name: str, /) -> Callable[..., Array]:
        """All other functions return one array."""


class Namespace(Protocol):
    """The functions of an array library."""

    int32: Any
    int64: Any
    bool: Any

    @property
    def linalg(self) -> Linalg:
        """Its linear algebra."""

    @property
    def fft(self) -> Any:
        """Its Fourier transforms."""

    def finfo(self, dtype: Any, /) -> Any:
        """Limits of a floating dtype."""

    def isdtype(self, dtype: Any, kind: Any, /) -> builtins.bool:
        """Whether a dtype is of a kind."""

    def nonzero(self, x: Array, /) -> tuple[Array, ...]:
        """Find the entries that are not zero: their indices, for each axis."""

    def __getattr__(self, name: str, /) -> Callable[..., Array]:
        """All other functions return one array."""
