"""Optimizers of pymanopt on the base of any submersion."""

import re
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import (
    ConjugateGradient,
    NelderMead,
    ParticleSwarm,
    SteepestDescent,
    TrustRegions,
)

from dlngeom import DeepLinearNetwork, dense, svd
from dlngeom.pymanopt import EndToEnd, Point, Quotient
from dlngeom.quotients import BuresWasserstein, Sphere
from tests.helpers import reference as ref
from tests.helpers.parameters import slow

SILENT = {"verbosity": 0}
EXACT = {**SILENT, "max_iterations": 3000, "min_gradient_norm": 1e-10, "min_step_size": 1e-16}
A = np.diag([3.0, 2.0, 0.4, 0.1]) + 0.1 * np.ones((4, 4))


@pytest.fixture
def seeded_globally():
    """Pymanopt's derivative-free optimizers draw from numpy's global generator."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(before)  # noqa: NPY002


def gram_problem(manifold):
    @pymanopt.function.autograd(manifold)
    def cost(X):
        return anp.sum((X @ X.T - A) ** 2) / 4

    return pymanopt.Problem(manifold, cost)


@pytest.mark.parametrize("optimizer", [TrustRegions, SteepestDescent, ConjugateGradient])
def test_the_nearest_matrix_of_rank_two(optimizer):
    problem = gram_problem(Quotient(BuresWasserstein(4, 2), rng=0))
    found = optimizer(**EXACT).run(problem).point
    values, vectors = np.linalg.eigh(A)
    nearest = (vectors[:, 2:] * values[2:]) @ vectors[:, 2:].T
    assert np.max(np.abs(found @ found.T - nearest)) < 1e-8


WEIGHTS = np.array([[1.0, 2.0], [0.5, 1.5]])
TARGET = np.array([[2.0, 0.3], [-0.4, 1.0]])


def layers_problem(manifold):
    @pymanopt.function.autograd(manifold)
    def cost(*layers):
        W = layers[0]
        for V in layers[1:]:
            W = V @ W
        return anp.sum(WEIGHTS * (W - TARGET) ** 2) / 2 + anp.sum(W**2) / 10

    return pymanopt.Problem(manifold, cost)


def test_a_network_has_the_minimiser_of_end_to_end_matrices():
    manifold = Quotient(DeepLinearNetwork((2, 2, 2)), rng=0)
    layers = manifold.random_point()
    found = TrustRegions(**EXACT).run(layers_problem(manifold), initial_point=layers).point
    below = EndToEnd(2, 2, 2, 2, rng=0)

    @pymanopt.function.autograd(below)
    def cost(u, s, vt):
        W = (u * s) @ vt
        return anp.sum(WEIGHTS * (W - TARGET) ** 2) / 2 + anp.sum(W**2) / 10

    # The sign of the determinant stays, so both start at one matrix.
    start = Point(*svd(layers[1] @ layers[0], 2))
    other = TrustRegions(**EXACT).run(pymanopt.Problem(below, cost), initial_point=start).point
    ref.close(found[1] @ found[0], dense(other), 1e-8)


def test_a_class_of_the_guide_is_taken_unchanged():
    page = (Path(__file__).parents[2] / "docs" / "guide" / "extend.md").read_text()
    scope = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], scope)
    manifold = Quotient(scope["SymmetricSpectrum"](3), rng=2)

    @pymanopt.function.autograd(manifold)
    def cost(X):
        Y = X @ X - anp.eye(3)
        return anp.sum(Y**2) / 4 + anp.trace(X) / 10

    found = TrustRegions(**EXACT).run(pymanopt.Problem(manifold, cost)).point
    x = np.linalg.eigvalsh(found)
    assert np.max(np.abs(x**3 - x + 0.1)) < 1e-8


def projective_problem():
    pytest.importorskip("jax")
    from tests.helpers.map_cases import projective_line

    manifold = Quotient(projective_line(), rng=3)
    matrix = np.array([[2.0, 0.5, 0, 0.3], [0.5, 2.0, -0.3, 0], [0, 0, 1.0, 0.5], [0, 0, 0.5, 1.0]])

    @pymanopt.function.autograd(manifold)
    def cost(x):
        y = anp.array(
            [
                2 * (x[0] * x[2] + x[1] * x[3]),
                2 * (x[1] * x[2] - x[0] * x[3]),
                x[0] ** 2 + x[1] ** 2 - x[2] ** 2 - x[3] ** 2,
            ]
        )
        return anp.dot(y, matrix[:3, :3] @ y) / 2 + anp.sum(y**3) / 3 + y[0]

    return pymanopt.Problem(manifold, cost)


PROBLEMS = {
    "Bures-Wasserstein": lambda: gram_problem(Quotient(BuresWasserstein(4, 2), rng=0)),
    "network": lambda: layers_problem(Quotient(DeepLinearNetwork((2, 3, 2)), rng=0)),
    "projective line": projective_problem,
}


def slopes(problem, x, V):
    """Orders of the errors of Taylor polynomials of first and second order."""
    manifold, t = problem.manifold, 2.0 ** -np.arange(3, 9)
    first = manifold.inner_product(x, problem.riemannian_gradient(x), V)
    second = manifold.inner_product(x, problem.riemannian_hessian(x, V), V)
    moved = np.array([problem.cost(manifold.retraction(x, s * V)) for s in t])
    errors = [moved - problem.cost(x) - t * first]
    errors.append(errors[0] - t**2 * second / 2)
    return [np.median(-np.diff(np.log2(np.abs(e)))) for e in errors]


@pytest.mark.parametrize("name", ["Bures-Wasserstein", "network", slow("projective line")])
def test_gradients_and_hessians_have_their_orders(name):
    problem = PROBLEMS[name]()
    manifold = problem.manifold
    x = manifold.random_point()
    V, U, *more = (manifold.random_tangent_vector(x) for _ in range(7))
    # Along single vectors the third derivative may nearly vanish.
    orders = np.median([slopes(problem, x, Z) for Z in (V, U, *more)], axis=0)
    assert orders == pytest.approx([2, 3], abs=0.1)
    H = [problem.riemannian_hessian(x, Z) for Z in (V, U)]
    crossed = manifold.inner_product(x, H[0], U), manifold.inner_product(x, V, H[1])
    assert crossed[0] == pytest.approx(crossed[1], abs=1e-9)


@pytest.mark.slow
def test_without_the_turning_of_the_tangent_space_the_order_is_two(monkeypatch):
    problem = projective_problem()
    x = problem.manifold.random_point()
    V = problem.manifold.random_tangent_vector(x)
    monkeypatch.setattr(Quotient, "_turning", lambda self, own, V, *_: 0 * V)
    assert slopes(problem, x, V)[1] == pytest.approx(2, abs=0.2)


def small_gram_problem():
    manifold = Quotient(BuresWasserstein(2, 1), rng=0)

    @pymanopt.function.autograd(manifold)
    def cost(X):
        return anp.sum((X @ X.T - A[:2, :2]) ** 2) / 4

    return pymanopt.Problem(manifold, cost)


RUNS = [
    (NelderMead, small_gram_problem),
    (ParticleSwarm, small_gram_problem),
    *(slow(make, PROBLEMS["network"]) for make in (ParticleSwarm, SteepestDescent)),
    *(slow(make, PROBLEMS["projective line"]) for make in (ParticleSwarm, ConjugateGradient)),
]


@pytest.mark.usefixtures("seeded_globally")
@pytest.mark.parametrize(("make", "problem"), RUNS)
def test_all_optimizers_run(make, problem):
    problem = problem()
    few = {"population_size": 4, "max_iterations": 3}
    options = few if make is ParticleSwarm else {"max_iterations": 10}
    found = make(**options, **SILENT).run(problem)
    x = [problem.manifold.random_point() for _ in range(10)]
    assert found.cost < np.mean([problem.cost(y) for y in x])


@pytest.mark.parametrize("space", [BuresWasserstein(4, 2), DeepLinearNetwork((2, 2, 2))], ids=str)
def test_distances_are_those_downstairs(space, rng):
    manifold = Quotient(space, rng=0)
    x = manifold.random_point()
    V = manifold.random_tangent_vector(x)
    y = manifold.retraction(x, 1e-3 * V)
    assert manifold.dist(x, y) == pytest.approx(1e-3, rel=5e-3)
    step = manifold.log(x, y) - 1e-3 * V
    assert manifold.norm(x, step) < 1e-5
    same = space.orbit_point(space.project(manifold._own(y)), rng)
    assert manifold.dist(y, manifold._point(same)) < 1e-7


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match="it must be a RiemannianSubmersion"):
        Quotient(Sphere(3).base)
    manifold = Quotient(BuresWasserstein(4, 2), rng=0)
    x = manifold.random_point()
    with pytest.raises(ValueError, match=r"the point has shapes \[\(3, 2\)\]"):
        manifold.projection(np.ones((3, 2)), x)
    with pytest.raises(ValueError, match="entries that are not finite"):
        manifold.retraction(x, np.nan * x)
    with pytest.raises(ValueError, match="the cost changes along the fibres"):
        manifold.euclidean_to_riemannian_gradient(x, np.ones((4, 2)))
    network = Quotient(DeepLinearNetwork((2, 2, 2)), rng=0)
    with pytest.raises(ValueError, match="balanced"):
        network.projection((np.eye(2), 2 * np.eye(2)), (np.eye(2), np.eye(2)))


def test_points_changed_in_place_are_read_anew():
    manifold = Quotient(DeepLinearNetwork((2, 2, 2)), rng=0)
    x = manifold.random_point()
    for layer in x:
        layer[...] = np.eye(2)
    ref.close(dense(manifold._own(x)), np.eye(2), 1e-12)


@pytest.mark.slow
def test_long_steps_stay_in_the_space():
    pytest.importorskip("jax")
    from tests.helpers.map_cases import projective_line

    manifold = Quotient(projective_line(), rng=0)
    x = manifold.random_point()
    y = manifold.retraction(x, 50 * manifold.random_tangent_vector(x))
    assert np.linalg.norm(y) == pytest.approx(1, abs=1e-13)


def test_spaces_of_ones_own_are_called_by_their_class():
    class CP(BuresWasserstein):
        __repr__ = object.__repr__

    assert str(Quotient(CP(3, 1))) == "Quotient by CP"
    assert "BuresWasserstein(n=3, rank=1)" in str(Quotient(BuresWasserstein(3, 1)))
