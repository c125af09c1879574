import numpy as np
import pytest

import dlngeom
from dlngeom import geodesics


@pytest.mark.parametrize(("depth", "size"), [(1, 1e-12), (2, 1e-30), (3, 1e-40), (2, 1e100)])
def test_distances_scale_with_the_layers(depth, size):
    space, W = dlngeom.DeepLinearNetwork((3,) * (depth + 1)), np.diag([1.0, 2.0, 3.0])
    expected = size ** (1 / depth) * geodesics.dist(space, W, 2 * W)
    assert geodesics.dist(space, size * W, 2 * size * W) == pytest.approx(expected, rel=1e-9)


def test_distance_to_itself_is_zero():
    W = np.diag([1.0, 2.0])
    assert geodesics.dist(dlngeom.DeepLinearNetwork((2, 2, 2)), W, W) == 0


def test_singular_points_are_refused():
    space, W, singular = dlngeom.DeepLinearNetwork((2, 2, 2)), np.eye(2), np.diag([1.0, 0.0])
    for call in (geodesics.log, geodesics.dist):
        with pytest.raises(ValueError, match="the target has a smallest singular value 0"):
            call(space, W, singular)
    with pytest.raises(ValueError, match="the point has a smallest singular value 0"):
        geodesics.exp(space, singular, W)
