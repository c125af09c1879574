"""Random walk of balanced networks whose layers are all square, in one stack of frames.

Noise is drawn in orthonormal coordinates of the tangent space, in the frames of the network, where
its law is that of projected Gaussian layers.  Stacked frames take one call where a tuple of frames
takes one for each layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dlngeom import network
from dlngeom._lib.arrays import Array, constant, namespace, reshaped
from dlngeom._lib.trajectory import Observe
from dlngeom.balanced import _pairs
from dlngeom.balanced._curves import damped_share, rotation, signed_svd
from dlngeom.balanced._pairs import Lifts, Motion, Pairs
from dlngeom.dln._walks import columns
from dlngeom.points import Frames, _covectors
from dlngeom.points._covectors import Covector, checked_covector
from dlngeom.submersion._offers import Draw

__all__ = [
    "MOST_LAYERS",
    "SquareNetworkWalk",
    "StackedFrames",
    "anisotropic_coordinates",
    "corrected_coordinates",
]

# Beyond this depth fast Fourier transforms beat constant matrices along depth.
MOST_LAYERS = 64


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
        """Gaussian coordinates of a tangent vector."""
        chains, frames, r = state.q.shape[:3]
        return draw((chains, _pairs.dimension(r, frames - 1)))

    def step(
        self,
        state: StackedFrames,
        noise: Any,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> StackedFrames:
        """Step with the second-order retraction; the noise may be Gaussian layers as well."""
        lam, q = state
        at, lift = _pairs.pairs(lam, q.shape[-3] - 1), None
        if covector is not None or vertical is not horizontal:
            lift = _pairs.lifts(at, lam)
        if isinstance(noise, (tuple, list)):
            noise = namespace(*noise).stack(list(noise), axis=-3)
        if noise.ndim > lam.ndim:
            noise = _in_frames(state, at, noise)
        V = anisotropic_coordinates(lift, noise, vertical, horizontal)
        if lift is not None and covector is not None:
            first, last = q[..., 0, :, :], q[..., -1, :, :]
            core = last.mT @ _covectors.apply(covector, first)
            V = V - columns(time, 1) * _pairs.gradient_coordinates(lift, core)
        return turned(state, _pairs.motion(at, corrected_coordinates(at, lam, V)))

    def reach(self, state: StackedFrames) -> Array | None:
        """Return the size of noise up to which the frames turn by small angles."""
        lam, root = state.lam, math.sqrt(state.lam.shape[-1])
        return (lam[..., -1] + lam[..., -2]) / root


def _in_frames(state: StackedFrames, at: Pairs, layers: Array) -> Array:
    """Coordinates of the tangent part of layers ``(..., N, r, r)``."""
    q = state.q
    return _pairs.tangent_coordinates(at, q[..., 1:, :, :].mT @ (layers @ q[..., :-1, :, :]))


def anisotropic_coordinates(
    lift: Lifts | None, noise: Array, vertical: Any, horizontal: Any
) -> Array:
    """Vector ``(a P_v + b P_h) xi``."""
    V: Array = columns(vertical, 1) * noise
    if vertical is horizontal or lift is None:
        return V
    excess = columns(vertical, 1) - columns(horizontal, 1)
    less: Array = excess * _pairs.horizontal_coordinates(lift, noise)
    return V - less


def corrected_coordinates(at: Pairs, lam: Array, V: Array) -> Array:
    """Coordinates of ``V`` minus half the tangential acceleration of its curve, or less.

    A correction as long as ``V`` shrinks smoothly, an effect of fourth order.
    """
    vecdot = namespace(V).vecdot
    correction = _pairs.tangent_coordinates(at, _acceleration(lam, _pairs.motion(at, V)))
    share = damped_share(vecdot(V, V), vecdot(correction, correction))
    return V - share[..., 0] * correction


def _acceleration(lam: Array, motion: Motion) -> Array:
    """Second derivatives of the cores along the curve of a motion."""
    r = lam.shape[-1]
    omega = _pairs.antisymmetric_matrices(motion.rates, r)
    h = _pairs.symmetric_matrices(2 * motion.stretch, r)[..., None, :, :]
    upper, lower = omega[..., 1:, :, :], omega[..., :-1, :, :]
    row, column = (x[..., None, :, :] for x in _pairs.rows_and_columns(lam))
    # The core Om_p Lam + h - Lam Om_{p-1}, and h once more.
    shifted = upper * column - row * lower + h
    return upper @ shifted - shifted @ lower


def turned(state: StackedFrames, motion: Motion) -> StackedFrames:
    """Move ``Lam`` by a symmetric matrix and the frames by rotations."""
    (lam, q), (rates, stretch) = state, motion
    *batch, frames, r, _ = q.shape
    xp, count = namespace(lam), rates.shape[-1]
    turns = rotation(_pairs.antisymmetric_matrices(rates, r), xp.vecdot(rates, rates))
    moved = xp.concat([stretch[..., :count], stretch[..., count:] + lam], axis=-1)
    values, left, right = signed_svd(_pairs.symmetric_matrices(moved, r), any_signs=True)
    # With signs of their own choice, results would depend on the library that finds the vectors.
    diagonal = reshaped(left, (*batch, r * r))[..., :: r + 1]
    signed = left * xp.copysign(constant(1.0, lam), diagonal)[..., None, :]
    # All frames of a network meet the same vectors.
    moved = reshaped(reshaped(q @ turns, (*batch, frames * r, r)) @ signed, tuple(q.shape))
    if right is left:
        return StackedFrames(values, moved)
    # A symmetric matrix with negative eigenvalues takes their signs to every other frame.
    signs = xp.sum(left * right, axis=-2)
    odd = constant(np.arange(frames) % 2, lam)[:, None, None]
    return StackedFrames(values, moved * (1 + odd * (signs[..., None, None, :] - 1)))
