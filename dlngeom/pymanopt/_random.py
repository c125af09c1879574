"""Random frames for random points."""

from __future__ import annotations

import numpy as np

__all__ = ["random_frame"]


def random_frame(rng: np.random.Generator, size: int, rank: int) -> np.ndarray:
    """Draw ``size x rank`` orthonormal columns from the uniform distribution."""
    q, r = np.linalg.qr(rng.standard_normal((size, rank)))
    return np.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))
