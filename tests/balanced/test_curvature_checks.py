"""Curvature functions upstairs check every vector that they are given."""

import numpy as np
import pytest

import dlngeom
from dlngeom import balanced

FUNCTIONS = [
    (balanced.curvature, 3),
    (balanced.integrability_tensor, 2),
    (balanced.second_fundamental_form, 2),
    (balanced.weingarten, 2),
]
BAD = {
    r"is nan": np.full((3, 3), np.nan),
    "complex128": 1j * np.eye(3),
    "dtype object": np.eye(3).astype(object),
    "dtypes": np.eye(3, dtype=np.float32),
    r"must be \(\.\.\., 3, 3\)": np.ones((2, 3)),
    "batch shapes": np.zeros((4, 3, 3)),
}


def frames():
    return dlngeom.frames([np.diag([3.0, 2.0, 1.0])] * 3)


@pytest.mark.parametrize(("function", "count"), FUNCTIONS)
@pytest.mark.parametrize("message", BAD)
def test_every_vector_is_checked(function, count, message):
    for bad in range(count):
        vectors = [(np.eye(3),) * 3] * count
        vectors[bad] = (np.eye(3), BAD[message], np.eye(3))
        with pytest.raises(ValueError, match=message):
            function(frames(), *vectors)


@pytest.mark.parametrize(("function", "count"), FUNCTIONS)
def test_layers_are_counted(function, count):
    with pytest.raises(ValueError, match="has 2 layers: the network has 3"):
        function(frames(), *[(np.eye(3),) * 2] * count)


@pytest.mark.parametrize(("function", "count"), FUNCTIONS)
def test_checks_of_values_can_be_left_out(function, count):
    vectors = [tuple(np.random.default_rng(i).standard_normal((3, 3, 3))) for i in range(count)]
    for a, b in zip(
        function(frames(), *vectors),
        function(frames(), *vectors, check_finite=False),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("function", "count"), FUNCTIONS)
def test_empty_batches(function, count):
    none = (np.zeros((0, 3, 3)),) * 3
    at = dlngeom.Frames(np.zeros((0, 3)), (np.zeros((0, 3, 3)),) * 4)
    assert all(x.shape == (0, 3, 3) for x in function(at, *[none] * count, check_finite=False))
