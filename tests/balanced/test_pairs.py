"""Orthonormal coordinates at networks of square layers, and rotations by products."""

import numpy as np
import pytest
from scipy.linalg import expm

from dlngeom import Frames, balanced, factors, network
from dlngeom.balanced import _pairs
from dlngeom.balanced._curves import rotation
from tests.helpers import reference as ref

SHAPES = [(2, 1), (2, 3), (3, 2), (4, 5), (3, 64)]


@pytest.fixture(params=SHAPES, ids=str)
def square(request, rng):
    """Network with two equal singular values and small ones."""
    r, depth = request.param
    point = ref.random_frames((r,) * (depth + 1), r, rng)
    return point._replace(lam=np.array([1.0, 1.0, 1e-4, 1e-5])[:r])


def layers(point, V):
    """Dense layers of a tangent vector in coordinates."""
    r, q = len(point.lam), point.q
    found = _pairs.motion(_pairs.pairs(point.lam, len(q) - 1), V)
    omega = _pairs.antisymmetric_matrices(found.rates, r)
    h = _pairs.symmetric_matrices(found.stretch, r)
    lam, lower = point.lam, point.lam[:, None]
    return [
        q[p + 1] @ (omega[p + 1] * lam + h - lower * omega[p]) @ q[p].T for p in range(len(q) - 1)
    ]


def close(found, expected):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-13)


def test_coordinates_of_the_tangent_and_horizontal_parts_and_of_gradients(square, rng):
    lam, q = square
    depth, r = len(q) - 1, len(lam)
    at, X = _pairs.pairs(lam, depth), ref.random_layers((r,) * (depth + 1), rng)
    cores = np.stack([up.T @ x @ low for low, up, x in zip(q[:-1], q[1:], X, strict=True)])
    V, lift = _pairs.tangent_coordinates(at, cores), _pairs.lifts(at, lam)
    assert V.shape == (balanced.dimension((r,) * (depth + 1)),) == (_pairs.dimension(r, depth),)
    tangent = balanced.tangent_projection(square, X)
    close(layers(square, V), tangent)
    np.testing.assert_allclose(V @ V, sum(np.sum(x * x) for x in tangent), rtol=1e-12)
    close(
        layers(square, _pairs.horizontal_coordinates(lift, V)),
        balanced.horizontal_projection(square, X),
    )
    G = rng.standard_normal((r, r))
    gradient = _pairs.gradient_coordinates(lift, q[-1].T @ G @ q[0])
    close(layers(square, gradient), network.lifted_gradient(factors(square), G))


def test_every_coordinate_is_a_unit_vector_orthogonal_to_the_others(square):
    lam, q = square
    depth, r = len(q) - 1, len(lam)
    unit = np.eye(_pairs.dimension(r, depth))
    frames = Frames(lam, tuple(q))
    flat = np.stack([np.concatenate([x.ravel() for x in layers(frames, e)]) for e in unit])
    np.testing.assert_allclose(flat @ flat.T, unit, atol=1e-13)


@pytest.mark.parametrize("r", [2, 3, 10])
def test_rotations_are_orthogonal_and_exponentials_to_second_order(r, rng):
    G = rng.standard_normal((50, r, r))
    omega = (G - G.mT) / np.linalg.norm(G - G.mT, axis=(1, 2))[:, None, None]
    # Angles on both sides of where products give way to a linear solve.
    for angle in (0.01, 0.2, 0.69, 0.71, 2.0):
        x = 2**0.5 * angle * omega
        turned = rotation(x, np.sum(x * x, axis=(1, 2)) / 2)
        np.testing.assert_allclose(turned @ turned.mT, np.eye(r) + 0 * x, atol=3e-15)
    sizes, gaps = np.geomspace(0.003, 0.03, 5), []
    for t in sizes:
        turned = rotation(t * omega, t**2 / 2 + np.zeros(50))
        gaps.append(np.max(np.abs(turned - expm(t * omega))))
    assert ref.slope(sizes, gaps) == pytest.approx(3, abs=0.05)


def test_a_rotation_does_not_depend_on_the_others_of_a_batch(rng):
    G = rng.standard_normal((6, 5, 5))
    omega = (G - G.mT) * np.array([0.01, 0.1, 1.0, 0.05, 3.0, 0.02])[:, None, None]
    squared = np.sum(omega * omega, axis=(1, 2)) / 2
    alone = [rotation(x[None], s[None])[0] for x, s in zip(omega, squared, strict=True)]
    np.testing.assert_array_equal(rotation(omega, squared), np.stack(alone))
