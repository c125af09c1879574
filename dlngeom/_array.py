"""Array namespaces, random generators and the few linear-algebra idioms the core shares."""

from __future__ import annotations

import operator
from types import ModuleType
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = Any
Seed: TypeAlias = Any

__all__ = [
    "Array",
    "Seed",
    "antisymmetric",
    "as_generator",
    "constant",
    "eps",
    "identity",
    "inner",
    "is_square",
    "namespace",
    "norm",
    "polar",
    "project_out",
    "remainder",
    "symmetric",
    "to_numpy",
    "together",
]


def namespace(*arrays: Array) -> ModuleType:
    """Return the array namespace that all arguments share.

    Raises
    ------
    TypeError
        If the arguments come from different libraries, or are no arrays at all.
    """
    try:
        xp: ModuleType = array_api_compat.array_namespace(*arrays)
    except TypeError as error:
        kinds = sorted({f"{type(a).__module__}.{type(a).__qualname__}" for a in arrays})
        raise TypeError(f"expected arrays of one library, got {', '.join(kinds)}") from error
    return xp


def as_generator(rng: Seed) -> np.random.Generator:
    """Return ``rng`` if it is a generator, else a new one seeded by it.

    Raises
    ------
    ValueError
        If ``rng`` is neither a generator, nor None, nor a valid seed.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.RandomState) or rng is np.random:
        raise ValueError(f"rng={rng!r}: pass a numpy.random.Generator or a seed")
    try:
        return np.random.default_rng(None if rng is None else rng)
    except (TypeError, ValueError) as error:
        raise ValueError(f"rng={rng!r}: pass a numpy.random.Generator or a seed") from error


def together(*values: Any) -> tuple[Array, ...]:
    """Turn Python numbers into arrays like the first array among ``values``, numpy if none is."""
    like = next((x for x in values if not isinstance(x, (int, float))), np.zeros(()))
    return tuple(constant(x, like) if isinstance(x, (int, float)) else x for x in values)


def to_numpy(x: Array) -> np.ndarray:
    """Copy of an array of any library, or the array itself if it is numpy's."""
    # Only torch refuses to leave its device, or a graph of derivatives, by itself.
    return np.asarray(x.detach().cpu() if array_api_compat.is_torch_array(x) else x)


def eps(x: Array) -> float:
    """Machine precision of the dtype of ``x``."""
    return float(namespace(x).finfo(x.dtype).eps)


def constant(value: Any, like: Array) -> Array:
    """Turn ``value`` into an array with the namespace, dtype and device of ``like``."""
    device = array_api_compat.device(like)
    return namespace(like).asarray(value, dtype=like.dtype, device=device)


def identity(size: int, like: Array) -> Array:
    """Identity matrix with the namespace, dtype and device of ``like``."""
    device = array_api_compat.device(like)
    return namespace(like).eye(operator.index(size), dtype=like.dtype, device=device)


def symmetric(x: Array) -> Array:
    """Symmetric part ``(x + x^T)/2`` of square matrices."""
    return (x + x.mT) / 2


def antisymmetric(x: Array) -> Array:
    """Antisymmetric part ``(x - x^T)/2`` of square matrices."""
    return (x - x.mT) / 2


def inner(x: Array, y: Array) -> Array:
    """Frobenius inner product over the last two axes."""
    xp: Any = namespace(x, y)
    if x.shape != y.shape:
        return xp.sum(x * y, axis=(-2, -1))
    flat = (*x.shape[:-2], x.shape[-2] * x.shape[-1])
    return xp.vecdot(xp.reshape(x, flat), xp.reshape(y, flat))  # Without a product in between.


def norm(x: Array) -> Array:
    """Frobenius norm over the last two axes."""
    return namespace(x).sqrt(inner(x, x))


def project_out(q: Array, x: Array) -> Array:
    """Return ``(I - q q^T) x``, exactly zero when ``q`` is square."""
    return x * 0 if is_square(q) else x - q @ (q.mT @ x)


def remainder(q: Array, x: Array, inside: Array) -> Array:
    """Return the same as :func:`project_out` where ``inside = q^T x`` is known."""
    return x * 0 if is_square(q) else x - q @ inside


def is_square(q: Array) -> bool:
    """Whether the columns of a frame span the whole space, so that nothing lies across them."""
    return bool(q.shape[-2] == q.shape[-1])


def polar(x: Array) -> Array:
    """Orthonormal polar factor of tall matrices, by a thin QR and an SVD of its triangle."""
    linalg: Any = namespace(x).linalg
    q, r = linalg.qr(x)
    u, _, vt = linalg.svd(r, full_matrices=False)
    return q @ (u @ vt)
