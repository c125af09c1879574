import math
from itertools import combinations

import mpmath
import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, Frames, endtoend, network, submersion
from dlngeom._lib.stiefel import log_orthogonal_volume, log_sphere_volume, log_stiefel_volume
from dlngeom.thermodynamics import entropy, entropy_gradient
from dlngeom.thermodynamics import entropy_of_singular_values as entropy_of
from tests.helpers import reference as ref
from tests.helpers.namespaces import JAX_IS_SLOW

CASES = [
    ((3, 3), 3),
    ((2, 2, 2), 2),
    ((3, 3, 3, 3), 3),
    ((2, 4, 3), 2),
    ((3, 4, 3, 5), 2),
    ((4, 2, 2, 3, 3), 1),
]


def point_over(widths, rank, rng, **options):
    return ref.random_svd(widths[-1], widths[0], rank, rng, **options)


def log_orbit_volume(point):
    """Volume of the orbit of the inner rotations, from the Gram matrix of their generators."""
    layers, total = ref.balanced_layers(point), 0.0
    rank, fields = len(point.lam), []
    for p, q in enumerate(point.q[1:-1], start=1):
        size = len(q)
        total += log_stiefel_volume(rank, size)
        turned = np.linalg.qr(np.concatenate([q, np.eye(size)], axis=1))[0][:, :size]
        for i, j in combinations(range(size), 2):
            # Rotations of the complement move nothing.
            if i >= rank:
                continue
            A = np.outer(turned[:, i], turned[:, j]) / math.sqrt(2)
            field = [np.zeros_like(x) for x in layers]
            field[p - 1] = (A - A.T) @ layers[p - 1]
            field[p] = -layers[p] @ (A - A.T)
            fields.append(ref.flatten(field))
    if not fields:
        return total
    J = np.stack(fields)
    return total + np.linalg.slogdet(J @ J.T)[1] / 2


@pytest.mark.parametrize(("widths", "rank"), CASES)
@pytest.mark.parametrize("options", [{}, {"tie": True}, {"ratio": 1e-3}])
def test_entropy_is_the_volume_of_the_orbit(widths, rank, options, rng):
    point = ref.random_frames(widths, rank, rng, **options)
    s = point.lam ** (len(widths) - 1)
    ref.close(entropy_of(s, widths), log_orbit_volume(point), 1e-10)


@pytest.mark.parametrize("number", range(50))
def test_entropy_of_random_networks_is_the_volume_of_the_orbit(number):
    rng = np.random.default_rng([20240213, number])
    depth = rng.integers(1, 6)
    rank = rng.integers(1, 5)
    widths = tuple(int(d) for d in rng.integers(rank, 6, depth + 1))
    kinds = [{}, {"tie": True}, {"ratio": 1 - 1e-9}, {"ratio": 1e-2}]
    point = ref.random_frames(widths, rank, rng, **kinds[number % 4])
    value = entropy_of(point.lam**depth, widths)
    assert value == pytest.approx(log_orbit_volume(point), rel=1e-10, abs=1e-10)


def test_volumes_of_small_groups():
    assert log_orthogonal_volume(0) == 0
    assert math.exp(log_orthogonal_volume(1)) == pytest.approx(2)
    assert math.exp(log_orthogonal_volume(2)) == pytest.approx(2 * 2 * math.pi * math.sqrt(2))
    assert math.exp(log_orthogonal_volume(3)) == pytest.approx(2**1.5 * 16 * math.pi**2)
    assert math.exp(log_sphere_volume(3)) == pytest.approx(4 * math.pi)
    # A frame of one vector is a point of the sphere, whose quotient metric is twice as long.
    assert log_stiefel_volume(1, 4) == pytest.approx(log_sphere_volume(4) + 1.5 * math.log(2))


def test_entropy_of_infinite_depth_is_the_limit_up_to_a_constant(rng):
    s = np.stack([ref.spectrum(3, rng), ref.spectrum(3, rng, tie=True)])
    deep = entropy_of(s, (3,) * 100_001)
    limit = entropy_of(s, (3, 3), depth=np.inf)
    assert np.diff(limit) == pytest.approx(np.diff(deep), rel=1e-4)


@pytest.mark.parametrize(("widths", "rank"), CASES)
@pytest.mark.parametrize("options", [{}, {"tie": True}, {"ratio": 1e-2}])
def test_gradient_is_that_of_the_entropy(widths, rank, options, rng):
    W, depth = point_over(widths, rank, rng, **options), len(widths) - 1
    force = entropy_gradient(W, widths)
    Z = ref.random_tangent(W, rng)
    pairing = endtoend.inner(W, force, Z, depth)
    step = 1e-4 * W.s[-1]

    def along(t):
        moved = endtoend.retraction(W, dlngeom.Tangent(*(t * x for x in Z)), depth)
        return entropy_of(moved.s, widths)

    near, far = (along(k * step) - along(-k * step) for k in (1, 2))
    ref.close((8 * near - far) / (12 * step), pairing, 1e-7 * max(1, abs(pairing)))


def test_gradient_of_infinite_depth(rng):
    W = ref.random_svd(3, 3, 3, rng)
    Z, step = ref.random_tangent(W, rng), 1e-4

    def along(t):
        moved = endtoend.retraction(W, dlngeom.Tangent(*(t * x for x in Z)), np.inf)
        return entropy_of(moved.s, (3, 3), depth=np.inf)

    near, far = (along(k * step) - along(-k * step) for k in (1, 2))
    pairing = endtoend.inner(W, entropy_gradient(W, (3, 3), depth=np.inf), Z, np.inf)
    ref.close((8 * near - far) / (12 * step), pairing, 1e-8)


SLOPES = [(widths, rank, None) for widths, rank in CASES[1:]] + [((3, 3), 3, np.inf)]


@pytest.mark.parametrize(("widths", "rank", "depth"), SLOPES)
@pytest.mark.parametrize("options", [{}, {"tie": True}, {"ratio": 1 - 1e-9}])
def test_remainder_of_the_gradient_is_of_second_order(widths, rank, depth, options, rng):
    W, number = point_over(widths, rank, rng, **options), depth or len(widths) - 1
    Z = ref.random_tangent(W, rng)
    slope = endtoend.inner(W, entropy_gradient(W, widths, depth=depth), Z, number)
    steps = np.geomspace(1e-4, 1e-2, 8)

    def remainder(t, factor):
        moved = endtoend.retraction(W, dlngeom.Tangent(*(t * x for x in Z)), number)
        change = entropy_of(moved.s, widths, depth=depth) - entropy_of(W.s, widths, depth=depth)
        return abs(change - factor * t * slope)

    assert ref.slope(steps, [remainder(t, 1.0) for t in steps]) == pytest.approx(2, abs=0.1)
    wrong = ref.slope(steps, [remainder(t, 1.1) for t in steps])
    assert wrong == pytest.approx(1, abs=0.3)


def exact(s, widths, depth):
    """Entropy and diagonal of its gradient in 60 digits, by the quotients of differences."""
    r, inner = len(s), widths[1:-1]
    with mpmath.workdps(60):
        s = [mpmath.mpf(float(x)) for x in s]
        part = mpmath.mpf(0) if depth == np.inf else mpmath.mpf(1) / depth
        free = part * sum(d - r for d in inner)
        value = free * sum(map(mpmath.log, s)) + sum(log_stiefel_volume(r, d) for d in inner)
        slopes = [free] * r
        for k, j in combinations(range(r), 2):
            a, b = s[k], s[j]
            if a == b:
                value += mpmath.log((part or 1) ** -1 * a ** (2 - 2 * part)) / 2
                slopes[k] += (1 - part) / 2
                slopes[j] += (1 - part) / 2
                continue
            v = mpmath.log(a / b)
            below = 2 * v if part == 0 else a ** (2 * part) - b ** (2 * part)
            value += mpmath.log((a**2 - b**2) / below) / 2
            first = 1 / (2 * v) if part == 0 else part * a ** (2 * part) / below
            second = 1 / (2 * v) if part == 0 else part * b ** (2 * part) / below
            slopes[k] += a**2 / (a**2 - b**2) - first
            slopes[j] += second - b**2 / (a**2 - b**2)
        scale = 1 if part == 0 else 1 / part
        force = [scale * a ** (1 - 2 * part) * x for a, x in zip(s, slopes, strict=True)]
        return float(value), np.array([float(x) for x in force])


NETWORKS = [
    ((3, 3), np.inf),
    ((3, 3, 3), 2),
    ((3, 4, 3, 5), 3),
    ((4, 3, 3, 3, 3, 3, 5, 3), 7),
    ((3,) * 101, 100),
]


@pytest.mark.parametrize(("widths", "depth"), NETWORKS)
@pytest.mark.parametrize("scale", [1.0, 1e-100])
def test_entropy_near_ties(widths, depth, scale):
    """Gaps from none over 1e-116 to 1: neither a jump nor a loss of digits."""
    infinite = {"depth": np.inf} if depth == np.inf else {}
    for gap in (0.0, 1e-16, 1e-14, 1e-12, 1e-8, 1e-4, 1.0):
        for third in (0.4, 1.3 * (1 - 2 * gap), 1.3e-100):
            s = np.sort(scale * np.abs([1.3 * (1 + 3 * gap), 1.3, third]))[::-1].copy()
            value, force = exact(s, widths, depth)
            # A volume near one has a logarithm near zero, of terms that are not.
            size = 1 + np.max(np.abs(np.log(s))) * len(widths)
            assert entropy_of(s, widths, **infinite) == pytest.approx(
                value, rel=1e-13, abs=1e-15 * size
            )
            W = SVD(np.eye(widths[-1], 3), s, np.eye(3, widths[0]))
            found = np.diag(entropy_gradient(W, widths, **infinite).M)
            assert found == pytest.approx(force, rel=1e-13, abs=1e-15 * np.max(force))


CURVED = [
    ((2, 2), 1),
    ((2, 2, 2), 2),
    ((3, 3, 3), 2),
    ((2, 4, 3), 2),
    ((1, 3, 1), 1),
    ((3, 3, 2, 3), 1),
    ((2, 3, 2, 2), 2),
]


@pytest.mark.parametrize(("widths", "rank"), CURVED)
@pytest.mark.parametrize("tie", [False, True])
def test_the_force_upstairs_is_minus_the_mean_curvature(widths, rank, tie, rng):
    point = ref.random_frames(widths, rank, rng, tie=tie)
    s = point.lam ** (len(widths) - 1)
    W = SVD(point.q[-1], s, point.q[0].T)
    egrad = dlngeom.dense(dlngeom.thermodynamics.entropy_egrad(W, widths))
    lifted = ref.flatten(network.lifted_gradient(ref.balanced_layers(point), egrad))
    space = dlngeom.DeepLinearNetwork(widths, rank)
    curvature = ref.flatten(submersion.mean_curvature(space, Frames(*point)))
    assert curvature == pytest.approx(-lifted, abs=1e-7)
    if space.dim_orbit:
        assert np.max(np.abs(lifted)) > 0.01


def literal_force(lam, depth):
    """(12.8), which has no limit at repeated singular values."""
    out = []
    for k, x in enumerate(lam):
        others = np.delete(lam, k)
        pole = depth * x ** (2 * depth - 1) / (x ** (2 * depth) - others ** (2 * depth))
        out.append(np.sum(pole - x / (x**2 - others**2)) * x ** (depth - 1))
    return np.array(out)


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_gradient_is_the_literal_formula(depth):
    lam = np.array([1.4, 0.9, 0.2])
    W = SVD(np.eye(3), lam**depth, np.eye(3))
    force = entropy_gradient(W, (3,) * (depth + 1))
    ref.close(np.diag(force.M), literal_force(lam, depth), 1e-13)
    ref.close(force.M, np.diag(np.diag(force.M)), 0)
    dense = entropy_gradient(np.diag(lam**depth), (3,) * (depth + 1))
    ref.close(np.diag(dense), literal_force(lam, depth), 1e-13)


def test_forces_of_tiny_and_equal_values():
    s = np.array([1.0, 1.0, 1e-200])
    force = entropy_gradient(SVD(np.eye(3), s, np.eye(3)), (3, 3, 3)).M
    assert force[0, 0] == pytest.approx(0.5 + 1.0)
    assert force[2, 2] == pytest.approx(2e-200 * 0.5 * 2, rel=1e-10)


@pytest.mark.parametrize("xp", JAX_IS_SLOW, indirect=True)
def test_entropy_of_batches_in_every_library(xp, rng):
    s = xp.array(ref.spectrum(2, rng, batch=(3,)))
    values = xp.numpy(entropy_of(s, (2, 3, 2)))
    ref.close(values, [entropy_of(np.asarray(x), (2, 3, 2)) for x in xp.numpy(s)], 1e-14)
    W = ref.random_svd(2, 2, 2, rng, batch=(3,))
    force = entropy_gradient(xp.array(W), (2, 3, 2))
    for k in range(3):
        alone = entropy_gradient(SVD(*(x[k] for x in W)), (2, 3, 2))
        ref.close(xp.numpy(force.M)[k], alone.M, 1e-14)


@pytest.mark.parametrize(("widths", "rank"), CASES)
def test_entropy_of_a_matrix_is_that_of_its_singular_values(widths, rank, rng):
    W = point_over(widths, rank, rng, batch=(2, 3))
    value = entropy_of(W.s, widths)
    ref.close(entropy(W, widths), value, 0)
    if rank == min(widths[0], widths[-1]):
        ref.close(entropy(dlngeom.dense(W), widths), value, 1e-12)
    shuffled = SVD(W.u[..., ::-1], W.s[..., ::-1], W.vt[..., ::-1, :])
    ref.close(entropy(shuffled, widths), value, 1e-13)
    assert entropy(SVD(*(x[0, 0] for x in W)), widths) == pytest.approx(value[0, 0], rel=1e-14)


def test_entropy_of_matrices_at_infinite_depth_and_in_every_library(xp, rng):
    W = rng.standard_normal((4, 3, 3))
    s = np.linalg.svd(W, compute_uv=False)
    for widths, depth in (((3, 3), np.inf), ((3, 4, 3), None), ((3, 4, 3), 2)):
        value = entropy_of(s, widths, depth=depth)
        ref.close(xp.numpy(entropy(xp.array(W), widths, depth=depth)), value, 1e-13)


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("widths", [(3, 4, 3), (3, 3)])
def test_automatic_derivatives_near_and_at_ties(library, widths, rng):
    pytest.importorskip(library)
    options = {"depth": np.inf} if widths == (3, 3) else {}
    q = [np.linalg.qr(x)[0] for x in rng.standard_normal((2, 3, 3))]
    for gap in (0.0, 1.2e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-4, 0.4, 1 - 1e-9):
        s = np.array([1.0, 1.0, 1.0 - gap])
        W = SVD(np.eye(3), s, np.eye(3))
        exact = np.diag(dlngeom.thermodynamics.entropy_egrad(W, widths, **options).S)
        found = automatic(library, lambda x: entropy_of(x, widths, **options), s)
        np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-14)
        W = (q[0] * s) @ q[1]
        exact = dlngeom.thermodynamics.entropy_egrad(W, widths, **options)
        found = automatic(library, lambda x: entropy(x, widths, **options), W)
        np.testing.assert_allclose(found, exact, atol=1e-12 * np.max(np.abs(exact)))


def automatic(library, function, x):
    if library == "torch":
        import torch

        x = torch.tensor(x, requires_grad=True)
        function(x).backward()
        return x.grad.numpy()
    import jax

    with jax.enable_x64(True):
        return np.asarray(jax.grad(function)(jax.numpy.asarray(x)))


def test_entropy_refuses_bad_input(rng):
    W = ref.random_svd(3, 2, 2, rng)
    errors = {
        r"s has shape \(2,\): it must be \(..., 3\)": lambda: entropy_of(W.s, (3, 3, 3), 3),
        "rank=2: it must be an integer from 1 to 1": lambda: entropy_of(W.s, (3, 1, 3)),
        r"s\[1\] is -1.0: singular values must be non-negative and descending, sort them": (
            lambda: entropy_of(np.array([1.0, -1.0]), (2, 2))
        ),
        r"s\[1, 0\] is 1.0: singular values must be non-negative and desc": (
            lambda: entropy_of(np.array([[2.0, 1.0], [1.0, 2.0]]), (2, 2, 2))
        ),
        r"a matrix goes to the function of W": lambda: entropy_of(np.eye(2), (2, 2, 2)),
        "s has a smallest singular value 0": lambda: entropy_of(np.array([1.0, 0.0]), (2, 2, 2)),
        r"s has shape \(\)": lambda: entropy_of(np.asarray(1.0), (2, 2)),
        "W is 2 x 2": lambda: entropy(np.eye(2), (3, 2, 2)),
        r"W has shape \(2,\)": lambda: entropy(np.ones(2), (2, 2)),
        "W has a smallest singular value 0": lambda: entropy(np.diag([1.0, 0.0]), (2, 2, 2)),
        "rank=2: it must be an integer from 1 to 1$": lambda: entropy(np.eye(2), (2, 1, 2)),
        "depth=inf with rank 1 and widths=": lambda: entropy(
            SVD(np.eye(2)[:, :1], np.ones(1), np.eye(2)[:1]), (2, 2), depth=np.inf
        ),
        "depth=inf with rank 2 and widths=": lambda: entropy_of(np.ones(2), (3, 3), depth=np.inf),
        r"s\[1\] is nan": lambda: entropy_of(np.array([1.0, np.nan]), (2, 2)),
        "W is 3 x 2": lambda: entropy_gradient(W, (3, 2, 2)),
        "depth=7 with widths": lambda: entropy_of(W.s, (2, 2), depth=7),
        "smallest singular value 0": lambda: entropy_gradient(np.zeros((2, 2)), (2, 2)),
    }
    for message, call in errors.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_constants_of_very_deep_networks():
    """A million equal layers: the constant is a product, not a sum of a million roundings."""
    depth = 10**6
    W = SVD(np.eye(2), np.array([1.0, 1.0]), np.eye(2))
    with mpmath.workdps(40):
        # vol O_2 = 4 sqrt(2) pi, and a pair of equal values gives log(N) / 2.
        orbit = mpmath.log(4 * mpmath.sqrt(2) * mpmath.pi)
        exact = float((depth - 1) * orbit + mpmath.log(depth) / 2)
    assert entropy(W, (2,) * (depth + 1)) == pytest.approx(exact, rel=1e-14)
