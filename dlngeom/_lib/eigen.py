"""Eigenvalues of small symmetric matrices, from the largest down."""

from __future__ import annotations

import numpy as np

from dlngeom._lib.arrays import Array, namespace

__all__ = ["descending_eigh"]


def descending_eigh(H: Array, *, any_signs: bool = False) -> tuple[Array, Array]:
    """Eigenvalues of symmetric matrices in descending order, with their vectors in columns.

    Parameters
    ----------
    H : array (..., r, r)
    any_signs : bool
        Whether signs of vectors may differ from those of LAPACK, which all libraries share.

    Returns
    -------
    values : array (..., r)
    vectors : array (..., r, r)
    """
    xp = namespace(H)
    if any_signs and type(H) is not np.ndarray and H.shape[-1] == 2:
        return _of_two(H)
    # Eigenvalues ascend: those of -H are in the order wanted.
    values, vectors = xp.linalg.eigh(-H)
    return -values, vectors


def _of_two(H: Array) -> tuple[Array, Array]:
    """Decompose 2 x 2 matrices in closed form; compiled code calls LAPACK for each matrix.

    For numpy, whose calls cost more than few matrices, LAPACK is the faster one.
    """
    xp = namespace(H)
    first, second, across = H[..., 0, 0], H[..., 1, 1], H[..., 0, 1]
    half, mean = first / 2 - second / 2, first / 2 + second / 2
    size = xp.maximum(xp.abs(half), xp.abs(across))
    unit = xp.ones_like(size)
    size = xp.where(size > 0, size, unit)
    x, y = half / size, across / size
    # At equal eigenvalues the derivative of this root is NaN, as it is there through LAPACK.
    root = xp.sqrt(x * x + y * y)
    safe = xp.where(root > 0, root, root + unit)
    # Cosine and sine of half the angle of (x, y), by the larger of them; of no angle at zero.
    large = xp.sqrt((1 + xp.where(root > 0, xp.abs(x), safe) / safe) / 2)
    small = y / safe / (2 * large)
    left = x < 0
    c, s = xp.where(left, small, large), xp.where(left, large, small)
    radius = root * size
    values = xp.stack([mean + radius, mean - radius], axis=-1)
    rows = [xp.stack(row, axis=-1) for row in ((c, -s), (s, c))]
    return values, xp.stack(rows, axis=-2)
