r"""Posterior of a low-rank matrix given noisy entries, by the Riemannian Langevin equation.

.. math:: y_{ij} = W_{ij} + \mathcal{N}(0, s^2), \qquad
          E(W) = \tfrac12 |P(W - Y)|^2 + \tfrac\tau2 |W|^2, \qquad \beta = \kappa / s^2

Everything is in the units of a ``Problem``: without biases, and scaled so that the
largest singular value is near one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from dlngeom import network
from dlngeom._lib.arrays import Array, NumpyArray
from dlngeom._lib.trajectory import Trajectory
from dlngeom.completion._biases import Biases
from dlngeom.dln import DeepLinearNetwork
from dlngeom.langevin import LangevinError, riemannian_langevin
from dlngeom.points import SVD, Frames

__all__ = [
    "PosteriorModel",
    "PosteriorRun",
    "Problem",
    "Summary",
    "dense_draws",
    "flat",
    "problem_of",
    "simulate",
    "start",
    "step_limit",
    "summary",
    "warm_up",
]

# Parts of the burn-in; after each the noise level is estimated again.
ROUNDS = 4

# Factor by which the last two estimates of the noise level may differ in chains that have settled.
SETTLED = 1.1

# Noise assumed for data that a matrix of the rank fits exactly, relative to their size.
SMALLEST_NOISE = 1e-6

# Numbers in a block of rows of all draws.
_NUMBERS = 2**24


class Problem(NamedTuple):
    """Scaled data: ``values = biases + scale * data`` on the observed entries.

    Attributes
    ----------
    values : array (m, n)
        As given, NaN where an entry is missing.
    biases : Biases
    scale : float
    data : array (m, n)
        Zero where an entry is missing.
    """

    values: NumpyArray
    biases: Biases
    scale: float
    data: NumpyArray


class PosteriorModel(NamedTuple):
    """Observed entries, and the networks that explain them.

    Attributes
    ----------
    space : DeepLinearNetwork
    data : array (m, n)
        Zero where nothing is observed.
    mask : float array (m, n)
        One where an entry is observed, else zero.
    noise : float
        Standard deviation of the noise of an entry.
    kappa : float
    """

    space: DeepLinearNetwork
    data: NumpyArray
    mask: NumpyArray
    noise: float
    kappa: float

    @property
    def beta(self) -> float:
        """Inverse temperature at which the likelihood is that of the noise."""
        return self.kappa / self.noise**2

    @property
    def ridge(self) -> float:
        """Weight of the prior ``N(0, variance of the data)`` of an entry."""
        # Without it the posterior of a row with fewer observed entries than the rank is improper.
        variance = float(np.sum(self.data**2) / np.sum(self.mask))
        return float(self.noise**2 / variance * self.space.rank / max(self.data.shape))


class PosteriorRun(NamedTuple):
    """Number and size of the steps of a simulation, and what to save.

    Attributes
    ----------
    steps : int
    step : float
        Time of one step.
    draws : int
        Number of states of a chain to save, approximately.
    seed : int
    options : dict
        Other options of :func:`dlngeom.langevin.riemannian_langevin`.
    """

    steps: int
    step: float
    draws: int
    seed: int
    options: dict[str, Any]


class Summary(NamedTuple):
    """Posterior of the entries.

    Attributes
    ----------
    mean, deviation, low, high : array (m, n)
        ``low`` and ``high`` are the quantiles of 5 and 95 percent.
    levels : array (m, n)
        Posterior predictive probability of values up to the true one, noise included.
    """

    mean: NumpyArray
    deviation: NumpyArray
    low: NumpyArray
    high: NumpyArray
    levels: NumpyArray


def problem_of(values: NumpyArray, biases: Biases) -> Problem:
    """Remove biases and scale; biases left in the data add up to two to its rank."""
    data = np.where(np.isnan(values), 0.0, values - biases.matrix())
    scale = float(np.linalg.norm(data, 2)) or 1.0
    return Problem(values, biases, scale, data / scale)


def step_limit(point: Frames) -> float:
    """Step ``1 / (N s^(2 - 2/N))`` up to which explicit steps of the gradient flow are stable."""
    # Largest eigenvalue of the cometric, times the largest curvature of the energy, which is one.
    depth = len(point.q) - 1
    return float(1 / (depth * np.max(point.lam) ** (2 * depth - 2)))


def start(model: PosteriorModel, point: SVD, chains: int, rng: np.random.Generator) -> Frames:
    """Independent networks over a matrix, with its singular values raised to those of the noise."""
    # A chain is slow to leave the neighbourhood of zero.
    floor = model.noise * math.sqrt(max(model.data.shape)) / 2
    s = np.maximum(point.s, floor)
    batch = SVD(*(np.repeat(x[None], chains, axis=0) for x in (point.u, s, point.vt)))
    return model.space.orbit_point(batch, rng)


def simulate(model: PosteriorModel, point: Frames, run: PosteriorRun) -> Trajectory:
    """Follow the Riemannian Langevin equation.

    Raises
    ------
    ValueError
        If a chain diverges, or the checkpoint cannot be used.
    """
    gradient = partial(_gradient, model.mask + model.ridge, model.mask * model.data)
    observe: dict[str, Callable[[Any], Any]] = {
        "singular_values": network.singular_values,
        "energy": partial(_energy, model.mask, model.data),
    }
    try:
        return riemannian_langevin(
            model.space, point, energy_gradient=gradient, beta=model.beta, kappa=model.kappa,
            duration=run.steps * run.step, n_steps=run.steps, rng=run.seed, observe=observe,
            save_every=max(1, run.steps // run.draws), progress=True, **run.options,
        )  # fmt: skip
    except LangevinError as error:
        reason = str(error).split(";")[0]
        raise ValueError(f"{reason}: choose a smaller --step-size") from None
    except ImportError as error:
        raise ValueError(str(error)) from None


def _gradient(weight: NumpyArray, target: NumpyArray, W: NumpyArray) -> NumpyArray:
    gradient: NumpyArray = weight * W
    gradient -= target
    return gradient


def _energy(mask: NumpyArray, data: NumpyArray, point: Frames) -> NumpyArray:
    residual = network.end_to_end(point)
    residual = (residual - data) * mask
    return np.asarray(np.einsum("cij,cij->c", residual, residual) / 2)


def warm_up(
    model: PosteriorModel, point: Frames, run: PosteriorRun, *, estimate: bool
) -> tuple[PosteriorModel, Frames]:
    """Burn in, and estimate the noise level on the way if asked to."""
    rounds, noises = ROUNDS if estimate else 1, [model.noise]
    seeds = np.random.SeedSequence(run.seed).generate_state(rounds, np.uint64)
    for seed in seeds:
        part = run._replace(steps=max(run.steps // rounds, 2), seed=int(seed), options={})
        found = simulate(model, point, part)
        point = flat(found.points, slice(-1, None))
        if estimate:
            half = found.times.size // 2
            square = 2 * float(np.mean(found.observed["energy"][:, half:]))
            noises.append(_noise(model, flat(found.points, slice(half, None)), square))
            model = model._replace(noise=noises[-1])
    if not 1 / SETTLED < noises[-1] / noises[max(len(noises) - 2, 0)] < SETTLED:
        # Residuals of chains on their way tell less than those of entries held out.
        model = model._replace(noise=max(noises[-1], noises[0]))
    return model, point


def _noise(model: PosteriorModel, draws: Frames, square: float) -> float:
    r"""Noise level that explains the squared residuals of the draws and of their mean.

    .. math:: s^2 = |P(\bar W - Y)|^2 / (n - p), \qquad
              p = (\overline{|P(W - Y)|^2} - |P(\bar W - Y)|^2) / s_0^2
    """
    mean = np.empty_like(model.data)
    for rows, W in dense_draws(draws, model.data.shape):
        mean[rows] = W.mean(axis=0)
    least = float(np.sum((model.mask * (mean - model.data)) ** 2))
    count = float(np.sum(model.mask))
    # s_0 may be far off at first, and p then larger than the number of entries.
    fitted = min(max(square - least, 0.0) / model.noise**2, 0.8 * count)
    size = math.sqrt(float(np.sum(model.data**2)) / count)
    return max(math.sqrt(least / (count - fitted)), SMALLEST_NOISE * size)


def flat(points: Frames, draws: slice = slice(None)) -> Frames:
    """Put some draws of all chains into one batch."""

    def together(x: Array) -> NumpyArray:
        return np.ascontiguousarray(x[:, draws]).reshape(-1, *x.shape[2:])

    return Frames(together(points.lam), tuple(together(q) for q in points.q))


def dense_draws(draws: Frames, shape: tuple[int, ...]) -> Iterator[tuple[slice, NumpyArray]]:
    """Slices of rows, and these rows of the end-to-end matrices of all draws ``(draw, row, n)``."""
    m, n = shape
    left = np.asarray(draws.q[-1] * (draws.lam ** (len(draws.q) - 1))[:, None, :])
    right = np.swapaxes(draws.q[0], -1, -2)
    size = max(1, _NUMBERS // (len(left) * n))
    for first in range(0, m, size):
        rows = slice(first, first + size)
        yield rows, left[:, rows] @ right


def summary(draws: Frames, truth: NumpyArray, noise: float) -> Summary:
    """Moments and quantiles of all entries, block of rows by block of rows.

    Parameters
    ----------
    draws : Frames
        One batch of them.
    truth : array (m, n)
        NaN where it is unknown, and then so are ``levels``.
    noise : float
    """
    found = Summary(*(np.full(truth.shape, np.nan) for _ in Summary._fields))
    for rows, W in dense_draws(draws, truth.shape):
        found.mean[rows], found.deviation[rows] = W.mean(axis=0), W.std(axis=0)
        found.low[rows], found.high[rows] = np.quantile(W, [0.05, 0.95], axis=0)
        i, j = np.nonzero(~np.isnan(truth[rows]))
        # Averages the distribution function of the noise over the draws, instead of drawing noise.
        gaps = (truth[rows][i, j] - W[:, i, j]) / noise
        found.levels[rows][i, j] = ndtr(gaps).mean(axis=0)
    return found
