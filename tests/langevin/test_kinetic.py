"""Motion with inertia: order, momenta, laws at equilibrium, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from dlngeom import DeepLinearNetwork, dense, factors
from dlngeom._lib.vectors import parts, rebuild
from dlngeom.langevin import LangevinError, _kinetic_walk, _rattle, kinetic_langevin
from dlngeom.langevin._engine._steps import take
from dlngeom.quotients import Grassmann, Sphere
from tests.helpers import langevin_cases as cases
from tests.helpers import reference as ref
from tests.helpers import trees
from tests.helpers.laws_cases import ALPHA, SEED, one_group
from tests.helpers.namespaces import Namespace
from tests.helpers.parameters import slow

NETWORKS = [((2, 3, 2), 2), ((2, 2, 2, 2), 2), ((3, 4, 4, 2), 2)]


def conservative(space, x, step, time, **options):
    return kinetic_langevin(
        space, x, energy_gradient=cases.identity, beta=1.0, friction=0.0, duration=time,
        n_steps=round(time / step), rng=0, **options,
    )  # fmt: skip


def energies(run):
    W, V = run.observed["end_to_end"], run.observed["velocity"]
    return cases.half_squared(W) + sum(np.sum(v * v, axis=(-2, -1)) for v in V) / 2


def momenta(run):
    """Antisymmetric parts of ``V_p W_p^T - W_{p+1}^T V_{p+1}``."""
    W, V = factors(run.points), run.observed["velocity"]
    found = [V[p] @ W[p].mT - W[p + 1].mT @ V[p + 1] for p in range(len(W) - 1)]
    return [(J - J.mT) / 2 for J in found]


def projected(space, x, v, time):
    """Move by the retraction and project the velocity: of first order, and no momentum is kept."""
    moved = space.retraction(x, _rattle.scale(time, v))
    return moved, space.tangent_projection(moved, v)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_energy_error_is_of_second_order_without_friction(case, monkeypatch):
    space = DeepLinearNetwork(*case)
    x, steps = space.random_point(0), [0.08, 0.04, 0.02]

    def errors():
        totals = [energies(conservative(space, x, h, 1.0)) for h in steps]
        return [np.max(np.abs(E - E[:, :1])) for E in totals]

    assert abs(ref.slope(steps, errors()) - 2) < 0.1
    monkeypatch.setattr(_kinetic_walk, "drift", projected)
    assert ref.slope(steps, errors()) < 1.5


@pytest.mark.slow
def test_momenta_of_the_gauge_are_kept(monkeypatch):
    space = DeepLinearNetwork((2, 3, 2))
    x = space.random_point(0)

    def change(time):
        return max(np.max(np.abs(J - J[:, :1])) for J in momenta(conservative(space, x, 0.1, time)))

    assert change(50.0) < 1e-10
    monkeypatch.setattr(_kinetic_walk, "drift", projected)
    assert change(5.0) > 1e-3


@one_group()
def watson(friction, **options):
    """Values of ``x_1^2`` of unit vectors under ``exp(-beta |x x^T - e e^T|^2 / 4)``."""
    space, beta = Grassmann(3, 1), 4.0
    e = np.diag([1.0, 0.0, 0.0])
    run = kinetic_langevin(
        space, space.random_point(0, (1000,)), energy_gradient=lambda P: -e + 0 * P, beta=beta,
        friction=friction, rng=SEED, observe={"x": lambda X: X[:, 0, 0]}, **options,
    )  # fmt: skip
    grid = np.linspace(-1, 1, 4001)
    cdf = np.cumsum(np.exp(beta * grid**2))
    return stats.kstest(
        run.observed["x"][:, -1], lambda x: np.interp(x, grid, cdf / cdf[-1])
    ).pvalue


@pytest.mark.slow
@pytest.mark.parametrize(("friction", "time"), [(0.1, 40.0), (1.0, 10.0), (10.0, 30.0)])
def test_positions_have_the_gibbs_law_at_every_friction(friction, time, monkeypatch):
    options = {"duration": time, "n_steps": round(time / 0.4), "save_every": 10**6}
    assert watson(friction, **options) > ALPHA
    if friction < 1:
        monkeypatch.setattr(_kinetic_walk, "drift", projected)
        assert watson(friction, **options) < ALPHA


SQUARE = DeepLinearNetwork((2, 2, 2))


@one_group()
def heated(start, friction, time, rng=SEED):
    """Chains after a time at ``beta = 2``, and their energies in units of the temperature."""
    run = kinetic_langevin(
        SQUARE, start, energy_gradient=cases.identity, beta=2.0, friction=friction, duration=time,
        n_steps=round(time / 0.2), save_every=10**6, rng=rng,
    )  # fmt: skip
    end = rebuild(run.points, [x[:, -1] for x in parts(run.points)])
    return end, 2.0 * cases.half_squared(run.observed["end_to_end"][:, -1])


@pytest.fixture(scope="module")
def warmed():
    """Chains at equilibrium by a friction of one, from far away."""
    return heated(SQUARE.random_point(0, (600,)), 1.0, 8.0)


@pytest.mark.slow
@pytest.mark.parametrize("friction", [0.1, 1.0, 10.0])
def test_the_energy_of_networks_has_a_gamma_law(friction, warmed):
    start, E = warmed
    if friction != 1:
        # The law is kept by other frictions, though every chain has moved far.
        before, (_, E) = E, heated(start, friction, 6.0, SEED + 1)
        assert abs(stats.spearmanr(before, E).statistic) < 0.9
    assert stats.kstest(E, stats.gamma(SQUARE.dim / 4).cdf).pvalue > ALPHA
    assert stats.kstest(E, stats.gamma(SQUARE.dim / 4, scale=1.4).cdf).pvalue < ALPHA


def paired(X, Y):
    """Inner products of tuples of layers."""
    return sum(np.sum(x * y, axis=(-2, -1)) for x, y in zip(X, Y, strict=True))


@one_group()
def bias_of_energy(start, step, monkeypatch):
    """Mean of ``|W|^2 / 2`` minus the exact one, and its error by chance, at ``beta = 2``.

    Since ``L`` is homogeneous of degree ``2 N`` on a cone, the deviation of ``2 N L`` is minus the
    generator of ``F = (L + |v|^2 / 2) / friction + <x, v> + friction |x|^2 / 2``.  The change of F
    along a run, and four products with the noise whose means are exactly zero, take nearly all of
    the chance away.
    """
    space, depth, friction, beta, time, chains = SQUARE, 2, 1.0, 2.0, 4.0, len(start.lam)
    kept, rubbed, seen = np.exp(-friction * step), _kinetic_walk.KineticWalk._rubbed, []

    def watched(self, x, v, noise, time):
        new = rubbed(self, x, v, noise, time)
        w = tuple(a - kept * b for a, b in zip(new, v, strict=True))
        size = (1 - kept**2) * space.dim / beta
        lifted = space.codifferential(x, dense(x))
        seen.append([paired(v, w), paired(w, w) - size, paired(factors(x), w), paired(lifted, w)])
        return new

    n_steps = round(time / step)
    with monkeypatch.context() as patch:
        patch.setattr(_kinetic_walk.KineticWalk, "_rubbed", watched)
        run = kinetic_langevin(
            space, start, energy_gradient=cases.identity, beta=beta, friction=friction,
            duration=time, n_steps=n_steps, warmup=n_steps, rng=SEED + 1,
        )  # fmt: skip
    L, X, V = (
        cases.half_squared(run.observed["end_to_end"]), factors(run.points),
        run.observed["velocity"],
    )  # fmt: skip
    F = (L + paired(V, V) / 2) / friction + paired(X, V) + friction * paired(X, X) / 2
    found = np.mean(L[:, 1:] + L[:, :-1], axis=1) / 2 - space.dim / (2 * depth * beta)
    found += (F[:, -1] - F[:, 0]) / (2 * depth * time)
    controls = np.vstack([np.ones(chains), np.sum(seen[-n_steps:], axis=0)]).T
    fit = np.linalg.lstsq(controls, found, rcond=None)[0]
    return fit[0], np.std(found - controls @ fit, ddof=5) / np.sqrt(chains)


@pytest.mark.slow
def test_the_mean_energy_has_a_bias_of_second_order(warmed, monkeypatch):
    start, steps = take(warmed[0], np.arange(384)), [0.2, 0.1, 0.05]
    found, errors = np.transpose([bias_of_energy(start, h, monkeypatch) for h in steps])
    assert np.all(np.abs(found) > 10 * errors)
    assert abs(ref.slope(steps, found) - 2) < 0.3
    # Moving by the retraction and projecting the velocity has a bias of first order.
    monkeypatch.setattr(_kinetic_walk, "drift", projected)
    found, errors = np.transpose([bias_of_energy(start, h, monkeypatch) for h in steps])
    assert np.all(np.abs(found) > 10 * errors)
    assert ref.slope(steps, np.abs(found)) < 1.4


def test_chains_do_not_depend_on_the_others_and_velocities_go_on(tmp_path):
    space = DeepLinearNetwork((2, 3, 2))
    x = space.random_point(1)
    options = {
        "energy_gradient": cases.identity, "beta": 2.0, "friction": 0.5, "duration": 0.2,
        "n_steps": 2, "rng": 3,
    }  # fmt: skip
    alone, many = (kinetic_langevin(space, x, n_chains=n, **options) for n in (64, 130))
    np.testing.assert_array_equal(alone.points.lam, many.points.lam[:64])
    rest = {"beta": 1.0, "friction": 0.0, "rng": 0, "energy_gradient": cases.identity}
    whole = kinetic_langevin(space, x, duration=0.4, n_steps=4, **rest)
    V = tuple(v[:, 2] for v in whole.observed["velocity"])
    at = type(x)(whole.points.lam[:, 2], tuple(q[:, 2] for q in whole.points.q))
    later = kinetic_langevin(space, at, velocity=V, duration=0.2, n_steps=2, **rest)
    ref.close(later.observed["end_to_end"][:, -1], whole.observed["end_to_end"][:, -1], 1e-12)


# jax compiles every operation of the drift, and anew for another number of chains or of rounds.
@pytest.mark.parametrize("name", ["torch", slow("jax")])
def test_other_libraries_move_as_numpy_does(name):
    pytest.importorskip(name)
    space, xp = DeepLinearNetwork((2, 3, 2)), Namespace(name)
    x = space.random_point(0)
    V = space.tangent_projection(x, ref.random_layers(space.widths, np.random.default_rng(1)))

    def ends(xp, friction):
        target = xp.array(cases.TARGET)
        run = kinetic_langevin(
            space, xp.array(x), velocity=xp.array(V), energy_gradient=lambda W: W - target,
            beta=np.inf, friction=friction, duration=0.05, n_steps=1, rng=0,
        )  # fmt: skip
        assert {type(y) for y in run.observed["velocity"]} == {type(xp.array(V[0]))}
        return xp.numpy((run.observed["end_to_end"], *run.observed["velocity"]))

    for friction in (0.0, 2.0):
        for y, z in zip(ends(xp, friction), ends(Namespace("numpy"), friction), strict=True):
            ref.close(y, z, 1e-12)
    noisy = {"beta": 2.0, "friction": 1.0, "duration": 0.05, "n_steps": 1, "rng": 3}
    again = [kinetic_langevin(space, xp.array(x), **noisy).points.lam for _ in range(2)]
    np.testing.assert_array_equal(*map(xp.numpy, again))


@pytest.mark.slow
def test_a_map_moves_as_the_network_that_it_describes(tmp_path):
    pytest.importorskip("jax")
    from tests.helpers import map_cases as maps

    space, same = DeepLinearNetwork((2, 2, 2)), maps.EXAMPLES["two layers"][0]()
    x = space.random_point(0)
    layers, wild = factors(x), ref.random_layers((2, 2, 2), np.random.default_rng(1))
    V = space.tangent_projection(x, wild)
    rest = {"velocity": V, "beta": np.inf, "friction": 0.5, "rng": 0}
    rest |= {"energy_gradient": cases.quadratic, "duration": 0.5, "n_steps": 5}
    network, mapped = kinetic_langevin(space, x, **rest), kinetic_langevin(same, layers, **rest)
    for one, two in zip(factors(network.points), mapped.points, strict=True):
        ref.close(one, two, 1e-11)
    noisy = {"beta": 2.0, "friction": 1.0, "duration": 0.3, "n_steps": 3, "rng": 3, "n_chains": 66}
    alone = kinetic_langevin(same, layers, **noisy)
    with ThreadPoolExecutor(2) as pool:
        pooled = kinetic_langevin(same, layers, pool=pool, **noisy)
    kept = [kinetic_langevin(same, layers, checkpoint=tmp_path / "run", **noisy) for _ in range(2)]
    for run in (pooled, *kept):
        assert trees.same(run.points, alone.points)
        assert trees.same(run.observed["velocity"], alone.observed["velocity"])


def near_one(length):
    """A gradient that is known for lengths near one alone."""
    return np.where(np.abs(length - 1) < 0.1, length, np.nan)


def test_what_is_refused():
    space = DeepLinearNetwork((2, 3, 2))
    x = space.random_point(0)
    run = {"beta": 1.0, "duration": 1.0, "n_steps": 2, "rng": 0}
    with pytest.raises(ValueError, match=r"friction=-1"):
        kinetic_langevin(space, x, friction=-1, **run)
    with pytest.raises(ValueError, match="no Riemannian submersion"):
        kinetic_langevin(space.base, np.eye(2), friction=1, **run)
    wild = tuple(np.ones(W.shape) for W in factors(x))
    with pytest.raises(ValueError, match=r"chain 0 is off the tangent space"):
        kinetic_langevin(space, x, friction=1, velocity=wild, **run)
    with pytest.raises(ValueError, match="not finite at the start"):
        kinetic_langevin(space, x, friction=1, energy_gradient=lambda W: W * np.nan, **run)
    with pytest.raises(LangevinError, match="not finite"):
        kinetic_langevin(Sphere(2), np.array([1.0, 0]), friction=1, energy_gradient=near_one, **run)
