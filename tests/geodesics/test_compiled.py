"""Geodesics of jax arrays by diffrax: those of numpy, and differentiable at ties too."""

import numpy as np
import pytest

import dlngeom
from dlngeom import geodesics
from dlngeom.dln._smooth_geodesics import smooth_geodesic
from dlngeom.geodesics import _integration
from tests.helpers import reference as ref

# Shape, rank, depth.
CASES = [((3, 3), 3, 3), ((4, 3), 2, 3), ((4, 3), 3, 2), ((4, 4), 2, 1), ((3, 3), 2, 5)]


def case_of(case, rng, tied=False):
    (m, n), rank, depth = case
    space = dlngeom.EndToEndGeometry(m, n, rank, depth)
    point = space.random_point(rng)
    s = np.full(rank, 1.2) if tied else (1.5 - 0.3 * np.arange(rank)) ** depth
    point = point._replace(s=s)
    W, X = dlngeom.dense(point), 0.3 * rng.standard_normal((m, n))
    u, v = point.u @ point.u.T, point.vt.T @ point.vt
    return space, point, W, u @ X + X @ v - u @ X @ v


@pytest.mark.parametrize("case", CASES)
def test_layers_without_decompositions_follow_geodesics(case, rng):
    """Point, velocity, speed and, by differences of the geodesic, accelerations."""
    space, point, W, Z = case_of(case, rng)
    curve, h = smooth_geodesic(W, Z, point, case[2]), 1e-2
    ref.close(curve.point(curve.start), W, 1e-13)
    ref.close(curve.velocity(curve.start), Z, 1e-13)
    np.testing.assert_allclose(curve.speed(curve.start), space.norm(W, Z), rtol=1e-12)
    X = geodesics.geodesic(space, W, Z, h * np.arange(-2, 3))
    second = (16 * (X[3] + X[1]) - X[0] - X[4] - 30 * X[2]) / (12 * h**2)
    rates = curve.rates(curve.start)
    moved = [tuple(x + t * dx for x, dx in zip(curve.start, rates, strict=True)) for t in (h, -h)]
    found = (curve.velocity(moved[0]) - curve.velocity(moved[1])) / (2 * h)
    ref.close(found, second, 2e-2 * np.linalg.norm(second))


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("case", [CASES[0], CASES[3]])
def test_exp_of_jax_arrays_has_derivatives(case, tied, rng, monkeypatch):
    jax = pytest.importorskip("jax")
    pytest.importorskip("diffrax")
    jax.config.update("jax_enable_x64", True)
    space, _, W, Z = case_of(case, rng, tied)
    weights, h = rng.standard_normal(W.shape), 1e-3
    turn = 0.1 * (rng.standard_normal(W.shape[:1] * 2))

    def start(t, xp):
        """Move the point along its manifold, and the vector in its tangent space."""
        left = xp.eye(len(turn)) + t * turn
        return left @ W, (1 + t) * (left @ Z)

    def end(t, xp):
        return xp.sum(weights * geodesics.exp(space, *start(t, xp)))

    expected = (8 * (end(h, np) - end(-h, np)) - end(2 * h, np) + end(-2 * h, np)) / (12 * h)
    value = float(end(0.0, np))
    monkeypatch.setattr(_integration, "integrate", None)
    found, derivative = jax.value_and_grad(lambda t: end(t, jax.numpy))(0.0)
    assert float(found) == pytest.approx(value, rel=1e-10)
    assert float(derivative) == pytest.approx(expected, rel=1e-6)
