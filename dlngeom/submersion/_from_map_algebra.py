"""Geometry of a differentiable map at a point, from derivatives: batched linear algebra.

Points are vectors of ``R^M``, ``D`` the derivative of the map and ``C`` that of the constraint:
``J = D P_T`` and ``K = J J^T``, whose eigenvectors give orthonormal horizontal vectors.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from dlngeom._lib.arrays import Array, eps, namespace

__all__ = [
    "Jet",
    "Split",
    "apply",
    "back",
    "normals",
    "solve_normal",
    "split",
    "tangent",
    "vertical",
]

# Eigenvalues of ``K`` count above this fraction of the largest, or above what rounding makes.
_CUT = 1e-10


class Jet(NamedTuple):
    """Values and derivatives at points.

    Attributes
    ----------
    value : array (..., k)
        The map.
    derivative : array (..., k, M)
    defect : array (..., q)
        The constraint.
    normal : array (..., q, M)
        Derivative of the constraint.
    """

    value: Array
    derivative: Array
    defect: Array
    normal: Array


class Split(NamedTuple):
    """Splitting of the space of all vectors into normal, horizontal and vertical ones.

    Attributes
    ----------
    J : array (..., k, M)
        Derivative of the map on tangent vectors.
    N : array (..., q, M)
        Orthonormal normal vectors, ``C = triangle^T N``.
    triangle : array (..., q, q)
    B : array (..., b, M)
        Orthonormal horizontal vectors ``root J``.
    root : array (..., b, k)
        ``K^+ = root^T root``.
    rank : array (...)
        Number of eigenvalues of ``K`` that are not zero.
    regular : array (...)
        Whether the derivative of the constraint has full rank.
    """

    J: Array
    N: Array
    triangle: Array
    B: Array
    root: Array
    rank: Array
    regular: Array


def split(jet: Jet, rank: int) -> Split:
    """Split the space at points where ``K`` has a known rank; NaN where it has another."""
    N, triangle, regular = normals(jet.normal)
    J = _without(N, jet.derivative)
    values, vectors, found = _spectrum(J)
    xp, size = namespace(J), J.shape[-2]
    kept = values[..., size - rank :]
    good = xp.logical_and(found == rank, regular)[..., None]
    kept = xp.where(good, kept, math.nan * xp.ones_like(kept))
    root = vectors[..., size - rank :].mT / xp.sqrt(kept)[..., None]
    B = root @ J
    # One Newton-Schulz step squares the error of forming K.
    correction = (B @ B.mT) / 2
    root, B = 1.5 * root - correction @ root, 1.5 * B - correction @ B
    return Split(J, N, triangle, B, root, found, regular)


def normals(C: Array) -> tuple[Array, Array, Array]:
    """Orthonormal rows, their triangle, and whether no row depends on the others."""
    xp = namespace(C)
    if C.shape[-2] == 0:
        return C, C @ C.mT, xp.sum(C, axis=(-2, -1)) == 0
    q, r = xp.linalg.qr(C.mT)
    lengths = xp.linalg.vector_norm(C, axis=-1)
    own = xp.abs(xp.linalg.diagonal(r))
    least = max(_CUT**0.5, 100 * C.shape[-1] * eps(C))
    return q.mT, r, xp.all(own > least * lengths, axis=-1)


def _spectrum(J: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues, eigenvectors and rank of ``J J^T``."""
    xp = namespace(J)
    values, vectors = xp.linalg.eigh(J @ J.mT)
    least = max(_CUT, 10 * J.shape[-2] * eps(J))
    return values, vectors, xp.sum(values > least * xp.abs(values[..., -1:]), axis=-1)


def _without(rows: Array, vectors: Array) -> Array:
    """Rows of ``vectors`` without their components along orthonormal ``rows``."""
    return vectors - (vectors @ rows.mT) @ rows


def apply(matrix: Array, vector: Array) -> Array:
    """Product of matrices with vectors."""
    return (matrix @ vector[..., None])[..., 0]


def back(matrix: Array, vector: Array) -> Array:
    """Product of transposed matrices with vectors."""
    return apply(matrix.mT, vector)


def tangent(at: Split, vector: Array) -> Array:
    """Tangent part of a vector."""
    return vector - back(at.N, apply(at.N, vector))


def vertical(at: Split, vector: Array) -> Array:
    """Part of a vector along the fibre."""
    inside = tangent(at, vector)
    inside = inside - back(at.B, apply(at.B, inside))
    # Twice, since a short rest of long vectors keeps their rounding errors.
    return inside - back(at.B, apply(at.B, inside))


def solve_normal(N: Array, triangle: Array, values: Array) -> Array:
    """Shortest vector along which the constraint changes at given rates."""
    if N.shape[-2] == 0:
        return back(N, values)
    inside = namespace(values).linalg.solve(triangle.mT, values[..., None])[..., 0]
    return back(N, inside)
