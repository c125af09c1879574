r"""Entropy of a pair of singular values and its derivatives, in ``v = log(sigma_k / sigma_l)``.

Nothing here divides by a difference of singular values: near a tie a power series takes over.
"""

from __future__ import annotations

import math

from scipy.special import zeta

from dlngeom._lib.arrays import Array, namespace

__all__ = ["pair_entropy", "pair_force", "pair_stiffness"]

# Coefficients of coth(x) - 1/x in odd powers of x.
_LANGEVIN = [-2 * (-1) ** k * float(zeta(2 * k)) / math.pi ** (2 * k) for k in range(1, 15)]
# The series is used below this argument, where its last term is at rounding level.
_NEAR = 0.75


def pair_entropy(v: Array, depth: float) -> Array:
    r"""Entropy of a pair of singular values, twice, less ``(1 - 1/N) log(sigma_k sigma_l)``.

    .. math:: \log \frac{\sinh v}{\sinh(v/N)}, \qquad \log \frac{\sinh v}{v}

    the second for infinite depth.  Automatic derivatives are as accurate as the value.
    """
    total = _log_sinhc(v)
    return total if depth == math.inf else total - _log_sinhc(v / depth) + math.log(depth)


def _log_sinhc(x: Array) -> Array:
    """``log(sinh(x) / x)``, whose derivative is ``coth(x) - 1/x``."""
    xp = namespace(x)
    near = xp.abs(x) < _NEAR
    small, large = xp.where(near, x, 0 * x), xp.where(near, xp.ones_like(x), xp.abs(x))
    square, series = small * small, 0 * x
    for k in range(len(_LANGEVIN), 0, -1):
        series = series * square + _LANGEVIN[k - 1] / (2 * k)
    far = large + xp.log(-xp.expm1(-2 * large)) - xp.log(2 * large)
    return xp.where(near, square * series, far)


def pair_force(v: Array, depth: float) -> Array:
    """Differentiate the entropy of a pair with respect to ``log lam_k``.

    The derivative is ``N e(v) - e(v/N)`` with ``v = log(sigma_k / sigma_l)`` and
    ``e(x) = 1/(1 - exp(-2x))``.  Near ``v = 0`` the poles of both terms are left out, since they
    cancel.
    """
    xp = namespace(v)
    near = xp.abs(v) < _NEAR
    small, large = xp.where(near, v, 0 * v), xp.where(near, xp.ones_like(v), v)
    if depth == math.inf:
        far = _step(large) - 1 / (2 * large)
        return xp.where(near, (1 + _langevin(small)) / 2, far)
    far = depth * _step(large) - _step(large / depth)
    close = (depth - 1 + depth * _langevin(small) - _langevin(small / depth)) / 2
    return xp.where(near, close, far)


def _step(x: Array) -> Array:
    """Return ``1 / (1 - exp(-2x))``, which is zero to rounding before ``exp`` overflows."""
    xp = namespace(x)
    largest = math.log(float(xp.finfo(x.dtype).max)) - 1
    return -1 / xp.expm1(xp.minimum(-2 * x, largest * xp.ones_like(x)))


def _langevin(x: Array) -> Array:
    """Series of ``coth(x) - 1/x`` for ``|x| < 0.75``, to rounding."""
    squared, total = x * x, 0 * x
    for coefficient in reversed(_LANGEVIN):
        total = total * squared + coefficient
    return x * total


def pair_stiffness(a: Array, b: Array, depth: float) -> Array:
    r"""Divided difference of the pair force in ``log sigma``, with its limit at ``a = b``.

    .. math:: \frac{p(a) - p(b)}{a - b}, \qquad
              2 p(v) = \coth v - \tfrac1N \coth\tfrac vN + 1 - \tfrac1N

    Parameters
    ----------
    a, b : array (...)
        Logarithms of ratios of singular values; they broadcast.
    depth : int or inf
        Number of layers; not checked.

    Returns
    -------
    array (...)
    """
    a, b = a + 0 * b, b + 0 * a
    total = _divided(a, b)
    if depth != math.inf:
        total = total - _divided(a / depth, b / depth) / depth**2
    return total / 2


def _divided(a: Array, b: Array) -> Array:
    """Divided difference of ``L(x) = coth(x) - 1/x``, by series, addition theorem or quotient."""
    xp = namespace(a, b)
    size_a, size_b = xp.abs(a), xp.abs(b)
    near = (size_a < _NEAR) & (size_b < _NEAR)
    apart = xp.minimum(size_a, size_b) < _NEAR / 2
    one = xp.ones_like(a)
    series = _divided_series(xp.where(near, a, 0 * a), xp.where(near, b, 0 * b))
    safe = near | apart
    far = _divided_product(xp.where(safe, one, a), xp.where(safe, one, b))
    plain = apart & ~near
    x, y = xp.where(plain, a, one), xp.where(plain, b, 0 * one)
    difference = (_langevin_anywhere(x) - _langevin_anywhere(y)) / (x - y)
    return xp.where(near, series, xp.where(plain, difference, far))


def _divided_series(a: Array, b: Array) -> Array:
    """Horner's rule for a series in odd powers and its divided difference."""
    value, change = 0 * a, 0 * a
    for coefficient in reversed(_LANGEVIN):
        change = change * b * b + value
        value = value * a * a + coefficient
    return value + b * (a + b) * change


def _divided_product(a: Array, b: Array) -> Array:
    """``1/(a b) - sinh(a - b) / ((a - b) sinh(a) sinh(b))`` for arguments away from zero."""
    xp = namespace(a, b)
    gap, size_a, size_b = xp.abs(a - b), xp.abs(a), xp.abs(b)
    tie = gap == 0
    safe = xp.where(tie, xp.ones_like(gap), gap)
    ratio = xp.where(tie, 2 * xp.ones_like(gap), -xp.expm1(-2 * safe) / safe)
    # The exponent vanishes for opposite signs, up to rounding.
    decay = xp.exp(xp.minimum(gap - size_a - size_b, 0 * gap))
    product = 2 * decay * ratio / (xp.expm1(-2 * size_a) * xp.expm1(-2 * size_b))
    return 1 / (a * b) - xp.sign(a) * xp.sign(b) * product


def _langevin_anywhere(x: Array) -> Array:
    xp = namespace(x)
    near = xp.abs(x) < _NEAR
    far = xp.where(near, xp.ones_like(x), x)
    return xp.where(near, _langevin(xp.where(near, x, 0 * x)), 1 / xp.tanh(far) - 1 / far)
