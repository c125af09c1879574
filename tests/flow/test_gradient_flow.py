"""The flows upstairs, downstairs and of layers agree with each other and with closed forms."""

import numpy as np
import pytest
from scipy.integrate import quad

import dlngeom
from dlngeom import SVD, DeepLinearNetwork, InfinitelyDeepNetwork, network
from dlngeom.dln import EndToEndGeometry
from dlngeom.flow import gradient_flow, network_flow
from tests.helpers import reference as ref
from tests.helpers.flows import LogCosh, Quadratic, distance, random_case
from tests.helpers.parameters import crossed, slow

DEPTHS = range(1, 7)
RANDOM_CASES = [(depth, 4 if depth < 4 else 2) for depth in DEPTHS] + [
    slow((depth, 17)) for depth in DEPTHS
]


def flows(space, start, energy, t, **options):
    """The same flow from every kind of start; layers alone leave the fixed rank at depth one."""
    W = dlngeom.dense(start)
    run = {"energy": energy, **options}
    trajectories = {
        "dense": gradient_flow(space, W, energy.gradient, t, **run),
        "svd": gradient_flow(space, dlngeom.svd(W, space.rank), energy.gradient, t, **run),
        "upstairs": gradient_flow(space, start, energy.gradient, t, upstairs=True, **run),
    }
    if space.depth > 1 or space.rank == min(space.widths):
        layers = dlngeom.factors(start)
        trajectories["layers"] = network_flow(layers, energy.gradient, t, **run)
    return trajectories


@pytest.fixture(scope="module", params=RANDOM_CASES, ids=str)
def runs(request):
    """All flows of some random cases of one depth."""
    depth, count = request.param
    rng = np.random.default_rng(depth)
    t = np.linspace(0, 0.5, 4)
    out = []
    for index in range(count):
        case = random_case(depth - 1 + 6 * index, rng)
        out.append((*case, flows(*case, t, rtol=1e-10)))
    return out


def test_the_flow_upstairs_lies_over_the_one_downstairs(runs):
    for space, _, _, by_kind in runs:
        for kind, trajectory in by_kind.items():
            gap = distance(by_kind["upstairs"], trajectory)
            assert gap < 1e-8, (space, kind, gap)


def test_energy_never_increases(runs):
    for space, _, energy, by_kind in runs:
        for kind, trajectory in by_kind.items():
            values = trajectory.observed["energy"]
            assert values.shape == (1, 4)
            assert np.all(np.diff(values) <= 1e-10 * values[:, :1]), (space, kind)
            assert values[0, -1] < values[0, 0] or not np.any(energy.mask)


def test_saved_points_are_on_the_manifold_to_rounding(runs):
    for space, start, _, by_kind in runs:
        lam, q = by_kind["upstairs"].points
        assert np.all(lam > 0)
        assert np.all(np.diff(lam, axis=-1) <= 0)
        for frame, first in zip(q, start.q, strict=True):
            assert frame.shape == (1, 4, *first.shape)
            assert_orthonormal(frame)
        for p in range(space.depth - 1):
            G = network.invariants(dlngeom.factors(by_kind["upstairs"].points))[p]
            assert np.max(np.abs(G)) < 1e-13 * np.max(lam) ** 2
        u, s, vt = by_kind["svd"].points
        assert np.all(s > 0)
        assert np.all(np.diff(s, axis=-1) <= 0)
        assert_orthonormal(u)
        assert_orthonormal(vt.mT)


def assert_orthonormal(q):
    assert np.max(np.abs(q.mT @ q - np.eye(q.shape[-1]))) < 1e-13


def test_the_flow_upstairs_is_that_of_the_layers_not_only_of_their_product(runs):
    for _, _, _, by_kind in runs:
        if "layers" in by_kind:
            layers = dlngeom.factors(by_kind["upstairs"].points)
            ref.close_layers(by_kind["layers"].points, layers, 1e-8)


@pytest.mark.parametrize(
    "widths", [(3, 4), (3, 3, 3), (4, 2, 5), (2, 5, 1, 3), slow((3, 3, 4, 2, 3))]
)
def test_invariants_of_any_network_are_conserved(widths, rng):
    layers = ref.random_layers(widths, rng)
    energy = LogCosh(rng.standard_normal((widths[-1], widths[0])))
    trajectory = network_flow(layers, energy.gradient, np.linspace(0, 1, 3), rtol=1e-12)
    assert len(trajectory.observed["invariants"]) == len(widths) - 2
    for G, G0 in zip(trajectory.observed["invariants"], network.invariants(layers), strict=True):
        assert np.max(np.abs(G0)) > 0.1
        assert np.max(np.abs(G - G0)) < 1e-10
    moved = trajectory.points[0][0, -1] - layers[0]
    assert np.max(np.abs(moved)) > 0.1


@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 2, 5), (2, 5, 4, 3), slow((3, 3, 4, 2, 3))])
def test_the_product_of_unbalanced_layers_follows_its_own_equation(widths, rng):
    layers = ref.random_layers(widths, rng)
    energy = LogCosh(rng.standard_normal((widths[-1], widths[0])))
    trajectory = network_flow(layers, energy.gradient, [0, 0.3, 0.5], rtol=1e-12, dense_output=True)
    at = [x[0, 1] for x in trajectory.points]
    rate = literal_rate(at, energy.gradient(ref.product(at)))
    lifted = network.lifted_gradient(at, energy.gradient(ref.product(at)))
    ref.close(network.differential(at, [-x for x in lifted]), rate, 1e-13)
    h = 1e-3
    W = [network.end_to_end(trajectory.at(0.3 + k * h))[0] for k in (-2, -1, 1, 2)]
    ref.close((W[0] - 8 * W[1] + 8 * W[2] - W[3]) / (12 * h), rate, 1e-7)


def literal_rate(layers, G):
    """Equation (4.9): products of the layers above and below each one."""
    rate = np.zeros_like(G)
    for p in range(len(layers)):
        above = ref.product([np.eye(len(layers[p])), *layers[p + 1 :]])
        below = ref.product([np.eye(layers[0].shape[1]), *layers[:p]])
        rate -= above @ above.T @ G @ below.T @ below
    return rate


TARGETS = np.array([3.0, 1.0, 0.2])
STARTS = np.array([0.05, 0.02, 0.7])


def aligned_case(depth, rng, targets=TARGETS, starts=STARTS, shape=(4, 3)):
    """Start, in frames, and target with the same singular vectors."""
    u, v = ref.orthonormal(shape[0], 3, rng), ref.orthonormal(shape[1], 3, rng)
    order = np.argsort(starts)[::-1]
    inner = [ref.orthonormal(5, 3, rng) for _ in range(depth - 1)]
    lam = starts[order] ** (1 / depth)
    start = dlngeom.Frames(lam, tuple(x[:, order] for x in (v, *inner, u)))
    return start, (u, v), Quadratic((u * targets) @ v.T)


def along(trajectory, directions):
    """Signed singular values in fixed directions, (draw, r)."""
    u, v = directions
    return np.diagonal(u.T @ trajectory.observed["end_to_end"][0] @ v, axis1=-2, axis2=-1)


def test_two_layers_learn_each_singular_value_by_a_logistic_curve(rng):
    start, directions, energy = aligned_case(2, rng)
    t = np.linspace(0, 4, 9)
    exact = TARGETS / (1 + (TARGETS / STARTS - 1) * np.exp(-2 * TARGETS * t[:, None]))
    space = DeepLinearNetwork((3, 5, 4))
    for trajectory in flows(space, start, energy, t, rtol=1e-10).values():
        ref.close(along(trajectory, directions), exact, 1e-8)
        largest = np.sort(exact, axis=-1)[:, ::-1]
        ref.close(trajectory.observed["singular_values"][0], largest, 1e-8)


@pytest.mark.parametrize("depth", [1, 3, 4, slow(5), slow(8)])
def test_each_singular_value_takes_the_time_that_its_weight_says(depth, rng):
    start, directions, energy = aligned_case(depth, rng)
    widths = (3, *[5] * (depth - 1), 4)
    t = np.linspace(0, 1, 5)
    for trajectory in flows(DeepLinearNetwork(widths), start, energy, t, rtol=1e-10).values():
        assert_times(along(trajectory, directions), t, lambda s: depth * s ** (2 - 2 / depth))


def test_each_singular_value_takes_the_time_that_infinite_depth_says(rng):
    starts = 10 * STARTS
    start, directions, energy = aligned_case(1, rng, starts=starts, shape=(3, 3))
    t = np.linspace(0, 1, 5)
    W = dlngeom.dense(start)
    for point in (W, dlngeom.svd(W)):
        run = gradient_flow(InfinitelyDeepNetwork(3), point, energy.gradient, t, rtol=1e-10)
        sigma = along(run, directions)
        assert_times(sigma, t, lambda s: s**2)
        implicit = -1 / (TARGETS * sigma) + np.log(sigma / np.abs(TARGETS - sigma)) / TARGETS**2
        ref.close(implicit - implicit[0], t[:, None] + 0 * sigma, 1e-8)


def assert_times(sigma, t, weight):
    """``t = int dsigma / (w(sigma) (a - sigma))`` along each curve, until it has arrived."""
    for curve, a in zip(sigma.T, TARGETS, strict=True):
        assert np.all(np.diff(np.abs(curve - a)) <= 0)
        for end, time in zip(curve, t, strict=True):
            if abs(end - a) > 1e-2 * a:
                took = quad(_pace, curve[0], end, (weight, a), epsabs=1e-12)[0]
                assert took == pytest.approx(time, abs=1e-8)


def _pace(s, weight, a):
    return 1 / (weight(s) * (a - s))


@pytest.mark.parametrize("depth", [1, 2, 3, 5, ref.INF])
def test_singular_values_may_cross(depth, rng):
    energy = Quadratic(np.diag([0.2, 2.0]))
    t = np.linspace(0, 1, 11)
    space, W = base_and_start(depth, np.diag([1.0, 0.5]))
    runs = [gradient_flow(space, X, energy.gradient, t, rtol=1e-11) for X in (W, dlngeom.svd(W))]
    W = runs[0].observed["end_to_end"][0]
    assert W[0, 0, 0] > W[0, 1, 1]
    assert W[-1, 0, 0] < W[-1, 1, 1]
    assert np.all(W[:, 0, 1] == 0)
    assert distance(*runs) < 1e-9
    if depth < ref.INF:
        layers = [np.diag([1.0, 0.5 ** (1 / depth)])] * depth
        assert distance(runs[0], network_flow(layers, energy.gradient, t, rtol=1e-11)) < 1e-9


def base_and_start(depth, W):
    if depth == ref.INF:
        return InfinitelyDeepNetwork(len(W)), W
    return EndToEndGeometry(len(W), len(W), len(W), depth), W


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-4])
def test_singular_values_may_nearly_cross(gap, rng):
    """Singular vectors turn by a right angle in no time there."""
    energy = Quadratic(np.array([[0.2, 0.0], [gap, 2.0]]))
    space = DeepLinearNetwork((2, 2, 2, 2))
    start = dlngeom.frames([np.diag([1.0, 0.5 ** (1 / 3)])] * 3)
    by_kind = flows(space, start, energy, np.linspace(0, 1, 11), rtol=1e-11)
    for trajectory in by_kind.values():
        assert distance(by_kind["layers"], trajectory) < 1e-9


@pytest.mark.parametrize(
    ("spectrum", "depth"), crossed([(1, 1e-6, 1e-12), (2, 1, 1), (1, 1, 1)], [2, 1, 3, 4, 5, 6])
)
def test_ties_and_small_singular_values(depth, spectrum, rng):
    space = DeepLinearNetwork((3,) * (depth + 1))
    start = ref.random_frames(space.widths, 3, rng)
    start = start._replace(lam=np.array(spectrum, dtype=float) ** (1 / depth))
    if depth == 1 and spectrum[-1] < 1:
        energy = Quadratic(dlngeom.dense(start) * [3, 1, 2])
    else:
        energy = LogCosh(rng.standard_normal((3, 3)))
    # Some coordinates would take ten times as many, where singular values are small.
    by_kind = flows(space, start, energy, [0, 0.3, 0.6], rtol=1e-11, max_evaluations=2500)
    for kind, trajectory in by_kind.items():
        assert distance(by_kind["layers"], trajectory) < 1e-8, kind


def test_the_identity_is_a_start_like_any_other(rng):
    energy = LogCosh(rng.standard_normal((3, 3)))
    space = DeepLinearNetwork((3, 3, 3))
    start = dlngeom.Frames(np.ones(3), (np.eye(3),) * 3)
    by_kind = flows(space, start, energy, [0, 0.5, 1], rtol=1e-11)
    for trajectory in by_kind.values():
        assert distance(by_kind["layers"], trajectory) < 1e-9


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_small_singular_values_grow_to_relative_accuracy(depth, rng):
    starts = np.array([1.0, 1e-6, 1e-12])
    start, _, energy = aligned_case(depth, rng, starts=starts)
    space = DeepLinearNetwork((3, *[5] * (depth - 1), 4))
    W = SVD(start.q[-1], starts, start.q[0].T)
    t = [0, 0.1, 0.2]
    runs = {
        "svd": gradient_flow(space, W, energy.gradient, t, rtol=1e-11),
        "upstairs": gradient_flow(space, start, energy.gradient, t, rtol=1e-11, upstairs=True),
    }
    for trajectory in runs.values():
        s = trajectory.observed["singular_values"][0]
        a = TARGETS[2]
        took = quad(_pace, s[0, 2], s[2, 2], (lambda x: depth * x ** (2 - 2 / depth), a))[0]
        assert s[0, 2] == pytest.approx(1e-12, rel=1e-12)
        # The time is told by a growth of 1e-8 at depth 6, of which rounding of layers is a part.
        rounding = 10 * depth * np.finfo(float).eps / (s[2, 2] / s[0, 2] - 1)
        assert took == pytest.approx(0.2, rel=1e-6 + rounding)


@pytest.mark.parametrize("depth", [2, 3, 5, 20])
def test_a_dense_start_may_be_singular(depth, rng):
    """Its rank is kept, and no rounding error of size zero grows to the power 1/N."""
    space = DeepLinearNetwork((3,) * (depth + 1))
    start = ref.random_frames(space.widths, 1, rng)
    energy = LogCosh(rng.standard_normal((3, 3)))
    t = [0, 1 / depth]
    down = gradient_flow(space, dlngeom.dense(start), energy.gradient, t, rtol=1e-10)
    up = network_flow(dlngeom.factors(start), energy.gradient, t, rtol=1e-10)
    assert distance(up, down) < 1e-8
    s = down.observed["singular_values"]
    assert np.all(s[..., 1] < 1e-14 * s[..., 0])


def test_dense_starts_of_different_ranks_run_together(rng):
    space, energy = DeepLinearNetwork((3, 3, 3)), LogCosh(rng.standard_normal((3, 3)))
    W = rng.standard_normal((3, 3, 3))
    W[1, 2] = W[1, 1]
    W[2] = 0
    together = gradient_flow(space, W, energy.gradient, [0, 0.5], rtol=1e-10)
    assert np.all(together.points[2] == 0)
    for k in range(2):
        alone = gradient_flow(space, W[k], energy.gradient, [0, 0.5], rtol=1e-10)
        ref.close(together.points[k], alone.points[0], 1e-8)


@pytest.mark.parametrize("t", [1.0, 0.5])
def test_infinite_depth_is_the_limit_of_finite_depth(t, rng):
    W = rng.standard_normal((3, 3)) + 2 * np.eye(3)
    energy = LogCosh(rng.standard_normal((3, 3)))
    limit = gradient_flow(InfinitelyDeepNetwork(3), W, energy.gradient, [0, t], rtol=1e-12)
    depths = np.array([125, 500, 2000])
    gaps = []
    for depth in depths.tolist():
        space = EndToEndGeometry(3, 3, 3, depth)
        run = gradient_flow(space, W, energy.gradient, [0, t / depth], rtol=1e-12)
        gaps.append(distance(limit, run))
    assert gaps[-1] < 1e-2
    assert ref.slope(depths, gaps) == pytest.approx(-1, abs=0.05)


def test_dense_and_factored_starts_agree_at_infinite_depth(rng):
    energy = LogCosh(rng.standard_normal((4, 4)))
    W = ref.random_svd(4, 4, 4, rng)
    t = np.linspace(0, 1, 4)
    runs = [
        gradient_flow(InfinitelyDeepNetwork(4), X, energy.gradient, t, rtol=1e-11)
        for X in (W, dlngeom.dense(W))
    ]
    assert distance(*runs) < 1e-9
    assert runs[0].points.u.shape == (1, 4, 4, 4)


@pytest.mark.parametrize("rank", [2, 4])
def test_a_million_layers(rank, rng):
    depth = 10**6
    energy = LogCosh(rng.standard_normal((4, 4)))
    space = EndToEndGeometry(4, 4, rank, depth)
    W = ref.random_svd(4, 4, rank, rng)
    t = np.linspace(0, 1 / depth, 3)
    runs = [
        gradient_flow(space, X, energy.gradient, t, energy=energy, rtol=1e-10)
        for X in (W, dlngeom.dense(W))
    ]
    assert distance(*runs) < 1e-8
    assert np.all(np.diff(runs[0].observed["energy"]) < 0)
    assert np.all(network.singular_values(runs[0].points) > 0)


def test_the_first_draw_is_the_start_itself():
    space = dlngeom.DeepLinearNetwork((4, 3, 5), 2)
    start = space.random_point(0)
    run = gradient_flow(space, start, lambda W: W - 1, [0, 0.1], upstairs=True)
    for saved, given in zip(run.points.q, start.q, strict=True):
        np.testing.assert_array_equal(saved[0, 0], given)
    W = dlngeom.SVD(start.q[-1], start.lam**2, start.q[0].T)
    run = gradient_flow(space, W, lambda W: dlngeom.dense(W) - 1, [0, 0.1])
    for saved, given in zip(run.points, W, strict=True):
        np.testing.assert_array_equal(saved[0, 0], given)


@pytest.mark.parametrize("ratio", [0.5, 1e-5])
def test_singular_values_that_energies_see_descend(ratio):
    seen = []

    def gradient(W):
        seen.append(W)
        return dlngeom.dense(W) - 1

    start = ref.random_svd(5, 4, 3, np.random.default_rng(0), ratio=ratio)
    gradient_flow(dlngeom.DeepLinearNetwork((4, 3, 3, 5), 3), start, gradient, [0, 0.1])
    assert all(np.all(np.diff(W.s) <= 0) for W in seen)
    ref.close(dlngeom.dense(seen[0]), dlngeom.dense(start), 1e-13)
