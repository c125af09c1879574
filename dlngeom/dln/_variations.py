"""Derivatives of functions of matrices in all directions at once, as few large products.

A variation ``(..., row, column, direction)`` holds the derivatives of a matrix, in each entry of
coordinates and then of their velocities; one of positions alone ends with the former.
"""

from __future__ import annotations

import numpy as np

__all__ = ["add_to", "joined", "left", "right", "second_variation", "traces", "transposed", "units"]


def units(rows: int, turn: np.ndarray) -> np.ndarray:
    """Variations ``(..., rows, r, rows r)`` of coordinates that are multiplied by a matrix."""
    *batch, r, _ = turn.shape
    found = np.eye(rows)[:, None, :, None] * turn.mT[..., None, :, None, :]
    return np.asarray(found.reshape(*batch, rows, r, rows * r))


def left(matrix: np.ndarray, variation: np.ndarray) -> np.ndarray:
    """Variation of a product with a constant matrix on the left."""
    *batch, rows, columns, directions = variation.shape
    product = matrix @ variation.reshape(*batch, rows, columns * directions)
    return np.asarray(product.reshape(*product.shape[:-1], columns, directions))


def right(variation: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Variation of a product with a constant matrix on the right."""
    return np.asarray(matrix.mT[..., None, :, :] @ variation)


def transposed(variation: np.ndarray) -> np.ndarray:
    """Variation of the transpose."""
    return np.asarray(variation.swapaxes(-3, -2))


def joined(by_position: np.ndarray, by_velocity: np.ndarray) -> np.ndarray:
    """Variation whose parts are given."""
    return np.concatenate([by_position, by_velocity], axis=-1)


def add_to(variation: np.ndarray, by_position: np.ndarray) -> np.ndarray:
    """Add one of positions alone in place."""
    variation[..., : by_position.shape[-1]] += by_position
    return variation


def traces(matrix: np.ndarray, variation: np.ndarray) -> np.ndarray:
    """Traces ``(..., direction)`` of the products with a constant matrix."""
    *batch, rows, columns, directions = variation.shape
    row = matrix.mT.reshape(*matrix.shape[:-2], 1, rows * columns)
    return np.asarray((row @ variation.reshape(*batch, rows * columns, directions))[..., 0, :])


def second_variation(
    motion: tuple[np.ndarray, np.ndarray],
    unit: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray],
    changes: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Variation of ``X A + V B``, given ``X, V``, that of ``X``, ``A, B``, and those of these."""
    change = left(np.concatenate(motion, axis=-1), np.concatenate(changes, axis=-3))
    count = unit.shape[-1]
    change[..., :count] += right(unit, factors[0])
    change[..., count:] += right(unit, factors[1])
    return change
