"""Empty batches give empty results, and arrays of two libraries one error."""

import numpy as np
import pytest
import torch

import dlngeom
from dlngeom import geodesics
from dlngeom._lib.vectors import parts

FULL, LOW = dlngeom.DeepLinearNetwork((3, 3, 3)), dlngeom.DeepLinearNetwork((3, 4, 2), 1)


def dense(space):
    return np.zeros((0, space.widths[-1], space.widths[0]))


def factored(space):
    m, n, r = space.widths[-1], space.widths[0], space.rank
    return dlngeom.SVD(np.zeros((0, m, r)), np.zeros((0, r)), np.zeros((0, r, n)))


def upstairs(space):
    return dlngeom.Frames(
        np.zeros((0, space.rank)), tuple(np.zeros((0, d, space.rank)) for d in space.widths)
    )


def layers(space):
    return tuple(
        np.zeros((0, b, a)) for a, b in zip(space.widths[:-1], space.widths[1:], strict=True)
    )


def places(space):
    return [(dense(space), dense(space), False), (factored(space), dense(space), False)] + [
        (make(space), layers(space), True) for make in (upstairs, layers)
    ]


def batch(value):
    return [x.shape[0] for x in parts(value)]


@pytest.mark.parametrize("space", [FULL, LOW], ids=["full", "low"])
@pytest.mark.parametrize("kind", range(4), ids=["dense", "SVD", "Frames", "layers"])
def test_empty_batches(space, kind):
    point, vector, above = places(space)[kind]
    values = [
        geodesics.exp(space, point, vector, upstairs=above),
        geodesics.geodesic(space, point, vector, np.array([0.0, 0.5, -1.0]), upstairs=above),
        geodesics.log(space, point, point, upstairs=above),
        geodesics.dist(space, point, point, upstairs=above),
        *geodesics.parallel_transport(space, point, vector, vector, upstairs=above),
    ]
    assert all(size == 0 for value in values for size in batch(value))
    assert parts(values[1])[0].shape[:2] == (0, 3)


@pytest.mark.parametrize("call", ["exp", "log", "dist"])
def test_two_libraries_are_refused(call):
    a, b = np.eye(3), torch.eye(3, dtype=torch.float64)
    for arguments in ((a, b), (b, a), (dlngeom.svd(a), dlngeom.svd(b))):
        if call == "exp" and isinstance(arguments[0], tuple):
            continue
        with pytest.raises(TypeError, match="arrays of one library, got"):
            getattr(geodesics, call)(FULL, *arguments)


def test_steps_that_overflow_are_named():
    for vector in (1e200 * np.eye(3), -1e200 * np.eye(3)):
        with pytest.raises(ValueError, match="overflows"):
            geodesics.exp(FULL, np.eye(3), vector)
