"""Logarithms by polynomials in a chart: against shots, in batches, and where they give up."""

import numpy as np
import pytest

import dlngeom
from dlngeom.dln import _factor_chart, _layer_chart, _layer_motion, _short_paths
from dlngeom.dln._chart import _second_derivative
from dlngeom.geodesics import _collocation, _iterations, _newton, _systems, dist, exp, geodesic, log
from dlngeom.geodesics import _shooting as shooting
from dlngeom.geodesics._polynomials import Line, bending, image, is_inside, rule_of
from dlngeom.geodesics._systems import System
from tests.helpers import reference as ref
from tests.helpers.geodesic_cases import space_of, vector

# Shape, rank, depth.
CASES = [
    ((3, 3), 3, 2),
    ((3, 3), 3, 3),
    ((4, 3), 3, 5),
    ((4, 4), 2, 1),
    ((4, 5), 2, 2),
    ((5, 4), 3, 3),
    ((3, 3), 3, 20),
    ((3, 3), 3, ref.INF),
]


@pytest.fixture
def tried(monkeypatch):
    """Record for which pairs polynomials were found, and refuse shots."""
    found = []
    solve = shooting.collocate

    def recorded(chart):
        velocity, mask = solve(chart)
        found.append(mask)
        return velocity, mask

    def no_shots(*_):
        raise AssertionError("a shot was fired")

    monkeypatch.setattr(shooting, "collocate", recorded)
    monkeypatch.setattr(shooting, "_solve", no_shots)
    return found


def batch_of(case, rng, count=4, share=0.5):
    dims, rank, depth = case
    W = ref.random_svd(*dims, rank, rng, batch=(count,))
    s = 0.5 + np.sort(rng.random(W.s.shape))[..., ::-1]
    W = W._replace(s=s)
    ones = [dlngeom.SVD(*(x[i] for x in W)) for i in range(count)]
    Z = [vector(one, depth, rng, share) for one in ones]
    Z = dlngeom.Tangent(*(np.stack(x) for x in zip(*Z, strict=True)))
    return space_of(ones[0], depth), W, Z


@pytest.mark.parametrize("case", CASES)
def test_polynomials_find_the_logarithm(case, tried, rng):
    space, W, Z = batch_of(case, rng)
    X = exp(space, W, Z)
    found = dlngeom.dense((W, log(space, W, X)))
    ref.close(found, dlngeom.dense((W, Z)), 1e-11)
    np.testing.assert_allclose(dist(space, X, W), space.norm(W, Z), rtol=1e-12)
    assert np.all(tried[0])


@pytest.mark.parametrize("case", CASES[:6:2])
def test_polynomials_of_batches_equal_loops(case, tried, rng):
    space, W, Z = batch_of(case, rng)
    X = dlngeom.dense(exp(space, W, Z))
    A = dlngeom.dense(W)
    together = log(space, A, X)
    for a, x, found in zip(A, X, together, strict=True):
        ref.close(log(space, a, x), found, 1e-12)


@pytest.mark.parametrize("case", CASES)
def test_second_derivatives_in_the_chart(case, rng):
    """Against differences of the geodesic that the integrator follows."""
    dims, rank, depth = case
    W = ref.random_svd(*dims, rank, rng)
    space, Z = space_of(W, depth), vector(W, depth, rng, 0.2)
    h = 1e-2
    before, now, after = dlngeom.dense(geodesic(space, W, Z, [-h, 0, h]))
    far = dlngeom.dense(geodesic(space, W, Z, [-2 * h, 2 * h]))
    second = (16 * (before + after) - far[0] - far[1] - 30 * now) / (12 * h**2)
    found, span = _second_derivative(now, dlngeom.dense((W, Z)), rank, depth)
    ref.close(found, second, 1e-6)
    if depth < ref.INF:
        reach = np.sqrt(depth) * W.s[-1] ** (1 / depth)
        assert span == pytest.approx(reach / space.norm(W, Z), rel=1e-10)


def test_polynomials_that_pass_through_lower_rank_are_no_geodesics():
    """Odd depths continue smoothly through zero: ``diag((1 - 2 t)^3)`` joins ``I`` and ``-I``."""
    space = space_of(dlngeom.svd(np.eye(2)), 3)
    chart = space.shooting(np.eye(2)[None], -np.eye(2)[None]).charts[0]()
    assert not shooting.collocate(chart)[1][0]
    nodes = np.array([0.2, 0.5, 0.8])
    assert is_inside(nodes, np.array([[0.25, 0.1, 0.25]]))
    assert not is_inside(nodes, np.array([[0.25, 0.04, 0.25]]))


def test_one_distant_pair_leaves_the_others_alone(rng):
    A, B = np.eye(2) + 0.1 * rng.standard_normal((2, 5, 2, 2))
    space = space_of(dlngeom.svd(A[0]), 3)
    near = dist(space, A, B)
    B[2] = [[-0.9, -0.3], [0.2, -1.1]]
    far = dist(space, A, B)
    np.testing.assert_allclose(np.delete(far, 2), np.delete(near, 2), rtol=1e-13)
    assert far[2] > 2
    ref.close(exp(space, A[2], log(space, A[2], B[2])), B[2], 1e-9)


def test_near_points_keep_their_digits(rng):
    """The distance of points that agree to ten digits is as accurate as their difference."""
    A = np.eye(3) + 0.2 * rng.standard_normal((3, 3))
    space, D = space_of(dlngeom.svd(A), 3), rng.standard_normal((3, 3))
    B = A + 1e-10 * D
    assert dist(space, A, B) == pytest.approx(float(space.norm(A, B - A)), rel=1e-8)
    assert dist(space, A, A) == 0


@pytest.mark.parametrize("case", [((3, 3), 3, 3), ((3, 3), 3, ref.INF), ((4, 4), 2, 2)])
def test_newton_finds_what_fixed_points_find(case, tried, monkeypatch, rng):
    space, W, Z = batch_of(case, rng, 3)
    X = exp(space, W, Z)
    found = dist(space, W, X)
    monkeypatch.setattr(_iterations, "_ITERATIONS", 0)
    np.testing.assert_allclose(dist(space, W, X), found, rtol=1e-12)
    assert np.all(tried[-1])
    monkeypatch.setattr(_newton, "_NEWTON", 0)
    with pytest.raises(AssertionError, match="a shot was fired"):
        dist(space, W, X)


def test_pairs_far_apart_need_newton(tried):
    """Fixed points repel for some of these pairs, which Newton's method finds."""
    rng = np.random.default_rng(1)
    A, B = np.eye(3) + 0.5 * rng.standard_normal((2, 60, 3, 3))
    same = np.linalg.det(A) * np.linalg.det(B) > 0
    space = space_of(dlngeom.svd(A[0]), ref.INF)
    Z = log(space, A[same], B[same])
    assert np.all(tried[0])
    ref.close(exp(space, A[same], Z), B[same], 1e-9)


def test_random_matrices_below_full_rank(tried):
    """Far apart, close to lower rank on the way: more nodes, Newton's method, nearer targets."""
    space, rng = space_of(ref.random_svd(4, 4, 2, np.random.default_rng(0)), 2), 3
    W, X = space.random_point(rng, (6,)), space.random_point(rng + 1, (6,))
    W, X = (x._replace(s=(0.2 + 0.8 * x.s ** (1 / 2)) ** 2) for x in (W, X))
    Z = log(space, W, X)
    assert np.all(tried[0])
    ref.close(dlngeom.dense(exp(space, W, Z)), dlngeom.dense(X), 1e-10)


# Shape, rank, depth below full rank.
LOW = [((4, 3), 2, 2), ((5, 4), 3, 3), ((5, 6), 4, 2), ((3, 5), 2, 5)]


@pytest.mark.parametrize("case", LOW)
def test_second_derivatives_of_outer_layers(case, rng):
    """Against differences of the layers of a geodesic, each turned to those in the middle."""
    dims, rank, depth = case
    W = ref.random_svd(*dims, rank, rng, batch=(1,))
    W = W._replace(s=np.linspace(1.5, 0.7, rank)[None] ** depth)
    one = dlngeom.SVD(*(x[0] for x in W))
    space, Z, h = space_of(one, depth), vector(one, depth, rng, 0.2), 2e-2
    X = geodesic(space, one, Z, h * np.arange(-3, 4))
    root = (X.s ** (1 / depth))[..., None, :]
    x = np.concatenate([X.u * root, X.vt.mT * root], axis=-2)
    u, _, vt = np.linalg.svd(x.mT @ x[3])
    x = (x @ (u @ vt)).reshape(7, -1)
    second = np.array([2, -27, 270, -490, 270, -27, 2]) @ x / (180 * h**2)
    first = np.array([-1, 9, -45, 0, 45, -9, 1]) @ x / (60 * h)
    layers = (y.reshape(-1, rank) for y in (x[3], first))
    motion = _layer_motion.motion_at(*layers, dims[0], depth)
    found = _layer_chart._second_derivative(motion, x[3].reshape(-1, rank), depth)
    assert _layer_chart._speed(motion) == pytest.approx(float(space.norm(one, Z)), rel=1e-9)
    # The pace of the chart adds a multiple of the velocity.
    across = np.stack([found.ravel() - second, first])
    assert np.linalg.svd(across)[1][1] < 1e-8
    with_pace = (found.ravel() - second) @ first / (first @ first)
    slope = np.log(np.sum(root[4, 0] ** -2.0) / np.sum(root[2, 0] ** -2.0)) / (2 * h)
    assert with_pace == pytest.approx(-slope * _layer_motion.PACE / 2, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("case", [*LOW, ((4, 4), 2, 1), ((5, 6), 3, 1)])
def test_slopes_of_charts(case, rng):
    """Against differences of the accelerations, off the constraints of the layers too."""
    dims, rank, depth = case
    space = dlngeom.EndToEndGeometry(*dims, rank, depth)
    chart = space.shooting(*(space.random_point(seed, (2,)) for seed in (3, 4))).charts[0]()
    x, pair = chart.path[:, 2:5], np.arange(2)
    v = np.diff(chart.path, axis=1)[:, 2:5] * 8
    dim, h = x.shape[-1], 1e-5
    x, v = (y + 0.05 * rng.standard_normal(y.shape) for y in (x, v))
    found, z = chart.slopes(x, v, pair), np.concatenate([x, v], axis=-1)
    assert found.shape == (2, 3, dim, 2 * dim)

    def acceleration(z):
        return chart.acceleration(z[..., :dim], z[..., dim:], pair)

    for direction in rng.standard_normal((4, 2 * dim)):
        change = (acceleration(z + h * direction) - acceleration(z - h * direction)) / (2 * h)
        ref.close(found @ direction, change, 1e-6 * np.max(np.abs(change)))


def test_guesses_towards_opposite_points_are_finite():
    """Where the rank is lost on the way a polygon may end with a part without length."""
    space = dlngeom.EndToEndGeometry(3, 3, 1, 1)
    point = space.random_point(1, (1,))
    for guess in space.shooting(point, point._replace(u=-point.u)).charts:
        assert np.isfinite(guess().path).all()


def test_nodes_with_which_the_last_have_to_agree_are_solved_to_the_end():
    """A far target of nearly lower rank, which takes the largest number of nodes."""
    space = dlngeom.EndToEndGeometry(4, 3, 2, 2)
    point, target = (space.random_point(seed, (1,)) for seed in (1, 2))
    chart = space.shooting(point, target._replace(s=1e-6 * target.s)).charts[0]()
    velocity, found = _collocation.collocate(chart)
    assert found.all()
    assert np.isfinite(velocity).all()


def left_of_gap(dims, rank, depth):
    """Share of a gap of the linearised equation that a step of a system leaves."""
    space = dlngeom.EndToEndGeometry(*dims, rank, depth)
    chart = space.shooting(*(space.random_point(seed, (1,)) for seed in (7, 8))).charts[0]()
    line = Line(chart.ends[0], chart.ends[1] - chart.ends[0], np.arange(1))
    rates, few, rule, h = bending(chart.path), rule_of(9), rule_of(24), 1e-6
    few_rates, many = (rule_of(rates.shape[1]).refined(x) @ rates for x in (few, rule))
    gap = image(chart, few, line, few_rates) - few_rates
    system = System(chart, few, line, few_rates, gap)
    gap = image(chart, rule, line, many) - many
    step = system.step(rule, gap)
    ahead = image(chart, rule, line, many + h * step) - image(chart, rule, line, many - h * step)
    left = gap - (step - ahead / (2 * h))
    return np.linalg.norm(left) / np.linalg.norm(gap)


@pytest.mark.parametrize("case", [((6, 6), 3, 1), ((6, 6), 3, 2), ((4, 4), 2, 3)])
def test_linear_systems_are_solved_at_more_nodes_than_are_factored(case):
    """Steps close gaps of the linearised equation, against differences of its image."""
    assert left_of_gap(*case) < 0.1


def test_linear_systems_that_few_steps_do_not_solve_are_factored(monkeypatch):
    monkeypatch.setattr(_systems, "_FACTORED", 80)
    monkeypatch.setattr(_systems, "_STEPS", 1)
    assert left_of_gap((4, 4), 2, 3) < 1e-2


@pytest.mark.parametrize("case", LOW)
def test_random_points_below_full_rank(case, tried):
    dims, rank, depth = case
    space = dlngeom.EndToEndGeometry(*dims, rank, depth)
    W, X = (
        x._replace(s=(0.2 + 0.8 * x.s ** (1 / depth)) ** depth)
        for x in (space.random_point(5, (4,)), space.random_point(6, (4,)))
    )
    Z, there = log(space, W, X), dist(space, W, X)
    assert np.all(tried[0])
    np.testing.assert_allclose(space.norm(W, Z), there, rtol=1e-12)
    np.testing.assert_allclose(dist(space, X, W), there, rtol=1e-10)
    ref.close(dlngeom.dense(exp(space, W, Z)), dlngeom.dense(X), 1e-9)
    assert np.all(there <= np.sqrt(depth) * np.sqrt(sum_of_roots(W, X, depth)))


@pytest.mark.parametrize(("dims", "rank"), [((4, 4), 2), ((5, 3), 2), ((5, 5), 3)])
def test_random_points_of_one_layer_need_no_shots(dims, rank, tried):
    """Uniform singular values: many of these geodesics pass close to lower rank."""
    space = dlngeom.EndToEndGeometry(*dims, rank, 1)
    for seed in range(4):
        W, X = space.random_point(seed), space.random_point(seed + 100)
        s = np.sort(np.random.default_rng(seed).random((2, rank)))[:, ::-1]
        W, X = W._replace(s=s[0]), X._replace(s=s[1])
        Z = log(space, W, X)
        if seed == 0:
            ref.close(dlngeom.dense(exp(space, W, Z)), dlngeom.dense(X), 1e-9)
        there = float(space.norm(W, Z))
        assert dist(space, X, W) == pytest.approx(there, rel=1e-9)
        assert there >= np.linalg.norm(dlngeom.dense(X) - dlngeom.dense(W))
    assert all(np.all(found) for found in tried)


def test_second_derivatives_of_factors(rng):
    """Against differences of a geodesic: the accelerations of matrices differ by the pace alone."""
    W = ref.random_svd(5, 4, 2, rng)
    space, Z, h = space_of(W, 1), vector(W, 1, rng, 0.2), 1e-2
    X = dlngeom.dense(geodesic(space, W, Z, h * np.arange(-2, 3)))
    second = (16 * (X[3] + X[1]) - X[0] - X[4] - 30 * X[2]) / (12 * h**2)
    first, G = dlngeom.dense((W, Z)), rng.standard_normal((2, 2))
    L, R = W.u * W.s @ G, W.vt.mT @ np.linalg.inv(G).T
    dL = first @ W.vt.mT @ G + L @ rng.standard_normal((2, 2))
    dR = np.linalg.lstsq(L, first - dL @ R.T)[0].T
    left, right = np.split(_factor_chart._second_derivative((L, R), (dL, dR)), [5])
    gap = left @ R.T + 2 * dL @ dR.T + L @ right.T - second
    ref.close(dL @ R.T + L @ dR.T, first, 1e-12)
    pace = np.sum(gap * first) / np.sum(first * first)
    ref.close(gap, pace * first, 1e-5 * np.linalg.norm(second))
    s = np.linalg.svd(X[1::2])[1][:, :2]
    slope = np.diff(np.log(np.sum(s**-2.0, axis=1)))[0] / (2 * h)
    assert pace == pytest.approx(-slope * _factor_chart._PACE / 2, rel=1e-2)


def test_polygons_are_shortened_by_newtons_method(rng):
    """The model of the energy is right to second order, and the polygon ends shorter."""
    path = rng.standard_normal((6, 4, 2)) @ rng.standard_normal((6, 2, 5))
    weights = 1 + rng.random(5)
    model, h = _short_paths._model(path, weights, 2), 1e-4
    step = rng.standard_normal(len(model.gradient))

    def energy(t):
        moved = path.copy()
        moved[1:-1] = _short_paths._projected(path[1:-1] + t * model.across(step), 2)
        return _short_paths._energy(moved, weights)

    values = [energy(t) for t in (-h, 0, h)]
    assert (values[2] - values[0]) / (2 * h) == pytest.approx(model.gradient @ step, rel=1e-6)
    curved = (values[2] - 2 * values[1] + values[0]) / h**2
    assert curved == pytest.approx(step @ model.hessian @ step, rel=1e-4)
    short = _short_paths._shortened(path, 2)
    lengths = [np.sum(_short_paths._size(np.diff(x, axis=0))) for x in (short, path)]
    assert lengths[0] < 0.8 * lengths[1]
    ref.close(short[[0, -1]], path[[0, -1]], 0)


def sum_of_roots(W, X, depth):
    """Squared length, over the depth, of the way to zero and on, which is never shorter."""
    return sum(np.linalg.norm(x.s ** (1 / depth), axis=-1) for x in (W, X)) ** 2


def test_equal_points_below_full_rank_have_no_distance():
    space = dlngeom.EndToEndGeometry(5, 4, 2, 3)
    W = space.random_point(0, (3,))
    turned = dlngeom.SVD(-W.u, W.s, -W.vt)
    np.testing.assert_array_equal(dist(space, W, W), 0)
    np.testing.assert_allclose(dist(space, W, turned), 0, atol=1e-13)
