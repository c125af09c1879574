"""Random frames and singular values for random points."""

from __future__ import annotations

import numpy as np

from dlngeom._array import Seed, as_generator

__all__ = ["random_frame", "random_spectrum"]


def random_frame(rng: Seed, size: int, rank: int, batch: tuple[int, ...] = ()) -> np.ndarray:
    """Draw ``size x rank`` orthonormal columns from the uniform distribution."""
    q, r = np.linalg.qr(as_generator(rng).standard_normal((*batch, size, rank)))
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    return np.asarray(q * np.where(diagonal < 0, -1.0, 1.0)[..., None, :])


def random_spectrum(rng: np.random.Generator, rank: int, batch: tuple[int, ...] = ()) -> np.ndarray:
    """Draw singular values uniform in (0, 1], in descending order."""
    return np.sort(1 - rng.uniform(size=(*batch, rank)), axis=-1)[..., ::-1].copy()
