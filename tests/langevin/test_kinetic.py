"""Motion with inertia: order, momenta, laws at equilibrium, and what is refused."""

import numpy as np
import pytest
from scipy import stats

from dlngeom import DeepLinearNetwork, factors
from dlngeom.langevin import LangevinError, _kinetic_walk, _rattle, kinetic_langevin
from dlngeom.quotients import Grassmann, Sphere
from tests.helpers import langevin_cases as cases
from tests.helpers import reference as ref
from tests.helpers.laws_cases import ALPHA, SEED

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
    x, steps = space.random_point(0), [0.04, 0.02, 0.01]

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
    options = {"duration": time, "n_steps": round(time / 0.2), "save_every": 10**6}
    assert watson(friction, **options) > ALPHA
    if friction < 1:
        monkeypatch.setattr(_kinetic_walk, "drift", projected)
        assert watson(friction, **options) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("friction", [0.1, 1.0, 10.0])
def test_the_energy_of_networks_has_a_gamma_law(friction):
    space = DeepLinearNetwork((2, 2, 2))
    time = {0.1: 30.0, 1.0: 8.0, 10.0: 16.0}[friction]
    run = kinetic_langevin(
        space, space.random_point(0, (400,)), energy_gradient=cases.identity, beta=2.0,
        friction=friction, duration=time, n_steps=round(time / 0.1), save_every=10**6, rng=SEED,
    )  # fmt: skip
    E = 2.0 * cases.half_squared(run.observed["end_to_end"][:, -1])
    assert stats.kstest(E, stats.gamma(space.dim / 4).cdf).pvalue > ALPHA
    assert stats.kstest(E, stats.gamma(space.dim / 4, scale=1.4).cdf).pvalue < ALPHA


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
