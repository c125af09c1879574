"""Derivatives of torch and jax: what carries one has the right one, at equal values too."""

import numpy as np
import pytest

import dlngeom
from dlngeom import endtoend, flow, geodesics, spectral, thermodynamics
from dlngeom._lib.derivatives import smooth_in
from tests.helpers import reference as ref
from tests.helpers.namespaces import Namespace
from tests.helpers.parameters import slow
from tests.helpers.trees import leaves

torch = pytest.importorskip("torch")
# Checks turn tensors into numbers.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor")
SIZE = 3
WIDTHS = (SIZE,) * 4

FUNCTIONS = {
    "cometric": lambda W, x: endtoend.cometric(W, x["Z"], x["depth"]),
    "gradient": lambda W, x: endtoend.gradient(W, x["Z"], x["depth"]),
    "inverse_cometric": lambda W, x: endtoend.inverse_cometric(W, x["Z"], x["depth"]),
    "inner": lambda W, x: endtoend.inner(W, x["Z"], x["Y"], x["depth"]),
    "hessian": lambda W, x: endtoend.hessian(W, x["Z"], x["Y"], x["Y"], x["depth"]),
    "retraction": lambda W, x: endtoend.retraction(W, x["step"], x["depth"]),
    "retraction 1": lambda W, x: endtoend.retraction(W, x["step"], x["depth"], order=1),
    "transport": lambda W, x: endtoend.transport(W, x["other"], x["Z"], x["depth"]),
    "transport to": lambda W, x: endtoend.transport(x["other"], W, x["Z"], x["depth"]),
    "volume": lambda W, x: endtoend.log_volume_density(W, x["depth"]),
    "christoffel": lambda W, x: endtoend.christoffel(W, x["Z"], x["Y"], x["depth"]),
    "curvature": lambda W, x: endtoend.curvature(W, x["Z"], x["Y"], x["Z"], x["depth"]),
    "entropy": lambda W, x: thermodynamics.entropy(W, WIDTHS),
    "entropy_egrad": lambda W, x: thermodynamics.entropy_egrad(W, WIDTHS),
    "entropy_gradient": lambda W, x: thermodynamics.entropy_gradient(W, WIDTHS),
    "entropy_ehess": lambda W, x: thermodynamics.entropy_ehess(W, x["Z"], WIDTHS),
    "free_energy_gradient": lambda W, x: thermodynamics.free_energy_gradient(
        W, x["Z"], WIDTHS, 2.0
    ),
    "free_energy_hessian": lambda W, x: thermodynamics.free_energy_hessian(
        W, x["Z"], x["Y"], x["Y"], WIDTHS, 2.0
    ),
}
FAST = ("gradient", "inner", "volume", "entropy", "entropy_gradient")
DEPTHS = {"fast": (3,), "slow": (1, 2, 5, 20, np.inf)}
CASES = [
    (slow if speed == "slow" or name not in FAST else pytest.param)(name, depth)
    for speed, depths in DEPTHS.items()
    for name in FUNCTIONS
    for depth in depths
    if depth == 3 or not name.startswith(("entropy", "free"))
    if depth <= 3 or name != "curvature"  # Which takes long, and has no infinite depth.
]


def points(rng):
    """Matrices with random singular values, equal ones, nearly equal ones, and the identity."""
    q = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    p = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    near = [[1.5, 1.5 + gap, 0.7] for gap in (0.0, 1e-9, 1e-12)]
    return [
        np.eye(SIZE) + 0.5 * rng.standard_normal((SIZE, SIZE)),
        1.5 * q,
        np.eye(SIZE),
        *((q * np.asarray(s)) @ p for s in near),
    ]


def others(rng, depth):
    Z, Y = rng.standard_normal((2, SIZE, SIZE))
    return {"Z": Z, "Y": Y, "step": 0.1 * Z, "other": np.eye(SIZE) + 0.2 * Y, "depth": depth}


def central_difference(function, h=2e-3):
    """Derivative at zero, of sixth order in ``h``."""
    one, two, four = ((function(x) - function(-x)) / (2 * x) for x in (h, h / 2, h / 4))
    return (one - 20 * two + 64 * four) / 45


def carried(xp, arguments):
    return {k: xp.array(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}


def agree(found, expected, tolerance):
    """Relative to the derivative, or to one where it is small."""
    assert abs(found - expected) <= tolerance * (1 + abs(expected)), (found, expected)


def contracted(value, weights):
    return sum((x * w).sum() for x, w in zip(leaves(value), weights, strict=True))


@pytest.mark.parametrize(("name", "depth"), CASES)
def test_functions_of_a_matrix_in_torch(name, depth, rng):
    plain, function = others(rng, depth), FUNCTIONS[name]
    given = carried(Namespace("torch"), plain)
    for W in points(rng):
        change = rng.standard_normal(W.shape)
        weights = [rng.standard_normal(np.shape(x)) for x in leaves(function(W, plain))]
        expected = central_difference(
            lambda t, W=W, d=change, c=weights: contracted(function(W + t * d, plain), c)
        )
        at = torch.tensor(W, requires_grad=True)
        contracted(function(at, given), [torch.tensor(w) for w in weights]).backward()
        agree(np.sum(at.grad.numpy() * change), expected, 1e-7)


# Compiled as a whole, which takes less than op by op; a few are called one by one as well.
JAX = [slow(x, True) for x in FUNCTIONS if x != "curvature"]
JAX += [slow(x, False) for x in ("cometric", "gradient", "entropy_egrad")]


@pytest.mark.parametrize(("name", "compiled"), JAX)
def test_functions_of_a_matrix_in_jax(name, compiled, rng):
    jax = pytest.importorskip("jax")
    xp = Namespace("jax")
    plain, function = others(rng, 3), FUNCTIONS[name]
    given = carried(xp, plain)
    weights = [rng.standard_normal(np.shape(x)) for x in leaves(function(np.eye(SIZE), plain))]
    gradient = jax.grad(lambda W: contracted(function(W, given), weights))
    gradient = jax.jit(gradient) if compiled else gradient
    for W in points(rng)[1:3]:
        change = rng.standard_normal(W.shape)
        expected = central_difference(
            lambda t, W=W, d=change: contracted(function(W + t * d, plain), weights)
        )
        agree(np.sum(np.asarray(gradient(xp.array(W))) * change), expected, 1e-7)


@pytest.mark.parametrize("function", [endtoend.cometric, endtoend.gradient])
def test_no_derivative_at_a_zero_singular_value(function):
    W = torch.tensor(np.diag([2.0, 1.0, 0.0]), requires_grad=True)
    Z = torch.ones((3, 3), dtype=torch.float64)
    with pytest.raises(ValueError, match="no derivative"):
        function(W, Z, 2)
    with torch.no_grad():
        assert bool(torch.isfinite(function(W, Z, 2)).all())


@pytest.mark.slow
def test_compiled_derivatives_at_a_zero_are_nan():
    jax = pytest.importorskip("jax")
    xp = Namespace("jax")
    Z = xp.array(np.ones((3, 3)))

    def value(W):
        return (endtoend.cometric(W, Z, 2, check_finite=False) ** 2).sum()

    found = jax.jit(jax.grad(value))(xp.array(np.diag([2.0, 1.0, 0.0])))
    assert np.all(np.isnan(np.asarray(found)))
    with pytest.raises(ValueError, match="no derivative"):
        jax.grad(value)(xp.array(np.diag([2.0, 1.0, 0.0])))


@pytest.mark.slow
def test_jax_traces_nearby_matrices_together():
    """The value, and one function of all matrices that its derivative is extrapolated from."""
    jax = pytest.importorskip("jax")
    Namespace("jax")
    calls = []

    @smooth_in("W")
    def squared(W):
        calls.append(W)
        return (W * W).sum((-2, -1))

    found = jax.grad(squared)(jax.numpy.eye(2))
    np.testing.assert_allclose(found, 2 * np.eye(2), atol=1e-10)
    assert len(calls) == 2


def weight_by_layers(a, b, depth):
    """Derivative of the weight in ``a``, layer by layer."""
    p = np.arange(1, depth)
    first, second = 2 * (depth - p) / depth, 2 * (p - 1) / depth
    return float(np.sum(first * np.exp((first - 1) * np.log(a) + second * np.log(b))))


PAIRS = [(2.0, 2.0), (1.0, 1 + 1e-9), (1 + 1e-12, 1.0), (3.0, 2.0), (1e-200, 1.0), (1.0, 1e-200)]


@pytest.mark.parametrize("depth", [2, 3, 5, 40])
@pytest.mark.parametrize(("a", "b"), [*PAIRS, (1.0, 0.3678), (1e-30, 1e-3)])
def test_weights_at_ties_and_extreme_ratios(a, b, depth):
    x = torch.tensor([a], dtype=torch.float64, requires_grad=True)
    spectral.weights(x, torch.tensor([b], dtype=torch.float64), depth).backward()
    ref.close(float(x.grad) / weight_by_layers(a, b, depth), 1.0, 1e-12)


@pytest.mark.parametrize("depth", [2, 3, np.inf])
def test_second_derivatives_of_weights_at_a_tie(depth):
    def first(x):
        a = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        b = torch.tensor(2.0, dtype=torch.float64)
        (found,) = torch.autograd.grad(spectral.weights(a, b, depth), a, create_graph=True)
        return a, found

    a, found = first(2.0)
    (second,) = torch.autograd.grad(found, a)
    expected = central_difference(lambda t: float(first(2.0 + t)[1].detach()), 1e-2)
    agree(float(second), expected, 1e-8)


@pytest.mark.parametrize("depth", [2, slow(1), slow(3)])
def test_distance_has_the_gradient_of_section_13(depth, rng):
    space = dlngeom.DeepLinearNetwork((SIZE,) * (depth + 1))
    W, X = np.eye(SIZE) + 0.1 * rng.standard_normal((SIZE, SIZE)), 1.5 * np.eye(SIZE)
    change, other = rng.standard_normal((2, SIZE, SIZE))
    a, b = (torch.tensor(x, requires_grad=True) for x in (W, X))
    geodesics.dist(space, a, b).backward()
    expected = central_difference(
        lambda t: float(geodesics.dist(space, W + t * change, X + t * other))
    )
    found = np.sum(a.grad.numpy() * change) + np.sum(b.grad.numpy() * other)
    ref.close(found, expected, 1e-7)


def test_distance_of_numbers():
    a, b = (torch.tensor([[x]], dtype=torch.float64, requires_grad=True) for x in (2.0, 1.0))
    geodesics.dist(dlngeom.DeepLinearNetwork((1, 1, 1)), a, b).backward()
    ref.close(float(a.grad), 0.5, 1e-9)


def test_flows_and_geodesics_carry_none(rng):
    space = dlngeom.DeepLinearNetwork((SIZE,) * 3)
    W = torch.tensor(np.eye(SIZE), requires_grad=True)
    X = torch.tensor(np.eye(SIZE) + 0.1 * rng.standard_normal((SIZE, SIZE)), requires_grad=True)
    results = [
        flow.gradient_flow(space, W, lambda W: W, [0.0, 0.1]).points,
        geodesics.exp(space, W, 0.1 * X),
        geodesics.log(space, W, X),
        *geodesics.parallel_transport(space, W, X, 0.1 * X),
    ]
    assert not any(x.requires_grad for x in results)


def test_vectors_of_equal_singular_values_are_refused():
    W = torch.tensor(np.eye(2), requires_grad=True)
    for function, value in [(dlngeom.svd, W), (dlngeom.frames, (W, W))]:
        with pytest.raises(ValueError, match="no derivative"):
            function(value)
    assert dlngeom.svd(W.detach()).s.shape == (2,)
