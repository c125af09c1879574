"""What a public function returns carries the right derivative, or none, or there is one error."""

import numpy as np
import pytest
import scipy.linalg

from dlngeom import SVD, Frames, balanced, endtoend, points
from tests.helpers.parameters import slow
from tests.helpers.public_calls import public_calls
from tests.helpers.trees import leaves

torch = pytest.importorskip("torch")
# Checks turn tensors into numbers, and forces subtract arrays of numpy from tensors.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor", "ignore:__array_wrap__")

FAST = ("nearest_balanced", "polar_coordinates", "length", "orthonormal_frame", "singular_values")
POINTS = ("W", "frames", "factors", "point", "a", "curve", "value", "W_1", "W_N", "X")
# Curves below leave their tangent spaces, or the ranges of their roots; complex points.
APART = ("retraction of an SVD", "polar_chart", "spectrum")
NAMES = [x for x in public_calls() if not x.endswith(APART)]
REFUSED = {
    "equal": {"svd": "no derivative", "frames": "no derivative", "left_polar_chart": "derivative"},
    "random": {"left_polar_chart": "derivative"},
}


def equal(x):
    """The point with equal singular values."""
    if isinstance(x, Frames):
        return Frames(np.full_like(x.lam, 1.2), x.q)
    if isinstance(x, SVD):
        return SVD(x.u, np.full_like(x.s, 1.2), x.vt)
    if isinstance(x, tuple):
        return x if hasattr(x, "_fields") else tuple(equal(y) for y in x)
    if isinstance(x, np.ndarray) and x.ndim > 1:
        u, _, vt = np.linalg.svd(x, full_matrices=False)
        return 1.3 * u @ vt
    return x


def lifted(x, t):
    return x if isinstance(t, float) else torch.tensor(x)


def turned(q, t, rng):
    a = rng.standard_normal((q.shape[-2], q.shape[-2])) / 2
    exponential = scipy.linalg.expm if isinstance(t, float) else torch.linalg.matrix_exp
    return exponential(t * lifted(a - a.T, t)) @ lifted(q, t)


def moved(x, t, rng):
    """Curve through an argument, on its manifold."""
    if isinstance(x, Frames):
        lam = lifted(x.lam, t) + t * lifted(rng.standard_normal(x.lam.shape), t)
        return Frames(lam, tuple(turned(q, t, rng) for q in x.q))
    if isinstance(x, SVD):
        s = lifted(x.s, t) + t * lifted(rng.standard_normal(x.s.shape), t)
        return SVD(turned(x.u, t, rng), s, turned(x.vt.T, t, rng).mT)
    if isinstance(x, tuple) and all(isinstance(y, np.ndarray) for y in x):
        items = [moved(y, t, rng) for y in x]
        return type(x)(*items) if hasattr(x, "_fields") else tuple(items)
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return lifted(x, t) + t * lifted(0.1 * rng.standard_normal(x.shape), t)
    return x


def along(name, t, kind):
    function, given = public_calls()[name]
    rng = np.random.default_rng(3)
    if name == "frames":
        point = points.frames(given["factors"])
        point = equal(point) if kind == "equal" else point
        return function(points.factors(moved(point, t, rng)))
    fixed = ("turns", "invariants", "t")
    if kind == "equal":
        given = {k: equal(x) if k in POINTS else x for k, x in given.items()}
    return function(**{k: x if k in fixed else moved(x, t, rng) for k, x in given.items()})


def arrays(value):
    found = leaves(getattr(value, "points", value))
    return [x for x in found if "float" in str(getattr(x, "dtype", ""))]


def central_difference(function, h=1e-3):
    one, two, four = ((function(x) - function(-x)) / (2 * x) for x in (h, h / 2, h / 4))
    return (one - 20 * two + 64 * four) / 45


@pytest.mark.parametrize("kind", ["equal", slow("random")])
@pytest.mark.parametrize("name", [x if x in FAST else slow(x) for x in NAMES])
def test_derivative_is_right_or_absent(name, kind):
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    if name in REFUSED[kind]:
        with pytest.raises(ValueError, match=REFUSED[kind][name]):
            along(name, t, kind)
        return
    for i, x in enumerate(arrays(along(name, t, kind))):
        if not getattr(x, "requires_grad", False):
            continue
        # Sorted singular values have kinks at ties, their symmetric functions none.
        symmetric = name.startswith("singular_values")
        weight = (
            np.ones(x.shape) if symmetric else np.random.default_rng(i).standard_normal(x.shape)
        )
        (found,) = torch.autograd.grad((x * torch.tensor(weight)).sum(), t, retain_graph=True)
        expected = central_difference(
            lambda h, i=i, w=weight: float(np.sum(arrays(along(name, h, kind))[i] * w))
        )
        assert abs(float(found) - expected) <= 1e-6 * (1 + abs(expected))


def test_a_singular_matrix_has_a_derivative_at_depth_one():
    W = torch.tensor(np.diag([2.0, 0.0, 0.0]), requires_grad=True)
    Z = torch.ones((3, 3), dtype=torch.float64)
    endtoend.gradient(W, Z * W, 1).sum().backward()
    np.testing.assert_allclose(W.grad, 1.0, atol=1e-9)


@pytest.mark.slow
def test_jax_refuses_vectors_of_equal_singular_values():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    W = jax.numpy.eye(2)
    with pytest.raises(ValueError, match="no derivative"):
        jax.grad(lambda W: points.svd(W).u.sum())(W)
    s, u, vt = jax.numpy.ones(2), jax.numpy.eye(2), jax.numpy.eye(2)
    from dlngeom._lib.derivatives import require_separate

    found = jax.jit(jax.grad(lambda u: require_separate(u, u, s, vt)[0].sum()))(u)
    assert np.all(np.isnan(np.asarray(found)))


def test_frames_of_equal_singular_values_are_refused_by_retractions():
    point = points.frames((np.eye(2), np.eye(2)))
    V = tuple(torch.zeros((2, 2), dtype=torch.float64, requires_grad=True) for _ in range(2))
    at = Frames(torch.tensor(point.lam), tuple(torch.tensor(q) for q in point.q))
    for order in (1, 2):
        with pytest.raises(ValueError, match="no derivative"):
            balanced.retraction(at, V, order=order)
