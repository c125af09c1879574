"""Flows of jax arrays by diffrax: the same as by SciPy, and differentiable."""

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.flow import FlowError, _runs, gradient_flow, network_flow
from tests.helpers import reference as ref
from tests.helpers.namespaces import Namespace

jax = pytest.importorskip("jax")
pytest.importorskip("diffrax")
# jax compiles each flow for many seconds.
pytestmark = pytest.mark.slow

TIMES = [0.0, 0.2, 0.7]
STEP = 1e-3


@pytest.fixture
def no_scipy(monkeypatch):
    """Fail where a flow is not compiled."""
    monkeypatch.setattr(_runs, "integrate", None)


def starts(rng, depth=3, size=2, rank=None, batch=(3,)):
    space = DeepLinearNetwork((size,) * (depth + 1), rank=rank)
    x = space.random_point(rng, batch)
    return space, x, rng.standard_normal((size, size))


@pytest.mark.parametrize(("depth", "rank", "batch"), [(1, 2, ()), (2, 2, (3,)), (4, 1, (2,))])
def test_flows_are_those_of_scipy(depth, rank, batch, rng, no_scipy, monkeypatch):
    xp, (space, x, target) = Namespace("jax"), starts(rng, depth, 2, rank, batch)
    there = xp.array(target)
    found = {
        "down": gradient_flow(
            space, xp.array(space.project(x)), lambda W: W - there, TIMES, rtol=1e-9
        ),
        "layers": network_flow(
            xp.array(dlngeom.factors(x)), lambda W: W - there, TIMES, rtol=1e-9,
            energy=lambda W: jax.numpy.sum((W - there) ** 2, axis=(-2, -1)) / 2,
        ),
    }  # fmt: skip
    monkeypatch.undo()
    up = gradient_flow(space, x, lambda W: W - target, TIMES, rtol=1e-9, upstairs=True)
    for run in found.values():
        for name in ("end_to_end", "singular_values"):
            assert type(run.observed[name]) is type(there)
            expected = up.observed[name]
            actual = run.observed[name][..., : expected.shape[-1]]
            np.testing.assert_allclose(actual, expected, atol=2e-8)
    assert np.all(np.diff(np.asarray(found["layers"].observed["energy"])) < 0)


def test_saved_times_do_not_change_the_flow(rng, no_scipy):
    xp, (space, x, target) = Namespace("jax"), starts(rng, batch=())
    W, there = xp.array(space.project(x)), xp.array(target)
    for rtol in (1e-8, 1e-3):
        ends = [
            gradient_flow(space, W, lambda W: W - there, t, rtol=rtol, observe={}).points
            for t in (np.linspace(0, 1, 21), [0.0, 0.55, 1.0])
        ]
        exact = gradient_flow(space, W, lambda W: W - there, [0, 0.55, 1], rtol=1e-12, observe={})
        np.testing.assert_allclose(ends[0][:, [0, 11, 20]], exact.points, atol=100 * rtol)
        np.testing.assert_allclose(ends[1], exact.points, atol=100 * rtol)


def slope(function, x, direction):
    """Fourth-order central difference, of flows by SciPy."""
    x, direction = np.asarray(x), np.asarray(direction)
    near, far = (function(x + k * STEP * direction) - function(x - k * STEP * direction)
                 for k in (1, 2))  # fmt: skip
    return (8 * near - far) / (12 * STEP)


def random_like(x, rng):
    return jax.numpy.asarray(rng.standard_normal(x.shape))


def test_points_downstairs_have_derivatives(rng, request):
    """At equal singular values, in two of the three chains, and at random ones."""
    xp, (space, x, target) = Namespace("jax"), starts(rng)
    x.lam[:2] = [[1.2], [0.8]]
    W, there = xp.array(space.project(x)), xp.array(target)
    weights = rng.standard_normal((3, 2, 2))

    def end(W, target):
        run = gradient_flow(space, W, lambda X: X - target, TIMES, rtol=1e-12, observe={})
        return (weights * run.points[:, -1]).sum()

    D, E = random_like(W, rng), random_like(there, rng)
    start = np.asarray(W)
    expected = slope(lambda x: end(x, target), W, D), slope(lambda x: end(start, x), there, E)
    request.getfixturevalue("no_scipy")
    in_start, in_target = jax.grad(end, (0, 1))(W, there)
    ref.close(float((in_start * D).sum()), float(expected[0]), 1e-6)
    ref.close(float((in_target * E).sum()), float(expected[1]), 1e-6)


def test_points_of_low_rank_have_derivatives_along_their_manifold(rng, request):
    xp, (space, _, target) = Namespace("jax"), starts(rng, 2, 3, 2, ())
    L, R = (rng.standard_normal((3, 2)) for _ in range(2))
    weights = rng.standard_normal((3, 3))

    def end(L):
        run = gradient_flow(space, L @ R.T, lambda X: X - target, TIMES, rtol=1e-12, observe={})
        return (weights * run.points[0, -1]).sum()

    D = random_like(L, rng)
    expected = float(slope(end, L, D))
    request.getfixturevalue("no_scipy")
    ref.close(float((jax.grad(end)(xp.array(L)) * D).sum()), expected, 1e-6)


def test_layers_have_derivatives(rng, request):
    xp, (_, x, target) = Namespace("jax"), starts(rng, 3, 2, None, ())
    first, *others = dlngeom.factors(x)

    def end(first, target):
        rest = others if isinstance(first, np.ndarray) else xp.array(tuple(others))
        run = network_flow((first, *rest), lambda X: X - target, TIMES, rtol=1e-12)
        return (run.observed["end_to_end"][0, -1] ** 2).sum()

    D = random_like(target, rng)
    expected = slope(lambda x: end(x, target), first, D), slope(lambda x: end(first, x), target, D)
    request.getfixturevalue("no_scipy")
    in_start, in_target = jax.grad(end, (0, 1))(xp.array(first), xp.array(target))
    ref.close(float((in_start * D).sum()), float(expected[0]), 1e-6)
    ref.close(float((in_target * D).sum()), float(expected[1]), 1e-6)


def test_what_diffrax_cannot_do_goes_to_scipy(rng):
    xp, (space, x, target) = Namespace("jax"), starts(rng, batch=())
    W, there = xp.array(space.project(x)), xp.array(target)
    fast = gradient_flow(space, W, lambda W: W - there, TIMES)

    def on_host(W):
        return xp.array(np.asarray(W) - target)

    slow = [
        gradient_flow(space, W, on_host, TIMES),
        gradient_flow(space, W, lambda W: W - there, TIMES, dense_output=True),
        gradient_flow(space, dlngeom.svd(W), lambda W: dlngeom.dense(W) - there, TIMES),
    ]
    for run in slow:
        end = run.observed["end_to_end"]
        np.testing.assert_allclose(end, fast.observed["end_to_end"], atol=1e-7)
    assert slow[1].at is not None
    with pytest.raises(TypeError, match="read numbers"):
        jax.grad(lambda W: gradient_flow(space, W, on_host, TIMES).points.sum())(W)
    with pytest.raises(FlowError, match="leaves every compact set"):
        gradient_flow(space, W, lambda W: -1e3 * W * jax.numpy.sum(W * W), [0.0, 100.0])
