"""Polar factors of matrices whose singular values are at least one."""

import numpy as np
import pytest

from dlngeom._lib.arrays import polar_of_expansion, polars_of_expansions

SIZES = [1, 2, 10, 11, 20]


def expansion(m, r, size, rng, batch=()):
    """Orthonormal columns that are turned by ``I + Om`` and moved out of their span."""
    frame = np.linalg.qr(rng.standard_normal((*batch, m, r)))[0]
    omega, out = size * rng.standard_normal((*batch, r, r)), rng.standard_normal((*batch, m, r))
    out -= frame @ (frame.mT @ out)
    return frame @ (np.eye(r) + omega - omega.mT) + size * out


def literal(x):
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    return u @ vt


@pytest.mark.parametrize("r", SIZES)
@pytest.mark.parametrize("size", [0, 1e-9, 1e-2, 0.1, 0.3, 3, 1e6, 1e200])
def test_polar_factors(r, size, rng):
    x = expansion(30, r, size, rng)
    found = polar_of_expansion(x)
    np.testing.assert_allclose(found, literal(x), atol=1e-13)
    np.testing.assert_allclose(found.T @ found, np.eye(r), atol=1e-14 * r)


@pytest.mark.parametrize("r", SIZES)
@pytest.mark.parametrize("sizes", [(0.01, 0.2), (0.1, 50)])
def test_two_at_once_and_turned(r, sizes, rng):
    xs = [expansion(m, r, size, rng) for m, size in zip((30, 22), sizes, strict=True)]
    turns = [np.linalg.qr(rng.standard_normal((r, r)))[0] for _ in xs]
    for x, turn, found in zip(xs, turns, polars_of_expansions(xs, turns), strict=True):
        np.testing.assert_allclose(found, literal(x) @ turn, atol=1e-13)


@pytest.mark.parametrize("r", [2, 12])
def test_a_batch_is_its_matrices(r, rng):
    x = np.concatenate([expansion(15, r, size, rng, (3,)) for size in (0.01, 0.3, 20)])
    found = polar_of_expansion(x)
    np.testing.assert_allclose(found, np.stack([polar_of_expansion(y) for y in x]), atol=1e-13)
    for k in range(len(x)):
        np.testing.assert_array_equal(polar_of_expansion(x[k : k + 1])[0], found[k])
