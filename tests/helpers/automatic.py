"""Twelve energies, and means of their Gibbs laws by automatic, given and adjusted steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin

__all__ = ["ENERGIES", "Energy", "Means", "automatic", "coarsest", "reference", "sampled"]

CHAINS = 64


class Energy(NamedTuple):
    """An energy downstairs, the network on which it is sampled, and the time that it takes."""

    widths: tuple[int, ...]
    beta: float
    value: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    center: np.ndarray
    time: float = 1.0
    kappa: float = 1.0

    @property
    def adjustable(self) -> bool:
        """Whether a Metropolis step has the same law."""
        square = len(set(self.widths[1:-1])) <= 1
        inner = self.widths[1] if len(self.widths) > 2 else min(self.widths)
        return self.kappa == 1 and square and inner <= min(self.widths[0], self.widths[-1])


def _quadratic(d: int, depth: int, condition: float, beta: float, **options: Any) -> Energy:
    """Quadratic with stiffnesses from one to ``condition`` of the entries, around a diagonal."""
    stiffness = np.geomspace(1.0, condition, d * d).reshape(d, d)
    center = np.diag(np.linspace(1.5, 1.0, d))

    def value(W: Any) -> Any:
        return np.sum(stiffness * (W - center) ** 2, axis=(-2, -1)) / 2

    widths = options.pop("widths", (d,) * (depth + 1))
    return Energy(widths, beta, value, lambda W: stiffness * (W - center), center, **options)


def _completion(d: int, depth: int, beta: float, ridge: float = 0.1, **options: Any) -> Energy:
    """Half of the entries of a matrix near the identity, and a ridge."""
    rng = np.random.default_rng(1)
    center = np.eye(d) + 0.3 * rng.standard_normal((d, d)) / d**0.5
    mask = (rng.random((d, d)) < 0.5) | np.eye(d, dtype=bool)

    def value(W: Any) -> Any:
        return np.sum(mask * (W - center) ** 2 + ridge * W**2, axis=(-2, -1)) / 2

    def gradient(W: Any) -> Any:
        return mask * (W - center) + ridge * W

    return Energy((d,) * (depth + 1), beta, value, gradient, center, 1 / ridge, **options)


def _wells(d: int, depth: int, beta: float) -> Energy:
    """Double well in the trace, tilted, with a quadratic around a diagonal."""
    center = np.eye(d)

    def value(W: Any) -> Any:
        x = np.trace(W, axis1=-2, axis2=-1) / d
        return d * ((x * x - 1) ** 2 / 4 - x / 4) + np.sum((W - center) ** 2, axis=(-2, -1)) / 4

    def gradient(W: Any) -> Any:
        x = (np.trace(W, axis1=-2, axis2=-1) / d)[..., None, None]
        return (x * x * x - x - 0.25) * np.eye(d) + (W - center) / 2

    return Energy((d,) * (depth + 1), beta, value, gradient, center, 2.0)


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
    """Means of ``tr W`` and ``|W|^2``, their errors by chance, the step and the acceptance."""

    means: tuple[float, ...]
    errors: tuple[float, ...]
    step: float
    accepted: float = np.nan


def _trace(network: Any) -> np.ndarray:
    return np.trace(dlngeom.dense(network), axis1=-2, axis2=-1)


def _squared(network: Any) -> np.ndarray:
    return np.sum(dlngeom.dense(network) ** 2, axis=(-2, -1))


def _start(energy: Energy) -> Any:
    """Networks near the center, with its sign of the determinant."""
    space, rng = DeepLinearNetwork(energy.widths), np.random.default_rng(7)
    W = np.broadcast_to(energy.center, (CHAINS, *energy.center.shape))
    W = W + 0.05 * rng.standard_normal(W.shape)
    return space.orbit_point(dlngeom.svd(W), rng)


def sampled(
    name: str, duration: float, n_steps: Any = "auto", warm: float = 10.0, **options: Any
) -> Any:
    """Run of ``duration`` relaxation times, with about twenty draws in each."""
    energy = ENERGIES[name]
    total = duration * energy.time
    every = options.pop("every", 1)
    return riemannian_langevin(
        DeepLinearNetwork(energy.widths), _start(energy), energy_gradient=energy.gradient,
        beta=energy.beta, kappa=energy.kappa, duration=total, n_steps=n_steps, save_every=every,
        warmup=round(warm), observe={"trace": _trace, "squared": _squared}, rng=3, **options,
    )  # fmt: skip


def _means(run: Any, burn_in: int = 0) -> Means:
    mcse = run.diagnostics(burn_in, names=["trace", "squared"])["mcse"]
    accepted = run.observed.get("acceptance")
    return Means(
        tuple(float(run.observed[x][:, burn_in:].mean()) for x in ("trace", "squared")),
        tuple(float(mcse[x]) for x in ("trace", "squared")),
        run.step_size,
        np.nan if accepted is None else float(accepted[:, -1].mean()),
    )


def automatic(name: str, duration: float) -> Means:
    """Means with automatic steps; the first tenth is left out."""
    # The step alone, from a run that is never long.
    run = sampled(name, duration, every=10, warm=0)
    return _means(run, len(run.times) // 10)


def reference(name: str, duration: float) -> Means:
    """Means by adjusted steps, or by a quarter of the automatic step."""
    energy = ENERGIES[name]
    if energy.adjustable:
        step = sampled(name, 1.0, 2, 300, adjust=True, energy=energy.value).step_size
        steps = round(2 * duration * energy.time / step)
        run = sampled(name, 2 * duration, steps, 300, adjust=True, energy=energy.value)
        return _means(run, len(run.times) // 20)
    step = sampled(name, 1.0, warm=0).step_size
    steps = round(4 * duration * energy.time / step)
    run = sampled(name, duration, steps, every=40, warm=0)
    return _means(run, len(run.times) // 10)


def coarsest(name: str, duration: float, exact: Means) -> float:
    """Longest step ``duration / 2^k`` whose means are within 2% of the reference."""
    total = duration * ENERGIES[name].time
    count = 2 ** int(np.ceil(np.log2(total)))
    for _ in range(14):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                every = max(1, round(count / total / 10))
                run = sampled(name, duration, count, every=every, warm=0)
            found = _means(run, len(run.times) // 10)
            pairs = zip(found.means, exact.means, strict=True)
            if all(abs(x / y - 1) < 0.02 for x, y in pairs):
                return total / count
        except RuntimeError:
            pass  # Diverged: shorter steps.
        count *= 2
    return np.nan
