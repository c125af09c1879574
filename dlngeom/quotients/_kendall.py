"""Configurations of landmarks over their shapes: Kendall's shape space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import (
    Array,
    Seed,
    antisymmetric,
    as_generator,
    constant,
    identity,
    inner,
    namespace,
    symmetric,
)
from dlngeom._lib.orbits import great_circle, log_pair_means, solve_lyapunov
from dlngeom._lib.stiefel import log_orthogonal_volume, random_frame
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["KendallShapes"]

Shape: TypeAlias = tuple[Array, Array]


@dataclass(frozen=True)
class KendallShapes(RiemannianSubmersion):
    r"""Configurations of ``k`` landmarks in ``R^m`` over their shapes; the group is ``SO_m``.

    .. math:: \phi(X) = \big(X X^T,\ (\det X_I)_{|I| = m}\big), \qquad
              S = \tfrac12 \sum_{i<j} \log \frac{s_i^2 + s_j^2}{2} + \log \mathrm{vol}\, SO_m

    Points upstairs are arrays ``(..., k, m)`` of unit norm whose rows, the landmarks, have mean
    zero.  Points downstairs are tuples of the Gram matrix ``(..., k, k)`` and the minors
    ``(...,)`` of all ``m`` rows in order; they tell a shape from its mirror image.
    ``s_i`` are the singular values of ``X``.

    Parameters
    ----------
    landmarks : int
        ``k >= 3``.
    dimension : int
        ``m >= 1``, at most ``k``.

    Raises
    ------
    ValueError
        If they are out of range.

    See Also
    --------
    dlngeom.quotients.ComplexProjective : Shapes in the plane, with ``n = k - 2``.
    dlngeom.check_submersion : Tests of every property of a submersion.

    Notes
    -----
    Singular where the landmarks span less than ``m - 1`` dimensions and rotations fix them, as on a
    line in ``R^3``: the orbit has a smaller dimension there, and its entropy is minus infinity.
    Mirror images are one point only if they are the same shape, landmarks in ``m - 1`` dimensions.
    The retraction is the exponential map.

    An instance of Section 12.1 of Menon, *The geometry of the deep linear network*; see Kendall,
    *Shape manifolds, Procrustean metrics, and complex projective spaces* (1984).
    """

    landmarks: int
    dimension: int

    def __post_init__(self) -> None:
        checks.integer(
            "dimension", self.dimension, 1, checks.integer("landmarks", self.landmarks, 3)
        )

    @property
    def dim(self) -> int:
        """Dimension ``m (k - 1) - 1`` of the sphere."""
        return self.dimension * (self.landmarks - 1) - 1

    @property
    def dim_base(self) -> int:
        """Dimension of the shapes."""
        return self.dim - self.dim_orbit

    @property
    def dim_orbit(self) -> int:
        """Dimension ``m (m - 1) / 2`` of the group."""
        return self.dimension * (self.dimension - 1) // 2

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Gaussian landmarks, which are uniform on the sphere."""
        x = as_generator(rng).standard_normal((*batch, self.landmarks, self.dimension))
        return self.retraction(x, 0 * x)

    def project(self, point: Array) -> Shape:
        """Gram matrix and minors."""
        chosen = self._chosen(point) @ point[..., None, :, :]
        return point @ point.mT, namespace(point).linalg.det(chosen)

    def differential(self, point: Array, vector: Array) -> Shape:
        """Symmetric ``V X^T + X V^T``, and minors by cofactors."""
        chosen = self._chosen(point)
        minors = inner(self._cofactors(point), chosen @ vector[..., None, :, :])
        return 2 * symmetric(vector @ point.mT), minors

    def codifferential(self, point: Array, covector: Shape) -> Array:
        """Tangent part of the adjoint."""
        gram, minors = covector
        image = 2 * symmetric(gram) @ point + self._spread(point, minors)
        return self.tangent_projection(point, image)

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Subtract the mean of the rows and the part along the point."""
        V = _centred(vector)
        return V - point * inner(point, V)[..., None, None]

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Rotation ``X A`` with ``A X^T X + X^T X A = X^T V - V^T X``."""
        return point @ solve_lyapunov(point.mT @ point, 2 * antisymmetric(point.mT @ vector), -1)

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Great circle, the geodesic."""
        return great_circle(_centred(point), _centred(vector), (-2, -1))

    def log_orbit_volume(self, point: Shape) -> Array:
        """Entropy of a shape."""
        values = namespace(*point).linalg.eigh(point[0])[0][..., -self.dimension :]
        values = namespace(values).maximum(values, 0 * values)
        return log_pair_means(values) + log_orthogonal_volume(self.dimension) - math.log(2)

    def orbit_point(self, point: Shape, rng: Seed) -> Array:
        """Uniform random configuration of a shape."""
        (gram, minors), m, xp = point, self.dimension, namespace(*point)
        values, q = (x[..., gram.shape[-1] + 1 - m :] for x in xp.linalg.eigh(gram))
        flat = xp.concat([q * xp.sqrt(values)[..., None, :], 0 * gram[..., :1]], axis=-1)
        # The minors are linear in the last column, which may be too small for the Gram matrix.
        column = self._spread(flat, minors)[..., -1:] / xp.prod(values, axis=-1)[..., None, None]
        turn = random_frame(rng, m, m, tuple(gram.shape[:-2]))
        turn[..., 0] *= np.linalg.det(turn)[..., None]
        return xp.concat([flat[..., :-1], column], axis=-1) @ constant(turn, gram)

    def _spread(self, point: Array, minors: Array) -> Array:
        """Adjoint of the derivative of the minors."""
        weighted = minors[..., None, None] * self._cofactors(point)
        return namespace(point).sum(self._chosen(point).mT @ weighted, axis=-3)

    def _chosen(self, like: Array) -> Array:
        """Matrices that choose ``m`` rows in order."""
        rows = list(combinations(range(self.landmarks), self.dimension))
        return constant(np.eye(self.landmarks)[rows], like)

    def _cofactors(self, point: Array) -> Array:
        """Differentiate the minors in their entries, also where they are zero."""
        xp, unit = namespace(point), identity(self.dimension, point)
        x = (self._chosen(point) @ point[..., None, :, :])[..., None, None, :, :]
        column = unit[None, :, None, :] > 0
        return xp.linalg.det(xp.where(column, unit[:, None, :, None], x))


def _centred(x: Array) -> Array:
    return x - namespace(x).mean(x, axis=-2, keepdims=True)
