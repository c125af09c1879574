"""Complex unit vectors over the lines that they span: the metric of Fubini and Study."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator, constant, namespace
from dlngeom._lib.orbits import adjoint, great_circle
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["ComplexProjective"]


@dataclass(frozen=True)
class ComplexProjective(RiemannianSubmersion):
    r"""Unit vectors of ``C^{n+1}`` over the projectors on their lines; the group is ``U_1``.

    .. math:: \phi(z) = z z^*, \qquad S = \log 2\pi

    Points upstairs are complex arrays ``(..., n + 1)``, points downstairs complex projectors
    ``(..., n + 1, n + 1)`` with the metric ``1/2 tr(Z^2)`` of Fubini and Study: for ``n = 1`` a
    sphere of radius one half.  The orbits are great circles: there is no entropic force.

    Parameters
    ----------
    n : int
        Complex dimension ``n >= 1``.

    Raises
    ------
    ValueError
        If ``n`` is not an integer >= 1.

    See Also
    --------
    dlngeom.quotients.Grassmann : Subspaces of a real space.
    dlngeom.check_submersion : Tests of every property of a submersion.

    Notes
    -----
    An instance of Section 12.1 of Menon, *The geometry of the deep linear network*.  The retraction
    is the exponential map; horizontal geodesics are great circles and project to geodesics.
    """

    n: int

    def __post_init__(self) -> None:
        checks.integer("n", self.n, 1)

    @property
    def dim(self) -> int:
        """Dimension ``2 n + 1`` of the sphere."""
        return 2 * self.n + 1

    @property
    def dim_base(self) -> int:
        """Dimension ``2 n``."""
        return 2 * self.n

    @property
    def dim_orbit(self) -> int:
        """Dimension 1 of the circles."""
        return 1

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Uniform unit vectors."""
        x = as_generator(rng).standard_normal((2, *batch, self.n + 1))
        return great_circle(x[0] + 1j * x[1], 0 * x[0], (-1,))

    def project(self, point: Array) -> Array:
        """Projector on the line."""
        return point[..., :, None] * namespace(point).conj(point)[..., None, :]

    def differential(self, point: Array, vector: Array) -> Array:
        """Hermitian ``v z^* + z v^*``."""
        half = vector[..., :, None] * namespace(point).conj(point)[..., None, :]
        return half + adjoint(half)

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Adjoint ``(I - z z^*) (G + G^*) z``."""
        image = ((covector + adjoint(covector)) @ point[..., None])[..., 0]
        return image - point * _along(point, image)

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Subtract the part along the point, ``z Re z^* v``."""
        return vector - point * namespace(point).real(_along(point, vector))

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Change of phase ``i z Im z^* v``."""
        return 1j * point * namespace(point).imag(_along(point, vector))

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Great circle, the geodesic."""
        return great_circle(point, vector, (-1,))

    def log_orbit_volume(self, point: Array) -> Array:
        """Constant entropy of a circle of length ``2 pi``."""
        return namespace(point).real(point[..., 0, 0]) * 0 + math.log(2 * math.pi)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random unit vector of a line."""
        angle = as_generator(rng).uniform(0, 2 * math.pi, (*point.shape[:-2], 1))
        xp, basis = namespace(point), namespace(point).linalg.eigh(point)[1]
        return basis[..., -1] * xp.exp(1j * constant(angle, point))


def _along(point: Array, vector: Array) -> Array:
    xp = namespace(point, vector)
    return xp.sum(xp.conj(point) * vector, axis=-1, keepdims=True)
