"""Volumes of spheres, orthogonal groups and Stiefel manifolds; random frames and spectra."""

from __future__ import annotations

import math

import numpy as np

from dlngeom._lib.arrays import Seed, as_generator

__all__ = [
    "log_orthogonal_volume",
    "log_sphere_volume",
    "log_stiefel_volume",
    "log_unitary_volume",
    "random_frame",
    "random_spectrum",
]


def log_sphere_volume(dimension: int) -> float:
    r"""Logarithm of the volume of the unit sphere of ``R^dimension``.

    .. math:: \mathrm{vol}\, S^{d-1} = 2 \pi^{d/2} / \Gamma(d/2)
    """
    return math.log(2) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)


def log_orthogonal_volume(d: int) -> float:
    r"""Logarithm of the volume of ``O_d`` in the Frobenius metric, both components.

    .. math:: \mathrm{vol}\, O_d = 2^{d(d-1)/4} \prod_{k=1}^{d} \mathrm{vol}\, S^{k-1}
    """
    spheres = sum(log_sphere_volume(k) for k in range(1, d + 1))
    return d * (d - 1) / 4 * math.log(2) + spheres


def log_stiefel_volume(rank: int, d: int) -> float:
    r"""Logarithm of the volume of the Stiefel manifold ``St(r, d)``, as a quotient of ``O_d``.

    .. math:: \mathrm{vol}\, St(r, d) = \mathrm{vol}\, O_d / \mathrm{vol}\, O_{d-r}
    """
    return log_orthogonal_volume(d) - log_orthogonal_volume(d - rank)


def log_unitary_volume(d: int) -> float:
    r"""Logarithm of the volume of ``U_d`` in the Frobenius metric.

    .. math:: \mathrm{vol}\, U_d = 2^{d(d-1)/2} \prod_{k=1}^{d} \mathrm{vol}\, S^{2k-1}
    """
    spheres = sum(log_sphere_volume(2 * k) for k in range(1, d + 1))
    return d * (d - 1) / 2 * math.log(2) + spheres


def random_frame(rng: Seed, n: int, rank: int, batch: tuple[int, ...] = ()) -> np.ndarray:
    """Draw ``n x rank`` orthonormal columns from the uniform distribution."""
    q, r = np.linalg.qr(as_generator(rng).standard_normal((*batch, n, rank)))
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    return np.asarray(q * np.where(diagonal < 0, -1.0, 1.0)[..., None, :])


def random_spectrum(rng: np.random.Generator, rank: int, batch: tuple[int, ...] = ()) -> np.ndarray:
    """Draw singular values uniform in (0, 1], in descending order."""
    return np.sort(1 - rng.uniform(size=(*batch, rank)), axis=-1)[..., ::-1].copy()
