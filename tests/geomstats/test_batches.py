"""Vectors and points of different batches broadcast, empty ones too, and equal what loops give."""

import geomstats.backend as gs
import numpy as np
import pytest

from dlngeom.geomstats import BalancedMatrices, DeepLinearCoordinates, EndToEndMatrices

SPACES = {
    "full": lambda: EndToEndMatrices(3, 2, 2, 2),
    "low": lambda: EndToEndMatrices(3, 3, 2, 2),
    "flat": lambda: DeepLinearCoordinates(2, 2),
    "tall and flat": lambda: DeepLinearCoordinates(3, 2, columns=2),
    "upstairs": lambda: BalancedMatrices(2, 2),
}


def calls(space):
    metric = space.metric
    found = {
        "exp": metric.exp,
        "inner_product": lambda v, x: metric.inner_product(v, v, x),
        "norm": metric.norm,
        "transport": lambda v, x: metric.parallel_transport(v, x, direction=v),
        "curvature": lambda v, x: metric.curvature(v, v, v, x),
        "to_tangent": space.to_tangent,
        "is_tangent": space.is_tangent,
    }
    if not isinstance(space, BalancedMatrices):
        found |= {
            "gradient": metric.riemannian_gradient,
            "coproduct": lambda v, x: metric.inner_coproduct(v, v, x),
            "christoffel": lambda v, x: metric.christoffel_operator(v, v, x),
        }
    return found


def sample(space):
    gs.random.seed(0)
    x = space.random_point()
    return x, space.to_tangent(1e-3 * gs.random.normal(size=(3, *space.shape)), x)


@pytest.mark.parametrize("name", SPACES)
def test_vectors_at_one_point(name):
    space = SPACES[name]()
    x, V = sample(space)
    for call in calls(space).values():
        for a, b in zip(call(V, x), [call(v, x) for v in V], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize("name", ["full", "flat", "tall and flat"])
def test_one_vector_at_many_points(name):
    space = SPACES[name]()
    x, V = sample(space)
    points = space.metric.exp(V, x)
    for call in calls(space).values():
        for a, b in zip(call(V[0], points), [call(V[0], y) for y in points], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-11)
    for name in ("log", "dist"):
        call = getattr(space.metric, name)
        for found, loop in (
            (call(points, x), [call(y, x) for y in points]),
            (call(x, points), [call(x, y) for y in points]),
        ):
            np.testing.assert_allclose(found, loop, atol=1e-9)


@pytest.mark.parametrize("name", SPACES)
def test_empty_batches(name):
    space = SPACES[name]()
    x, V = sample(space)
    none, points = V[:0], np.zeros((0, *space.shape))
    for call in calls(space).values():
        assert call(none, points).shape[0] == 0
        assert call(none, x).shape[0] == 0
    for call in (space.metric.log, space.metric.dist):
        assert call(points, points).shape[0] == 0
        assert call(points, x).shape[0] == 0


@pytest.mark.parametrize("name", ["full", "low", "flat"])
def test_all_pairs_at_once(name):
    space = SPACES[name]()
    gs.random.seed(0)
    base = space.random_point()
    near = space.to_tangent(1e-2 * gs.random.normal(size=(4, *space.shape)), base)
    points = space.metric.exp(near, base)
    found = space.metric.dist_pairwise(points)
    assert found.shape == (4, 4)
    for i, x in enumerate(points):
        for j, y in enumerate(points):
            np.testing.assert_allclose(found[i, j], space.metric.dist(x, y), rtol=1e-10, atol=1e-12)
    assert space.metric.dist_pairwise(points[:1]).tolist() == [[0.0]]
