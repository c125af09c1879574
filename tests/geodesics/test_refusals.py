"""Geodesics that do not exist are refused soon, and for the right reason."""

import numpy as np
import pytest

import dlngeom
from dlngeom import geodesics
from dlngeom.geodesics import GeodesicError, _integration
from tests.helpers.parameters import slow


def matrices(seed=0):
    return np.random.default_rng(seed).standard_normal((2, 3, 3))


@pytest.mark.parametrize(("depth", "size"), [(3, 1.5), slow(5, 5.0), slow(3, 5.0), slow(3, 20.0)])
def test_a_geodesic_that_creeps_towards_lower_rank_says_where_it_ends(depth, size):
    space, (_, Z) = dlngeom.DeepLinearNetwork((3,) * (depth + 1)), matrices()
    with pytest.raises(GeodesicError, match="meets matrices of lower rank") as found:
        geodesics.exp(space, np.eye(3), size * Z)
    end = float(str(found.value).split("t=")[1].split(":")[0])
    # The smallest singular value of the layers falls on a straight line to zero there.
    times = end * np.array([0.9, 0.95])
    points = geodesics.geodesic(space, np.eye(3), size * Z, times)
    s = np.linalg.svd(points, compute_uv=False)[:, -1] ** (1 / depth)
    straight = times[1] + s[1] * (times[1] - times[0]) / (s[0] - s[1])
    assert end == pytest.approx(straight, rel=0.05)


def test_a_geodesic_that_turns_away_in_time_is_followed():
    space = dlngeom.DeepLinearNetwork((3, 3, 3, 3))
    assert geodesics.exp(space, np.eye(3), 1.45 * np.diag([-1.0, -0.9, 0.5])).shape == (3, 3)


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("upstairs", [False, True])
def test_targets_hidden_by_rounding_are_refused_at_once(depth, upstairs, monkeypatch):
    monkeypatch.setattr(_integration, "integrate", lambda *args: pytest.fail("integrated"))
    space, (X, _) = dlngeom.DeepLinearNetwork((3,) * (depth + 1)), matrices()
    X = X * np.sign(np.linalg.det(X)) * 1e-7**depth
    ends = (np.eye(3), X)
    if upstairs:
        frames = [dlngeom.svd(W) for W in ends]
        ends = [
            dlngeom.Frames(x.s ** (1 / depth), (x.vt.T, *[np.eye(3)] * (depth - 1), x.u))
            for x in frames
        ]
    for call in (geodesics.log, geodesics.dist):
        with pytest.raises(GeodesicError, match="rounding errors on the way"):
            call(space, *ends, upstairs=upstairs)


def test_the_pair_that_is_hidden_is_named():
    space, (X, _) = dlngeom.DeepLinearNetwork((3, 3, 3)), matrices()
    X = X * np.sign(np.linalg.det(X))
    points, others = np.stack([np.eye(3)] * 2), np.stack([2 * np.eye(3), 1e-20 * X])
    with pytest.raises(GeodesicError, match="pair 1"):
        geodesics.log(space, points, others)


def test_the_other_direction_is_found():
    space = dlngeom.DeepLinearNetwork((3, 3, 3, 3))
    Z = geodesics.log(space, 1e-20 * np.eye(3), np.eye(3))
    np.testing.assert_allclose(geodesics.exp(space, 1e-20 * np.eye(3), Z), np.eye(3), atol=1e-9)
