"""Ridge regression of every row of a matrix on its observed entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion._observed import MapFunction, Observed

__all__ = ["ridge_rows"]

# Numbers in the normal equations held at once, and in one block of their right factor.
NORMAL_NUMBERS = 2**23

PRODUCT_NUMBERS = 2**20

# Conjugate gradients cost less than normal equations from this rank on, if they take at most this
# part of the rank in iterations, and where a matrix is not so small that calls are what it costs.
WIDE, ITERATIONS_PER_RANK = 16, 0.25

MANY_NUMBERS = 2**16

# They end once an iteration lowers the objective by this part of what all have.
LEVEL = 0.01


def ridge_rows(
    observed: Observed,
    frame: NumpyArray,
    penalty: NumpyArray,
    apply: MapFunction = map,
    near: NumpyArray | None = None,
) -> NumpyArray:
    r"""Fit every row by ridge regression on its observed entries.

    .. math:: \min_a \sum_{j \in S_i} (x_{ij} - \langle a, V_j \rangle)^2 + \sum_k c_k a_k^2

    Parameters
    ----------
    observed : Observed (m, n)
    frame : array (n, r)
        ``V``.
    penalty : array (r,)
        ``c``, positive.
    apply : callable
        Maps a function over blocks of rows.
    near : array (m, r), optional
        Coefficients from which the objective need fall only by most of what it can, where that
        costs less, if the columns of ``frame`` are orthonormal.

    Returns
    -------
    array (m, r)
    """
    (m, n), r = observed.shape, frame.shape[1]
    out = np.zeros((m, r))
    if r == 0:
        return out
    mask, right = observed.with_values(observed.ones), observed.times(frame)
    is_dense, dense = observed.is_dense, observed.dense
    near = near if is_dense and r >= WIDE and m * n >= MANY_NUMBERS else None

    def task(part: slice) -> None:
        if dense is not None:
            block = dense[0][part]
        else:
            block = mask[part].toarray() if is_dense else mask[part]
        found = None
        if near is not None:
            found = _corrected(block, frame, penalty, right[part], near[part])
        if found is None:
            normal = _normal(block, frame)
            normal[:, range(r), range(r)] += penalty
            found = np.linalg.solve(normal, right[part][..., None])[..., 0]
        out[part] = found

    step = max(1, NORMAL_NUMBERS // max(r * r, n if is_dense else 1))
    for _ in apply(task, [slice(a, min(a + step, m)) for a in range(0, m, step)]):
        pass
    return out


def _corrected(
    mask: NumpyArray, frame: NumpyArray, penalty: NumpyArray, right: NumpyArray, near: NumpyArray
) -> NumpyArray | None:
    """Correct coefficients by conjugate gradients; none if normal equations would cost less."""
    rest = right - ((near @ frame.T) * mask) @ frame - penalty * near
    # Part of a correction needs no more than single precision.
    narrow, seen = frame.astype(np.float32), mask.astype(np.float32)
    # What an orthonormal frame gives in the mean.
    diagonal = np.mean(mask, axis=1, keepdims=True) + penalty
    found, direction = np.zeros_like(near), rest / diagonal
    size, fallen = np.sum(rest * direction, axis=1), 0.0
    most = int(ITERATIONS_PER_RANK * frame.shape[1])
    for k in range(1, most + 1):
        image = _normal_times(direction, narrow, seen) + penalty * direction
        along = size / np.maximum(np.sum(direction * image, axis=1), 1e-300)
        fall = float(np.vdot(along, size))
        fallen += fall
        found += along[:, None] * direction
        rest -= along[:, None] * image
        better = rest / diagonal
        last, size = size, np.sum(rest * better, axis=1)
        if fall <= LEVEL * fallen:
            return np.asarray(near + found)
        if fall > LEVEL ** ((k - 1) / most) * fallen:
            break  # It will not get there in time.
        direction = better + (size / np.maximum(last, 1e-300))[:, None] * direction
    return None


def _normal_times(x: NumpyArray, frame: NumpyArray, mask: NumpyArray) -> NumpyArray:
    """Multiply coefficients by ``sum_j V_j V_j^T`` over the entries of each row of a mask."""
    largest = float(np.max(np.abs(x))) or 1.0
    fitted = (x / largest).astype(frame.dtype) @ frame.T
    fitted *= mask
    return np.asarray(largest * (fitted @ frame).astype(float))


def _normal(mask: Any, frame: NumpyArray) -> NumpyArray:
    """Add up ``V_j V_j^T`` over the entries of each row of a mask: ``(k, r, r)``."""
    n, r = frame.shape
    i, j = np.triu_indices(r)
    packed = np.empty((mask.shape[0], len(i)))
    width = max(1, PRODUCT_NUMBERS // n)
    for start in range(0, len(i), width):
        part = slice(start, start + width)
        # Indexing with arrays would give products by columns, which scipy copies.
        product = np.take(frame, i[part], axis=1)
        product *= np.take(frame, j[part], axis=1)
        packed[:, part] = mask @ product
    place = np.empty((r, r), dtype=np.intp)
    place[i, j] = place[j, i] = np.arange(len(i))
    return np.take(packed, place.ravel(), axis=1).reshape(-1, r, r)
