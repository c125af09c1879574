"""Rank collapse is said once, and only where it happens; a start that fits does not lose rank."""

import warnings

import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import ConjugateGradient, TrustRegions
from scipy import sparse

from dlngeom import LowRank, dense
from dlngeom.pymanopt import EndToEnd, ambient_direction
from tests.helpers.parameters import slow


def distance(manifold, target, seen=1.0):
    """``|seen (W - B)|^2 / 2``."""
    from_factors = pymanopt.function.numpy(manifold)
    return pymanopt.Problem(
        manifold,
        from_factors(lambda u, s, vt: np.sum(seen * ((u * s) @ vt - target) ** 2) / 2),
        euclidean_gradient=from_factors(lambda u, s, vt: seen * ((u * s) @ vt - target)),
        euclidean_hessian=from_factors(lambda *x: seen * dense(ambient_direction(x[:3], x[3:]))),
    )


def solved(optimizer, problem, start):
    """Cost at the end, and the number of warnings of collapse."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = optimizer(verbosity=0).run(problem, initial_point=start)
    return result.cost, sum("rank collapse" in str(w.message) for w in seen)


def outcomes(optimizer, shape, depth, seeds, *, aligned=False):
    found = []
    for k in seeds:
        B = np.random.default_rng(k).standard_normal(shape)
        manifold = EndToEnd(*shape, min(shape), depth, rng=k)
        start = manifold.aligned_point(-B) if aligned else manifold.random_point()
        found.append(solved(optimizer, distance(manifold, B), start))
    return np.transpose(found)


@pytest.mark.parametrize(
    ("optimizer", "shape", "depth", "count"),
    [
        (ConjugateGradient, (6, 5), 3, 8),
        slow(ConjugateGradient, (6, 5), 2, 20),
        slow(ConjugateGradient, (4, 4), 4, 10),
        slow(TrustRegions, (6, 5), 2, 8),
        slow(TrustRegions, (6, 5), 3, 8),
    ],
)
def test_each_run_ends_at_the_target_or_warns_once(optimizer, shape, depth, count):
    costs, warned = outcomes(optimizer, shape, depth, range(count))
    np.testing.assert_array_equal(warned, costs > 1e-8)
    assert 0 < np.sum(warned) < count


@pytest.mark.parametrize("depth", [2, 3])
def test_a_small_gradient_that_is_left_is_said_too(depth):
    # The target has a singular value of 8e-4, and a determinant of the other sign.
    B = np.random.default_rng(108).standard_normal((4, 4))
    manifold = EndToEnd(4, 4, 4, depth, rng=8)
    cost, warned = solved(ConjugateGradient, distance(manifold, B), manifold.random_point())
    assert cost > 1e-8
    assert warned == 1


@pytest.mark.parametrize("depth", [2, slow(3)])
def test_an_aligned_start_reaches_the_target(depth):
    for shape in ((6, 5), (4, 4)):
        costs, warned = outcomes(ConjugateGradient, shape, depth, range(5), aligned=True)
        assert np.max(costs) < 1e-8
        assert not np.any(warned)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_minimum_of_lower_rank_is_no_collapse(depth):
    rng = np.random.default_rng(0)
    B = rng.standard_normal((8, 1)) @ rng.standard_normal((1, 6))
    manifold = EndToEnd(8, 6, 3, depth, rng=1)
    for seen in (1.0, rng.random((8, 6)) < 0.7):
        problem = distance(manifold, B, seen)
        assert solved(ConjugateGradient, problem, manifold.random_point())[1] == 0


def test_aligned_points_take_every_kind_of_gradient():
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((7, 3)), rng.standard_normal((5, 3))
    manifold = EndToEnd(7, 5, 2, 2, rng=0)
    points = [
        manifold.aligned_point(G, scale=0.5)
        for G in (U @ V.T, LowRank(U, np.eye(3), V), sparse.csr_array(U @ V.T))
    ]
    for x in points:
        W = (x.u * x.s) @ x.vt
        np.testing.assert_allclose(x.s, 0.5)
        np.testing.assert_allclose(W, (points[0].u * 0.5) @ points[0].vt, atol=1e-10)
        assert np.sum(W * (U @ V.T)) < 0
    with pytest.raises(ValueError, match="scale=0"):
        manifold.aligned_point(U @ V.T, scale=0)
