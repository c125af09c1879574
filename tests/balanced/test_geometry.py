from itertools import pairwise

import numpy as np
import pytest

import dlngeom
from dlngeom import balanced
from dlngeom.balanced import _balance, _geometry, _in_frames
from dlngeom.points import Frames
from tests.helpers import reference as ref

CASES = [
    ((5, 4), 4, {}),
    ((5, 4), 3, {}),
    ((4, 4, 4), 4, {}),
    ((4, 3, 5), 3, {"tie": True}),
    ((4, 3, 5), 2, {}),
    ((3, 3, 2, 3), 2, {"tie": True}),
    ((3, 3, 3, 3), 3, {"ratio": 1e-2}),
    ((3, 4, 3, 3), 1, {}),
    ((2, 3, 2, 4, 3), 2, {}),
    ((3, 3, 3, 3, 3, 3), 3, {"tie": True}),
    ((2, 3, 4, 2, 3, 2), 2, {}),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{'-'.join(map(str, case[0]))} rank {case[1]}")
def point(request, rng):
    widths, rank, options = request.param
    return ref.random_frames(widths, rank, rng, **options)


def widths_of(point):
    return tuple(len(q) for q in point.q)


def matrix_of(projection, point):
    widths = widths_of(point)
    size = sum(len(x) * x.shape[1] for x in ref.balanced_layers(point))
    columns = [projection(point, ref.unflatten(e, widths)) for e in np.eye(size)]
    return np.stack([ref.flatten(x) for x in columns], axis=1)


def random_tangent(point, rng):
    V = balanced.tangent_projection(point, ref.random_layers(widths_of(point), rng))
    return tuple(v / np.linalg.norm(ref.flatten(V)) for v in V)


def scaled(t, V):
    return tuple(t * v for v in V)


def balance_gap(factors):
    size = np.linalg.norm(ref.flatten(factors)) ** 2
    gaps = [np.linalg.norm(a @ a.T - b.T @ b) for a, b in pairwise(factors)]
    return max(gaps, default=0.0) / size


def test_projections_are_those_of_the_constraints(point):
    tangent, vertical = ref.tangent_basis(point), ref.vertical_basis(point)
    N, r, widths = len(point.q) - 1, len(point.lam), widths_of(point)
    P, Pv, Ph = (
        matrix_of(f, point)
        for f in (
            balanced.tangent_projection,
            balanced.vertical_projection,
            balanced.horizontal_projection,
        )
    )
    for matrix, basis in ((P, tangent), (Pv, vertical)):
        np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-12)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        assert np.trace(matrix) == pytest.approx(len(basis), abs=1e-10)
        np.testing.assert_allclose(matrix, basis.T @ basis, atol=1e-12)
    ref.close(Pv + Ph, P)
    np.testing.assert_allclose(Pv @ Ph, 0, atol=1e-13)
    assert len(tangent) == balanced.dimension(widths, r)
    assert len(vertical) == (N - 1) * r * (r - 1) // 2 + r * sum(d - r for d in widths[1:-1])


def test_vertical_vectors_do_not_move_the_product(point, rng):
    X = ref.random_layers(widths_of(point), rng)
    factors = ref.balanced_layers(point)
    V, H = balanced.vertical_projection(point, X), balanced.horizontal_projection(point, X)
    assert np.max(np.abs(ref.dphi(factors, V))) < 1e-13
    T = balanced.tangent_projection(point, X)
    ref.close_layers([v + h for v, h in zip(V, H, strict=True)], T)
    ref.close(ref.dphi(factors, H), ref.dphi(factors, T))


def test_horizontal_vectors_are_lifts(point, rng):
    N, r, widths = len(point.q) - 1, len(point.lam), widths_of(point)
    G = rng.standard_normal((widths[-1], widths[0]))
    lift = dlngeom.network.lifted_gradient(dlngeom.factors(point), G)
    if N > 1 or r == min(widths):
        ref.close_layers(balanced.horizontal_projection(point, lift), lift)
    else:
        assert np.max(np.abs(balanced.horizontal_projection(point, lift)[0] - lift[0])) > 0.1


def flat_frame(point):
    E = balanced.orthonormal_frame(point)
    return np.concatenate([x.reshape(len(x), -1) for x in E], axis=1)


def defect(point, flat):
    """Largest violation of the linearised constraints by any row."""
    factors, widths = ref.balanced_layers(point), widths_of(point)
    vectors = [ref.unflatten(e, widths) for e in flat]
    gaps = [
        ref.flatten([*ref.linearised_balance(factors, V), *ref.across_the_frames(point, V)])
        for V in vectors
    ]
    return np.max(np.abs(gaps))


def test_orthonormal_frame_is_orthonormal_and_tangent(point):
    flat = flat_frame(point)
    assert len(flat) == balanced.dimension(widths_of(point), len(point.lam))
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)
    assert defect(point, flat) < 1e-13


def pair_vectors(point, sign):
    """Vectors (8.21) for two singular values, with a plus sign as printed, or a minus sign."""
    N, (a, b) = len(point.q) - 1, point.lam
    p, s = np.arange(1, N)[:, None], np.arange(1, N + 1)
    scale = np.sqrt(N * (a * a + b * b - 2 * a * b * np.cos(p * np.pi / N)))
    before, after = np.sin(p * np.pi * (s - 1) / N), np.sin(p * np.pi * s / N)
    cores = np.zeros((N - 1, N, 2, 2))
    cores[:, :, 0, 1] = (a * before - b * after) / scale
    cores[:, :, 1, 0] = sign * (b * before - a * after) / scale
    Q = np.stack(point.q)
    return (Q[1:] @ cores @ Q[:-1].mT).reshape(N - 1, -1)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_misprinted_sign_is_orthonormal_but_not_tangent(depth, rng):
    point = ref.random_frames((2,) * (depth + 1), 2, rng)
    printed, corrected = pair_vectors(point, 1), pair_vectors(point, -1)
    np.testing.assert_allclose(printed @ printed.T, np.eye(depth - 1), atol=1e-13)
    assert all(defect(point, [vector]) > 0.1 for vector in printed)
    assert defect(point, corrected) < 1e-13
    np.testing.assert_allclose(corrected, flat_frame(point)[3 : 2 + depth], atol=1e-13)


@pytest.mark.parametrize("ratio", [1e-8, 1e-30, 1e-200])
def test_projections_at_extreme_ratios(ratio, rng):
    point = ref.random_frames((3, 3, 4, 3), 3, rng, ratio=ratio)
    flat = flat_frame(point)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-12)
    np.testing.assert_allclose(
        matrix_of(balanced.tangent_projection, point), flat.T @ flat, atol=1e-12
    )


@pytest.mark.parametrize("projection", ["tangent", "vertical", "horizontal"])
@pytest.mark.parametrize("options", [{}, {"tie": True}])
def test_fast_and_dense_transforms_agree(projection, options, rng, monkeypatch):
    point = ref.random_frames((2,) * 71, 2, rng, **options)
    X = ref.random_layers((2,) * 71, rng)
    function = getattr(_geometry, f"{projection}_projection")
    fast = function(point, X)
    monkeypatch.setattr(_balance, "_fast_sine_transform", None)
    monkeypatch.setattr(_balance, "_DENSE_TRANSFORM", 1000)
    ref.close_layers(fast, function(point, X))
    ref.close_layers(function(point, fast), fast)


@pytest.mark.parametrize("depth", [2, 9, 64, 65, 90])
def test_sine_transform(depth, rng):
    p = np.arange(1, depth)
    x = rng.standard_normal((depth - 1, 2, 2))
    literal = np.einsum("jp,pkl->jkl", np.sin(np.pi * np.outer(p, p) / depth), x)
    ref.close(_balance.sine_transform(x), literal, 1e-13)


def test_multipliers_solve_the_tridiagonal_system(rng):
    lam, b = np.array([1.5, 1.5, 0.3]), rng.standard_normal((6, 3, 3))
    S = np.pad(_balance.multipliers(_balance.balance(lam, len(b) + 1), b), ((1, 1), (0, 0), (0, 0)))
    row, column = _balance.pair(lam)
    left = (row**2 + column**2) * S[1:-1] - row * column * (S[:-2] + S[2:])
    ref.close(left, b, 1e-13)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_retraction_stays_balanced(order, size, point, rng):
    V = scaled(size, random_tangent(point, rng))
    moved = balanced.retraction(point, V, order=order)
    assert balance_gap(dlngeom.factors(moved)) < 1e-13
    assert np.all(np.diff(moved.lam) <= 0)
    assert np.all(moved.lam >= 0)
    for q in moved.q:
        np.testing.assert_allclose(q.T @ q, np.eye(len(point.lam)), atol=1e-13)


def remainder(point, V, t, order):
    moved = dlngeom.factors(balanced.retraction(point, scaled(t, V), order=order))
    start = ref.balanced_layers(point)
    return tuple(x - w - t * v for x, w, v in zip(moved, start, V, strict=True))


def test_retraction_has_the_right_velocity_and_tangential_acceleration(point, rng):
    V, steps = random_tangent(point, rng), np.geomspace(1e-3, 2e-2, 5)
    basis = ref.tangent_basis(point)
    tangential, whole = {}, {}
    for order in (1, 2):
        gaps = [ref.flatten(remainder(point, V, t, order)) for t in steps]
        whole[order] = [np.linalg.norm(gap) for gap in gaps]
        tangential[order] = [np.linalg.norm(basis @ gap) for gap in gaps]
    assert ref.slope(steps, whole[1]) == pytest.approx(2, abs=0.1)
    assert ref.slope(steps, tangential[1]) == pytest.approx(2, abs=0.1)
    assert ref.slope(steps, tangential[2]) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 3, 5, 3), (3, 4)])
def test_first_order_retraction_crosses_zero(widths, rng):
    point = ref.random_frames(widths, 3, rng)
    h = np.diag([-1.4, 0.2, -0.9]) * point.lam
    V = tuple(up @ h @ low.T for low, up in pairwise(point.q))
    moved = balanced.retraction(point, V, order=1)
    signed = np.diag(point.lam) + h
    expected = [up @ signed @ low.T for low, up in pairwise(point.q)]
    assert np.min(np.diag(signed)) < 0 < np.max(np.diag(signed))
    ref.close_layers(dlngeom.factors(moved), expected)
    second = balanced.retraction(point, scaled(3.0, random_tangent(point, rng)))
    assert balance_gap(dlngeom.factors(second)) < 1e-13


def second_derivative(point, V):
    """Second derivative of the second-order retraction: ``II(V, V)``, to about 1e-9."""

    def difference(h):
        ends = [dlngeom.factors(balanced.retraction(point, scaled(s * h, V))) for s in (1, -1)]
        middle = ref.balanced_layers(point)
        return ref.flatten([(x + y - 2 * w) / h**2 for x, y, w in zip(*ends, middle, strict=True)])

    return (4 * difference(1e-3) - difference(2e-3)) / 3


def test_weingarten_is_dual_to_the_second_fundamental_form(point, rng):
    widths = widths_of(point)
    V, U = random_tangent(point, rng), random_tangent(point, rng)
    X = ref.random_layers(widths, rng)
    T = balanced.tangent_projection(point, X)
    normal = tuple(x - y for x, y in zip(X, T, strict=True))
    plus, minus = (
        second_derivative(point, tuple(v + s * u for v, u in zip(V, U, strict=True)))
        for s in (1, -1)
    )
    form = (plus - minus) / 4
    WV, WU = (balanced.weingarten(point, x, normal) for x in (V, U))
    size = np.linalg.norm(ref.flatten(normal))
    assert ref.dot(WV, U) == pytest.approx(form @ ref.flatten(normal), abs=1e-7 * size)
    assert ref.dot(WV, U) == pytest.approx(ref.dot(WU, V), abs=1e-13 * size)
    again = balanced.tangent_projection(point, WV)
    np.testing.assert_allclose(ref.flatten(again), ref.flatten(WV), atol=1e-12)
    whole = balanced.weingarten(point, V, X)
    np.testing.assert_allclose(ref.flatten(whole), ref.flatten(WV), atol=1e-12)


def test_weingarten_sees_normals_across_the_frames(rng):
    point = ref.random_frames((4, 3, 5), 2, rng)
    normal = tuple(ref.across_the_frames(point, ref.random_layers((4, 3, 5), rng)))
    V = random_tangent(point, rng)
    image = balanced.weingarten(point, V, normal)
    assert np.linalg.norm(ref.flatten(image)) > 0.1
    form = second_derivative(point, V) @ ref.flatten(normal)
    assert ref.dot(image, V) == pytest.approx(form, abs=1e-7)


def test_rotations_reproduce_the_core(point, rng):
    V = random_tangent(point, rng)
    core = _in_frames.resolve(point, V).core
    omega, h = _balance.rotations(point.lam, core)
    again = omega[1:] * point.lam + h - point.lam[:, None] * omega[:-1]
    np.testing.assert_allclose(again, core, atol=1e-13)
    rate = (core - core.mT) / (point.lam[:, None] + point.lam)
    np.testing.assert_allclose(np.diff(omega, axis=0), rate, atol=1e-13)
    np.testing.assert_allclose(omega.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(h, h.T, atol=1e-14)


def test_geometry_upstairs_refuses_bad_input(rng):
    point = ref.random_frames((4, 3, 5), 2, rng)
    X = ref.random_layers((4, 3, 5), rng)
    bad = {
        "[XV] has 1 layers: the network has 2": (point, X[:1]),
        r"[XV]_1 has shape \(3, 3\)": (point, (np.ones((3, 3)), X[1])),
        "dtypes .* must agree": (point, tuple(x.astype(np.float32) for x in X)),
        "batch shapes": (point, tuple(np.stack([x, x]) for x in X)),
        r"[XV]_2\[0, 0\] is nan": (point, (X[0], X[1] * np.nan)),
        "Q_0 is not orthonormal": (Frames(point.lam, tuple(2 * q for q in point.q)), X),
    }
    functions = (
        balanced.tangent_projection,
        balanced.vertical_projection,
        balanced.horizontal_projection,
        balanced.retraction,
        lambda *args: balanced.weingarten(*args, X),
    )
    for function in functions:
        for words, args in bad.items():
            with pytest.raises(ValueError, match=words):
                function(*args)
    with pytest.raises(ValueError, match="order=3: it must be an integer from 1 to 2"):
        balanced.retraction(point, X, order=3)
    with pytest.raises(ValueError, match=r"normal_1\[0, 0\] is nan"):
        balanced.weingarten(point, X, (X[0] * np.nan, X[1]))


@pytest.mark.parametrize("widths", [(3,), (), (3, 0), (2, 1.5), "ab"])
def test_bad_widths_are_named(widths):
    with pytest.raises(ValueError, match="widths=") as error:
        balanced.dimension(widths)
    assert repr(widths) in str(error.value)
