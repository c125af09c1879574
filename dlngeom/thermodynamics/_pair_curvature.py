r"""Second derivatives of the entropy of all pairs of singular values, in the frames of a point.

With ``g_k`` the derivative of the entropy by ``sigma_k`` they are the divided differences

.. math:: \alpha_{kl} = \frac{\sigma_k g_k - \sigma_l g_l}{\sigma_k^2 - \sigma_l^2}, \qquad
          \epsilon_{kl} = \frac{g_k - g_l}{\sigma_k - \sigma_l}

and the mixed derivatives.  The entropy of a pair is concave, and its slope in ``log sigma`` grows:
all terms of a sum have one sign, so each is accurate at every ratio if its parts are.
"""

from __future__ import annotations

from typing import NamedTuple

from dlngeom._lib.arrays import Array, namespace
from dlngeom.endtoend._kernels import pair
from dlngeom.thermodynamics._pair_entropy import (
    LANGEVIN,
    NEAR,
    Pairs,
    langevin_ratio,
    others,
    pair_langevin,
    pair_slope,
    pairs,
)

__all__ = ["PairCurvature", "pair_curvature"]


class PairCurvature(NamedTuple):
    r"""Divided differences of the slopes of the entropy, times ``max(sigma_k, sigma_l)``.

    The factor keeps them finite where the derivatives of a vector's size are.

    Attributes
    ----------
    crossed : array (..., r, r)
        ``alpha``; its diagonal has no meaning.
    even : array (..., r, r)
        ``epsilon``, with the second derivatives ``d^2 S / d sigma_k^2`` on its diagonal.
    mixed : array (..., r, r)
        ``d^2 S / d sigma_k d sigma_l``, zero on the diagonal.
    """

    crossed: Array
    even: Array
    mixed: Array


def pair_curvature(s: Array, depth: float) -> PairCurvature:
    """Sum the divided differences over all partners of each pair."""
    if depth == 1:
        zero = s[..., :, None] * s[..., None, :] * 0
        return PairCurvature(zero, zero, zero)
    return _two_layers(s) if depth == 2 else _many_layers(s, depth)


def _two_layers(s: Array) -> PairCurvature:
    """Differentiate ``log(sigma_k + sigma_l) / 2``, of which two orders cancel in other forms."""
    xp = namespace(s)
    row, column = pair(s)
    total, apart = row + column, others(s)
    large, inverse = xp.maximum(row, column), apart / total
    own, share = row * inverse, column * inverse
    crossed = (share @ inverse.mT + inverse) * (large / total) / 2
    # The factor goes to the larger of the two values.
    product = own @ inverse.mT
    even = -xp.where(row < column, product.mT, product) / 2
    return PairCurvature(crossed, even, -inverse * (large / total) / 2)


def _many_layers(s: Array, depth: float) -> PairCurvature:
    xp, at, apart = namespace(s), pairs(s, depth), others(s)
    row, column = pair(s)
    large, small, t = xp.maximum(row, column), xp.minimum(row, column), xp.abs(at.v)
    slope = pair_slope(at)
    stiffness = _divided_slope(at, slope)
    # The smaller slope of a third value, less what makes up for the other denominator.
    third = xp.minimum(slope[..., :, None, :], slope[..., None, :, :])
    third = third - _bend(at)[..., None] * stiffness
    third = xp.sum(apart[:, None, :] * apart[None, :, :] * third, axis=-1)
    even = -(third + apart * _exchange(at)) / small
    tie = t == 0
    safe = xp.where(tie, xp.ones_like(t), t)
    spread = xp.where(tie, xp.ones_like(t) / 2, safe / -xp.expm1(-2 * safe))
    crossed = xp.sum(stiffness, axis=-1) * spread / large
    return PairCurvature(crossed, even, -apart * _slope_of_slope(at) / small)


def _bend(at: Pairs) -> Array:
    """``t / (exp(t) - 1)`` with its limit one."""
    xp = namespace(at.v)
    t = xp.abs(at.v)
    safe = xp.where(t == 0, xp.ones_like(t), t)
    return xp.where(t == 0, xp.ones_like(t), safe * at.ratio / -xp.expm1(-safe))


def _exchange(at: Pairs) -> Array:
    r"""Difference of the two slopes of a pair by its own values, times ``-sigma_k sigma_l``.

    .. math:: \frac{p(-t) - q\, p(t)}{1 - q}, \qquad q = e^{-t}, \quad t = |v|
    """
    xp = namespace(at.v)
    t = xp.abs(at.v)
    near = t < NEAR
    small, q = xp.where(near, t, 0 * t), xp.where(near, 0 * t, at.ratio)
    coth = 2 + small * small / 2 * langevin_ratio(small * small / 4)
    close = (1 - at.step - pair_langevin(small, at.step) * coth) / 2
    far = ((1 + q) * at.bath - q / (1 - q) + q * at.step) / (1 - q)
    return xp.where(near, close, far)


def _slope_of_slope(at: Pairs) -> Array:
    """Differentiate the pair slope by ``v``."""
    xp = namespace(at.v)
    near = xp.abs(at.v) < NEAR
    small = xp.where(near, at.v, 0 * at.v)
    close = _divided_series(small, small, at.step)
    far = 2 * at.bath * (at.step + at.bath) - 2 * at.gauge * (1 + at.gauge)
    return xp.where(near, close, far)


def _divided_slope(at: Pairs, slope: Array) -> Array:
    r"""Divided differences of pair slopes, ``(..., k, l, m)``, with the limits at ties.

    .. math:: \frac{p(v_{km}) - p(v_{lm})}{v_{km} - v_{lm}}
    """
    xp = namespace(at.v)
    a, b = at.v[..., :, None, :], at.v[..., None, :, :]
    size_a, size_b = xp.abs(a), xp.abs(b)
    near = (size_a < NEAR) & (size_b < NEAR)
    plain = (xp.minimum(size_a, size_b) < NEAR / 2) & ~near
    series = _divided_series(xp.where(near, a, 0 * a), xp.where(near, b, 0 * b), at.step)
    gap = xp.where(plain, a - b, 1 + 0 * (a + b))
    quotient = (slope[..., :, None, :] - slope[..., None, :, :]) / gap
    return xp.where(near, series, xp.where(plain, quotient, _divided_far(at)))


def _divided_series(a: Array, b: Array, step: float) -> Array:
    """Half the divided difference of ``L(x) - L(x/N)/N``."""
    total = _divided_langevin(a, b)
    return (total - step**2 * _divided_langevin(step * a, step * b) if step else total) / 2


def _divided_langevin(a: Array, b: Array) -> Array:
    """Horner's rule for a series in odd powers and its divided difference."""
    value, change = 0 * a, 0 * a
    for coefficient in reversed(LANGEVIN):
        change = change * b * b + value
        value = value * a * a + coefficient
    return value + b * (a + b) * change


def _divided_far(at: Pairs) -> Array:
    r"""Divided difference of two slopes that are both away from ties.

    .. math:: \coth a - \coth b = -\frac{\sinh(a - b)}{\sinh a \sinh b}
    """
    xp = namespace(at.v)
    t = xp.abs(at.v)
    gauge = _divided_coth(at, at.ratio, 1.0)
    if at.step == 0:
        safe = xp.where(t < NEAR / 2, xp.ones_like(t), at.v)
        inverse = 1 / safe
        bath = inverse[..., :, None, :] * inverse[..., None, :, :]
    else:
        bath = at.step**2 * _divided_coth(at, at.root, at.step)
    return (bath - gauge) / 2


def _divided_coth(at: Pairs, decay: Array, step: float) -> Array:
    """``sinh(a - b) / ((a - b) sinh(a) sinh(b))`` of ``step`` times the logarithms."""
    xp = namespace(at.v)
    t = step * xp.abs(at.v)
    tie = t == 0
    safe = xp.where(tie, xp.ones_like(t), t)
    ratio = xp.where(tie, 2 * xp.ones_like(t), -xp.expm1(-2 * safe) / safe)
    close = t < step * NEAR / 2
    scaled = xp.sign(at.v) / -xp.expm1(-2 * xp.where(close, xp.ones_like(t), t))
    first, second = scaled[..., :, None, :], scaled[..., None, :, :]
    product = first * second
    larger = xp.maximum(decay[..., :, None, :], decay[..., None, :, :]) ** 2
    larger = xp.where(product < 0, xp.ones_like(larger), larger)
    return 2 * larger * ratio[..., None] * product
