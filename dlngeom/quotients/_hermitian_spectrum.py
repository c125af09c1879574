"""Hermitian matrices over their eigenvalues: Dyson Brownian motion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator, namespace
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["HermitianSpectrum"]


@dataclass(frozen=True)
class HermitianSpectrum(RiemannianSubmersion):
    r"""Hermitian matrices with distinct eigenvalues, over the eigenvalues; the group is ``U_d``.

    .. math:: \phi(M) = \mathrm{eig}(M), \qquad S(x) = 2 \sum_{k<l} \log |x_k - x_l| + C_d

    Points upstairs are complex arrays ``(..., d, d)`` with the metric ``tr(M^* M)``, points
    downstairs real arrays ``(..., d)``, ascending.

    Parameters
    ----------
    n : int
        Rows and columns, ``d >= 1``.

    Raises
    ------
    ValueError
        If ``n`` is not an integer >= 1.

    See Also
    --------
    dlngeom.laws.dyson_law : Exact law of the eigenvalues under the RLE.
    dlngeom.check_submersion : Tests of every property of a submersion.

    Notes
    -----
    Equations (11.1) to (11.5) and Theorem 15 of Menon, *The geometry of the deep linear network*.
    """

    n: int

    def __post_init__(self) -> None:
        checks.integer("n", self.n, 1)

    @property
    def dim(self) -> int:
        """Dimension ``d^2``."""
        return self.n**2

    @property
    def dim_base(self) -> int:
        """Dimension ``d``."""
        return self.n

    @property
    def dim_orbit(self) -> int:
        """Dimension ``d (d - 1)`` of the isospectral orbits."""
        return self.n * (self.n - 1)

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Matrices of the Gaussian unitary ensemble."""
        x = as_generator(rng).standard_normal((2, *batch, self.n, self.n))
        return self.tangent_projection(x, x[0] + 1j * x[1])

    def project(self, point: Array) -> Array:
        """Eigenvalues, ascending."""
        return namespace(point).linalg.eigh(point)[0]

    def differential(self, point: Array, vector: Array) -> Array:
        """Diagonal in the basis of eigenvectors: first-order perturbation theory."""
        xp, u = namespace(point), namespace(point).linalg.eigh(point)[1]
        return xp.real(xp.sum(xp.conj(u) * (vector @ u), axis=-2))

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Hermitian matrix with the eigenvectors of the point."""
        u = namespace(point).linalg.eigh(point)[1]
        return (u * covector[..., None, :]) @ namespace(u).conj(u).mT

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Hermitian part."""
        return (vector + namespace(vector).conj(vector).mT) / 2

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Hermitian part without its diagonal in the basis of eigenvectors."""
        V = self.tangent_projection(point, vector)
        return V - self.codifferential(point, self.differential(point, V))

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Straight line, which is the geodesic."""
        return point + vector

    def log_orbit_volume(self, point: Array) -> Array:
        """Entropy of a spectrum, (11.5) with its constant."""
        xp, d = namespace(point), self.n
        gaps = xp.abs(point[..., :, None] - point[..., None, :])
        pairs = xp.sum(xp.log(xp.triu(gaps, k=1) + xp.tril(xp.ones_like(gaps))), axis=(-2, -1))
        factorials = sum(map(math.lgamma, range(2, d + 1)))
        return 2 * pairs + d * (d - 1) / 2 * math.log(2 * math.pi) - factorials

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random matrix with given eigenvalues."""
        # Eigenvectors of a Gaussian matrix are uniform, up to phases that cancel.
        other = namespace(point).asarray(self.random_point(rng, tuple(point.shape[:-1])))
        return self.codifferential(other, point)
