"""Matrices with hidden entries that the tests of completion share."""

import numpy as np


def low_rank(shape=(60, 45), rank=3, noise=0.0, seed=0):
    """Matrix of low rank about a mean of five, with noise."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1])) + 5
    return matrix + noise * rng.normal(size=shape)


def hide(matrix, fraction, seed=0):
    """Matrix with NaN in a random part of its entries, and where they are."""
    hidden = np.random.default_rng(seed).random(matrix.shape) < fraction
    return np.where(hidden, np.nan, matrix), hidden
