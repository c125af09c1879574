"""Array namespaces, random generators and the linear-algebra idioms of the whole core."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import array_api_compat
import numpy as np

from dlngeom._lib.array_types import Array, Namespace, Numbers, NumpyArray, Seed

# Since version 2 numpy follows the array API standard itself, without wrappers.
_NUMPY: Namespace = np

# Squares of singular values up to which five Newton-Schulz steps reach the rounding error.
_NEAR_ONE = 4.0
_NEWTON_SCHULZ = 5
# Size up to which one eigenvalue problem takes less time than these steps.
_FEW = 10
# Up to so many powers are products, in half the time of the function.
_FEW_POWERS = 16
# Sets the streams of manifolds apart from those of `numpy.random.default_rng` and its children.
_SEPARATE = 0x646C6E

__all__ = [
    "Array",
    "Namespace",
    "Numbers",
    "NumpyArray",
    "Seed",
    "antisymmetric",
    "as_generator",
    "as_separate_generator",
    "constant",
    "eps",
    "identity",
    "inner",
    "is_square",
    "namespace",
    "norm",
    "polar",
    "polar_of_expansion",
    "polars_of_expansions",
    "powers",
    "project_out",
    "remainder",
    "reshaped",
    "symmetric",
    "to_numpy",
    "together",
]


def namespace(*arrays: Array) -> Namespace:
    """Return the array namespace that all arguments share.

    Raises
    ------
    TypeError
        If the arguments come from different libraries, or are not arrays.
    """
    for x in arrays:
        if type(x) is not np.ndarray:
            break
    else:
        if arrays:
            return _NUMPY  # Most calls by far: a search would take longer than small arrays do.
    try:
        xp: Namespace = array_api_compat.array_namespace(*arrays)
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
    given: Any = rng  # Callers may pass what the annotation forbids.
    if isinstance(given, np.random.Generator):
        return given
    if isinstance(given, np.random.RandomState) or given is np.random:
        raise ValueError(f"rng={rng!r}: pass a numpy.random.Generator or a seed")
    try:
        return np.random.default_rng(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"rng={rng!r}: pass a numpy.random.Generator or a seed") from error


def as_separate_generator(rng: Seed) -> np.random.Generator:
    """Return ``rng`` if it is a generator, else a new one whose numbers are not those of the seed.

    Data that were drawn by ``numpy.random.default_rng(seed)`` are then independent of what is drawn
    here, though both were given the same seed.

    Raises
    ------
    ValueError
        If ``rng`` is neither a generator, nor None, nor a valid seed.
    """
    generator = as_generator(rng)
    if isinstance(rng, (np.random.Generator, np.random.BitGenerator)):
        return generator
    seed = cast(np.random.SeedSequence, generator.bit_generator.seed_seq)
    key = (*seed.spawn_key, _SEPARATE)
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=key))


def together(*values: Any) -> tuple[Array, ...]:
    """Turn Python numbers into arrays like the first array in ``values``, or else of numpy."""
    like = next((x for x in values if not isinstance(x, (int, float))), np.zeros(()))
    return tuple(constant(x, like) if isinstance(x, (int, float)) else x for x in values)


def to_numpy(x: Array) -> np.ndarray:
    """Copy of an array of any library, or the array itself if it is numpy's."""
    # Only torch has to be told to leave its device and its graph of derivatives.
    return np.asarray(x.detach().cpu() if array_api_compat.is_torch_array(x) else x)


def eps(x: Array) -> float:
    """Machine precision of the dtype of ``x``."""
    return float(namespace(x).finfo(x.dtype).eps)


def constant(value: Any, like: Array) -> Array:
    """Turn ``value`` into an array with the namespace, dtype and device of ``like``."""
    if type(like) is np.ndarray:
        return np.asarray(value, dtype=like.dtype)
    device = array_api_compat.device(like)
    return namespace(like).asarray(value, dtype=like.dtype, device=device)


def identity(size: int, like: Array) -> Array:
    """Identity matrix with the namespace, dtype and device of ``like``, not to be changed."""
    if type(like) is np.ndarray:
        return _numpy_identity(operator.index(size), like.dtype)
    device = array_api_compat.device(like)
    return namespace(like).eye(operator.index(size), dtype=like.dtype, device=device)


@lru_cache(maxsize=64)
def _numpy_identity(size: int, dtype: Any) -> np.ndarray:
    unit = np.eye(size, dtype=dtype)
    unit.flags.writeable = False
    return unit


def powers(x: Array, count: int) -> Array:
    """Powers ``0, ..., count - 1`` of ``(..., r)``, in shape ``(..., count, r)``."""
    if type(x) is not np.ndarray or count > _FEW_POWERS:
        return x[..., None, :] ** constant(np.arange(0.0, count)[:, None], x)
    found = np.empty((*x.shape[:-1], count, x.shape[-1]), dtype=x.dtype)
    found[..., 0, :] = 1.0
    for k in range(1, count):
        np.multiply(found[..., k - 1, :], x, out=found[..., k, :])
    return found


def reshaped(x: Array, shape: tuple[int, ...]) -> Array:
    """Array of another shape."""
    if type(x) is np.ndarray:
        return x.reshape(shape)  # In a fifth of the time of the function, for small arrays.
    return namespace(x).reshape(x, shape)


def symmetric(x: Array) -> Array:
    """Symmetric part ``(x + x^T)/2`` of square matrices."""
    return (x + x.mT) / 2


def antisymmetric(x: Array) -> Array:
    """Antisymmetric part ``(x - x^T)/2`` of square matrices."""
    return (x - x.mT) / 2


def inner(x: Array, y: Array) -> Array:
    """Frobenius inner product over the last two axes."""
    if type(x) is np.ndarray and type(y) is np.ndarray and x.ndim == 2 and x.shape == y.shape:
        product: Any = np.vdot(x, y)  # One call, where the general way takes six.
        scalar: Array = product
        return scalar
    xp = namespace(x, y)
    if x.shape != y.shape:
        return xp.sum(x * y, axis=(-2, -1))
    flat = (*x.shape[:-2], x.shape[-2] * x.shape[-1])
    return xp.vecdot(xp.reshape(x, flat), xp.reshape(y, flat))  # No temporary array of products.


def norm(x: Array) -> Array:
    """Frobenius norm over the last two axes."""
    return namespace(x).sqrt(inner(x, x))


def project_out(q: Array, x: Array) -> Array:
    """Return ``(I - q q^T) x``, exactly zero when ``q`` is square."""
    return x * 0 if is_square(q) else x - q @ (q.mT @ x)


def remainder(q: Array, x: Array, inside: Array) -> Array:
    """Return ``(I - q q^T) x`` from the known product ``inside = q^T x``."""
    return x * 0 if is_square(q) else x - q @ inside


def is_square(q: Array) -> bool:
    """Whether the columns of a frame span the whole space."""
    return bool(q.shape[-2] == q.shape[-1])


def polar(x: Array) -> Array:
    """Orthonormal polar factor of tall matrices, by a thin QR and an SVD of its triangle."""
    linalg = namespace(x).linalg
    q, r = linalg.qr(x)
    u, _, vt = linalg.svd(r, full_matrices=False)
    return q @ (u @ vt)


def polar_of_expansion(x: Array) -> Array:
    """Polar factor of tall matrices whose singular values are at least one, by products.

    In a numpy batch the result for a matrix does not depend on the others.
    """
    return polars_of_expansions((x,), None)[0]


def polars_of_expansions(xs: Sequence[Array], turns: Sequence[Array] | None) -> list[Array]:
    """Polar factors of tall matrices of equal rank, as :func:`polar_of_expansion`, times turns."""
    if not all(isinstance(x, np.ndarray) for x in xs):
        return _products([_polar_without_branches(x) for x in xs], turns)
    r = xs[0].shape[-1]
    # At least one each, the eigenvalues of a Gram matrix are bounded by their sum.
    if r <= _FEW and all(x.ndim == 2 and np.vdot(x, x) <= r - 1 + _NEAR_ONE for x in xs):
        stack = _inverse_root(np.stack([x.mT @ x for x in xs]))
        return _products(xs, _products([stack[k, ...] for k in range(len(xs))], turns))
    roots, far = _inverse_roots(xs)
    if not far.any():
        return _products(xs, _products(roots, turns))
    factors = [_patched(*parts) for parts in zip(_products(xs, roots), xs, far, strict=True)]
    return _products(factors, turns)


def _products(xs: Sequence[Array], ys: Sequence[Array] | None) -> list[Array]:
    return list(xs) if ys is None else [x @ y for x, y in zip(xs, ys, strict=True)]


def _patched(factor: Array, x: Array, far: np.ndarray) -> Array:
    """Replace polar factors of matrices far from orthonormal ones."""
    result = np.array(factor)
    result[far, ...] = polar(x[far, ...])
    return result


def _polar_without_branches(x: Array) -> Array:
    # After one eigenvalue problem the singular values are near one.
    from dlngeom._lib.derivatives import smooth_in  # That module imports this one.

    y = x @ smooth_in("gram")(_inverse_root)(x.mT @ x)
    unit = identity(x.shape[-1], x)
    for _ in range(_NEWTON_SCHULZ):
        y = y @ _contraction(y.mT @ y, unit)
    return y


def _inverse_roots(xs: Sequence[Array]) -> tuple[list[Array], np.ndarray]:
    """Inverse square roots of Gram matrices, and which of them are too far from the identity."""
    with np.errstate(over="ignore", invalid="ignore"):
        products = [np.asarray(x.mT @ x) for x in xs]
        grams = np.stack(products) if len(products) > 1 else products[0][None, ...]
        unit = identity(grams.shape[-1], grams)
        bound = np.asarray(1 + norm(grams - unit))
    far = ~(bound <= _NEAR_ONE)
    if far.any():
        grams, bound = np.where(far[..., None, None], unit, grams), np.where(far, 1.0, bound)
    steps = _NEWTON_SCHULZ if grams.ndim > 3 else _steps(max(bound.tolist()))
    return list(_near_inverse_root(grams, bound, steps)), far


def _steps(bound: float) -> int:
    """Newton-Schulz steps that single matrices need, each of which cubes the error."""
    error, steps = (bound - 1) / (bound + 1), 1
    while steps < _NEWTON_SCHULZ and error ** (3**steps) > 2.0**-54:
        steps += 1
    return steps


def _near_inverse_root(gram: np.ndarray, bound: np.ndarray, steps: int) -> np.ndarray:
    """Inverse square root, by products, of matrices with eigenvalues between one and a bound."""
    middle = np.asarray(2 / (1 + bound), dtype=gram.dtype)[..., None, None]
    rest, unit = middle * gram, identity(gram.shape[-1], gram)
    factor = _contraction(rest, unit)
    root: np.ndarray = np.sqrt(middle) * factor
    for _ in range(steps - 1):
        rest = factor @ rest @ factor
        factor = _contraction(rest, unit)
        root = root @ factor
    return root


def _contraction(gram: Array, unit: Array) -> Array:
    """Factor ``(15 - 10 G + 3 G^2)/8`` that moves singular values near one closer to one."""
    return gram @ ((3 / 8) * gram - (10 / 8) * unit) + (15 / 8) * unit


def _inverse_root(gram: Array) -> Array:
    """Inverse square root of matrices whose eigenvalues are at least one up to rounding."""
    xp = namespace(gram)
    values, vectors = xp.linalg.eigh(symmetric(gram))
    safe = xp.maximum(values, xp.ones_like(values) / 2)  # Derivatives look a little below one.
    return (vectors / xp.sqrt(safe)[..., None, :]) @ vectors.mT
