"""Random walks whose limit is a diffusion on a manifold: one step as a pure function.

A walk moves a state, a nested tuple of arrays with a leading chain axis, by noise that the caller
draws.  Walks are small, frozen and picklable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlngeom._lib.arrays import Array, constant, namespace
from dlngeom._lib.door import plain
from dlngeom._lib.vectors import Point, Vector, combine, parts, rebuild, scale
from dlngeom.submersion._given import named
from dlngeom.submersion._offers import Draw, HasSubmersion, HasWalk, Walk, WalkState
from dlngeom.submersion._spaces import (
    Base,
    RiemannianSubmersion,
    above,
    base_point,
    embedding,
)

__all__ = ["AmbientWalk", "BaseWalk", "gaussian", "same_shapes", "walk_of"]


def walk_of(space: Base | RiemannianSubmersion, point: Point) -> Walk:
    """Random walk on a space: its own, or else one in the ambient space."""
    if isinstance(space, HasWalk):
        return space.random_walk(point)
    return BaseWalk(space) if isinstance(space, Base) else AmbientWalk(space)


@dataclass(frozen=True)
class AmbientWalk:
    """Walk upstairs in any submersion; the state is the point."""

    space: RiemannianSubmersion

    def start(self, point: Point) -> WalkState:
        """Return the point itself."""
        return point

    def point(self, state: WalkState) -> Point:
        """Return the state itself."""
        return state

    def below(self, state: WalkState) -> Any:
        """Point downstairs."""
        return self.space.project(state)

    def covector(self, state: WalkState, value: Any) -> Any:
        """Require the shapes of a point downstairs."""
        return same_shapes(self.below(state), value)

    def noise(self, state: WalkState, draw: Draw) -> Vector:
        """Gaussian vector in the ambient space."""
        return gaussian(embedding(self.space, state), draw)

    def step(
        self,
        state: WalkState,
        noise: Vector,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> WalkState:
        """Step with the projections and the retraction of the space."""
        V = scale(horizontal, self.space.tangent_projection(state, noise))
        if vertical is not horizontal:
            up = self.space.vertical_projection(state, noise)
            V = combine(1.0, V, 1.0, scale(vertical - horizontal, up))
        if covector is not None:
            V = combine(1.0, V, -1.0, scale(time, self.space.codifferential(state, covector)))
        return self.space.retraction(state, V)

    def reach(self, state: WalkState) -> None:
        """No limit is known."""
        return


@dataclass(frozen=True)
class BaseWalk:
    """Walk downstairs in any submersion, by horizontal steps upstairs."""

    base: Base

    def start(self, point: Point) -> WalkState:
        """Return a point of the orbit over ``point``."""
        return above(self._space, point)

    @property
    def _space(self) -> RiemannianSubmersion:
        if not isinstance(self.base, HasSubmersion):
            raise TypeError(
                f"{named(self.base)} has no random_walk and no submersion whose horizontal "
                "vectors would make one"
            )
        return self.base.space

    def point(self, state: WalkState) -> Point:
        """Point downstairs."""
        return base_point(self._space, state)

    def below(self, state: WalkState) -> Any:
        """Point downstairs."""
        return self._space.project(state)

    def covector(self, state: WalkState, value: Any) -> Any:
        """Require the shapes of a point downstairs."""
        return same_shapes(self.below(state), value)

    def noise(self, state: WalkState, draw: Draw) -> Vector:
        """Gaussian vector upstairs."""
        return gaussian(embedding(self._space, state), draw)

    def step(
        self,
        state: WalkState,
        noise: Vector,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> WalkState:
        """Step upstairs along the horizontal part of the noise alone."""
        walk = AmbientWalk(self._space)
        return walk.step(state, noise, covector, time, 0.0, horizontal)

    def reach(self, state: WalkState) -> None:
        """No limit is known."""
        return


def gaussian(like: Vector, draw: Draw) -> Vector:
    """Gaussian vector with the shapes of ``like``; complex if ``like`` is, part by part."""

    def part(x: Array) -> Array:
        real = draw(tuple(x.shape))
        complex_valued = "complex" in str(x.dtype)
        return real + 1j * draw(tuple(x.shape)) if complex_valued else constant(real, x)

    return rebuild(like, [part(x) for x in parts(like)])


def same_shapes(point: Point, value: Any) -> Any:
    """Require that what an energy gradient returned has the shapes of a point downstairs."""
    if hasattr(value, "shape") or isinstance(value, (tuple, list)):
        value = plain("energy_gradient", value)
    wanted, given = parts(point), parts(value)
    if len(wanted) != len(given):
        raise ValueError(
            f"energy_gradient returned {len(given)} arrays: it must return {len(wanted)}"
        )
    for x, y in zip(wanted, given, strict=True):
        if tuple(x.shape) != tuple(getattr(y, "shape", ())):
            raise ValueError(
                f"energy_gradient returned shape {getattr(y, 'shape', type(y).__name__)}: it must "
                f"be {tuple(x.shape)}"
            )
        # Covectors are in the library of points, complex only where points are.
        xp = namespace(x, y)
        if xp.isdtype(y.dtype, "complex floating") and not xp.isdtype(x.dtype, "complex floating"):
            raise ValueError(f"energy_gradient returned dtype {y.dtype}: it must be real")
    return value
