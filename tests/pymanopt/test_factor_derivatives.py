"""Gradients from derivatives in the factors, where singular values coincide or nearly so."""

import autograd.numpy as anp
import numpy as np
import pymanopt
import pytest
from pymanopt.manifolds import FixedRankEmbedded

from dlngeom.pymanopt import EndToEnd, _factor_derivatives
from tests.helpers.pymanopt_problems import Quartic, ambient, error, manifold_of, matrix, point_of

DEPTHS = [1, 2, 3, np.inf]
GAPS = [1e-3, 1e-6, 1e-9, 1e-12, 1e-14, 0]
M, N, R = 7, 6, 3


def tied(depth, gap, rng):
    """Point with two singular values a gap apart, and its manifold."""
    manifold = manifold_of(depth)
    rest = [0.5] if depth == np.inf else []
    return manifold, point_of(manifold, rng, [1.5 * (1 + gap), 1.5, 0.8, *rest])


def literal_gradient(x, G, depth):
    """``U (w * U^T G V) V^T`` in full frames that contain the given ones."""
    u, v = (np.linalg.svd(q)[0][:, q.shape[1] :] for q in (x.u, x.vt.T))
    U, V = np.hstack([x.u, u]), np.hstack([x.vt.T, v])
    a, b = (np.pad(x.s, (0, len(q) - len(x.s)))[:, None] for q in (U, V))
    if depth == 1:
        w = np.maximum(a > 0, b.T > 0)
    elif depth == np.inf:
        node, share = np.polynomial.legendre.leggauss(40)
        w = sum(c / 2 * a ** (1 - t) * b.T ** (1 + t) for t, c in zip(node, share, strict=True))
    else:
        w = sum(a ** (2 * (depth - 1 - p) / depth) * b.T ** (2 * p / depth) for p in range(depth))
    return U @ (w * (U.T @ G @ V)) @ V.T


def gradient_of(manifold, x, cost):
    """Riemannian gradient of an autograd cost of the factors."""
    problem = pymanopt.Problem(manifold, pymanopt.function.autograd(manifold)(cost))
    return problem.riemannian_gradient(x)


def factor_triple(x, G):
    """Derivatives in the factors of a cost of ``(u * s) @ vt``."""
    core = x.u.T @ G @ x.vt.T
    return G @ x.vt.T * x.s, np.diag(core).copy(), x.s[:, None] * (x.u.T @ G)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_ambient_gradients_are_right_to_rounding_near_ties(depth, gap, rng):
    manifold, x = tied(depth, gap, rng)
    G = rng.standard_normal((len(x.u), x.vt.shape[1]))
    gradient = manifold.euclidean_to_riemannian_gradient(x, G)
    assert error(ambient(x, gradient), literal_gradient(x, G, depth)) < 1e-14


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_lifted_costs_lose_nothing_near_ties(depth, gap, rng):
    manifold, x = tied(depth, gap, rng)
    cost = Quartic(len(x.u), x.vt.shape[1], rng)
    expected = literal_gradient(x, cost.gradient(matrix(x)), depth)
    gradient = gradient_of(manifold, x, cost.cost(anp))
    assert error(ambient(x, gradient), expected) < 1e-13


@pytest.mark.parametrize("gap", GAPS[2:])
def test_the_quotient_of_differences_loses_the_gap(gap, rng):
    manifold, x = tied(1, gap, rng)
    G = rng.standard_normal((M, N))
    shipped = FixedRankEmbedded(M, N, R)
    with np.errstate(all="ignore"):
        Z = shipped.euclidean_to_riemannian_gradient(x, factor_triple(x, G))
    off = error(ambient(x, Z), literal_gradient(x, G, 1))
    assert not off < 1e-9
    ours = manifold.euclidean_to_riemannian_gradient(x, factor_triple(x, G))
    assert error(ambient(x, ours), literal_gradient(x, G, 1)) < 1e-13


@pytest.mark.parametrize("gap", [0.3, *GAPS])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("power", [1, 2])
def test_spectral_costs_are_right_everywhere(power, depth, gap, rng):
    manifold, x = tied(depth, gap, rng)
    expected = literal_gradient(x, power * (x.u * x.s ** (power - 1)) @ x.vt, depth)
    gradient = gradient_of(manifold, x, lambda u, s, vt: anp.sum(s**power))
    assert error(ambient(x, gradient), expected) < 1e-14


@pytest.mark.parametrize("gap", [0.3, 1e-3, 1e-6])
def test_other_costs_keep_what_the_gap_leaves(gap, rng):
    manifold, x = tied(1, gap, rng)
    a, b = rng.standard_normal(M), rng.standard_normal(N)
    shipped = FixedRankEmbedded(M, N, R)

    def cost(u, s, vt):
        return anp.sum((a @ u) * anp.exp(s) * (vt @ b))

    gradient, expected = (gradient_of(space, x, cost) for space in (manifold, shipped))
    assert error(gradient, tuple(expected)) < 1e-14 / gap


@pytest.mark.parametrize("depth", [2, 3])
def test_other_costs_follow_finite_differences(depth, rng):
    manifold, x = tied(depth, 0.3, rng)
    a, b = rng.standard_normal(M), rng.standard_normal(N)

    def cost(u, s, vt):
        return anp.sum((a @ u) * anp.exp(s) * (vt @ b)) + anp.sum(anp.arange(R) * s)

    Z = manifold.random_tangent_vector(x)
    forward, backward = (cost(*manifold.retraction(x, t * Z)) for t in (1e-5, -1e-5))
    slope = manifold.inner_product(x, gradient_of(manifold, x, cost), Z)
    assert slope == pytest.approx((forward - backward) / 2e-5, rel=1e-8)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    "cost",
    [
        lambda u, s, vt: s[0],
        lambda u, s, vt: anp.sum(s * anp.arange(len(s))),
        lambda u, s, vt: u[0, 0],
        lambda u, s, vt: anp.sum(u[0] * anp.exp(s) * vt[:, 0] * anp.arange(len(s))),
    ],
)
def test_costs_that_tell_tied_vectors_apart_have_no_gradient(cost, depth, rng):
    manifold, x = tied(depth, 0, rng)
    with pytest.raises(ValueError, match=r"singular values 0 and 1 are both 1\.5 and the cost"):
        gradient_of(manifold, x, cost)


@pytest.mark.parametrize("gap", GAPS[:-1])
def test_a_single_singular_value_has_a_gradient_away_from_ties(gap, rng):
    manifold, x = tied(2, gap, rng)
    expected = literal_gradient(x, np.outer(x.u[:, 0], x.vt[0]), 2)
    gradient = gradient_of(manifold, x, lambda u, s, vt: s[0])
    assert error(ambient(x, gradient), expected) < 1e-14


def test_a_sum_of_lifted_and_spectral_costs_is_right_at_a_tie(rng):
    manifold, x = tied(3, 0, rng)
    cost = Quartic(M, N, rng)
    lifted = cost.cost(anp)
    gradient = gradient_of(manifold, x, lambda u, s, vt: lifted(u, s, vt) + anp.sum(s))
    expected = literal_gradient(x, cost.gradient(matrix(x)) + x.u @ x.vt, 3)
    assert error(ambient(x, gradient), expected) < 1e-13


def test_scale_of_the_cost_does_not_matter(rng):
    manifold, x = tied(2, 0, rng)
    G = rng.standard_normal((M, N))
    one = manifold.euclidean_to_riemannian_gradient(x, factor_triple(x, G))
    tiny = manifold.euclidean_to_riemannian_gradient(x, factor_triple(x, 1e-200 * G))
    assert error(1e200 * tiny, one) < 1e-13


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_nothing_is_nan_near_ties(depth, gap, rng):
    manifold, x = tied(depth, gap, rng)
    cost = Quartic(len(x.u), x.vt.shape[1], rng)
    problem = cost.problem(manifold, "autograd")
    Z = manifold.random_tangent_vector(x)
    y = manifold.retraction(x, Z)
    vectors = [problem.riemannian_gradient(x), problem.riemannian_hessian(x, Z)]
    vectors += [manifold.transport(x, y, Z), manifold.log(x, y), manifold.embedding(x, Z)]
    points = [y, manifold.retraction(x, 0 * Z), manifold.retraction(x, 1e3 * Z)]
    assert all(np.all(np.isfinite(a)) for value in (*vectors, *points) for a in value)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_factor_hessians_lose_nothing_near_ties(depth, gap, rng):
    manifold, x = tied(depth, gap, rng)
    cost = Quartic(len(x.u), x.vt.shape[1], rng)
    Z = manifold.random_tangent_vector(x)
    ours, dense = (cost.problem(manifold, form) for form in ("autograd", "dense"))
    assert error(ours.riemannian_hessian(x, Z), dense.riemannian_hessian(x, Z)) < 1e-12


@pytest.mark.filterwarnings("ignore:Output seems independent of input")
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    "cost",
    [
        lambda u, s, vt: anp.sum(s),
        lambda u, s, vt: anp.sum(s**2),
        lambda u, s, vt: anp.sum(u[0] * anp.exp(s) * vt[:, 0]),
        lambda u, s, vt: anp.sum(((u * s) @ vt) ** 4) + 1e-3 * anp.sum(s),
    ],
)
def test_hessians_of_other_costs_are_refused(cost, depth, rng):
    manifold = manifold_of(depth)
    x = point_of(manifold, rng)
    problem = pymanopt.Problem(manifold, pymanopt.function.autograd(manifold)(cost))
    with pytest.raises(ValueError, match="not only through"):
        problem.riemannian_hessian(x, manifold.random_tangent_vector(x))


@pytest.mark.parametrize("ratio", [1e-4, 1e-8, 1e-12])
def test_small_singular_values_keep_the_gradient(ratio, rng):
    manifold = EndToEnd(M, N, R, 2, rng=1)
    x = point_of(manifold, rng, [1, ratio, ratio])
    G = rng.standard_normal((M, N))
    gradient = manifold.euclidean_to_riemannian_gradient(x, factor_triple(x, G))
    expected = manifold.euclidean_to_riemannian_gradient(x, G)
    assert error(gradient, expected) < 1e-13


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kind", ["lifted", "spectral", "single precision"])
def test_settled_sources_are_those_that_would_be_chosen(kind, depth, rng, monkeypatch):
    manifold, x = tied(depth, 0.3, rng)
    g = factor_triple(x, rng.standard_normal((M, N)))
    if kind == "spectral":
        g = (g[0], g[1] + np.arange(R), g[2] * 2)
    elif kind == "single precision":
        g = tuple(part.astype(np.float32).astype(float) for part in g)
    found = []
    settled = _factor_derivatives._settled
    monkeypatch.setattr(
        _factor_derivatives, "_settled", lambda *args: found.append(settled(*args)) or found[-1]
    )
    gradient = manifold.euclidean_to_riemannian_gradient(x, g)
    assert found == [kind == "lifted"]
    monkeypatch.setattr(_factor_derivatives, "_settled", lambda *_: False)
    for a, b in zip(gradient, manifold.euclidean_to_riemannian_gradient(x, g), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [1e100, 1e170])
def test_costs_of_other_factors_are_seen_where_squares_overflow(size, rng):
    manifold, x = tied(1, 0.3, rng)
    u, s, vt = (rng.standard_normal(y.shape) for y in x)
    one = manifold.euclidean_to_riemannian_gradient(x, (u, s, vt))
    scaled = manifold.euclidean_to_riemannian_gradient(x, (size * u, size * s, size * vt))
    assert error(scaled / size, one) < 1e-13
