"""One step of the kinetic Langevin equation as a walk: kicks, drifts and friction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dlngeom._lib.vectors import Point, Vector, combine, copied, parts, scale
from dlngeom.langevin._engine._steps import StepError, first_bad
from dlngeom.langevin._rattle import drift
from dlngeom.submersion import RiemannianSubmersion
from dlngeom.submersion._offers import Draw, HasObservables, HasUncheckedMoves, Moves, Walk
from dlngeom.submersion._spaces import embedding
from dlngeom.submersion._walks import gaussian

__all__ = ["KineticState", "KineticWalk"]


class KineticState(NamedTuple):
    """Where chains are, how they move, and the gradient there, which two steps use.

    Attributes
    ----------
    position : Point
    velocity : Vector
        Tangent.
    gradient : Vector
        Lifted gradient, an empty tuple without an energy.
    """

    position: Point
    velocity: Vector
    gradient: Vector


@dataclass(frozen=True)
class KineticWalk:
    """BAOAB steps with RATTLE drifts.

    Parameters
    ----------
    space : RiemannianSubmersion
    walk : Walk
        Walk without inertia, which knows what lies below a point.
    energy_gradient : callable or None
        Of points downstairs.
    beta, friction : float
    """

    space: RiemannianSubmersion
    walk: Walk
    energy_gradient: Callable[[Any], Any] | None
    beta: float
    friction: float

    def start(self, point: tuple[Point, Vector]) -> KineticState:
        """State of points with velocities.

        Raises
        ------
        ValueError
            If the energy gradient is not finite there.
        """
        position, velocity = point
        try:
            return KineticState(position, velocity, self._gradient(position))
        except StepError as error:
            raise ValueError(f"chain {error.chain}: {error.reason} at the start") from None

    @property
    def _moves(self) -> Moves:
        return self.space.unchecked() if isinstance(self.space, HasUncheckedMoves) else self.space

    def point(self, state: KineticState) -> Point:
        """Position."""
        return state.position

    def below(self, state: KineticState) -> Any:
        """Point downstairs."""
        return self.walk.below(self.walk.start(state.position))

    def observables(self) -> Mapping[str, Callable[[Point], Any]]:
        """Return what the walk without inertia observes."""
        return self.walk.observables() if isinstance(self.walk, HasObservables) else {}

    def covector(self, state: KineticState, value: Any) -> Any:
        """Return the value, since gradients are checked where they are computed."""
        return value

    def extras(self, state: KineticState) -> dict[str, Any]:
        """Velocities."""
        return {"velocity": state.velocity}

    def noise(self, state: KineticState, draw: Draw) -> Vector:
        """Gaussian vector in the ambient space, nothing where none is needed."""
        if self.friction == 0 or self.beta == math.inf:
            return ()
        return gaussian(embedding(self.space, state.position), draw)

    def reach(self, state: KineticState) -> None:
        """No limit: drifts near a singularity divide themselves."""
        return

    def step(
        self,
        state: KineticState,
        noise: Vector,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> KineticState:
        """Kick, drift, forget a part of the velocity, drift and kick."""
        moves, velocity = self._moves, _kicked(state.velocity, time / 2, state.gradient)
        if self.friction == 0:
            position, velocity = drift(moves, state.position, velocity, time)
        else:
            position, velocity = drift(moves, state.position, velocity, time / 2)
            velocity = self._rubbed(position, velocity, noise, time)
            position, velocity = drift(moves, position, velocity, time / 2)
        gradient = self._gradient(position)
        return KineticState(position, _kicked(velocity, time / 2, gradient), gradient)

    def _rubbed(self, position: Point, velocity: Vector, noise: Vector, time: float) -> Vector:
        """Velocity after an exact step of the Ornstein-Uhlenbeck process."""
        kept = math.exp(-self.friction * time)
        if not parts(noise):
            return scale(kept, velocity)
        size = math.sqrt(-math.expm1(-2 * self.friction * time) / self.beta)
        fresh = self._moves.tangent_projection(position, noise)
        return combine(kept, velocity, size, fresh)

    def _gradient(self, position: Point) -> Vector:
        """Lifted gradient, finite for every chain."""
        if self.energy_gradient is None:
            return ()
        state = self.walk.start(position)
        value = self.energy_gradient(copied(self.walk.below(state)))
        value = self.walk.covector(state, value)
        count = parts(position)[0].shape[0]
        dense = [x for x in parts(value) if getattr(x, "ndim", 0) and x.shape[0] == count]
        bad = first_bad(tuple(dense))
        if bad is not None:
            raise StepError(bad, "the energy gradient is not finite")
        return self._moves.codifferential(position, value)


def _kicked(velocity: Vector, time: float, gradient: Vector) -> Vector:
    """Velocity after a time under a gradient; a chain whose velocity is not finite ends here."""
    if not parts(gradient):
        return velocity
    kicked = combine(1.0, velocity, -time, gradient)
    bad = first_bad(kicked)
    if bad is not None:
        raise StepError(bad, "the step is so long that the chain diverges")
    return kicked
