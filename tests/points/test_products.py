"""Small singular values of products of layers, to the accuracy of the layers."""

import mpmath
import numpy as np
import pytest

import dlngeom
from dlngeom import Frames, network
from dlngeom.points._products import singular_value_decomposition
from tests.helpers import reference as ref


def balanced(lam, depth, rng, width=None):
    widths = (width or len(lam) + 1,) * (depth + 1)
    q = tuple(np.linalg.qr(rng.standard_normal((d, len(lam))))[0] for d in widths)
    return Frames(np.array(lam), q)


@pytest.mark.parametrize("width", [None, 2, 5])
@pytest.mark.parametrize("lam", [(1.0, 0.03), (1.0, 0.01), (2.0, 2e-3)])
def test_balanced_layers_come_back_unchanged(lam, width, rng):
    point = balanced(lam, 10, rng, width)
    layers = dlngeom.factors(point)
    found = dlngeom.nearest_balanced(layers, 2)
    np.testing.assert_allclose(found.lam, lam, rtol=1e-12)
    ref.close_layers(dlngeom.factors(found), layers, 1e-12)


def test_single_precision_and_batches(rng):
    points = [balanced((1.0, 0.3), 12, rng), balanced((1.0, 0.9), 12, rng)]
    stacked = Frames(
        np.stack([x.lam for x in points]),
        tuple(np.stack(q) for q in zip(*(x.q for x in points), strict=True)),
    )
    layers = [x.astype(np.float32) for x in dlngeom.factors(stacked)]
    found = dlngeom.nearest_balanced(layers, 2)
    assert found.lam.dtype == np.float32
    np.testing.assert_allclose(found.lam, stacked.lam, rtol=1e-5)


@pytest.mark.parametrize("shapes", [((3, 3), (3, 3), (3, 3)), ((4, 3), (3, 4), (5, 3))])
def test_graded_layers_against_many_digits(shapes, rng):
    layers = [rng.standard_normal(x) * np.geomspace(1, 1e-6, x[1]) for x in shapes]
    with mpmath.workdps(80):
        exact = mpmath.matrix(layers[0].tolist())
        for layer in layers[1:]:
            exact = mpmath.matrix(layer.tolist()) * exact
        exact = exact if exact.rows >= exact.cols else exact.T
        values = [float(x) for x in mpmath.svd_r(exact, compute_uv=False)]
    s = network.singular_values(layers)
    np.testing.assert_allclose(s, values[: len(s)], rtol=1e-9)


def test_it_is_a_decomposition(rng):
    layers = [rng.standard_normal((2, *shape)) for shape in ((4, 3), (2, 4), (5, 2))]
    u, s, vt = singular_value_decomposition(layers)
    ref.close(u * s[:, None, :] @ vt, network.end_to_end(layers), 1e-13)
    np.testing.assert_allclose(s, np.linalg.svd(network.end_to_end(layers))[1][:, :2], rtol=1e-12)


def test_rank_that_is_missing_is_still_refused(rng):
    layers = [rng.standard_normal((3, 3)) for _ in range(10)]
    layers[4] = layers[4] @ np.diag([1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="its rank is below 3"):
        dlngeom.nearest_balanced(layers)
    assert dlngeom.nearest_balanced(layers, 2).lam.shape == (2,)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_products_beyond_the_range_of_numbers(scale, rng):
    layers = [scale * np.eye(2) + 0.0] * 3
    np.testing.assert_allclose(dlngeom.nearest_balanced(layers).lam, scale, rtol=1e-12)
