"""The logarithm and the distance, where geodesics end, and what is refused."""

import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, DeepLinearNetwork, Frames, InfinitelyDeepNetwork, Tangent
from dlngeom.dln import EndToEndGeometry
from dlngeom.geodesics import GeodesicError, dist, energy, exp, geodesic, length, log
from tests.helpers import reference as ref
from tests.helpers.downstairs import times
from tests.helpers.geodesic_cases import (
    NETWORKS,
    network_and_vector,
    reach,
    scaled,
    space_of,
    vector,
)
from tests.helpers.parameters import crossed, slow

# Shape, rank, depth: within half the distance to lower rank the logarithm always is found.
LOGARITHMS = [
    ((3, 3), 3, 1),
    ((5, 4), 2, 1),
    ((3, 3), 3, 2),
    ((4, 3), 2, 3),
    ((3, 4), 3, 3),
    ((4, 4), 1, 5),
    ((2, 2), 2, ref.INF),
]
SWEEP = [(dims, rank, depth) for dims, rank, depth in LOGARITHMS for _ in range(5)] + [
    ((4, 4), 4, 5),
    ((3, 3), 3, 10),
    ((2, 2), 2, 100),
    ((3, 3), 3, ref.INF),
]


def assert_round_trip(case, rng, share=0.5):
    dims, rank, depth = case
    W = ref.random_svd(*dims, rank, rng)
    space, Z = space_of(W, depth), vector(W, depth, rng, share)
    X = exp(space, W, Z)
    back = log(space, W, X)
    assert isinstance(back, Tangent)
    ref.close(ref.dense_tangent(W, back), ref.dense_tangent(W, Z), 1e-11)
    ref.close(ref.dense_svd(exp(space, W, back)), ref.dense_svd(X), 1e-11)
    return space, W, X, Z


@pytest.mark.parametrize(
    "case", LOGARITHMS[:3] + [slow(x) for x in LOGARITHMS[3:5]] + LOGARITHMS[5:]
)
def test_logarithm_inverts_the_exponential_map(case, rng):
    space, W, X, Z = assert_round_trip(case, rng)
    if case[1] == 2 and case[2] > 1:
        A, B = ref.dense_svd(W), ref.dense_svd(X)
        ref.close(log(space, A, B), ref.dense_tangent(W, Z), 1e-11)
    if case[2] == 2:
        assert dist(space, X, W) == pytest.approx(0.5 * reach(W, case[2]), rel=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "case"), list(enumerate(SWEEP)))
def test_logarithm_inverts_the_exponential_map_everywhere(seed, case):
    assert_round_trip(case, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "case", [*(NETWORKS[i] for i in (0, 1, 3)), slow(NETWORKS[2]), slow(NETWORKS[5])]
)
def test_logarithm_upstairs(case, rng):
    space, point, V = network_and_vector(case, rng)
    X = exp(space, point, V, upstairs=True)
    back = log(space, point, X, upstairs=True)
    assert isinstance(back, tuple)
    ref.close_layers(back, V, 1e-11)
    if space.depth == 2:
        backwards = dist(space, dlngeom.factors(X), point, upstairs=True)
        assert backwards == pytest.approx(np.sqrt(ref.dot(V, V)), rel=1e-11)


@pytest.mark.parametrize("depth", [2, slow(3), slow(ref.INF)])
def test_distance_is_a_metric_with_the_symmetries_of_the_space(depth, rng):
    A, B, C = (np.eye(2) + 0.3 * x for x in rng.standard_normal((3, 2, 2)))
    space = space_of(dlngeom.svd(A), depth)
    ab, bc, ac = (float(dist(space, x, y)) for x, y in ((A, B), (B, C), (A, C)))
    assert max(ab, bc, ac) < ab + bc + ac - max(ab, bc, ac)
    assert dist(space, B, A) == pytest.approx(ab, rel=1e-11)
    assert dist(space, A, A) == pytest.approx(0, abs=1e-12)
    P, Q = ref.orthonormal(2, 2, rng), ref.orthonormal(2, 2, rng)
    factor = 1.0 if depth == ref.INF else 3.0 ** (1 / depth)
    one, other = (3 * P @ (np.linalg.inv(x) if depth == ref.INF else x.T) @ Q for x in (A, B))
    assert dist(space, one, other) == pytest.approx(factor * ab, rel=1e-11)


def test_one_layer_measures_straight_lines(rng):
    A, B = np.eye(4, 3) + 0.2 * rng.standard_normal((2, 4, 3))
    space = EndToEndGeometry(4, 3, 3, 1)
    ref.close(log(space, A, B), B - A, 1e-13)
    assert dist(space, A, B) == pytest.approx(np.linalg.norm(B - A), rel=1e-13)


def test_batches_of_matrices_equal_loops(rng):
    W = ref.random_svd(3, 2, 1, rng, batch=(2,))
    space = EndToEndGeometry(3, 2, 1, 2)
    X = exp(space, W, Tangent(*(0.2 * x for x in ref.random_tangent(W, rng))))
    found = log(space, W, X)
    assert [x.shape for x in found] == [(2, 3, 1), (2, 1, 1), (2, 2, 1)]
    dense = log(space, dlngeom.dense(W), dlngeom.dense(X))
    ref.close(dense, dlngeom.dense((W, found)), 1e-12)
    distances = dist(space, W, X)
    for i in range(2):
        one, other = (SVD(*(x[i] for x in point)) for point in (W, X))
        ref.close(dlngeom.dense((one, log(space, one, other))), dense[i], 1e-12)
        Z = Tangent(*(x[i] for x in found))
        assert distances[i] == pytest.approx(float(space.norm(one, Z)), rel=1e-12)


def test_batches_of_networks_equal_loops(rng):
    space = DeepLinearNetwork((3, 2, 3), 2)
    one, other = (ref.random_frames(space.widths, 2, rng, batch=(2, 1)) for _ in range(2))
    V = space.tangent_projection(one, ref.random_layers(space.widths, rng, (2, 1)))
    other = exp(space, one, tuple(0.1 * x for x in V), upstairs=True)
    found = log(space, one, other, upstairs=True)
    assert [x.shape for x in found] == [(2, 1, 2, 3), (2, 1, 3, 2)]
    a, b = (Frames(x.lam[1, 0], tuple(q[1, 0] for q in x.q)) for x in (one, other))
    ref.close_layers(log(space, a, b, upstairs=True), [x[1, 0] for x in found], 1e-12)


def test_large_matrices_cost_what_their_rank_costs(rng):
    W = ref.random_svd(300, 200, 2, rng)
    space, Z = space_of(W, 3), vector(W, 3, rng)
    back = log(space, W, exp(space, W, Z))
    for actual, desired in zip(back, Z, strict=True):
        ref.close(actual, desired, 1e-10)


@pytest.mark.parametrize("depth", [1, slow(2), slow(3)])
def test_logarithms_far_beyond_the_radius(depth, rng):
    A, B = np.eye(2), np.array([[-0.9, -0.3], [0.2, -1.1]])
    space = EndToEndGeometry(2, 2, 2, depth)
    Z = log(space, A, B)
    assert space.norm(A, Z) > 2 * reach(dlngeom.svd(A), depth) / np.sqrt(depth)
    ref.close(exp(space, A, Z), B, 1e-9)


def test_libraries_and_dtypes_are_kept(rng):
    torch = pytest.importorskip("torch")
    A, B = (torch.from_numpy(np.eye(2) + 0.2 * x) for x in rng.standard_normal((2, 2, 2)))
    space = EndToEndGeometry(2, 2, 2, 2)
    Z, d = log(space, A, B), dist(space, A, B)
    assert isinstance(Z, torch.Tensor)
    assert isinstance(d, torch.Tensor)
    ref.close(Z.numpy(), log(space, A.numpy(), B.numpy()), 1e-12)
    Z = log(space, A.to(torch.float32), B.to(torch.float32))
    assert Z.dtype == torch.float32
    ref.close(Z.numpy(), log(space, A.numpy(), B.numpy()), 1e-5)


BOUNDARIES = [((3, 3), 2), ((3, 3), 1), ((3, 3), 3), ((5, 3), 2), ((4, 5), 3)]


def towards_lower_rank(dims, depth):
    """The shortest way to the boundary, of unit length in time."""
    lam = np.array([1.5, 1.0, 0.5])
    W = SVD(np.eye(dims[0], 3), lam**depth, np.eye(3, dims[1]))
    M = np.diag([0, 0, -depth * lam[-1] ** depth])
    return space_of(W, depth), W, Tangent(0 * W.u, M, 0 * W.vt.T)


@pytest.mark.parametrize(
    ("case", "dense"),
    [
        *crossed(BOUNDARIES, [False, True]),
        slow(((3, 3), 20), False),
        slow(((3, 3), 20), True),
    ],
)
def test_geodesics_end_at_lower_rank(case, dense):
    dims, depth = case
    space, W, Z = towards_lower_rank(dims, depth)
    assert space.norm(W, Z) == pytest.approx(np.sqrt(depth) * W.s[-1] ** (1 / depth))
    if dense:
        W, Z = dlngeom.dense(W), dlngeom.dense((W, Z))
    s = dlngeom.svd(dlngeom.dense(X) if isinstance(X := exp(space, W, times(0.99, Z)), SVD) else X)
    ref.close(s.s[:2], [1.5**depth, 1.0], 1e-10)
    for share in (1.01, 3.0):
        with pytest.raises(GeodesicError, match=rf"stopped at t={1 / share:.3f}.*lower rank"):
            exp(space, W, times(share, Z))
    with pytest.raises(GeodesicError, match=r"stopped at t=-0\.999.*lower rank"):
        geodesic(space, W, times(-1, Z), [0.5, -2])


@pytest.mark.parametrize("smallest", [1e-2, 1e-5, 1e-8])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_step_is_too_long_to_notice_lower_rank(smallest, depth):
    lam = np.array([1.0, smallest])
    W, rate = SVD(np.eye(2), lam**depth, np.eye(2)), depth * lam ** (depth - 1)
    space, zero = space_of(W, depth), np.zeros((2, 2))
    with pytest.raises(GeodesicError, match="lower rank"):
        exp(space, W, Tangent(zero, np.diag(rate * [0.0, -1.0]), zero))
    # Tiny is not singular.
    end = exp(space, W, Tangent(zero, np.diag(rate * [1.0, 0.5 * smallest]), zero)).s
    np.testing.assert_allclose(end, [2.0**depth, (1.5 * smallest) ** depth], rtol=1e-6)


@pytest.mark.parametrize("gap", [0.3, 1e-3])
def test_lines_may_pass_lower_rank_closely(gap):
    for W, Z in (
        (np.array([[1, -gap], [gap, 1]]), -2 * np.eye(2)),
        (np.array([[1, 0], [0, 1], [gap, 0]]), np.array([[-2.0, 0], [0, 0], [0, 0]])),
    ):
        space = EndToEndGeometry(*W.shape, 2, 1)
        assert np.linalg.svd(W + Z / 2)[1][1] == pytest.approx(gap)
        ref.close(exp(space, W, Z), W + Z, 1e-11)


@pytest.mark.parametrize("gap", [0.3, slow(3e-2)])
def test_geodesics_may_pass_lower_rank_closely(gap):
    space = EndToEndGeometry(3, 2, 2, 2)
    W, Z = np.array([[1, 0], [0, 1], [gap, 0]]), np.array([[-2.0, 0], [0, 0], [0, 0]])
    X, V = geodesic(space, W, Z, [0, 0.5, 1, 2], velocity=True)
    np.testing.assert_allclose(space.norm(X, V), space.norm(W, Z), rtol=1e-9)
    assert np.linalg.svd(X)[1][:, 1].min() < gap


def test_random_lines_end_where_determinants_vanish(rng):
    space = EndToEndGeometry(3, 3, 3, 1)
    outcomes = []
    for _ in range(40):
        W, Z = rng.standard_normal((3, 3)), 2 * rng.standard_normal((3, 3))
        roots = np.linalg.eigvals(-np.linalg.solve(W, Z))
        meets = bool(np.any((np.abs(roots.imag) < 1e-12) & (roots.real > 1)))
        outcomes.append(meets)
        if meets:
            with pytest.raises(GeodesicError, match="lower rank"):
                exp(space, W, Z)
        else:
            ref.close(exp(space, W, Z), W + Z, 1e-12)
    assert 5 < sum(outcomes) < 35


def test_geodesics_upstairs_end_at_lower_rank(rng):
    space = DeepLinearNetwork((3, 4, 3), 2)
    point = ref.random_frames(space.widths, 2, rng)
    shrink = tuple(
        -np.outer(high[:, 1], low[:, 1]) for low, high in zip(point.q, point.q[1:], strict=False)
    )
    V = scaled(space, point, shrink, 1.0)
    assert exp(space, point, tuple(0.99 * x for x in V), upstairs=True).lam[1] > 0
    with pytest.raises(GeodesicError, match=r"stopped at t=0\.990.*lower rank"):
        exp(space, point, tuple(1.01 * x for x in V), upstairs=True)


def test_one_chain_of_a_batch_may_end_the_geodesic():
    W = np.stack([np.eye(2), np.diag([1.0, 0.4])])
    Z = np.stack([np.zeros((2, 2)), np.diag([0, -0.5])])
    with pytest.raises(GeodesicError, match=r"stopped at t=0\.79\d*.*lower rank"):
        exp(EndToEndGeometry(2, 2, 2, 1), W, Z)


@pytest.mark.parametrize("depth", [slow(65), slow(200), ref.INF])
def test_deep_geodesics_end_where_precision_does(depth):
    space = space_of(dlngeom.svd(np.eye(2)), depth)

    def end(exponent):
        """Shrink one singular value to a power of e."""
        rate = exponent if depth == ref.INF else depth * np.expm1(exponent / depth)
        return np.diag(exp(space, np.eye(2), np.diag([0.0, rate])))

    np.testing.assert_allclose(end(-25), [1, np.exp(-25)], rtol=1e-5)
    with pytest.raises(GeodesicError, match="rounding"):
        end(-50)


@pytest.mark.parametrize("depth", [1, 2, 3, ref.INF])
def test_no_logarithm_across_determinants_of_opposite_sign(depth):
    space = space_of(dlngeom.svd(np.eye(2)), depth)
    with pytest.raises(GeodesicError, match="target: determinants differ in sign"):
        log(space, np.eye(2), np.diag([1.0, -1.0]))


def test_no_logarithm_between_networks_in_different_components():
    space = DeepLinearNetwork((2, 2, 2))
    flip = np.diag([1.0, -1.0])
    one = [np.eye(2), np.eye(2)]
    for other in ([flip, np.eye(2)], [flip, flip]):
        with pytest.raises(GeodesicError, match="target: determinants differ in sign"):
            log(space, one, other, upstairs=True)
    # More than a quarter turn of the same layers, which are wide enough for it.
    wide = DeepLinearNetwork((2, 3, 2))
    up, down = np.eye(3, 2), np.eye(2, 3)
    c, s = np.cos(2.0), np.sin(2.0)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    V = log(wide, [up, down], [turn @ up, down @ turn.T], upstairs=True)
    moved = exp(wide, [up, down], V, upstairs=True)
    ref.close_layers(dlngeom.factors(moved), [turn @ up, down @ turn.T], 1e-11)


W = np.diag([2.0, 1.0])
SPACE = EndToEndGeometry(2, 2, 2, 2)
LOW = EndToEndGeometry(3, 3, 2, 2)
NETWORK = DeepLinearNetwork((2, 3, 2))
POINT = dlngeom.frames([np.eye(3, 2), np.eye(2, 3)])
LAYERS = (np.eye(3, 2), np.eye(2, 3))
REFUSED = {
    "shape of the point": (lambda: exp(SPACE, np.eye(3), np.eye(3)), r"shape \(3, 3\).*2, 2"),
    "shape of the vector": (lambda: exp(SPACE, W, np.eye(3)), r"tangent has shape \(3, 3\)"),
    "integers": (lambda: exp(SPACE, np.eye(2, dtype=bool), W), "bool.*float32 or float64"),
    "NaN in the point": (lambda: exp(SPACE, W * np.nan, W), r"\[0, 0\] is nan.*finite"),
    "NaN in the vector": (lambda: exp(SPACE, W, W * np.nan), r"\[0, 0\] is nan.*finite"),
    "NaN in the target": (lambda: log(SPACE, W, W * np.nan), "nan.*finite"),
    "rank": (lambda: exp(LOW, np.eye(3), np.eye(3)), r"rank=2.*sigma_3/sigma_1 = 1"),
    "rank of the target": (lambda: log(LOW, np.diag([2.0, 1, 0]), np.eye(3)), "rank=2"),
    "rank of an SVD": (lambda: log(SPACE, *[dlngeom.svd(W, 1)] * 2), "2 x 2 of rank 1.*rank 2"),
    "singular": (lambda: exp(InfinitelyDeepNetwork(2), np.diag([1.0, 0]), W), "value 0"),
    "off the tangent space": (
        lambda: exp(LOW, np.diag([2.0, 1, 0]), np.eye(3)),
        r"off by 0\.58 relative, allowed 1e-08",
    ),
    "Tangent at a dense point": (
        lambda: exp(SPACE, W, Tangent(W, W, W)),
        "a dense W does not fix: pass an SVD",
    ),
    "Tangent off the frames": (
        lambda: exp(SPACE, dlngeom.svd(W), Tangent(W, W, W)),
        "not tangent: off by",
    ),
    "infinite time": (lambda: geodesic(SPACE, W, W, [0, np.inf]), "inf.*finite time"),
    "no time": (lambda: geodesic(SPACE, W, W, []), r"t=\[\].*a vector of such"),
    "matrix of times": (lambda: geodesic(SPACE, W, W, np.eye(2)), "a vector of such"),
    "kinds": (lambda: log(SPACE, W, dlngeom.svd(W)), "one point is an SVD and the other dense"),
    "batches": (lambda: log(SPACE, np.stack([W, W]), W), r"\(2,\) and \(\): they must agree"),
    "sizes of batches": (
        lambda: dist(SPACE, np.stack([W, W, W]), np.stack([W, W])),
        r"\(3,\) and \(2,\)",
    ),
    "network downstairs": (lambda: exp(NETWORK, POINT, LAYERS), "pass upstairs=True"),
    "matrix upstairs": (lambda: exp(NETWORK, W, LAYERS, upstairs=True), "Frames or balanced"),
    "number of layers": (lambda: exp(NETWORK, POINT, LAYERS[:1], upstairs=True), "has 1 layers"),
    "vertical noise": (
        lambda: exp(NETWORK, POINT, (LAYERS[0], 0 * LAYERS[1]), upstairs=True),
        "not tangent: off by 0.71 relative",
    ),
    "widths": (
        lambda: log(DeepLinearNetwork((2, 4, 2)), POINT, POINT, upstairs=True),
        r"widths \(2, 3, 2\)",
    ),
    "nothing upstairs": (
        lambda: exp(InfinitelyDeepNetwork(2), W, W, upstairs=True),
        r"InfinitelyDeepNetwork\(width=2\).*upstairs=False",
    ),
    "a curve of no points": (lambda: length(SPACE, W), "one point: it must have two or more"),
    "a curve of one point": (lambda: energy(SPACE, W[None], [0]), "two or more"),
    "too many times": (lambda: energy(SPACE, np.stack([W, W]), [0, 1, 2]), "3 times.*2 points"),
    "times that fall": (lambda: energy(SPACE, np.stack([W, W]), [1, 0]), "times must increase"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_log_refuses_bad_input(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_space_without_geodesics():
    with pytest.raises(TypeError, match="does not know its geodesics"):
        exp(_Plane(), W, W)


class _Plane(dlngeom.submersion.Base):
    dim = 4

    def random_point(self, rng, batch=()):
        return W

    def cometric(self, point, covector):
        return covector

    def inner(self, point, first, second):
        return np.sum(first * second)

    def retraction(self, point, vector, *, order=2):
        return point + vector


@pytest.mark.slow
def test_equal_pairs_leave_the_others_of_a_batch_alone():
    """Rounding in the steps of a pair that is its own target must not send it off."""
    A = np.array(
        [[0.19450701285651, -0.01225302004739143], [-0.01225302004739144, 0.4180986569277162]]
    )
    B = np.array(
        [[0.06620169937137546, 0.008854112744118764], [0.008854112744118764, 0.3883177539917354]]
    )
    for depth in (3, np.inf):
        space = InfinitelyDeepNetwork(2) if depth == np.inf else EndToEndGeometry(2, 2, 2, depth)
        Z = log(space, np.stack([A, A]), np.stack([A, B]))
        assert np.all(np.abs(Z[0]) < 1e-13)
        ref.close(Z[1], log(space, A, B), 1e-10)
