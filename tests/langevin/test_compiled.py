"""Runs of jax arrays, compiled from one saved draw to the next."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dlngeom import DeepLinearNetwork, Frames, factors
from dlngeom._lib.vectors import parts, rebuild
from dlngeom.langevin import LangevinError, brownian_motion, network_langevin, riemannian_langevin
from dlngeom.langevin._engine import _groups
from dlngeom.langevin._engine._steps import Plan, advance
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.submersion._walks import walk_of
from tests.helpers import langevin_cases as cases
from tests.helpers.namespaces import Namespace

jax = pytest.importorskip("jax")
# jax compiles each run for seconds.
pytestmark = pytest.mark.slow
RUN = {"beta": 4.0, "duration": 0.2, "n_steps": 6, "rng": 4}


class KeyedStreams(Streams):
    """The noise of compiled runs for the loop of numpy, step by step."""

    def __init__(self, seed, chains):
        from dlngeom.langevin._engine import _compiled

        super().__init__(np.random.default_rng(seed).spawn(-(-chains // BLOCK)))
        self.keys = _compiled.chain_keys(jax.numpy.asarray(self.words()), chains)
        self.part = np.zeros(chains, "u4")
        self.normals = jax.jit(_compiled.normals, static_argnums=(2, 3, 4))

    def begin(self, step, draws):
        self.now = jax.vmap(jax.random.fold_in, (0, None))(self.keys, step)
        self.draws, self.draw, self.part[:] = draws, 0, 0

    def normal(self, shape, chains, like):
        chains = np.arange(len(self.part)) if chains is None else chains
        # jax may read an array of numpy later, when it would have changed.
        part = self.part.copy()
        found = self.normals(self.now, part, self.draw, shape[1:], str(like.dtype))
        self.draw = (self.draw + 1) % self.draws
        if self.draw == 0:
            self.part[chains] += 1
        return np.array(found)[chains]


def near(widths, rank, chains, rng, scale=0.2):
    """Frames of which some are near a singularity."""
    x = DeepLinearNetwork(widths, rank=rank).random_point(rng, (chains,))
    lam = np.sort(rng.uniform(0.05, 1.0, (chains, rank)) * scale, axis=-1)[:, ::-1]
    return x._replace(lam=np.ascontiguousarray(lam))


WALKS = [
    ((2, 2, 2, 2), 2, 5, 0.5, True),
    ((2, 2, 2, 2), 2, 200, 1.0, True),
    ((3, 2, 4), 2, 70, 1.0, True),
    ((3, 3, 2, 3), 2, 200, 0.3, False),
    ((3, 2, 3), 1, 20, 1.0, False),
]


@pytest.mark.parametrize(("widths", "rank", "chains", "kappa", "upstairs"), WALKS)
def test_steps_are_those_of_the_loop_with_the_same_noise(
    widths, rank, chains, kappa, upstairs, rng, monkeypatch
):
    space, x = DeepLinearNetwork(widths, rank=rank), near(widths, rank, chains, rng)
    place, start = (space, x) if upstairs else (space.base, space.project(x))
    target = rng.standard_normal((widths[-1], widths[0]))
    xp, run = Namespace("jax"), {**RUN, "duration": 0.01}
    # The loop would call this; compiled runs do not.
    monkeypatch.setattr(_groups, "advance", None)
    there = riemannian_langevin(
        place, xp.array(start), kappa=kappa, save_every=2,
        energy_gradient=lambda W: W - xp.array(target), **run,
    )  # fmt: skip
    plan = Plan(walk_of(place, start), 0.01, 6, 2, 2 / 4.0, kappa * 2 / 4.0, lambda W: W - target)
    state = plan.walk.start(start)
    streams, draws = KeyedStreams(4, chains), len(parts(plan.walk.noise(state, np.ones)))
    divided = 0
    for step in range(1, 7):
        streams.begin(step, draws)
        state = advance(plan, state, streams, step)
        divided += np.sum(streams.part > 1)
    assert divided
    last = rebuild(there.points, [x[:, -1] for x in parts(there.points)])
    ends = [_seen(xp.numpy(last)), _seen(plan.walk.point(state))]
    for x, y in zip(*ends, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-9)


def _seen(point):
    """Layers or the matrix: singular vectors have signs of their own."""
    return factors(point) if isinstance(point, Frames) else (point,)


def start(xp, chains=None):
    x = DeepLinearNetwork((2, 3, 2)).random_point(7)._replace(lam=np.array([1.2, 0.8]))
    return xp.array(x if chains is None else rebuild(x, [np.stack([y] * chains) for y in parts(x)]))


def simulate(n_chains=3, energy_gradient=None, kappa=0.5, **options):
    xp = Namespace("jax")
    target = xp.array(cases.TARGET)
    return riemannian_langevin(
        DeepLinearNetwork((2, 3, 2)), start(xp), n_chains=n_chains, kappa=kappa,
        energy_gradient=energy_gradient or (lambda W: W - target), **{**RUN, **options},
    )  # fmt: skip


def same(one, two):
    return all(
        np.array_equal(x, y) for x, y in zip(parts(one.points), parts(two.points), strict=True)
    )


def test_draws_depend_neither_on_save_every_nor_on_workers():
    every = simulate(150, save_every=1)
    for save_every in (2, 4, 6):
        few = simulate(150, save_every=save_every)
        kept = [round(t * 6 / 0.2) for t in few.times]
        assert kept == sorted({*range(0, 6, save_every), 6})
        for x, y in zip(parts(every.points), parts(few.points), strict=True):
            assert np.array_equal(x[:, np.asarray(kept)], y)
    with ThreadPoolExecutor(2) as pool:
        assert same(every, simulate(150, save_every=1, pool=pool))
    assert not same(every, simulate(150, save_every=1, rng=5))


def test_long_runs_go_on_over_calls(monkeypatch):
    from dlngeom.langevin._engine import _compiled

    whole = simulate(save_every=6)
    monkeypatch.setattr(_compiled, "_STEPS", 4)
    assert list(_compiled.legs(Plan(None, 1.0, 11, 5, 1.0, 1.0), 0)) == [4, 5, 9, 10, 11]
    assert same(whole, simulate(save_every=6))


def test_what_an_energy_closes_over_is_read_at_each_run():
    xp = Namespace("jax")
    inner = jax.jit(lambda W, target: W - target)
    ends = []
    for target in (cases.TARGET, 2 * cases.TARGET):
        there = xp.array(target)
        plain = simulate(energy_gradient=lambda W, T=there: W - T)
        compiled = simulate(energy_gradient=jax.jit(lambda W, T=there: W - T))
        nested = simulate(energy_gradient=lambda W, T=there: inner(W, T))
        np.testing.assert_allclose(plain.points.lam, compiled.points.lam, atol=1e-12)
        np.testing.assert_allclose(plain.points.lam, nested.points.lam, atol=1e-12)
        ends.append(plain.points.lam)
    assert not np.allclose(*ends)


def test_energies_that_cannot_be_traced_are_stepped():
    xp, seen = Namespace("jax"), []

    def on_host(W):
        seen.append(np.asarray(W))
        return xp.array(seen[-1] - cases.TARGET)

    run = simulate(energy_gradient=on_host)
    assert len(seen) >= 6
    assert run.points.lam.shape == (3, 7, 2)
    with pytest.raises(TypeError, match="one library"):
        simulate(energy_gradient=lambda W: np.asarray(W))


def test_other_drivers_are_compiled(rng, monkeypatch):
    monkeypatch.setattr(_groups, "advance", None)
    xp, space = Namespace("jax"), DeepLinearNetwork((2, 3, 2))
    W = xp.array(rng.standard_normal((2, 2)))
    down = brownian_motion(space, W, duration=0.1, n_steps=4, rng=1, n_chains=5)
    assert down.points.shape == (5, 5, 2, 2)
    up = brownian_motion(
        space, start(xp), duration=0.1, n_steps=4, rng=1, upstairs=True, beta=np.inf
    )
    assert np.ptp(np.asarray(up.points.lam), axis=1).max() < 1e-12
    layers = xp.array((rng.standard_normal((3, 2)), rng.standard_normal((2, 3))))
    for kappa in (1.0, 0.5):
        run = network_langevin(
            layers, beta=1.0, kappa=kappa, duration=0.1, n_steps=4, rng=1, n_chains=70,
            energy_gradient=lambda W: W,
        )  # fmt: skip
        assert run.points[0].shape == (70, 5, 3, 2)
        assert len(np.unique(np.asarray(run.points[0])[:, -1, 0, 0])) == 70


def test_precision_is_kept():
    xp, space = Namespace("jax"), DeepLinearNetwork((2, 2, 2))
    x = xp.array(space.random_point(7), "float32")
    run = riemannian_langevin(space, x, energy_gradient=lambda W: W, n_chains=70, **RUN)
    assert xp.dtypes(run.points) == {"float32"}
    assert np.all(np.isfinite(run.points.lam))


def test_divergence_has_the_last_finite_state_and_the_draws_before():
    def runaway(W):
        size = jax.numpy.sum(W * W, axis=(-2, -1), keepdims=True)
        return jax.numpy.where(size > 9, np.nan, -3.0) * W

    x = start(Namespace("jax"), 70)
    lam = np.array(x.lam)
    lam[:66] *= 0.5
    with pytest.raises(LangevinError, match="the energy gradient is not finite") as caught:
        riemannian_langevin(
            DeepLinearNetwork((2, 3, 2)), x._replace(lam=jax.numpy.asarray(lam)),
            energy_gradient=runaway, save_every=2, **{**RUN, "n_steps": 40, "beta": 1e6},
        )  # fmt: skip
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.chain >= 66
    assert error.step > 4
    assert error.trajectory.points.lam.shape[1] == (error.step - 1) // 2 + 1
    np.testing.assert_allclose(error.trajectory.times[-1], (error.step - 1) // 2 * 2 * 0.2 / 40)
    assert np.all(np.isfinite(error.point.lam))
    assert error.point.lam.shape == (2,)
    assert error.time == pytest.approx((error.step - 1) * 0.2 / 40)


def test_steps_that_are_too_long_are_an_error():
    with pytest.raises(LangevinError, match="the step is so long that the chain diverges"):
        simulate(energy_gradient=lambda W: 1e300 * W, duration=1e80)
