"""Leaves of given invariants as manifolds of pymanopt."""

import copy
import pickle
from itertools import pairwise

import autograd.numpy as anp
import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import ConjugateGradient, SteepestDescent, TrustRegions
from scipy.optimize import minimize

from dlngeom import network
from dlngeom.pymanopt import Balanced, Invariant
from tests.helpers.parameters import slow
from tests.helpers.reference import slope

WIDTHS = [(3, 4, 3), (2, 3, 3, 2), (4, 2), (5, 4, 3, 2), (1, 2, 1)]


def layers_of(widths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(high, low)) for low, high in pairwise(widths)]


def problem(manifold, penalty=0.01):
    m, n = manifold.widths[-1], manifold.widths[0]
    target = np.random.default_rng(1).normal(size=(m, n))

    @pymanopt.function.autograd(manifold)
    def cost(*layers):
        W = layers[0]
        for layer in layers[1:]:
            W = layer @ W
        return anp.sum((W - target) ** 2) / 2 + penalty * anp.sum(layers[0] ** 4)

    return pymanopt.Problem(manifold, cost)


def as_layers(manifold, point):
    return (point,) if manifold.depth == 1 else tuple(point)


def constraint_gradients(layers):
    """Gradients of the entries of the invariants by differences, one by one."""
    sizes = [x.size for x in layers]
    x0 = np.concatenate([x.ravel() for x in layers])

    def entries(x):
        split = np.split(x, np.cumsum(sizes)[:-1])
        parts = [part.reshape(y.shape) for part, y in zip(split, layers, strict=True)]
        return np.concatenate([G.ravel() for G in network.invariants(parts)] or [np.zeros(0)])

    steps = 1e-6 * np.eye(len(x0))
    return np.stack([(entries(x0 + h) - entries(x0 - h)) / 2e-6 for h in steps], axis=-1)


@pytest.mark.parametrize("widths", WIDTHS)
def test_dimension_and_projection_are_those_of_the_constraints(widths, rng):
    layers = layers_of(widths)
    manifold = Invariant(layers)
    rows = constraint_gradients(layers)
    _, s, vt = np.linalg.svd(rows)
    kernel = vt[np.sum(s > 1e-6) :]
    assert len(kernel) == manifold.dim
    vector = layers_of(widths, 3)
    flat = np.concatenate([x.ravel() for x in vector])
    given = vector if manifold.depth > 1 else vector[0]
    found = as_layers(manifold, manifold.projection(manifold.start, given))
    np.testing.assert_allclose(
        np.concatenate([x.ravel() for x in found]), kernel.T @ (kernel @ flat), atol=1e-8
    )


@pytest.mark.parametrize("widths", WIDTHS)
def test_points_have_the_invariants_of_the_layers(widths):
    layers = layers_of(widths)
    manifold = Invariant(layers, rng=0)
    point = manifold.random_point()
    for G, wanted in zip(
        network.invariants(as_layers(manifold, point)), manifold.invariants, strict=True
    ):
        np.testing.assert_allclose(G, wanted, atol=1e-12)
    assert manifold.dist(manifold.start, point) > 0.1
    again = Invariant(layers, rng=0).random_point()
    np.testing.assert_array_equal(np.asarray(point[0]), np.asarray(again[0]))


@pytest.mark.parametrize("widths", WIDTHS)
def test_derivatives_by_slopes(widths):
    """Gradient and Hessian along the retraction, which must be of second order for the latter."""
    manifold = Invariant(layers_of(widths), rng=2)
    # A cost of the product alone has no multipliers: its gradient is tangent.
    asked = problem(manifold, penalty=0.5)
    x = manifold.random_point()
    v = manifold.random_tangent_vector(x)
    first = manifold.inner_product(x, asked.riemannian_gradient(x), v)
    second = manifold.inner_product(x, asked.riemannian_hessian(x, v), v)
    steps = np.array([4e-3, 2e-3, 1e-3])

    def along(t):
        return asked.cost(manifold.retraction(x, t * v))

    values = np.array([along(t) for t in steps]) - along(0.0)
    errors = values - steps * first
    assert abs(slope(steps, np.abs(errors)) - 2) < 0.1
    assert abs(slope(steps, np.abs(errors - steps**2 * second / 2)) - 3) < 0.1
    # Without the multipliers it is another number.
    flat = asked.euclidean_hessian(x, v)
    mutant = manifold.inner_product(x, manifold.projection(x, flat), v)
    if manifold.depth > 1:
        assert abs(mutant - second) > 1e-3 * abs(second)


def test_the_minimiser_is_that_of_a_constrained_optimizer():
    layers = layers_of((2, 3, 2), 4)
    manifold = Invariant(layers)
    asked = problem(manifold)
    found = TrustRegions(verbosity=0).run(asked, initial_point=manifold.start)
    shapes, sizes = [x.shape for x in layers], [x.size for x in layers]

    def split(x):
        parts = np.split(x, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    upper = np.triu_indices(3)
    theirs = minimize(
        lambda x: asked.cost(split(x)),
        np.concatenate([x.ravel() for x in found.point]) + 0.05,
        method="SLSQP",
        constraints={
            "type": "eq",
            "fun": lambda x: (network.invariants(split(x))[0] - manifold.invariants[0])[upper],
        },
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert theirs.success
    assert found.cost == pytest.approx(theirs.fun, rel=1e-6)


@pytest.mark.parametrize("optimizer", [SteepestDescent, slow(ConjugateGradient), TrustRegions])
@pytest.mark.parametrize("lam", [-0.5, 0.0, 5.0])
def test_rich_and_lazy_networks_reach_the_target(optimizer, lam):
    eye, target = np.eye(2), np.diag([2.0, 0.5])
    manifold = Invariant([eye, np.sqrt(1 + lam) * eye])

    @pymanopt.function.autograd(manifold)
    def cost(A, B):
        return anp.sum((B @ A - target) ** 2) / 2

    run = optimizer(verbosity=0, min_gradient_norm=1e-9, max_iterations=500).run(
        pymanopt.Problem(manifold, cost), initial_point=manifold.start
    )
    A, B = run.point
    np.testing.assert_allclose(B @ A, target, atol=1e-7)
    np.testing.assert_allclose(B.T @ B - A @ A.T, lam * eye, atol=1e-12)


def test_the_balanced_leaf_is_balanced():
    """Where the rank is the inner width, both are the same manifold."""
    ours = Balanced((3, 2, 3), 2, rng=0)
    x = ours.random_point()
    leaf = Invariant(x)
    assert leaf.dim == ours.dim
    V = layers_of((3, 2, 3), 5)
    for a, b in zip(leaf.projection(leaf.start, V), ours.projection(x, V), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_where_leaves_meet_the_error_names_the_other_manifold():
    x = Balanced((3, 3, 3), 2, rng=0).random_point()
    with pytest.raises(ValueError, match=r"no manifold there.*dlngeom\.pymanopt\.Balanced"):
        Invariant(x)


def test_points_that_are_none_are_refused():
    manifold = Invariant(layers_of((2, 3, 2)))
    other = layers_of((2, 3, 2), 7)
    with pytest.raises(
        ValueError, match=r"invariants of the point differ by .*Invariant\(layers\)"
    ):
        manifold.projection(other, other)
    with pytest.raises(ValueError, match="layers of shapes"):
        manifold.projection([x.T for x in other], other)
    with pytest.raises(ValueError, match="batch"):
        Invariant([np.ones((4, 3, 2)), np.ones((4, 2, 3))])
    with pytest.raises(ValueError, match="finite"):
        manifold.retraction(manifold.start, [np.full(x.shape, np.nan) for x in other])


def test_points_changed_in_place_are_seen():
    manifold = Invariant(layers_of((2, 3, 2)), rng=0)
    point, vector = manifold.random_point(), layers_of((2, 3, 2), 8)
    point[0][...] *= -1
    expected = manifold.projection(tuple(x.copy() for x in point), vector)
    for a, b in zip(manifold.projection(point, vector), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_points_are_copied_and_stored():
    manifold = Invariant(layers_of((2, 3, 2)), rng=0)
    point = manifold.random_point()
    for again in (copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        vector = manifold.projection(again, layers_of((2, 3, 2), 8))
        assert manifold.norm(again, vector) > 0


def test_steps_too_long_are_halved():
    manifold = Invariant(layers_of((2, 3, 2)), rng=0)
    x = manifold.start
    moved = manifold.retraction(x, 1e3 * manifold.random_tangent_vector(x))
    for G, wanted in zip(network.invariants(moved), manifold.invariants, strict=True):
        np.testing.assert_allclose(G, wanted, atol=1e-9)


@pytest.mark.parametrize("widths", [(3, 8, 4), (2, 2, 6, 3)])
def test_hidden_layers_that_cannot_be_spanned_are_named(widths, rng):
    layers = [rng.standard_normal((b, a)) for a, b in pairwise(widths)]
    below, width, above = widths[-3:]
    with pytest.raises(ValueError, match=rf"hidden width {width} > {below} \+ {above}: .*flow"):
        Invariant(layers)
