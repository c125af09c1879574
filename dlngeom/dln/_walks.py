"""Random walks of balanced networks and of end-to-end matrices, in frames.

Noise and gradients are split into cores and parts perpendicular to the frames, where the
second-order retraction costs one symmetric eigenvalue problem and one linear solve per frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from dlngeom import network, spectral
from dlngeom._lib.arrays import (
    Array,
    antisymmetric,
    identity,
    is_square,
    namespace,
    powers,
    project_out,
    symmetric,
)
from dlngeom._lib.trajectory import Observe
from dlngeom.balanced._balance import Balance, balance, balance_defect, correct, multipliers
from dlngeom.balanced._curves import corrected, fast_move, turned
from dlngeom.balanced._in_frames import StepInFrames
from dlngeom.endtoend import _lifts
from dlngeom.points import SVD, Frames, Tangent, _covectors, dense, svd
from dlngeom.points._covectors import Covector, checked_covector
from dlngeom.submersion._offers import Draw, WalkState

__all__ = [
    "EndToEndWalk",
    "InfiniteWalk",
    "NetworkWalk",
    "anisotropic_core",
    "columns",
    "lifted",
    "spread",
]


@dataclass(frozen=True)
class NetworkWalk:
    """Walk of balanced networks; the state is their frames."""

    compiles: ClassVar[bool] = True

    def start(self, point: Frames) -> WalkState:
        """Return the frames themselves."""
        return point

    def point(self, state: WalkState) -> Frames:
        """Return the frames themselves."""
        return Frames(*state)

    def below(self, state: WalkState) -> Array:
        """Dense end-to-end matrix."""
        return dense(state)

    def observables(self) -> Observe:
        """End-to-end matrix."""
        return {"end_to_end": network.end_to_end}

    def covector(self, state: WalkState, value: Any) -> Covector:
        """Check a covector."""
        q = state.q
        return checked_covector(value, q[-1].shape[-2], q[0].shape[-2], state.lam)

    def noise(self, state: WalkState, draw: Draw) -> tuple[Array, ...]:
        """Gaussian layers."""
        widths, chains = [q.shape[-2] for q in state.q], state.lam.shape[0]
        return tuple(draw((chains, up, low)) for low, up in pairwise(widths))

    def step(
        self, state: WalkState, noise: Any, covector: Any, time: Any, vertical: Any, horizontal: Any
    ) -> WalkState:
        """Step with the second-order retraction."""
        at = balance(state.lam, len(state.q) - 1)
        V = anisotropic(state, at, noise, vertical, horizontal)
        if covector is not None:
            V = _minus(V, time, lifted(state, covector))
        return turned(state, *corrected(state, V, at, damped=True), fast_move)

    def reach(self, state: WalkState) -> Array | None:
        """Return the size of noise up to which the frames turn by small angles."""
        return _reach(state)


def anisotropic(
    frames: Frames, at: Balance, noise: Any, vertical: Any, horizontal: Any
) -> StepInFrames:
    """Vector ``(a P_v + b P_h) xi`` in frames."""
    core, perp = _in_frames(frames, noise)
    core = anisotropic_core(at, core, vertical, horizontal)
    a, b = (columns(x, 2) for x in (vertical, horizontal))
    sizes = (b, *(a for _ in perp[1:-1]), b)
    return StepInFrames(core, tuple(_times(x, L) for x, L in zip(sizes, perp, strict=True)))


def anisotropic_core(at: Balance, core: Array, vertical: Any, horizontal: Any) -> Array:
    """Cores of ``(a P_v + b P_h) xi``."""
    a, b = (columns(x, 3) for x in (vertical, horizontal))
    defect = balance_defect(at, core)
    if vertical is horizontal:
        tangent: Array = b * (core - correct(at, multipliers(at, symmetric(defect))))
        return tangent
    # One solve serves both: its antisymmetric part is the vertical one.
    S = multipliers(at, defect)
    scaled: Array = b * core - correct(at, b * S - a * antisymmetric(S))
    return scaled


def _times(size: Any, perp: Any) -> Any:
    """Product with a perpendicular part, which is the number 0.0 where a frame is square."""
    return perp if isinstance(perp, float) else size * perp


def _in_frames(frames: Frames, X: Any) -> tuple[Array, list[Any]]:
    """Cores of a vector, and its parts perpendicular to the frames: 0.0 where these are square."""
    q, images = frames.q, [x @ low for x, low in zip(X, frames.q[:-1], strict=True)]
    core = [hi.mT @ y for hi, y in zip(q[1:], images, strict=True)]
    perp = []
    for p, frame in enumerate(q):
        parts = []
        if p > 0 and not is_square(frame):
            parts.append(images[p - 1] - frame @ core[p - 1])
        if p < len(X) and not is_square(frame):
            parts.append(X[p].mT @ q[p + 1] - frame @ core[p].mT)
        perp.append(sum(parts) / len(parts) if parts else 0.0)
    return namespace(core[0]).stack(core, axis=-3), perp


def lifted(frames: Frames, covector: Covector) -> StepInFrames:
    """Lifted gradient (3.6) in frames."""
    first, last, lam = frames.q[0], frames.q[-1], frames.lam
    depth = len(frames.q) - 1
    GV, GU = _covectors.apply(covector, first), _covectors.apply_transpose(covector, last)
    core = last.mT @ GV
    tip = (lam ** (depth - 1))[..., None, :]
    ends = [
        0.0 if is_square(q) else project_out(q, image) * tip
        for q, image in ((first, GU), (last, GV))
    ]
    return StepInFrames(spread(lam, core, depth), (ends[0], *(0.0,) * (depth - 1), ends[1]))


def spread(lam: Array, core: Array, depth: int) -> Array:
    """Cores ``lam_k^(N-p) C_kl lam_l^(p-1)`` of all layers."""
    row, column = _layer_powers(lam, depth)
    return row * core[..., None, :, :] * column


def _layer_powers(lam: Array, depth: int) -> tuple[Array, Array]:
    """Powers ``lam_k^(N-p)`` and ``lam_l^(p-1)`` of all layers, ``(..., N, r, 1)`` and its turn."""
    right = powers(lam, depth)
    return namespace(lam).flip(right, axis=-2)[..., :, None], right[..., None, :]


def _minus(V: StepInFrames, time: Any, gradient: StepInFrames) -> StepInFrames:
    core = V.core - columns(time, 3) * gradient.core
    perp = zip(V.perp, gradient.perp, strict=True)
    return StepInFrames(core, tuple(x - _times(columns(time, 2), y) for x, y in perp))


def columns(value: Any, axes: int) -> Any:
    """Append axes to an array with one number for each chain; a single number stays."""
    if isinstance(value, (int, float)) or value.ndim == 0:
        return value
    return value[(..., *(None,) * axes)]


def _reach(frames: Frames) -> Array | None:
    """Largest noise that turns frames by a small angle, within their span and out of it."""
    lam, limits = frames.lam, []
    across = max(q.shape[-2] - q.shape[-1] for q in frames.q)
    if lam.shape[-1] > 1:
        limits.append((lam[..., -1] + lam[..., -2]) / lam.shape[-1] ** 0.5)
    if across:
        limits.append(lam[..., -1] / across**0.5)
    if not limits:
        return None
    return limits[0] if len(limits) == 1 else namespace(lam).minimum(*limits)


@dataclass(frozen=True)
class EndToEndWalk:
    """Walk of end-to-end matrices of finite depth: the horizontal walk of the smallest network.

    The state is the singular values of its layers and the two outer frames; inner frames are
    not seen from downstairs, and need not move.  A step is the retraction of the smallest network
    by Cayley transforms, seen from downstairs: it differs from :func:`dlngeom.endtoend.retraction`
    at third order, and costs half as much.

    Parameters
    ----------
    depth, rank : int
    factored : bool
        Whether points are an SVD, rather than dense.
    """

    compiles: ClassVar[bool] = True

    depth: int
    rank: int
    factored: bool

    def start(self, point: Array | SVD) -> WalkState:
        """Singular values of the layers, and outer frames."""
        point = point if isinstance(point, SVD) else svd(point, self.rank)
        return Frames(spectral._root(point.s, self.depth), (point.vt.mT, point.u))

    def point(self, state: WalkState) -> Any:
        """SVD or dense matrix."""
        W = SVD(state.q[-1], state.lam**self.depth, state.q[0].mT)
        return W if self.factored else dense(W)

    def below(self, state: WalkState) -> Any:
        """SVD or dense matrix."""
        return self.point(state)

    def observables(self) -> Observe:
        """End-to-end matrix."""
        return {"end_to_end": network.end_to_end}

    def covector(self, state: WalkState, value: Any) -> Covector:
        """Check a covector."""
        q = state.q
        return checked_covector(value, q[-1].shape[-2], q[0].shape[-2], state.lam)

    def noise(self, state: WalkState, draw: Draw) -> Array:
        """Gaussian matrix."""
        q = state.q
        return draw((state.lam.shape[0], q[-1].shape[-2], q[0].shape[-2]))

    def step(
        self,
        state: WalkState,
        noise: Array,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> WalkState:
        """Step along the horizontal lift ``dphi^* A^(-1/2) xi`` of the noise."""
        (first, last), b = state.q, columns(horizontal, 2)
        inner_frames = (identity(self.rank, state.lam),) * (self.depth - 1)
        frames = Frames(state.lam, (first, *inner_frames, last))
        image = noise @ first
        core = _unit_spread(state.lam, last.mT @ image, self.depth)
        inner = (0.0,) * (self.depth - 1)
        ends = [
            0.0 if is_square(q) else b * project_out(q, x)
            for q, x in ((first, noise.mT @ last), (last, image))
        ]
        V = StepInFrames(columns(horizontal, 3) * core, (ends[0], *inner, ends[1]))
        if covector is not None:
            V = _minus(V, time, lifted(frames, covector))
        motion, perp = corrected(frames, V, damped=True)
        moved = turned(frames, motion, perp, fast_move, ends_only=True)
        return Frames(moved.lam, (moved.q[0], moved.q[-1]))

    def reach(self, state: WalkState) -> Array | None:
        """Return the size of noise up to which the frames turn by small angles."""
        return _reach(state)


def _unit_spread(lam: Array, core: Array, depth: int) -> Array:
    """Horizontal cores of all layers: an isometric image of one core."""
    row, column = _layer_powers(lam, depth)
    shares = row * column
    xp = namespace(lam)
    length = xp.sqrt(xp.sum(shares * shares, axis=-3, keepdims=True))
    return core[..., None, :, :] * (shares / length)


@dataclass(frozen=True)
class InfiniteWalk:
    """Walk of invertible matrices with the metric of infinite depth; the state is their SVD."""

    factored: bool

    def start(self, point: Array | SVD) -> WalkState:
        """SVD of a matrix."""
        return point if isinstance(point, SVD) else svd(point)

    def point(self, state: WalkState) -> Any:
        """SVD or dense matrix."""
        return SVD(*state) if self.factored else dense(SVD(*state))

    def below(self, state: WalkState) -> Any:
        """SVD or dense matrix."""
        return self.point(state)

    def observables(self) -> Observe:
        """End-to-end matrix."""
        return {"end_to_end": network.end_to_end}

    def covector(self, state: WalkState, value: Any) -> Covector:
        """Check a covector."""
        return checked_covector(value, state.u.shape[-2], state.vt.shape[-1], state.s)

    def noise(self, state: WalkState, draw: Draw) -> Array:
        """Gaussian matrix."""
        return draw(tuple(state.u.shape))

    def step(
        self,
        state: WalkState,
        noise: Array,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> WalkState:
        """Step with the second-order retraction downstairs."""
        s, v = state.s, state.vt.mT
        weights = spectral.weights(s[..., :, None], s[..., None, :], math.inf)
        root = namespace(s).sqrt(weights)
        M = columns(horizontal, 2) * root * (state.u.mT @ noise @ v)
        if covector is not None:
            core = state.u.mT @ _covectors.apply(covector, v)
            M = M - columns(time, 2) * weights * core
        Z = Tangent(state.u * 0, M, v * 0)
        return _lifts.second_order_retraction(state, Z, math.inf)

    def reach(self, state: WalkState) -> None:
        """Singular values are never lost: there is no limit."""
        return
