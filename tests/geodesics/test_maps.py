"""Geodesics upstairs and downstairs: literal equations, closed forms, other people's formulas."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import dlngeom
from dlngeom import SVD, DeepLinearNetwork, InfinitelyDeepNetwork, Tangent, endtoend, network
from dlngeom.dln import EndToEndGeometry
from dlngeom.geodesics import energy, exp, geodesic, length
from tests.helpers import reference as ref
from tests.helpers.downstairs import name, project, times
from tests.helpers.geodesic_cases import (
    CASES,
    NETWORKS,
    horizontal,
    network_and_vector,
    reach,
    space_of,
    vector,
)
from tests.helpers.namespaces import JAX_IS_SLOW
from tests.helpers.parameters import slow

LIBRARIES = [("dense", "float64"), ("svd", "float64"), ("dense", "float32"), ("svd", "float32")]
TIMES = np.array([0.4, -1, 1, 0, 1, -0.3])


@pytest.fixture(params=[slow(x) if x[2] == 20 else x for x in CASES], ids=lambda x: name(x))
def case(request, rng):
    dims, rank, depth, options = request.param
    W = ref.random_svd(*dims, rank, rng, **options)
    return space_of(W, depth), W, vector(W, depth, rng), depth


def test_speed_is_constant_and_points_stay_on_the_manifold(case):
    space, W, Z, depth = case
    h = 1e-3
    t = np.concatenate([0.6 + h * np.arange(-2, 3), [-0.4, 0, 1]])
    X, V = geodesic(space, W, Z, t, velocity=True)
    np.testing.assert_allclose(space.norm(X, V), 0.5 * reach(W, depth), rtol=1e-11)
    unit = np.eye(len(W.s))
    for frame, across in ((X.u, V.Up), (X.vt.mT, V.Vp)):
        np.testing.assert_allclose(frame.mT @ frame - unit, 0, atol=1e-13)
        np.testing.assert_allclose(frame.mT @ across, 0, atol=1e-13 * np.max(W.s))
    assert np.all(X.s > 0)
    assert np.all(np.diff(X.s) <= 0)
    ref.close(dlngeom.dense(X)[6], ref.dense_svd(W), 1e-14)
    ref.close(dlngeom.dense((X, V))[6], ref.dense_tangent(W, Z), 1e-12)
    a, b, _, d, e = dlngeom.dense(X)[:5]
    ref.close((a - 8 * b + 8 * d - e) / (12 * h), dlngeom.dense((X, V))[2], 1e-8)
    X, V = dlngeom.dense(X)[7], dlngeom.dense((X, V))[7]
    Y, U = geodesic(space, ref.dense_svd(W), ref.dense_tangent(W, Z), 1.0, velocity=True)
    ref.close(Y, X, 1e-10)
    ref.close(U, V, 1e-9)
    np.testing.assert_allclose(space.norm(Y, U), 0.5 * reach(W, depth), rtol=1e-10)


def test_retractions_agree_to_their_order(case):
    space, W, Z, depth = case
    steps = np.geomspace(0.01, 0.06, 5)
    ends = dlngeom.dense(geodesic(space, W, Z, steps))
    # The inversion of all matrices about a multiple of an orthogonal one is an isometry.
    symmetric = depth == ref.INF and W.s[0] == W.s[-1]
    for order in (1, 2):
        moved = [endtoend.retraction(W, times(t, Z), depth, order=order) for t in steps]
        gaps = [np.linalg.norm(ref.dense_svd(X) - end) for X, end in zip(moved, ends, strict=True)]
        assert ref.slope(steps, gaps) == pytest.approx(3 if symmetric else order + 1, abs=0.1)


@pytest.mark.parametrize("dims", [(4, 4), (5, 3), (2, 5), (1, 1)])
def test_one_layer_of_full_rank_moves_straight(dims, rng):
    space = EndToEndGeometry(*dims, min(dims), 1)
    W, Z = ref.dense_svd(ref.random_svd(*dims, min(dims), rng)), rng.standard_normal(dims)
    Z *= 0.5 * np.linalg.svd(W)[1][-1] / np.linalg.norm(Z)
    ref.close(geodesic(space, W, Z, TIMES), W + TIMES[:, None, None] * Z, 1e-13)


@pytest.mark.parametrize("dims", [(5, 4, 2), (3, 6, 1), (4, 4, 3)])
def test_one_layer_of_lower_rank_accelerates_normally(dims, rng):
    W = ref.random_svd(*dims, rng)
    space, Z = space_of(W, 1), vector(W, 1, rng)
    steps = np.geomspace(0.02, 0.1, 4)
    gaps = []
    for h in steps:
        X = geodesic(space, W, Z, 0.5 + h * np.arange(-1, 2))
        before, now, after = dlngeom.dense(X)
        second = (before - 2 * now + after) / h**2
        at = SVD(*(x[1] for x in X))
        gaps.append(np.linalg.norm(project(at, second)) / np.linalg.norm(second))
    assert gaps[0] < 1e-3
    assert ref.slope(steps, gaps) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("dims", "depth"),
    [((3, 3), 1), ((2, 3), 2), slow((3, 2), 3), slow((2, 2), 6), ((2, 2), ref.INF)],
)
def test_hamilton_equations_of_the_literal_cometric(dims, depth, rng):
    W = ref.random_svd(*dims, min(dims), rng)
    space, Z = space_of(W, depth), vector(W, depth, rng)
    covector = ref.dense_tangent(W, endtoend.inverse_cometric(W, Z, depth))
    start = np.concatenate([ref.dense_svd(W).ravel(), covector.ravel()])
    solution = solve_ivp(
        hamilton, (0, 1), start, method="DOP853", rtol=1e-9, atol=1e-11, args=(dims, depth)
    )
    end = solution.y[: start.size // 2, -1].reshape(dims)
    ref.close(dlngeom.dense(exp(space, W, Z)), end, 1e-7)


def hamilton(_, state, dims, depth):
    """Rates of ``H(W, Y) = <Y, A_W(Y)> / 2``, with derivatives by differences."""
    W, Y = state.reshape(2, *dims)
    h = 1e-4

    def value(X):
        return np.sum(Y * ref.cometric(dlngeom.svd(X), Y, depth)) / 2

    steps = h * np.eye(W.size).reshape(-1, *dims)
    slopes = [
        (8 * (value(W + e) - value(W - e)) - value(W + 2 * e) + value(W - 2 * e)) / (12 * h)
        for e in steps
    ]
    return np.concatenate([ref.cometric(dlngeom.svd(W), Y, depth).ravel(), -np.array(slopes)])


@pytest.mark.parametrize(
    ("dims", "rank", "depth"),
    [((5, 4), 2, 1), slow((5, 4), 2, 2), ((4, 4), 3, 3), slow((5, 4), 1, 5), ((3, 3), 3, ref.INF)],
)
def test_geodesics_are_stationary_points_of_the_energy(dims, rank, depth, rng):
    W = ref.random_svd(*dims, rank, rng)
    space, Z = space_of(W, depth), vector(W, depth, rng)
    direction = rng.standard_normal(dims)
    counts = np.array([8, 16, 32])
    slopes, bends, others = [], [], []
    for count in counts:
        t = np.linspace(0, 1, count + 1)
        X = geodesic(space, W, Z, t)
        change = 0.1 * min(W.s)
        around = [energy(space, vary(X, e * change * direction, t), t) for e in (-1e-3, 0, 1e-3)]
        slopes.append(abs(around[2] - around[0]) / 2e-3)
        bends.append((around[0] - 2 * around[1] + around[2]) / 1e-6)
        # A curve that is no geodesic has a slope that stays.
        X = [endtoend.retraction(W, times(x, Z), depth, order=1) for x in t]
        X = SVD(*(np.stack(x) for x in zip(*X, strict=True)))
        around = [energy(space, vary(X, e * change * direction, t), t) for e in (-1e-3, 1e-3)]
        others.append(abs(around[1] - around[0]) / 2e-3)
    assert ref.slope(1 / counts, slopes) == pytest.approx(2, abs=0.15)
    assert np.all(np.array(bends) > 0)
    assert others[-1] > 10 * slopes[-1]


def vary(curve, direction, t):
    """Move the points of a curve, but not its ends, along a matrix, and keep their rank."""
    moved = dlngeom.dense(curve) + np.sin(np.pi * t)[:, None, None] * direction
    return dlngeom.svd(moved, curve.s.shape[-1])


def test_bures_wasserstein(bures_wasserstein, rng):
    space = EndToEndGeometry(3, 3, 3, 2)
    for _ in range(2):
        A, B = (x @ x.T + 0.5 * np.eye(3) for x in rng.standard_normal((2, 3, 3)))
        Z = rng.standard_normal((3, 3))
        Z = 0.1 * (Z + Z.T)
        ref.close(exp(space, A, Z), bures_wasserstein.exp(Z, A), 1e-11)
        ref.close(dlngeom.geodesics.log(space, A, B), bures_wasserstein.log(B, A), 1e-10)
        squared = dlngeom.geodesics.dist(space, A, B) ** 2
        assert squared == pytest.approx(2 * bures_wasserstein.squared_dist(A, B), rel=1e-10)


@pytest.fixture
def bures_wasserstein(monkeypatch, recwarn):
    monkeypatch.setenv("GEOMSTATS_BACKEND", "numpy")
    module = pytest.importorskip("geomstats.geometry.spd_matrices")
    manifold = module.SPDMatrices(3, equip=False)
    manifold.equip_with_metric(module.SPDBuresWassersteinMetric)
    return manifold.metric


@pytest.mark.parametrize("dims", [(3, 3), (5, 4)])
@pytest.mark.parametrize("depth", [1, 2, 3, 7, 20, 100, ref.INF])
def test_singular_values_move_by_their_layers(dims, depth, rng):
    if depth == ref.INF and dims[0] != dims[1]:
        return
    s, rate = np.array([2.0, 1.1, 0.7]), np.array([0.2, -0.3, 0.1])
    W = ref.random_svd(*dims, 3, rng)._replace(s=s)
    if depth == ref.INF:
        change, curve = s * rate, s * np.exp(TIMES[:, None] * rate)
    else:
        lam, rate = s ** (1 / depth), rate / (depth if depth > 20 else 1)
        change, curve = depth * lam ** (depth - 1) * rate, (lam + TIMES[:, None] * rate) ** depth
    Z = Tangent(0 * W.u, np.diag(change), 0 * W.vt.T)
    X = geodesic(space_of(W, depth), W, Z, TIMES)
    ref.close(dlngeom.dense(X), (W.u * curve[:, None, :]) @ W.vt, 1e-11)


def test_infinite_depth_is_the_limit_of_finite_depth(rng):
    W = ref.random_svd(3, 3, 3, rng)
    Z = vector(W, ref.INF, rng)
    limit = ref.dense_svd(exp(InfinitelyDeepNetwork(3), W, Z))
    depths = np.array([125, 500, 2000])
    ends = [exp(EndToEndGeometry(3, 3, 3, depth), W, Z) for depth in depths.tolist()]
    gaps = [np.linalg.norm(ref.dense_svd(X) - limit) for X in ends]
    assert gaps[-1] < 1e-3
    assert ref.slope(depths, gaps) == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize(("rank", "size"), [slow(3, 1.0), (2, 0.6)])
def test_layers_and_frames_give_the_same_geodesic(rank, size, monkeypatch, rng):
    W = ref.random_svd(4, 3, rank, rng)
    for depth in (2, 3, 8):
        space, Z = space_of(W, depth), vector(W, depth, rng, size)
        X, V = geodesic(space, W, Z, TIMES, velocity=True)
        with monkeypatch.context() as patch:
            patch.setattr("dlngeom.dln._geodesics._LAYERS", 1)
            Y, U = geodesic(space, W, Z, TIMES, velocity=True)
        ref.close(dlngeom.dense(X), dlngeom.dense(Y), 1e-10)
        ref.close(dlngeom.dense((X, V)), dlngeom.dense((Y, U)), 1e-9)


@pytest.fixture(
    params=[*NETWORKS[:5], *map(slow, NETWORKS[5:])], ids=lambda case: f"{case[0]} rank {case[1]}"
)
def above(request, rng):
    return network_and_vector(request.param, rng)


def test_speed_and_balance_upstairs(above):
    space, point, V = above
    X, U = geodesic(space, point, V, TIMES, upstairs=True, velocity=True)
    np.testing.assert_allclose(space.norm(X, U), space.norm(point, V), rtol=1e-12)
    layers = dlngeom.factors(X)
    for G in network.invariants(layers):
        np.testing.assert_allclose(G, 0, atol=1e-13)
    assert np.all(X.lam > 0)
    ref.close_layers([x[3] for x in layers], ref.balanced_layers(point), 1e-13)
    for actual, desired in zip(U, V, strict=True):
        ref.close(actual[3], desired, 1e-11)
    ref.close_layers(space.tangent_projection(X, U), U, 1e-12)


def test_acceleration_is_normal_upstairs(above):
    space, point, V = above
    steps, gaps = np.geomspace(0.02, 0.1, 4), []
    for h in steps:
        X = geodesic(space, point, V, 0.3 + h * np.arange(-1, 2), upstairs=True)
        second = [(x[0] - 2 * x[1] + x[2]) / h**2 for x in dlngeom.factors(X)]
        along = space.tangent_projection(dlngeom.Frames(X.lam[1], tuple(q[1] for q in X.q)), second)
        gaps.append(np.sqrt(ref.dot(along, along)))
    assert gaps[0] < 1e-3
    if space.depth > 1 or space.rank < 3:
        assert ref.slope(steps, gaps) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("case", [NETWORKS[i] for i in (1, 2, 3, 5)])
def test_literal_geodesic_equation_of_a_submanifold(case, rng):
    """``W'' = (D_V P) V`` with the projection from a null space and its derivative by steps."""
    space, point, V = network_and_vector(case, rng)
    widths, h = space.widths, 1e-3

    def projected(W, dW):
        basis = ref.tangent_basis(frames_near(ref.unflatten(W, widths), space.rank))
        return basis.T @ (basis @ dW)

    def rates(_, state):
        W, dW = state.reshape(2, -1)
        return np.concatenate(
            [dW, (projected(W + h * dW, dW) - projected(W - h * dW, dW)) / (2 * h)]
        )

    start = np.concatenate([ref.flatten(ref.balanced_layers(point)), ref.flatten(V)])
    end = solve_ivp(rates, (0, 0.5), start, method="DOP853", rtol=1e-6, atol=1e-9).y[:, -1]
    X = geodesic(space, point, V, 0.5, upstairs=True)
    ref.close(ref.flatten(dlngeom.factors(X)), end[: end.size // 2], 1e-6)


def frames_near(layers, rank):
    """Frames of layers that are nearly balanced and nearly of a rank."""
    u, s, vt = dlngeom.svd(layers[0], rank)
    q = [vt.T, u]
    for W in layers[1:]:
        left, _, right = np.linalg.svd(W @ q[-1], full_matrices=False)
        q.append(left @ right)
    return dlngeom.Frames(s, tuple(q))


def test_horizontal_geodesics_lie_over_those_downstairs(above, rng):
    space, point, V = above
    H = horizontal(space, point, rng)
    X, U = geodesic(space, point, H, [-1, 0.5, 1], upstairs=True, velocity=True)
    W, Z = dlngeom.dense(point), space.differential(point, H)
    Y, dY = geodesic(space, W, Z, [-1, 0.5, 1], velocity=True)
    ref.close(dlngeom.dense(X), Y, 1e-11)
    ref.close(space.differential(X, U), dY, 1e-10)
    for x in space.vertical_projection(X, U):
        np.testing.assert_allclose(x, 0, atol=1e-11)
    if space.dim_orbit > 0:
        shadow = exp(space, W, space.differential(point, V))
        gap = np.linalg.norm(dlngeom.dense(exp(space, point, V, upstairs=True)) - shadow)
        assert gap > 1e-3


@pytest.mark.parametrize("dense", [False, slow(True)])
def test_times(dense, rng):
    W = ref.random_svd(4, 3, 2, rng)
    space, Z = space_of(W, 3), vector(W, 3, rng)
    if dense:
        W, Z = ref.dense_svd(W), ref.dense_tangent(W, Z)
    X = matrix(geodesic(space, W, Z, TIMES))
    assert X.shape == (6, 4, 3)
    ref.close(X[2], X[4], 0.0)
    for t, at in zip(TIMES, X, strict=True):
        ref.close(matrix(geodesic(space, W, Z, t)), at, 1e-12)
        ref.close(matrix(exp(space, W, times(t, Z))), at, 1e-12)
    X, V = geodesic(space, W, Z, 0.4, velocity=True)
    ref.close(matrix(geodesic(space, X, V, -0.4)), matrix(W), 1e-12)
    X, V = geodesic(space, W, Z, [0.4], velocity=True)
    assert matrix(X).shape == (1, 4, 3)
    ref.close(matrix(exp(space, W, times(0, Z))), matrix(W), 1e-14)


def matrix(point):
    return dlngeom.dense(point) if isinstance(point, SVD) else point


def test_axes_of_batches_and_times(rng):
    W = ref.random_svd(4, 3, 2, rng, batch=(3, 2))
    space = EndToEndGeometry(4, 3, 2, 3)
    Z = Tangent(*(0.2 * x for x in ref.random_tangent(W, rng)))
    X, V = geodesic(space, W, Z, [0.5, 1], velocity=True)
    assert [x.shape for x in X] == [(3, 2, 2, 4, 2), (3, 2, 2, 2), (3, 2, 2, 2, 3)]
    assert V.M.shape == (3, 2, 2, 2, 2)
    D = geodesic(space, dlngeom.dense(W), dlngeom.dense((W, Z)), [0.5, 1])
    ref.close(D, dlngeom.dense(X), 1e-12)
    for index in np.ndindex(3, 2):
        one = geodesic(space, *(type(x)(*(y[index] for y in x)) for x in (W, Z)), [0.5, 1])
        ref.close(dlngeom.dense(one), dlngeom.dense(X)[index], 1e-12)
    assert length(space, X).shape == (3, 2)
    assert energy(space, D, [0.5, 1]).shape == (3, 2)


def test_axes_of_batches_and_times_upstairs(rng):
    space = DeepLinearNetwork((3, 4, 3), 2)
    point = ref.random_frames(space.widths, 2, rng, batch=(3,))
    V = space.tangent_projection(point, ref.random_layers(space.widths, rng, (3,)))
    V = tuple(0.1 * x for x in V)
    X, U = geodesic(space, point, V, [0.5, 1, -1, 0], upstairs=True, velocity=True)
    assert [x.shape for x in (X.lam, *X.q)] == [(3, 4, 2), *[(3, 4, d, 2) for d in (3, 4, 3)]]
    assert [x.shape for x in U] == [(3, 4, 4, 3), (3, 4, 3, 4)]
    assert exp(space, dlngeom.factors(point), V, upstairs=True).lam.shape == (3, 2)
    one = dlngeom.Frames(point.lam[1], tuple(q[1] for q in point.q))
    end = exp(space, one, tuple(v[1] for v in V), upstairs=True)
    ref.close(dlngeom.dense(end), dlngeom.dense(X)[1, 1], 1e-12)
    assert length(space, X, upstairs=True).shape == (3,)


@pytest.mark.parametrize("upstairs", [False, True])
def test_lengths_and_energies_converge(upstairs, rng):
    space = DeepLinearNetwork((4, 3, 5), 2)
    point = ref.random_frames(space.widths, 2, rng)
    H = horizontal(space, point, rng)
    start, Z = (point, H) if upstairs else (dlngeom.dense(point), space.differential(point, H))
    speed, counts = np.sqrt(ref.dot(H, H)), np.array([4, 8, 16, 32])
    gaps = []
    for count in counts:
        t = np.sinh(np.linspace(-0.5, 1, count + 1))
        curve = geodesic(space, start, Z, t, upstairs=upstairs)
        found = length(space, curve, upstairs=upstairs), energy(space, curve, t, upstairs=upstairs)
        assert found[1] >= found[0] ** 2 / (2 * (t[-1] - t[0]))
        exact = speed * (t[-1] - t[0]), speed**2 * (t[-1] - t[0]) / 2
        gaps.append([abs(a - b) for a, b in zip(found, exact, strict=True)])
    for column in np.transpose(gaps):
        assert ref.slope(1 / counts, column) == pytest.approx(2, abs=0.1)


def test_energy_of_uneven_speed_exceeds_what_its_length_needs(rng):
    W = ref.random_svd(3, 3, 3, rng)
    space, Z = space_of(W, 2), vector(W, 2, rng)
    t = np.linspace(0, 1, 65)
    curve = geodesic(space, W, Z, t**2)
    assert length(space, curve) == pytest.approx(float(space.norm(W, Z)), rel=1e-4)
    assert energy(space, curve, t) == pytest.approx(float(space.norm(W, Z)) ** 2 * 2 / 3, rel=1e-3)


@pytest.mark.parametrize("xp", JAX_IS_SLOW, indirect=True)
def test_libraries_and_dtypes_are_kept(xp, rng):
    space = DeepLinearNetwork((3, 3, 3), 2)
    W = ref.random_svd(3, 3, 2, rng)
    Z = vector(W, 2, rng)
    plain = {"svd": (W, Z), "dense": (ref.dense_svd(W), ref.dense_tangent(W, Z))}
    # Jax compiles every operation for seconds.
    for kind, dtype in {"numpy": LIBRARIES, "jax": LIBRARIES[:1]}.get(xp.name, LIBRARIES[::3]):
        given = xp.array(plain[kind], dtype)
        X, V = geodesic(space, *given, 0.5, velocity=True)
        assert xp.dtypes((X, V)) == {dtype}
        expected = geodesic(space, *plain[kind], 0.5)
        tolerance = 1e-11 if dtype == "float64" else 1e-4
        ref.close(matrix(xp.numpy(X)), matrix(expected), tolerance)
        assert_untouched(xp, given, plain[kind], dtype)


def assert_untouched(xp, given, plain, dtype):
    for x, y in zip(given, plain, strict=True):
        if isinstance(x, tuple):
            assert_untouched(xp, x, y, dtype)
        else:
            np.testing.assert_array_equal(xp.numpy(x), np.asarray(y, dtype))


def test_libraries_and_dtypes_are_kept_upstairs(xp, rng):
    if xp.name == "jax":
        pytest.skip("compiles for many seconds")
    space, point, V = network_and_vector(((3, 4, 3), 2, {}), rng)
    expected = exp(space, point, V, upstairs=True)
    for dtype, tolerance in (("float64", 1e-11), ("float32", 1e-4)):
        given = xp.array(point, dtype), xp.array(V, dtype)
        X = exp(space, *given, upstairs=True)
        assert xp.dtypes(X) == {dtype}
        ref.close(dlngeom.dense(xp.numpy(X)), dlngeom.dense(expected), tolerance)
        assert_untouched(xp, given, (point, V), dtype)
