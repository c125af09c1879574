r"""Entropy of a pair of singular values and its slope, in ``v = log(sigma_k / sigma_l)``.

Nothing here divides by a difference of singular values: near a tie a power series takes over.  Nor
does anything small remain of terms that cancel: far from a tie slopes are sums of the numbers
``1/(exp(2|v|/N) - 1)``, which keep their digits at every ratio.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.special import zeta

from dlngeom import spectral
from dlngeom._lib.arrays import Array, constant, identity, namespace
from dlngeom.endtoend._kernels import pair

__all__ = ["NEAR", "Pairs", "langevin_ratio", "others", "pair_entropy", "pair_slope", "pairs"]

# Coefficients of coth(x) - 1/x in odd powers of x.
LANGEVIN = [-2 * (-1) ** k * float(zeta(2 * k)) / math.pi ** (2 * k) for k in range(1, 15)]
# The series is used below this argument, where its last term is at rounding level.
NEAR = 0.75


def pair_entropy(v: Array, depth: float) -> Array:
    r"""Entropy of a pair of singular values, twice, less ``(2 - 2/N) log max(sigma_k, sigma_l)``.

    .. math:: \log \frac{1 - e^{-2|v|}}{1 - e^{-2|v|/N}}, \qquad \log \frac{1 - e^{-2|v|}}{2|v|}

    the second for infinite depth.  Automatic derivatives are as accurate as the value.
    """
    total = _log_decay(v)
    return total if depth == math.inf else total - _log_decay(v / depth) + math.log(depth)


def _log_decay(x: Array) -> Array:
    """``log((1 - exp(-2|x|)) / (2|x|))``, which is even apart from ``-|x|``."""
    xp = namespace(x)
    # Like the larger value of a pair, and unlike abs in jax, its derivative at a tie is the mean.
    size = xp.maximum(x, -x)
    near = size < NEAR
    small, large = xp.where(near, x, 0 * x), xp.where(near, xp.ones_like(x), size)
    square, series = small * small, 0 * x
    for k in range(len(LANGEVIN), 0, -1):
        series = series * square + LANGEVIN[k - 1] / (2 * k)
    twice = -2 * large
    far = xp.log(xp.expm1(twice) / twice)
    return xp.where(near, square * series - size, far)


class Pairs(NamedTuple):
    r"""All pairs ``(k, l)`` of singular values, and what decays with their distance.

    Attributes
    ----------
    v : array (..., r, r)
        ``log(sigma_k / sigma_l)``.
    ratio : array (..., r, r)
        ``exp(-|v|)``, the ratio of the smaller value to the larger one.
    root : array (..., r, r)
        ``exp(-|v|/N)``, the same of the singular values of the layers.
    bath : array (..., r, r)
        ``1/(N (exp(2|v|/N) - 1))``, or ``1/(2|v|)`` for infinite depth; not meant near ties.
    gauge : array (..., r, r)
        ``1/(exp(2|v|) - 1)``; not meant near ties.
    step : float
        ``1/N``.
    """

    v: Array
    ratio: Array
    root: Array
    bath: Array
    gauge: Array
    step: float


def pairs(s: Array, depth: float) -> Pairs:
    """Compare all singular values with each other; near ties ``bath`` and ``gauge`` are finite."""
    xp = namespace(s)
    row, column = pair(s)
    large, small = xp.maximum(row, column), xp.minimum(row, column)
    ratio, log_s = small / large, xp.log(s)
    normal = ratio >= float(xp.finfo(s.dtype).smallest_normal)
    # Below the normal range the quotient has lost digits that the two logarithms still have.
    distance = -xp.log(xp.where(normal, ratio, xp.ones_like(ratio)))
    distance = xp.where(normal, distance, xp.abs(log_s[..., :, None] - log_s[..., None, :]))
    near = distance < NEAR
    safe = xp.where(near, xp.ones_like(distance), distance)
    gap = xp.where(near, large, large - small)
    gauge = small / gap * (small / (large + small))
    v = xp.where(row < column, -distance, distance)
    if depth == math.inf:
        return Pairs(v, ratio, ratio, 0.5 / safe, gauge, 0.0)
    first, second = pair(spectral._root(s, depth))
    # A logarithm of -690 has lost three digits, which a power of the ratio has not.
    root = xp.minimum(first, second) / xp.maximum(first, second)
    bath = root * root / (-depth * xp.expm1(-2 / depth * safe))
    return Pairs(v, ratio, root, bath, gauge, 1 / depth)


def others(s: Array) -> Array:
    """Ones for all pairs of different places, zeros on the diagonal."""
    return constant(1.0, s) - identity(s.shape[-1], s)


def pair_slope(at: Pairs) -> Array:
    r"""Differentiate the entropy of a pair by ``log sigma_k``.

    .. math:: p(v) = e(v) - \tfrac1N e(v/N), \qquad e(x) = \frac{1}{1 - e^{-2x}}

    All slopes are positive, and keep their digits where they are small, at ``v < 0``.
    """
    xp = namespace(at.v)
    near = xp.abs(at.v) < NEAR
    small = xp.where(near, at.v, 0 * at.v)
    close = (1 - at.step + small * pair_langevin(small, at.step)) / 2
    below = at.bath - at.gauge
    far = xp.where(at.v < 0, below, (1 - at.step) - below)
    return xp.where(near, close, far)


def pair_langevin(x: Array, step: float) -> Array:
    """Series of ``(L(x) - L(x/N)/N) / x`` with ``L(x) = coth(x) - 1/x``, for ``|x| < 0.75``."""
    total = langevin_ratio(x * x)
    return total - step**2 * langevin_ratio((step * x) ** 2) if step else total


def langevin_ratio(square: Array) -> Array:
    """Series of ``(coth(x) - 1/x) / x`` in ``x^2``, for ``|x| < 0.75``, to rounding."""
    total = 0 * square
    for coefficient in reversed(LANGEVIN):
        total = total * square + coefficient
    return total
