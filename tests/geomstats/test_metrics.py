"""Manifolds and metrics of geomstats against oracles from outside, and what users would do."""

import math
import os
import subprocess
import sys

import geomstats.backend as gs
import numpy as np
import pytest
import scipy.linalg
from geomstats.distributions.brownian_motion import BrownianMotion
from geomstats.geometry.full_rank_matrices import FullRankMatrices
from geomstats.geometry.general_linear import GeneralLinear
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices
from scipy.stats import ks_2samp

from dlngeom import endtoend
from dlngeom.geodesics import GeodesicError
from dlngeom.geomstats import (
    BalancedGroupAction,
    BalancedMatrices,
    BalancedMetric,
    DeepLinearCoordinates,
    DeepLinearMetric,
    EndToEndMatrices,
    GaugeGroup,
)
from dlngeom.laws import radial_law
from tests.helpers.parameters import slow

ALPHA = 1e-5


def spd(rng, *batch, d=3):
    X = rng.standard_normal((*batch, d, d))
    return np.eye(d) + 0.2 * (X @ X.mT)


def symmetric(rng, *batch, d=3):
    X = rng.standard_normal((*batch, d, d))
    return 0.3 * (X + X.mT)


@pytest.fixture
def wasserstein():
    return SPDMatrices(3).equip_with_metric(SPDBuresWassersteinMetric).metric


@pytest.fixture
def two_layers():
    return SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=2).metric


def test_two_layers_are_twice_bures_and_wasserstein(wasserstein, two_layers, rng):
    P, Q, X, Y = spd(rng, 5), spd(rng, 5), symmetric(rng, 5), symmetric(rng, 5)
    np.testing.assert_allclose(
        two_layers.inner_product(X, Y, P), 2 * wasserstein.inner_product(X, Y, P), rtol=1e-13
    )
    np.testing.assert_allclose(
        two_layers.squared_dist(P, Q), 2 * wasserstein.squared_dist(P, Q), rtol=1e-10
    )
    for name, arguments in (("exp", (X, P)), ("log", (Q, P))):
        ours, theirs = (getattr(m, name)(*arguments) for m in (two_layers, wasserstein))
        np.testing.assert_allclose(ours, theirs, atol=1e-11)
    times = np.linspace(0, 1, 4)
    paths = (m.geodesic(P[0], end_point=Q[0])(times) for m in (two_layers, wasserstein))
    np.testing.assert_allclose(*paths, atol=1e-11)
    np.testing.assert_allclose(
        two_layers.injectivity_radius(P), math.sqrt(2) * wasserstein.injectivity_radius(P)
    )


def test_closed_form_of_two_layers_by_the_integrator(two_layers, rng):
    P, Q = spd(rng, 5), spd(rng, 5)
    others = [SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=2).metric for _ in "ab"]
    others[1]._roots = lambda *_: None
    for call in ("log", "squared_dist", "dist"):
        ours, theirs = (getattr(metric, call)(P, Q) for metric in others)
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)
        together = getattr(two_layers, call)(P[0], Q)
        loop = [getattr(two_layers, call)(P[0], q) for q in Q]
        np.testing.assert_allclose(together, loop, rtol=1e-13, atol=1e-13)
    near = P + 1e-8 * symmetric(rng, 5)  # Rounding errors of P are 1e-8 of it.
    np.testing.assert_allclose(two_layers.dist(P, near), two_layers.norm(near - P, P), rtol=1e-6)
    with pytest.raises(ValueError, match="not positive definite"):
        two_layers.dist(P[0], -Q[0])


METHODS = {
    "inner_product": lambda m, N, Z: m.inner_product(Z, Z, N),
    "norm": lambda m, N, Z: m.norm(Z, N),
    "inner_coproduct": lambda m, N, Z: m.inner_coproduct(Z, Z, N),
    "riemannian_gradient": lambda m, N, Z: m.riemannian_gradient(Z, N),
    "exp": lambda m, N, Z: m.exp(0.1 * Z, N),
    "log from": lambda m, N, Z: m.log(np.eye(3), N),
    "log to": lambda m, N, Z: m.log(N, np.eye(3)),
    "dist from": lambda m, N, Z: m.dist(N, np.eye(3)),
    "dist to": lambda m, N, Z: m.dist(np.eye(3), N),
    "squared_dist": lambda m, N, Z: m.squared_dist(np.eye(3), N),
    "dist_pairwise": lambda m, N, Z: m.dist_pairwise(np.stack([np.eye(3), N])),
    "geodesic": lambda m, N, Z: m.geodesic(np.eye(3), end_point=N)(0.5),
    "geodesic from": lambda m, N, Z: m.geodesic(N, initial_tangent_vec=0.1 * Z)(0.5),
    "parallel_transport": lambda m, N, Z: m.parallel_transport(Z, N, direction=0.1 * Z),
    "transport to": lambda m, N, Z: m.parallel_transport(Z, np.eye(3), end_point=N),
    "christoffel_operator": lambda m, N, Z: m.christoffel_operator(Z, Z, N),
    "curvature": lambda m, N, Z: m.curvature(Z, Z, Z, N),
    "injectivity_radius": lambda m, N, Z: m.injectivity_radius(N),
}


@pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
@pytest.mark.parametrize("call", METHODS)
def test_points_that_are_not_symmetric_or_not_positive_are_refused(call, depth, rng):
    if (depth == math.inf and call == "curvature") or (depth > 2 and call == "injectivity_radius"):
        return  # Not known there.
    metric = SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=depth).metric
    N, Z = np.diag([1.0, 2.0, 3.0]), symmetric(rng)
    METHODS[call](metric, N, Z)
    METHODS[call](metric, N + 1e-10 * np.eye(3, k=1), Z)  # Rounding is no fault.
    with pytest.raises(ValueError, match=r"not symmetric: off by 0\.3, symmetrise with \(N \+ N"):
        METHODS[call](metric, N + 0.3 * np.eye(3, k=1), Z)
    with pytest.raises(ValueError, match="smallest eigenvalue -1: not positive definite"):
        METHODS[call](metric, np.diag([-1.0, 2.0, 3.0]), Z)


def test_symmetry_is_held_to_the_precision_of_the_data(rng):
    metric = SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=3).metric
    N = spd(rng, 2).astype(np.float32)
    N[1, 0, 1] += 1e-5
    assert np.all(metric.dist(np.eye(3, dtype=np.float32), N) > 0)
    N[1, 0, 1] += 0.25
    with pytest.raises(ValueError, match=r"off by 0\.25, symmetrise with \(N \+ N\.mT\)/2"):
        metric.dist(np.eye(3, dtype=np.float32), N)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("call", [x for x in METHODS if "dist" not in x and "to" not in x])
def test_skew_parts_of_vectors_are_ignored_at_symmetric_points(call, depth, rng):
    metric = SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=depth).metric
    P, Z = spd(rng), symmetric(rng)
    if depth > 2 and call == "injectivity_radius":
        return
    skew = rng.standard_normal((3, 3))
    found, expected = (METHODS[call](metric, P, x) for x in (Z + skew - skew.T, Z))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_two_layers_transport_like_bures_and_wasserstein(wasserstein, two_layers, rng):
    """Theirs is a Runge-Kutta method, of fourth order in its steps."""
    P, Q, X = spd(rng), spd(rng), symmetric(rng)
    ours = two_layers.parallel_transport(X, P, end_point=Q)
    theirs = (
        wasserstein.parallel_transport(X, P, end_point=Q, n_steps=n) for n in (5, 10, 20, 100)
    )
    gaps = [np.max(np.abs(x - ours)) for x in theirs]
    assert gaps[-1] < 1e-9
    slope = np.polyfit(np.log([5, 10, 20]), np.log(gaps[:3]), 1)[0]
    assert -4.5 < slope < -3.5


def test_one_layer_is_flat(rng):
    ours, flat = GeneralLinear(3).equip_with_metric(DeepLinearMetric, depth=1), GeneralLinear(3)
    W, X, Y = np.eye(3) + 0.2 * rng.standard_normal((3, 3)), *rng.standard_normal((2, 3, 3))
    for name, arguments in (
        ("inner_product", (X, Y, W)), ("exp", (0.1 * X, W)), ("log", (W + 0.1 * X, W)),
        ("squared_dist", (W, W + 0.1 * X)),
    ):  # fmt: skip
        np.testing.assert_allclose(
            getattr(ours.metric, name)(*arguments), getattr(flat.metric, name)(*arguments),
            atol=1e-12,
        )  # fmt: skip
    moved = ours.metric.parallel_transport(X, W, direction=0.1 * Y)
    np.testing.assert_allclose(moved, X, atol=1e-12)
    np.testing.assert_allclose(ours.metric.christoffels(W), 0, atol=1e-14)
    np.testing.assert_allclose(
        ours.metric.injectivity_radius(W), np.linalg.svd(W, compute_uv=False)[-1]
    )


def test_infinite_depth_is_bogoliubov_kubo_mori_at_the_square(rng):
    metric = SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=math.inf).metric
    P, Z, h = spd(rng), symmetric(rng), 1e-3
    square = P @ P
    logs = [scipy.linalg.logm(square + k * h * Z) for k in (1, -1, 2, -2)]
    derivative = (8 * (logs[0] - logs[1]) - (logs[2] - logs[3])) / (12 * h)
    np.testing.assert_allclose(metric.inner_product(Z, Z, P), np.sum(Z * derivative), rtol=1e-9)


SECTIONAL = """
import numpy as np, geomstats.backend as gs
from geomstats.geometry.base import VectorSpace
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices
from dlngeom.geomstats import DeepLinearMetric

BASIS = gs.array([[[1.0, 0], [0, 0]], [[0, 1.0], [1.0, 0]], [[0, 0], [0, 1.0]]])
wasserstein = SPDMatrices(2).equip_with_metric(SPDBuresWassersteinMetric).metric

class Entries(RiemannianMetric):
    def metric_matrix(self, base_point):
        point = gs.einsum("...i,ijk->...jk", base_point, BASIS)
        return gs.stack([gs.stack([
            wasserstein.inner_product(a, b, point) for a in BASIS]) for b in BASIS])

theirs = Entries(Euclidean(3, equip=False))
ours = SPDMatrices(2).equip_with_metric(DeepLinearMetric, depth=2).metric
x, a, b = gs.array([1.3, 0.2, 0.7]), gs.array([0.3, -0.5, 0.2]), gs.array([0.1, 0.4, -0.6])
P, A, B = (gs.einsum("i,ijk->jk", v, BASIS) for v in (x, a, b))
print(float(theirs.sectional_curvature(a, b, x)), float(ours.sectional_curvature(A, B, P)))
"""


def in_backend(backend, script):
    environment = {**os.environ, "GEOMSTATS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_curvature_of_two_layers_by_automatic_differentiation_of_geomstats():
    """Their curvature of their metric, by nested derivatives, which detach on pytorch."""
    theirs, ours = map(float, in_backend("autograd", SECTIONAL).split())
    assert abs(theirs) > 0.01
    np.testing.assert_allclose(ours, theirs / 2, rtol=1e-9)


ROUND_TRIP = """
import geomstats.backend as gs
from dlngeom.geomstats import BalancedMatrices, EndToEndMatrices
gs.random.seed(3)
space = EndToEndMatrices(3, 2, 2, 3)
x = space.projection(gs.array([[1.0, 0.1], [0.0, 0.8], [0.2, 0.0]]))
v = 0.1 * space.random_tangent_vec(x)
y = space.metric.exp(v, x)
assert gs.allclose(space.metric.log(y, x), v, atol=1e-9)
assert type(y) is type(x) and y.dtype == x.dtype, (type(y), y.dtype)
above = BalancedMatrices(2, 3)
above.equip_with_group_action()
base = above.equip_with_quotient()
p = above.random_point(2)
assert gs.all(above.belongs(p, atol=1e-9)) and gs.all(base.belongs(above.end_to_end(p)))
print("fine", gs.__name__)
"""


@pytest.mark.parametrize("backend", [slow("numpy"), slow("pytorch"), slow("autograd")])
def test_backends(backend):
    assert in_backend(backend, ROUND_TRIP).strip() == f"fine geomstats.{backend}"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["balanced or quotient", "not (balanced or quotient)"])
def test_conformance_on_pytorch(part):
    environment = {**os.environ, "GEOMSTATS_BACKEND": "pytorch", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "slow", "-k", part, "-p",
         "no:cacheprovider", os.path.join(os.path.dirname(__file__), "test_conformance.py")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_brownian_motion_of_geomstats_agrees_in_law(rng):
    """Its generator is half of the Laplacian, ``beta=2`` here, and its paths end a step early."""
    space = DeepLinearCoordinates(2, 3)
    chains, steps, dt = 1500, 100, 5e-4
    start = np.diag([1.5, 0.9])
    gs.random.seed(11)
    points = np.broadcast_to(space.to_vector(start), (chains, 4))
    motion = BrownianMotion(space).sample_path((steps + 1) * dt, steps + 1, points)
    sigma = np.linalg.svd(space.to_matrix(motion[-1]), compute_uv=False)
    for law_time, agrees in ((steps * dt, True), (2 * steps * dt, False)):
        law = radial_law(np.array([1.5, 0.9]), (2, 2), 3, law_time, 2.0, 20_000, rng)
        for k in range(2):
            p = ks_2samp(sigma[:, k] ** (1 / 3), law[:, k]).pvalue
            assert (p > ALPHA / 2) == agrees, p


def test_riemannian_gradient_and_coproduct(rng):
    space = EndToEndMatrices(4, 3, 3, 3)
    W, G, H = rng.standard_normal((3, 4, 3))
    gradient = space.riemannian_gradient(G, W)
    np.testing.assert_allclose(gradient, endtoend.gradient(W, G, 3), atol=1e-13)
    np.testing.assert_allclose(
        space.metric.inner_product(gradient, H, W), np.sum(G * H), rtol=1e-12
    )
    np.testing.assert_allclose(
        space.metric.inner_coproduct(H, G, W), np.sum(H * gradient), rtol=1e-12
    )


def test_large_batches_are_worked_on_in_groups(rng):
    space = EndToEndMatrices(100, 100, 100, 3)
    W, X, Y = rng.standard_normal((3, 12, 100, 100))
    products = space.metric.inner_product(X, Y, W)
    for i in (0, 9, 10, 11):
        np.testing.assert_allclose(products[i], space.metric.inner_product(X[i], Y[i], W[i]))
    W[11, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"11, 3, 4"):
        space.metric.inner_product(X, Y, W)


def test_random_unit_vectors_are_tangent_and_of_length_one(rng):
    for space in (EndToEndMatrices(4, 3, 2, 3), BalancedMatrices(3, 2, 2)):
        x = space.random_point()
        vectors = space.metric.random_unit_tangent_vec(x, 5)
        assert np.all(space.is_tangent(vectors, x, atol=1e-12))
        np.testing.assert_allclose(space.metric.norm(vectors, x), 1, rtol=1e-12)


def test_draws_follow_the_seed_of_geomstats():
    space, draws = EndToEndMatrices(3, 3, 3, 2), []
    for seed in (5, 5, 6):
        gs.random.seed(seed)
        draws.append(space.random_point(2))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.allclose(draws[0], draws[2])


def test_quotient_is_equipped_by_default():
    total = BalancedMatrices(3, 2)
    base = total.equip_with_group_action().equip_with_quotient()
    assert isinstance(total.group_action, BalancedGroupAction)
    assert isinstance(base, EndToEndMatrices)
    assert base is total.quotient
    group = GaugeGroup(3, 2)
    turn, point = group.random_point(), total.random_point()
    assert group.belongs(turn, atol=1e-12)
    moved = total.group_action(turn, point)
    assert total.belongs(moved, atol=1e-12)
    np.testing.assert_allclose(total.end_to_end(moved), total.end_to_end(point), atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DeepLinearMetric(Hypersphere(2), 2), "not defined on Hypersphere"),
        (lambda: EndToEndMatrices(3, 3, 4, 2), "rank=4"),
        (lambda: EndToEndMatrices(3, 2, 2, math.inf), "depth=inf needs square"),
        (lambda: EndToEndMatrices(3, 3, 3, 0), "depth=0"),
        (lambda: DeepLinearMetric(FullRankMatrices(3, 2), depth=1.5), "depth=1.5"),
        (lambda: BalancedMetric(Hypersphere(2)), "not defined on Hypersphere"),
        (lambda: space().metric.inner_product(*3 * [np.zeros((3, 3))]), "smallest singular value"),
        (lambda: space().metric.exp(np.eye(3), np.eye(2)), r"must be \(\.\.\., 3, 3\)"),
        (lambda: space().metric.exp(np.eye(3)[None], np.ones((2, 3, 3)) * np.nan), "nan"),
        (lambda: space().metric.parallel_transport(np.eye(3), np.eye(3)), "one of the two"),
        (lambda: EndToEndMatrices(3, 3, 2, 2).to_tangent(np.eye(3)), "base_point=None"),
        (lambda: BalancedMatrices(2, 2).to_tangent(*2 * [np.ones((2, 2, 2))]), "rank"),
        (lambda: BalancedMatrices(2, 2).frames(np.ones((3, 2, 2))), "must be"),
        (lambda: spd_space().metric.inner_product(*3 * [-np.eye(2)]), "smallest eigenvalue -1"),
    ],
)  # fmt: skip
def test_metrics_and_spaces_refuse_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def space():
    return EndToEndMatrices(3, 3, 3, 2)


def spd_space():
    return SPDMatrices(2).equip_with_metric(DeepLinearMetric, depth=2)


def test_what_is_not_known_says_so():
    with pytest.raises(NotImplementedError, match="injectivity radius"):
        space().metric.injectivity_radius(np.eye(3))
    with pytest.raises(NotImplementedError, match="rank 2"):
        EndToEndMatrices(3, 3, 2, 2).metric.metric_matrix(np.diag([1.0, 1.0, 0.0]))
    with pytest.raises(GeodesicError, match="determinants differ in sign"):
        space().metric.log(np.diag([1.0, 1.0, -1.0]), np.eye(3))


def test_belongs_refuses_without_an_error():
    space = EndToEndMatrices(3, 3, 2, 2)
    points = np.stack(
        [np.diag([1.0, 1, 0]), np.diag([1.0, 0, 0]), np.eye(3), np.full((3, 3), np.nan)]
    )
    np.testing.assert_array_equal(space.belongs(points), [True, False, False, False])
    above = BalancedMatrices(2, 2)
    layers = np.stack([np.ones((2, 2, 2)), np.full((2, 2, 2), np.inf), np.stack([np.eye(2)] * 2)])
    np.testing.assert_array_equal(above.belongs(layers), [False, False, True])
