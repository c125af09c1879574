"""Spaces of :func:`dlngeom.submersion.from_map`: upstairs, and their bases of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, Seed, as_generator, namespace, to_numpy
from dlngeom._lib.door import plain
from dlngeom._lib.vectors import Point, Vector, batch_axes, coordinates, parts, rebuild
from dlngeom.submersion._from_map_algebra import (
    Jet,
    Split,
    apply,
    back,
    split,
    tangent,
    vertical,
)
from dlngeom.submersion._from_map_calculus import Calculus
from dlngeom.submersion._from_map_chart import Chart, double, entered, rows, strolled
from dlngeom.submersion._from_map_checks import (
    require_on_constraint,
    require_rank,
    require_smooth,
    traced,
)
from dlngeom.submersion._from_map_walk import MapWalk
from dlngeom.submersion._given import check_like
from dlngeom.submersion._offers import Walk
from dlngeom.submersion._spaces import BasePoint, LiftedBase, RiemannianSubmersion

__all__ = ["MapSubmersion"]

# Random points at which the rank is compared with that at the example.
_TRIALS = 3
# Steps of the walk along a fibre.
_STEPS = 8


class MapSubmersion(RiemannianSubmersion):
    """Submersion of :func:`from_map`."""

    def __init__(self, phi: Any, example: Point, constraint: Any) -> None:
        self.phi, self.constraint = phi, constraint
        self._calculus = calculus = Calculus(phi, constraint, example)
        x = to_numpy(coordinates(double(example)))
        value, self._equations = traced(calculus, x)
        self._chart, self._size = Chart(calculus, example, value), x.shape[0]
        jet = Jet(*(a[0] for a in calculus.call("jet", x[None])))
        require_smooth(calculus, x, jet)
        at = split(jet, 0)
        require_rank(at, jet, None)
        require_on_constraint(at, jet, x)
        calculus.rank = int(at.rank)
        self._at(self.random_point(0, (_TRIALS,)), " at a random point")

    def __repr__(self) -> str:
        name = getattr(self.phi, "__qualname__", type(self.phi).__qualname__)
        shapes = ", ".join(str(tuple(x.shape)) for x in parts(self._chart.example))
        return f"from_map({name}, points of shape {shapes}, rank {self.dim_base})"

    def __reduce__(self) -> tuple[Any, ...]:
        return MapSubmersion, (self.phi, self._chart.example, self.constraint)

    @property
    def dim(self) -> int:
        """Unknowns minus equations."""
        return int(self._size - self._equations)

    @property
    def dim_base(self) -> int:
        """Rank of the derivative of the map."""
        return self._calculus.rank

    @property
    def dim_orbit(self) -> int:
        """Dimension of the fibres."""
        return self.dim - self.dim_base

    @property
    def base(self) -> MapBase:
        """Geometry downstairs, at pairs ``(phi(x), x)``."""
        return MapBase(self)

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Point:
        """Add Gaussian vectors to the example and move to the constraint."""
        x = to_numpy(coordinates(double(self._chart.example)))
        noise = as_generator(rng).standard_normal((*batch, self._size))
        size = np.linalg.norm(x) / math.sqrt(self._size) or 1.0
        flat = size * noise.reshape(-1, self._size)
        found = x + flat if self._equations == 0 else entered(self._calculus, x, flat)
        points = self._chart.vector(found.reshape(noise.shape), self._chart.example)
        arrays = zip(parts(points), parts(self._chart.example), strict=True)
        return rebuild(points, [np.asarray(a, dtype=to_numpy(b).dtype) for a, b in arrays])

    def project(self, point: Point) -> Point:
        """Apply the map."""
        x = self._chart.flat("point", point)
        return self._chart.down(self._chart.call("value", x), point)

    def base_point(self, point: Point) -> BasePoint:
        """Pair ``(phi(x), x)``, a point of the base."""
        return BasePoint(self.project(point), point)

    def above(self, point: Any) -> Point:
        """Second member of a pair ``(phi(x), x)``.

        Raises
        ------
        ValueError
            If it is no such pair.
        """
        if not isinstance(point, BasePoint):
            raise ValueError(
                "a value downstairs has no lift: a point of the base is the pair of phi(x) and x, "
                "pass space.base_point(x)"
            )
        self._chart.flat("point.above", point.above)
        return point.above

    def differential(self, point: Point, vector: Vector) -> Vector:
        """Apply the derivative of the map to the tangent part of a vector."""
        _, at = self._at(point)
        flat = apply(at.J, self._chart.flat("vector", vector))
        return self._chart.down(flat, point)

    def codifferential(self, point: Point, covector: Any) -> Vector:
        """Apply ``J^T`` to a covector."""
        _, at = self._at(point)
        flat = back(at.J, self._chart.flat_below("covector", covector))
        return self._chart.up(flat, point)

    def tangent_projection(self, point: Point, vector: Vector) -> Vector:
        """Vector without its components normal to the constraint."""
        return self._projected(tangent, point, vector)

    def vertical_projection(self, point: Point, vector: Vector) -> Vector:
        """Tangent vector without its component along ``J^T``."""
        return self._projected(vertical, point, vector)

    def retraction(self, point: Point, vector: Vector, *, order: int = 2) -> Point:
        """Move straight, then back to the constraint along the normal space of the start."""
        x, V = (
            self._chart.flat("point", point),
            self._chart.flat("vector", vector),
        )
        return self._chart.up(self._chart.call("retract", x, V), point)

    def mean_curvature(self, point: Point) -> Vector:
        """Mean curvature vector of the fibre, by second derivatives."""
        return self._chart.up(self._curvature(point)[0], point)

    def orbit_point(self, point: Any, rng: Seed) -> Point:
        """End of a random walk along the fibre from the second member of a pair."""
        start, generator = self.above(point), as_generator(rng)
        x = self._chart.flat("point", start)
        batch, flat = x.shape[:-1], to_numpy(rows(x))
        target = flat if self.dim_orbit == 0 else self._calculus.call("value", flat)
        for _ in range(_STEPS if self.dim_orbit else 0):
            flat = strolled(self._calculus, flat, target, generator)
        xp = namespace(x)
        found = xp.asarray(flat.reshape(*batch, self._size), dtype=x.dtype)
        return self._chart.up(found, start)

    def check_point(self, point: Point) -> Point:
        """Require the shapes of the example, the constraint and the rank."""
        point = plain("point", point)
        check_like("point", point, self._chart.example)
        self._at(point, checked=True)
        return point

    def random_walk(self, point: Point) -> Walk:
        """Walk with one compiled step."""
        return MapWalk(self)

    def moved(
        self, point: Point, noise: Vector, covector: Any, time: Any, up: Any, along: Any
    ) -> Point:
        """Step of a walk with vertical noise of size ``up`` and horizontal noise ``along``."""
        x, V = self._chart.flat("point", point), self._chart.flat("noise", noise)
        xp = namespace(x)
        zero = xp.zeros((coordinates(self._chart.value).shape[0],), dtype=x.dtype)
        slope = zero if covector is None else self._chart.flat_below("covector", covector)
        sizes = [xp.asarray(a, dtype=x.dtype)[..., None] for a in (time, up, along)]
        return self._chart.up(self._chart.call("step", x, V, slope, *sizes), point)

    def _curvature(self, point: Point) -> tuple[Array, Array]:
        """Mean curvature vector, and minus the same pushed down."""
        x, _ = self._at(point)
        H, push = self._chart.call("curvature", x)
        return H, push

    def _projected(
        self, project: Callable[[Split, Array], Array], point: Point, vector: Vector
    ) -> Vector:
        _, at = self._at(point)
        flat = project(at, self._chart.flat("vector", vector))
        return self._chart.up(flat, point)

    def _at(self, point: Point, where: str = "", *, checked: bool = False) -> tuple[Array, Split]:
        """Flat points and the splittings there, once the rank is found to be right.

        Only checked points must satisfy the constraint: stages of a flow are a little off.
        """
        x = self._chart.flat("point", point)
        jet = Jet(*self._chart.call("jet", x))
        at = split(jet, self.dim_base)
        if not _is_traced(x):
            require_rank(at, jet, self.dim_base, where)
            if checked:
                require_on_constraint(at, jet, x)
        return x, at


class MapBase(LiftedBase):
    """Base of :func:`from_map`, at pairs ``(phi(x), x)``."""

    space: MapSubmersion

    def inverse_cometric(self, point: Any, vector: Vector) -> Any:
        """Apply the pseudo-inverse of ``K``."""
        above, space = self.space.above(point), self.space
        _, at = space._at(above)
        inside = apply(at.root, space._chart.flat_below("vector", vector))
        return space._chart.down(back(at.root, inside), above)

    def check_point(self, point: Any) -> Any:
        """Require a pair of ``phi(x)`` and ``x``."""
        above = self.space.check_point(self.space.above(point))
        value = self.space.project(above)
        given = coordinates(point.value, batch_axes(point.value, self.space._chart.value))
        gap = given - coordinates(value, batch_axes(value, self.space._chart.value))
        if np.max(np.abs(to_numpy(gap))) > 1e-6 * (1 + np.max(np.abs(to_numpy(given)))):
            raise ValueError("point.value is not phi of point.above: pass space.base_point(x)")
        return point

    def random_walk(self, point: Any) -> Walk:
        """Walk upstairs by horizontal steps, seen from below."""
        return MapWalk(self.space, below_only=True)


def _is_traced(x: Array) -> bool:
    """Whether an array of jax is being compiled and has no values yet."""
    return not isinstance(x, np.ndarray) and not hasattr(x, "addressable_shards")
