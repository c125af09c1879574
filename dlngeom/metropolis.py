r"""Metropolis-adjusted steps on the balanced manifold, exact at every step size.

A step along a tangent vector is brought back along the normal space where it began, and counts
only if the way back from its end finds the beginning again: the algorithm of Zappa,
Holmes-Cerfon and Goodman, *Monte Carlo on manifolds* (2018), on the balance equations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_ndtr

from dlngeom import network
from dlngeom._array import Array, namespace, symmetric
from dlngeom.balanced import tangent_part
from dlngeom.chains import nearby_frames
from dlngeom.layers import assemble, balance, correct, multipliers, resolve
from dlngeom.tuples import Frames
from dlngeom.walks import Draw

__all__ = ["AdjustedState", "AdjustedWalk"]

Layers = tuple[Array, ...]

# Steps of the projection, whose error falls by a factor at each; longer ones are rejected.
_ITERATIONS = 60
_TOLERANCE = 1e-12

# A way back that ends farther from the beginning, relative to its size, found another point.
_REVERSIBLE = 1e-7


class AdjustedState(NamedTuple):
    """Layers, the energy there, and how many steps were tried and accepted.

    Attributes
    ----------
    layers : tuple of N arrays (chain, d_p, d_{p-1})
    energy, tried, accepted : array (chain,)
    """

    layers: Layers
    energy: Array
    tried: Array
    accepted: Array


@dataclass(frozen=True)
class AdjustedWalk:
    """Metropolis-adjusted Langevin steps of a balanced network whose inner widths are its rank.

    Parameters
    ----------
    rank : int
    energy, energy_gradient : callable or None
        Of the dense end-to-end matrix ``(chain, m, n)``.
    """

    rank: int
    energy: Callable[[Any], Any] | None
    energy_gradient: Callable[[Any], Any] | None

    def start(self, point: Frames) -> AdjustedState:
        """Layers of a network."""
        layers = tuple((hi * point.lam[..., None, :]) @ lo.mT for lo, hi in pairwise(point.q))
        zero = point.lam[..., 0] * 0
        return AdjustedState(layers, self._energy(layers), zero, zero)

    def point(self, state: AdjustedState) -> Frames:
        """Frames of the layers."""
        return nearby_frames(state.layers, self.rank)

    def below(self, state: AdjustedState) -> Array:
        """End-to-end matrix."""
        return network.product(state.layers)

    def covector(self, state: AdjustedState, value: Any) -> Any:
        """Return what was given."""
        return value

    def extras(self, state: AdjustedState) -> dict[str, Array]:
        """Share of the steps that were accepted."""
        return {"acceptance": state.accepted / namespace(state.tried).maximum(state.tried, 1.0)}

    def noise(self, state: AdjustedState, draw: Draw) -> tuple[Layers, Array]:
        """Gaussian layers, and a Gaussian number that decides."""
        layers = tuple(draw(tuple(x.shape)) for x in state.layers)
        return layers, draw(tuple(state.energy.shape))

    def reach(self, state: AdjustedState) -> None:
        """No limit: a step that is too long is rejected."""
        return

    def step(
        self,
        state: AdjustedState,
        noise: tuple[Layers, Array],
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> AdjustedState:
        """Propose, come back, and accept or reject."""
        xi, decision = noise
        here = _Place(state.layers, self.rank, self._slope(state.layers, time))
        V = _combine(vertical, here.tangent(xi), -1.0, here.drift)
        proposed, found = here.moved(V)
        there = _Place(proposed, self.rank, self._slope(proposed, time))
        back = there.tangent(_combine(1.0, state.layers, -1.0, proposed))
        returned, again = there.moved(back)
        same = _distance(returned, state.layers) <= _REVERSIBLE * _length(state.layers)
        energy = self._energy(proposed)
        ratio = _log_ratio(here.drift, V, there.drift, back, vertical)
        ratio = ratio - 2 * time / vertical**2 * (energy - state.energy)
        accept = found & again & same & (log_ndtr(decision) < ratio)
        return _chosen(accept, state, proposed, energy)

    def _energy(self, layers: Layers) -> Array:
        if self.energy is None:
            return layers[0][..., 0, 0] * 0
        value = self.energy(network.product(layers))
        if tuple(getattr(value, "shape", ())) != (layers[0].shape[0],):
            raise ValueError(
                f"energy returned {getattr(value, 'shape', type(value).__name__)}: it must be one "
                f"number for each chain, ({layers[0].shape[0]},)"
            )
        return value

    def _slope(self, layers: Layers, time: float) -> Layers:
        """Gradient of the layers times the time, which is tangent."""
        if self.energy_gradient is None:
            return tuple(0 * x for x in layers)
        covector = self.energy_gradient(network.product(layers))
        return tuple(time * x for x in network.lift(layers, covector))


class _Place:
    """A balanced network with the factorised balance equations there."""

    def __init__(self, layers: Layers, rank: int, drift: Layers) -> None:
        self.layers, self.drift = layers, drift
        self.frames = nearby_frames(layers, rank)
        self.balance = balance(self.frames.lam, len(layers))
        row, column = self.frames.lam[..., :, None], self.frames.lam[..., None, :]
        self.largest = namespace(row).maximum(row, column)

    def tangent(self, X: Layers) -> Layers:
        """Tangent projection of an ambient vector."""
        return assemble(self.frames, tangent_part(self.frames, resolve(self.frames, X)))

    def moved(self, V: Layers) -> tuple[Layers, Array]:
        """Balanced layers at ``x + V + normal``, and where they were found.

        The normal equations are those of the beginning throughout.
        """
        layers = _combine(1.0, self.layers, 1.0, V)
        limit = _TOLERANCE * _length(layers) ** 2
        for _ in range(_ITERATIONS):
            gaps = _gaps(layers)
            error = _size(gaps)
            if not np.any((error > limit) & np.isfinite(error)):
                break
            layers = _combine(1.0, layers, 1.0, self._normal(gaps))
        return layers, _size(_gaps(layers)) <= limit

    def _normal(self, gaps: Sequence[Array]) -> Layers:
        """Find the normal vector that removes gaps of the balance equations to first order."""
        xp, q = namespace(self.frames.lam), self.frames.q
        if not gaps:
            return tuple(0 * x for x in self.layers)
        cores = [frame.mT @ gap @ frame for frame, gap in zip(q[1:-1], gaps, strict=True)]
        defect = symmetric(xp.stack(cores, axis=-3)) / (2 * self.largest[..., None, :, :])
        core = correct(self.balance, multipliers(self.balance, defect))
        return tuple(hi @ core[..., p, :, :] @ lo.mT for p, (lo, hi) in enumerate(pairwise(q)))


def _gaps(layers: Layers) -> list[Array]:
    return [x @ x.mT - y.mT @ y for x, y in pairwise(layers)]


def _size(matrices: Sequence[Array]) -> Any:
    """Frobenius norm ``(chain,)`` of several matrices together."""
    return np.sqrt(sum(((x * x).sum(axis=(-2, -1)) for x in matrices), np.zeros(())))


def _length(layers: Layers) -> Any:
    return _size(layers)


def _distance(x: Layers, y: Layers) -> Any:
    return _size(_combine(1.0, x, -1.0, y))


def _combine(a: Any, x: Layers, b: Any, y: Layers) -> Layers:
    return tuple(a * p + b * q for p, q in zip(x, y, strict=True))


def _log_ratio(drift: Layers, V: Layers, back_drift: Layers, back: Layers, deviation: Any) -> Any:
    """Logarithm of the densities of the way back and the way there, both Gaussian."""
    there = _size(_combine(1.0, V, 1.0, drift)) ** 2
    return (there - _size(_combine(1.0, back, 1.0, back_drift)) ** 2) / (2 * deviation**2)


def _chosen(accept: Any, state: AdjustedState, proposed: Layers, energy: Array) -> AdjustedState:
    wide = accept[:, None, None]
    pairs = zip(proposed, state.layers, strict=True)
    layers = tuple(np.where(wide, new, old) for new, old in pairs)
    return AdjustedState(
        layers,
        np.where(accept, energy, state.energy),
        state.tried + 1.0,
        state.accepted + accept,
    )
