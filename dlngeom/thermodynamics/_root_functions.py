r"""Functions of the root of an end-to-end matrix, smooth where its singular vectors are not.

The ``N``-th power of the singular values, and the entropy of the orbit over it, with derivatives
that hold at equal and at zero singular values.
References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from array_api_compat import device

from dlngeom._lib.arrays import Array, antisymmetric, constant, inner, namespace, symmetric
from dlngeom._lib.derivatives import require_separate, smooth_in
from dlngeom._lib.known_derivatives import Known, with_derivative
from dlngeom._lib.stiefel import log_stiefel_volume
from dlngeom.endtoend._kernels import pair
from dlngeom.thermodynamics._layers import LayerWidths

__all__ = ["entropy_gradient_of_root", "entropy_of_root", "power"]


def power(X: Array, depth: int) -> Array:
    """Raise singular values to a power; nothing is checked."""
    if depth % 2 == 0:
        return with_derivative(_EVEN_POWER, X, depth)
    m, n = X.shape[-2:]
    if depth == 1:
        return X * 1
    gram = _matrix_power(X.mT @ X if n <= m else X @ X.mT, depth // 2)
    return X @ gram if n <= m else gram @ X


def _matrix_power(gram: Array, exponent: int) -> Array:
    """Positive power of square matrices, by repeated squares."""
    half = gram if exponent < 2 else _matrix_power(gram, exponent // 2)
    if exponent < 2:
        return gram
    return half @ half @ gram if exponent % 2 else half @ half


def _by_vectors(X: Array, depth: int) -> Array:
    u, lam, vt = namespace(X).linalg.svd(X, full_matrices=False)
    result: Array = (u * lam[..., None, :] ** depth) @ vt
    return result


@smooth_in("X")
def _differential(X: Array, Z: Array, depth: int) -> Array:
    """Differentiate the power along ``Z``, which is a symmetric operator.

    In the frames the symmetric part of ``Z`` is multiplied by divided differences of the power, and
    the antisymmetric one by those of its odd extension, ``(a^N + b^N)/(a + b)``.
    """
    if X.shape[-2] < X.shape[-1]:
        moved: Array = _differential(X.mT, Z.mT, depth)
        return moved.mT
    u, lam, vt = _vectors(X)
    even, odd = _divided(lam, depth)
    right = Z @ vt.mT
    core = u.mT @ right
    beyond = (right - u @ core) * lam[..., None, :] ** (depth - 1)
    return (u @ (even * symmetric(core) + odd * antisymmetric(core)) + beyond) @ vt


def _vectors(X: Array) -> tuple[Array, Array, Array]:
    """SVD whose derivative is refused at ties and zeros, should jax not extrapolate to them."""
    xp = namespace(X)
    u, lam, vt = xp.linalg.svd(X, full_matrices=False)
    with_zero = xp.concat([lam, 0 * lam[..., :1]], axis=-1)
    u, with_zero, vt = require_separate(X, u, with_zero, vt)
    return u, with_zero[..., :-1], vt


def _divided(lam: Array, depth: int) -> tuple[Array, Array]:
    """Return ``(a^N - b^N)/(a - b)`` and ``(a^N + b^N)/(a + b)`` for all pairs, also of zeros."""
    xp = namespace(lam)
    a, b = pair(lam)
    large, small = xp.maximum(a, b), xp.minimum(a, b)
    ratio = small / _or_one(large)
    scale = large ** (depth - 1)
    return scale * _geometric(ratio, depth)[0], scale * (1 + ratio**depth) / (1 + ratio)


_EVEN_POWER = Known(_by_vectors, _differential, _differential)


def entropy_of_root(X: Array, layers: LayerWidths) -> Array:
    """Entropy of Theorem 10 over a root of full rank or not; nothing is checked."""
    r = min(X.shape[-2:])
    if layers.depth == 1 or (r == 1 and not layers.free(r)):
        return 0 * X[..., 0, 0] + _constant_part(r, layers)
    return with_derivative(_ENTROPY, X, layers)


def _entropy(X: Array, layers: LayerWidths) -> Array:
    xp, r = namespace(X), min(X.shape[-2:])
    # In compiled code this decomposition is that of the gradient, done once.
    plain = type(X) is np.ndarray
    lam = xp.linalg.svdvals(X) if plain else xp.linalg.svd(X, full_matrices=False)[1]
    large, _, ratio = _pairs(lam)
    depth = int(layers.depth)
    with np.errstate(divide="ignore"):  # The logarithm of zero is meant.
        weights = (2 * depth - 2) * xp.log(large) + xp.log(_geometric(ratio * ratio, depth)[0])
        total = xp.sum(weights, axis=-1) / 2
        if layers.free(r):
            total = total + layers.free(r) * xp.sum(xp.log(lam), axis=-1)
    return total + _constant_part(r, layers)


def _constant_part(rank: int, layers: LayerWidths) -> float:
    widths = Counter(layers.inner)
    return sum(count * log_stiefel_volume(rank, d) for d, count in widths.items())


@smooth_in("X")
def entropy_gradient_of_root(X: Array, layers: LayerWidths) -> Array:
    """Gradient of the entropy in the root; infinite or NaN where the entropy is infinite."""
    xp, depth = namespace(X), int(layers.depth)
    u, lam, vt = xp.linalg.svd(X, full_matrices=False)
    large, _, ratio = _pairs(lam)
    total, rate = _geometric(ratio * ratio, depth)
    pull = ratio * rate / (total * large)  # On the smaller value of each pair.
    push = (depth - 1) / large - ratio * pull
    slope = xp.matmul(push[..., None, :], _incidence(lam, 0))[..., 0, :]
    slope = slope + xp.matmul(pull[..., None, :], _incidence(lam, 1))[..., 0, :]
    free = layers.free(lam.shape[-1])
    slope = slope + free / lam if free else slope
    gradient: Array = (u * slope[..., None, :]) @ vt
    return gradient


def _entropy_along(X: Array, Z: Array, layers: LayerWidths) -> Array:
    return inner(entropy_gradient_of_root(X, layers), Z)


def _entropy_adjoint(X: Array, covector: Array, layers: LayerWidths) -> Array:
    gradient: Array = covector[..., None, None] * entropy_gradient_of_root(X, layers)
    return gradient


_ENTROPY = Known(_entropy, _entropy_along, _entropy_adjoint)


def _pairs(lam: Array) -> tuple[Array, Array, Array]:
    """Larger and smaller value of all pairs ``k < l`` of descending values, and their ratio."""
    xp = namespace(lam)
    large, small = (
        xp.take(lam, xp.asarray(places, device=device(lam)), axis=-1)
        for places in np.triu_indices(lam.shape[-1], 1)
    )
    return large, small, small / _or_one(large)


def _incidence(lam: Array, side: int) -> Array:
    """Ones ``(pair, r)`` where a value is the larger (0) or the smaller (1) one of a pair."""
    places = np.triu_indices(lam.shape[-1], 1)[side]
    ones = (places[:, None] == np.arange(lam.shape[-1])).astype(float)
    return constant(ones, lam)


def _or_one(x: Array) -> Array:
    xp = namespace(x)
    return xp.where(x == 0, xp.ones_like(x), x)


def _geometric(q: Array, count: int) -> tuple[Array, Array]:
    """``1 + q + ... + q^(count - 1)`` and its derivative, by doubling: nothing cancels."""
    total, rate, power, growth = 0 * q, 0 * q, 0 * q + 1, 0 * q
    for bit in bin(count)[2:]:
        total, rate = total * (1 + power), rate * (1 + power) + total * growth
        power, growth = power * power, 2 * power * growth
        if bit == "1":
            total, rate = 1 + q * total, total + q * rate
            power, growth = power * q, growth * q + power
    return total, rate
