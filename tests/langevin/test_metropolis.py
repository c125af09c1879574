"""Metropolis-adjusted steps: exact at any step size, on the balance equations."""

import numpy as np
import pytest
from scipy import stats

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import LangevinError, _metropolis, riemannian_langevin
from dlngeom.langevin._metropolis import AdjustedWalk
from dlngeom.quotients import Sphere
from tests.helpers import langevin_cases as cases
from tests.helpers import reference as ref
from tests.helpers.laws_cases import one_group

ALPHA = 1e-5
# Laws under steps at the limit, where a run warns that they are long.
pytestmark = pytest.mark.filterwarnings(
    "ignore:a step of .* times the largest curvature:UserWarning"
)


def place(widths, rng, chains=5):
    space = DeepLinearNetwork(widths)
    layers = dlngeom.factors(space.random_point(rng, (chains,)))
    return (
        space,
        layers,
        _metropolis._AdjustedPlace(layers, space.rank, tuple(0 * x for x in layers)),
    )


@pytest.mark.parametrize("widths", [(3, 3), (2, 2, 2), (4, 2, 3), (3, 3, 3, 3), (4, 3, 3, 5)])
def test_proposals_are_balanced_and_reversible(widths, rng):
    space, layers, here = place(widths, rng)
    V = here.tangent(tuple(0.05 * rng.standard_normal(x.shape) for x in layers))
    moved, found = here.moved(V)
    assert np.all(found)
    for gap in dlngeom.network.invariants(moved):
        assert np.max(np.abs(gap)) < 1e-11
    # The step is the tangent part of the chord, and what was added is normal.
    chord = tuple(x - y for x, y in zip(moved, layers, strict=True))
    ref.close_layers(here.tangent(chord), V, 1e-10)
    there = _metropolis._AdjustedPlace(moved, space.rank, V)
    back = there.tangent(tuple(-x for x in chord))
    ref.close_layers(there.moved(back)[0], layers, 1e-10)


def test_steps_far_too_long_are_rejected():
    space = DeepLinearNetwork((2, 2, 2))
    run = riemannian_langevin(
        space, space.random_point(0), beta=1e-2, duration=1.0, n_steps=3, rng=0, n_chains=50,
        adjust=True,
    )  # fmt: skip
    assert np.all(np.isfinite(run.points.lam))
    assert run.observed["acceptance"].shape == (50, 4)
    assert 0 < np.mean(run.observed["acceptance"][:, -1]) < 1


def gibbs(depth, beta):
    """Grid of ``lam`` and the density of the two singular values of 2 x 2 networks."""
    grid = (np.arange(500) + 0.5) * 2.4 / 500
    x, y = np.meshgrid(grid, grid, indexing="ij")
    repulsion = np.sqrt(np.maximum((x ** (2 * depth) - y ** (2 * depth)) * (x**2 - y**2), 0))
    density = np.where(x > y, repulsion, 0) * np.exp(
        -beta / 2 * (x ** (2 * depth) + y ** (2 * depth))
    )
    return grid, density / density.sum()


@one_group()
def equilibrium(depth, adjust, steps, chains, duration=8.0, beta=4.0):
    space = DeepLinearNetwork((2,) * (depth + 1))
    start = space.random_point(0)._replace(lam=np.array([0.9, 0.5]))
    energy = cases.half_squared if adjust else None
    run = riemannian_langevin(
        space, start, energy_gradient=cases.identity, energy=energy, adjust=adjust, beta=beta,
        duration=duration, n_steps=steps, save_every=steps, n_chains=chains, rng=5,
        observe={"lam": lambda point: point.lam},
    )  # fmt: skip
    lam = run.observed["lam"][:, -1]
    grid, density = gibbs(depth, beta)
    edges = grid + (grid[1] - grid[0]) / 2
    return [
        stats.kstest(lam[:, k], lambda q, k=k: np.interp(q, edges, np.cumsum(density.sum(1 - k))))
        for k in range(2)
    ]


@pytest.mark.slow
def test_few_adjusted_chains_have_the_exact_law_only_with_the_way_back(monkeypatch):
    run = {"steps": 12, "chains": 3000, "duration": 4.0}
    assert min(x.pvalue for x in equilibrium(2, True, **run)) > ALPHA
    # A mutant that accepts whatever is found.
    monkeypatch.setattr(_metropolis, "_log_ratio", lambda *args: np.inf)
    assert min(x.pvalue for x in equilibrium(2, True, **run)) < ALPHA


@pytest.mark.slow
def test_adjusted_chains_have_the_exact_law_at_a_long_step():
    assert min(x.pvalue for x in equilibrium(2, True, 32, 6000)) > ALPHA
    assert min(x.pvalue for x in equilibrium(2, False, 32, 6000)) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "steps"), [(2, 60), (3, 60)])
def test_adjusted_chains_show_no_bias(depth, steps):
    assert min(x.pvalue for x in equilibrium(depth, True, steps, 3000)) > ALPHA


@pytest.mark.slow
def test_without_the_way_back_the_law_is_wrong(monkeypatch):
    # A mutant that accepts whatever is found.
    monkeypatch.setattr(_metropolis, "_log_ratio", lambda *args: np.inf)
    assert min(x.pvalue for x in equilibrium(2, True, 32, 3000)) < ALPHA


def test_acceptance_falls_with_the_step():
    def share(steps):
        space = DeepLinearNetwork((3, 3, 3))
        run = riemannian_langevin(
            space, space.random_point(0), energy_gradient=cases.identity,
            energy=cases.half_squared, adjust=True, beta=5.0, duration=0.5, n_steps=steps,
            rng=1, n_chains=64,
        )  # fmt: skip
        return run.observed["acceptance"][:, -1].mean()

    assert share(5) < share(40) - 0.05 < 1


def test_networks_stay_balanced(rng):
    space = DeepLinearNetwork((3, 2, 2, 4))
    run = riemannian_langevin(
        space, space.random_point(rng), adjust=True, beta=50.0, duration=1.0, n_steps=100, rng=2
    )
    layers = dlngeom.factors(run.points)
    assert max(np.max(np.abs(x)) for x in dlngeom.network.invariants(layers)) < 1e-10


def test_it_is_refused_elsewhere_with_the_reason(rng):
    ok = {"beta": 1.0, "duration": 0.1, "n_steps": 2, "rng": 0, "adjust": True}
    wide, square = DeepLinearNetwork((2, 3, 2)), DeepLinearNetwork((2, 2, 2))
    errors = {
        "kappa=0.5: only kappa=1": lambda: riemannian_langevin(
            square, square.random_point(0), kappa=0.5, **ok
        ),
        r"inner widths \(3,\) and rank 2": lambda: riemannian_langevin(
            wide, wide.random_point(0), **ok
        ),
        "one layer of rank 1": lambda: riemannian_langevin(
            DeepLinearNetwork((2, 2), 1), DeepLinearNetwork((2, 2), 1).random_point(0), **ok
        ),
        "give energy as well": lambda: riemannian_langevin(
            square, square.random_point(0), energy_gradient=cases.identity, **ok
        ),
        "needs a DeepLinearNetwork": lambda: riemannian_langevin(Sphere(2), np.ones(2), **ok),
        "energy returned": lambda: riemannian_langevin(
            square, square.random_point(0), energy=lambda W: W, **ok
        ),
    }
    for message, call in errors.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_precision_does_not_change_what_is_accepted():
    space = DeepLinearNetwork((3, 2, 4))
    x = space.random_point(0)
    low = x._replace(lam=x.lam.astype("f"), q=tuple(q.astype("f") for q in x.q))
    run = {"adjust": True, "beta": 20.0, "duration": 0.2, "n_steps": 10, "rng": 0, "n_chains": 100}
    shares = [
        riemannian_langevin(space, point, **run).observed["acceptance"][:, -1].mean()
        for point in (x, low)
    ]
    assert shares[0] > 0.8
    assert shares[1] == pytest.approx(shares[0], abs=0.05)


def test_gradients_and_energies_are_checked():
    space = DeepLinearNetwork((2, 2, 2))
    x, run = space.random_point(0), {"beta": 1.0, "duration": 0.1, "n_steps": 5, "rng": 0}
    run |= {"adjust": True, "energy": cases.half_squared, "n_chains": 3}
    with pytest.raises(LangevinError, match="chain 0 failed at step 1 of 5, t=0: the energy grad"):
        riemannian_langevin(space, x, energy_gradient=lambda W: W * np.nan, **run)
    with pytest.raises(ValueError, match="a covector for each chain"):
        riemannian_langevin(space, x, energy_gradient=lambda W: W[0], **run)
    with pytest.raises(ValueError, match="energy is nan at the start of chain 0"):
        riemannian_langevin(space, x, **{**run, "energy": lambda W: W[:, 0, 0] * np.nan})
    torch = pytest.importorskip("torch")
    other = dlngeom.Frames(torch.asarray(x.lam), tuple(map(torch.asarray, x.q)))
    with pytest.raises(ValueError, match="it needs numpy arrays"):
        riemannian_langevin(space, other, **{**run, "energy": None})


def test_one_layer_is_langevin_monte_carlo_in_flat_space():
    space = DeepLinearNetwork((2, 2))
    run = riemannian_langevin(
        space, space.random_point(0), energy_gradient=cases.quadratic,
        energy=cases.quadratic_energy, adjust=True, beta=2.0, duration=16.0, n_steps=40,
        save_every=40, n_chains=4_000, rng=3,
    )  # fmt: skip
    W = run.observed["end_to_end"][:, -1] - cases.TARGET
    for x in W.reshape(-1, 4).T:
        assert stats.kstest(x, stats.norm(scale=0.5**0.5).cdf).pvalue > ALPHA


def test_a_walk_is_a_plain_value():
    assert AdjustedWalk(2, None, None) == AdjustedWalk(2, None, None)


def test_energies_are_checked_by_their_values():
    space = DeepLinearNetwork((2, 2, 2))
    options = {"beta": 1.0, "duration": 0.1, "n_steps": 2, "rng": 0, "adjust": True}

    def run(energy, **more):
        start = space.random_point(0)
        return riemannian_langevin(space, start, energy=energy, **options, **more)

    plain = run(cases.half_squared, n_chains=3).points.lam
    for alike in (list, np.ma.array, lambda e: e.astype(">f8"), lambda e: e.astype(np.float64)):
        found = run(lambda W, alike=alike: alike(cases.half_squared(W)), n_chains=3)
        assert np.array_equal(found.points.lam, plain)
    alone = run(lambda W: float(cases.half_squared(W)[0]))
    assert np.array_equal(alone.points.lam, run(cases.half_squared).points.lam)
    bad = [None, "text", 1j, [1j] * 3, np.ones(3, object), ["a"] * 3, np.ones((3, 1)), 1.0, {}]
    for value in [*bad, np.ma.array(np.ones(3), mask=True)]:
        with pytest.raises(ValueError, match=r"^energy"):
            run(lambda W, value=value: value, n_chains=3)
