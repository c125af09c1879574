r"""Limit laws of the singular values for large widths, the analogues of the semicircle law.

In units of ``sqrt(kappa d / beta)`` the law of the singular values of ``d x d`` matrices with the
energy ``1/2 tr W^T W`` tends to the measure that minimises

.. math:: I[\mu] = \int V d\mu - \tfrac12 \iint \big[ a \log|\lambda^2 - \lambda'^2|
          + b \log|\sigma^2 - \sigma'^2| \big] d\mu\, d\mu', \qquad b = \frac{1}{2\kappa} = 1 - a
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from dlngeom._lib import checks
from dlngeom._lib.arrays import Numbers
from dlngeom.thermodynamics.equilibrium._gas import (
    Gas,
    Potential,
    checked_potential,
    minimiser,
    quadratic,
)

__all__ = ["ClosedLaw", "MinimiserLaw", "exponents", "hard_edge_exponent", "limit_law"]


class ClosedLaw:
    r"""Limit of the equilibrium law at ``kappa = 1``, for the quadratic energy, in closed form.

    .. math::
        \sigma^2 &= \frac{\sin^{N+1}((1+p)\phi)}{N \sin^N\!\phi\, \sin p\phi}, \qquad
        p = \tfrac1N, \\
        1 - F &= \frac1\pi \Big[ (1+p)\phi - p\,\frac{\sin\phi\, \sin((1+p)\phi)}{\sin p\phi} \Big]

    Parameters
    ----------
    depth : int or inf
        Number of layers; 1 is the quarter circle.

    Attributes
    ----------
    edge : float
        Largest singular value, ``(1 + 1/N)^((N+1)/2)``, or ``sqrt(e)`` for ``depth=inf``.

    Raises
    ------
    ValueError
        If ``depth`` is neither an integer >= 1 nor ``inf``.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.limit_law : The law for any ``kappa`` and potential.
    dlngeom.thermodynamics.equilibrium.hard_edge_exponent : Exponent of the density near zero.

    Notes
    -----
    ``(N sigma^2)^(1/N)`` has the Fuss-Catalan law of parameter ``1/N``, whose equilibrium problem
    is solved by Forrester, Liu and Zinn-Justin, *Equilibrium problems for Raney densities*,
    Nonlinearity 28 (2015).
    """

    def __init__(self, depth: float) -> None:
        self.depth = checks.depth(depth)
        self._p = 0.0 if self.depth == math.inf else 1 / self.depth
        self.edge = math.exp(0.5 if self._p == 0 else (self.depth + 1) / 2 * math.log1p(self._p))

    def cdf(self, s: Numbers) -> np.ndarray:
        """Probability of ``sigma <= s``, elementwise."""
        s = _points(s)
        inside = (s > 0) & (s < self.edge)
        target = np.log(np.where(inside, s, 1.0))
        angle = self._bisect(lambda phi: self._log_s(phi) > target, s.shape)
        return np.asarray(np.where(inside, 1 - self._tail(angle), s >= self.edge))

    def log_quantile(self, u: Numbers) -> np.ndarray:
        """Logarithm of the quantile; at infinite depth the quantile itself may underflow."""
        u = _levels(u)
        return self._log_s(self._bisect(lambda phi: self._tail(phi) < 1 - u, u.shape))

    def quantile(self, u: Numbers) -> np.ndarray:
        """Singular value below which a share ``u`` lies, elementwise."""
        return np.asarray(np.exp(self.log_quantile(u)))

    def density(self, s: Numbers) -> np.ndarray:
        """Density, elementwise; at zero it is infinite for more than one layer."""
        s = _points(s)
        h = 1e-5 * np.maximum(s, 1e-300)
        return np.asarray((self.cdf(s + h) - self.cdf(s - h)) / (2 * h))

    def _bisect(self, right: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Angle below which a condition holds."""
        low, high = np.zeros(shape), np.full(shape, math.pi / (1 + self._p))
        for _ in range(60):
            middle = (low + high) / 2
            yes = right(middle)
            low, high = np.where(yes, middle, low), np.where(yes, high, middle)
        return np.asarray((low + high) / 2)

    def _log_s(self, phi: np.ndarray) -> np.ndarray:
        p, N = self._p, self.depth
        if p == 0:
            return np.asarray((np.log(np.sin(phi) / phi) + phi / np.tan(phi)) / 2)
        # The powers of the two sines enter through their ratio alone.
        ratio = np.sin((1 + p) * phi) / np.sin(phi)
        last = np.sin((1 + p) * phi) / (N * np.sin(p * phi))
        return np.asarray((N * np.log(ratio) + np.log(last)) / 2)

    def _tail(self, phi: np.ndarray) -> np.ndarray:
        p = self._p
        if p == 0:
            return np.asarray((phi - np.sin(phi) ** 2 / phi) / math.pi)
        product = np.sin(phi) * np.sin((1 + p) * phi) / np.sin(p * phi)
        return np.asarray(((1 + p) * phi - p * product) / math.pi)


class MinimiserLaw:
    r"""Limit law of the singular values, by quantiles of the measure of least energy.

    .. math:: F(e^{x_i}) = u_i, \qquad i = 1, \dots, M

    Parameters
    ----------
    levels, log_s : array (M,)
        Probabilities ``u``, and logarithms ``x`` of their quantiles.

    Attributes
    ----------
    levels, log_s : array (M,)
    edge : float
        Upper end of the support, if the density vanishes there like a square root.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.limit_law : What computes it.
    dlngeom.thermodynamics.equilibrium.ClosedLaw : The law in closed form.

    Notes
    -----
    The measure of section 14.3 of Menon, *The geometry of the deep linear network*, with (14.11).
    """

    def __init__(self, levels: np.ndarray, log_s: np.ndarray) -> None:
        self.levels, self.log_s = _levels(levels), checks.real_array("log_s", log_s)
        levels, log_s = self.levels, self.log_s
        self._cdf = PchipInterpolator(log_s, levels)
        self._quantile = PchipInterpolator(levels, log_s)
        last, root = np.exp(log_s[-2:]), (1 - levels[-2:]) ** (2 / 3)
        self.edge = float((last[1] * root[0] - last[0] * root[1]) / (root[0] - root[1]))
        self._power = float(np.diff(np.log(levels[:2]))[0] / np.diff(log_s[:2])[0])

    def cdf(self, s: Numbers) -> np.ndarray:
        """Probability of ``sigma <= s``, elementwise."""
        s = _points(s)
        x = np.log(np.maximum(s, 1e-300))
        below = self.levels[0] * np.exp(self._power * np.minimum(x - self.log_s[0], 0.0))
        rest = np.maximum(self.edge - s, 0.0) / (self.edge - math.exp(self.log_s[-1]))
        above = 1 - (1 - self.levels[-1]) * np.minimum(rest, 1.0) ** 1.5
        inner = self._cdf(np.clip(x, self.log_s[0], self.log_s[-1]))
        value = np.where(x < self.log_s[0], below, np.where(x > self.log_s[-1], above, inner))
        return np.where(s > 0, value, 0.0)

    def quantile(self, u: Numbers) -> np.ndarray:
        """Singular value below which a share ``u`` lies, elementwise."""
        u = _levels(u)
        low = np.minimum(u / self.levels[0], 1.0) ** (1 / self._power)
        ratio = (np.maximum(1 - u, 0.0) / (1 - self.levels[-1])) ** (2 / 3)
        high = self.edge - (self.edge - math.exp(self.log_s[-1])) * np.minimum(ratio, 1.0)
        inner = np.exp(self._quantile(np.clip(u, self.levels[0], self.levels[-1])))
        below = low * math.exp(self.log_s[0])
        return np.where(u < self.levels[0], below, np.where(u > self.levels[-1], high, inner))

    def density(self, s: Numbers) -> np.ndarray:
        """Density between the outermost charges and zero beyond, elementwise."""
        s = _points(s)
        x = np.log(np.maximum(s, 1e-300))
        inside = (x >= self.log_s[0]) & (x <= self.log_s[-1])
        slope = self._cdf.derivative()(np.where(inside, x, self.log_s[0]))
        return np.where(inside, slope / np.maximum(s, 1e-300), 0.0)


def _points(s: Any) -> np.ndarray:
    """Real numbers, infinite ones included."""
    values: np.ndarray = checks.real_array("s", s)
    if np.any(np.isnan(values)):
        raise ValueError("s has an entry NaN: all entries must be numbers")
    return values


def _levels(u: Any) -> np.ndarray:
    """Probabilities."""
    values: np.ndarray = checks.real_array("u", u)
    bad = ~((values >= 0) & (values <= 1))
    if np.any(bad):
        raise ValueError(f"u has the entry {values[bad][0]}: all entries must be from 0 to 1")
    return values


def exponents(depth: float, kappa: float) -> tuple[float, float]:
    r"""Exponents ``(a, b)`` of ``|lam_k^2 - lam_l^2|`` and ``|sigma_k^2 - sigma_l^2|``.

    .. math:: b = 1 / (2\kappa), \qquad a = 1 - b
    """
    return (0.0, 1.0) if depth == 1 else (1 - 0.5 / kappa, 0.5 / kappa)


def limit_law(
    depth: float, kappa: float = 1.0, *, potential: Potential = quadratic, nodes: int = 300
) -> MinimiserLaw:
    r"""Limit law of the singular values for large widths, as a minimiser of the energy.

    .. math:: \min_{x_1 < \dots < x_M} \sum_i m_i \big[ V(e^{x_i}) - (\tfrac aN + b) x_i \big]
              - \tfrac12 \sum_{i \ne j} m_i m_j \big[ a \log \sinh \tfrac{|x_i - x_j|}N
              + b \log \sinh |x_i - x_j| \big] - \tfrac12 \sum_i m_i^2 \log \Delta_i

    Parameters
    ----------
    depth : int or inf
        Number of layers.
    kappa : float
        Ratio of the noise of the observable to that of the gauge.
    potential : Potential
        ``beta V / (kappa d)`` as a function of ``sigma`` in the units of the result; by default
        that of the quadratic energy in units of ``sqrt(kappa d / beta)``.
    nodes : int
        Number of charges, which are densest towards both edges.

    Returns
    -------
    MinimiserLaw

    Raises
    ------
    ValueError
        If an argument is out of range or the functional has no minimum.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.ClosedLaw : The law in closed form, for ``kappa = 1``.
    dlngeom.thermodynamics.equilibrium.sample : Draws at finite width.
    dlngeom.thermodynamics.equilibrium.hard_edge_exponent : Exponent of the density near zero.

    Notes
    -----
    (14.11) and section 14.3 of Menon, *The geometry of the deep linear network*.
    Charges ``m_i`` are spread over cells of width ``Delta_i``; ``a`` and ``b`` are as in
    :func:`log_density`.
    """
    depth = checks.depth(depth)
    kappa, potential = checks.noise_ratio(kappa), checked_potential(potential)
    nodes = checks.integer("nodes", nodes, 10)
    v = np.arange(2 * nodes + 1) / (2 * nodes)
    # Levels are quadratic in v below and cubic above, where 1 - F vanishes like a power 3/2.
    levels = v * v * (6 - 8 * v + 3 * v * v)
    a, b = exponents(depth, kappa)
    gas = Gas(depth, a, b, 1.0, a / depth + b, np.diff(levels[::2]), True, potential)
    start = ClosedLaw(1 if kappa < 0.75 else depth).log_quantile(levels[1::2])
    return MinimiserLaw(levels[1::2], minimiser(gas, start))


def hard_edge_exponent(depth: float, kappa: float = 1.0) -> float:
    r"""Exponent ``g`` of the density ``sigma^g`` of the limit law near zero.

    .. math:: g = \frac{2\alpha}{N} - 1, \qquad
              a \cot \pi\alpha + b \cot \frac{\pi\alpha}{N} = 0, \quad \tfrac12 \le \alpha < 1

    Parameters
    ----------
    depth : int or inf
        Number of layers.
    kappa : float
        Ratio of the noise of the observable to that of the gauge.

    Returns
    -------
    float
        ``-(N-1)/(N+1)`` for ``kappa = 1``; -1 for infinite depth, where the probability below
        ``sigma`` falls like ``a / (2 b |log sigma|)``.

    Raises
    ------
    ValueError
        If ``kappa < 1/2`` and ``N >= 2``, where there is a gap at zero.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.limit_law : The law itself.
    dlngeom.thermodynamics.equilibrium.ClosedLaw : The law for ``kappa = 1``.

    Notes
    -----
    The two repulsions cancel to leading order near zero; ``a`` and ``b`` are as in
    :func:`log_density`.
    """
    depth = checks.depth(depth)
    kappa = checks.noise_ratio(kappa)
    a, b = exponents(depth, kappa)
    if a < 0:
        raise ValueError(f"kappa={kappa}: the law has a gap at zero where kappa < 1/2")
    if a == 0:
        return 0.0
    if depth == math.inf:
        return -1.0

    def balance(alpha: float) -> float:
        x, y = math.pi * alpha, math.pi * alpha / depth
        return a * math.cos(x) * math.sin(y) + b * math.cos(y) * math.sin(x)

    return float(2 * brentq(balance, 0.5, 1.0, xtol=1e-15) / depth - 1)
