"""What holds on the embedded manifold of pymanopt holds on ours at one layer, and where it does not
one error says why; foreign networks are checked."""

import numpy as np
import pytest
from pymanopt.manifolds import FixedRankEmbedded

from dlngeom.pymanopt import Balanced, EndToEnd
from tests.helpers.pymanopt_problems import ambient, matrix

DEPTHS = [1, 2, 3]


@pytest.fixture(params=DEPTHS)
def space(request):
    return EndToEnd(6, 5, 2, request.param, rng=0)


def both():
    return EndToEnd(6, 5, 2, 1, rng=0), FixedRankEmbedded(6, 5, 2)


def test_projection_takes_what_embedding_returns(space):
    x = space.random_point()
    Z = space.random_tangent_vector(x)
    again = space.projection(x, space.embedding(x, Z))
    for a, b in zip(again, Z, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14 / x.s[-1])
    y = space.random_point()
    elsewhere, dense = (
        space.projection(y, space.embedding(x, Z)),
        space.projection(y, ambient(x, Z)),
    )
    for a, b in zip(elsewhere, dense, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14 / x.s[-1])
    for form in (tuple, list):
        with pytest.raises(ValueError, match="unknown point"):
            space.projection(x, form(space.embedding(x, Z)))


def test_projection_is_idempotent_and_orthogonal(space):
    x = space.random_point()
    A, Z = np.random.default_rng(0).standard_normal((6, 5)), space.random_tangent_vector(x)
    tangent = ambient(x, space.projection(x, A))
    np.testing.assert_allclose(ambient(x, space.projection(x, tangent)), tangent, atol=1e-13)
    assert abs(np.sum((A - tangent) * ambient(x, Z))) < 1e-12


def test_one_layer_is_the_embedded_manifold():
    ours, theirs = both()
    x, A = ours.random_point(), np.random.default_rng(1).standard_normal((6, 5))
    assert ours.dim == theirs.dim
    assert ours.typical_dist == theirs.typical_dist
    Y, Z = (ours.random_tangent_vector(x) for _ in range(2))
    assert ours.inner_product(x, Y, Z) == pytest.approx(theirs.inner_product(x, Y, Z))
    for a, b in zip(ours.projection(x, A), theirs.projection(x, A), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    y = ours.random_point()
    moved = ours.transport(x, y, Z)
    for a, b in zip(moved, ours.projection(y, ours.embedding(x, Z)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(ambient(y, moved), ambient(y, theirs.transport(x, y, Z)), atol=1e-13)
    by_svd = EndToEnd(6, 5, 2, 1, retraction="projection").retraction(x, Z)
    np.testing.assert_allclose(matrix(by_svd), matrix(theirs.retraction(x, Z)), atol=1e-13)


@pytest.mark.parametrize("call", ["dist", "log", "pair_mean"])
def test_points_are_wanted_where_tangent_vectors_are_given(space, call):
    x = space.random_point()
    Z = space.random_tangent_vector(x)
    for arguments in ((x, Z), (Z, x), (Z, Z)):
        with pytest.raises(ValueError, match="a tangent vector stands where a point"):
            getattr(space, call)(*arguments)


@pytest.mark.parametrize(
    ("factor", "message"), [(np.nan, "not finite"), (np.inf, "not finite"), (1e200, "too long")]
)
@pytest.mark.parametrize("retraction", ["second-order", "projection"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_steps_that_are_not_finite_or_too_long_are_named(space, factor, message, retraction):
    space = EndToEnd(6, 5, 2, space.depth, retraction=retraction, rng=0)
    x = space.random_point()
    vector = space.random_tangent_vector(x) * factor
    if retraction == "projection" and factor == 1e200:
        return  # One singular value decomposition, of which the sum is rounded only.
    with pytest.raises(ValueError, match=message):
        space.retraction(x, vector)


@pytest.mark.parametrize(("factor", "message"), [(np.nan, "not finite"), (1e200, "too long")])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_steps_upstairs_that_are_not_finite_or_too_long_are_named(factor, message):
    space = Balanced((3, 3, 3), rng=0)
    x = space.random_point()
    with pytest.raises(ValueError, match=message):
        space.retraction(x, space.random_tangent_vector(x) * factor)


def networks():
    W, V = Balanced((4, 3, 4), 2, rng=0).random_point()
    return {
        "not balanced": (2 * W, V),
        "rank=2": Balanced((4, 3, 4), 3, rng=0).random_point(),
        "complex": (W.astype(complex), V.astype(complex)),
        "dtypes": (W.astype(np.float32), V),
        r"on this manifold they are \(\(3, 4\), \(4, 3\)\)": (W.T, V),
        "layers of shapes": (W, V, W),
        "is nan": (np.full((3, 4), np.nan), V),
        r"shapes \(\(4,\)": np.eye(4),
    }


@pytest.mark.parametrize("message", networks())
def test_foreign_networks_are_named(message):
    space, point = Balanced((4, 3, 4), 2, rng=0), networks()[message]
    x = space.random_point()
    V = space.zero_vector(x)
    calls = [
        lambda: space.retraction(point, V),
        lambda: space.projection(point, V),
        lambda: space.transport(x, point, V),
        lambda: space.log(point, x),
        lambda: space.dist(x, point),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_networks_of_another_manifold_are_refused():
    other = Balanced((4, 4, 4), 2, rng=0).random_point()
    with pytest.raises(ValueError, match="on this manifold"):
        Balanced((4, 3, 4), 2, rng=0).projection(other, other)
