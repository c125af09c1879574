"""The Gibbs law in the root chart: its value, its derivatives at ties and zeros, its refusals."""

import math

import numpy as np
import pytest

from dlngeom import endtoend, svd, thermodynamics
from dlngeom.thermodynamics import from_root, log_gibbs_density, to_root
from tests.helpers import reference as ref
from tests.helpers.namespaces import JAX_IS_SLOW, Namespace
from tests.helpers.parameters import slow

# An exact tie, a near one, a zero, zeros of a rectangular matrix, a small value beside a large one.
SPECTRA = [(1.4, 0.8), (1.1, 1.1), (1.1, 1.1 * (1 + 1e-11)), (1.3, 0.0), (1.3, 1e-9)]
SHAPES = [(2, 2), (3, 2), (2, 4)]


def root(shape, spectrum, rng):
    left, right = (ref.orthonormal(d, len(spectrum), rng) for d in shape)
    return (left * np.asarray(spectrum)) @ right.T


def widths_of(shape, depth, inner=None):
    return (shape[1], *[inner or min(shape)] * (depth - 1), shape[0])


def squares(W):
    return ((W - 0.3) ** 2).sum(axis=(-2, -1)) / 2


def central_difference(function, h=2e-3):
    one, two, four = ((function(x) - function(-x)) / (2 * x) for x in (h, h / 2, h / 4))
    return (one - 20 * two + 64 * four) / 45


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_roots_and_matrices_are_inverse(shape, depth, rng):
    for spectrum in SPECTRA:
        X = root(shape, spectrum, rng)
        W = from_root(X, depth)
        u, s, vt = np.linalg.svd(X, full_matrices=False)
        ref.close(W, (u * s**depth) @ vt, 1e-14)
        if spectrum[-1] == 0 or spectrum[-1] > 1e-3:
            # A value of rounding has a root that is not.
            ref.close(to_root(W, depth), X, 1e-11 if spectrum[-1] else 1e-15 ** (0.9 / depth))


@pytest.mark.parametrize("inner", [None, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_density_is_energy_and_entropy(shape, depth, inner, rng):
    widths = widths_of(shape, depth, inner)
    for spectrum in SPECTRA[:3]:
        X = root(shape, spectrum, rng)
        W = from_root(X, depth)
        expected = (-1.7 * squares(W) + thermodynamics.entropy(W, widths)) / 0.6
        ref.close(log_gibbs_density(X, squares, widths, 1.7, 0.6), expected, 1e-13)


def jacobian(function, X, h=1e-5):
    """Central differences of all entries."""
    steps = h * np.eye(X.size).reshape(-1, *X.shape)
    return np.stack([(function(X + e) - function(X - e)).ravel() / (2 * h) for e in steps])


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_volume_is_lebesgue_measure_of_the_root(shape, depth, rng):
    def log_volume(X):
        change = np.linalg.slogdet(jacobian(lambda Y: from_root(Y, depth), X))[1]
        return change + endtoend.log_volume_density(from_root(X, depth), depth)

    found = [log_volume(root(shape, spectrum, rng)) for spectrum in SPECTRA[:2]]
    assert found[0] == pytest.approx(found[1], abs=1e-7)


@pytest.mark.parametrize("size", [1, 3, 10**4])
def test_long_sums_lose_nothing(size):
    X = np.diag([1 + 0.1 / size, 1.0, 1 - 1e-12])
    widths = (3,) * (size + 1)
    expected = thermodynamics.entropy(from_root(X, size), widths)
    found = log_gibbs_density(X, lambda W: 0.0, widths, 1.0)
    ref.close(found, expected, 1e-11)


def test_where_the_density_vanishes():
    def zero(W):
        return 0 * W[..., 0, 0]

    X = np.stack([np.diag([1.0, 1, 0]), np.diag([1.0, 0, 0]), np.zeros((3, 3))])
    square, wide = (3, 3, 3), (3, 4, 3)
    assert np.isfinite(log_gibbs_density(X, zero, square, 1.0)).tolist() == [True, False, False]
    assert np.all(log_gibbs_density(X, zero, wide, 1.0) == -math.inf)
    assert np.all(np.isfinite(log_gibbs_density(X, zero, (3, 3), 1.0)))


def along(depth, widths, function, X, change):
    """Derivative of a function of the root along a change, by differences of even order."""
    return central_difference(lambda t: float(function(X + t * change, depth, widths)))


WEIGHTS = np.random.default_rng(4).standard_normal((4, 4))
FUNCTIONS = {
    "density": lambda X, depth, widths: log_gibbs_density(X, squares, widths, 1.7, 0.6),
    "matrix": lambda X, depth, widths: (from_root(X, depth) ** 2).sum() + from_root(X, depth)[0, 1],
}
EVEN_ZERO = 2e-2  # Differences of a function that is differentiable only once.


@pytest.mark.parametrize("depth", [2, 3, slow(1), slow(4), slow(5)])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_has_the_derivative_at_ties_and_zeros(name, shape, depth, rng):
    torch = pytest.importorskip("torch")
    widths, function = widths_of(shape, depth), FUNCTIONS[name]
    for spectrum in SPECTRA:
        X, change = root(shape, spectrum, rng), rng.standard_normal(shape)
        at = torch.tensor(X, requires_grad=True)
        function(at, depth, widths).backward()
        expected = along(depth, widths, function, X, change)
        kink = depth == 2 and spectrum[-1] < 1e-3
        assert float(np.sum(at.grad.numpy() * change)) == pytest.approx(
            expected, rel=EVEN_ZERO if kink else 1e-7, abs=EVEN_ZERO if kink else 1e-7
        )


@pytest.mark.parametrize("depth", [2, slow(1), slow(3), slow(4)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_jax_has_the_same_derivatives_compiled(name, depth, rng):
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    xp = Namespace("jax")
    shape, function = (3, 2), FUNCTIONS[name]
    widths = widths_of(shape, depth)
    found = jax.jit(jax.value_and_grad(lambda X: function(X, depth, widths)))
    for spectrum in SPECTRA:
        X = root(shape, spectrum, rng)
        value, slope = found(xp.array(X))
        at = torch.tensor(X, requires_grad=True)
        function(at, depth, widths).backward()
        ref.close(np.asarray(value), function(X, depth, widths), 1e-12)
        ref.close(np.asarray(slope), at.grad.numpy(), 1e-9)


SECOND = {
    "matrix": (lambda X: (from_root(X, 2) ** 3).sum(), True),
    "polynomial": (lambda X: (from_root(X, 3) ** 3).sum(), False),
    "density": (lambda X: log_gibbs_density(X, squares, (3, 3, 3), 1.7), True),
}


@pytest.mark.parametrize("name", ["density", slow("matrix"), slow("polynomial")])
def test_second_derivatives_are_right_or_refused(name, rng):
    torch = pytest.importorskip("torch")
    change = rng.standard_normal((3, 3))
    function, refused = SECOND[name]

    def slope(X):
        at = torch.tensor(X, requires_grad=True)
        (found,) = torch.autograd.grad(function(at), at, create_graph=True)
        return at, (found * torch.tensor(change)).sum()

    for spectrum in [(1.5, 1.2, 0.7), (1.5, 1.5, 0.7), (1.5, 1.5 * (1 - 1e-12), 0.7)]:
        X = root((3, 3), spectrum, rng)
        at, value = slope(X)
        (found,) = torch.autograd.grad(value, at)
        expected = central_difference(lambda t, X=X: float(slope(X + t * change)[1].detach()))
        assert float((found * torch.tensor(change)).sum()) == pytest.approx(expected, rel=1e-6)
    if refused:
        with pytest.raises(ValueError, match="no derivative"):
            slope(np.diag([1.0, 0.5, 0.0]))


@pytest.mark.parametrize("xp", JAX_IS_SLOW, indirect=True)
def test_results_keep_library_and_dtype_and_batches(xp, rng):
    X = np.stack([root((3, 2), spectrum, rng) for spectrum in SPECTRA])
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        given = xp.array(X.astype(dtype))
        for depth in (2, 3):
            widths = (2, 2, 3) if depth == 2 else (2, 2, 2, 3)
            plain = X.astype(dtype).astype(float)
            pairs = [
                (from_root(given, depth), from_root(plain, depth)),
                (to_root(given, depth), to_root(plain, depth)),
                (
                    log_gibbs_density(given, _squares_of(xp), widths, 1.7),
                    log_gibbs_density(plain, squares, widths, 1.7),
                ),
            ]
            for found, expected in pairs:
                assert xp.dtypes(found) == {dtype}
                gap = 1 if depth == 2 or dtype == "float64" else 30
                ref.close(xp.numpy(found), expected, gap * tolerance ** (1 / depth))


def _squares_of(xp):
    return lambda W: xp.module.sum((W - 0.3) ** 2, axis=(-2, -1)) / 2


def test_refusals_say_what_to_give():
    X, widths = np.eye(2), (2, 2, 2)
    errors = {
        "X is 2 x 2: widths": lambda: log_gibbs_density(X, squares, (2, 2, 3), 1.0),
        "leave no matrix of full rank": lambda: log_gibbs_density(X, squares, (2, 1, 2), 1.0),
        "beta=inf: it must be positive and finite": lambda: log_gibbs_density(
            X, squares, widths, math.inf
        ),
        "kappa=0": lambda: log_gibbs_density(X, squares, widths, 1.0, 0),
        "energy returned shape": lambda: log_gibbs_density(X, lambda W: W, widths, 1.0),
        "the result of energy=None": lambda: log_gibbs_density(X, lambda W: None, widths, 1.0),
        "energy=1.0: it must be a function": lambda: log_gibbs_density(X, 1.0, widths, 1.0),
        r"X\[0, 0\] is nan": lambda: from_root(X * np.nan, 2),
        "depth=inf": lambda: from_root(X, math.inf),
        "W is a SVD: it must be a dense matrix": lambda: to_root(svd(X), 2),
    }
    for message, call in errors.items():
        with pytest.raises((TypeError, ValueError), match=message):
            call()


@pytest.mark.parametrize("batch", [(0,), (2, 0)])
def test_empty_batches(batch):
    X = np.zeros((*batch, 2, 2))
    for depth in (1, 2, 3):
        assert from_root(X, depth).shape == to_root(X, depth).shape == X.shape
        assert log_gibbs_density(X, squares, (2,) * (depth + 1), 1.0).shape == batch
