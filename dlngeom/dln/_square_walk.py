"""Random walk of balanced networks whose layers are all square, in one stack of frames.

Stacked frames take one call where a tuple of frames takes one for each layer, which decides the
time of small networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dlngeom import network
from dlngeom._lib.arrays import Array, constant, identity, namespace
from dlngeom._lib.trajectory import Observe
from dlngeom.balanced._balance import Rotations, balance
from dlngeom.balanced._curves import cayley, corrected_core, signed_svd
from dlngeom.dln._walks import anisotropic_core, columns, spread
from dlngeom.points import Frames, _covectors
from dlngeom.points._covectors import Covector, checked_covector
from dlngeom.submersion._offers import Draw

__all__ = ["SquareNetworkWalk", "StackedFrames"]


class StackedFrames(NamedTuple):
    """Balanced network of square layers.

    Attributes
    ----------
    lam : array (..., r)
    q : array (..., N+1, r, r)
    """

    lam: Array
    q: Array


@dataclass(frozen=True)
class SquareNetworkWalk:
    """Walk of balanced networks of square layers; the state is their stacked frames."""

    compiles: ClassVar[bool] = True

    def start(self, point: Frames) -> StackedFrames:
        """Stack the frames."""
        return StackedFrames(point.lam, namespace(*point.q).stack(list(point.q), axis=-3))

    def point(self, state: StackedFrames) -> Frames:
        """Return the frames one by one."""
        return Frames(state.lam, tuple(state.q[..., p, :, :] for p in range(state.q.shape[-3])))

    def below(self, state: StackedFrames) -> Array:
        """Dense end-to-end matrix."""
        lam, q = state
        scaled = q[..., -1, :, :] * (lam ** (q.shape[-3] - 1))[..., None, :]
        return scaled @ q[..., 0, :, :].mT

    def observables(self) -> Observe:
        """End-to-end matrix."""
        return {"end_to_end": network.end_to_end}

    def covector(self, state: StackedFrames, value: Any) -> Covector:
        """Check a covector."""
        r = state.lam.shape[-1]
        return checked_covector(value, r, r, state.lam)

    def noise(self, state: StackedFrames, draw: Draw) -> Array:
        """Gaussian layers, stacked."""
        chains, frames, r = state.q.shape[:3]
        return draw((chains, frames - 1, r, r))

    def step(
        self,
        state: StackedFrames,
        noise: Any,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> StackedFrames:
        """Step with the second-order retraction."""
        lam, q = state
        if isinstance(noise, (tuple, list)):
            noise = namespace(*noise).stack(list(noise), axis=-3)
        at = balance(lam, q.shape[-3] - 1)
        core = q[..., 1:, :, :].mT @ (noise @ q[..., :-1, :, :])
        core = anisotropic_core(at, core, vertical, horizontal)
        if covector is not None:
            core = core - columns(time, 3) * _lifted_core(state, covector)
        return turned(state, corrected_core(lam, core, at))

    def reach(self, state: StackedFrames) -> Array | None:
        """Return the size of noise up to which the frames turn by small angles."""
        lam = state.lam
        r = lam.shape[-1]
        return (lam[..., -1] + lam[..., -2]) / r**0.5 if r > 1 else None


def _lifted_core(state: StackedFrames, covector: Covector) -> Array:
    """Cores of the lifted gradient (3.6)."""
    first, last = state.q[..., 0, :, :], state.q[..., -1, :, :]
    core = last.mT @ _covectors.apply(covector, first)
    return spread(state.lam, core, state.q.shape[-3] - 1)


def turned(state: StackedFrames, motion: Rotations) -> StackedFrames:
    """Move ``Lam`` by a symmetric matrix and the frames by Cayley transforms of their rotations."""
    lam, q = state
    unit = identity(lam.shape[-1], lam)
    values, left, right = signed_svd(lam[..., None, :] * unit + motion.h)
    moved = q @ (cayley(motion.omega) @ left[..., None, :, :])
    if right is left:
        return StackedFrames(values, moved)
    # A symmetric matrix with negative eigenvalues takes their signs to every other frame.
    signs = namespace(left).sum(left * right, axis=-2)
    odd = constant(np.arange(q.shape[-3]) % 2, lam)[:, None, None]
    return StackedFrames(values, moved * (1 + odd * (signs[..., None, None, :] - 1)))
