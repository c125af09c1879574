r"""Time of one step: from the curvature of the energy, the noise, and the smallest ``lam``.

Rules at a point, and a pilot run that applies them where a run will be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Point, coordinates, norm, parts, rebuild
from dlngeom.langevin._curvature import ground_of, largest_curvature, numpy_gradient
from dlngeom.langevin._engine._steps import FINEST, SHARE, DivergenceError, Plan, advance
from dlngeom.langevin._engine._streams import Streams
from dlngeom.points import SVD, dense
from dlngeom.submersion._offers import Walk, WalkState
from dlngeom.submersion._walks import walk_of

__all__ = ["DIVERGENT", "UNSTABLE", "Scene", "piloted_step", "suggested_step"]

# Step times largest curvature: that of suggestions, the one from which on a run warns, and the one
# beyond which steps of a quadratic energy are unstable.
_STABLE, UNSTABLE, DIVERGENT = 0.6, 1.0, 2.0

# Step times the frequency of the fastest swing, for chains with inertia: the error of energies is
# an eighth of its square, 3 percent, and that of positions less.
_SWING = 0.5

# Mean square of the noise of one step over the square of the point: it moves the mean square of
# the point by a quarter of that, 1 percent.
_BIAS = 0.04

# Chains of the pilot run, steps of its rounds, and which rounds are taken for equilibrium.
_CHAINS = 16
_ROUNDS = (8, 8, 16, 32, 64, 128, 128, 256, 256)
_LATE = 4

# Samples of the noise at a point, and their size relative to the point.
_SAMPLES, _SMALL = 64, 1e-4


@dataclass(frozen=True)
class Scene:
    """What decides on steps: a space, None for plain layers, the noise and the energy.

    Attributes
    ----------
    space : Base, RiemannianSubmersion or None
    walk : Walk
        Of numpy points.
    vertical, horizontal : float
        Variance of the noise per unit of time.
    energy_gradient : callable or None
        Of numpy arrays.
    inertia : bool
        Whether chains have velocities, so that they swing in the energy rather than relax.
    """

    space: Any
    walk: Walk
    vertical: float
    horizontal: float
    energy_gradient: Callable[[Any], Any] | None
    inertia: bool = False

    @classmethod
    def of(
        cls,
        space: Any,
        walk: Walk,
        point: Point,
        vertical: float,
        horizontal: float,
        energy_gradient: Callable[[Any], Any] | None,
        inertia: bool = False,
    ) -> Scene:
        """Scene of a run from a point of any library; Metropolis steps are as those without."""
        own = walk if space is None else walk_of(space, point)
        like: Array = parts(point)[0]
        native = energy_gradient and numpy_gradient(energy_gradient, like)
        return cls(space, own, vertical, horizontal, native, inertia)

    def curvature(self, point: Point) -> np.ndarray:
        """Largest curvature ``(chain,)`` of the energy at numpy points, NaN where it has none."""
        if self.energy_gradient is None:
            return np.zeros(parts(point)[0].shape[0])
        ground = ground_of(self.space, self.walk, self.energy_gradient)
        with np.errstate(all="ignore"):
            try:
                return largest_curvature(ground, point)
            except (np.linalg.LinAlgError, FloatingPointError):
                return np.full(parts(point)[0].shape[0], np.nan)

    def rate(self, curvature: float) -> float:
        """How fast chains relax or swing where the energy has some curvature."""
        return math.sqrt(max(curvature, 0.0)) if self.inertia else curvature

    def at(self, point: Point) -> Surroundings:
        """Measure what the rules need of numpy points."""
        with np.errstate(all="ignore"):
            reach = self.walk.reach(self.walk.start(point))
            size, noise = self._noise(point, _below)
            # A walk that knows its reach divides by itself the steps that bend too much.
            radius, turn = self._noise(point, _above) if reach is None else (size, 0 * noise)
        near = np.full(size.shape, np.inf) if reach is None else np.asarray(reach, np.float64)
        return Surroundings(self, self.curvature(point), size, noise, near, radius, turn)

    def _noise(
        self, point: Point, seen: Callable[[Walk, WalkState], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean squares ``(chain,)`` of what is seen, and of its noise in a unit of time."""
        walk, rng = self.walk, np.random.default_rng(0)
        count = parts(point)[0].shape[0]
        many = rebuild(point, [np.repeat(x, -(-_SAMPLES // count), axis=0) for x in parts(point)])
        state = walk.start(many)
        noise = walk.noise(state, lambda shape: rng.standard_normal(shape))
        place = np.asarray(norm(point, 1))[:, None] + np.zeros((1, -(-_SAMPLES // count)))
        largest = max(self.vertical, self.horizontal)
        ratios = [
            math.sqrt(x / largest) if largest else 0.0 for x in (self.vertical, self.horizontal)
        ]
        small = _SMALL * place.reshape(-1)
        vertical = small * ratios[0]
        horizontal = vertical if self.vertical == self.horizontal else small * ratios[1]
        before = seen(walk, state)
        after = seen(walk, walk.step(state, noise, None, 0.0, vertical, horizontal))
        moved = np.sum((after - before) ** 2, axis=-1) / small**2 * largest
        size = np.sum(before**2, axis=-1)
        mean_size, mean_moved = (np.mean(x.reshape(count, -1), axis=1) for x in (size, moved))
        return mean_size, mean_moved


@dataclass(frozen=True)
class Surroundings:
    """What the rules need of some points, ``(chain,)`` each.

    Attributes
    ----------
    scene : Scene
    curvature : array
        Largest curvature of the energy.
    size, noise : array
        Square of the point downstairs, and mean square of its noise per unit of time.
    reach : array
        Size of noise that turns frames by a small angle.
    radius, turn : array
        Square of the point that moves, and mean square of its noise per unit of time; zero where
        the walk knows its reach.
    """

    scene: Scene
    curvature: np.ndarray
    size: np.ndarray
    noise: np.ndarray
    reach: np.ndarray
    radius: np.ndarray
    turn: np.ndarray

    @cached_property
    def highest(self) -> float:
        """Largest curvature that is usual here."""
        if not np.all(np.isfinite(self.curvature)):
            return math.inf
        return float(np.quantile(self.curvature, 0.9))

    def step(self) -> float:
        """Shortest of the steps by all rules, ``inf`` if there is none."""
        return min(self.stable(), self.unbiased(), self.near(), self.straight())

    def swing(self) -> float:
        """Step of chains with inertia: a part of the fastest swing, on a path nearly straight."""
        noise, size = float(np.mean(self.noise)), float(np.mean(self.size))
        # Noise of the variance 2 / beta a unit of time is twice the square of the velocity.
        path = min(_over(2 * _BIAS * size, noise), 2 * self.straight())
        return min(_over(_SWING, math.sqrt(self.highest)), math.sqrt(path))

    def stable(self) -> float:
        """Step at which the stiffest direction is followed."""
        return _over(_STABLE, self.highest)

    def unbiased(self) -> float:
        """Step whose noise is small against the point, or what the energy confines it to."""
        noise, size = float(np.mean(self.noise)), float(np.mean(self.size))
        # Without an energy nothing confines the point.
        confined = _over(_BIAS / 2, self.highest) if self.highest > 0 else 0.0
        return max(_over(_BIAS * size, noise), confined)

    def straight(self) -> float:
        """Step whose noise is small against the point that moves: spheres of its size bend so."""
        turn, radius = float(np.mean(self.turn)), float(np.mean(self.radius))
        return _over(_BIAS * radius, turn) if radius > 0 else math.inf

    def near(self) -> float:
        """Step that the walk can divide as finely as the smallest ``lam`` wants it."""
        variance = max(self.scene.vertical, self.scene.horizontal)
        return _over((SHARE * float(np.median(self.reach))) ** 2 / FINEST, variance)


def _over(value: float, rate: float) -> float:
    # A rate that is not a number has no say: the run will say what is wrong.
    return value / rate if rate > 0 else math.inf


def _below(walk: Walk, state: WalkState) -> np.ndarray:
    below = walk.below(state)
    return np.asarray(coordinates(dense(below) if isinstance(below, SVD) else below, 1))


def _above(walk: Walk, state: WalkState) -> np.ndarray:
    # The state of a walk that does not know its reach is the point upstairs.
    return np.asarray(coordinates(state, 1))


def suggested_step(scene: Scene, point: Point) -> float:
    """Shortest step of the suggestions at each of some numpy points."""
    count = parts(point)[0].shape[0]
    each = [rebuild(point, [x[i : i + 1] for x in parts(point)]) for i in range(count)]
    places = [scene.at(one) for one in each]
    return min(x.swing() if scene.inertia else x.step() for x in places)


def piloted_step(scene: Scene, start: Point, duration: float) -> float:
    """Step for a whole run of ``duration`` from numpy points, by a pilot run of a few chains."""
    count = parts(start)[0].shape[0]
    chosen = np.arange(_CHAINS) % count if count < _CHAINS else np.arange(_CHAINS)
    state = scene.walk.start(rebuild(start, [x[chosen] for x in parts(start)]))
    streams, share = Streams([np.random.default_rng(0)]), 1.0
    found, left = [scene.at(scene.walk.point(state))], duration
    for steps in _ROUNDS:
        time = min(share * found[-1].step(), left / steps)
        if not 0 < time < math.inf:
            break
        moved = _walked(scene, state, time, steps, streams)
        here = None if moved is None else _seen(scene, moved)
        if here is None:
            # The curvature grew within the round: shorter steps follow it.
            share /= 4
            continue
        state, left = moved, left - time * steps
        found.append(here)
    return _combined(scene, found, duration)


def _seen(scene: Scene, state: WalkState) -> Surroundings | None:
    """Surroundings of a state, None if it is so far out that numbers overflow."""
    try:
        here = scene.at(scene.walk.point(state))
    except ValueError:
        return None
    return here if np.all(np.isfinite(here.curvature)) else None


def _walked(
    scene: Scene, state: WalkState, time: float, steps: int, streams: Streams
) -> WalkState | None:
    """State after some steps, None if a chain diverged."""
    plan = Plan(
        scene.walk, time * steps, steps, steps, scene.vertical, scene.horizontal,
        scene.energy_gradient,
    )  # fmt: skip
    try:
        with np.errstate(all="ignore"):
            for step in range(1, steps + 1):
                state = advance(plan, state, streams, step)
    except DivergenceError:
        return None
    return state


def _combined(scene: Scene, found: list[Surroundings], duration: float) -> float:
    """Step by the last rounds, stable in all of them."""
    late = found[-_LATE:]
    columns = [
        np.concatenate([getattr(x, name) for x in late])
        for name in ("curvature", "size", "noise", "reach", "radius", "turn")
    ]
    everywhere = max(float(np.max(x.curvature)) for x in found)
    if scene.inertia:
        swing = Surroundings(scene, *columns).swing()
        return min(swing, _over(UNSTABLE * 0.9, everywhere**0.5), duration)
    step = min(Surroundings(scene, *columns).step(), _over(UNSTABLE * 0.9, everywhere))
    return min(step, duration)
