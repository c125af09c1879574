"""Products of submersions, for products of pymanopt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlngeom._lib.arrays import Array, Seed, as_generator
from dlngeom._lib.vectors import parts
from dlngeom.submersion import RiemannianSubmersion
from dlngeom.submersion._given import point_upstairs
from dlngeom.submersion._spaces import embedding

__all__ = ["ProductSpace"]


@dataclass(frozen=True, repr=False)
class ProductSpace(RiemannianSubmersion):
    """Submersion of :func:`from_manifold`: tuples of points of several spaces."""

    spaces: tuple[RiemannianSubmersion, ...]

    def __repr__(self) -> str:
        return f"from_manifold({' x '.join(map(repr, self.spaces))})"

    @property
    def dim(self) -> int:
        """Sum of the dimensions."""
        return sum(x.dim for x in self.spaces)

    @property
    def dim_base(self) -> int:
        """Sum of the dimensions of the bases."""
        return sum(x.dim_base for x in self.spaces)

    @property
    def dim_orbit(self) -> int:
        """Sum of the dimensions of the orbits."""
        return sum(x.dim_orbit for x in self.spaces)

    def check_point(self, point: Any) -> tuple[Any, ...]:
        """Return a tuple of points of the spaces.

        Raises
        ------
        ValueError
            If there is another number of them, one is not of its space, or their batches differ.
        """
        if not isinstance(point, (tuple, list)) or len(point) != len(self.spaces):
            raise ValueError(f"the point must be a tuple of {len(self.spaces)} points: {self}")
        pairs = zip(self.spaces, point, strict=True)
        found = tuple(point_upstairs(space, x) for space, x in pairs)
        axes = [x.shape for x in map(_first, self.random_point(0))]
        batches = {
            _first(x).shape[: _first(x).ndim - len(a)] for x, a in zip(found, axes, strict=True)
        }
        if len(batches) > 1:
            raise ValueError(f"the points have batch axes {sorted(batches)}: they must agree")
        return found

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> tuple[Any, ...]:
        """Random points of all spaces."""
        rng = as_generator(rng)
        return tuple(space.random_point(rng, batch) for space in self.spaces)

    def embedding(self, point: Sequence[Any]) -> tuple[Any, ...]:
        """Ambient positions."""
        return tuple(embedding(*pair) for pair in zip(self.spaces, point, strict=True))

    def orbit_point(self, point: Sequence[Any], rng: Seed) -> tuple[Any, ...]:
        """Random points of the orbits."""
        rng = as_generator(rng)
        return tuple(s.orbit_point(x, rng) for s, x in zip(self.spaces, point, strict=True))

    def log_orbit_volume(self, point: Sequence[Any]) -> Array:
        """Sum of the entropies."""
        first, *others = self._of_parts("log_orbit_volume", point)
        total: Array = sum(others, first)
        return total

    def project(self, point: Sequence[Any]) -> tuple[Any, ...]:
        """Project every point."""
        return self._of_parts("project", point)

    def differential(self, point: Sequence[Any], vector: Sequence[Any]) -> tuple[Any, ...]:
        """Apply every differential."""
        return self._of_parts("differential", point, vector)

    def codifferential(self, point: Sequence[Any], covector: Sequence[Any]) -> tuple[Any, ...]:
        """Apply every adjoint."""
        return self._of_parts("codifferential", point, covector)

    def tangent_projection(self, point: Sequence[Any], vector: Sequence[Any]) -> tuple[Any, ...]:
        """Project every vector."""
        return self._of_parts("tangent_projection", point, vector)

    def vertical_projection(self, point: Sequence[Any], vector: Sequence[Any]) -> tuple[Any, ...]:
        """Project every vector on its orbit."""
        return self._of_parts("vertical_projection", point, vector)

    def retraction(
        self, point: Sequence[Any], vector: Sequence[Any], *, order: int = 2
    ) -> tuple[Any, ...]:
        """Move every point."""
        triples = zip(self.spaces, point, vector, strict=True)
        return tuple(space.retraction(x, V, order=order) for space, x, V in triples)

    def _of_parts(self, method: str, *values: Sequence[Any]) -> tuple[Any, ...]:
        rows = zip(self.spaces, *values, strict=True)
        return tuple(getattr(space, method)(*row) for space, *row in rows)


def _first(point: Any) -> Array:
    return parts(point)[0]
