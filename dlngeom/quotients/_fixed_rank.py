"""Balanced pairs of factors over the matrices of fixed rank: the network of two layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dlngeom._lib import checks
from dlngeom._lib.arrays import (
    Array,
    Seed,
    antisymmetric,
    as_generator,
    constant,
    namespace,
    polar,
    symmetric,
)
from dlngeom._lib.orbits import log_pair_means, solve_lyapunov
from dlngeom._lib.stiefel import log_orthogonal_volume, random_frame
from dlngeom.dln import EndToEndGeometry
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["FixedRank"]

Pair: TypeAlias = tuple[Array, Array]


@dataclass(frozen=True)
class FixedRank(RiemannianSubmersion):
    r"""Factors made balanced over their product; what is left of ``GL_r`` is ``O_r``.

    .. math:: \phi(L, R) = L R^T, \quad L^T L = R^T R, \qquad
              S = \tfrac12 \sum_{i<j} \log(\sigma_i + \sigma_j) + \log \mathrm{vol}\, O_r

    Points upstairs are tuples of arrays ``(..., m, r)`` and ``(..., n, r)``, points downstairs
    matrices ``(..., m, n)`` of rank ``r`` with singular values ``sigma_i``.  This is the deep
    linear network of widths ``(n, r, m)``, ``W_1 = R^T`` and ``W_2 = L``, and downstairs ``g^2``.

    Parameters
    ----------
    m, n, rank : int
        ``min(m, n) >= r >= 1``.

    Raises
    ------
    ValueError
        If they are out of range.

    See Also
    --------
    dlngeom.DeepLinearNetwork : The same in frames, at any depth.
    dlngeom.quotients.BuresWasserstein : The symmetric matrices among them, ``L = R``.

    Notes
    -----
    Theorems 13 and 14 of Menon, *The geometry of the deep linear network*, for two layers.
    """

    m: int
    n: int
    rank: int

    def __post_init__(self) -> None:
        least = min(checks.integer("m", self.m, 1), checks.integer("n", self.n, 1))
        checks.integer("rank", self.rank, 1, least)

    @property
    def dim(self) -> int:
        """Dimension of the balanced pairs."""
        return self.dim_base + self.dim_orbit

    @property
    def dim_base(self) -> int:
        """Dimension ``r (m + n - r)``."""
        return self.rank * (self.m + self.n - self.rank)

    @property
    def dim_orbit(self) -> int:
        """Dimension ``r (r - 1) / 2`` of the group."""
        return self.rank * (self.rank - 1) // 2

    @property
    def base(self) -> EndToEndGeometry:
        """Matrices with the metric ``g^2``, which knows its geodesics."""
        return EndToEndGeometry(self.m, self.n, self.rank, 2)

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Pair:
        """Gaussian factors, balanced."""
        rng = as_generator(rng)
        return _balanced(*(rng.standard_normal((*batch, d, self.rank)) for d in (self.m, self.n)))

    def project(self, point: Pair) -> Array:
        """Product ``L R^T``."""
        return point[0] @ point[1].mT

    def differential(self, point: Pair, vector: Pair) -> Array:
        """Product rule."""
        return vector[0] @ point[1].mT + point[0] @ vector[1].mT

    def codifferential(self, point: Pair, covector: Array) -> Pair:
        """Adjoint ``(G R, G^T L)``."""
        return covector @ point[1], covector.mT @ point[0]

    def tangent_projection(self, point: Pair, vector: Pair) -> Pair:
        """Subtract ``(L S, -R S)`` with ``S`` symmetric, which is normal."""
        (L, R), (V, U) = point, vector
        S = solve_lyapunov(L.mT @ L, symmetric(L.mT @ V - R.mT @ U), 1)
        return V - L @ S, U + R @ S

    def vertical_projection(self, point: Pair, vector: Pair) -> Pair:
        """Rotation ``(L A, R A)`` with ``A`` antisymmetric."""
        (L, R), (V, U) = point, vector
        A = solve_lyapunov(L.mT @ L, antisymmetric(L.mT @ V + R.mT @ U), -1)
        return L @ A, R @ A

    def retraction(self, point: Pair, vector: Pair, *, order: int = 2) -> Pair:
        """Balance ``(L + V, R + U)``, along normal vectors: of second order."""
        return _balanced(*(x + v for x, v in zip(point, vector, strict=True)))

    def log_orbit_volume(self, point: Array) -> Array:
        """Entropy of a matrix of rank ``r``."""
        values = namespace(point).linalg.svdvals(point)[..., : self.rank]
        return log_pair_means(2 * values) + log_orthogonal_volume(self.rank)

    def orbit_point(self, point: Array, rng: Seed) -> Pair:
        """Uniform random balanced factors of a matrix of rank ``r``."""
        xp, r = namespace(point), self.rank
        u, s, vt = xp.linalg.svd(point, full_matrices=False)
        turn = constant(random_frame(rng, r, r, tuple(point.shape[:-2])), point)
        turn = xp.sqrt(s[..., :r, None]) * turn
        return u[..., :r] @ turn, vt[..., :r, :].mT @ turn


def _balanced(left: Array, right: Array) -> Pair:
    """Balanced ``(L T, R T^{-1})`` with ``T`` symmetric and positive definite."""
    linalg = namespace(left).linalg
    (q, a), (p, b) = linalg.qr(left), linalg.qr(right)
    u, s, vt = linalg.svd(a @ b.mT)
    root = s[..., None, :] ** 0.5
    turn = polar((u / root).mT @ a)
    return q @ (u * root) @ turn, p @ (vt.mT * root) @ turn
