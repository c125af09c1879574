"""Vectors that are arrays or tuples of arrays, as elements of one real Euclidean space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from dlngeom._lib.arrays import Array, namespace

__all__ = [
    "Point",
    "Vector",
    "batch_axes",
    "combine",
    "concatenate",
    "coordinates",
    "copied",
    "first_array",
    "from_coordinates",
    "norm",
    "parts",
    "read_only",
    "rebuild",
    "scale",
    "stack",
    "unit_vector",
    "with_chain",
    "without_chain",
]


Point: TypeAlias = Any
Vector: TypeAlias = Any


def parts(value: Vector) -> tuple[Array, ...]:
    """All arrays of a nested tuple."""
    if not isinstance(value, tuple):
        return (value,)
    return tuple(x for part in value for x in parts(part))


def rebuild(like: Vector, arrays: Sequence[Array]) -> Vector:
    """Inverse of :func:`parts`: arrays in the nested tuples of ``like``."""
    remaining = iter(arrays)

    def build(value: Vector) -> Vector:
        if not isinstance(value, tuple):
            return next(remaining)
        built = [build(x) for x in value]
        return type(value)(*built) if hasattr(value, "_fields") else tuple(built)

    return build(like)


def batch_axes(value: Vector, like: Vector) -> int:
    """Count the batch axes of ``value``, given a single value ``like`` without any."""
    return int(parts(value)[0].ndim) - int(parts(like)[0].ndim)


def combine(a: float, first: Vector, b: float, second: Vector) -> Vector:
    """Linear combination of vectors."""
    pairs = zip(parts(first), parts(second), strict=True)
    return rebuild(first, [a * x + b * y for x, y in pairs])


def scale(factor: Any, vector: Vector) -> Vector:
    """Product with a number, or with one number ``(chain,)`` for each chain."""
    if isinstance(factor, (int, float)) or factor.ndim == 0:
        return rebuild(vector, [factor * x for x in parts(vector)])
    # Complex entries times real factors keep their precision in every library.
    return rebuild(vector, [x * factor[(..., *(None,) * (x.ndim - 1))] for x in parts(vector)])


def coordinates(vector: Vector, batch: int = 0) -> Array:
    """Orthonormal real coordinates ``(..., size)`` of vectors with ``batch`` leading axes."""
    xp = namespace(*parts(vector))
    columns = []
    for x in parts(vector):
        flat = xp.reshape(x, (*x.shape[:batch], math.prod(x.shape[batch:])))
        if xp.isdtype(x.dtype, "complex floating"):
            columns += [xp.real(flat), xp.imag(flat)]
        else:
            columns.append(flat)
    return columns[0] if len(columns) == 1 else xp.concat(columns, axis=-1)


def from_coordinates(values: Array, like: Vector, batch: int = 0) -> Vector:
    """Inverse of :func:`coordinates`: vector with the shapes of ``like``."""
    xp = namespace(values, *parts(like))
    arrays, at = [], 0
    for x in parts(like):
        size = math.prod(x.shape[batch:])
        shape = (*values.shape[:-1], *x.shape[batch:])
        part = xp.reshape(values[..., at : at + size], shape)
        at += size
        if xp.isdtype(x.dtype, "complex floating"):
            part = part + 1j * xp.reshape(values[..., at : at + size], shape)
            at += size
        arrays.append(part)
    return rebuild(like, arrays)


def unit_vector(index: int, like: Vector, batch: int = 0) -> Vector:
    """Vector whose coordinate ``index`` is one and whose other coordinates are zero."""
    flat = coordinates(like, batch)
    xp = namespace(flat)
    chosen = xp.arange(flat.shape[-1]) == index
    return from_coordinates(flat * 0 + xp.astype(chosen, flat.dtype), like, batch)


def norm(vector: Vector, batch: int = 0) -> Array:
    """Euclidean norm of vectors with ``batch`` leading axes."""
    flat = coordinates(vector, batch)
    xp = namespace(flat)
    return xp.sqrt(xp.sum(flat * flat, axis=-1))


def stack(values: Sequence[Any], axis: int = 1) -> Any:
    """Stack nested tuples of arrays, array by array."""
    columns = zip(*(parts(value) for value in values), strict=True)
    stacked = [namespace(*column).stack(list(column), axis=axis) for column in columns]
    return rebuild(values[0], stacked)


def concatenate(values: Sequence[Any]) -> Any:
    """Join nested tuples of arrays along their first axis, array by array."""
    columns = zip(*(parts(value) for value in values), strict=True)
    return rebuild(values[0], [namespace(*column).concat(list(column)) for column in columns])


def with_chain(value: Any) -> Any:
    """Add a chain axis of length one to all arrays in a nested tuple."""
    return rebuild(value, [x[None, ...] for x in parts(value)])


def without_chain(value: Any) -> Any:
    """Inverse of :func:`with_chain`."""
    return rebuild(value, [x[0, ...] for x in parts(value)])


def first_array(point: Any) -> Array:
    """First array of a point, which shows its library and batch shape."""
    return parts(point)[0]


def copied(value: Vector) -> Vector:
    """Copy of all arrays, for functions of callers that may change their argument in place."""
    return rebuild(value, [_copy(x) for x in parts(value)])


def read_only(value: Vector) -> Vector:
    """All arrays, which functions of callers cannot change: views, or copies where none are."""
    return rebuild(value, [_read_only(x) for x in parts(value)])


def _copy(x: Array) -> Array:
    # torch has its own word, which keeps what autograd knows of a tensor.
    clone: Any = getattr(x, "clone", None)
    copy: Array = namespace(x).asarray(x, copy=True) if clone is None else clone()
    return copy


def _read_only(x: Array) -> Array:
    if not isinstance(x, np.ndarray):
        return _copy(x) if hasattr(x, "shape") else x
    view = x.view()
    view.flags.writeable = False
    return view
