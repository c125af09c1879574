import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, Tangent, dense, endtoend
from dlngeom.flow import gradient_flow
from dlngeom.thermodynamics import (
    entropy_egrad,
    entropy_ehess,
    entropy_gradient,
    free_energy,
    free_energy_gradient,
    free_energy_hessian,
)
from tests.helpers import reference as ref

CASES = [((3, 3), 3), ((3, 3, 3), 3), ((3, 4, 3, 5), 2), ((4, 5, 4), 4)]
SPECTRA = [{}, {"tie": True}, {"ratio": 1 - 1e-9}]


def size(W):
    return np.sum(W.s**2, axis=-1) / 2


@pytest.mark.parametrize(("widths", "rank"), CASES)
@pytest.mark.parametrize("options", SPECTRA)
def test_euclidean_hessian_is_the_derivative_of_the_gradient(widths, rank, options, rng):
    W = ref.random_svd(widths[-1], widths[0], rank, rng, **options)
    Z = ref.random_tangent(W, rng)
    start, direction, step = dense(W), dense((W, Z)), 1e-3

    def along(t):
        return dense(entropy_egrad(dlngeom.svd(start + t * direction, rank), widths))

    near, far = (along(k * step) - along(-k * step) for k in (1, 2))
    actual = dense(entropy_ehess(W, Z, widths))
    assert np.max(np.abs((8 * near - far) / (12 * step) - actual)) < 1e-9


@pytest.mark.parametrize(("widths", "rank"), CASES)
@pytest.mark.parametrize("options", SPECTRA)
def test_taylor_remainders_have_order_two_and_three(widths, rank, options, rng):
    W, depth = ref.random_svd(widths[-1], widths[0], rank, rng, **options), len(widths) - 1
    Z, steps = ref.random_tangent(W, rng), np.geomspace(1e-3, 1e-2, 7)
    G, H = (dlngeom.LowRank(W.u, np.diag(W.s), W.vt.T), dense((W, Z)))
    pull = free_energy_gradient(W, G, widths, 2.0)
    first = endtoend.inner(W, pull, Z, depth)
    bent = free_energy_hessian(W, G, H, Z, widths, 2.0)
    second = endtoend.inner(W, bent, Z, depth)
    start = free_energy(W, widths, size, 2.0)
    moved = [endtoend.retraction(W, Tangent(*(t * x for x in Z)), depth) for t in steps]
    linear = np.array([free_energy(x, widths, size, 2.0) for x in moved]) - start - steps * first
    assert ref.slope(steps, np.abs(linear)) == pytest.approx(2, abs=0.1)
    cubic = linear - steps**2 / 2 * second
    assert ref.slope(steps, np.abs(cubic)) == pytest.approx(3, abs=0.1)


def test_gradient_of_the_entropy_is_the_cometric_of_the_euclidean_one(rng):
    W = ref.random_svd(3, 3, 3, rng)
    raised = endtoend.gradient(W, entropy_egrad(W, (3, 4, 3)), 2)
    ref.close(raised.M, entropy_gradient(W, (3, 4, 3)).M, 1e-13)


@pytest.mark.parametrize("depth", [2, 3])
def test_flow_descends_to_the_minimiser(depth, rng):
    widths, beta = (2,) * (depth + 1), 2.0
    space = dlngeom.DeepLinearNetwork(widths)
    W = dense(ref.random_svd(2, 2, 2, rng))
    path = gradient_flow(
        space, W, lambda W: W - entropy_egrad(W, widths) / beta, np.linspace(0, 30, 31)
    )
    values = free_energy(path.points[0], widths, lambda W: np.sum(W**2, axis=(-2, -1)) / 2, beta)
    assert np.all(np.diff(values) < 1e-9)
    # At equal singular values stationarity is s^2 = (d - 1) (1 - 1/N) / (2 beta).
    s = np.sqrt((1 - 1 / depth) / (2 * beta))
    assert np.linalg.svd(path.points[0, -1], compute_uv=False) == pytest.approx(s, rel=1e-5)


def test_temperature_must_be_positive():
    W = SVD(np.eye(2), np.ones(2), np.eye(2))
    with pytest.raises(ValueError, match="beta=0: it must be positive, or inf for no noise"):
        free_energy(W, (2, 2), 0.0, 0)


@pytest.mark.parametrize("ratio", [0.5, 1 - 1e-9])
def test_infinite_depth(ratio, rng):
    """Euclidean derivatives against differences, and the Riemannian Hessian against its parts."""
    s = np.array([1.5, 1.5 * ratio, 0.4])
    q = [np.linalg.qr(x)[0] for x in rng.standard_normal((2, 3, 3))]
    W, Z, h = (q[0] * s) @ q[1], rng.standard_normal((3, 3)), 1e-3
    options = {"depth": np.inf}

    def along(function, t):
        return function(W + t * h * Z)

    def derivative(function):
        near, far = (along(function, k) - along(function, -k) for k in (1, 2))
        return (8 * near - far) / (12 * h)

    def entropies(X):
        return dlngeom.thermodynamics.entropy(X, (3, 3), **options)

    gradient = entropy_egrad(W, (3, 3), **options)
    ref.close(np.sum(gradient * Z), derivative(entropies), 1e-8)
    hessian = entropy_ehess(W, Z, (3, 3), **options)
    ref.close(hessian, derivative(lambda X: entropy_egrad(X, (3, 3), **options)), 1e-8)
    raised = endtoend.gradient(W, gradient, np.inf)
    ref.close(raised, entropy_gradient(W, (3, 3), **options), 1e-12)


def test_free_energy_of_batches_in_every_library(rng):
    torch = pytest.importorskip("torch")
    W, Z, G, H = rng.standard_normal((4, 5, 3, 3))
    widths, beta = (3, 4, 3), 2.0
    results = [
        entropy_egrad(W, widths), entropy_ehess(W, Z, widths),
        free_energy_gradient(W, G, widths, beta), free_energy_hessian(W, G, H, Z, widths, beta),
    ]  # fmt: skip
    w, z, g, h = (torch.from_numpy(x) for x in (W, Z, G, H))
    others = [
        entropy_egrad(w, widths), entropy_ehess(w, z, widths),
        free_energy_gradient(w, g, widths, beta), free_energy_hessian(w, g, h, z, widths, beta),
    ]  # fmt: skip
    for x, y in zip(results, others, strict=True):
        ref.close(y.numpy(), x, 1e-11)
    for i in range(5):
        ref.close(entropy_ehess(W[i], Z[i], widths), results[1][i], 1e-12)
        one = free_energy_hessian(W[i], G[i], H[i], Z[i], widths, beta)
        ref.close(one, results[3][i], 1e-12)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("name", ["ConjugateGradient", "TrustRegions"])
def test_pymanopt_finds_the_minimiser(depth, name):
    """Equation (6.9): minimise the free energy; its Hessian makes TrustRegions converge fast."""
    pymanopt = pytest.importorskip("pymanopt")
    from dlngeom.pymanopt import EndToEnd

    widths, beta = (2,) * (depth + 1), 2.0
    manifold = EndToEnd(2, 2, 2, depth, rng=0)

    @pymanopt.function.numpy(manifold)
    def cost(u, s, vt):
        W = SVD(u, s, vt)
        return float(free_energy(W, widths, size, beta))

    def egrad(W):
        return dense(W) - dense(entropy_egrad(W, widths)) / beta

    @pymanopt.function.numpy(manifold)
    def gradient(u, s, vt):
        return egrad(SVD(u, s, vt))

    @pymanopt.function.numpy(manifold)
    def hessian(u, s, vt, du, ds, dvt):
        W = SVD(u, s, vt)
        Z = dlngeom.pymanopt.ambient_direction((u, s, vt), (du, ds, dvt))
        Z = dense(Z) if isinstance(Z, dlngeom.LowRank) else Z
        part = dlngeom.points._covectors.components(W, Z)
        return Z - dense(entropy_ehess(W, part, widths)) / beta

    problem = pymanopt.Problem(
        manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian
    )
    optimizer = getattr(pymanopt.optimizers, name)(verbosity=0, min_gradient_norm=1e-9)
    start = manifold.random_point()
    result = optimizer.run(problem, initial_point=start)
    s = np.sqrt((1 - 1 / depth) / (2 * beta))
    assert result.point.s == pytest.approx(s, rel=1e-5)
    if name == "TrustRegions":
        assert result.iterations < 20
