import numpy as np
import pytest

import dlngeom
from dlngeom import network, points
from dlngeom.points import _nearest
from dlngeom.points._checks import check_frames
from tests.helpers import reference as ref

SHAPES = [
    ((3, 3, 3), 3),
    ((4, 3, 5, 4), 3),
    ((3, 4, 4, 3, 5), 2),
    ((3, 3, 3, 3, 3, 3), 3),
    ((5, 4), 4),
    ((4, 1, 3), 1),
]


def with_rank(widths, rank, rng):
    """Unbalanced layers whose product has a given rank."""
    layers = ref.random_layers(widths, rng)
    return (*layers[:-1], ref.dense_svd(ref.random_svd(*layers[-1].shape, rank, rng)))


def distance(layers, point):
    """Sum of squares that :func:`dlngeom.points.nearest_balanced` minimises."""
    gaps = zip(layers, ref.balanced_layers(point), strict=True)
    return sum(np.sum((W - V) ** 2) for W, V in gaps)


def polar(x):
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    return u @ vt


def pulls(layers, point):
    """What each inner frame is the polar factor of at a minimum."""
    q = point.q
    for p in range(1, len(layers)):
        yield q[p], (layers[p - 1] @ q[p - 1] + layers[p].T @ q[p + 1]) * point.lam


def naive(layers, point):
    """Frames carried up, carried down, and along the axes."""
    q = point.q
    below, above = [q[0]], [q[-1]]
    for low, up in zip(layers[:-1], layers[:0:-1], strict=True):
        below.append(polar(low @ below[-1] * point.lam))
        above.append(polar(up.T @ above[-1] * point.lam))
    axes = [np.eye(*x.shape) for x in q[1:-1]]
    for inner in (below[1:], above[:0:-1], axes):
        yield point._replace(q=(q[0], *inner, q[-1]))


@pytest.mark.parametrize(("widths", "rank"), SHAPES)
def test_nearest_keeps_the_product_and_is_balanced(widths, rank, rng):
    layers = with_rank(widths, rank, rng)
    point = points.nearest_balanced(layers, rank)
    check_frames(point)
    assert np.all(np.diff(point.lam) <= 0)
    got = dlngeom.factors(point)
    ref.close(ref.product(got), ref.product(layers), 1e-12)
    for G in network.invariants(got):
        assert np.max(np.abs(G)) <= 1e-12 * point.lam[0] ** 2


@pytest.mark.parametrize(("widths", "rank"), SHAPES)
@pytest.mark.parametrize("options", [{}, {"tie": True}, {"ratio": 0.1}])
def test_balanced_layers_are_their_own_nearest(widths, rank, options, rng):
    layers = ref.balanced_layers(ref.random_frames(widths, rank, rng, **options))
    got = dlngeom.factors(points.nearest_balanced(layers, rank))
    ref.close_layers(got, layers, 1e-12)


@pytest.mark.parametrize(("widths", "rank"), SHAPES)
@pytest.mark.parametrize("tie", [False, True])
def test_nearest_is_a_local_minimum(widths, rank, tie, rng):
    balanced = ref.balanced_layers(ref.random_frames(widths, rank, rng, tie=tie))
    near = tuple(W + 0.1 * rng.standard_normal(W.shape) for W in balanced)
    for layers in (with_rank(widths, rank, rng), near if rank == min(widths) else balanced):
        point = points.nearest_balanced(layers, rank)
        best = distance(layers, point)
        for q, pull in pulls(layers, point):
            ref.close(q.T @ pull, (q.T @ pull).T, 1e-11)
            ref.close(q @ (q.T @ pull), pull, 1e-11)
            assert np.min(np.linalg.eigvalsh(q.T @ pull)) >= 0
        for size in np.geomspace(1e-6, 1e-1, 20):
            moved = [polar(x + size * rng.standard_normal(x.shape)) for x in point.q[1:-1]]
            other = point._replace(q=(point.q[0], *moved, point.q[-1]))
            assert distance(layers, other) >= best - 1e-13 * max(best, 1)
        for other in naive(layers, point):
            assert distance(layers, other) >= best - 1e-13 * max(best, 1)


def test_sweeps_gain_on_every_start(rng):
    """Fails without sweeps: the best start alone is farther away."""
    layers = ref.random_layers((3, 3, 3, 3), rng)
    point = points.nearest_balanced(layers)
    starts = [distance(layers, x) for x in naive(layers, point)]
    assert distance(layers, point) < 0.999 * min(starts)


@pytest.mark.parametrize(("seed", "winner"), [(20, 1), (132, 2)])
def test_the_best_of_several_starts_wins(seed, winner):
    """Networks where the starts from below, above and along the axes end at different minima."""
    layers = ref.random_layers((3, 3, 3, 3, 3, 3), np.random.default_rng(seed))
    point = points.nearest_balanced(layers)
    ends = []
    for start in naive(layers, point):
        q = list(start.q)
        for p in 200 * (1, 2, 3, 4, 3, 2):
            q[p] = polar((layers[p - 1] @ q[p - 1] + layers[p].T @ q[p + 1]) * point.lam)
        ends.append(distance(layers, start._replace(q=tuple(q))))
    assert ends[0] > 1.0005 * min(ends)
    # Other starts may end at the same minimum, up to rounding.
    assert ends[winner] <= (1 + 1e-12) * min(ends)
    assert distance(layers, point) <= (1 + 1e-12) * min(ends)


def test_networks_of_a_batch_do_not_depend_on_each_other(rng):
    """Fails if a network moves on while the slowest of its batch still does."""
    layers = ref.random_layers((3, 3, 3, 3, 3, 3, 3), rng, (4,))
    together = dlngeom.factors(points.nearest_balanced(layers))
    for i in range(4):
        alone = dlngeom.factors(points.nearest_balanced([x[i] for x in layers]))
        ref.close_layers([x[i] for x in together], alone, 1e-15)


def test_nearest_with_one_inner_layer_is_a_polar_factor(rng):
    layers = ref.random_layers((4, 3, 5), rng)
    point = points.nearest_balanced(layers)
    ((q, pull),) = pulls(layers, point)
    ref.close(q, polar(pull), 1e-13)


def test_nearest_against_a_grid(rng):
    """All pairs of 2 x 2 orthogonal matrices, for three layers."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    c, s = np.cos(angles), np.sin(angles)
    turns = np.concatenate([np.array([[c, -s], [s, c]]), np.array([[c, s], [s, -c]])], -1).T
    for _ in range(5):
        layers = ref.random_layers((2, 2, 2, 2), rng)
        point = points.nearest_balanced(layers)
        low, high = point.q[0] * point.lam, point.q[-1] * point.lam
        first = np.sum((layers[0] - turns @ low.T) ** 2, axis=(-2, -1))
        last = np.sum((layers[2] - high @ turns.mT) ** 2, axis=(-2, -1))
        middle = (turns * point.lam)[:, None] @ turns.mT
        between = np.sum((layers[1] - middle) ** 2, axis=(-2, -1))
        grid = np.min(first + between + last[:, None])
        best = distance(layers, point)
        assert 0.99 * grid - 0.05 <= best <= grid


@pytest.mark.parametrize(("widths", "rank"), [((3, 3, 3, 3), 3), ((4, 3, 5, 4), 3)])
def test_distance_is_of_the_order_of_the_imbalance(widths, rank, rng):
    layers = ref.balanced_layers(ref.random_frames(widths, rank, rng))
    direction = ref.random_layers(widths, rng)
    sizes, gaps = np.geomspace(1e-6, 1e-2, 5), []
    for size in sizes:
        near = [W + size * X for W, X in zip(layers, direction, strict=True)]
        gaps.append(np.sqrt(distance(near, points.nearest_balanced(near, rank))))
    assert abs(ref.slope(sizes, gaps) - 1) < 0.1


@pytest.mark.parametrize(
    "layers",
    [
        (np.diag([1.0, 0.0]), np.diag([1.0, 5.0]), np.diag([2.0, 0.0])),
        (np.eye(2, 3), np.zeros((3, 2)) + np.eye(3, 2) * [1, 0], np.eye(2, 3)),
        (np.diag([1.0, 3.0]), np.diag([-1.0, 0.0]), -np.eye(2)),
    ],
)
def test_nearest_of_degenerate_layers_has_valid_frames(layers):
    point = check_frames(points.nearest_balanced(layers, 1))
    ref.close(ref.product(dlngeom.factors(point)), ref.product(layers), 1e-14)


@pytest.mark.parametrize("size", [1e-200, 1e-5, 1e5, 1e100])
def test_nearest_at_any_size(size, rng):
    layers = ref.random_layers((3, 3, 3, 3, 3), rng)
    point = points.nearest_balanced(layers)
    scaled = points.nearest_balanced([size * W for W in layers])
    ref.close(scaled.lam / size, point.lam, 1e-13)
    rescaled = dlngeom.factors(scaled._replace(lam=scaled.lam / size))
    ref.close_layers(rescaled, dlngeom.factors(point), 1e-11)


def test_nearest_balanced_refuses_bad_input(rng):
    layers = with_rank((3, 3, 4, 3), 2, rng)
    with pytest.raises(ValueError, match=r"the product has a smallest .* its rank is below 3"):
        points.nearest_balanced(layers)
    with pytest.raises(ValueError, match=r"rank=1: the product has a larger one, sigma_2/sigma_1"):
        points.nearest_balanced(layers, 1)
    with pytest.raises(ValueError, match="rank=4: it must be an integer from 1 to 3"):
        points.nearest_balanced(layers, 4)
    with pytest.raises(ValueError, match="its rank is below 1"):
        points.nearest_balanced([0 * W for W in layers], 1)
    with pytest.raises(ValueError, match="W_2 W_1 is not defined"):
        points.nearest_balanced([np.eye(2), np.eye(3)])
    truncated = points.nearest_balanced([np.diag([1, 1e-9]), np.eye(2)], 1)
    ref.close(dlngeom.dense(truncated), np.diag([1.0, 0]), 1e-15)


def test_points_export_it():
    assert dlngeom.nearest_balanced is points.nearest_balanced is _nearest.nearest_balanced
    assert "nearest_balanced" in _nearest.__all__
