"""Checks of shapes, dtypes and values at public entry points: one clear error each."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

from dlngeom._lib.arrays import Array, identity, namespace

__all__ = [
    "batches_agree",
    "depth",
    "finite",
    "floating",
    "matrix",
    "orthonormal",
    "positive",
    "rank",
    "relative_tolerance",
    "same_dtype",
    "shape",
    "widths",
]


def depth(value: Any, *, infinite: bool = True) -> float:
    """Return a valid depth: an integer >= 1, or ``inf`` where that has a meaning."""
    if isinstance(value, numbers.Real) and value == math.inf:
        if infinite:
            return math.inf
        raise ValueError("depth=inf: this needs a finite depth, inf exists downstairs only")
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        kinds = "an integer >= 1 or inf" if infinite else "an integer >= 1"
        raise ValueError(f"depth={value!r}: it must be {kinds}")
    return number


def rank(value: int | None, *sizes: int) -> int:
    """Return a valid rank between 1 and the smallest of ``sizes``, the default."""
    largest = min(sizes)
    if value is None:
        return largest
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= largest:
        raise ValueError(f"rank={value!r}: it must be an integer from 1 to {largest}")
    return number


def widths(values: Sequence[int]) -> tuple[int, ...]:
    """Return the layer widths ``(d_0, ..., d_N)`` as integers >= 1."""
    try:
        numbers_ = tuple(operator.index(value) for value in values)
    except TypeError:
        numbers_ = ()
    if len(numbers_) < 2 or min(numbers_) < 1:
        raise ValueError(f"widths={values!r}: they must be two or more integers >= 1")
    return numbers_


def relative_tolerance(x: Array) -> float:
    """How far a point may lie off a manifold: 1e-8 relative, 1e-3 in float32."""
    return 1e-8 if namespace(x).finfo(x.dtype).eps < 1e-10 else 1e-3


def floating(name: str, x: Array) -> None:
    """Require a real floating dtype."""
    if not namespace(x).isdtype(x.dtype, "real floating"):
        raise ValueError(f"{name} has dtype {x.dtype}: it must be float32 or float64")


def matrix(name: str, x: Array) -> None:
    """Require a batch of real floating matrices."""
    floating(name, x)
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: it must be (..., m, n)")
    if 0 in x.shape[-2:]:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: no side may be empty")


def shape(name: str, x: Array, expected: tuple[int, ...]) -> None:
    """Require the trailing axes of ``x`` to be ``expected``."""
    if tuple(x.shape[-len(expected) :]) != expected:
        wanted = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} has shape {tuple(x.shape)}: it must be (..., {wanted})")


def batches_agree(name: str, *arrays: tuple[Array, int]) -> None:
    """Require equal leading axes of ``(array, number of trailing axes)`` pairs."""
    batches = [tuple(x.shape[: x.ndim - trailing]) for x, trailing in arrays]
    if len(set(batches)) > 1:
        raise ValueError(f"{name} has batch shapes {batches}: they must agree")


def same_dtype(name: str, *arrays: Array) -> None:
    """Require one dtype."""
    first = arrays[0].dtype
    if all(x.dtype is first or x.dtype == first for x in arrays[1:]):
        return
    dtypes = {str(x.dtype) for x in arrays}
    if len(dtypes) > 1:
        raise ValueError(f"{name}: dtypes {sorted(dtypes)} must agree")


def positive(name: str, value: float) -> None:
    """Require a number that is positive and finite."""
    if not value > 0 or not math.isfinite(value):
        raise ValueError(f"{name}={value!r}: it must be positive and finite")


def finite(name: str, x: Array) -> None:
    """Require finite entries; the error names the first that is not."""
    xp = namespace(x)
    bad = ~xp.isfinite(x)
    if not bool(xp.any(bad)):
        return
    flat = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int32)))
    value = float(xp.reshape(x, (-1,))[flat])
    index = []
    for size in reversed(x.shape):
        flat, position = divmod(flat, size)
        index.append(position)
    raise ValueError(f"{name}{list(reversed(index))} is {value}: all entries must be finite")


def orthonormal(name: str, q: Array) -> None:
    """Require orthonormal columns, to the tolerance of :func:`relative_tolerance`."""
    xp = namespace(q)
    gap = float(xp.max(xp.abs(q.mT @ q - identity(q.shape[-1], q))))
    limit = relative_tolerance(q)
    if not gap <= limit:
        raise ValueError(f"{name} is not orthonormal: off by {gap:.2g}, allowed {limit:g}")
