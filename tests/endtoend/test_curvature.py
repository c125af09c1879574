"""Connection, curvature and parallel transport against their definitions by differences."""

import math

import numpy as np
import pytest

from dlngeom import SVD, DeepLinearNetwork, Tangent, dense, endtoend, factors, frames, svd
from dlngeom.balanced import curvature as balanced_curvature
from dlngeom.balanced import (
    horizontal_projection,
    integrability_tensor,
    second_fundamental_form,
    tangent_projection,
    vertical_projection,
)
from dlngeom.dln import EndToEndGeometry, InfinitelyDeepNetwork
from dlngeom.endtoend import christoffel, curvature
from dlngeom.endtoend._curvature import christoffel_table
from dlngeom.geodesics import exp, geodesic, log, parallel_transport
from dlngeom.points._covectors import components
from dlngeom.submersion import lift
from tests.helpers.parameters import slow

CASES = [
    (3, 3, 3, 1), (3, 3, 3, 2), (3, 3, 3, 3), (4, 3, 3, 3), (2, 3, 2, 5), (4, 3, 2, 1),
    (4, 3, 2, 2), (3, 4, 2, 3), (3, 3, 3, math.inf),
]  # fmt: skip
FULL = [case for case in CASES if case[2] == min(case[:2])]
NETWORKS = [((3, 3, 3), 3), ((3, 2, 3, 4), 2), ((3, 3, 3, 3), 2), ((2, 2), 2), ((3, 4), 2)]


def space_of(m, n, r, depth):
    return InfinitelyDeepNetwork(m) if depth == math.inf else EndToEndGeometry(m, n, r, depth)


def matrix(m, n, r, rng):
    point = EndToEndGeometry(m, n, r, 1).random_point(rng)
    return SVD(point.u, 1.5 - 0.3 * np.arange(r), point.vt)


def tangent(point, rng, depth=2):
    size = (point.u.shape[0], point.vt.shape[1])
    Z = endtoend.cometric(point, rng.standard_normal(size), depth)
    return Tangent(*(x / np.sqrt(endtoend.inner(point, Z, Z, depth)) for x in Z))


def network(widths, rank, rng, size=1.0):
    space = DeepLinearNetwork(widths, rank)
    point = space.random_point(rng)
    point = point._replace(lam=size * (1.2 - 0.2 * np.arange(rank)))
    vectors = [
        tangent_projection(point, [rng.standard_normal(W.shape) for W in factors(point)])
        for _ in range(4)
    ]
    return space, point, vectors


def layers_along(space, point, V, function, step=1e-3):
    """Derivative of a function of frames along a tangent vector, to fourth order."""

    def at(t):
        return function(space.retraction(point, [t * step * x for x in V]))

    columns = zip(at(1), at(-1), at(2), at(-2), strict=True)
    return [(8 * (a - b) - (c - d)) / (12 * step) for a, b, c, d in columns]


@pytest.mark.parametrize("case", CASES)
def test_christoffel_is_minus_the_acceleration_of_geodesics(case, rng):
    m, n, r, depth = case
    point = matrix(m, n, r, rng)
    Z = tangent(point, rng, depth)
    h = 0.02
    c = [dense(geodesic(space_of(*case), point, Z, t * h)) for t in (-3, -2, -1, 0, 1, 2, 3)]
    weights = np.array([2, -27, 270, -490, 270, -27, 2]) / (180 * h * h)
    acceleration = sum(w * x for w, x in zip(weights, c, strict=True))
    np.testing.assert_allclose(acceleration, -christoffel(point, Z, Z, depth), atol=1e-6)


@pytest.mark.parametrize("case", FULL)
def test_christoffel_is_the_connection_of_the_metric(case, rng):
    """The formula of Koszul, with derivatives of the inner product by differences."""
    m, n, r, depth = case
    W = dense(matrix(m, n, r, rng))
    X, Y, Z = (rng.standard_normal((m, n)) for _ in range(3))

    def derivative(D, A, B, h=1e-3):
        f = [endtoend.inner(W + k * h * D, A, B, depth) for k in (1, -1, 2, -2)]
        return (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h)

    koszul = (derivative(X, Y, Z) + derivative(Y, X, Z) - derivative(Z, X, Y)) / 2
    ours = endtoend.inner(W, christoffel(W, X, Y, depth), Z, depth)
    np.testing.assert_allclose(ours, koszul, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("depth", [2, 3, 7, 1000, math.inf])
def test_christoffel_is_smooth_at_ties(depth):
    """Equal and nearly equal singular values, whose second divided differences have limits."""
    near = christoffel_table(np.array([1.0, 1.0 - 1e-9, 0.3]), depth)
    tie = christoffel_table(np.array([1.0, 1.0, 0.3]), depth)
    np.testing.assert_allclose(near, tie, rtol=1e-8 * max(1, min(depth, 10)))
    # h_{N-2}(1, 1, 1) = N (N - 1) / 2, and the weights are N.
    limit = 0.5 if depth == math.inf else (depth - 1) / (2 * depth)
    np.testing.assert_allclose(tie[0, 1, 0], limit, rtol=1e-12)


@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_second_fundamental_form_is_the_normal_part_of_a_derivative(widths, rank, rng):
    space, point, (X, Y, *_) = network(widths, rank, rng)
    change = layers_along(space, point, X, lambda at: tangent_projection(at, Y))
    normal = [x - y for x, y in zip(change, tangent_projection(point, change), strict=True)]
    for x, y in zip(second_fundamental_form(point, X, Y), normal, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-9)


@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_integrability_tensor_by_its_definition(widths, rank, rng):
    space, point, (X, Y, *_) = network(widths, rank, rng)
    along = horizontal_projection(point, X)
    parts = (
        (horizontal_projection, vertical_projection),
        (vertical_projection, horizontal_projection),
    )
    total = [0, 0, 0]
    for field, kept in parts:
        change = layers_along(space, point, along, lambda at, f=field: f(at, Y))
        total = [a + b for a, b in zip(total, kept(point, change), strict=False)]
    for x, y in zip(integrability_tensor(point, X, Y), total, strict=False):
        np.testing.assert_allclose(x, y, atol=1e-9)


@pytest.mark.parametrize("case", [case for case in FULL if case[3] < math.inf])
def test_curvature_by_derivatives_of_the_connection(case, rng):
    m, n, r, depth = case
    W = dense(matrix(m, n, r, rng))
    X, Y, Z = (rng.standard_normal((m, n)) for _ in range(3))

    def gamma(A, B, at=W):
        return christoffel(at, A, B, depth)

    def derivative(D, A, B, h=1e-3):
        g = [gamma(A, B, W + k * h * D) for k in (1, -1, 2, -2)]
        return (8 * (g[0] - g[1]) - (g[2] - g[3])) / (12 * h)

    expected = derivative(X, Y, Z) - derivative(Y, X, Z)
    expected = expected + gamma(X, gamma(Y, Z)) - gamma(Y, gamma(X, Z))
    scale = np.max(np.abs(expected)) + 1e-3
    ours = curvature(W, X, Y, Z, depth)
    np.testing.assert_allclose(ours / scale, expected / scale, atol=1e-8)


@pytest.mark.parametrize("widths", [(3, 2, 4), (3, 3, 3, 4), (3, 4, 2, 4)])
def test_curvature_below_full_rank_is_that_of_the_base_of_any_network(widths, rng):
    """O'Neill's formula in a wider network, for the sectional curvature."""
    space, point, (X, Y, *_) = network(widths, 2, rng)
    below, depth = svd(space.project(point), 2), space.depth
    a, b = (space.differential(point, V) for V in (X, Y))
    a, b = (dense((below, components(below, Z))) for Z in (a, b))
    ours = endtoend.inner(below, components(below, dense((below, curvature(
        below, components(below, a), components(below, b), components(below, b), depth
    )))), components(below, a), depth)  # fmt: skip
    up_a, up_b = (lift(space, point, Z) for Z in (a, b))
    top = sum(np.sum(x * y) for x, y in zip(
        balanced_curvature(point, up_a, up_b, up_b), up_a, strict=True))  # fmt: skip
    twist = integrability_tensor(point, up_a, up_b)
    np.testing.assert_allclose(ours, top + 3 * sum(np.sum(x * x) for x in twist), rtol=1e-9)


@pytest.mark.parametrize("case", [slow(x) if x in CASES[2:5] else x for x in CASES])
def test_parallel_transport_keeps_products_and_follows_velocities(case, rng):
    m, n, r, depth = case
    space, point = space_of(*case), matrix(m, n, r, rng)
    X, Y, D = (tangent(point, rng, depth) for _ in range(3))
    D = Tangent(*(x / 3 for x in D))
    (end, moved), other = (parallel_transport(space, point, V, D) for V in (X, Y))
    # Each end has singular vectors of its own choice.
    other = components(end, dense(other))
    before, after = (endtoend.inner(*args, depth) for args in ((point, X, Y), (end, moved, other)))
    np.testing.assert_allclose(after, before, atol=1e-10)
    arrived, velocity = geodesic(space, point, D, 1.0, velocity=True)
    along = parallel_transport(space, point, D, D)
    np.testing.assert_allclose(dense(along), dense((arrived, velocity)), atol=1e-10)


@pytest.mark.parametrize(
    "case", [slow((3, 3, 3, 3)), slow((4, 3, 2, 2)), slow((3, 3, 3, math.inf))]
)
def test_parallel_transport_is_the_limit_of_a_ladder(case, rng):
    """Pole ladders of second order in their rungs, from exp and log alone."""
    m, n, r, depth = case
    space, point = space_of(*case), matrix(m, n, r, rng)
    W = dense(point)
    Z, D = (dense((point, tangent(point, rng, depth))) / 4 for _ in range(2))
    exact = parallel_transport(space, W, Z, D)[1]
    gaps = []
    for rungs in (1, 2, 4):
        path = geodesic(space, W, D, np.arange(2 * rungs + 1) / (2 * rungs))
        # Short vectors, since a ladder is linear in the limit only.
        vector = Z / rungs
        for k in range(rungs):
            here, middle = path[2 * k], path[2 * k + 1]
            tip = exp(space, here, vector)
            reflected = exp(space, middle, -log(space, middle, tip))
            vector = -log(space, path[2 * k + 2], reflected)
        gaps.append(np.linalg.norm(vector * rungs - exact))
    slope = np.polyfit(np.log([1, 2, 4]), np.log(gaps), 1)[0]
    assert -2.6 < slope < -1.6, gaps


@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_parallel_transport_upstairs_is_isometric_and_of_velocities(widths, rank, rng):
    space, point, (X, Y, D, _) = network(widths, rank, rng)
    D = [x / (8 * space.norm(point, D)) for x in D]
    (end, moved), (_, other) = (
        parallel_transport(space, point, V, D, upstairs=True) for V in (X, Y)
    )
    before = sum(np.sum(x * y) for x, y in zip(X, Y, strict=True))
    after = sum(np.sum(x * y) for x, y in zip(moved, other, strict=True))
    np.testing.assert_allclose(after, before, rtol=1e-10)
    for x, y in zip(tangent_projection(end, moved), moved, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)
    _, velocity = geodesic(space, point, D, 1.0, upstairs=True, velocity=True)
    along = parallel_transport(space, point, D, D, upstairs=True)[1]
    for x, y in zip(along, velocity, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-10)


def test_curvature_refuses_bad_input():
    W = np.eye(3)
    with pytest.raises(ValueError, match="depth=inf: curvature"):
        curvature(W, W, W, W, math.inf)
    with pytest.raises(ValueError, match="not tangent"):
        christoffel(svd(np.diag([1.0, 1.0, 0.0]), 2), W, W, 2)


@pytest.mark.parametrize("case", [(3, 3, 3, 3), (4, 3, 2, 2)])
def test_batches_equal_loops(case, rng):
    m, n, r, depth = case
    points = [matrix(m, n, r, rng) for _ in range(3)]
    vectors = [[tangent(p, rng, depth) for p in points] for _ in range(3)]
    point = SVD(*(np.stack(x) for x in zip(*points, strict=True)))
    X, Y, Z = (Tangent(*(np.stack(x) for x in zip(*V, strict=True))) for V in vectors)
    both = curvature(point, X, Y, Z, depth), christoffel(point, X, Y, depth)
    for i, p in enumerate(points):
        a, b, c = (V[i] for V in vectors)
        for x, y in zip(both[0], curvature(p, a, b, c, depth), strict=True):
            np.testing.assert_allclose(x[i], y, atol=1e-13)
        np.testing.assert_allclose(both[1][i], christoffel(p, a, b, depth), atol=1e-13)


def test_frames_of_layers_may_be_used():
    at = frames([np.eye(2), np.eye(2)])
    zero = [np.zeros((2, 2))] * 2
    assert all(np.all(x == 0) for x in second_fundamental_form(at, zero, zero))
