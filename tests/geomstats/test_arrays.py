"""What looks like an array, at the door of the manifolds of geomstats."""

import geomstats.backend as gs
import numpy as np
import pytest
from scipy import sparse

from dlngeom.geomstats import BalancedMatrices, DeepLinearCoordinates, EndToEndMatrices

SPACES = [EndToEndMatrices(3, 2, 2, 2), EndToEndMatrices(3, 3, 2, 2), DeepLinearCoordinates(2, 3)]
SPACES += [BalancedMatrices(2, 2)]
REFUSED = {
    "complex": (lambda x: x + 0j, ValueError, "complex128"),
    "half": (lambda x: x.astype(np.float16), ValueError, "float16"),
    "long": (lambda x: x.astype(np.longdouble), ValueError, "it must be float32 or float64"),
    "objects": (lambda x: x.astype(object), ValueError, "object"),
    "bools": (lambda x: x > 0, ValueError, "bool"),
    "masked": (lambda x: np.ma.masked_array(x, x > np.median(x)), ValueError, "masked"),
    "masked in a list": (lambda x: [np.ma.masked_array(x, x > np.median(x))], ValueError, "masked"),
    "ragged": (lambda x: [x, x[..., :1]], ValueError, "do not make one array"),
    "none": (lambda x: None, TypeError, "None"),
    "text": (lambda x: "x", TypeError, "builtins.str"),
    "sparse": (lambda x: sparse.csr_array(np.eye(3)), TypeError, "dense"),
}
TAKEN = {
    "big-endian": lambda x: x.astype(">f8"),
    "unmasked": np.ma.masked_array,
    "list": lambda x: x.tolist(),
    "subclass": lambda x: x.view(type("Own", (np.ndarray,), {})),
}
CALLS = {
    "belongs": lambda space, x, _: space.belongs(x),
    "projection": lambda space, x, _: space.projection(x),
    "is_tangent": lambda space, x, y: space.is_tangent(x, y),
    "to_tangent": lambda space, x, y: space.to_tangent(x, y),
    "tangent at": lambda space, x, y: space.to_tangent(y, x),
    "norm": lambda space, x, y: space.metric.norm(x, y),
    "norm at": lambda space, x, y: space.metric.norm(space.to_tangent(y, y), x),
}


def name_of(space):
    return f"{type(space).__name__}{space.shape}"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("space", SPACES, ids=name_of)
def test_refused(space, kind, call):
    if call == "norm at" and isinstance(space, BalancedMatrices):
        return  # The metric upstairs does not depend on the point.
    if call == "tangent at" and kind == "none":
        return  # There the default, where all directions are tangent.
    change, error, message = REFUSED[kind]
    gs.random.seed(0)
    point = space.random_point()
    with pytest.raises(error, match=message):
        CALLS[call](space, change(point), point)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("space", SPACES, ids=name_of)
def test_converted(space, kind, call):
    gs.random.seed(0)
    point = space.random_point()
    found = CALLS[call](space, TAKEN[kind](point), point)
    expected = CALLS[call](space, point, point)
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert found.dtype.isnative


@pytest.mark.parametrize("space", SPACES, ids=name_of)
def test_lists_of_points_are_batches(space):
    gs.random.seed(0)
    points = space.random_point(3)
    np.testing.assert_array_equal(space.belongs(list(points)), space.belongs(points))
    np.testing.assert_array_equal(space.projection(list(points)), space.projection(points))


@pytest.mark.parametrize("space", SPACES, ids=name_of)
def test_matrices_of_another_kind_are_not_projected(space):
    with pytest.raises(ValueError, match="finite"):
        space.projection(np.full(space.shape, np.nan))


@pytest.mark.parametrize(
    ("make", "keyword"),
    [
        (lambda **k: EndToEndMatrices(3, 2, 2, 2, **k), "equp"),
        (lambda **k: DeepLinearCoordinates(2, 2, **k), "widht"),
        (lambda **k: BalancedMatrices(2, 2, **k), "rnk"),
    ],
)
def test_misspelt_keywords_are_named(make, keyword):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'"):
        make(**{keyword: 1})
