"""Manifolds of pymanopt in ambient arrays, whatever form their points and vectors have."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom.pymanopt._given_manifolds import rotation_part

__all__ = ["AmbientMatrices", "AmbientVectors", "HorizontalVectors"]


class AmbientVectors:
    """Manifold with tangent vectors of its own form, such as an element of a Lie algebra."""

    def __init__(self, manifold: Any) -> None:
        self._manifold, self.dim = manifold, manifold.dim

    def __str__(self) -> str:
        return str(self._manifold)

    def random_point(self) -> Array:
        """Random point."""
        return self._dense(self._manifold.random_point())

    def random_tangent_vector(self, point: Array) -> Array:
        """Random tangent vector."""
        at = self._given(point)
        return self._ambient(at, self._manifold.random_tangent_vector(at))

    def inner_product(self, point: Array, first: Array, second: Array) -> Any:
        """Inner product of tangent vectors."""
        at = self._given(point)
        vectors = (self._manifold.projection(at, V) for V in (first, second))
        return self._manifold.inner_product(at, *vectors)

    def projection(self, point: Array, vector: Array) -> Array:
        """Orthogonal projection on the tangent space."""
        at = self._given(point)
        return self._ambient(at, self._manifold.projection(at, vector))

    def retraction(self, point: Array, vector: Array) -> Array:
        """Move by the retraction."""
        return self._moved("retraction", point, vector)

    def exp(self, point: Array, vector: Array) -> Array:
        """Move by the exponential map."""
        return self._moved("exp", point, vector)

    def _moved(self, method: str, point: Array, vector: Array) -> Array:
        at = self._given(point)
        return self._dense(
            getattr(self._manifold, method)(at, self._manifold.projection(at, vector))
        )

    def _given(self, point: Array) -> Any:
        """Point as the manifold wants it."""
        return point

    def _dense(self, point: Any) -> Array:
        """Point as an array."""
        return np.asarray(point)

    def _ambient(self, point: Any, vector: Any) -> Array:
        """Tangent vector as an array."""
        return np.asarray(self._manifold.embedding(point, vector))


class AmbientMatrices(AmbientVectors):
    """Manifold of matrices of fixed rank with points ``(u, s, vt)``."""

    def __init__(self, manifold: Any) -> None:
        super().__init__(manifold)
        example = manifold.random_point()
        self._rank, self._made = len(example.s), type(example)

    def _given(self, point: Array) -> Any:
        rank = self._rank
        u, s, vt = np.linalg.svd(point, full_matrices=False)
        if not s[rank - 1] > np.finfo(s.dtype).eps * s[0]:
            raise ValueError(f"the point has a rank below {rank}: on {self} it has this rank")
        return self._made(u[:, :rank], s[:rank], vt[:rank])

    def _dense(self, point: Any) -> Array:
        return np.asarray((point.u * point.s) @ point.vt)

    def _ambient(self, point: Any, vector: Any) -> Array:
        left, middle, right = self._manifold.embedding(point, vector)
        return np.asarray(left @ middle @ right.T)


class HorizontalVectors(AmbientVectors):
    """Quotient by rotations from the right, with its horizontal projection.

    That of pymanopt's ``Elliptope`` is not orthogonal to the orbits: gradients are projected on the
    tangent space upstairs, and what is along the orbits is taken away.
    """

    def projection(self, point: Array, vector: Array) -> Array:
        """Orthogonal projection on the horizontal space."""
        inside = np.asarray(self._manifold.euclidean_to_riemannian_gradient(point, vector))
        return inside - rotation_part(point, inside)

    def inner_product(self, point: Array, first: Array, second: Array) -> Any:
        """Inner product of tangent vectors."""
        return self._manifold.inner_product(point, first, second)

    def _moved(self, method: str, point: Array, vector: Array) -> Array:
        return np.asarray(getattr(self._manifold, method)(point, vector))
