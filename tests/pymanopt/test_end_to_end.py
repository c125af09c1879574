"""The manifold methods of the pymanopt adapter, one by one."""

import pickle

import numpy as np
import pytest
from pymanopt.manifolds import FixedRankEmbedded

from dlngeom import endtoend
from dlngeom.points import SVD, Tangent
from dlngeom.pymanopt import EndToEnd, Point, Product, TangentVector
from tests.helpers.pymanopt_problems import ambient, error, manifold_of, matrix, point_of, slope

DEPTHS = [1, 2, 3, np.inf]
RETRACTIONS = ["second-order", "projection"]


@pytest.fixture(params=DEPTHS)
def manifold(request):
    return manifold_of(request.param)


def methods(manifold, x, y, Z):
    """Call every method, by name."""
    G = ambient(x, Z)
    return {
        "inner_product": manifold.inner_product(x, Z, Z),
        "norm": manifold.norm(x, Z),
        "projection": manifold.projection(x, G),
        "to_tangent_space": manifold.to_tangent_space(x, Z),
        "embedding": manifold.embedding(x, Z),
        "gradient": manifold.euclidean_to_riemannian_gradient(x, G),
        "hessian": manifold.euclidean_to_riemannian_hessian(x, G, G, Z),
        "retraction": manifold.retraction(x, Z),
        "transport": manifold.transport(x, y, Z),
        "log": manifold.log(x, y),
        "dist": manifold.dist(x, y),
        "pair_mean": manifold.pair_mean(x, y),
        "zero_vector": manifold.zero_vector(x),
    }


@pytest.mark.parametrize("convert", [tuple, list])
def test_plain_sequences_are_accepted_everywhere(manifold, convert, rng):
    x, y = point_of(manifold, rng), point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    expected = methods(manifold, x, y, Z)
    plain = methods(manifold, convert(x), convert(y), convert(Z))
    for name, value in expected.items():
        np.testing.assert_equal(plain[name], value, err_msg=name)
        assert type(plain[name]) is type(value)
    assert manifold.norm(convert(x), manifold.random_tangent_vector(convert(x))) > 0


def test_inputs_are_never_modified(manifold, rng):
    x, y = point_of(manifold, rng), point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    for value in (*x, *y, *Z):
        value.flags.writeable = False
    methods(manifold, x, y, Z)


def test_methods_agree_with_the_geometry(manifold, rng):
    x, y = point_of(manifold, rng), point_of(manifold, rng)
    a, b = (manifold.random_tangent_vector(x) for _ in range(2))
    X, Y, A, B, depth = SVD(*x), SVD(*y), Tangent(*a), Tangent(*b), manifold.depth
    assert manifold.inner_product(x, a, b) == pytest.approx(endtoend.inner(X, A, B, depth))
    moved = endtoend.transport(X, Y, A, depth)
    assert error(manifold.transport(x, y, a), moved) < 1e-14
    assert error(manifold.retraction(x, a), endtoend.retraction(X, A, depth)) < 1e-14
    flat = manifold_of(depth, retraction="projection").retraction(x, a)
    assert error(flat, endtoend.projection_retraction(X, A)) < 1e-14


def test_points_and_tangents_have_the_fields_and_arithmetic_of_pymanopt(manifold, rng):
    x = point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    shipped = FixedRankEmbedded(7, 6, 3)
    theirs = shipped.random_point()
    assert x._fields == theirs._fields
    assert Z._fields == shipped.zero_vector(theirs)._fields
    two, result = np.float64(2), (2 * Z - Z) / 2 + Z * 0.5 - -Z
    assert isinstance(two * Z, TangentVector)
    assert isinstance(two * x, Point)
    assert error(result, 2 * Z) < 1e-15
    assert error(x / 2 * 2, x) == 0
    assert error(-x, -1 * x) == 0


def test_dimension_is_that_of_the_tangent_space(rng):
    manifold = manifold_of(2)
    x = point_of(manifold, rng)
    sample = [ambient(x, manifold.random_tangent_vector(x)).ravel() for _ in range(40)]
    assert np.linalg.matrix_rank(sample) == manifold.dim == 30


def test_random_points_lie_on_the_manifold(manifold):
    x = manifold.random_point()
    np.testing.assert_allclose(x.u.T @ x.u, np.eye(manifold.rank), atol=1e-14)
    np.testing.assert_allclose(x.vt @ x.vt.T, np.eye(manifold.rank), atol=1e-14)
    assert np.all(x.s > 0)
    assert np.all(np.diff(x.s) <= 0)


def test_random_tangent_vectors_are_tangent_and_of_length_one(manifold, rng):
    x = point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    assert manifold.norm(x, Z) == pytest.approx(1, rel=1e-14)
    assert np.linalg.norm(x.u.T @ Z.Up) < 1e-14
    assert np.linalg.norm(x.vt @ Z.Vp) < 1e-14


@pytest.mark.parametrize("depth", [1, 3])
def test_random_tangent_vectors_are_isotropic(depth, rng):
    manifold, count = EndToEnd(3, 2, 1, depth, rng=2), 1000
    x = point_of(manifold, rng)
    axes = [Tangent(q, np.zeros((1, 1)), x.vt.T * 0) for q in np.linalg.svd(x.u)[0].T[1:, :, None]]
    axes = [*axes, Tangent(x.u * 0, np.eye(1), x.vt.T * 0)]
    sample = [manifold.random_tangent_vector(x) for _ in range(count)]
    for axis in axes:
        e = TangentVector(*axis) / manifold.norm(x, axis)
        square = np.mean([manifold.inner_product(x, e, Z) ** 2 for Z in sample])
        # The square of a coordinate on the sphere of dimension d has variance below 2 / d^2.
        assert square * manifold.dim == pytest.approx(1, abs=5 * np.sqrt(2 / count))


def test_to_tangent_space_removes_what_is_not_tangent(manifold, rng):
    x = point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    r = manifold.rank
    off = TangentVector(Z.Up + x.u @ np.ones((r, r)), Z.M, Z.Vp + x.vt.T @ np.ones((r, r)))
    assert error(manifold.to_tangent_space(x, off), Z) < 1e-14


def test_projection_is_orthogonal_and_keeps_tangent_vectors(manifold, rng):
    x = point_of(manifold, rng)
    G = rng.standard_normal(matrix(x).shape)
    Z = manifold.random_tangent_vector(x)
    assert error(manifold.projection(x, ambient(x, Z)), Z) < 1e-13
    rest = G - ambient(x, manifold.projection(x, G))
    assert abs(np.sum(rest * ambient(x, Z))) < 1e-13


def test_zero_vector_is_neutral(manifold, rng):
    x = point_of(manifold, rng)
    zero, Z = manifold.zero_vector(x), manifold.random_tangent_vector(x)
    assert manifold.norm(x, zero) == 0
    assert error(zero + Z, Z) == 0
    assert error(matrix(manifold.retraction(x, zero)), matrix(x)) < 1e-14


@pytest.mark.parametrize("retraction", RETRACTIONS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_retraction_has_the_right_velocity_and_rank(depth, retraction, rng):
    manifold = manifold_of(depth, retraction=retraction)
    x = point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    steps = np.geomspace(1e-4, 1e-2, 5)
    line = [matrix(x) + t * ambient(x, Z) for t in steps]
    gaps = [
        np.linalg.norm(matrix(manifold.retraction(x, t * Z)) - W)
        for t, W in zip(steps, line, strict=True)
    ]
    if retraction == "projection" and depth == np.inf:
        assert max(gaps) < 1e-14
    else:
        assert slope(steps, gaps) == pytest.approx(2, abs=0.1)
    far = manifold.retraction(x, 100 * Z)
    assert np.all(far.s > 0)
    np.testing.assert_allclose(far.u.T @ far.u, np.eye(manifold.rank), atol=1e-13)


def test_a_step_to_rank_zero_stays_on_the_manifold():
    manifold = EndToEnd(3, 3, 1, 1, retraction="projection", rng=0)
    x = manifold.random_point()
    Z = TangentVector(x.u * 0, -np.diag(x.s), x.vt.T * 0)
    assert manifold.retraction(x, Z).s > 0


def test_transport_never_lengthens_and_is_tangent(manifold, rng):
    for _ in range(50):
        x, y = point_of(manifold, rng), point_of(manifold, rng)
        Z = manifold.random_tangent_vector(x)
        moved = manifold.transport(x, y, Z)
        assert manifold.norm(y, moved) <= 1 + 1e-14
        assert np.linalg.norm(y.u.T @ moved.Up) < 1e-13
        assert np.linalg.norm(y.vt @ moved.Vp) < 1e-13
        assert error(manifold.transport(x, x, Z), Z) < 1e-13


def test_transport_is_the_projection_at_depth_one(rng):
    manifold = manifold_of(1)
    x, y = point_of(manifold, rng), point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    expected = FixedRankEmbedded(7, 6, 3).transport(x, y, Z)
    assert error(manifold.transport(x, y, Z), tuple(expected)) < 1e-13


def test_log_and_dist_vanish_at_the_point_itself(manifold, rng):
    x = point_of(manifold, rng)
    assert manifold.dist(x, x) < 1e-14
    assert all(np.max(np.abs(a)) < 1e-14 for a in manifold.log(x, x))
    assert error(matrix(manifold.pair_mean(x, x)), matrix(x)) < 1e-14


@pytest.mark.parametrize("depth", DEPTHS)
def test_log_inverts_the_projection_retraction_to_second_order(depth, rng):
    manifold = manifold_of(depth, retraction="projection")
    x = point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    steps, gaps, means, lengths = np.geomspace(1e-3, 2e-2, 7), [], [], []
    for t in steps:
        y = manifold_of(depth).retraction(x, t * Z)
        gaps.append(np.linalg.norm(matrix(manifold.retraction(x, manifold.log(x, y))) - matrix(y)))
        middle = (matrix(x) + matrix(y)) / 2
        means.append(np.linalg.norm(matrix(manifold.pair_mean(x, y)) - middle))
        lengths.append(abs(manifold.dist(x, y) - t))
    assert slope(steps, lengths) > 1.9
    if depth == np.inf:
        assert max(gaps + means) < 1e-13
    else:
        assert slope(steps, gaps) == pytest.approx(3, abs=0.15)
        assert slope(steps, means) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("depth", [1, 2, 3, 10, 1000, np.inf])
def test_typical_distance_is_positive(depth):
    assert 0 < manifold_of(depth).typical_dist < np.inf


def test_name_depth_and_rank(manifold):
    assert f"depth {manifold.depth}" in str(manifold)
    assert f"rank {manifold.rank}" in str(manifold)


def test_pickles(manifold, rng):
    x = point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    for value in (x, Z):
        copy = pickle.loads(pickle.dumps(value))
        assert type(copy) is type(value)
        np.testing.assert_equal(copy, value)
    copy = pickle.loads(pickle.dumps(manifold))
    np.testing.assert_equal(copy.random_point(), manifold.random_point())
    assert copy.norm(x, Z) == manifold.norm(x, Z)


def test_a_seed_fixes_points_and_tangents():
    for seed in (7, (7, 1), np.random.SeedSequence(7)):
        a, b = (EndToEnd(5, 4, 2, 3, rng=seed) for _ in range(2))
        x = a.random_point()
        np.testing.assert_equal(b.random_point(), x)
        np.testing.assert_equal(a.random_tangent_vector(x), b.random_tangent_vector(x))
        assert error(EndToEnd(5, 4, 2, 3, rng=8).random_point(), x) > 0.1
    c, d = (EndToEnd(5, 4, 2, 3, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_equal(c.random_point(), d.random_point())


@pytest.mark.parametrize("shape", [(6, 5), (5, 6)])
def test_a_start_has_not_the_columns_of_data_of_the_same_seed(shape):
    largest = []
    for k in range(20):
        B = np.random.default_rng(k).standard_normal(shape)
        x = EndToEnd(*shape, 5, 3, rng=k).random_point()
        long = (B, x.u) if shape[0] > shape[1] else (B.T, x.vt.T)
        outside = long[1] - long[0] @ np.linalg.lstsq(*long)[0]
        largest.append(np.linalg.norm(outside))
    # The sine of the angle of two normals in six dimensions.
    assert np.median(largest) > 0.5


def test_the_global_random_state_is_left_alone(manifold, rng):
    before = np.random.get_state()  # noqa: NPY002
    x, y = point_of(manifold, rng), manifold.random_point()
    methods(manifold, x, y, manifold.random_tangent_vector(x))
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": 0}, "m=0: it must be an integer of at least 1"),
        ({"n": -2}, "n=-2: it must be an integer of at least 1"),
        ({"m": 2.5}, "m=2.5: it must be an integer of at least 1"),
        ({"rank": 0}, "rank=0: it must be an integer from 1 to 4"),
        ({"rank": 5}, "rank=5: it must be an integer from 1 to 4"),
        ({"rank": 1.5}, "rank=1.5: it must be an integer from 1 to 4"),
        ({"depth": 0}, "depth=0: it must be an integer of at least 1, or inf"),
        ({"depth": -1}, "depth=-1: it must be an integer of at least 1, or inf"),
        ({"depth": 1.5}, "depth=1.5: it must be an integer of at least 1, or inf"),
        ({"depth": np.nan}, "depth=nan: it must be an integer of at least 1, or inf"),
        ({"depth": np.inf}, "depth=inf needs m = n = rank, got 5, 4, 2"),
        ({"depth": np.inf, "m": 4}, "depth=inf needs m = n = rank, got 4, 4, 2"),
        ({"retraction": "x"}, "retraction='x': 'second-order' or 'projection'"),
        ({"rng": "a"}, "rng='a': pass a numpy.random.Generator or a seed"),
        ({"rng": np.random.RandomState(0)}, "pass a numpy.random.Generator or a seed"),
    ],
)
def test_end_to_end_names_bad_parameters(change, message):
    good = {"m": 5, "n": 4, "rank": 2, "depth": 2}
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        EndToEnd(**good | change)


def test_product_embeds_factor_by_factor(rng):
    manifold = manifold_of(2)
    pair = Product([manifold, manifold_of(3)])
    point = [point_of(manifold, rng), point_of(manifold, rng)]
    Z = pair.random_tangent_vector(point)
    for part, space, x, z in zip(pair.embedding(point, Z), pair.manifolds, point, Z, strict=True):
        np.testing.assert_equal(part, space.embedding(x, z))
