"""Hermitian matrices over their eigenvalues: Dyson Brownian motion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlngeom import _check
from dlngeom._array import Array, Seed, as_generator, constant, namespace
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["HermitianSpectrum"]


@dataclass(frozen=True)
class HermitianSpectrum(RiemannianSubmersion):
    r"""Hermitian matrices with distinct eigenvalues, over these; the group is ``U_d``.

    .. math:: \phi(M) = \mathrm{eig}(M), \qquad S(x) = 2 \sum_{k<l} \log |x_k - x_l| + C_d

    Points upstairs are complex arrays ``(..., d, d)``, points downstairs real arrays ``(..., d)``
    in ascending order.  The metric upstairs is ``tr(M^* M)``.

    Parameters
    ----------
    size : int
        ``d``.

    Raises
    ------
    ValueError
        If ``size`` is no integer >= 1.

    Notes
    -----
    (11.1) to (11.5) of Menon, *The geometry of the deep linear network*.
    """

    size: int

    def __post_init__(self) -> None:
        _check.widths((self.size, self.size))

    @property
    def dim(self) -> int:
        """Dimension ``d^2``."""
        return self.size**2

    @property
    def dim_base(self) -> int:
        """Dimension ``d``."""
        return self.size

    @property
    def dim_orbit(self) -> int:
        """Dimension ``d (d - 1)`` of the isospectral orbits."""
        return self.size * (self.size - 1)

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Matrices of the Gaussian unitary ensemble."""
        matrix = _gaussian(as_generator(rng), (*batch, self.size, self.size))
        return self.tangent_projection(matrix, matrix)

    def project(self, point: Array) -> Array:
        """Eigenvalues, ascending."""
        return _eigh(point)[0]

    def differential(self, point: Array, vector: Array) -> Array:
        """Diagonal in the basis of eigenvectors: first-order perturbation theory."""
        u = _eigh(point)[1]
        xp = namespace(u)
        return xp.real(xp.sum(xp.conj(u) * (vector @ u), axis=-2))

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Hermitian matrix with the eigenvectors of the point."""
        u = _eigh(point)[1]
        return (u * covector[..., None, :]) @ namespace(u).conj(u).mT

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Hermitian part."""
        return (vector + namespace(vector).conj(vector).mT) / 2

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Hermitian part without its diagonal in the basis of eigenvectors."""
        tangent = self.tangent_projection(point, vector)
        return tangent - self.codifferential(point, self.differential(point, tangent))

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Straight line, which is the geodesic."""
        return point + vector

    def log_orbit_volume(self, point: Array) -> Array:
        """Entropy of a spectrum, (11.5) with its constant."""
        xp, d = namespace(point), self.size
        gaps = xp.abs(point[..., :, None] - point[..., None, :])
        pairs = xp.sum(xp.log(xp.triu(gaps, k=1) + xp.tril(xp.ones_like(gaps))), axis=(-2, -1))
        factorials = sum(math.lgamma(k + 1) for k in range(1, d))
        return 2 * pairs + d * (d - 1) / 2 * math.log(2 * math.pi) - factorials

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random matrix with given eigenvalues."""
        q, r = np.linalg.qr(_gaussian(as_generator(rng), (*point.shape, self.size)))
        diagonal = np.diagonal(r, axis1=-2, axis2=-1)
        u = q * (diagonal / np.abs(diagonal))[..., None, :]
        xp = namespace(point)
        turned = constant(u.real, point) + 1j * constant(u.imag, point)
        return (turned * point[..., None, :]) @ xp.conj(turned).mT


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _eigh(point: Array) -> Any:
    linalg: Any = namespace(point).linalg
    return linalg.eigh(point)
