"""Runs of pymanopt's optimizers on the adapter."""

import autograd.numpy as anp
import numpy as np
import pymanopt
import pytest
from pymanopt.manifolds import Euclidean, FixedRankEmbedded
from pymanopt.manifolds import Product as ShippedProduct
from pymanopt.optimizers import (
    ConjugateGradient,
    NelderMead,
    ParticleSwarm,
    SteepestDescent,
    TrustRegions,
)

from dlngeom import dense
from dlngeom.pymanopt import EndToEnd, Point, Product
from tests.helpers.parameters import crossed, slow
from tests.helpers.pymanopt_problems import (
    Quartic,
    error,
    manifold_of,
    matrix,
    point_of,
    taylor_slopes,
)

DEPTHS = [1, 2, 3]
RETRACTIONS = ["second-order", "projection"]
SILENT = {"verbosity": 0}


@pytest.fixture
def seeded_globally():
    """Pymanopt's derivative-free optimizers draw from numpy's global generator."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("depth", "retraction", "optimizer"),
    crossed([3, 1, 2, np.inf], RETRACTIONS, [TrustRegions, SteepestDescent, ConjugateGradient]),
)
def test_derivative_optimizers_decrease_the_cost(depth, retraction, optimizer, rng):
    manifold = manifold_of(depth, retraction=retraction)
    x = point_of(manifold, rng)
    cost = Quartic(len(x.u), x.vt.shape[1], rng)
    problem = cost.problem(manifold, "autograd")
    result = optimizer(max_iterations=15, **SILENT).run(problem, initial_point=x)
    assert result.cost < 0.8 * problem.cost(x)
    assert result.cost == pytest.approx(problem.cost(result.point))
    assert np.all(np.diff(result.point.s) <= 0)


@pytest.mark.usefixtures("seeded_globally")
@pytest.mark.parametrize(("depth", "retraction"), crossed([3, 1, 2], RETRACTIONS))
def test_particle_swarm_decreases_the_cost(depth, retraction, rng):
    manifold = EndToEnd(4, 3, 2, depth, retraction=retraction, rng=1)
    problem = Quartic(4, 3, rng).problem(manifold, "dense")
    swarm = [manifold.random_point() for _ in range(10)]
    optimizer = ParticleSwarm(max_iterations=40, population_size=10, **SILENT)
    # The optimizer overwrites the list that it is given.
    result = optimizer.run(problem, initial_point=list(swarm))
    assert result.cost < min(problem.cost(x) for x in swarm)


@pytest.mark.usefixtures("seeded_globally")
@pytest.mark.parametrize(("retraction", "depth"), crossed(RETRACTIONS[::-1], [3, 1]))
def test_nelder_mead_decreases_the_cost(depth, retraction, rng):
    manifold, twin = (EndToEnd(3, 3, 1, depth, retraction=retraction, rng=6) for _ in range(2))
    problem = Quartic(3, 3, rng).problem(manifold, "dense")
    # The optimizer draws its simplex itself; a manifold with the same seed draws the same.
    simplex = [twin.random_point() for _ in range(manifold.dim + 1)]
    result = NelderMead(max_iterations=10, **SILENT).run(problem)
    assert result.cost < min(problem.cost(x) for x in simplex)


@pytest.mark.parametrize("optimizer", [SteepestDescent, ConjugateGradient])
def test_iterates_at_depth_one_are_those_of_the_embedded_geometry(optimizer, rng):
    ours = EndToEnd(12, 10, 3, 1, retraction="projection", rng=1)
    x = Point(ours.random_point().u, np.array([3.0, 2, 1]), ours.random_point().vt)
    cost = Quartic(12, 10, rng)
    logs = []
    for manifold in (ours, FixedRankEmbedded(12, 10, 3)):
        method = optimizer(max_iterations=15, log_verbosity=1, **SILENT)
        result = method.run(cost.problem(manifold, "autograd"), initial_point=x)
        logs.append([matrix(y) for y in result.log["iterations"]["point"]])
    assert len(logs[0]) == len(logs[1]) == 15
    assert all(error(a, b) < 1e-8 for a, b in zip(*logs, strict=True))
    assert error(logs[0][-1], logs[0][0]) > 0.1


def biased(cost):
    """Cost of a matrix, row biases and column biases."""

    def value(u, s, vt, rows, columns):
        W = (u * s) @ vt + rows[:, None] + columns
        ridge = anp.sum(rows**2) + anp.sum(columns**2)
        return anp.sum(cost.mask * ((W - cost.target) ** 2 / 2 + W**4 / 12)) + ridge

    return value


def biased_gradient(cost):
    """Gradient in the order of the arguments, the matrix as a low-rank tuple."""

    def gradient(u, s, vt, rows, columns):
        G = cost.gradient((u * s) @ vt + rows[:, None] + columns)
        S = np.eye(G.shape[1])
        return G, S, S, G.sum(axis=1) + 2 * rows, G.sum(axis=0) + 2 * columns

    return gradient


def start(manifold, rng):
    matrix_part = manifold.manifolds[0]
    return [point_of(matrix_part, rng), rng.standard_normal(7), rng.standard_normal(6)]


@pytest.mark.parametrize("product", [ShippedProduct, Product])
@pytest.mark.parametrize("depth", DEPTHS)
def test_first_order_methods_run_on_products_with_biases(depth, product, rng):
    manifold = product([manifold_of(depth), Euclidean(7), Euclidean(6)])
    cost, x = Quartic(7, 6, rng), start(manifold, rng)
    by_factors = pymanopt.Problem(manifold, pymanopt.function.autograd(manifold)(biased(cost)))
    numpy = pymanopt.function.numpy(manifold)
    by_low_rank = pymanopt.Problem(
        manifold, numpy(biased(cost)), euclidean_gradient=numpy(biased_gradient(cost))
    )
    results = []
    for problem in (by_factors, by_low_rank):
        method = ConjugateGradient(max_iterations=10, **SILENT)
        results.append(method.run(problem, initial_point=x))
        assert results[-1].cost < 0.8 * problem.cost(x)
    assert results[0].cost == pytest.approx(results[1].cost, rel=1e-8)
    for a, b in zip(*(p.riemannian_gradient(x) for p in (by_factors, by_low_rank)), strict=True):
        assert error(a, b) < 1e-12


@pytest.mark.parametrize("depth", [slow(1), slow(2), 3])
def test_trust_regions_run_on_products_with_biases(depth, rng):
    manifold = Product([manifold_of(depth), Euclidean(7), Euclidean(6)])
    cost, x = Quartic(7, 6, rng), start(manifold, rng)
    problem = pymanopt.Problem(manifold, pymanopt.function.autograd(manifold)(biased(cost)))
    slopes = taylor_slopes(problem, x, manifold.random_tangent_vector(x))
    np.testing.assert_allclose(slopes, (2, 3), atol=0.1)
    method = TrustRegions(max_iterations=60, min_gradient_norm=1e-9, **SILENT)
    result = method.run(problem, initial_point=x)
    assert result.gradient_norm < 1e-9


@pytest.mark.parametrize("depth", DEPTHS)
def test_trust_regions_converge_quadratically(depth, rng):
    manifold = manifold_of(depth)
    cost, x = Quartic(7, 6, rng), point_of(manifold, rng)
    # Near its target the cost is convex.
    cost.mask[:], cost.target[:] = 1, matrix(x)
    problem = cost.problem(manifold, "dense")
    far = TrustRegions(min_gradient_norm=1e-2, **SILENT)
    near = TrustRegions(max_iterations=3, min_gradient_norm=1e-11, **SILENT)
    y = far.run(problem, initial_point=x).point
    assert manifold.norm(y, problem.riemannian_gradient(y)) > 1e-6
    assert near.run(problem, initial_point=y).gradient_norm < 1e-11


def completion(depth, rng):
    """30 percent of a 200 x 150 matrix of rank 5 and condition 100."""
    truth = EndToEnd(200, 150, 5, depth, rng=rng).random_point()
    W = dense(truth._replace(s=np.geomspace(10, 0.1, 5)))
    mask = rng.uniform(size=W.shape) < 0.3
    manifold = EndToEnd(200, 150, 5, depth, rng=1)

    def cost(u, s, vt):
        return anp.sum((mask * ((u * s) @ vt - W)) ** 2) / 2

    return W, pymanopt.Problem(manifold, pymanopt.function.autograd(manifold)(cost))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_trust_regions_complete_a_matrix_from_a_random_point(depth, rng):
    W, problem = completion(depth, rng)
    x = problem.manifold.random_point()
    method = TrustRegions(max_iterations=500, min_gradient_norm=1e-10, **SILENT)
    result = method.run(problem, initial_point=x)
    assert error(matrix(result.point), W) < 1e-8
