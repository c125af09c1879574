"""Energies, starts and cases that the tests of flows share."""

import numpy as np

import dlngeom
from dlngeom import SVD, DeepLinearNetwork
from tests.helpers import reference as ref


def matrix(point):
    """Dense matrix of what an energy sees."""
    return dlngeom.dense(point) if isinstance(point, SVD) else point


class Quadratic:
    """``1/2 |mask * (W - A)|^2``: matrix completion."""

    def __init__(self, A, mask=1.0):
        self.A, self.mask = A, mask

    def gradient(self, point):
        return self.mask * (matrix(point) - self.A)

    def __call__(self, point):
        return np.sum(self.gradient(point) ** 2, axis=(-2, -1)) / 2


class LogCosh(Quadratic):
    """``sum log cosh(W - A)`` over known entries, which is not quadratic."""

    def gradient(self, point):
        return self.mask * np.tanh(matrix(point) - self.A)

    def __call__(self, point):
        return np.sum(self.mask * np.log(np.cosh(matrix(point) - self.A)), axis=(-2, -1))


def random_case(index, rng):
    """Network of random widths and rank, a balanced start and an energy."""
    depth = 1 + index % 6
    widths = tuple(int(d) for d in rng.integers(1, 6, depth + 1))
    rank = int(rng.integers(1, min(widths) + 1))
    shape = (widths[-1], widths[0])
    mask = rng.random(shape) < 0.7
    kind = LogCosh if index // 6 % 2 else Quadratic
    start = ref.random_frames(widths, rank, rng)
    return DeepLinearNetwork(widths, rank), start, kind(rng.standard_normal(shape), mask)


def distance(one, other):
    """Largest difference of two trajectories relative to the size of the first."""
    W, X = (x.observed["end_to_end"] for x in (one, other))
    return np.max(np.abs(W - X)) / np.max(np.abs(W))
