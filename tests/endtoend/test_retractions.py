"""Second order downstairs: Taylor slopes along retractions, the Hessian, the retractions."""

import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, balanced, endtoend, network
from tests.helpers import reference as ref
from tests.helpers.downstairs import shape, tangent, times


def quartic(W, rng):
    """A smooth function of a dense matrix, with its gradient and Hessian-vector product."""
    T, Q, C = rng.standard_normal((3, *shape(W)))
    value = lambda X: np.sum(Q * (X - T) ** 2 / 2 + C * X**3 / 6)  # noqa: E731
    return value, lambda X: Q * (X - T) + C * X**2 / 2, lambda X, Z: (Q + C * X) * Z


def taylor_slopes(value, X, rate, curvature, curve):
    """Slopes of what is left of a function along a curve after one and after two terms."""
    steps = np.geomspace(2e-3, 3e-2, 6)
    along = np.array([value(curve(t)) - value(X) for t in steps])
    first = np.abs(along - steps * rate)
    return ref.slope(steps, first), ref.slope(
        steps, np.abs(first_rest(along, steps, rate, curvature))
    )


def first_rest(along, steps, rate, curvature):
    return along - steps * rate - steps**2 * curvature / 2


def test_gradient_and_hessian_slopes(at, rng):
    W, depth = at
    value, gradient, product = quartic(W, rng)
    X, Z = ref.dense_svd(W), tangent(W, rng, depth)
    G, H = gradient(X), product(X, ref.dense_tangent(W, Z))
    rate = endtoend.inner(W, endtoend.gradient(W, G, depth), Z, depth)
    curvature = endtoend.inner(W, endtoend.hessian(W, G, H, Z, depth), Z, depth)
    slopes = {
        order: taylor_slopes(
            value, X, rate, curvature,
            lambda t, k=order: ref.dense_svd(endtoend.retraction(W, times(t, Z), depth, order=k)),
        )
        for order in (1, 2)
    }  # fmt: skip
    assert slopes[1][0] == pytest.approx(2, abs=0.1)
    assert slopes[2] == pytest.approx((2, 3), abs=0.1)


def test_first_order_retraction_does_not_give_the_hessian(rng):
    W = ref.random_svd(5, 4, 2, rng)
    value, gradient, product = quartic(W, rng)
    X, Z = ref.dense_svd(W), tangent(W, rng, 3)
    G, H = gradient(X), product(X, ref.dense_tangent(W, Z))
    rate = endtoend.inner(W, endtoend.gradient(W, G, 3), Z, 3)
    curvature = endtoend.inner(W, endtoend.hessian(W, G, H, Z, 3), Z, 3)
    curve = lambda t: ref.dense_svd(endtoend.retraction(W, times(t, Z), 3, order=1))  # noqa: E731
    assert taylor_slopes(value, X, rate, curvature, curve)[1] == pytest.approx(2, abs=0.1)


def test_hessian_slopes_at_dense_points(dense_at, rng):
    W, depth = dense_at
    value, gradient, product = quartic(W, rng)
    X, Z = ref.dense_svd(W), ref.dense_tangent(W, tangent(W, rng, depth))
    G = gradient(X)
    rate = endtoend.inner(X, endtoend.gradient(X, G, depth), Z, depth)
    Hz = endtoend.hessian(X, G, product(X, Z), Z, depth)
    curvature = endtoend.inner(X, Hz, Z, depth)
    curve = lambda t: endtoend.retraction(X, t * Z, depth)  # noqa: E731
    assert taylor_slopes(value, X, rate, curvature, curve) == pytest.approx((2, 3), abs=0.1)


def test_hessian_is_symmetric(at, rng):
    W, depth = at
    _, gradient, product = quartic(W, rng)
    X, Z1, Z2 = ref.dense_svd(W), tangent(W, rng, depth), tangent(W, rng, depth)
    G = gradient(X)
    H1, H2 = (
        endtoend.hessian(W, G, product(X, ref.dense_tangent(W, Z)), Z, depth) for Z in (Z1, Z2)
    )
    left, right = endtoend.inner(W, H1, Z2, depth), endtoend.inner(W, Z1, H2, depth)
    size = np.sqrt(endtoend.inner(W, H1, H1, depth))
    assert left == pytest.approx(right, abs=1e-12 * size)
    assert np.max(np.abs(W.u.T @ H1.Up)) <= 1e-13 * size * np.max(W.s)
    assert np.max(np.abs(W.vt @ H1.Vp)) <= 1e-13 * size * np.max(W.s)


@pytest.mark.parametrize("tie", [False, True])
def test_hessian_approaches_infinite_depth(tie, rng):
    W = ref.random_svd(3, 3, 3, rng, tie=tie)
    Z = ref.random_tangent(W, rng)
    G, H = rng.standard_normal((2, 3, 3))
    limit = endtoend.hessian(W, G, H, Z, ref.INF).M
    depths = np.array([50, 100, 200, 400])
    gaps = [np.linalg.norm(endtoend.hessian(W, G, H, Z, N).M / N - limit) for N in depths.tolist()]
    assert gaps[-1] < 0.05 * np.linalg.norm(limit)
    assert ref.slope(depths, gaps) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("dims", [(5, 4, 2), (4, 4, 4), (3, 6, 3), (6, 5, 1)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_projection_retraction_is_the_truncated_svd(dims, size, rng):
    m, n, r = dims
    W = ref.random_svd(m, n, r, rng)
    Z = times(size, ref.random_tangent(W, rng))
    moved = endtoend.projection_retraction(W, Z)
    U, s, Vt = np.linalg.svd(ref.dense_svd(W) + ref.dense_tangent(W, Z))
    ref.close(ref.dense_svd(moved), U[:, :r] @ np.diag(s[:r]) @ Vt[:r])
    ref.close(moved.s, s[:r])
    np.testing.assert_allclose(moved.u.T @ moved.u, np.eye(r), atol=1e-13)
    np.testing.assert_allclose(moved.vt @ moved.vt.T, np.eye(r), atol=1e-13)


@pytest.mark.parametrize("size", [1e-2, 1.0, 20.0])
def test_retraction_is_the_shadow_of_a_balanced_network(size, rng):
    for widths, r in [((4, 3, 3, 5), 3), ((4, 4), 4), ((5, 2, 4), 2)]:
        N = len(widths) - 1
        point = ref.random_frames((widths[0], *(r,) * (N - 1), widths[-1]), r, rng)
        layers = dlngeom.factors(point)
        W = SVD(point.q[-1], point.lam**N, point.q[0].T)
        Z = times(size, ref.random_tangent(W, rng))
        covector = ref.dense_tangent(W, endtoend.inverse_cometric(W, Z, N))
        lift = network.lifted_gradient(layers, covector)
        upstairs = balanced.retraction(point, lift, order=1)
        downstairs = endtoend.retraction(W, Z, N, order=1)
        ref.close(ref.dense_svd(downstairs), dlngeom.dense(upstairs), 1e-11)
        np.testing.assert_allclose(downstairs.u.T @ downstairs.u, np.eye(r), atol=1e-13)


def test_torch_maps_retractions_over_parts_of_vectors(rng):
    """Only ``Up`` has the axis that torch maps over; nothing may be written into the rest."""
    torch = pytest.importorskip("torch")
    W = ref.random_svd(5, 4, 2, rng)
    many = [tangent(W, rng, 3) for _ in range(3)]
    point, (_, M, Vp) = (type(x)(*map(torch.as_tensor, x)) for x in (W, many[0]))

    def moved(Up):
        Z = dlngeom.Tangent(Up, M, Vp)
        return dlngeom.dense(endtoend.retraction(point, Z, 3, order=1, check_finite=False))

    Up = torch.as_tensor(np.stack([Z.Up for Z in many]))
    alone = torch.stack([moved(x) for x in Up])
    np.testing.assert_allclose(torch.func.vmap(moved)(Up), alone, atol=1e-13)
