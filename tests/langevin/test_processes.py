"""Drivers of the samplers: what goes in, what comes out, and what is refused."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, Frames, InfinitelyDeepNetwork
from dlngeom.langevin import (
    LangevinError,
    brownian_motion,
    network_langevin,
    riemannian_langevin,
    step,
)
from dlngeom.langevin._engine._groups import joined
from dlngeom.langevin._engine._steps import Plan
from dlngeom.quotients import BuresWasserstein, Grassmann, HermitianSpectrum, Sphere
from tests.helpers import langevin_cases as cases
from tests.helpers import reference as ref
from tests.helpers.trees import same

SPACE = DeepLinearNetwork((2, 3, 2))
# A fork would copy the threads of other libraries that tests have loaded.
FRESH = multiprocessing.get_context("spawn")
RUN = {"duration": 0.2, "n_steps": 10, "rng": 4}


def test_a_trajectory_of_networks(rng):
    x = SPACE.random_point(rng)
    run = riemannian_langevin(
        SPACE, x, energy_gradient=cases.quadratic, beta=5.0, n_chains=3, save_every=4, **RUN
    )
    ref.close(run.times, [0, 0.08, 0.16, 0.2])
    assert isinstance(run.points, Frames)
    assert run.points.lam.shape == (3, 4, 2)
    assert [q.shape for q in run.points.q] == [(3, 4, 2, 2), (3, 4, 3, 2), (3, 4, 2, 2)]
    W = run.observed["end_to_end"]
    assert W.shape == (3, 4, 2, 2)
    ref.close(W, dlngeom.dense(run.points), 1e-13)
    ref.close(W[:, 0], np.broadcast_to(dlngeom.dense(x), (3, 2, 2)), 1e-14)
    last = Frames(run.points.lam[:, -1], tuple(q[:, -1] for q in run.points.q))
    dlngeom.frames(dlngeom.factors(last))
    assert not same(last.lam[0], last.lam[1])


@pytest.mark.parametrize(
    ("widths", "chains", "sizes"),
    [
        ((2, 2, 2, 2), 100, [100]),
        ((2, 2, 2, 2), 300, [256, 44]),
        ((2, 2, 2, 2), 1024, [256, 256, 256, 256]),
        ((10, 10, 10, 10), 256, [64, 64, 64, 64]),
        ((40, 40, 40), 256, [64, 64, 64, 64]),
    ],
)
def test_groups_are_worth_their_calls_and_small_enough_for_caches(widths, chains, sizes):
    state = DeepLinearNetwork(widths).random_point(0, (chains,))
    size = joined(state)
    assert [min(size, chains - first) for first in range(0, chains, size)] == sizes


def test_points_keep_their_kind(rng):
    W = dlngeom.dense(SPACE.random_point(rng))
    run = brownian_motion(SPACE, W, beta=2.0, **RUN)
    assert run.points.shape == (1, 11, 2, 2)
    ref.close(run.points[0, 0], W, 1e-14)
    svd = brownian_motion(SPACE.base, dlngeom.svd(W), beta=2.0, **RUN)
    assert isinstance(svd.points, dlngeom.SVD)
    assert svd.points.u.shape == (1, 11, 2, 2)
    ref.close(svd.observed["end_to_end"][0], run.points[0], 1e-13)
    deep = brownian_motion(InfinitelyDeepNetwork(2), W, **RUN)
    assert np.all(np.linalg.det(deep.points[0]) * np.linalg.det(W) > 0)
    upstairs = brownian_motion(SPACE, dlngeom.factors(SPACE.random_point(1)), upstairs=True, **RUN)
    assert isinstance(upstairs.points, Frames)


def test_brownian_motion_upstairs_is_the_langevin_equation_without_energy(rng):
    x = SPACE.random_point(rng)
    one = brownian_motion(SPACE, x, beta=2.0, upstairs=True, **RUN)
    two = riemannian_langevin(SPACE, x, beta=2.0, **RUN)
    assert same(one.points, two.points)


def test_observables_are_what_was_asked_for(rng):
    x = SPACE.random_point(rng, (5,))
    observe = {"R2": cases.layer_norms, "layers": dlngeom.factors}
    run = riemannian_langevin(SPACE, x, beta=1.0, observe=observe, **RUN)
    assert set(run.observed) == {"R2", "layers"}
    assert run.observed["R2"].shape == (5, 11)
    assert [y.shape for y in run.observed["layers"]] == [(5, 11, 3, 2), (5, 11, 2, 3)]
    data = run.to_xarray()
    assert data["R2"].dims == ("chain", "draw")
    assert data["layers_0"].shape == (5, 11, 3, 2)
    nothing = riemannian_langevin(SPACE, x, beta=1.0, observe={}, **RUN)
    assert nothing.observed == {}


@pytest.mark.slow
def test_convergence_of_chains(rng):
    pytest.importorskip("arviz_stats")
    run = riemannian_langevin(
        SPACE, SPACE.random_point(rng), energy_gradient=cases.quadratic, beta=5.0, n_chains=4,
        duration=20.0, n_steps=400, rng=4, observe={"R2": cases.layer_norms},
    )  # fmt: skip
    table = run.diagnostics(names=["R2"])
    assert set(table) == {"r_hat", "ess_bulk", "ess_tail", "mcse"}
    assert 0.99 < table["r_hat"]["R2"] < 1.2
    assert 20 < table["ess_bulk"]["R2"] < 1600


def test_results_depend_on_neither_grouping_nor_workers(rng):
    x = SPACE.random_point(rng)
    options = {"energy_gradient": cases.quadratic, "beta": 2.0, "kappa": 0.5, **RUN}
    many = riemannian_langevin(SPACE, x, n_chains=520, **options)
    few = riemannian_langevin(SPACE, x, n_chains=70, **options)
    assert same(many.points.lam[:64], few.points.lam[:64])
    with ThreadPoolExecutor(3) as pool:
        assert same(
            riemannian_langevin(SPACE, x, n_chains=200, pool=pool, **options).points,
            riemannian_langevin(SPACE, x, n_chains=200, **options).points,
        )


def test_processes_change_nothing(rng):
    x = SPACE.random_point(rng)
    options = {"energy_gradient": cases.quadratic, "beta": 2.0, "n_chains": 130, **RUN}
    with ProcessPoolExecutor(2, FRESH) as pool:
        run = riemannian_langevin(SPACE, x, pool=pool, **options)
    assert same(run.points, riemannian_langevin(SPACE, x, **options).points)


def test_generators_give_new_streams_and_seeds_the_same(rng):
    x, options = SPACE.random_point(rng), {"duration": 0.1, "n_steps": 3, "beta": 1.0}
    generator = np.random.default_rng(7)
    runs = [
        riemannian_langevin(SPACE, x, rng=r, **options).points for r in (7, 7, generator, generator)
    ]
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])
    assert not same(runs[2], runs[3])


@pytest.mark.parametrize(
    "space", [Sphere(3), HermitianSpectrum(3), BuresWasserstein(3, 2), Grassmann(4, 2)], ids=str
)
def test_other_quotients_run_up_and_down(space, rng):
    x = space.random_point(rng)
    run = riemannian_langevin(space, x, beta=2.0, kappa=0.5, n_chains=3, **RUN)
    assert run.points.shape == (3, 11, *x.shape)
    assert run.observed == {}
    downstairs = brownian_motion(space, space.project(x), n_chains=2, **RUN)
    assert downstairs.points.shape == (2, 11, *space.project(x).shape)
    energy = riemannian_langevin(space, x, energy_gradient=cases.identity, beta=2.0, **RUN)
    assert not same(energy.points, riemannian_langevin(space, x, beta=2.0, **RUN).points)


def test_low_precision_stays(rng):
    x = SPACE.random_point(rng)
    low = Frames(x.lam.astype(np.float32), tuple(q.astype(np.float32) for q in x.q))
    run = riemannian_langevin(SPACE, low, beta=1.0, n_chains=2, **RUN)
    assert run.points.lam.dtype == np.float32
    assert run.observed["end_to_end"].dtype == np.float32


def test_step_is_one_step_in_every_library(xp, rng):
    if xp.name == "jax":
        pytest.skip("compiles for seconds; compiled as a whole beside the other backends")
    x = SPACE.random_point(rng, (2,))
    xi = ref.random_layers(SPACE.widths, rng, (2,))
    G = rng.standard_normal((2, 2, 2))
    options = {"duration": 0.01, "beta": 2.0, "kappa": 0.5}
    moved = step(SPACE, xp.array(x), xp.array(xi), covector=xp.array(G), **options)
    lifted = SPACE.codifferential(x, G)
    up, tangent = SPACE.vertical_projection(x, xi), SPACE.tangent_projection(x, xi)
    V = tuple(
        np.sqrt(0.01) * (v + np.sqrt(0.5) * (t - v)) - 0.01 * g
        for v, t, g in zip(up, tangent, lifted, strict=True)
    )
    # The walk damps what the retraction of balanced networks corrects, at fourth order.
    expected = dlngeom.factors(SPACE.retraction(x, V))
    ref.close_layers(dlngeom.factors(xp.numpy(moved)), expected, 1e-3)
    W, noise = dlngeom.svd(rng.standard_normal((2, 3, 3))), rng.standard_normal((2, 3, 3))
    for space in (DeepLinearNetwork((3, 3, 3)).base, InfinitelyDeepNetwork(3)):
        here = step(space, W, noise, duration=1e-3, beta=1.0)
        there = step(space, xp.array(W), xp.array(noise), duration=1e-3, beta=1.0)
        ref.close(dlngeom.dense(dlngeom.SVD(*xp.numpy(tuple(there)))), dlngeom.dense(here), 1e-12)


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 2, 3)])
@pytest.mark.parametrize("part", ["frames", "values", "noise", "covector"])
def test_complex_numbers_are_refused_by_real_spaces(widths, part, rng):
    space = DeepLinearNetwork(widths)
    given = {
        "point": space.random_point(rng),
        "noise": ref.random_layers(widths, rng),
        "covector": rng.standard_normal((widths[-1], widths[0])),
    }
    x = given["point"]
    if part == "frames":
        given["point"] = x._replace(q=tuple(q + 0j for q in x.q))
    elif part == "values":
        given["point"] = x._replace(lam=x.lam + 0j)
    else:
        given[part] = with_imaginary_part(given[part])
    with pytest.raises(ValueError, match=r"complex128.*pass the real part"):
        step(space, **given, duration=0.01, beta=2.0)


def with_imaginary_part(value):
    return tuple(x + 0j for x in value) if isinstance(value, tuple) else value + 0j


def test_step_downstairs_is_the_shadow_of_a_horizontal_step(rng):
    space = DeepLinearNetwork((3, 2, 2, 3))
    W = space.base.random_point(rng)
    noise = 0.02 * rng.standard_normal((3, 3))
    moved = step(space.base, W, noise, duration=1.0, beta=2.0)
    weights = dlngeom.endtoend.cometric(W, noise, 3)
    root = dlngeom.Tangent(
        *(
            np.sign(x) * np.sqrt(np.abs(x * y))
            for x, y in zip(weights, components(W, noise), strict=True)
        )
    )
    expected = dlngeom.endtoend.retraction(W, root, 3)
    ref.close(dlngeom.dense(moved), dlngeom.dense(expected), 1e-5)


def components(W, Z):
    """Tangent components of a matrix."""
    image, back = Z @ W.vt.T, Z.T @ W.u
    return dlngeom.Tangent(
        image - W.u @ (W.u.T @ image), W.u.T @ image, back - W.vt.T @ (W.vt @ back)
    )


def test_diverging_chains_are_named(rng):
    x = SPACE.random_point(rng, (130,))
    big = Frames(x.lam.copy(), x.q)
    big.lam[100] *= 40.0
    with pytest.raises(LangevinError, match=r"chain 100 failed at step \d of 10") as caught:
        riemannian_langevin(SPACE, big, energy_gradient=cases.quartic, beta=1.0, **RUN)
    error = caught.value
    assert error.chain == 100
    assert np.all(np.isfinite(error.point.lam))
    assert error.point.lam.shape == (2,)
    assert error.time == pytest.approx(0.02 * (error.step - 1))
    assert error.trajectory.points.lam.shape[1] == error.step
    again = pickle.loads(pickle.dumps(error))
    assert (again.chain, again.step) == (error.chain, error.step)


def test_gradients_that_are_not_finite_are_named(rng):
    calls = []

    def gradient(W):
        calls.append(1)
        return np.where((np.arange(len(W)) == 2)[:, None, None] & (len(calls) == 4), np.nan, W)

    # Far from small singular values, where a step would ask for more than one gradient.
    space = DeepLinearNetwork((2, 2, 2))
    x = space.random_point(rng, (3,))._replace(lam=np.repeat([[3.0, 2.0]], 3, axis=0))
    with pytest.raises(LangevinError, match=r"chain 2 failed at step 4 of 10, t=0\.06: the energy"):
        riemannian_langevin(space, x, energy_gradient=gradient, beta=1.0, **RUN)


def test_a_pool_that_dies_is_named(rng):
    with (
        ProcessPoolExecutor(1, FRESH) as pool,
        pytest.raises(LangevinError, match="the pool died") as got,
    ):
        riemannian_langevin(
            SPACE, SPACE.random_point(rng), energy_gradient=cases.deadly, beta=1.0, pool=pool, **RUN
        )
    assert (got.value.chain, got.value.step) == (0, 0)


class _Careless:
    @staticmethod
    def scalar(W):
        return 1.0

    @staticmethod
    def wrong(W):
        return W[:, :1]


def test_processes_refuse_bad_input(rng):
    x = SPACE.random_point(rng)
    ok = {"beta": 1.0, **RUN}
    errors = {
        "beta=-1.0: it must be positive": {"beta": -1.0},
        "kappa=-0.5: it must be >= 0": {"kappa": -0.5},
        "kappa=inf": {"kappa": np.inf},
        "duration=0: it must be positive": {"duration": 0},
        "n_steps=0: it must be an integer of at least 1": {"n_steps": 0},
        "n_steps=2.5": {"n_steps": 2.5},
        "save_every=True": {"save_every": True},
        "n_chains=0": {"n_chains": 0},
        "rng='x'": {"rng": "x"},
        "energy is given without adjust": {"energy": cases.half_squared},
        "energy_gradient has shape": {"energy_gradient": _Careless.wrong},
    }
    for message, bad in errors.items():
        with pytest.raises(ValueError, match=message):
            riemannian_langevin(SPACE, x, **{**ok, **bad})
    types = {
        "observe=3": {"observe": 3},
        "pool=3": {"pool": 3},
        r"energy_gradient returned float": {"energy_gradient": _Careless.scalar},
    }
    for message, bad in types.items():
        with pytest.raises(TypeError, match=message):
            riemannian_langevin(SPACE, x, **{**ok, **bad})


@pytest.mark.parametrize("gradient", [lambda W: W[:1], lambda W: W[0]])
def test_every_chain_needs_its_own_gradient(gradient, rng):
    with pytest.raises(ValueError, match="a covector for each chain"):
        riemannian_langevin(
            SPACE, SPACE.random_point(rng), energy_gradient=gradient, beta=1.0, n_chains=3, **RUN
        )


def test_points_of_other_spaces_are_checked_too():
    ok = {"beta": 1.0, **RUN}
    with pytest.raises(ValueError, match=r"the point has shapes \[\(7,\)\]"):
        riemannian_langevin(Sphere(3), np.ones(7), **ok)
    with pytest.raises(ValueError, match="the point is not finite"):
        riemannian_langevin(Sphere(3), np.array([1.0, np.nan, 0.0]), **ok)


def test_names_that_would_hide_others_are_refused(rng):
    run = riemannian_langevin(
        SPACE, SPACE.random_point(rng), beta=1.0, observe={"draw": cases.layer_norms}, **RUN
    )
    with pytest.raises(ValueError, match="would hide the variable 'draw'"):
        run.to_xarray()
    square = DeepLinearNetwork((2, 2, 2))
    with pytest.raises(ValueError, match="observes by itself"):
        riemannian_langevin(
            square, square.random_point(rng), beta=1.0, adjust=True,
            observe={"acceptance": cases.layer_norms}, **RUN,
        )  # fmt: skip


def test_bad_points(rng):
    x, ok = SPACE.random_point(rng), {"beta": 1.0, **RUN}
    with pytest.raises(ValueError, match=r"widths \(2, 4, 2\)"):
        riemannian_langevin(SPACE, DeepLinearNetwork((2, 4, 2)).random_point(0), **ok)
    with pytest.raises(ValueError, match="of type"):
        riemannian_langevin(SPACE, np.eye(2), **ok)
    with pytest.raises(ValueError, match="n_chains=3 and the point has 2 chains"):
        riemannian_langevin(SPACE, SPACE.random_point(rng, (2,)), n_chains=3, **ok)
    with pytest.raises(ValueError, match="batch shape"):
        riemannian_langevin(SPACE, SPACE.random_point(rng, (2, 2)), **ok)
    with pytest.raises(ValueError, match="smallest singular value 0"):
        brownian_motion(SPACE, np.zeros((2, 2)), **ok)
    with pytest.raises(ValueError, match="nothing lies upstairs"):
        brownian_motion(InfinitelyDeepNetwork(2), x, upstairs=True, **ok)
    with pytest.raises(TypeError, match="it must be a Base"):
        brownian_motion(3, x, **ok)
    with pytest.raises(ValueError, match="it must be layers"):
        network_langevin(x, **ok)


def test_observe_functions_are_checked_before_the_run(rng):
    with pytest.raises(ValueError, match="the first axis must be the chains"):
        riemannian_langevin(
            SPACE,
            SPACE.random_point(rng),
            beta=1.0,
            observe={"mean": lambda p: p.lam.mean(0)},
            **RUN,
        )


@pytest.mark.parametrize("upstairs", [True, False])
def test_nearly_equal_small_singular_values_do_not_throw_a_chain(upstairs, rng):
    space = DeepLinearNetwork((3, 3, 3))
    lam = np.repeat([[0.84, 0.0127, 0.0096]], 4_000, axis=0)
    x = space.random_point(rng, (4_000,))._replace(lam=lam)
    if upstairs:
        xi = tuple(rng.standard_normal((4_000, 3, 3)) for _ in range(2))
        moved = step(space, x, xi, duration=0.08, beta=3.0).lam
        added = 2 * 0.08 / 3.0 * space.dim
    else:
        W, xi = dlngeom.svd(space.project(x)), rng.standard_normal((4_000, 3, 3))
        moved = step(space.base, W, xi, duration=0.08, beta=3.0).s ** 0.5
        added = 2 * 0.08 / 3.0 * space.dim_base
    # One long step is not exact, but it must not be thrown out by what corrects it.
    before, after = (2 * np.sum(y**2, axis=-1) for y in (lam, moved))
    assert 0.5 * added < np.mean(after - before) < 1.5 * added
    assert np.max(after) < 20


@pytest.mark.parametrize("save_every", [1, 3, 4, 10, 13])
def test_saved_steps_are_the_regular_ones_and_the_last(save_every):
    steps = sorted({*range(0, 10, save_every), 10})
    plan = Plan(None, 0.3, 10, save_every, 1.0, 1.0)
    assert [step for step in range(12) if step in plan.saved] == steps
    assert len(plan.saved) == len(steps)
    assert np.array_equal(plan.times, 0.3 * np.asarray(steps) / 10)


NO_FUNCTIONS = [3, "text", b"bytes", {}, [1.0], np.eye(2), object(), 1.5]


@pytest.mark.parametrize("value", NO_FUNCTIONS, ids=lambda x: type(x).__name__)
def test_what_is_no_function_is_refused(value):
    x, layers = SPACE.random_point(0), dlngeom.factors(SPACE.random_point(0))
    with pytest.raises(TypeError, match=r"energy_gradient=.*: it must be a function"):
        riemannian_langevin(SPACE, x, energy_gradient=value, beta=1.0, **RUN)
    with pytest.raises(TypeError, match=r"energy_gradient=.*: it must be a function"):
        network_langevin(layers, energy_gradient=value, beta=1.0, **RUN)
    with pytest.raises(TypeError, match=r"energy=.*: it must be a function"):
        riemannian_langevin(SPACE, x, energy=value, adjust=True, beta=1.0, **RUN)
    with pytest.raises(TypeError, match=r"energy_gradient=.*: it must be a function"):
        riemannian_langevin(Sphere(3), np.ones(3), energy_gradient=value, beta=1.0, **RUN)
    observe = {"x": value}
    with pytest.raises(TypeError, match=r"observe\['x'\]=(.|\n)*: it must be a function"):
        brownian_motion(SPACE, np.eye(2), observe=observe, **RUN)


@pytest.mark.parametrize("value", [3, 1.5, object(), b"bytes", ["a"]])
def test_checkpoints_are_paths(value):
    with pytest.raises(TypeError, match=r"checkpoint=.*: it must be the path of a folder"):
        brownian_motion(SPACE, np.eye(2), checkpoint=value, **RUN)


RETURNED = {
    "number": (lambda x: None, "energy_gradient returned"),
    "text": (lambda x: "text", "energy_gradient returned shape str"),
    "pair": (lambda x: (x, x), "energy_gradient returned 2 arrays: it must return 1"),
    "objects": (lambda x: x.astype(object), "energy_gradient has dtype object"),
    "masked": (lambda x: np.ma.array(x, mask=True), "energy_gradient has . masked entries"),
    "complex": (lambda x: x + 1j, "energy_gradient returned dtype complex128: it must be real"),
    "shape": (lambda x: x[..., None], "energy_gradient returned shape"),
}


@pytest.mark.parametrize("case", RETURNED)
@pytest.mark.parametrize("space", [Sphere(3), HermitianSpectrum(3), Grassmann(3, 2)], ids=str)
def test_gradients_of_no_use_are_refused_in_every_space(space, case):
    gradient, words = RETURNED[case]
    with pytest.raises((TypeError, ValueError), match=words):
        riemannian_langevin(space, space.random_point(0), energy_gradient=gradient, beta=1.0, **RUN)


def test_gradients_may_be_lists_in_every_space():
    for space in (Sphere(3), HermitianSpectrum(3), DeepLinearNetwork((2, 2, 2))):
        x = space.random_point(0)
        plain = riemannian_langevin(
            space, x, energy_gradient=lambda y: y + 0.0, beta=1.0, n_chains=3, **RUN
        )
        listed = riemannian_langevin(
            space, x, energy_gradient=lambda y: y.tolist(), beta=1.0, n_chains=3, **RUN
        )
        assert same(plain.points, listed.points)


@pytest.mark.parametrize(
    "space",
    [Sphere(3), HermitianSpectrum(3), BuresWasserstein(3, 2), Grassmann(4, 2), SPACE],
    ids=str,
)
def test_no_chains_are_refused_and_no_points_are_no_results(space):
    x = space.random_point(0, (0,))
    below = space.project(x)
    calls = [
        lambda: riemannian_langevin(space, x, beta=1.0, **RUN),
        lambda: brownian_motion(space, x, upstairs=True, **RUN),
        lambda: brownian_motion(space, below, **RUN),
    ]
    if space is SPACE:
        calls.append(lambda: network_langevin(dlngeom.factors(x), beta=1.0, **RUN))
    for call in calls:
        with pytest.raises(ValueError, match=r"batch shape \(0,\): it must be \(\) or \(chain,\)"):
            call()
    assert dlngeom.submersion.cometric(space, x, below).shape == below.shape
    assert space.log_orbit_volume(below).shape == (0,)


def test_unbalanced_layers_are_refused_with_the_way_to_balanced_ones():
    layers = (np.eye(3, 2), 2 * np.eye(2, 3))
    calls = [
        lambda: dlngeom.frames(layers),
        lambda: riemannian_langevin(SPACE, layers, beta=1.0, **RUN),
        lambda: brownian_motion(SPACE, layers, upstairs=True, **RUN),
        lambda: dlngeom.flow.gradient_flow(
            SPACE, layers, cases.quadratic, [0.0, 0.1], upstairs=True
        ),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"not balanced: .*; nearest_balanced\(factors\) give"):
            call()
    riemannian_langevin(SPACE, dlngeom.nearest_balanced(layers), beta=1.0, **RUN)
