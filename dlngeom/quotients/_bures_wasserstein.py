"""Factors over positive semidefinite matrices: the Bures-Wasserstein geometry."""

from __future__ import annotations

from dataclasses import dataclass

from dlngeom._lib import checks
from dlngeom._lib.arrays import (
    Array,
    Seed,
    antisymmetric,
    as_generator,
    constant,
    namespace,
    symmetric,
)
from dlngeom._lib.orbits import log_pair_means, solve_lyapunov
from dlngeom._lib.stiefel import log_orthogonal_volume, random_frame
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["BuresWasserstein"]


@dataclass(frozen=True)
class BuresWasserstein(RiemannianSubmersion):
    r"""Matrices of full column rank over their Gram matrices; the group is ``O_k``.

    .. math:: \phi(X) = X X^T, \qquad S = \tfrac12 \sum_{i<j} \log \frac{s_i^2 + s_j^2}{2}
              + \log \mathrm{vol}\, O_k

    Points upstairs are arrays ``(..., n, k)``, points downstairs matrices ``(..., n, n)`` of rank
    ``k``; ``s_i`` are the singular values of ``X``.  The metric downstairs is that of
    Bures and Wasserstein, ``1/2 tr(L Z)`` with ``L P + P L = Z``.

    Parameters
    ----------
    n, rank : int
        ``n >= k >= 1``.

    Raises
    ------
    ValueError
        If they are out of range.

    See Also
    --------
    dlngeom.check_submersion : Tests of every property of a submersion.
    dlngeom.geomstats.DeepLinearMetric : Twice this metric, for two layers at full rank.

    Notes
    -----
    Remark 9 of Menon, *The geometry of the deep linear network*.
    """

    n: int
    rank: int

    def __post_init__(self) -> None:
        checks.integer("rank", self.rank, 1, checks.integer("n", self.n, 1))

    @property
    def dim(self) -> int:
        """Dimension ``n k``."""
        return self.n * self.rank

    @property
    def dim_base(self) -> int:
        """Dimension ``n k - k (k - 1) / 2``."""
        return self.dim - self.dim_orbit

    @property
    def dim_orbit(self) -> int:
        """Dimension ``k (k - 1) / 2`` of the group."""
        return self.rank * (self.rank - 1) // 2

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Gaussian matrices."""
        return as_generator(rng).standard_normal((*batch, self.n, self.rank))

    def project(self, point: Array) -> Array:
        """Gram matrix ``X X^T``."""
        return point @ point.mT

    def differential(self, point: Array, vector: Array) -> Array:
        """Symmetric ``V X^T + X V^T``."""
        return 2 * symmetric(vector @ point.mT)

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Adjoint ``(G + G^T) X``."""
        return 2 * symmetric(covector) @ point

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Every vector is tangent."""
        return vector

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Rotation ``X A`` with ``A X^T X + X^T X A = X^T V - V^T X``."""
        return point @ solve_lyapunov(point.mT @ point, 2 * antisymmetric(point.mT @ vector), -1)

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Straight line, which is the geodesic."""
        return point + vector

    def log_orbit_volume(self, point: Array) -> Array:
        """Entropy of a matrix of rank ``k``."""
        values = namespace(point).linalg.eigh(point)[0][..., -self.rank :]
        return log_pair_means(values) + log_orthogonal_volume(self.rank)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random factor of a matrix of rank ``k``."""
        values, q = namespace(point).linalg.eigh(point)
        root = q[..., -self.rank :] * values[..., None, -self.rank :] ** 0.5
        turn = random_frame(rng, self.rank, self.rank, tuple(point.shape[:-2]))
        return root @ constant(turn, point)
