r"""Monte Carlo steps of a gas of singular values, exact in law.

Two kinds of steps leave the density invariant and keep the order of the particles.  A sweep moves
one particle after the other by Metropolis' rule.  A collective step is a Hamiltonian trajectory
along the softest modes around the configuration of least energy; one such step relaxes what takes
many sweeps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dlngeom.thermodynamics.equilibrium._gas import Gas, gradient, hessian, log_density, minimiser

__all__ = ["GasRun", "effective_size", "walk"]

# Modes of a collective step: all of a small gas, an eighth of a large one.
_ALL_MODES = 16
_SHARE_OF_MODES = 8
_LEAPFROGS = 6
_SWEEPS = 2
# Acceptance that the warm-up aims at, of collective steps and of single particles.
_TARGETS = np.array([0.8, 0.45])


class GasRun(NamedTuple):
    """Configurations and shares of accepted steps.

    Attributes
    ----------
    x : array (chain, draw, r)
        Ascending.
    acceptance : array (2,)
        Of collective steps and of single particles, after the warm-up.
    """

    x: np.ndarray
    acceptance: np.ndarray


def walk(
    gas: Gas,
    start: np.ndarray,
    *,
    n_chains: int,
    n_draws: int,
    n_warm: int,
    thin: int,
    rng: np.random.Generator,
) -> GasRun:
    """Sample a gas of particles by chains that begin at its configuration of least energy."""
    mode = minimiser(gas, start)
    widths, modes = _scales(hessian(gas, mode))
    x = np.tile(mode, (n_chains, 1))
    sizes, draws, accepted = np.array([0.3, 1.5]), [], np.zeros(2)
    for k in range(-n_warm, n_draws * thin):
        x, collective = _collective_step(gas, x, modes, sizes[0] * rng.uniform(0.8, 1.2), rng)
        single = 0.0
        for _ in range(_SWEEPS):
            x, share = _sweep(gas, x, sizes[1] * widths, rng)
            single += share / _SWEEPS
        shares = np.array([collective, single])
        if k < 0:
            sizes = sizes * np.exp((shares - _TARGETS) / math.sqrt(1 + (k + n_warm) / 5))
            continue
        accepted += shares
        if (k + 1) % thin == 0:
            draws.append(x)
    return GasRun(np.stack(draws, axis=1), accepted / (n_draws * thin))


def _scales(curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Widths of single particles, and modes ``(r, K)`` with unit curvature.

    The modes are the softest ones relative to the stiffness of single particles; they move
    neighbours together wherever particles are dense.
    """
    widths = 1 / np.sqrt(np.diag(curvature))
    values, vectors = np.linalg.eigh(curvature * np.outer(widths, widths))
    count = max(_ALL_MODES, len(values) // _SHARE_OF_MODES)
    return widths, widths[:, None] * vectors[:, :count] / np.sqrt(np.abs(values[:count]))


def _collective_step(
    gas: Gas, x: np.ndarray, modes: np.ndarray, step: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Hamiltonian step along the modes; the other directions stay fixed."""
    momentum = rng.standard_normal((len(x), modes.shape[1]))
    before = log_density(gas, x) - np.sum(momentum**2, axis=-1) / 2
    force, y = gradient(gas, x) @ modes, x
    for _ in range(_LEAPFROGS):
        momentum = momentum + step / 2 * force
        y = y + step * momentum @ modes.T
        # Trajectories that fly apart are rejected in the end; until then they must stay finite.
        lost = ~_in_order(y) | (np.max(y - x, axis=-1) > 50)
        y = np.where(lost[:, None], x, y)
        momentum = np.where(lost[:, None], np.nan, momentum)
        force = gradient(gas, y) @ modes
        momentum = momentum + step / 2 * force
    after = log_density(gas, y) - np.sum(momentum**2, axis=-1) / 2
    # A lost chain has the momentum NaN, and every comparison with NaN is false.
    accept = np.log(rng.uniform(size=len(x))) < after - before
    return np.where(accept[:, None], y, x), float(np.mean(accept))


def _in_order(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.all(np.diff(x, axis=-1) > 0, axis=-1))


def _sweep(
    gas: Gas, x: np.ndarray, widths: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Move one particle after the other, each between its neighbours."""
    chains, r = x.shape
    steps = rng.standard_normal((r, chains)) * widths[:, None]
    limits = np.log(rng.uniform(size=(r, chains)))
    wall = np.full((chains, 1), np.inf)
    x, accepted = np.concatenate([-wall, x, wall], axis=1), 0
    inside = x[:, 1:-1]
    linear = gas.b + (0.0 if math.isinf(gas.depth) else gas.a / gas.depth)
    for i in range(r):
        old, new = inside[:, i].copy(), inside[:, i] + steps[i]
        allowed = (new > x[:, i]) & (new < x[:, i + 2])
        new = np.where(allowed, new, old)
        values = gas.potential.value(np.exp(np.stack([old, new])))
        change = (gas.tilt + linear * (2 * i - r + 1)) * (new - old)
        change += gas.strength * (values[0] - values[1]) + _pair_change(gas, inside, i, new)
        accept = allowed & (limits[i] < change)
        inside[:, i] = np.where(accept, new, old)
        accepted += int(np.count_nonzero(accept))
    return inside.copy(), accepted / (r * chains)


def _pair_change(gas: Gas, x: np.ndarray, i: int, new: np.ndarray) -> np.ndarray:
    """Change of the pair energies less their linear part, which the fixed order makes explicit."""
    before, after = np.abs(x - x[:, i : i + 1]), np.abs(x - new[:, None])
    before[:, i] = after[:, i] = 1.0
    total = gas.b * _log_ratio(np.expm1(-2 * after), np.expm1(-2 * before))
    if gas.a and math.isinf(gas.depth):
        total += gas.a * _log_ratio(after, before)
    elif gas.a:
        rate = -2 / gas.depth
        total += gas.a * _log_ratio(np.expm1(rate * after), np.expm1(rate * before))
    return total


def _log_ratio(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.prod(after / before, axis=-1)))


def effective_size(values: np.ndarray) -> float:
    """Effective sample size of ``(chain, draw)`` numbers: Geyer's initial positive sequence."""
    chains, draws = values.shape
    centred = values - np.mean(values)
    spectrum = np.abs(np.fft.rfft(centred, 2 * draws, axis=-1)) ** 2
    covariance = np.mean(np.fft.irfft(spectrum, axis=-1), axis=0)[:draws] / draws
    if covariance[0] == 0:
        return math.nan
    pairs = (covariance[: draws // 2 * 2] / covariance[0]).reshape(-1, 2).sum(axis=-1)
    negative = np.flatnonzero(pairs <= 0)
    time = max(2 * np.sum(pairs[: negative[0] if len(negative) else None]) - 1, 1 / draws)
    return float(min(chains * draws / time, chains * draws))
