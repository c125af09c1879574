"""Twelve energies, exact means of their Gibbs laws, and means by steps of the Langevin equation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import LangevinError, riemannian_langevin
from tests.helpers.gibbs_means import Lines, gibbs_lines

__all__ = ["ENERGIES", "LINE", "Energy", "Means", "accepted", "coarsest", "exact", "off", "sampled"]

# Bias that steps may have, relative to the mean.
LINE = 0.02


class Energy(NamedTuple):
    """A quadratic in each entry, and perhaps a function of the trace; the network; the time.

    ``time`` is that of relaxation.
    """

    widths: tuple[int, ...]
    beta: float
    stiffness: np.ndarray
    middle: np.ndarray
    well: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None
    time: float = 1.0
    kappa: float = 1.0

    def value(self, W: Any) -> Any:
        """Energy of matrices."""
        found = np.sum(self.stiffness * (W - self.middle) ** 2, axis=(-2, -1)) / 2
        return found if self.well is None else found + self.well[0](_trace(W))

    def gradient(self, W: Any) -> Any:
        """Gradient of :meth:`value`."""
        found = self.stiffness * (W - self.middle)
        if self.well is None:
            return found
        return found + self.well[1](_trace(W))[..., None, None] * np.eye(len(self.middle))

    @property
    def rest(self) -> Callable[..., np.ndarray] | None:
        """What is not quadratic, on lines of matrices."""
        if self.well is None:
            return None
        return lambda fixed, slope, t: self.well[0](_trace_on(fixed, slope, t))  # type: ignore

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.widths) - 1

    @property
    def adjustable(self) -> bool:
        """Whether a Metropolis step has the same law."""
        return self.kappa == 1 and len(set(self.widths)) == 1


def _trace(W: Any) -> Any:
    return np.trace(W, axis1=-2, axis2=-1)


def _trace_on(fixed: np.ndarray, slope: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.asarray(_trace(fixed)[:, None] + t * _trace(slope)[:, None])


def _square_on(fixed: np.ndarray, slope: np.ndarray, t: np.ndarray) -> np.ndarray:
    # The slope is a unit matrix that is orthogonal to what is fixed.
    return np.asarray(np.sum(fixed**2, axis=(-2, -1))[:, None] + t**2)


def _quadratic(d: int, depth: int, condition: float, beta: float, **options: Any) -> Energy:
    """Quadratic with stiffnesses from one to ``condition`` of the entries, around a diagonal."""
    stiffness = np.geomspace(1.0, condition, d * d).reshape(d, d)
    widths = options.pop("widths", (d,) * (depth + 1))
    return Energy(widths, beta, stiffness, np.diag(np.linspace(1.5, 1.0, d)), **options)


def _completion(d: int, depth: int, beta: float, ridge: float = 0.1) -> Energy:
    """Half of the entries of a matrix near the identity, and a ridge."""
    rng = np.random.default_rng(1)
    target = np.eye(d) + 0.3 * rng.standard_normal((d, d)) / d**0.5
    mask = (rng.random((d, d)) < 0.5) | np.eye(d, dtype=bool)
    stiffness = mask + ridge
    return Energy((d,) * (depth + 1), beta, stiffness, mask * target / stiffness, time=1 / ridge)


def _wells(d: int, depth: int, beta: float) -> Energy:
    """Double well in the trace, tilted, with a quadratic around a diagonal."""

    def value(trace: Any) -> Any:
        x = trace / d
        return d * ((x * x - 1) ** 2 / 4 - x / 4)

    def slope(trace: Any) -> Any:
        x = trace / d
        return x * x * x - x - 0.25

    stiffness = np.full((d, d), 0.5)
    return Energy((d,) * (depth + 1), beta, stiffness, np.eye(d), (value, slope), 2.0)


ENERGIES: dict[str, Energy] = {
    "quadratic 2, N=1": _quadratic(2, 1, 1.0, 8.0),
    "quadratic 2, N=2": _quadratic(2, 2, 1.0, 8.0),
    "quadratic 3, N=3": _quadratic(3, 3, 10.0, 20.0),
    "quadratic 2, N=2, 1e3": _quadratic(2, 2, 1e3, 20.0),
    "quadratic 3, N=1, 1e2": _quadratic(3, 1, 1e2, 20.0),
    "quadratic 2, N=4, 10": _quadratic(2, 4, 10.0, 20.0),
    "quadratic 10, N=2": _quadratic(10, 2, 10.0, 100.0),
    "wide 2, N=2": _quadratic(2, 2, 3.0, 10.0, widths=(2, 4, 2)),
    "kappa 3, N=2": _quadratic(2, 2, 3.0, 20.0, kappa=3.0),
    "completion 3, N=2": _completion(3, 2, 20.0),
    "completion 5, N=3": _completion(5, 3, 50.0),
    "wells 2, N=2": _wells(2, 2, 6.0),
}


class Means(NamedTuple):
    """Means of ``tr W`` and ``|W|^2``, their errors by chance, the step, and whether it warned."""

    means: np.ndarray
    errors: np.ndarray
    step: float = math.nan
    warned: bool = False


@cache
def _lines(name: str) -> Lines:
    """Lines of the law: at even depth the dynamics keep the sign of the determinant."""
    energy, rng = ENERGIES[name], np.random.default_rng(5)
    sign = None if energy.depth % 2 else 1.0
    stiff = math.sqrt(np.max(energy.stiffness) * energy.beta / energy.kappa)
    # A Gauss rule needs a few nodes for each width of the narrowest Gaussian.
    return gibbs_lines(energy, 20_000, rng, int(min(max(32, 2 * stiff), 256)), sign)


def exact(name: str) -> Means:
    """Means of the law by weighted independent draws, in closed form where that is known."""
    energy = ENERGIES[name]
    if energy.depth == 1:
        square = np.sum(energy.middle**2 + 1 / (energy.beta * energy.stiffness))
        return Means(np.array([_trace(energy.middle), square]), np.zeros(2))
    return Means(*_lines(name).mean([_trace_on, _square_on]).T)


def _observed(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda network: function(dlngeom.dense(network))


def _run(name: str, chains: int, times: float, **options: Any) -> Any:
    """Run of some relaxation times from independent draws of the law."""
    energy, rng = ENERGIES[name], np.random.default_rng(7)
    space = DeepLinearNetwork(energy.widths)
    start = space.orbit_point(dlngeom.svd(_lines(name).draw(chains, rng)), rng)
    observe = {"trace": _observed(_trace), "square": _observed(lambda W: np.sum(W**2, (-2, -1)))}
    return riemannian_langevin(
        space, start, energy_gradient=energy.gradient, beta=energy.beta, kappa=energy.kappa,
        duration=times * energy.time, observe=observe, rng=3, **options,
    )  # fmt: skip


def sampled(
    name: str, n_steps: Any = "auto", *, chains: int, times: float, save_every: int = 10
) -> Means:
    """Means along chains that start from the law; the first third is left out.

    Errors are from chain to chain, since these are independent.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = _run(name, chains, times, n_steps=n_steps, save_every=save_every)
    kept = [x[:, len(run.times) // 3 :].mean(axis=1) for x in run.observed.values()]
    errors = np.std(kept, axis=1) / np.sqrt(chains)
    return Means(np.mean(kept, axis=1), errors, run.step_size, bool(caught))


def accepted(name: str) -> float:
    """Share of adjusted steps that are accepted after a warm-up of 300."""
    run = _run(name, 64, 1.0, n_steps=200, warmup=300, adjust=True, energy=ENERGIES[name].value)
    return float(run.observed["acceptance"][:, -1].mean())


def off(found: Means, law: Means) -> np.ndarray:
    """Relative differences of two means."""
    return np.asarray(found.means / law.means - 1)


def coarsest(name: str, law: Means, step: float, *, chains: int, times: float) -> float:
    """Longest step ``duration / 2^k`` with means within the line; not looked for below ``step``."""
    total = times * ENERGIES[name].time
    k = max(0, math.ceil(math.log2(total / (16 * step))))
    while total / 2**k > step:
        try:
            every = max(1, 2**k // 100)
            found = sampled(name, 2**k, chains=chains, times=times, save_every=every)
            if np.all(np.abs(off(found, law)) < LINE):
                return found.step
        except LangevinError:
            pass  # Unstable: shorter steps.
        k += 1
    return step
