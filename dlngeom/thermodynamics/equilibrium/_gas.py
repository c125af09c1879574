r"""Singular values as a gas of particles on a line, and the configuration of least energy.

The coordinate is ``x = log sigma``, in which all pair forces depend on distances alone:
``|lam_k^2 - lam_l^2|`` is ``exp((x_k + x_l)/N)`` times ``2 sinh(|x_k - x_l|/N)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

__all__ = [
    "Gas",
    "Potential",
    "checked_potential",
    "gradient",
    "hessian",
    "log_density",
    "minimiser",
    "quadratic",
]

_NEWTON_STEPS = 200
# Newton stops where the expected decrease of the energy is this small, relative to the mass.
_DECREASE = 1e-18
# Number of pairs that are formed at a time.
_PAIRS = 500_000


class Potential(NamedTuple):
    r"""Potential of one singular value and its derivative.

    .. math:: E(W) = \sum_k V(\sigma_k)

    Attributes
    ----------
    value, slope : callable
        ``V(sigma)`` and ``V'(sigma)``, elementwise.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.sample : Sampler for a potential.
    dlngeom.thermodynamics.equilibrium.limit_law : Law for large widths in a potential.
    """

    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]


def _half_square(s: Any) -> Any:
    return s * s / 2


def _itself(s: Any) -> Any:
    return s


# Named functions, which can be pickled and sent to other processes.
quadratic = Potential(_half_square, _itself)


def checked_potential(potential: Any) -> Potential:
    """Require a potential with two functions."""
    if not isinstance(potential, Potential) or not all(map(callable, potential)):
        raise TypeError(
            f"potential={potential!r}: it must be a Potential of two functions, V and V'"
        )
    return potential


class Gas(NamedTuple):
    r"""Particles of given masses in a potential that repel each other.

    .. math:: J(x) = \sum_k m_k [U V(e^{x_k}) - A x_k]
              - \tfrac12 \sum_{k \ne l} m_k m_l\, q(|x_k - x_l|)
              - \tfrac12 \sum_k m_k^2 \log \Delta_k

    with ``q(t) = a log(2 sinh(t/N)) + b log(2 sinh t)``, and ``a log t`` in place of its first term
    for infinite depth.  The last sum is the self-energy of charges that are spread over cells of
    width ``Delta``; it is absent for particles.

    Attributes
    ----------
    depth, a, b : float
        ``N`` and the exponents of ``|lam_k^2 - lam_l^2|`` and of ``|sigma_k^2 - sigma_l^2|``.
    strength, tilt : float
        ``U`` and ``A``.
    mass : array (r,)
    spread : bool
        Whether the charges are spread.
    potential : Potential
    """

    depth: float
    a: float
    b: float
    strength: float
    tilt: float
    mass: np.ndarray
    spread: bool
    potential: Potential


def log_density(gas: Gas, x: np.ndarray) -> np.ndarray:
    """Return ``-J`` at configurations ``(..., r)``; particles may be in any order."""
    outer = np.sum(gas.mass * (gas.strength * gas.potential.value(np.exp(x)) - gas.tilt * x), -1)
    flat = x.reshape(-1, x.shape[-1])
    pairs = [gas.mass @ _pair(gas, _distances(part)) @ gas.mass for part in _parts(flat)]
    value = np.concatenate([np.atleast_1d(p) for p in pairs]).reshape(x.shape[:-1]) / 2 - outer
    if gas.spread:
        value = value + np.sum(gas.mass**2 * np.log(_widths(x)), axis=-1) / 2
    return np.asarray(value)


def gradient(gas: Gas, x: np.ndarray) -> np.ndarray:
    """Gradient of :func:`log_density`, ``(..., r)``."""
    s = np.exp(x)
    outer = gas.strength * s * gas.potential.slope(s) - gas.tilt
    flat, value = x.reshape(-1, x.shape[-1]), []
    for part in _parts(flat):
        signs = np.sign(part[..., :, None] - part[..., None, :])
        value.append((signs * _pair_slope(gas, _distances(part))) @ gas.mass)
    total = gas.mass * (np.concatenate(value).reshape(x.shape) - outer)
    if gas.spread:
        total = total + (gas.mass**2 / _widths(x)) @ _widths(np.eye(x.shape[-1])).T / 2
    return np.asarray(total)


def hessian(gas: Gas, x: np.ndarray) -> np.ndarray:
    """Hessian of ``J`` at one configuration, ``(r, r)``; that of ``V`` by differences."""
    step = 1e-5
    slopes = [np.exp(x + h) * gas.potential.slope(np.exp(x + h)) for h in (step, -step)]
    curvature = _pair_curvature(gas, _distances(x)) * np.outer(gas.mass, gas.mass)
    np.fill_diagonal(curvature, 0.0)
    outer = gas.mass * gas.strength * (slopes[0] - slopes[1]) / (2 * step)
    value = curvature + np.diag(outer - np.sum(curvature, axis=-1))
    if gas.spread:
        weights, change = gas.mass / _widths(x), _widths(np.eye(len(x)))
        value = value + (change * weights**2) @ change.T / 2
    return np.asarray(value)


def minimiser(gas: Gas, x: np.ndarray) -> np.ndarray:
    """Ascending configuration of least energy ``J``, by Newton's method from ``x``.

    Raises
    ------
    ValueError
        If it does not converge: the potential does not confine, or is far from convex.
    """
    value, limit = float(log_density(gas, x)), _DECREASE * float(np.sum(gas.mass))
    for _ in range(_NEWTON_STEPS):
        slope = gradient(gas, x)
        step = _solve(hessian(gas, x), slope)
        decrease = float(slope @ step)
        # A step takes at most half of any gap, and moves no particle far to the right.
        far = step / np.maximum(2.0, -x / 2)
        most = float(np.max(np.r_[-2 * np.diff(step) / np.diff(x), far, 1.0]))
        size, found, trial, new = 1 / most, False, x, value
        while not found and size > 1e-10:
            trial = x + size * step
            new = float(log_density(gas, trial))
            found = new >= value + 1e-4 * size * decrease - 1e-13 * abs(value)
            size = size if found else size / 2
        if not found or not math.isfinite(new):
            break
        x, value = trial, new
        if decrease <= limit or (most == 1 and decrease <= 1e-13 * abs(value)):
            return x
    raise ValueError(f"no minimum after {_NEWTON_STEPS} Newton steps: the potential must confine")


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric system after a shift that makes the matrix positive definite."""
    diagonal, shift = np.diag(np.abs(np.diag(matrix))), 0.0
    while True:
        try:
            return np.asarray(cho_solve(cho_factor(matrix + shift * diagonal), right))
        except LinAlgError:
            shift = max(1e-3, 4 * shift)


def _parts(flat: np.ndarray) -> list[np.ndarray]:
    count = max(1, _PAIRS // flat.shape[-1] ** 2)
    return [flat[i : i + count] for i in range(0, len(flat), count)]


def _distances(x: np.ndarray) -> np.ndarray:
    """Distances of all pairs, infinite on the diagonal, where there is no force."""
    t = np.abs(x[..., :, None] - x[..., None, :])
    index = np.arange(x.shape[-1])
    t[..., index, index] = np.inf
    return np.asarray(t)


def _pair(gas: Gas, t: np.ndarray) -> np.ndarray:
    alone = np.isinf(t)
    t = np.where(alone, 1.0, t)
    with np.errstate(divide="ignore"):
        value = gas.b * (t + np.log(-np.expm1(-2 * t)))
        if gas.a and gas.depth == math.inf:
            value += gas.a * np.log(t)
        elif gas.a:
            value += gas.a * (t / gas.depth + np.log(-np.expm1(-2 * t / gas.depth)))
    return np.asarray(np.where(alone, 0.0, value))


def _coth(t: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(-2 / np.expm1(-2 * t) - 1)


def _pair_slope(gas: Gas, t: np.ndarray) -> np.ndarray:
    value = gas.b * _coth(t)
    if gas.a and gas.depth == math.inf:
        value += gas.a / t
    elif gas.a:
        value += gas.a / gas.depth * _coth(t / gas.depth)
    return np.asarray(value)


def _pair_curvature(gas: Gas, t: np.ndarray) -> np.ndarray:
    value = -gas.b * _inverse_sinh_squared(t)
    if gas.a and gas.depth == math.inf:
        value -= gas.a / t**2
    elif gas.a:
        value -= gas.a / gas.depth**2 * _inverse_sinh_squared(t / gas.depth)
    return np.asarray(value)


def _inverse_sinh_squared(t: np.ndarray) -> np.ndarray:
    return np.asarray(4 * np.exp(-2 * t) / np.expm1(-2 * t) ** 2)


def _widths(x: np.ndarray) -> np.ndarray:
    """Widths of the cells around ascending positions: half the way between the neighbours."""
    gaps = np.diff(x, axis=-1)
    return np.concatenate([gaps[..., :1], (gaps[..., 1:] + gaps[..., :-1]) / 2, gaps[..., -1:]], -1)
