"""What a point keeps for later never outlives a change of its arrays in place."""

import copy
import pickle

import numpy as np
import pytest

import dlngeom
from dlngeom.pymanopt import Balanced, EndToEnd, Point
from tests.helpers import reference as ref


def end_to_end(space, x):
    """Everything that the metric of a point enters."""
    Z = space.to_tangent_space(x, EndToEnd(5, 4, 3, 3, rng=1).random_tangent_vector(x))
    gradient = space.euclidean_to_riemannian_gradient(x, np.ones((5, 4)))
    return space.norm(x, Z), *gradient, *space.retraction(x, Z), *space.transport(x, x, Z)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_singular_values_may_be_changed(depth):
    space = EndToEnd(5, 4, 3, depth, rng=0)
    x = space.random_point()
    space.norm(x, space.random_tangent_vector(x))
    for change in (lambda s: s.__imul__(100), lambda s: s.__setitem__(0, 1e3)):
        change(x.s)
        fresh = Point(*(np.array(part) for part in x))
        for found, expected in zip(end_to_end(space, x), end_to_end(space, fresh), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_layers_may_be_changed():
    space = Balanced((3, 4, 2), rng=0)
    y = space.random_point()
    space.projection(y, space.random_tangent_vector(y))
    for layer in y:
        layer *= 2
    V = space.random_tangent_vector(y)
    fresh = dlngeom.factors(dlngeom.frames(list(y), 2))
    ref.close_layers(space.retraction(y, V), space.retraction(fresh, V), 1e-12)
    ref.close_layers(space.projection(y, V), V, 1e-12)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_of_points_are_points(again):
    for space in (EndToEnd(5, 4, 3, 3, rng=0), Balanced((3, 4, 2), rng=0)):
        x = space.random_point()
        V = space.random_tangent_vector(x)
        kept = again(x)
        assert type(kept) is type(x)
        for found, expected in zip(space.retraction(kept, V), space.retraction(x, V), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
