"""Steps of random walks downstairs."""

import numpy as np
import pytest

import dlngeom
from dlngeom import balanced, endtoend, spectral
from dlngeom.balanced._curves import signed_svd
from dlngeom.dln._square_walk import SquareNetworkWalk
from dlngeom.dln._walks import EndToEndWalk
from dlngeom.langevin import riemannian_langevin, step
from dlngeom.points import SVD, Tangent
from tests.helpers.reference import slope


@pytest.mark.parametrize(("m", "n", "rank", "depth"), [(3, 3, 3, 3), (4, 3, 2, 2), (3, 2, 2, 5)])
def test_a_step_is_the_second_order_retraction_up_to_third_order(rng, m, n, rank, depth):
    """Two maps, one for its price: they may differ no sooner than at third order."""
    point = dlngeom.svd(rng.standard_normal((1, m, n)), rank)
    noise = rng.standard_normal((1, m, n))
    u, s, v = point.u, point.s, point.vt.mT
    roots = np.sqrt(spectral.weights(s[..., :, None], s[..., None, :], depth))
    ends = np.sqrt(spectral.weights(s, 0 * s, depth))[..., None, :]
    left, right = noise @ v, noise.mT @ u
    Z = Tangent(
        ends * (left - u @ (u.mT @ left)),
        roots * (u.mT @ left),
        ends * (right - v @ (v.mT @ right)),
    )
    walk = EndToEndWalk(depth, rank, True)

    def gap(t):
        stepped = walk.point(walk.step(walk.start(point), noise, None, 0.0, t, t))
        moved = endtoend.retraction(point, Tangent(*(t * x for x in Z)), depth)
        assert isinstance(moved, SVD)
        return np.linalg.norm(dlngeom.dense(stepped) - dlngeom.dense(moved))

    steps = np.geomspace(3e-3, 3e-2, 5)
    assert slope(steps, [gap(t) for t in steps]) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("size", "depth"), [(2, 3), (3, 1), (4, 2), (3, 5)])
@pytest.mark.parametrize("kappa", [1.0, 0.3])
def test_a_step_upstairs_is_the_second_order_retraction_up_to_third_order(rng, size, depth, kappa):
    space = dlngeom.DeepLinearNetwork((size,) * (depth + 1))
    assert isinstance(space.random_walk(space.random_point(0)), SquareNetworkWalk)
    point = space.random_point(rng)
    noise, G = tuple(rng.standard_normal((depth, size, size))), rng.standard_normal((size, size))
    drift = dlngeom.network.lifted_gradient(dlngeom.factors(point), G)
    up = balanced.vertical_projection(point, noise)
    along = balanced.horizontal_projection(point, noise)

    def gap(t):
        moved = step(space, point, noise, duration=t**2, beta=2.0, kappa=kappa, covector=G)
        V = [t * (x + kappa**0.5 * y) - t**2 * g for x, y, g in zip(up, along, drift, strict=True)]
        expected = balanced.retraction(point, V)
        pairs = zip(dlngeom.factors(moved), dlngeom.factors(expected), strict=True)
        return np.sqrt(sum(np.sum((x - y) ** 2) for x, y in pairs))

    steps = np.geomspace(1e-3, 1e-2, 5)
    assert slope(steps, [gap(t) for t in steps]) == pytest.approx(3, abs=0.1)


def test_runs_do_not_depend_on_the_signs_of_eigenvectors(monkeypatch):
    space = dlngeom.DeepLinearNetwork((3, 3, 3))
    options = {"beta": 2.0, "duration": 0.2, "n_steps": 20, "rng": 0, "n_chains": 5}
    expected = riemannian_langevin(space, space.random_point(0), **options)

    def other(H, **_):
        values, left, right = signed_svd(H)
        signs = np.where(np.arange(left.size).reshape(left.shape)[..., :1, :] % 2, -1.0, 1.0)
        return values, left * signs, left * signs if right is left else right * signs

    monkeypatch.setattr("dlngeom.dln._square_walk.signed_svd", other)
    found = riemannian_langevin(space, space.random_point(0), **options)
    ends = [x.observed["end_to_end"] for x in (expected, found)]
    np.testing.assert_allclose(*ends, atol=1e-10)
