import numpy as np
import pytest
from scipy import integrate
from scipy.linalg import solve_sylvester

import dlngeom
from dlngeom import SVD, Tangent, balanced, endtoend, network
from tests.helpers import reference as ref
from tests.helpers.downstairs import close_tangent, project, shape, times


def test_cometric_is_the_literal_operator(at, rng):
    W, depth = at
    G = rng.standard_normal(shape(W))
    expected = ref.cometric(W, G, depth)
    if depth == 1:
        expected = project(W, expected)
    ref.close(ref.dense_tangent(W, endtoend.cometric(W, G, depth)), expected)
    again = endtoend.gradient(W, G, depth)
    close_tangent(W, again, endtoend.cometric(W, G, depth), 1e-15)
    Z = ref.random_tangent(W, rng)
    expected = ref.cometric(W, ref.dense_tangent(W, Z), depth)
    ref.close(ref.dense_tangent(W, endtoend.cometric(W, Z, depth)), expected)
    if len(W.s) == min(shape(W)):
        ref.close(endtoend.cometric(ref.dense_svd(W), G, depth), ref.cometric(W, G, depth))


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_cometric_is_the_sum_of_matrix_powers(depth, rng):
    W, G = rng.standard_normal((2, 3, 5))
    ref.close(endtoend.cometric(W, G, depth), ref.power_sum(W, G, depth))


def test_cometric_at_great_depth_approaches_infinite_depth(rng):
    W = ref.random_svd(4, 4, 4, rng)
    G = rng.standard_normal((4, 4))
    limit = endtoend.cometric(W, G, ref.INF).M
    gap = np.abs(endtoend.cometric(W, G, 10**6).M / 10**6 - limit)
    assert np.max(gap) < 1e-5 * np.max(np.abs(limit))


@pytest.mark.parametrize("widths", [(4, 4, 4), (4, 3, 5), (3, 2, 4, 2, 3), (5, 4)])
@pytest.mark.parametrize("tie", [False, True])
def test_dphi_times_its_transpose_is_the_cometric(widths, tie, rng):
    r, N = min(widths), len(widths) - 1
    point = ref.random_frames(widths, r, rng, tie=tie)
    layers = dlngeom.factors(point)
    W = SVD(point.q[-1], point.lam**N, point.q[0].T)
    ref.close(dlngeom.dense(W), network.end_to_end(layers))
    frame = balanced.orthonormal_frame(point)
    images = np.stack(
        [ref.dphi(layers, [x[i] for x in frame]).ravel() for i in range(len(frame[0]))]
    )
    literal = ref.operator_matrix(lambda Z: ref.cometric(W, Z, N), shape(W))
    np.testing.assert_allclose(images.T @ images, literal, rtol=0, atol=1e-12 * literal.max())
    Z = ref.random_tangent(W, rng)
    lift = network.lifted_gradient(layers, ref.dense_tangent(W, Z))
    pushed = ref.dense_tangent(W, endtoend.cometric(W, Z, N))
    ref.close(ref.dphi(layers, lift), pushed)
    assert ref.dot(lift, lift) == pytest.approx(np.sum(pushed * ref.dense_tangent(W, Z)), rel=1e-12)


def test_inverse_cometric_and_inner(at, rng):
    W, depth = at
    Z1, Z2 = ref.random_tangent(W, rng), ref.random_tangent(W, rng)
    close_tangent(W, endtoend.inverse_cometric(W, endtoend.cometric(W, Z1, depth), depth), Z1)
    close_tangent(W, endtoend.cometric(W, endtoend.inverse_cometric(W, Z1, depth), depth), Z1)
    dual = ref.dense_tangent(W, endtoend.inverse_cometric(W, Z2, depth))
    expected = np.sum(ref.dense_tangent(W, Z1) * dual)
    size = endtoend.inner(W, Z1, Z1, depth)
    assert size > 0
    assert endtoend.inner(W, Z1, Z2, depth) == pytest.approx(expected, abs=1e-12 * size)
    assert endtoend.inner(W, Z2, Z1, depth) == pytest.approx(expected, abs=1e-12 * size)


def test_dense_points_give_dense_tangents(dense_at, rng):
    W, depth = dense_at
    X, Z = ref.dense_svd(W), ref.random_tangent(W, rng)
    Zd = ref.dense_tangent(W, Z)
    G, H = rng.standard_normal((2, *shape(W)))
    pairs = [
        (endtoend.inverse_cometric(X, Zd, depth), endtoend.inverse_cometric(W, Z, depth)),
        (endtoend.gradient(X, G, depth), endtoend.gradient(W, G, depth)),
        (endtoend.hessian(X, G, H, Zd, depth), endtoend.hessian(W, G, H, Z, depth)),
    ]
    for dense, factored in pairs:
        ref.close(dense, ref.dense_tangent(W, factored), 1e-10)
    for order in (1, 2):
        dense = endtoend.retraction(X, 0.1 * Zd, depth, order=order)
        factored = endtoend.retraction(W, times(0.1, Z), depth, order=order)
        ref.close(dense, ref.dense_svd(factored), 1e-10)
    expected = endtoend.inner(W, Z, Z, depth)
    assert endtoend.inner(X, Zd, Zd, depth) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("s", [[1.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_singular_dense_points(s, depth, rng):
    W = SVD(ref.orthonormal(4, 3, rng), np.array(s), ref.orthonormal(3, 3, rng).T)
    X, G = ref.dense_svd(W), rng.standard_normal((4, 3))
    desired = ref.cometric(W, G, depth)
    np.testing.assert_allclose(endtoend.cometric(X, G, depth), desired, atol=1e-10)
    np.testing.assert_allclose(endtoend.gradient(X, G, depth), desired, atol=1e-10)
    calls = [
        lambda: endtoend.inverse_cometric(X, G, depth),
        lambda: endtoend.inner(X, G, G, depth),
        lambda: endtoend.hessian(X, G, G, G, depth),
        lambda: endtoend.retraction(X, G, depth),
        lambda: endtoend.transport(X, X, G, depth),
        lambda: endtoend.log_volume_density(X, depth),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="its rank is below 3: give the rank, or an SVD"):
            call()


def test_infinite_depth_needs_a_square_matrix_of_full_rank(rng):
    for m, n, r in [(4, 3, 3), (3, 4, 3), (3, 3, 2)]:
        W = ref.random_svd(m, n, r, rng)
        with pytest.raises(ValueError, match=f"depth=inf needs a square .* {m} x {n} of rank {r}"):
            endtoend.cometric(W, np.ones((m, n)), ref.INF)
    X = np.diag([1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="its rank is below 3"):
        endtoend.gradient(X, X, ref.INF)


def spd(rng, n=4):
    """Symmetric positive definite matrix and symmetric tangent vector."""
    A, Z = rng.standard_normal((2, n, n))
    return A @ A.T + 0.5 * np.eye(n), Z + Z.T


def test_two_layers_at_spd_matrices_are_twice_bures_wasserstein(rng):
    W, Z = spd(rng)
    L = solve_sylvester(W, W, Z)
    assert endtoend.inner(W, Z, Z, 2) == pytest.approx(2 * np.trace(L @ Z) / 2, rel=1e-11)


def test_infinite_depth_at_spd_matrices_is_bogoliubov_kubo_mori_at_the_square(rng):
    W, Z = spd(rng, 3)
    values, vectors = np.linalg.eigh(W @ W)
    core = vectors.T @ Z @ vectors

    def integrand(x):
        t = x / (1 - x)
        resolvent = 1 / (values + t)
        return np.sum(core**2 * resolvent[:, None] * resolvent) / (1 - x) ** 2

    expected = integrate.quad(integrand, 0, 1, epsrel=1e-11, epsabs=0, limit=200)[0]
    assert endtoend.inner(W, Z, Z, ref.INF) == pytest.approx(expected, rel=1e-9)


def test_transport(at, rng):
    W, depth = at
    Z = ref.random_tangent(W, rng)
    other = endtoend.retraction(W, times(0.5, ref.random_tangent(W, rng)), depth)
    close_tangent(W, endtoend.transport(W, W, Z, depth), Z)
    moved = endtoend.transport(W, other, Z, depth)
    before, after = endtoend.inner(W, Z, Z, depth), endtoend.inner(other, moved, moved, depth)
    assert after <= before * (1 + 1e-12)
    assert after > 0.1 * before
    if depth == 1:
        expected = project(other, ref.dense_tangent(W, Z))
        ref.close(ref.dense_tangent(other, moved), expected)
    if len(W.s) == shape(W)[0] == shape(W)[1]:
        assert after == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize("factored", [False, True])
def test_volume_density_is_the_determinant_of_the_metric(factored, dense_at):
    W, depth = dense_at
    literal = ref.operator_matrix(lambda Z: ref.cometric(W, Z, depth), shape(W))
    expected = -np.linalg.slogdet(literal)[1] / 2
    actual = endtoend.log_volume_density(W if factored else ref.dense_svd(W), depth)
    assert actual == pytest.approx(expected, abs=1e-11 * literal.shape[0])


def test_volume_density_needs_full_rank(rng):
    with pytest.raises(ValueError, match=r"W has rank 2: .* needs 3"):
        endtoend.log_volume_density(ref.random_svd(4, 3, 2, rng), 2)


def test_everything_is_invariant_under_rotations(at, rng):
    W, depth = at
    m, n = shape(W)
    P, Q = ref.orthonormal(m, m, rng), ref.orthonormal(n, n, rng)
    Z1, Z2 = ref.random_tangent(W, rng), ref.random_tangent(W, rng)
    G, H = rng.standard_normal((2, m, n))
    turn = lambda Z: Tangent(P @ Z.Up, Z.M, Q @ Z.Vp)  # noqa: E731
    X = SVD(P @ W.u, W.s, W.vt @ Q.T)
    expected = endtoend.inner(W, Z1, Z2, depth)
    scale = endtoend.inner(W, Z1, Z1, depth)
    assert endtoend.inner(X, turn(Z1), turn(Z2), depth) == pytest.approx(
        expected, abs=1e-12 * scale
    )
    pairs = [
        (endtoend.cometric(W, G, depth), endtoend.cometric(X, P @ G @ Q.T, depth)),
        (
            endtoend.hessian(W, G, H, Z1, depth),
            endtoend.hessian(X, P @ G @ Q.T, P @ H @ Q.T, turn(Z1), depth),
        ),
    ]
    for straight, turned in pairs:
        ref.close(ref.dense_tangent(X, turned), P @ ref.dense_tangent(W, straight) @ Q.T)
    straight, turned = (endtoend.retraction(A, B, depth) for A, B in ((W, Z1), (X, turn(Z1))))
    ref.close(ref.dense_svd(turned), P @ ref.dense_svd(straight) @ Q.T)


def test_geometry_downstairs_refuses_bad_input(rng):
    W = ref.random_svd(4, 3, 2, rng)
    Z, G = ref.random_tangent(W, rng), rng.standard_normal((4, 3))
    off = Tangent(Z.Up + W.u, Z.M, Z.Vp)
    bad = {
        "depth=0: it must be an integer": lambda: endtoend.inner(W, Z, Z, 0),
        r"Z1 is not tangent: off by .* allowed 1e-08": lambda: endtoend.inner(W, off, Z, 2),
        "Z is not tangent": lambda: endtoend.inverse_cometric(W, G, 2),
        r"Z.Up has shape \(3, 2\)": lambda: endtoend.retraction(W, Tangent(*Z[::-1]), 2),
        r"Z.M\[0, 0\] is nan": lambda: endtoend.cometric(W, Z._replace(M=Z.M * np.nan), 2),
        "order=0: it must be an integer from 1 to 2": lambda: endtoend.retraction(W, Z, 2, order=0),
        r"W\[3, 2\] is nan": lambda: endtoend.gradient(
            np.where(np.arange(12).reshape(4, 3) == 11, np.nan, G), G, 2
        ),
        "s has an entry": lambda: endtoend.inner(W._replace(s=-W.s), Z, Z, 2),
        "its rank is below 2": lambda: endtoend.inner(W._replace(s=W.s * [1, 0]), Z, Z, 2),
        "Z and the point: dtypes": lambda: endtoend.cometric(W, G.astype(np.float32), 2),
    }
    for words, call in bad.items():
        with pytest.raises(ValueError, match=words):
            call()
    torch = pytest.importorskip("torch")
    for call in (
        lambda: endtoend.cometric(W, torch.asarray(G), 2),
        lambda: endtoend.inner(W, Tangent(*(torch.asarray(x) for x in Z)), Z, 2),
    ):
        with pytest.raises(TypeError, match="arrays of one library"):
            call()
