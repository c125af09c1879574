"""Chains on arrays of torch and jax: compiled steps, own noise, nothing that leaves a device."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

import dlngeom
from dlngeom import DeepLinearNetwork, balanced, endtoend, network
from dlngeom._lib.vectors import parts, rebuild
from dlngeom.flow import gradient_flow
from dlngeom.langevin import brownian_motion, network_langevin, riemannian_langevin, step
from dlngeom.langevin._engine._streams import BLOCK, Streams
from tests.helpers import langevin_cases as cases
from tests.helpers import reference as ref
from tests.helpers.namespaces import Namespace
from tests.helpers.parameters import slow

SPACE = DeepLinearNetwork((2, 3, 2))
LIBRARIES = ("torch", "jax")
# jax compiles a run for ten seconds.
RUNS = ["torch", slow("jax")]
RUN = {"beta": 2.0, "duration": 0.4, "n_steps": 8, "rng": 4, "save_every": 8}


@pytest.fixture(params=LIBRARIES)
def xp(request):
    pytest.importorskip(request.param)
    return Namespace(request.param)


@pytest.fixture(params=RUNS)
def running(request):
    pytest.importorskip(request.param)
    return Namespace(request.param)


def step_inputs(rng, chains=3):
    x = SPACE.random_point(rng, (chains,))
    return x, ref.random_layers(SPACE.widths, rng, (chains,)), rng.standard_normal((chains, 2, 2))


def signless(point):
    return (point.lam, *dlngeom.factors(point))


def take_step(x, xi, G, kappa=0.5):
    return signless(step(SPACE, x, xi, duration=0.01, beta=2.0, kappa=kappa, covector=G))


def close(xp, actual, expected, tolerance=1e-12):
    for x, y in zip(parts(xp.numpy(actual)), parts(expected), strict=True):
        ref.close(x, y, tolerance)


@pytest.mark.slow
def test_a_step_compiles_and_batches_and_leaves_no_device(rng):
    jax, xp = pytest.importorskip("jax"), Namespace("jax")
    given = step_inputs(rng)
    there, expected = xp.array(given), take_step(*given)
    for function in (take_step, jax.vmap(take_step)):
        compiled = jax.jit(function)
        compiled(*there)
        with jax.transfer_guard("disallow"):
            moved = compiled(*there)
        close(xp, moved, expected)


def test_a_step_downstairs_compiles(rng):
    jax, xp = pytest.importorskip("jax"), Namespace("jax")
    W, xi = dlngeom.svd(rng.standard_normal((3, 2, 2))), rng.standard_normal((3, 2, 2))

    def move(W, xi):
        return dlngeom.dense(step(SPACE.base, W, xi, duration=0.01, beta=2.0))

    close(xp, jax.jit(jax.vmap(move))(*xp.array((W, xi))), move(W, xi))


def on_meta(value):
    """Arrays of a device that has shapes but no numbers, so that nothing can read them."""
    torch = pytest.importorskip("torch")
    return rebuild(value, [torch.as_tensor(np.array(x)).to("meta") for x in parts(value)])


@pytest.mark.slow
def test_nothing_is_read_from_a_device_within_a_step(rng):
    x, xi, G = on_meta(step_inputs(rng))
    frames, W = x, on_meta(dlngeom.svd(rng.standard_normal((3, 4, 3)), 2))
    Z = on_meta(ref.random_tangent(dlngeom.svd(rng.standard_normal((3, 4, 3)), 2), rng))
    E = on_meta(rng.standard_normal((3, 4, 3)))
    unchecked = {"check_finite": False}
    results = [
        take_step(x, xi, G),
        take_step(x, xi, G, kappa=1.0),
        step(SPACE.base, on_meta(dlngeom.svd(np.ones((3, 2, 2)))), G, duration=0.01, beta=2.0),
        network.lifted_gradient(dlngeom.factors(frames), G, **unchecked),
        balanced.retraction(frames, xi, **unchecked),
        endtoend.gradient(W, E, 3, **unchecked),
        endtoend.retraction(W, Z, 3, **unchecked),
    ]
    assert {str(y.device) for result in results for y in parts(result)} == {"meta"}


def test_a_number_that_is_read_is_noticed(rng):
    x, xi, G = on_meta(step_inputs(rng))
    with pytest.raises((RuntimeError, NotImplementedError)):
        take_step(x, xi, G * float(x.lam[0, 0]))


def simulate(xp, n_chains, space=SPACE, kappa=0.5, **options):
    x = xp.array(space.random_point(7)._replace(lam=np.array([1.2, 0.8])))
    target = xp.array(cases.TARGET)
    return riemannian_langevin(
        space, x, n_chains=n_chains, kappa=kappa,
        energy_gradient=lambda W: W - target, **{**RUN, **options},
    )  # fmt: skip


def test_automatic_steps_are_those_of_numpy_and_warmup_takes_steps_before_the_start(running):
    xp = running
    found = simulate(xp, 3, n_steps="auto", warmup=5)
    expected = simulate(Namespace("numpy"), 3, n_steps="auto", warmup=5)
    assert found.step_size == expected.step_size
    assert {type(x) for x in parts(found.points)} == {type(xp.array(np.ones(1)))}
    whole = simulate(xp, 3, save_every=1)
    warm = simulate(xp, 3, duration=0.25, n_steps=5, warmup=3, save_every=1)
    pairs = zip(parts(whole.points), parts(warm.points), strict=True)
    assert all(np.array_equal(np.asarray(x)[:, 3:], np.asarray(y)) for x, y in pairs)
    assert warm.diagnostics()["r_hat"]["end_to_end"].shape == (2, 2)


def test_drivers_keep_the_library_and_the_streams_of_blocks(running):
    xp = running
    # jax compiles every number of chains that take shorter steps: here none does.
    options = {"duration": 0.4 if xp.name == "torch" else 0.004}
    few, many = simulate(xp, 70, **options), simulate(xp, 150, **options)
    chosen = [
        rebuild(x, [np.asarray(y)[:BLOCK] for y in parts(x)])
        for x in (few.observed["end_to_end"], many.observed["end_to_end"])
    ]
    # jax compiles anew for another number of chains, and may round in another order.
    np.testing.assert_allclose(*chosen, rtol=0, atol=0 if xp.name == "torch" else 1e-9)
    assert {type(x) for x in parts(many.points)} == {type(xp.array(np.ones(1)))}
    again = simulate(xp, 150, **options)
    assert all(
        np.array_equal(np.asarray(x), np.asarray(y))
        for x, y in zip(parts(many.points), parts(again.points), strict=True)
    )
    # Blocks and steps have different noise.
    W = np.asarray(many.observed["end_to_end"])[:, -1]
    assert len(np.unique(W[:, 0, 0])) == 150


@pytest.mark.slow
def test_a_pool_changes_nothing_on_torch():
    pytest.importorskip("torch")
    xp = Namespace("torch")
    with ThreadPoolExecutor(2) as pool:
        one = simulate(xp, 150, pool=pool)
    two = simulate(xp, 150)
    assert all(
        np.array_equal(x, y) for x, y in zip(parts(one.points), parts(two.points), strict=True)
    )


@pytest.mark.slow
def test_the_law_is_the_same_in_every_library(xp):
    # Short enough for few chains to take shorter steps, each number of which jax compiles.
    options = {"n_steps": 10, "save_every": 10, "duration": 0.1}
    there = np.asarray(simulate(xp, 1500, **options).observed["end_to_end"])[:, -1]
    here = simulate(Namespace("numpy"), 1500, **options).observed["end_to_end"][:, -1]
    wrong = simulate(Namespace("numpy"), 1500, kappa=0.05, **options).observed["end_to_end"][:, -1]
    for i, j in np.ndindex(2, 2):
        assert stats.ks_2samp(there[:, i, j], here[:, i, j]).pvalue > 1e-5 / 4
    assert stats.ks_2samp(there[:, 0, 0], wrong[:, 0, 0]).pvalue < 1e-5


def test_other_drivers_run_on_torch(rng):
    pytest.importorskip("torch")
    xp = Namespace("torch")
    W = xp.array(rng.standard_normal((2, 2)))
    down = brownian_motion(SPACE, W, duration=0.1, n_steps=4, rng=1, n_chains=5)
    assert tuple(down.points.shape) == (5, 5, 2, 2)
    layers = xp.array((np.eye(2), np.eye(2)))
    run = network_langevin(layers, beta=1.0, kappa=0.5, duration=0.1, n_steps=4, rng=1)
    assert type(run.points[0]) is type(W)


def test_flows_run_in_every_library(running, rng):
    xp = running
    x, options = SPACE.random_point(rng), {"rtol": 1e-6, "observe": {}}
    target, t = xp.array(cases.TARGET), [0.0, 0.5]
    for start, upstairs in ((x, True), (SPACE.project(x), False)):
        there = gradient_flow(
            SPACE, xp.array(start), lambda W: W - target, t, upstairs=upstairs, **options
        )
        here = gradient_flow(SPACE, start, cases.quadratic, t, upstairs=upstairs, **options)
        ends = [dlngeom.dense(y) if upstairs else y for y in (there.points, here.points)]
        close(xp, ends[0], ends[1], 1e-8)


def test_streams_of_numpy_are_those_of_their_generators():
    generators = np.random.default_rng(5).spawn(2)
    drawn = Streams(generators).normal((70, 2), None, np.ones(1))
    one, two = np.random.default_rng(5).spawn(2)
    expected = np.concatenate([one.standard_normal((64, 2)), two.standard_normal((6, 2))])
    assert np.array_equal(drawn, expected)


def test_streams_of_a_device_belong_to_blocks_alone(running):
    xp = running
    like = xp.array(np.ones(1))

    def draws(blocks, subset):
        streams = Streams(np.random.default_rng(5).spawn(3)[:blocks])
        yield streams.normal((64 * blocks, 3, 3), None, like)
        # Some chains of the first block alone: the others stay where they are.
        yield streams.normal((2, 40, 40), np.asarray(subset), like)
        for _ in range(3):
            yield streams.normal((64 * blocks, 10, 20), None, like)

    one, three = ([np.asarray(x) for x in draws(k, [3, 7])] for k in (1, 3))
    for x, y in zip(one, three, strict=True):
        assert np.array_equal(x, y[: len(x)])
    other = [np.asarray(x) for x in draws(3, [70, 80])]
    assert not np.array_equal(other[2][:64], three[2][:64])
    sample = np.concatenate([x.ravel() for x in three])
    assert len(np.unique(sample)) == len(sample)
    assert stats.kstest(sample, "norm").pvalue > 1e-5


def test_streams_keep_the_precision(xp):
    low = Streams(np.random.default_rng(5).spawn(1)).normal((5, 2), None, xp.array(1.0, "float32"))
    assert xp.dtypes(low) == {"float32"}
