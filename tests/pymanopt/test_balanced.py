import copy
import pickle

import autograd.numpy as anp
import jax.numpy as jnp
import numpy as np
import pymanopt
import pytest
import torch
from pymanopt.optimizers import (
    ConjugateGradient,
    NelderMead,
    ParticleSwarm,
    SteepestDescent,
    TrustRegions,
)

import dlngeom
from dlngeom import network
from dlngeom.pymanopt import Balanced, EndToEnd
from tests.helpers.parameters import crossed
from tests.helpers.reference import slope

BACKENDS = {
    "autograd": (pymanopt.function.autograd, anp),
    "torch": (pymanopt.function.pytorch, torch),
    "jax": (pymanopt.function.jax, jnp),
}
NETWORKS = [
    ((4, 4, 4), 4),
    ((3, 5, 4), 3),
    ((4, 3, 5, 4), 2),
    ((4, 4, 4, 4), 2),
    ((5, 4), 2),
    ((5, 4), 4),
]
# Square and rectangular, of full rank and below.
SAME_MINIMISER = [((4, 4, 4), 4), ((3, 5, 4), 3), ((4, 4, 4, 4), 2), ((4, 3, 5, 4), 2), ((5, 4), 2)]


def data(manifold):
    """A target of the rank of the manifold, so that the minimum is zero, and weights."""
    rng = np.random.default_rng(0)
    m, n = manifold.widths[-1], manifold.widths[0]
    u, v = (np.linalg.qr(rng.normal(size=(size, manifold.rank)))[0] for size in (m, n))
    target = u * np.linspace(2, 1, manifold.rank) @ v.T
    return target, rng.uniform(1, 2, (m, n))


def problem(manifold, backend="autograd", penalty=0.0):
    """Least squares in the product, plus a quartic penalty on the first layer alone."""
    decorate, xp = BACKENDS[backend]
    target, mask = (xp.asarray(x) for x in data(manifold))

    @decorate(manifold)
    def cost(*layers):
        W = layers[0]
        for layer in layers[1:]:
            W = layer @ W
        return 0.5 * xp.sum(mask * (W - target) ** 2) + penalty * xp.sum(layers[0] ** 4)

    return pymanopt.Problem(manifold, cost)


def as_layers(manifold, x):
    return (x,) if manifold.depth == 1 else tuple(x)


@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_taylor_slopes_of_lifted_and_other_costs(widths, rank, penalty):
    manifold = Balanced(widths, rank, rng=1)
    task = problem(manifold, penalty=penalty)
    x = manifold.random_point()
    steps, slopes = np.geomspace(1e-3, 1e-2, 6), []
    # One direction may have an accidentally small third derivative.
    for _ in range(3):
        z = manifold.random_tangent_vector(x)
        first = manifold.inner_product(x, task.riemannian_gradient(x), z)
        second = manifold.inner_product(x, task.riemannian_hessian(x, z), z)
        change = [task.cost(manifold.retraction(x, t * z)) - task.cost(x) for t in steps]
        slopes.append(slope(steps, np.abs(change - first * steps - second * steps**2 / 2)))
    assert np.median(slopes) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("case", "backend"), crossed([((3, 5, 4), 3), ((5, 4), 2)], ["torch", "jax", "autograd"])
)
def test_every_backend_gives_the_same_derivatives(case, backend):
    widths, rank = case
    manifold = Balanced(widths, rank, rng=1)
    x = manifold.random_point()
    z = manifold.random_tangent_vector(x)
    known, other = problem(manifold, penalty=0.3), problem(manifold, backend, penalty=0.3)
    for one, two in (
        (known.riemannian_gradient(x), other.riemannian_gradient(x)),
        (known.riemannian_hessian(x, z), other.riemannian_hessian(x, z)),
    ):
        for a, b in zip(as_layers(manifold, one), as_layers(manifold, two), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "optimizer"),
    crossed(SAME_MINIMISER, [TrustRegions, ConjugateGradient, SteepestDescent]),
)
def test_reaches_the_end_to_end_minimiser_of_the_manifold_downstairs(case, optimizer):
    widths, rank = case
    upstairs = Balanced(widths, rank, rng=1)
    downstairs = EndToEnd(widths[-1], widths[0], rank, upstairs.depth, rng=2)
    options = {"verbosity": 0, "min_gradient_norm": 1e-10, "max_iterations": 2000}
    target, mask = data(upstairs)

    def start(manifold, product):
        """Square matrices of full rank keep the sign of their determinant."""
        while True:
            x = manifold.random_point()
            if target.shape != (rank, rank) or np.linalg.det(product(x) @ target) > 0:
                return x

    x = start(upstairs, lambda x: network.end_to_end(as_layers(upstairs, x)))
    point = optimizer(**options).run(problem(upstairs), initial_point=x).point
    W = network.end_to_end(as_layers(upstairs, point))
    wrap = pymanopt.function.numpy(downstairs)
    residual = wrap(lambda u, s, vt: mask * ((u * s) @ vt - target))
    cost = wrap(lambda u, s, vt: 0.5 * np.sum(mask * ((u * s) @ vt - target) ** 2))
    hessian = wrap(
        lambda *x: mask * dlngeom.dense(dlngeom.pymanopt.ambient_direction(x[:3], x[3:]))
    )
    task = pymanopt.Problem(
        downstairs, cost, euclidean_gradient=residual, euclidean_hessian=hessian
    )
    x = start(downstairs, lambda x: dlngeom.dense(dlngeom.SVD(*x)))
    below = optimizer(**options).run(task, initial_point=x).point
    np.testing.assert_allclose(W, dlngeom.dense(dlngeom.SVD(*below)), atol=1e-8)


@pytest.mark.parametrize("optimizer", [ParticleSwarm, NelderMead])
def test_derivative_free_optimizers_run(optimizer):
    manifold = Balanced((2, 2, 2), 1, rng=0)
    task = problem(manifold)
    start = task.cost(manifold.random_point())
    assert optimizer(verbosity=0, max_iterations=6).run(task).cost < start


@pytest.mark.parametrize("retraction", ["second-order", "first-order"])
def test_points_stay_balanced_and_carry_their_frames(retraction):
    manifold = Balanced((4, 3, 5, 4), 2, retraction=retraction, rng=0)
    x = manifold.random_point()
    y = manifold.retraction(x, 50 * manifold.random_tangent_vector(x))
    scale = sum(np.sum(layer**2) for layer in y)
    assert all(np.abs(G).max() < 1e-13 * scale for G in network.invariants(y))
    for kept in (y, copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        for layer, again in zip(y, dlngeom.factors(kept.frames), strict=True):
            np.testing.assert_array_equal(layer, again)


def test_plain_tuples_are_accepted_and_unbalanced_ones_refused():
    manifold = Balanced((3, 4, 3), 2, rng=0)
    x = manifold.random_point()
    z = manifold.random_tangent_vector(x)
    for one, two in zip(
        manifold.retraction(x, z), manifold.retraction(tuple(x), tuple(z)), strict=True
    ):
        np.testing.assert_allclose(one, two, atol=1e-12)
    with pytest.raises(ValueError, match="not balanced"):
        manifold.retraction((2 * x[0], x[1]), z)


def test_basic_methods():
    manifold = Balanced((3, 4, 3), 2, rng=0)
    x = manifold.random_point()
    z = manifold.random_tangent_vector(x)
    assert manifold.norm(x, z) == pytest.approx(1)
    assert manifold.norm(x, z - manifold.to_tangent_space(x, z)) < 1e-14
    assert manifold.norm(x, manifold.zero_vector(x)) == 0
    assert manifold.dist(x, x) == 0
    y = manifold.retraction(x, 1e-4 * z)
    assert manifold.dist(x, y) == pytest.approx(1e-4, rel=1e-3)
    assert manifold.dist(x, manifold.pair_mean(x, y)) == pytest.approx(5e-5, rel=1e-3)
    assert manifold.norm(y, manifold.transport(x, y, z)) == pytest.approx(1, rel=1e-3)
    assert manifold.dim == dlngeom.balanced.dimension((3, 4, 3), 2)
    assert manifold.typical_dist > 0


def test_seed_decides_and_the_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (Balanced((3, 4, 3), 2, rng=7).random_point() for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((3,),), {}, "widths"),
        (((3, 0, 3),), {}, "widths"),
        (((3, 4, 3), 4), {}, "rank=4"),
        (((3, 4, 3), 0), {}, "rank=0"),
        (((3, 4, 3),), {"retraction": "exact"}, "exact"),
        (((3, 4, 3),), {"rng": "seed"}, "seed"),
    ],
)
def test_bad_arguments_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Balanced(*arguments, **options)
