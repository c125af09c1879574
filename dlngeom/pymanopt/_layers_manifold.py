"""What manifolds of layers with the Frobenius metric share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from pymanopt.manifolds.manifold import Manifold
from pymanopt.tools import ndarraySequenceMixin

from dlngeom._lib.arrays import Array

__all__ = ["LayersManifold", "LayersVector"]


class LayersVector(ndarraySequenceMixin, tuple[Array, ...]):  # type: ignore[misc]
    """Vector ``(V_1, ..., V_N)`` with arithmetic layer by layer."""

    __slots__ = ()

    def __add__(self, other: Any) -> LayersVector:
        return LayersVector(x + y for x, y in zip(self, other, strict=True))

    def __sub__(self, other: Any) -> LayersVector:
        return LayersVector(x - y for x, y in zip(self, other, strict=True))

    def __mul__(self, other: float) -> LayersVector:  # type: ignore[override]
        return LayersVector(other * x for x in self)

    __rmul__ = __mul__  # type: ignore[assignment]

    def __truediv__(self, other: float) -> LayersVector:
        return LayersVector(x / other for x in self)

    def __neg__(self) -> LayersVector:
        return LayersVector(-x for x in self)


class LayersManifold(Manifold):  # type: ignore[misc]
    """Submanifold of the space of all layers; what is left to it are its points."""

    _rng: np.random.Generator

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of layers."""

    @abstractmethod
    def _require(self, point: Any) -> None:
        """Raise an error unless a point is one of the manifold."""

    def inner_product(self, point: Any, tangent_vector_a: Any, tangent_vector_b: Any) -> float:
        """Frobenius inner product."""
        pairs = zip(self._layers(tangent_vector_a), self._layers(tangent_vector_b), strict=True)
        return sum(float(np.vdot(x, y)) for x, y in pairs)

    def norm(self, point: Any, tangent_vector: Any) -> float:
        """Frobenius norm."""
        return math.sqrt(self.inner_product(point, tangent_vector, tangent_vector))

    def transport(self, point_a: Any, point_b: Any, tangent_vector_a: Any) -> Any:
        """Orthogonal projection on the tangent space at the other point."""
        return self.projection(point_b, tangent_vector_a)

    def log(self, point_a: Any, point_b: Any) -> Any:
        """Tangent part of the difference: not the logarithm, but equal to first order."""
        for point in (point_a, point_b):
            self._require(point)
        pairs = zip(self._layers(point_b), self._layers(point_a), strict=True)
        return self.projection(point_a, self._vector(b - a for b, a in pairs))

    def dist(self, point_a: Any, point_b: Any) -> float:
        """Length of :meth:`log`, the Riemannian distance to first order."""
        return self.norm(point_a, self.log(point_a, point_b))

    def pair_mean(self, point_a: Any, point_b: Any) -> Any:
        """Retraction of half of :meth:`log`."""
        return self.retraction(point_a, self.log(point_a, point_b) / 2)

    def random_tangent_vector(self, point: Any) -> Any:
        """Tangent vector of length one, uniform on the unit sphere."""
        noise = self._vector(self._rng.standard_normal(x.shape) for x in self._layers(point))
        vector = self.projection(point, noise)
        return vector / self.norm(point, vector)

    def zero_vector(self, point: Any) -> Any:
        """Zero of the tangent space."""
        return self._vector(np.zeros_like(x) for x in self._layers(point))

    def _layers(self, value: Any) -> tuple[Array, ...]:
        return (value,) if self.depth == 1 else tuple(value)

    def _vector(self, layers: Iterable[Array]) -> Any:
        return next(iter(layers)) if self.depth == 1 else LayersVector(layers)
