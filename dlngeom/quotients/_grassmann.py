"""Orthonormal frames over the subspaces that they span."""

from __future__ import annotations

from dataclasses import dataclass

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, antisymmetric, constant, namespace, polar, symmetric
from dlngeom._lib.stiefel import log_orthogonal_volume, random_frame
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["Grassmann"]


@dataclass(frozen=True)
class Grassmann(RiemannianSubmersion):
    r"""Orthonormal frames over the projectors on their spans; the group is ``O_k``.

    .. math:: \phi(X) = X X^T, \qquad S = \log \mathrm{vol}\, O_k

    Points upstairs are arrays ``(..., n, k)`` with orthonormal columns, points downstairs
    projectors ``(..., n, n)``.  The orbits are minimal: there is no entropic force.

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
    dlngeom.pymanopt.from_manifold : Manifolds of pymanopt as submersions, with the trivial group.

    Notes
    -----
    An instance of Section 12.1 of Menon, *The geometry of the deep linear network*.
    """

    n: int
    rank: int

    def __post_init__(self) -> None:
        checks.integer("rank", self.rank, 1, checks.integer("n", self.n, 1))

    @property
    def dim(self) -> int:
        """Dimension of the Stiefel manifold."""
        return self.dim_base + self.dim_orbit

    @property
    def dim_base(self) -> int:
        """Dimension ``k (n - k)``."""
        return self.rank * (self.n - self.rank)

    @property
    def dim_orbit(self) -> int:
        """Dimension ``k (k - 1) / 2`` of the group."""
        return self.rank * (self.rank - 1) // 2

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Uniform frames."""
        return random_frame(rng, self.n, self.rank, batch)

    def project(self, point: Array) -> Array:
        """Projector on the span."""
        return point @ point.mT

    def differential(self, point: Array, vector: Array) -> Array:
        """Symmetric ``V X^T + X V^T``."""
        return 2 * symmetric(vector @ point.mT)

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Adjoint ``(I - X X^T) (G + G^T) X``."""
        image = 2 * symmetric(covector) @ point
        return image - point @ (point.mT @ image)

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Subtract ``X sym(X^T V)``."""
        return vector - point @ symmetric(point.mT @ vector)

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Rotation ``X skew(X^T V)`` within the span."""
        return point @ antisymmetric(point.mT @ vector)

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Polar factor of ``X + V``: the nearest frame, of second order."""
        return polar(point + vector)

    def log_orbit_volume(self, point: Array) -> Array:
        """Constant entropy."""
        return point[..., 0, 0] * 0 + log_orthogonal_volume(self.rank)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random frame of a subspace."""
        basis = namespace(point).linalg.eigh(point)[1][..., -self.rank :]
        turn = random_frame(rng, self.rank, self.rank, tuple(point.shape[:-2]))
        return basis @ constant(turn, point)
