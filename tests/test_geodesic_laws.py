import math
import os

import numpy as np
import pytest
import reference as ref

import dlngeom
from dlngeom import Frames, Tangent, endtoend, geodesics

CASES = [
    ((4, 4), 4, 1),
    ((5, 4), 4, 1),
    ((5, 4), 2, 1),
    ((4, 5), 2, 2),
    ((4, 4), 4, 3),
    ((5, 4), 2, 3),
    ((3, 3), 3, 5),
    ((3, 3), 3, 100),
    ((3, 3), 3, ref.INF),
]


def space_of(shape, rank, depth):
    if depth == ref.INF:
        return dlngeom.InfinitelyDeepNetwork(rank)
    return dlngeom.DeepLinearNetwork((shape[1], *[rank + 1] * (depth - 1), shape[0]), rank)


def tangent(W, depth, share, rng):
    """Random tangent vector, as long as a share of the distance where exp may end."""
    Z = ref.random_tangent(W, rng)
    # A layer of a hundred that shrinks by half takes the product out of double precision.
    reach = 0.2 if depth == 100 else math.sqrt(depth) * W.s[-1] ** (1 / depth)
    reach = 1.0 if depth == ref.INF else reach
    size = share * reach / np.sqrt(endtoend.inner(W, Z, Z, depth))
    return Tangent(*(size * x for x in Z))


def at(case, rng, share=0.5):
    shape, rank, depth = case
    W = ref.random_svd(*shape, rank, rng)
    return space_of(*case), W, tangent(W, depth, share, rng), depth


@pytest.mark.parametrize("case", CASES)
def test_speed_is_constant(case, rng):
    space, W, Z, depth = at(case, rng)
    X, V = geodesics.geodesic(space, W, Z, [-0.5, 0, 0.4, 1], velocity=True)
    speeds = np.sqrt(endtoend.inner(X, V, V, depth))
    np.testing.assert_allclose(speeds, speeds[1], rtol=1e-10)
    start = dlngeom.SVD(*(x[1] for x in X)), Tangent(*(x[1] for x in V))
    ref.close(dlngeom.dense(start), ref.dense_tangent(W, Z), 1e-12)


@pytest.mark.parametrize("case", CASES)
def test_retractions_agree_with_it_to_their_order(case, rng):
    space, W, Z, depth = at(case, rng)
    steps = np.geomspace(0.02, 0.2, 5)
    ends = [dlngeom.dense(geodesics.exp(space, W, Tangent(*(t * x for x in Z)))) for t in steps]
    for order in (1, 2):
        gaps = [
            np.linalg.norm(
                end
                - ref.dense_svd(
                    endtoend.retraction(W, Tangent(*(t * x for x in Z)), depth, order=order)
                )
            )
            for t, end in zip(steps, ends, strict=True)
        ]
        if max(gaps) > 1e-12:
            assert ref.slope(steps, gaps) > order + 0.85


def test_one_layer_of_full_rank_moves_straight(rng):
    W, Z = rng.standard_normal((2, 5, 4))
    space = dlngeom.DeepLinearNetwork((4, 5))
    ref.close(geodesics.exp(space, W, 0.1 * Z), W + 0.1 * Z, 1e-12)
    ref.close(geodesics.log(space, W, W + 0.1 * Z), 0.1 * Z, 1e-10)


@pytest.mark.parametrize("case", [((5, 4), 2, 1), ((5, 4), 2, 2), ((4, 4), 4, 3)])
def test_acceleration_is_normal_upstairs(case, rng):
    space, W, _, depth = at(case, rng)
    q = [W.vt.T, *(ref.orthonormal(d, W.s.size, rng) for d in space.widths[1:-1]), W.u]
    point = Frames(W.s ** (1 / depth), tuple(q))
    V = space.tangent_projection(point, ref.random_layers(space.widths, rng))
    V = tuple(0.3 * point.lam[-1] * x / ref.dot(V, V) ** 0.5 for x in V)
    h = 1e-3
    curve = geodesics.geodesic(space, point, V, [-h, 0, h], upstairs=True)
    layers = dlngeom.factors(curve)
    second = tuple((x[0] - 2 * x[1] + x[2]) / h**2 for x in layers)
    along = space.tangent_projection(point, second)
    assert ref.dot(along, along) ** 0.5 < 1e-4 * ref.dot(second, second) ** 0.5
    assert all(np.abs(G).max() < 1e-13 for G in dlngeom.network.invariants(layers))


@pytest.mark.parametrize(("widths", "rank"), [((4, 4, 4), 4), ((4, 3, 5), 2), ((3, 5, 4, 4), 2)])
def test_horizontal_geodesics_project_to_geodesics(widths, rank, rng):
    space = dlngeom.DeepLinearNetwork(widths, rank)
    point = space.random_point(rng)
    V = space.codifferential(point, rng.standard_normal((widths[-1], widths[0])))
    V = tuple(0.4 * point.lam[-1] * x / ref.dot(V, V) ** 0.5 for x in V)
    above = geodesics.exp(space, point, V, upstairs=True)
    below = geodesics.exp(space, space.project(point), space.differential(point, V))
    ref.close(space.project(above), below, 1e-11)
    ref.close(geodesics.log(space, point, above, upstairs=True)[0], V[0], 1e-8)


def test_two_layers_on_positive_definite_matrices_are_bures_wasserstein(rng, monkeypatch):
    monkeypatch.setitem(os.environ, "GEOMSTATS_BACKEND", "numpy")
    spd = pytest.importorskip("geomstats.geometry.spd_matrices")
    manifold = spd.SPDMatrices(3, equip=False)
    manifold.equip_with_metric(spd.SPDBuresWassersteinMetric)
    space = dlngeom.DeepLinearNetwork((3, 3, 3))
    A, B = (x @ x.T + np.eye(3) for x in rng.standard_normal((2, 3, 3)))
    Z = rng.standard_normal((3, 3))
    Z = 0.3 * (Z + Z.T)
    ref.close(geodesics.exp(space, A, Z), manifold.metric.exp(Z, A), 1e-8)
    ref.close(geodesics.log(space, A, B), manifold.metric.log(B, A), 1e-8)
    twice = 2 * manifold.metric.squared_dist(A, B)
    assert geodesics.dist(space, A, B) ** 2 == pytest.approx(twice, rel=1e-8)


@pytest.mark.parametrize("depth", [1, 2, 3, 7, ref.INF])
def test_diagonal_matrices_move_by_their_layers(depth, rng):
    s, h = np.array([2.0, 1.1, 0.7]), np.array([0.2, -0.3, 0.1])
    if depth == ref.INF:
        change, end = s * h, s * np.exp(h)
    else:
        lam = s ** (1 / depth)
        change, end = depth * lam ** (depth - 1) * h, (lam + h) ** depth
    space = space_of((3, 3), 3, depth)
    ref.close(geodesics.exp(space, np.diag(s), np.diag(change)), np.diag(end), 1e-11)


@pytest.mark.parametrize("case", [CASES[i] for i in (2, 3, 4, 5, 8)])
def test_logarithm_within_its_radius(case, rng):
    space, W, Z, _ = at(case, rng, share=0.45)
    X = geodesics.exp(space, W, Z)
    back = geodesics.log(space, W, X)
    ref.close(ref.dense_tangent(W, back), ref.dense_tangent(W, Z), 1e-8)
    ref.close(dlngeom.dense(geodesics.exp(space, W, back)), dlngeom.dense(X), 1e-8)


def test_distance_is_symmetric_and_batched(rng):
    space = dlngeom.DeepLinearNetwork((3, 3, 3, 3))
    A, B, C = (np.eye(3) + 0.2 * x for x in rng.standard_normal((3, 3, 3)))
    ab, ba, bc, ac = geodesics.dist(space, np.stack([A, B, B, A]), np.stack([B, A, C, C]))
    assert ab == pytest.approx(ba, rel=1e-9)
    assert ac <= ab + bc
    Z = geodesics.log(space, A, B)
    assert ab == pytest.approx(float(np.sqrt(endtoend.inner(A, Z, Z, 3))), rel=1e-12)


def test_large_matrices_are_shot_within_their_spans(rng):
    W = ref.random_svd(300, 200, 2, rng)
    space = dlngeom.DeepLinearNetwork((200, 2, 300), 2)
    Z = tangent(W, 2, 0.3, rng)
    X = geodesics.exp(space, W, Z)
    back = geodesics.log(space, W, X)
    ref.close(ref.dense_tangent(W, back), ref.dense_tangent(W, Z), 1e-8)


@pytest.mark.parametrize("upstairs", [False, True])
def test_lengths_and_energies_converge(upstairs, rng):
    space = dlngeom.DeepLinearNetwork((4, 3, 5), 2)
    point = space.random_point(rng)
    V = space.codifferential(point, rng.standard_normal((5, 4)))
    V = tuple(0.5 * point.lam[-1] * x / ref.dot(V, V) ** 0.5 for x in V)
    start, Z = (point, V) if upstairs else (space.project(point), space.differential(point, V))
    exact, counts = 0.5 * point.lam[-1], np.array([4, 8, 16, 32])
    gaps = []
    for count in counts:
        t = np.linspace(0, 1, count + 1)
        curve = geodesics.geodesic(space, start, Z, t, upstairs=upstairs)
        length = geodesics.length(space, curve, upstairs=upstairs)
        energy = geodesics.energy(space, curve, t, upstairs=upstairs)
        assert energy >= length**2 / 2 * (1 - 1e-12)
        gaps.append(abs(length - exact))
    assert ref.slope(1 / counts, gaps) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("depth", [2, 3, 20])
def test_exp_ends_where_a_layer_becomes_singular(depth):
    s = np.array([2.0, 0.5])
    lam = s ** (1 / depth)
    space = space_of((2, 2), 2, depth)
    worst = np.diag([0.0, -depth * lam[1] ** (depth - 1) * lam[1]])
    end = geodesics.exp(space, np.diag(s), 0.99 * worst)
    ref.close(end, np.diag([2.0, (0.01 * lam[1]) ** depth]), 1e-10)
    with pytest.raises(geodesics.GeodesicError, match=r"lower rank"):
        geodesics.exp(space, np.diag(s), 1.01 * worst)


def test_no_logarithm_across_singular_matrices():
    space = dlngeom.DeepLinearNetwork((2, 2, 2))
    with pytest.raises(geodesics.GeodesicError, match="no geodesic to the target"):
        geodesics.log(space, np.eye(2), np.diag([1.0, -1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, W: geodesics.exp(s, W, np.ones((3, 2))), r"shape \(3, 2\)"),
        (lambda s, W: geodesics.exp(s, W[:2], W), r"shape \(2, 3\)"),
        (lambda s, W: geodesics.exp(s, W, np.nan * W), "finite"),
        (lambda s, W: geodesics.geodesic(s, W, W, [0, np.inf]), "finite time"),
        (lambda s, W: geodesics.log(s, W, dlngeom.svd(W)), "of one kind"),
        (lambda s, W: geodesics.energy(s, np.stack([W, W]), [0, 1, 2]), "3 times"),
        (lambda s, W: geodesics.log(s, W, np.stack([W, W])), "must agree"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(dlngeom.DeepLinearNetwork((3, 3, 3)), np.eye(3))


def test_nothing_lies_upstairs_of_infinite_depth():
    with pytest.raises(ValueError, match="upstairs=False"):
        geodesics.exp(dlngeom.InfinitelyDeepNetwork(2), np.eye(2), np.eye(2), upstairs=True)


def test_vectors_must_be_tangent(rng):
    space = dlngeom.DeepLinearNetwork((3, 3, 3), 2)
    point = space.random_point(rng)
    with pytest.raises(ValueError, match="not tangent"):
        geodesics.exp(space, point, ref.random_layers((3, 3, 3), rng), upstairs=True)
    with pytest.raises(ValueError, match="not tangent"):
        geodesics.exp(space, space.project(point), rng.standard_normal((3, 3)))


def test_libraries_and_dtypes_are_kept(xp, rng):
    W, Z = np.eye(3) + 0.1 * rng.standard_normal((2, 3, 3))
    space = dlngeom.DeepLinearNetwork((3, 3, 3))
    expected = geodesics.exp(space, W, 0.2 * Z)
    got = xp.numpy(geodesics.exp(space, xp.array(W), xp.array(0.2 * Z)))
    ref.close(got, expected, 1e-10)
    if xp.name in ("numpy", "torch"):
        small = xp.numpy(geodesics.exp(space, xp.array(W, "float32"), xp.array(0.2 * Z, "float32")))
        assert small.dtype == np.float32
        ref.close(small, expected, 1e-4)


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
