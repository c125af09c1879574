r"""Metropolis-adjusted steps on the balanced manifold, exact at every step size.

A step along a tangent vector is projected back on the manifold along the normal space at its
start, and counts only if the reverse step leads back there: the algorithm of Zappa,
Holmes-Cerfon and Goodman, *Monte Carlo on manifolds* (2018), for the balance equations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_ndtr

from dlngeom import network
from dlngeom._lib.arrays import Array, NumpyArray, eps, namespace
from dlngeom._lib.door import real_numbers
from dlngeom._lib.trajectory import Observe
from dlngeom._lib.vectors import combine, copied
from dlngeom.balanced._geometry import tangent_part
from dlngeom.balanced._in_frames import assemble, resolve
from dlngeom.network import _layers
from dlngeom.network._leaves import balance_normals
from dlngeom.points import Frames, _covectors, factors
from dlngeom.points._covectors import Covector, checked_covector
from dlngeom.points._nearest import nearby_frames
from dlngeom.points._tuples import Layers
from dlngeom.submersion._offers import Draw

__all__ = ["AdjustedState", "AdjustedWalk"]


# Newton steps of the projection.  It has converged once the balance equations hold up to so many
# rounding errors, and has failed once their defect is so large relative to the layers.
_ITERATIONS = 12
_ROUNDINGS = 5e3
_LOST = 1e3

# A reverse step has missed the start if it ends farther away, in roots of the rounding error.
_REVERSIBLE = 10.0


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
    energy: Callable[[Array], Array] | None
    energy_gradient: Callable[[Array], Covector] | None

    def start(self, point: Frames) -> AdjustedState:
        """Return the initial state at the frames of a network.

        Raises
        ------
        ValueError
            If the arrays are not numpy's, or the energy is not finite.
        """
        if not isinstance(point.lam, np.ndarray):
            raise ValueError(
                f"adjust=True: it needs numpy arrays, not {type(point.lam)}: convert the point, "
                "and the argument of the energy within it"
            )
        layers = factors(point)
        zero = point.lam[..., 0] * 0
        energy = self._energy(layers)
        bad = np.flatnonzero(~np.isfinite(energy))
        if len(bad):
            raise ValueError(f"energy is {energy[bad[0]]} at the start of chain {bad[0]}")
        return AdjustedState(layers, energy, zero, zero)

    def point(self, state: AdjustedState) -> Frames:
        """Frames of the layers."""
        return nearby_frames(state.layers, self.rank)

    def below(self, state: AdjustedState) -> Array:
        """End-to-end matrix."""
        return _layers.product(state.layers)

    def observables(self) -> Observe:
        """End-to-end matrix."""
        return {"end_to_end": network.end_to_end}

    def covector(self, state: AdjustedState, value: Any) -> Any:
        """Check a covector, and make it dense."""
        m, n = state.layers[-1].shape[-2], state.layers[0].shape[-1]
        return _covectors.to_dense(checked_covector(value, m, n, state.layers[0]))

    def extras(self, state: AdjustedState) -> dict[str, Array]:
        """Share of the steps that were accepted."""
        return {"acceptance": state.accepted / namespace(state.tried).maximum(state.tried, 1.0)}

    def accepted(self, state: AdjustedState) -> Array:
        """Count the accepted steps."""
        return state.accepted

    def warmed(self, state: AdjustedState) -> AdjustedState:
        """Count the steps from here."""
        return state._replace(tried=0 * state.tried, accepted=0 * state.accepted)

    def noise(self, state: AdjustedState, draw: Draw) -> tuple[Layers, Array]:
        """Gaussian layers, and a Gaussian number that decides on acceptance."""
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
        """Propose a step, try to reverse it, and accept or reject it."""
        xi, decision = noise
        here = _AdjustedPlace(state.layers, self.rank, _lifted(state.layers, covector, time))
        V = combine(vertical, here.tangent(xi), -1.0, here.drift)
        proposed, found = here.moved(V)
        # A proposal that was not found is rejected; until then its entries must be finite.
        proposed = _where(found, proposed, state.layers)
        there = _AdjustedPlace(proposed, self.rank, self._slope(proposed, time))
        back = there.tangent(combine(1.0, state.layers, -1.0, proposed))
        returned, again = there.moved(back)
        limit = _REVERSIBLE * eps(state.layers[0]) ** 0.5
        same = _size(combine(1.0, returned, -1.0, state.layers)) <= limit * _size(state.layers)
        energy = self._energy(proposed)
        ratio = _log_ratio(here.drift, V, there.drift, back, vertical)
        ratio = ratio - 2 * time / vertical**2 * (energy - state.energy)
        accept = found & again & same & (log_ndtr(decision) < ratio)
        return _chosen(accept, state, proposed, energy)

    def _energy(self, layers: Layers) -> Array:
        if self.energy is None:
            return layers[0][..., 0, 0] * 0
        return _numbers(self.energy(copied(_layers.product(layers))), layers[0].shape[0])

    def _slope(self, layers: Layers, time: float) -> Layers:
        """Gradient at a proposal; one that is not finite leads to a rejection."""
        if self.energy_gradient is None:
            return _lifted(layers, None, time)
        m, n, W = layers[-1].shape[-2], layers[0].shape[-1], copied(_layers.product(layers))
        value = _covectors.to_dense(checked_covector(self.energy_gradient(W), m, n, layers[0]))
        return _lifted(layers, value, time)


def _numbers(value: Any, chains: int) -> NumpyArray:
    """Check energies, one for each chain; for a single chain one number suffices."""
    try:
        found = real_numbers("energy", value)
    except TypeError:
        found = None
    if found is not None and found.ndim == 0 and chains == 1:
        found = found[None]
    if found is None or found.shape != (chains,):
        kind = type(value).__name__
        raise ValueError(
            f"energy returned {getattr(value, 'shape', kind)}: it must be one number for each "
            f"chain, ({chains},)"
        )
    return found


def _lifted(layers: Layers, covector: Any, time: float) -> Layers:
    """Gradient of the layers times the time; it is tangent."""
    if covector is None:
        return tuple(0 * x for x in layers)
    return tuple(time * x for x in _layers.lift(layers, covector))


class _AdjustedPlace:
    """A balanced network and the drift there."""

    def __init__(self, layers: Layers, rank: int, drift: Layers) -> None:
        self.layers, self.drift = layers, drift
        self.frames = nearby_frames(layers, rank)

    def tangent(self, X: Layers) -> Layers:
        """Tangent projection of an ambient vector."""
        return assemble(self.frames, tangent_part(self.frames, resolve(self.frames, X)))

    def moved(self, V: Layers) -> tuple[Layers, Any]:
        """Balanced layers ``x + V + normal`` by Newton's method, and where it converged."""
        layers = combine(1.0, self.layers, 1.0, V)
        size = _size(layers) ** 2
        error = _size(_gaps(layers))
        limit = _ROUNDINGS * eps(layers[0]) * size
        for _ in range(_ITERATIONS):
            active = np.flatnonzero((error > limit) & (error < _LOST * size))
            if len(active) == 0:
                break
            chosen = tuple(x[active] for x in layers)
            change = self._newton(chosen, active)
            for x, y in zip(layers, change, strict=True):
                x[active] += y
            error = _size(_gaps(layers))
        return layers, error <= limit

    def _newton(self, layers: Layers, active: np.ndarray) -> Layers:
        """Find the normal vector at ``x`` that removes the gaps at ``y`` to first order."""
        normals = balance_normals(tuple(x[active] for x in self.layers))
        changes = []
        for p, (lower, upper) in enumerate(pairwise(layers)):
            turned = normals[p] @ lower[:, None].mT
            bent = normals[p + 1].mT @ upper[:, None]
            changes.append(_upper(turned + turned.mT - bent - bent.mT))
        gaps = np.concatenate([_upper(gap) for gap in _gaps(layers)], axis=-1)
        matrix = np.concatenate(changes, axis=-1).mT
        try:
            weights = np.linalg.solve(matrix, -gaps[..., None])
        except np.linalg.LinAlgError:
            weights = np.linalg.pinv(matrix) @ -gaps[..., None]
        return tuple(np.sum(x * weights[..., None], axis=1) for x in normals)


def _upper(matrices: Array) -> Array:
    """Entries of symmetric matrices on and above the diagonal."""
    rows, columns = _triangle(matrices.shape[-1])
    return matrices[..., rows, columns]


@cache
def _triangle(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(size)


def _gaps(layers: Layers) -> list[Array]:
    return [x @ x.mT - y.mT @ y for x, y in pairwise(layers)]


def _size(matrices: Sequence[Array]) -> Any:
    """Frobenius norm ``(chain,)`` of several matrices together."""
    return np.sqrt(sum(np.sum(x * x, axis=(-2, -1)) for x in matrices))


def _log_ratio(drift: Layers, V: Layers, back_drift: Layers, back: Layers, deviation: Any) -> Any:
    """Logarithm of the Gaussian density of the reverse step over that of the step."""
    there = _size(combine(1.0, V, 1.0, drift)) ** 2
    return (there - _size(combine(1.0, back, 1.0, back_drift)) ** 2) / (2 * deviation**2)


def _chosen(accept: Any, state: AdjustedState, proposed: Layers, energy: Array) -> AdjustedState:
    return AdjustedState(
        _where(accept, proposed, state.layers),
        np.where(accept, energy, state.energy),
        state.tried + 1.0,
        state.accepted + accept,
    )


def _where(chosen: Any, new: Layers, old: Layers) -> Layers:
    pairs = zip(new, old, strict=True)
    return tuple(np.where(chosen[:, None, None], x, y) for x, y in pairs)
