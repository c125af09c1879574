"""Chains, array libraries, tolerances, events and interpolants of flows and of bare equations."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import DOP853
from scipy.sparse.linalg import aslinearoperator

import dlngeom
from dlngeom import SVD, DeepLinearNetwork, Frames, InfinitelyDeepNetwork, LowRank
from dlngeom._lib.arrays import namespace
from dlngeom._lib.ode.integrate import SolverOptions, integrate
from dlngeom._lib.ode.smooth_steps import SmoothDOP853, SmoothRK45
from dlngeom._lib.ode.system import HaltError
from dlngeom.flow import gradient_flow, network_flow
from dlngeom.quotients import Grassmann, Sphere
from tests.helpers import reference as ref
from tests.helpers.flows import LogCosh, Quadratic
from tests.helpers.namespaces import JAX_IS_SLOW
from tests.helpers.parameters import crossed, slow
from tests.helpers.trees import leaves, pick, same

WIDTHS, RANK = (3, 4, 2, 4), 2
T = np.linspace(0, 1, 4)


@pytest.fixture
def space():
    return DeepLinearNetwork(WIDTHS, RANK)


@pytest.fixture
def energy(rng):
    return LogCosh(rng.standard_normal((4, 3)))


def starts(rng, batch=()):
    """A start of each kind over one matrix, and what to pass with it."""
    x = ref.random_frames(WIDTHS, RANK, rng, batch=batch)
    W = dlngeom.dense(x)
    return {"dense": W, "svd": dlngeom.svd(W, RANK), "upstairs": x, "layers": dlngeom.factors(x)}


def follow(kind, space, start, gradient, t, **options):
    if kind == "layers":
        return network_flow(start, gradient, t, **options)
    return gradient_flow(space, start, gradient, t, upstairs=kind == "upstairs", **options)


def shapes(value):
    if isinstance(value, tuple):
        return tuple(shapes(x) for x in value)
    return tuple(value.shape)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_points_have_chains_draws_and_the_kind_of_the_start(batch, space, energy, rng):
    lead = (*(batch or (1,)), 4)
    expected = {
        "dense": (*lead, 4, 3),
        "svd": ((*lead, 4, 2), (*lead, 2), (*lead, 2, 3)),
        "upstairs": ((*lead, 2), tuple((*lead, d, 2) for d in WIDTHS)),
        "layers": ((*lead, 4, 3), (*lead, 2, 4), (*lead, 4, 2)),
    }
    kinds = {"dense": np.ndarray, "svd": SVD, "upstairs": Frames, "layers": tuple}
    for kind, start in starts(rng, batch).items():
        run = follow(kind, space, start, energy.gradient, T, energy=energy, dense_output=True)
        assert isinstance(run.points, kinds[kind])
        assert isinstance(run.at(0.5), kinds[kind])
        assert shapes(run.points) == expected[kind]
        assert run.times.tolist() == T.tolist()
        assert run.observed["end_to_end"].shape == (*lead, 4, 3)
        assert run.observed["singular_values"].shape == (
            *lead,
            3 if kind in {"dense", "layers"} else 2,
        )
        assert run.observed["effective_rank"].shape == lead
        assert run.observed["energy"].shape == lead
        above = kind in {"upstairs", "layers"}
        assert ("invariants" in run.observed) == above
        if above:
            assert shapes(run.observed["invariants"]) == ((*lead, 4, 4), (*lead, 2, 2))


def test_layers_of_one_layer_are_a_tuple(rng):
    run = network_flow([rng.standard_normal((2, 3))], lambda W: W, [0, 1])
    assert shapes(run.points) == ((1, 2, 2, 3),)
    assert run.observed["invariants"] == ()


@pytest.mark.parametrize("kind", ["dense", "svd", "upstairs", "layers"])
def test_what_the_energy_and_its_gradient_see(kind, space, energy, rng):
    """A dense matrix always has a chain axis, an SVD the axes of the start."""
    for batch in [(), (2,)]:
        seen = []

        def gradient(point, seen=seen):
            seen.append(point)
            return energy.gradient(point)

        def value(point, seen=seen):
            seen.append(point)
            return energy(point)

        start = starts(rng, batch)[kind]
        follow(kind, space, start, gradient, [0, 1e-3], energy=value, max_step=1)
        if kind == "svd":
            expected = ((*batch, 4, 2), (*batch, 2), (*batch, 2, 3))
        else:
            expected = (*(batch or (1,)), 4, 3)
        assert {shapes(point) for point in seen} == {expected}
        assert all(isinstance(point, SVD) == (kind == "svd") for point in seen)


@pytest.mark.parametrize("kind", ["dense", "svd", "upstairs", "layers"])
def test_a_batch_is_its_chains_each_to_the_tolerance(kind, space, energy, rng):
    """Also where one chain is much smaller than the other and moves at its own pace."""
    start = starts(rng, (3,))[kind]
    size = np.array([1.0, 1e-2, 1.0])
    start = scaled(kind, start, size)
    together = follow(kind, space, start, energy.gradient, T, rtol=1e-9)
    for k in range(3):
        one = pick(start, k)
        alone = follow(kind, space, one, energy.gradient, T, rtol=1e-11)
        W, X = together.observed["end_to_end"][k], alone.observed["end_to_end"][0]
        ref.close(W, X, 3e-8)


def scaled(kind, start, size):
    """Multiply end-to-end matrices by ``size``."""
    if kind == "dense":
        return start * size[:, None, None]
    if kind == "svd":
        return start._replace(s=start.s * size[:, None])
    root = size ** (1 / 3)
    if kind == "upstairs":
        return start._replace(lam=start.lam * root[:, None])
    return tuple(x * root[:, None, None] for x in start)


def factored(G):
    U, s, Vt = np.linalg.svd(G, full_matrices=False)
    return LowRank(U, np.diag(s), Vt.T)


COVECTORS = {
    "csr": sparse.csr_array,
    "matrix": sparse.coo_matrix,
    "operator": aslinearoperator,
    "low rank": factored,
}


@pytest.mark.parametrize(
    ("kind", "covector", "depth"),
    crossed(["dense", "svd", "upstairs", "layers"], list(COVECTORS), [3, 1]),
)
def test_covectors_of_every_kind_give_one_flow(depth, covector, kind, rng):
    space = DeepLinearNetwork(WIDTHS, RANK) if depth == 3 else DeepLinearNetwork((3, 3))
    x = ref.random_frames(space.widths, space.rank, rng)
    energy = Quadratic(rng.standard_normal((space.widths[-1], 3)))
    W = dlngeom.dense(x)
    start = {
        "dense": W,
        "svd": dlngeom.svd(W, space.rank),
        "upstairs": x,
        "layers": dlngeom.factors(x),
    }[kind]
    shape = (space.widths[-1], 3)

    def gradient(point):
        return COVECTORS[covector](energy.gradient(point).reshape(shape))

    runs = [follow(kind, space, start, g, [0, 0.5]) for g in (gradient, energy.gradient)]
    a, b = (run.observed["end_to_end"] for run in runs)
    ref.close(a, b, 1e-10)


def test_a_low_rank_covector_may_be_batched(space, energy, rng):
    start = starts(rng, (2,))["svd"]

    def gradient(point):
        U, s, Vt = np.linalg.svd(energy.gradient(point), full_matrices=False)
        return LowRank(U, s[..., None] * np.eye(3), Vt.mT)

    runs = [gradient_flow(space, start, g, [0, 0.5]) for g in (gradient, energy.gradient)]
    a, b = (run.observed["end_to_end"] for run in runs)
    ref.close(a, b, 1e-10)


@pytest.mark.parametrize("xp", JAX_IS_SLOW, indirect=True)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["dense", "svd", "upstairs", "layers"])
def test_array_libraries_and_dtypes(xp, kind, dtype, rng):
    """Starts are read-only where the library knows that, and keep library and dtype."""
    if xp.name == "jax" and (kind in {"svd", "upstairs"} or dtype == "float32"):
        pytest.skip("compiles for seconds")
    space = DeepLinearNetwork((3, 3, 3), RANK)
    frames = ref.random_frames(space.widths, RANK, rng)
    W = dlngeom.dense(frames)
    A = rng.standard_normal((3, 3))
    plain = {
        "dense": W,
        "svd": dlngeom.svd(W, RANK),
        "upstairs": frames,
        "layers": dlngeom.factors(frames),
    }[kind]
    start, target = xp.array(plain, dtype), xp.array(A, dtype)
    kept = xp.numpy(xp.array(plain, dtype))

    def gradient(point):
        assert xp.dtypes(point) == {dtype}
        W = dlngeom.dense(point) if isinstance(point, SVD) else point
        return W - target

    def energy(point):
        G = gradient(point)
        return namespace(G).sum(G * G, axis=(-2, -1)) / 2

    run = follow(kind, space, start, gradient, [0, 0.5], energy=energy)
    assert xp.dtypes((run.points, *run.observed.values())) == {dtype}
    reference = follow(kind, space, plain, Quadratic(A).gradient, [0, 0.5])
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    W, X = (xp.numpy(run.observed["end_to_end"]), reference.observed["end_to_end"])
    ref.close(W, X, tolerance)
    for x, y in zip(leaves(xp.numpy(start)), leaves(kept), strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("method", ["DOP853", "RK45", "RK23", "Radau", "BDF", "LSODA"])
def test_every_method_follows_the_flow(method, space, energy, rng):
    start = starts(rng)["upstairs"]
    exact = follow("upstairs", space, start, energy.gradient, T, rtol=1e-11)
    run = follow("upstairs", space, start, energy.gradient, T, method=method, rtol=1e-6)
    gap = np.max(np.abs(run.observed["end_to_end"] - exact.observed["end_to_end"]))
    assert 1e-13 < gap < 1e-4


def test_loose_tolerances_have_a_steadier_method(rng):
    """At the limit of stability steps settle, instead of being rejected again and again."""
    space = DeepLinearNetwork((4, 4, 4))
    start = ref.random_frames(space.widths, 4, rng)
    energy = Quadratic(ref.dense_svd(ref.random_svd(4, 4, 4, rng, ratio=1e-2)))
    t = np.linspace(0, 40, 5)
    exact = follow("upstairs", space, start, energy.gradient, t, rtol=1e-10)
    counts = {}
    for method in (None, "RK45"):
        calls = []

        def gradient(point, calls=calls):
            calls.append(1)
            return energy.gradient(point)

        options = {"energy": energy, "rtol": 1e-3}
        options |= {} if method is None else {"method": method}
        run = follow("upstairs", space, start, gradient, t, **options)
        counts[method] = len(calls)
        ref.close(run.observed["end_to_end"], exact.observed["end_to_end"], 1e-2)
        between = follow("upstairs", space, start, gradient, t, dense_output=True, **options).at(
            5.0
        )
        assert energy(dlngeom.dense(between))[0] < run.observed["energy"][0, 0]
    assert counts[None] < counts["RK45"]


def test_the_interpolant_agrees_with_saved_points(space, energy, rng):
    for kind, start in starts(rng).items():
        run = follow(kind, space, start, energy.gradient, T, rtol=1e-10, dense_output=True)
        for time, W in zip(T, run.observed["end_to_end"][0], strict=True):
            at = dlngeom.network.end_to_end(run.at(time))
            assert at.shape == (1, 4, 3)
            ref.close(at[0], W, 1e-8)
        assert follow(kind, space, start, energy.gradient, T).at is None


@pytest.mark.parametrize("kind", ["dense", "svd", "upstairs", "layers"])
def test_events(kind, space, energy, rng):
    start = starts(rng)[kind]
    whole = follow(kind, space, start, energy.gradient, T, energy=energy, dense_output=True)
    level = float(np.mean(whole.observed["energy"][0, 1:3]))

    def crossing(t, point):
        assert leaves(point if isinstance(point, tuple) else (point,))[0].shape[0] == 1
        return energy(dlngeom.network.end_to_end(point)) - level

    def never(t, point):
        return 1.0

    run = follow(kind, space, start, energy.gradient, T, events=[crossing, never])
    (when, points), (none, nothing) = run.events
    assert run.times.tolist() == T.tolist()
    assert when.shape == (1,)
    assert T[1] < when[0] < T[2]
    assert none.shape == (0,)
    assert nothing is None
    W = dlngeom.network.end_to_end(points)
    assert W.shape == (1, 1, 4, 3)
    assert energy(W)[0, 0] == pytest.approx(level, rel=1e-6)
    ref.close(W[0], dlngeom.network.end_to_end(whole.at(when[0])), 1e-6)

    crossing.direction = 1
    assert follow(kind, space, start, energy.gradient, T, events=crossing).events[0][1] is None
    crossing.direction, crossing.terminal = -1, True
    run = follow(kind, space, start, energy.gradient, T, events=crossing)
    assert run.times.tolist() == T[:2].tolist()
    assert run.events[0][0][0] == pytest.approx(when[0], abs=1e-9)


def test_an_event_of_a_batch_is_one_number(space, energy, rng):
    start = starts(rng, (2,))["dense"]
    with pytest.raises(ValueError, match=r"an event returned shape \(2,\): it must be one number"):
        gradient_flow(space, start, energy.gradient, T, events=lambda t, W: W[:, 0, 0])
    run = gradient_flow(space, start, energy.gradient, T, events=lambda t, W: np.min(W) + 100)
    assert run.events == ((pytest.approx(np.empty(0)), None),)


def test_progress(space, energy, rng, capsys):
    start = starts(rng)["dense"]
    gradient_flow(space, start, energy.gradient, [1, 3], progress=True)
    assert "100%" in capsys.readouterr().err
    gradient_flow(space, start, energy.gradient, [1, 3])
    assert capsys.readouterr().err == ""


def test_one_time_is_the_start_alone(space, energy, rng):
    for kind, start in starts(rng).items():
        run = follow(kind, space, start, energy.gradient, [2.5], events=lambda t, x: 1.0)
        assert run.times.tolist() == [2.5]
        W = dlngeom.network.end_to_end(run.points)
        ref.close(W[0, 0], dlngeom.network.end_to_end(start), 1e-13)
        assert len(run.events) == 1


def test_initial_time_does_not_matter(space, energy, rng):
    start = starts(rng)["upstairs"]
    runs = [follow("upstairs", space, start, energy.gradient, T + t0) for t0 in (0, -5, 7)]
    for run in runs[1:]:
        ref.close(run.observed["end_to_end"], runs[0].observed["end_to_end"], 1e-9)


def test_the_error_follows_the_tolerance(space, energy, rng):
    start = starts(rng)["svd"]
    exact = gradient_flow(space, start, energy.gradient, T, rtol=1e-13)
    gaps = []
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10):
        run = gradient_flow(space, start, energy.gradient, T, rtol=rtol)
        W, X = (x.observed["end_to_end"] for x in (run, exact))
        gaps.append(np.max(np.abs(W - X)) / rtol)
    assert max(gaps) < 100
    assert gaps[-1] * 1e-10 < 1e-3 * gaps[0] * 1e-4


def test_small_starts_have_small_errors(rng):
    """The absolute tolerance is relative to the size of the start, not to one."""
    space = DeepLinearNetwork((3, 3, 3))
    start = ref.random_frames(space.widths, 3, rng)
    start = start._replace(lam=1e-9 * start.lam)
    energy = Quadratic(rng.standard_normal((3, 3)))
    layers = dlngeom.factors(start)
    exact = network_flow(layers, energy.gradient, [0, 1], rtol=1e-13, atol=0)
    for point in (dlngeom.dense(start), dlngeom.svd(dlngeom.dense(start))):
        run = gradient_flow(space, point, energy.gradient, [0, 1])
        ref.close(run.observed["end_to_end"], exact.observed["end_to_end"], 1e-6)
    rough = gradient_flow(space, layers, energy.gradient, [0, 1], upstairs=True, atol=1e-3)
    W, X = rough.observed["end_to_end"][0, -1], exact.observed["end_to_end"][0, -1]
    assert np.max(np.abs(W - X)) > 1e-7 * np.max(np.abs(X))


def test_infinite_depth_runs_a_batch(rng):
    W = rng.standard_normal((3, 2, 2)) + 2 * np.eye(2)
    energy = Quadratic(np.eye(2))
    run = gradient_flow(InfinitelyDeepNetwork(2), W, energy.gradient, T)
    for k in range(3):
        alone = gradient_flow(InfinitelyDeepNetwork(2), W[k], energy.gradient, T)
        ref.close(run.points[k], alone.points[0], 1e-7)


@pytest.mark.parametrize("method", ["BDF", slow("Radau")])
def test_implicit_methods_know_that_chains_are_independent(method, rng):
    """Of a Jacobian of all chains each difference then tells a column of every chain."""
    space, W = InfinitelyDeepNetwork(2), rng.standard_normal((20, 2, 2)) + 3 * np.eye(2)
    calls = []

    def gradient(X):
        calls.append(len(X))
        return X - np.eye(2)

    runs = [
        gradient_flow(space, X, gradient, [0, 0.3], method=method, rtol=1e-5) for X in (W[:1], W)
    ]
    assert calls.count(20) < 3 * calls.count(1)
    one, many = (run.points[0, -1] for run in runs)
    ref.close(one, many, 1e-4)
    calls.clear()
    gradient_flow(space, W, gradient, [0, 0.3], method=method, rtol=1e-5, jac_sparsity=None)
    assert calls.count(20) > 160  # Without it, one Jacobian alone takes as many.


def pulls(target, factor):
    """Energy gradients of chains as full matrices, one for all, and of low rank."""
    unit = np.ones((len(target), 1, 1))
    return {
        "own": lambda X: X - target,
        "one for all": lambda X: 0.1 * np.ones(X.shape[-2:]),
        "low rank": lambda X: LowRank(X @ X.mT @ factor, unit, X.mT @ factor),
    }


@pytest.mark.parametrize("kind", ["own", "one for all", "low rank"])
@pytest.mark.parametrize("depth", [2, 4])
def test_many_small_chains_move_as_fewer_do(depth, kind, rng):
    """From a hundred small chains on, products run along them; they must be the same."""
    space = DeepLinearNetwork((3, *[4] * (depth - 1), 2))
    W, target = rng.standard_normal((2, 120, 2, 3))
    factor = rng.standard_normal((120, 2, 1))
    few = slice(40, 50)
    many, fewer = (
        gradient_flow(space, W[k], pulls(target[k], factor[k])[kind], [0, 0.1, 0.2], rtol=1e-11)
        for k in (slice(None), few)
    )
    ref.close(many.points[few], fewer.points, 1e-9)


def rotation(state):
    x, y = state
    return -y, x


def test_a_bare_equation():
    start = (np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    solution = integrate(
        start, rotation, np.array([0, np.pi / 2, np.pi]), SolverOptions(rtol=1e-12), 2
    )
    assert solution.failure is None
    assert solution.last[0] == np.pi
    ref.close(np.stack(solution.states[1]), np.array([[0.0, -1.0], [1.0, 0.0]]), 1e-10)
    ref.close(np.stack(solution.states[2]), -np.stack(start), 1e-10)


def turn(**options):
    """Error after one turn."""
    times = np.array([0, 2 * np.pi])
    solution = integrate((np.ones(1), np.zeros(1)), rotation, times, SolverOptions(**options))
    x, y = solution.states[-1]
    return np.hypot(x[0] - 1, y[0])


def test_the_steadier_method_is_of_fifth_order():
    steps = np.array([0.2, 0.1, 0.05])
    options = {"method": SmoothRK45, "rtol": 0.5, "atol": 1.0}
    errors = [turn(solver={"max_step": h, "first_step": h}, **options) for h in steps]
    assert ref.slope(steps, errors) == pytest.approx(5, abs=0.1)
    for rtol in (1e-3, 1e-5):
        assert rtol / 100 < turn(method=SmoothRK45, rtol=rtol) < rtol
        # A first step that is far too long is not taken.
        assert turn(method=SmoothRK45, rtol=rtol, solver={"first_step": 3.0}) < 3 * rtol


def test_the_default_method_is_of_eighth_order_and_as_accurate_as_asked():
    steps = np.array([0.6, 0.4, 0.3])
    options = {"rtol": 9e-5, "atol": 1.0}
    errors = [turn(solver={"max_step": h, "first_step": h}, **options) for h in steps]
    assert ref.slope(steps, errors) == pytest.approx(8, abs=0.4)
    for rtol in (1e-5, 1e-8, 1e-11):
        assert turn(rtol=rtol) < rtol
        assert turn(rtol=rtol, solver={"first_step": 3.0}) < 3 * rtol


@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_first_steps_shorter_than_spacings_of_time_are_lengthened(rtol):
    times, options = np.array([1.0, 2.0]), SolverOptions(rtol=rtol, solver={"first_step": 1e-20})
    solution = integrate((np.ones(1), np.zeros(1)), rotation, times, options)
    assert solution.failure is None
    assert solution.states[-1][0][0] == pytest.approx(np.cos(1), abs=2 * rtol)


@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_a_first_step_that_is_no_number_fails(rtol):
    options = SolverOptions(rtol=rtol, solver={"first_step": np.nan})
    solution = integrate((np.ones(1), np.zeros(1)), rotation, np.array([0.0, 2.0]), options)
    assert solution.failure is not None


def test_steps_of_many_chains_are_seldom_rejected(rng):
    """Chains leave a saddle one after the other: the worst error jumps from chain to chain."""
    W = 1e-2 * rng.standard_normal((100, 2, 2))
    space = DeepLinearNetwork((2,) * 5)

    def rejected(method):
        steps, attempts = set(), []

        class Counted(method):
            def _estimate_error_norm(self, K, h, scale):
                attempts.append(1)
                return super()._estimate_error_norm(K, h, scale)

            def _step_impl(self):
                steps.add(self.t)
                return super()._step_impl()

        gradient_flow(space, W, lambda X: np.eye(2) * (X - np.eye(2)), [0, 50], method=Counted)
        return len(attempts) - len(steps), len(steps)

    (ours, our_steps), (scipys, _) = rejected(SmoothDOP853), rejected(DOP853)
    assert ours < 0.6 * scipys
    assert ours < 0.2 * our_steps


def test_an_event_may_halt_an_integration():
    def event(t, state):
        if state[0][0] < 0.5:
            raise HaltError("it went too far")
        return 1.0

    options = SolverOptions(events=(event,))
    start = (np.ones(1), np.zeros(1))
    solution = integrate(start, rotation, np.array([0, 0.5, 2]), options)
    assert solution.failure == "it went too far"
    before, (x, y) = solution.last
    assert 0.5 < before < 2
    assert x[0] == pytest.approx(np.cos(before), abs=1e-6)
    assert y[0] == pytest.approx(np.sin(before), abs=1e-6)


@pytest.mark.parametrize("method", ["DOP853", "RK45", slow("Radau"), "BDF", "LSODA"])
def test_a_singular_equation_ends_where_its_solution_does(method):
    """``y' = y^2`` ends at time one; LSODA alone would never notice."""
    options = SolverOptions(method=method, max_evaluations=20_000)
    times = np.array([0, 0.25, 0.5, 2])
    solution = integrate((np.ones(1),), lambda state: (state[0] ** 2,), times, options)
    assert "step size" in solution.failure
    assert solution.last[0] == pytest.approx(1, abs=1e-4)
    assert solution.last[1][0][0] > 1e4
    ref.close([x[0][0] for x in solution.states], [1, 4 / 3, 2], 1e-5)


def test_parameters_of_a_torch_model_are_a_start(rng):
    torch = pytest.importorskip("torch")
    layers = ref.random_layers((3, 2, 4), rng)
    parameters = [torch.nn.Parameter(torch.from_numpy(x)) for x in layers]
    target = torch.from_numpy(rng.standard_normal((4, 3)))
    run = network_flow(parameters, lambda W: W.detach() - target, [0, 0.5])
    plain = network_flow(layers, lambda W: W - target.numpy(), [0, 0.5])
    ref.close(run.observed["end_to_end"].detach().numpy(), plain.observed["end_to_end"], 1e-9)


def _sine(W):
    return np.sin(W)


PICKLED = {
    "dense": (DeepLinearNetwork((2, 2, 2)), np.diag([1.3, 0.4]), {}),
    "very deep": (DeepLinearNetwork((2,) * 12), np.diag([1.3, 0.4]), {}),
    "one layer": (DeepLinearNetwork((2, 3)), np.eye(3, 2), {}),
    "low rank": (DeepLinearNetwork((3, 1, 3)), np.diag([1.3, 0.0, 0.0]), {}),
    "mixed ranks": (
        InfinitelyDeepNetwork(2),
        np.stack([np.diag([1.3, 0.4]), np.eye(2)]),
        {},
    ),
    "svd": (DeepLinearNetwork((2, 2, 2)).base, dlngeom.svd(np.diag([1.3, 0.4])), {"svd": True}),
    "upstairs": (DeepLinearNetwork((2, 3, 2)), "random", {"upstairs": True}),
    "one layer upstairs": (DeepLinearNetwork((2, 3)), "random", {"upstairs": True}),
    "sphere": (Sphere(3), "random", {"upstairs": True}),
    "below a sphere": (Sphere(3), np.asarray([1.0, 2.0]), {}),
    "chains of frames": (Grassmann(4, 2), "chains", {"upstairs": True}),
}


def _of_svd(point):
    return dlngeom.dense(point)


@pytest.mark.parametrize("name", PICKLED)
@pytest.mark.parametrize("method", [None, slow("BDF"), slow("LSODA"), slow("Radau")])
def test_trajectories_with_an_interpolant_pickle(name, method):
    space, point, options = PICKLED[name]
    options = dict(options)
    if isinstance(point, str):
        point = space.random_point(1, (2,) if point == "chains" else ())
    gradient = _of_svd if options.pop("svd", False) else _sine
    run = gradient_flow(
        space, point, lambda W: gradient(W), [0.0, 0.3], dense_output=True, method=method, **options
    )
    again = pickle.loads(pickle.dumps(run))
    assert same(again.points, run.points)
    for t in (0.0, 0.123, 0.3):
        assert same(again.at(t), run.at(t))


def test_trajectories_of_layers_with_an_interpolant_pickle():
    for layers in ([np.eye(2)], [np.eye(2), np.diag([1.0, 2.0])]):
        run = network_flow(layers, lambda W: W - 2, [0.0, 0.3], dense_output=True)
        assert same(pickle.loads(pickle.dumps(run)).at(0.1), run.at(0.1))
