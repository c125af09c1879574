r"""Largest curvature of an energy along a space, by power iteration on differences of gradients.

All of it is computed by numpy, on copies of the points, since compiling it would take longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dlngeom._lib.arrays import Array, constant, eps, to_numpy
from dlngeom._lib.vectors import Point, coordinates, copied, from_coordinates, parts, rebuild
from dlngeom.network import _layers
from dlngeom.points import _covectors
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._offers import Walk
from dlngeom.submersion._spaces import embedding

__all__ = ["Ground", "ground_of", "largest_curvature", "numpy_gradient"]

# Rounds of power iteration: the norm has converged to a few percent, enough for a step size.
_ROUNDS = 20
_CONVERGED = 0.01


class Ground(Protocol):
    """Where curvature is measured: vectors are coordinates ``(chain, size)``."""

    def slope(self, point: Point) -> np.ndarray:
        """Gradient whose derivative is the Hessian."""

    def moved(self, point: Point, vector: np.ndarray) -> Point:
        """Points of curves with velocity ``vector``."""

    def along(self, point: Point, vector: np.ndarray) -> np.ndarray:
        """Tangent part of a vector."""


def numpy_gradient(gradient: Callable[[Any], Any], like: Array) -> Callable[[Any], Any]:
    """Energy gradient that takes and returns numpy arrays, for one of the library of ``like``."""
    if isinstance(like, np.ndarray):
        return gradient

    def translated(below: Any) -> Any:
        given = rebuild(below, [constant(x, like) for x in parts(below)])
        value = gradient(given)
        return rebuild(value, [to_numpy(x) for x in parts(value)])

    return translated


@dataclass(frozen=True)
class _Energy:
    """Covectors of an energy at numpy points."""

    walk: Walk
    gradient: Callable[[Any], Any]

    def __call__(self, point: Point) -> Any:
        state = self.walk.start(point)
        return self.walk.covector(state, self.gradient(copied(self.walk.below(state))))


@dataclass(frozen=True)
class _Upstairs:
    r"""Hessian ``P D(grad L)`` of a lifted energy along the manifold upstairs."""

    space: RiemannianSubmersion
    energy: _Energy

    def slope(self, point: Point) -> np.ndarray:
        """Lifted gradient."""
        return _plain(self.space.codifferential(point, self.energy(point)))

    def moved(self, point: Point, vector: np.ndarray) -> Point:
        """Retraction of the space."""
        return self.space.retraction(point, self._ambient(point, vector))

    def along(self, point: Point, vector: np.ndarray) -> np.ndarray:
        """Tangent projection of the space."""
        return _plain(self.space.tangent_projection(point, self._ambient(point, vector)))

    def _ambient(self, point: Point, vector: np.ndarray) -> Any:
        return from_coordinates(vector, embedding(self.space, point), 1)


@dataclass(frozen=True)
class _Downstairs:
    """Operator ``Y -> E''(A Y)`` of covectors: at a minimum it has the curvatures downstairs."""

    base: Base
    energy: _Energy

    def slope(self, point: Point) -> np.ndarray:
        """Covector of the energy."""
        return _plain(_dense(self.energy(point)))

    def moved(self, point: Point, vector: np.ndarray) -> Point:
        """Retraction of the base along the vector of a covector."""
        covector = from_coordinates(vector, _dense(self.energy(point)), 1)
        return self.base.retraction(point, self.base.cometric(point, covector))

    def along(self, point: Point, vector: np.ndarray) -> np.ndarray:
        """Return the covector itself."""
        return vector


@dataclass(frozen=True)
class _Layers:
    """Hessian of a lifted energy in the ambient space of all layers."""

    energy: _Energy

    def slope(self, point: Point) -> np.ndarray:
        """Lifted gradient."""
        return _plain(_layers.lift(point, self.energy(point)))

    def moved(self, point: Point, vector: np.ndarray) -> Point:
        """Sum of a point and a vector."""
        return from_coordinates(coordinates(point, 1) + vector, point, 1)

    def along(self, point: Point, vector: np.ndarray) -> np.ndarray:
        """Return the vector itself."""
        return vector


def _dense(covector: Any) -> Any:
    """Covector as an array, or as the tuple that it is where no network has it."""
    return covector if type(covector) is tuple else _covectors.to_dense(covector)


def _plain(vector: Any) -> np.ndarray:
    return to_numpy(coordinates(vector, 1))


def ground_of(space: Any, walk: Walk, gradient: Callable[[Any], Any]) -> Ground:
    """Return the ground of a walk of numpy points; without a space it is that of plain layers."""
    energy = _Energy(walk, gradient)
    if space is None:
        return _Layers(energy)
    if isinstance(space, RiemannianSubmersion):
        return _Upstairs(space, energy)
    return _Downstairs(space, energy)


def largest_curvature(ground: Ground, point: Point) -> np.ndarray:
    """Largest eigenvalue ``(chain,)`` of the Hessian at each of some points, at least zero."""
    slope = ground.slope(point)
    start = np.random.default_rng(0).standard_normal(slope.shape).astype(slope.dtype)
    size = eps(slope) ** (1 / 3) * np.maximum(_norm(_plain(point)), 1e-8)

    def hessian(vector: np.ndarray) -> np.ndarray:
        ends = [ground.slope(ground.moved(point, sign * size * vector)) for sign in (1, -1)]
        return ground.along(point, (ends[0] - ends[1]) / (2 * size))

    direction = _unit(ground.along(point, start))
    value, radius = _iterated(hessian, direction, np.zeros_like(size))
    if np.any(value < 0):
        # The largest eigenvalue of a shifted Hessian is its largest in size.
        value = _iterated(hessian, direction, radius)[0]
    return np.asarray(np.maximum(value[:, 0], 0.0))


def _iterated(
    hessian: Callable[[np.ndarray], np.ndarray], direction: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalue of largest size of ``hessian + shift``, less the shift, and that size."""
    before = radius = np.zeros_like(shift)
    sign = np.ones_like(shift)
    for _ in range(_ROUNDS):
        image = hessian(direction) + shift * direction
        radius = _norm(image)
        sign = np.where(np.sum(image * direction, axis=-1, keepdims=True) < 0, -1.0, 1.0)
        if np.all(np.abs(radius - before) <= _CONVERGED * radius):
            break
        direction, before = _unit(image), radius
    return sign * radius - shift, radius


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=-1, keepdims=True))


def _unit(vectors: np.ndarray) -> np.ndarray:
    size = _norm(vectors)
    return np.asarray(vectors / np.where(size > 0, size, 1.0))
