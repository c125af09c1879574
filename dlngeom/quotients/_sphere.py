"""Vectors over their length: the simplest quotient whose orbits are curved."""

from __future__ import annotations

from dataclasses import dataclass

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator, constant, namespace
from dlngeom._lib.stiefel import log_sphere_volume
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["Sphere"]


@dataclass(frozen=True)
class Sphere(RiemannianSubmersion):
    r"""Nonzero vectors of ``R^d``, over their lengths; the group is ``O_d``.

    .. math:: \phi(x) = |x|, \qquad S(\rho) = (d - 1) \log \rho + \log \mathrm{vol}\, S^{d-1}

    Points upstairs are arrays ``(..., d)``, points downstairs positive numbers ``(...)``.

    Parameters
    ----------
    dimension : int
        ``d >= 1``, of the vectors.

    Raises
    ------
    ValueError
        If ``dimension`` is not an integer >= 1.

    See Also
    --------
    dlngeom.laws.sphere_law : Exact law of the squared length under the RLE.
    dlngeom.check_submersion : Tests of every property of a submersion.

    Notes
    -----
    Section 11.2 and (11.10) of Menon, *The geometry of the deep linear network*.
    """

    dimension: int

    def __post_init__(self) -> None:
        checks.integer("dimension", self.dimension, 1)

    @property
    def dim(self) -> int:
        """Dimension ``d``."""
        return self.dimension

    @property
    def dim_base(self) -> int:
        """Dimension 1 of the half-line."""
        return 1

    @property
    def dim_orbit(self) -> int:
        """Dimension ``d - 1`` of the spheres."""
        return self.dimension - 1

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Gaussian vectors."""
        return as_generator(rng).standard_normal((*batch, self.dimension))

    def project(self, point: Array) -> Array:
        """Length."""
        xp = namespace(point)
        return xp.sqrt(xp.sum(point * point, axis=-1))

    def differential(self, point: Array, vector: Array) -> Array:
        """Radial component."""
        return namespace(point).sum(point * vector, axis=-1) / self.project(point)

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Radial vector of a given length."""
        return point * (covector / self.project(point))[..., None]

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Every vector is tangent."""
        return vector

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Part of a vector along the sphere."""
        return vector - self.codifferential(point, self.differential(point, vector))

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Straight line, which is the geodesic."""
        return point + vector

    def log_orbit_volume(self, point: Array) -> Array:
        """Entropy of a length."""
        d = self.dimension
        return (d - 1) * namespace(point).log(point) + log_sphere_volume(d)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random vector of a given length."""
        vector = self.random_point(rng, tuple(point.shape))
        return constant(vector / self.project(vector)[..., None], point) * point[..., None]
