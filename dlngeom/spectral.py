r"""The weights :math:`w_N` of the depth-N metric, their limits, and sums over layers.

The geometry downstairs is a function of one kernel of two singular values.  It is computed from
the logarithm of their ratio, never from a difference of powers, so it is accurate at ties, zeros
and extreme ratios.  For a few layers the kernels of ``endtoend`` sum its terms one by one.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, constant, namespace, together
from dlngeom._lib.derivatives import rule_for
from dlngeom._lib.door import takes_arrays

__all__ = ["weights"]

# Enough for a ratio of singular values of 1e-30 at rounding accuracy.
_QUADRATURE_NODES = 64
# Coefficients of coth(x) - 1/x in odd powers of x; later zeta functions are one to rounding.
_ZETA = [math.pi**2 / 6, math.pi**4 / 90, math.pi**6 / 945, math.pi**8 / 9450]
_ZETA += [1 + sum(n ** (-2.0 * k) for n in range(2, 100)) for k in range(5, 18)]
_COTH = [-2 * (-1) ** k * z / math.pi ** (2 * k) for k, z in enumerate(_ZETA, start=1)]


@takes_arrays("a", "b")
def weights(a: Array, b: Array, depth: float) -> Array:
    r"""Weight of the metric ``g^N`` for a pair of singular values.

    .. math:: w_N(a, b) = \sum_{p=1}^N a^{2(N-p)/N}\, b^{2(p-1)/N}

    For ``depth=inf`` the sum is divided by ``N`` first:
    :math:`w_\infty(a, b) = (a^2 - b^2) / (2 \log(a/b))`.

    Parameters
    ----------
    a, b : array (...) or float
        Singular values, >= 0; they broadcast against each other.
    depth : int or inf
        Number of layers ``N >= 1``.

    Returns
    -------
    array (...)
        The weights, accurate to a few units in the last place at every ratio, ties and
        zeros included.

    Raises
    ------
    ValueError
        If ``depth`` is neither an integer >= 1 nor ``inf``, or ``a`` and ``b`` are not both float32
        or both float64.

    See Also
    --------
    dlngeom.endtoend.cometric : The operator with these eigenvalues.
    dlngeom.endtoend.log_volume_density : Sum of the logarithms of the weights.

    Notes
    -----
    Eigenvalues of the operator (4.14) of Menon, *The geometry of the deep linear network*,
    Lemma 1; (14.10) for ``depth=inf``.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import spectral
    >>> spectral.weights(np.array([8.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0]), 3)
    array([21.,  3.,  1.])
    """
    depth = checks.depth(depth)
    a, b = together(a, b)
    xp = namespace(a, b)
    checks.floating("a", a)
    checks.same_dtype("a and b", a, b)
    checks.broadcastable("a and b", a, b)
    if depth == 1:
        return xp.ones_like(a * b)
    return _partial_weights(a, b, constant(1.0, a), depth)


def _partial_weights(a: Array, b: Array, share: Array, depth: float) -> Array:
    r"""Weight of the first ``share * N`` layers alone.

    .. math:: \omega_j(a, b) = \sum_{q=1}^{j} a^{2(j-q)/N}\, b^{2(q-1)/N},
              \qquad j = N\,\text{share}

    and :math:`\int_0^{y} a^{2(y-x)} b^{2x}\,dx` with ``y = share`` for ``depth=inf``.

    Parameters
    ----------
    a, b : array (...)
        Singular values, >= 0.
    share : array (...)
        Part of the layers, ``j/N`` in [0, 1]; broadcasts against ``a`` and ``b``.
    depth : int or inf
        Number of layers; not checked.

    Returns
    -------
    array (...)
    """
    rule = rule_for(a, b)
    if rule is None:
        return _partial_values(a, b, share, depth)
    found: Array = rule(_partial_values, _partial_rates, a, b, share, depth)
    return found


def _partial_values(a: Array, b: Array, share: Array, depth: float) -> Array:
    """Evaluate :func:`_partial_weights`."""
    xp = namespace(a, b)
    large, log_ratio = _larger_and_log_ratio(a, b)
    step = 0.0 if depth == math.inf else 1.0 / depth
    tie = log_ratio == 0
    safe = xp.where(tie, -xp.ones_like(log_ratio), log_ratio)
    below = 2 * safe if step == 0 else xp.expm1(2 * step * safe)
    count = share if step == 0 else share * depth
    shape = xp.where(tie, count * xp.ones_like(safe), xp.expm1(2 * share * safe) / below)
    safe_large = xp.where(large == 0, xp.ones_like(large), large)
    if step == 0:
        shape = xp.where(xp.minimum(a, b) > 0, shape, xp.zeros_like(shape))
    scale = (safe_large**share / safe_large**step) ** 2
    return xp.where(large == 0, xp.zeros_like(large), scale * shape) + _zero_pair(
        large, share, depth
    )


def _zero_pair(large: Array, share: Array, depth: float) -> Array:
    """Weight at ``a = b = 0``: one for a single layer, whose exponents vanish, else zero."""
    xp = namespace(large)
    if depth == math.inf:
        return xp.zeros_like(large)
    single = (large == 0) & (xp.abs(share * depth - 1) < 0.5)
    return xp.astype(single, large.dtype)


def _larger_and_log_ratio(a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``max(a, b)`` and ``log(min/max)``, finite even where only the smaller is zero."""
    xp = namespace(a, b)
    large, small = xp.maximum(a, b), xp.minimum(a, b)
    one = xp.ones_like(large)
    ratio = small / xp.where(large == 0, one, large)
    normal = ratio >= float(xp.finfo(large.dtype).smallest_normal)
    near = xp.log(xp.where(normal, ratio, one))
    # Below the normal range the quotient has lost digits that the two logarithms still have.
    far = xp.log(xp.where(small == 0, one, small)) - xp.log(xp.where(large == 0, one, large))
    log_ratio = xp.where(normal, near, far)
    # Finite, since minus infinity times a share of zero is NaN.
    infinite = -0.25 * float(xp.finfo(large.dtype).max)
    log_ratio = xp.where((small == 0) & (large > 0), infinite * one, log_ratio)
    return large, xp.where(large == 0, xp.zeros_like(log_ratio), log_ratio)


def _log_weights(a: Array, b: Array, depth: float) -> Array:
    r"""Logarithm of :func:`weights`, without underflow; ``a`` and ``b`` positive.

    .. math:: \log w_N(a,b) = (2 - 2/N) \log M + \log w_N(a/M, b/M), \qquad M = \max(a, b)

    Parameters
    ----------
    a, b : array (...)
        Singular values, > 0.
    depth : int or inf
        Number of layers; not checked.

    Returns
    -------
    array (...)
    """
    share = constant(1.0, a)
    rule = rule_for(a, b)
    if rule is None:
        return _log_values(a, b, share, depth)
    found: Array = rule(_log_values, _log_rates, a, b, share, depth)
    return found


def _log_values(a: Array, b: Array, _: Array, depth: float) -> Array:
    """Evaluate :func:`_log_weights`."""
    xp = namespace(a, b)
    large, log_ratio = _larger_and_log_ratio(a, b)
    scaled = weights(xp.ones_like(large), xp.exp(log_ratio), depth)
    return (2 - 2 / depth) * xp.log(large) + xp.log(scaled)


def _partial_rates(a: Array, b: Array, share: Array, depth: float) -> Array:
    """Differentiate :func:`_partial_weights` in ``a``."""
    return _partial_weights(a, b, share, depth) * _log_rates(a, b, share, depth)


def _log_rates(a: Array, b: Array, share: Array, depth: float) -> Array:
    r"""Differentiate the logarithm of :func:`_partial_weights` in ``a``; NaN where one is zero.

    .. math:: \frac1a \big[ y (1 + \coth(y v)) - x (1 + \coth(x v)) \big], \qquad
              v = \log\frac ab, \quad x = \tfrac1N, \quad y = \text{share}

    Near ties the poles of both terms are left out, since they cancel.
    """
    xp = namespace(a, b)
    if depth == 1:
        return xp.zeros_like(a * b)
    zero = (a == 0) | (b == 0)
    one = xp.ones_like(a * b)
    a, b = xp.where(zero, one, a), xp.where(zero, one, b)
    ratio = a / b
    normal = (ratio >= float(xp.finfo(a.dtype).smallest_normal)) & xp.isfinite(ratio)
    v = xp.where(normal, xp.log(xp.where(normal, ratio, one)), xp.log(a) - xp.log(b))
    step = 0.0 if depth == math.inf else 1.0 / depth
    near = xp.abs(share * v) < 1
    close, far = xp.where(near, v, 0 * v), xp.where(near, one, v)
    far_share = xp.where(near, one, share * one)
    poles = _growth(far, step, a) if step else 1 / (far * a)
    apart = far_share * _growth(far, far_share, a) - (step * poles if step else poles)
    bends = share * _odd_part(share * close) - step * _odd_part(step * close)
    rates = xp.where(near, (share - step + bends) / a, apart)
    return xp.where(zero, math.nan * one, rates)


def _growth(v: Array, share: float | Array, a: Array) -> Array:
    """Return ``(1 + coth(share v)) / a``, without underflow of the exponential alone."""
    xp = namespace(v)
    x = share * v
    decay = -xp.expm1(-2 * xp.abs(x))
    return 2 * xp.sign(x) * xp.exp(xp.minimum(2 * x, 0 * x) - xp.log(a)) / decay


def _odd_part(x: Array) -> Array:
    """Series of ``coth(x) - 1/x`` for ``|x| < 1``, to rounding."""
    squared, total = x * x, 0 * x
    for coefficient in reversed(_COTH):
        total = total * squared + coefficient
    return x * total


def _beside_zero(s: Array, share: Array, depth: float) -> Array:
    """Return ``_partial_weights(s, 0, share, depth)`` at finite depth, ``s`` positive."""
    xp = namespace(s)
    power = s ** xp.where(share == 0, share, 2 * share - 2.0 / depth)
    return xp.where(share == 0, xp.zeros_like(power), power)


def _root(s: Array, depth: float) -> Array:
    """Singular values ``s^(1/N)`` of every balanced layer."""
    return s if depth == 1 else s ** (1.0 / depth)


class _LayerNodes(NamedTuple):
    r"""Exponents that turn a sum over layers into a weighted sum over ``L`` nodes.

    .. math:: w_N(a, b) = \sum_{p} \text{weight}_p\, a^{2\,\text{left}_p}\, b^{2\,\text{right}_p}

    The nodes are the layers themselves, with weight one, for a finite depth, and
    Gauss-Legendre nodes of the continuum of layers for ``depth=inf``.

    Attributes
    ----------
    left, right, weight : numpy array (L,)
        Exponents of the singular values above and below a layer, and quadrature weights.
    step : float
        The exponent of one layer, ``1/N``, or zero.
    """

    left: np.ndarray
    right: np.ndarray
    weight: np.ndarray
    step: float


@lru_cache(maxsize=64)
def _layer_nodes(depth: float) -> _LayerNodes:
    """Return the nodes of sums over layers for a checked ``depth``."""
    if depth == math.inf:
        node, weight = np.polynomial.legendre.leggauss(_QUADRATURE_NODES)
        return _LayerNodes((1 - node) / 2, (1 + node) / 2, weight / 2, 0.0)
    p = np.arange(1, int(depth) + 1)
    return _LayerNodes((depth - p) / depth, (p - 1) / depth, np.ones(len(p)), 1.0 / depth)
