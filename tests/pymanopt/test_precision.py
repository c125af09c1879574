"""Tolerances follow the precision of the derivatives that arrive, not of the arrays they are in."""

import autograd.numpy as anp
import jax.numpy as jnp
import numpy as np
import pymanopt
import pytest
import torch
from autograd.extend import defvjp, primitive
from pymanopt.optimizers import TrustRegions

import dlngeom
from dlngeom.pymanopt import EndToEnd, Point, _factor_derivatives
from tests.helpers.parameters import slow

A = np.random.default_rng(0).standard_normal((6, 5))
BEST = np.sum(np.linalg.svd(A)[1][2:] ** 2) / 2


@primitive
def single(x):
    return x.astype(np.float32)


defvjp(single, lambda ans, x: lambda g: g)
CASTS = {
    "autograd": (pymanopt.function.autograd, anp.sum, single, A.astype(np.float32)),
    "torch": (
        pymanopt.function.pytorch,
        torch.sum,
        lambda x: x.to(torch.float32),
        torch.tensor(A, dtype=torch.float32),
    ),
    "jax": (
        pymanopt.function.jax,
        jnp.sum,
        lambda x: x.astype(jnp.float32),
        jnp.asarray(A, dtype=jnp.float32),
    ),
}


def problem(manifold, backend, extra=0.0):
    decorate, total, cast, target = CASTS[backend]

    @decorate(manifold)
    def cost(u, s, vt):
        u, s, vt = (cast(x) for x in (u, s, vt))
        return total(((u * s) @ vt - target) ** 2) / 2 + extra * total(u[:, 0] ** 4)

    return pymanopt.Problem(manifold, cost)


@pytest.mark.parametrize(
    ("backend", "depth", "seed"),
    [(x, depth, 0) for x in ("autograd", "torch") for depth in (1, 3)]
    + [slow(x, *y) for x in ("autograd", "torch") for y in ((2, 1), (10, 2))]
    # Compiling takes seconds.
    + [slow("jax", 3, 0)],
)
def test_trust_regions_run_with_costs_in_single_precision(backend, depth, seed):
    manifold = EndToEnd(6, 5, 2, depth, rng=seed)
    result = TrustRegions(verbosity=0, max_iterations=60, min_gradient_norm=1e-4).run(
        problem(manifold, backend)
    )
    assert result.cost == pytest.approx(BEST, rel=1e-5)


def test_numpy_callables_may_return_single_precision():
    manifold = EndToEnd(6, 5, 2, 3, rng=0)
    x = manifold.random_point()
    Z = manifold.random_tangent_vector(x)
    double, rounded = [], []
    exact = problem(manifold, "jax")
    for values, cast in ((double, np.float64), (rounded, np.float32)):
        g = [y.astype(cast) for y in exact.euclidean_gradient(x)]
        direction = tuple(manifold.embedding(x, Z))
        h = [y.astype(cast) for y in second_derivatives(x, direction)]
        values += manifold.euclidean_to_riemannian_hessian(x, g, h, Z)
    for a, b in zip(double, rounded, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def second_derivatives(x, direction):
    u, s, vt = x
    du, ds, dvt = direction
    W, dW = (u * s) @ vt, (du * s + u * ds) @ vt + (u * s) @ dvt
    G = W - A
    return (
        dW @ vt.T * s + G @ dvt.T * s + G @ vt.T * ds,
        np.sum(u * (dW @ vt.T), 0) + np.sum(du * (G @ vt.T), 0) + np.sum(u * (G @ dvt.T), 0),
        (u * s).T @ dW + (du * s + u * ds).T @ G,
    )


@pytest.mark.parametrize("backend", CASTS)
def test_costs_that_see_the_frames_are_refused_in_single_precision_too(backend):
    manifold = EndToEnd(6, 5, 2, 3, rng=0)
    x = manifold.random_point()
    with pytest.raises(ValueError, match="not only through u diag"):
        problem(manifold, backend, extra=1.0).riemannian_hessian(
            x, manifold.random_tangent_vector(x)
        )


def test_gradients_near_ties_do_not_divide_rounding_errors_by_the_gap():
    manifold = EndToEnd(6, 5, 2, 3, rng=0)
    x = manifold.random_point()
    tied = Point(x.u, np.array([1 + 1e-7, 1.0]), x.vt)
    G = dlngeom.dense(dlngeom.SVD(*tied)) - A
    exact = manifold.euclidean_to_riemannian_gradient(tied, G)
    found = problem(manifold, "torch").riemannian_gradient(tied)
    for a, b in zip(exact, found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1e300, False), (1e-300, False), (np.nan, False), (0.1, False), (0.0, False), (0.5, True)],
)
def test_the_test_of_precision_neither_overflows_nor_warns(size, expected):
    assert _factor_derivatives._is_single(np.full((6, 2), size)) is expected
