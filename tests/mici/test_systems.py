"""Systems of mici: derivatives in closed form, positions there and back, dynamics, refusals."""

import pickle
import subprocess
import sys

import mici
import numpy as np
import pytest
from mici.states import ChainState

import dlngeom
from dlngeom import DeepLinearNetwork, balanced, frames, network, thermodynamics
from dlngeom.mici import layers, position, system
from dlngeom.quotients import Sphere
from tests.helpers import reference as ref
from tests.helpers.parameters import slow

CASES = {
    "square": DeepLinearNetwork((2, 2, 2)),
    "deep": DeepLinearNetwork((3, 3, 3, 3)),
    "low rank": DeepLinearNetwork((5, 2, 2, 4), 2),
    "number": DeepLinearNetwork((1, 1, 1, 1)),
}


def energy(W):
    return np.sum((W - 0.3) ** 2) / 2


def energy_gradient(W):
    return W - 0.3


def made(space, kappa=1.0, beta=2.0):
    return system(space, energy, energy_gradient, beta, kappa)


def state_at(space, seed=0):
    return ChainState(pos=position(space, space.random_point(seed)), mom=None, dir=1)


@pytest.mark.parametrize("space", CASES.values(), ids=CASES)
def test_positions_are_layers_and_back(space):
    point = space.random_point(0, (2, 3))
    flat = position(space, point)
    found = layers(space, flat)
    for one, two in zip(found, dlngeom.factors(point), strict=True):
        assert np.array_equal(one, two)
    ref.close(position(space, found), flat, 1e-13)
    ref.close(position(space, frames(found, space.rank)), flat, 1e-13)
    assert np.array_equal(layers(space, flat[1, 2])[0], found[0][1, 2])


@pytest.mark.parametrize("space", CASES.values(), ids=CASES)
def test_the_constraint_is_balance_and_its_derivatives_are_exact(space, rng):
    built, state = made(space), state_at(space)
    assert np.max(np.abs(built.constr(state))) < 1e-14
    state.pos = rng.standard_normal(state.pos.shape)
    gaps = network.invariants(layers(space, state.pos))
    rows, columns = np.triu_indices(space.rank)
    ref.close(built.constr(state), np.concatenate([g[rows, columns] for g in gaps]), 1e-14)
    # Of quadratic functions central differences are exact.
    J, q = built.jacob_constr(state), state.pos
    steps = np.eye(len(q))

    def value(at):
        return built.constr(ChainState(pos=at, mom=None, dir=1))

    ref.close(J, np.stack([(value(q + e) - value(q - e)) / 2 for e in steps], axis=1), 1e-12)
    # The Jacobian is linear.
    zero = built.jacob_constr(ChainState(pos=0 * q, mom=None, dir=1))
    m = rng.standard_normal(J.shape)
    hess = np.stack(
        [built.jacob_constr(ChainState(pos=e, mom=None, dir=1)) - zero for e in steps], axis=-1
    )
    ref.close(built.mhp_constr(state)(m), np.einsum("ij,ijk->k", m, hess), 1e-12)


@pytest.mark.parametrize("kappa", [1.0, 0.4, 3.0])
@pytest.mark.parametrize("space", CASES.values(), ids=CASES)
def test_the_potential_and_its_gradient_along_the_networks(space, kappa, rng):
    built, point = made(space, kappa), space.random_point(1)
    W = space.project(point)
    volume = float(space.log_orbit_volume(dlngeom.svd(W, space.rank)))
    state = ChainState(pos=position(space, point), mom=None, dir=1)
    expected = 2 / kappa * energy(W) + (1 - 1 / kappa) * volume
    assert built.neg_log_dens(state) == pytest.approx(expected, rel=1e-12)
    V = balanced.tangent_projection(point, ref.random_layers(space.widths, rng))
    h = 1e-4

    def along(t):
        moved = space.retraction(point, tuple(t * v for v in V))
        return built.neg_log_dens(ChainState(pos=position(space, moved), mom=None, dir=1))

    difference = (along(h) - along(-h)) / (2 * h)
    slope = built.grad_neg_log_dens(state) @ ref.flatten(V)
    assert slope == pytest.approx(difference, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("spectrum", [(1.2, 1.2), (1.2, 0.0), (1.2, 1e-8)])
def test_the_potential_is_smooth_at_ties_and_zeros(spectrum, rng):
    space = CASES["deep"]
    lam = np.array([1.3, *spectrum])
    point = dlngeom.Frames(lam, tuple(ref.orthonormal(3, 3, rng) for _ in range(4)))
    flat = ref.flatten(ref.balanced_layers(point))
    built = made(space, 0.5)
    V, h = rng.standard_normal(len(flat)), 1e-3

    def at(t):
        return built.neg_log_dens(ChainState(pos=flat + t * V, mom=None, dir=1))

    slope = built.grad_neg_log_dens(ChainState(pos=flat, mom=None, dir=1)) @ V
    assert slope == pytest.approx((at(h) - at(-h)) / (2 * h), rel=1e-4)


@pytest.mark.parametrize("kappa", [1.0, slow(0.5)])
def test_leapfrog_steps_stay_balanced_and_are_of_second_order(kappa):
    space = CASES["low rank"]
    built, start = made(space, kappa), state_at(space, 3)
    start.mom = built.sample_momentum(start, np.random.default_rng(0))
    steps, errors = (10, 20, 40), []
    for count in steps:
        integrator = mici.integrators.ConstrainedLeapfrogIntegrator(built, step_size=0.3 / count)
        state = start.copy()
        for _ in range(count):
            state = integrator.step(state)
        errors.append(abs(built.h(state) - built.h(start)))
        assert np.max(np.abs(built.constr(state))) < 1e-8
    assert ref.slope(1 / np.array(steps), errors) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("space", CASES.values(), ids=CASES)
def test_steps_by_plain_arrays_are_those_of_the_matrices_of_mici(space):
    """A metric that is the identity, but not of that type, takes all of mici's own steps."""
    lean, full = made(space), made(space)
    start = state_at(space, 3)
    size = len(start.pos)
    full.metric = mici.matrices.PositiveDiagonalMatrix(np.ones(size))
    mom = np.random.default_rng(0).standard_normal(size)
    ends = []
    for built in (lean, full):
        integrator = mici.integrators.ConstrainedLeapfrogIntegrator(built, step_size=0.05)
        state = start.copy()
        state.mom = built.project_onto_cotangent_space(mom.copy(), state)
        for direction in (1, 1, -1):
            state.dir = direction
            state = integrator.step(state)
        ends.append(state)
    ref.close(ends[0].pos, ends[1].pos, 1e-9)
    ref.close(ends[0].mom, ends[1].mom, 1e-8)


def test_other_metrics_are_left_to_mici():
    space = CASES["low rank"]
    built, start = made(space), state_at(space, 3)
    built.metric = mici.matrices.PositiveDiagonalMatrix(np.linspace(1, 2, len(start.pos)))
    start.mom = built.sample_momentum(start, np.random.default_rng(0))
    integrator = mici.integrators.ConstrainedLeapfrogIntegrator(built, step_size=0.02)
    state = integrator.step(start)
    assert np.max(np.abs(built.constr(state))) < 1e-8
    velocity = built.dh2_dmom(state)
    assert np.max(np.abs(built.jacob_constr(state) @ velocity)) < 1e-12


def run(space, kappa=1.0, warm=20, draws=20, **options):
    built = made(space, kappa)
    simple = space.depth == 1
    integrators = mici.integrators
    kind = integrators.LeapfrogIntegrator if simple else integrators.ConstrainedLeapfrogIntegrator
    integrator = kind(built, **options)
    rng = np.random.default_rng(5)
    sampler = mici.samplers.DynamicMultinomialHMC(built, integrator, rng)
    start = position(space, space.random_point(0))
    return sampler.sample_chains(warm, draws, [start], display_progress=False), integrator


def test_samplers_and_adaptation_run():
    space = CASES["square"]
    found, integrator = run(space)
    q = np.stack(found.traces["pos"])
    assert integrator.step_size > 0.01
    assert max(np.max(np.abs(g)) for g in network.invariants(layers(space, q))) < 1e-8
    # At even depth the sign of the determinant is kept.
    W = network.end_to_end(layers(space, q))
    assert len(set(np.sign(np.linalg.det(W)).ravel())) == 1
    built = made(space)
    integrator = mici.integrators.ConstrainedLeapfrogIntegrator(built, step_size=0.1)
    sampler = mici.samplers.StaticMetropolisHMC(
        built, integrator, np.random.default_rng(0), n_step=3
    )
    again = sampler.sample_chains(0, 5, [q[0, -1]], display_progress=False)
    assert np.mean(again.statistics["accept_stat"]) > 0.5


def test_one_layer_is_a_plain_system():
    found, _ = run(DeepLinearNetwork((2, 3)))
    assert np.stack(found.traces["pos"]).shape == (1, 20, 6)


def test_systems_travel_to_other_processes():
    space = CASES["square"]
    again, state = pickle.loads(pickle.dumps(made(space, 0.5))), state_at(space)
    assert again.neg_log_dens(state) == made(space, 0.5).neg_log_dens(state)
    assert np.array_equal(again.jacob_constr(state), made(space).jacob_constr(state))


def test_energies_may_be_those_of_the_langevin_equation():
    space, point = CASES["deep"], CASES["deep"].random_point(0)
    flat = position(space, point)
    plain = made(space)
    batched = system(
        space,
        lambda W: np.sum((W - 0.3) ** 2, axis=(-2, -1)) / 2,
        lambda W: dlngeom.LowRank(W - 0.3, np.eye(3)[None], np.eye(3)[None]),
        2.0,
    )
    for name in ("neg_log_dens", "grad_neg_log_dens"):
        values = [getattr(x, name)(ChainState(pos=flat, mom=None, dir=1)) for x in (plain, batched)]
        ref.close(*values, 1e-14)


def test_refusals_say_what_is_wrong():
    square, wide = CASES["square"], DeepLinearNetwork((2, 3, 2))
    at = square.random_point(0)
    bad = system(square, lambda W: W, lambda W: np.zeros((3, 3)), 1.0)
    nan = system(square, lambda W: np.nan, energy_gradient, 1.0)
    errors = {
        r"inner widths \(3,\) and rank 2": lambda: made(wide),
        "one layer of rank 1": lambda: made(DeepLinearNetwork((2, 2), 1)),
        "must be a DeepLinearNetwork": lambda: made(Sphere(2)),
        "beta=0": lambda: made(square, beta=0),
        "beta=inf": lambda: made(square, beta=np.inf),
        "kappa=0": lambda: made(square, 0),
        "energy=None: it must be a function": lambda: system(square, None, energy_gradient, 1.0),
        "energy_gradient=1: it must be": lambda: system(square, energy, 1, 1.0),
        "energy returned shape": lambda: bad.neg_log_dens(state_at(square)),
        r"energy_gradient.*\(3, 3\)": lambda: bad.grad_neg_log_dens(state_at(square)),
        "energy returned nan": lambda: nan.neg_log_dens(state_at(square)),
        r"position has shape \(7,\): it must be \(\.\.\., 8\)": lambda: layers(square, np.ones(7)),
        "the point has widths": lambda: position(CASES["deep"], at),
    }
    for message, call in errors.items():
        with pytest.raises((TypeError, ValueError), match=message):
            call()


def test_without_mici_the_message_says_what_to_install():
    script = "import sys; sys.modules['mici'] = None; import dlngeom; dlngeom.mici"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ImportError: dlngeom.mici needs mici: pip install 'dlngeom[mici]'"


def test_the_potential_counts_the_volume_once():
    """Upstairs plus the entropy of the fibres is the density of the root chart."""
    space, kappa = CASES["square"], 0.4
    points = [space.random_point(k) for k in range(3)]
    gaps = []
    for point in points:
        W = space.project(point)
        state = ChainState(pos=position(space, point), mom=None, dir=1)
        upstairs = made(space, kappa).neg_log_dens(state)
        below = thermodynamics.log_gibbs_density(
            thermodynamics.to_root(W, 2), energy, space.widths, 2.0, kappa
        )
        gaps.append(float(below) + upstairs - float(thermodynamics.entropy(W, space.widths)))
    np.testing.assert_allclose(gaps, 0, atol=1e-12)
