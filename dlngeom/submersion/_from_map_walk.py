"""Random walk in the submersion of a map: one compiled step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Vector
from dlngeom.submersion._offers import Draw, WalkState
from dlngeom.submersion._walks import gaussian, same_shapes

__all__ = ["MapWalk"]


@dataclass(frozen=True)
class MapWalk:
    """Walk of the noise of a map; the state is the point upstairs.

    Attributes
    ----------
    space : submersion of a map
    below_only : bool
        Whether it walks downstairs: its points are pairs, and no noise is vertical.
    """

    space: Any
    below_only: bool = False
    compiles = True

    def start(self, point: Any) -> WalkState:
        """Point upstairs."""
        return self.space.above(point) if self.below_only else point

    def point(self, state: WalkState) -> Any:
        """Point upstairs, or the pair that it makes."""
        return self.space.base_point(state) if self.below_only else state

    def below(self, state: WalkState) -> Any:
        """Value downstairs."""
        return self.space.project(state)

    def covector(self, state: WalkState, value: Any) -> Any:
        """Require the shapes of a value downstairs."""
        return same_shapes(self.below(state), value)

    def noise(self, state: WalkState, draw: Draw) -> Vector:
        """Gaussian vector in the ambient space."""
        return gaussian(state, draw)

    def step(
        self,
        state: WalkState,
        noise: Vector,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> WalkState:
        """Step with all projections and the retraction in one compiled function."""
        return self.space.moved(
            state, noise, covector, time, 0.0 if self.below_only else vertical, horizontal
        )

    def reach(self, state: WalkState) -> Array | None:
        """No limit is known."""
        return None
