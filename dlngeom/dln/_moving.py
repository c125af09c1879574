"""Balanced networks inside the loop of a sampler: projections and retraction without checks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dlngeom._lib.arrays import Array
from dlngeom.balanced._curves import corrected, fast_move, retract, turned
from dlngeom.balanced._geometry import tangent_part
from dlngeom.balanced._in_frames import assemble, resolve
from dlngeom.network import _layers
from dlngeom.points import Frames
from dlngeom.points._covectors import Covector

__all__ = ["MovingNetwork"]


class MovingNetwork:
    """Networks whose points and vectors were checked when a run began."""

    def embedding(self, point: Frames) -> tuple[Array, ...]:
        """Layers of a network."""
        lam = point.lam[..., None, :]
        return tuple((upper * lam) @ lower.mT for lower, upper in pairwise(point.q))

    def tangent_projection(self, point: Frames, vector: Sequence[Array]) -> tuple[Array, ...]:
        """Tangent part of layers."""
        return assemble(point, tangent_part(point, resolve(point, vector)))

    def retraction(self, point: Frames, vector: Sequence[Array], *, order: int = 2) -> Frames:
        """Move along a tangent vector; square frames by Cayley transforms."""
        V = tangent_part(point, resolve(point, vector))
        if order == 1:
            return retract(point, V)
        return turned(point, *corrected(point, V), fast_move)

    def codifferential(self, point: Frames, covector: Covector) -> tuple[Array, ...]:
        """Gradient of the layers (3.6), tangent and horizontal."""
        lifted = _layers.lift(self.embedding(point), covector)
        return self.tangent_projection(point, lifted) if len(lifted) == 1 else lifted
