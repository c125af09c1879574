"""Walks against exact laws of their observables, each with mutants that must not pass.

``DLNGEOM_TEST_SEED`` sets the seed.  A p-value is compared with ``ALPHA`` after a Bonferroni
correction; an error of the law shows, an unlucky seed does not.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, endtoend
from dlngeom.endtoend._lifts import first_order_retraction
from dlngeom.langevin import brownian_motion, riemannian_langevin
from dlngeom.network import end_to_end
from dlngeom.quotients import Sphere
from dlngeom.thermodynamics import entropy
from tests.helpers import laws_cases as lc
from tests.helpers import reference as ref
from tests.helpers.laws_cases import ALPHA, SEED
from tests.helpers.parameters import slow

# Laws under steps at the limit, where a run warns that they are long.
pytestmark = pytest.mark.filterwarnings(
    "ignore:a step of .* times the largest curvature:UserWarning"
)

MANY = {"chains": 5000, "steps": 30}
FEW = {"chains": 2000, "steps": 20}

INFINITE = "dlngeom.endtoend._lifts.second_order_retraction"
SIGNED = "dlngeom.balanced._curves.signed_svd"
AMBIENT = "dlngeom.submersion._walks.AmbientWalk.step"


RADIAL = [(2, 2, 2, 3), (3, 2, 2, 2), (4, 3, 1, 4), (3, 3, 2, 5), (5, 5, 5, 2), (3, 3, 3, np.inf)]


@pytest.mark.slow
@pytest.mark.parametrize("case", RADIAL[:-1], ids=str)
def test_singular_values_downstairs_have_the_law_of_a_gaussian_matrix(case, monkeypatch):
    assert lc.radial(*case, **MANY) > ALPHA
    lc.first_order_steps(monkeypatch)
    # Far fewer chains already tell, but for small matrices of full rank and odd depth.
    few = {"chains": 8000, "steps": 20} if case == RADIAL[0] else FEW
    assert lc.radial(*case, **few) < ALPHA


@pytest.mark.slow
def test_singular_values_of_infinite_depth_have_the_law_of_a_symmetric_matrix(monkeypatch):
    # Few steps, because they are slow, and a long time, to see the effect of their order.
    options = {"chains": 6000, "steps": 6, "time": 1.0}
    assert lc.radial(*RADIAL[-1], **options) > ALPHA
    monkeypatch.setattr(INFINITE, first_order_retraction)
    assert lc.radial(*RADIAL[-1], **options) < ALPHA


def test_few_chains_have_the_radial_law_and_first_order_ones_do_not(monkeypatch):
    assert lc.radial(*RADIAL[2], **FEW) > ALPHA
    lc.first_order_steps(monkeypatch)
    assert lc.radial(*RADIAL[2], **FEW) < ALPHA


@pytest.mark.slow
def test_radial_law_knows_beta():
    assert lc.radial(5, 5, 5, 2, **FEW, law_beta=1.8) < ALPHA


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize(("size", "steps"), [(1, 5), slow(2, 20)])
def test_smallest_singular_value_crosses_zero_and_det_by_the_parity_of_depth(
    size, steps, depth, monkeypatch
):
    options = {"chains": 2000, "steps": steps}
    assert lc.signed(size, depth, **options) > ALPHA
    assert lc.signed(size, depth, **options, parity=depth + 1) < ALPHA
    monkeypatch.setattr(SIGNED, lc.stuck_svd)
    assert lc.signed(size, depth, **options) < ALPHA
    if depth % 2:
        monkeypatch.setattr(SIGNED, lc.unsigned_svd)
        assert lc.signed(size, depth, **options) < ALPHA


CONES = [
    ((2, 3, 3, 2), 2, 0.5),
    ((2, 2, 2, 2), 2, 0.25),
    ((3, 3, 3), 3, 2.0),
    ((4, 3, 5), 3, 1.0),
    ((3, 4, 4, 2), 2, 0.25),
    ((5, 3, 2, 4), 1, 2.0),
    ((3, 3, 3, 3, 3), 3, 1.0),
    ((4, 4, 4), 2, 0.5),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CONES, ids=str)
def test_norm_upstairs_is_a_bessel_process(case, monkeypatch):
    assert lc.cone(*case, **MANY) > ALPHA
    lc.first_order_steps(monkeypatch)
    # Far fewer chains already tell.
    assert lc.cone(*case, chains=1000, steps=20) < ALPHA


def test_few_norms_upstairs_and_first_order_ones(monkeypatch):
    assert lc.cone(*CONES[0], **FEW) > ALPHA
    lc.first_order_steps(monkeypatch)
    assert lc.cone(*CONES[0], **FEW) < ALPHA


@pytest.mark.parametrize(
    ("case", "place", "mutant"),
    [
        (CONES[0], "_walks.anisotropic", lc.isotropic),
        (CONES[0], "_walks.anisotropic", lc.horizontal_only),
        (CONES[1], "_square_walk.anisotropic_coordinates", lc.isotropic_coordinates),
        (CONES[1], "_square_walk.anisotropic_coordinates", lc.horizontal_only_coordinates),
    ],
)
def test_norm_upstairs_knows_both_kinds_of_noise(case, place, mutant, monkeypatch):
    monkeypatch.setattr(f"dlngeom.dln.{place}", mutant)
    assert lc.cone(*case, **FEW) < ALPHA


def test_norm_upstairs_knows_beta():
    assert lc.cone(*CONES[0], **FEW, law_beta=1.8) < ALPHA


@pytest.mark.slow
def test_brownian_motion_upstairs_has_equal_noises():
    space, start = DeepLinearNetwork((2, 3, 2)), lc.frames_start((2, 3, 2), 2)
    run = brownian_motion(
        space, start, duration=0.1, n_steps=30, beta=1.5, upstairs=True, rng=SEED, n_chains=5000,
        save_every=30, observe={"x": lc.squared_norm},
    )  # fmt: skip
    r0 = float(lc.squared_norm(start))
    assert lc.one_sample(lc.last(run), lc.laws.cone_law(space, r0, 0.1, 1.5, 1.0)) > ALPHA
    assert lc.one_sample(lc.last(run), lc.laws.cone_law(space, r0, 0.1, 1.5, 0.8)) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize(("widths", "rank"), [((2, 3, 3, 2), 2), slow((3, 3, 3), 3)])
def test_without_horizontal_noise_the_norm_loses_its_spread(widths, rank, monkeypatch):
    space = DeepLinearNetwork(widths, rank)
    exact = lc.squared_norm(lc.frames_start(widths, rank)) + 2 / 1.5 * space.dim_orbit * 0.1

    def errors(steps):
        x = lc.cone_samples(widths, rank, 0.0, chains=500, steps=steps)
        return np.mean(x) - exact, np.std(x)

    steps = [8, 16, 32]
    biases, spreads = np.transpose([errors(n) for n in steps])
    assert np.all(np.diff(spreads) < 0)
    assert abs(ref.slope(steps, spreads) + 0.5) < 0.15
    assert np.all(np.abs(biases) < 5 * spreads / np.sqrt(500) + 0.02 / np.asarray(steps))
    lc.first_order_steps(monkeypatch)
    bias, spread = errors(16)
    assert abs(bias) > 5 * spread / np.sqrt(500) + 0.02 / 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "rank", "kappa", "time"), [((2, 3, 3, 2), 2, 0.5, 0.1), slow((4, 4, 4), 2, 0.5, 0.1)]
)
def test_mean_of_the_norm_is_of_weak_order_one(widths, rank, kappa, time, monkeypatch):
    space, start = DeepLinearNetwork(widths, rank), lc.frames_start(widths, rank)
    steps = [4, 8, 16]

    def bias(n, chains):
        return lc.remainders(space, start, kappa, chains=chains, steps=n, time=time, beta=1.5)

    found = np.array([bias(n, 1000) for n in steps])
    assert np.all(np.abs(found[:, 0]) > 20 * found[:, 1])
    assert abs(ref.slope(steps, np.abs(found[:, 0])) + 1) < 0.1
    lc.first_order_steps(monkeypatch)
    mutants = np.array([bias(n, 500)[0] for n in steps])
    assert np.all(np.abs(mutants) > 0.9 * np.max(np.abs(mutants)))


SPHERES = [(4, 0.5), slow(3, 2.0), slow(5, 1.0)]


@pytest.mark.parametrize(("size", "kappa"), SPHERES)
def test_length_of_a_vector_is_a_bessel_process(size, kappa, monkeypatch):
    assert lc.sphere(size, kappa, **MANY) > ALPHA
    monkeypatch.setattr(AMBIENT, lc.ambient_horizontal)
    assert lc.sphere(size, kappa, **MANY) < ALPHA
    if kappa != 1:
        monkeypatch.setattr(AMBIENT, lc.ambient_isotropic)
        assert lc.sphere(size, kappa, **MANY) < ALPHA


@pytest.mark.parametrize("size", [2, 5])
def test_tangential_noise_moves_a_vector_out_at_a_fixed_rate(size, monkeypatch):
    exact = 1 + (size - 1) * 2 * 0.3 / 1.5
    steps = [20, 40, 80]
    runs = [lc.sphere_samples(size, 0.0, chains=4000, steps=n) for n in steps]
    spreads = [np.std(x) for x in runs]
    for x, spread in zip(runs, spreads, strict=True):
        assert abs(np.mean(x) - exact) < 5 * spread / np.sqrt(4000)
    assert np.all(np.diff(spreads) < 0)
    assert abs(ref.slope(steps, spreads) + 0.5) < 0.1
    # Bent back to the sphere, a tangential step no longer changes the length.
    monkeypatch.setattr(Sphere, "retraction", lc.radial_retraction)
    np.testing.assert_allclose(lc.sphere_samples(size, 0.0, chains=50, steps=20), 1, rtol=1e-12)


DYSON = [((-1.0, 0.2, 1.0), 1.0), ((-1.0, 0.2, 1.0), 2.0), ((-1.0, 0.2, 1.0), 0.5)]


@pytest.mark.slow
@pytest.mark.parametrize(("x0", "kappa"), DYSON)
def test_eigenvalues_of_hermitian_matrices_are_dyson_brownian_motion(x0, kappa, monkeypatch):
    assert lc.dyson(x0, kappa, **MANY) > ALPHA
    mutant = lc.ambient_horizontal if kappa == 1 else lc.ambient_isotropic
    monkeypatch.setattr(AMBIENT, mutant)
    assert lc.dyson(x0, kappa, **FEW) < ALPHA


def test_few_hermitian_matrices_and_some_without_repulsion(monkeypatch):
    assert lc.dyson(*DYSON[0], **FEW) > ALPHA
    monkeypatch.setattr(AMBIENT, lc.ambient_horizontal)
    assert lc.dyson(*DYSON[0], **FEW) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize(("size", "depth"), [(2, 3), (3, 2)])
def test_the_shadow_of_brownian_motion_drifts_with_the_entropy(size, depth):
    assert lc.shadows(size, depth, **MANY) > ALPHA
    assert lc.shadows(size, depth, **MANY, force=False) < ALPHA


@pytest.mark.slow
def test_few_shadows_drift_with_the_entropy():
    assert lc.shadows(3, 3, **FEW) > ALPHA
    assert lc.shadows(3, 3, **FEW, force=False) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_the_walk_of_a_confining_energy_ends_in_its_gibbs_law(depth):
    widths, beta = (3,) * (depth + 1), 3.0
    lam = lc.equilibrium(
        DeepLinearNetwork(widths), lc.frames_start(widths, 3, 0.9), lc.identity, chains=5000,
        beta=beta, phases=[(1.0, 20), (0.5, 25), (0.4, 40)], observe=lambda point: point.lam,
    )  # fmt: skip
    assert lc.gibbs_p(lam, depth, beta) > ALPHA
    assert lc.gibbs_p(lam, depth, 1.1 * beta) < ALPHA
    assert lc.gibbs_p(lam, depth, beta, entropic=False) < ALPHA


@pytest.mark.slow
def test_bias_at_equilibrium_is_of_first_order_in_the_step():
    space, beta = DeepLinearNetwork((3, 3, 3)), 3.0
    start, steps = lc.frames_start((3, 3, 3), 3, 0.9), [0.02, 0.04, 0.08]
    # The density of lam is homogeneous, so that the mean of the energy is known.
    exact = space.dim / (2 * beta)
    runs = [
        lc.stationary_norms(space, start, chains=200, dt=dt, time=9.0, beta=beta) for dt in steps
    ]
    biases = [np.mean(x) - exact for x in runs]
    assert all(b > 10 * np.std(x) / np.sqrt(len(x)) for b, x in zip(biases, runs, strict=True))
    assert abs(ref.slope(steps, biases) - 1) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_the_walk_samples_what_emcee_samples_downstairs(depth):
    emcee = pytest.importorskip("emcee")
    energy, widths, beta = lc.Quadratic([[1.0, 0.5], [-0.3, 0.6]]), (2,) * (depth + 1), 4.0

    def log_density(x):
        W = x.reshape(-1, 2, 2)
        known = dlngeom.svd(W)
        S = entropy(known, widths)
        value = S + endtoend.log_volume_density(known, depth) - beta * energy.energy(W)
        # Chains of even depth never leave the component in which they start.
        return value if depth % 2 else np.where(np.linalg.det(W) > 0, value, -np.inf)

    rng = np.random.default_rng(SEED)
    first = energy.target + 0.1 * rng.standard_normal((800, 2, 2))
    sampler = emcee.EnsembleSampler(800, 4, log_density, vectorize=True)
    sampler.random_state = np.random.RandomState(SEED).get_state()
    sampler.run_mcmc(first.reshape(800, 4), 1000)
    # Thinned by about two autocorrelation times.
    expected = sampler.get_chain(discard=400, thin=150, flat=True).reshape(-1, 2, 2)

    space, W = DeepLinearNetwork(widths), np.broadcast_to(energy.target, (5000, 2, 2)).copy()
    if depth % 2:
        # Crossing takes long: the components start with about their final shares.
        W[: len(W) // 3, :, 1] *= -1
    options = {"chains": None, "beta": beta, "observe": end_to_end}
    options["phases"] = [(4.0, 60), (1.0, 30), (0.5, 50)]
    start = space.orbit_point(W, SEED)
    walked = lc.with_singular_values(lc.equilibrium(space, start, energy, **options))
    assert lc.two_sample(walked, lc.with_singular_values(expected)) > ALPHA
    # The gauge noise matters: without it the density downstairs lacks exp(S).
    options["phases"] = [(4.0, 60)]
    below = lc.equilibrium(space.base, W, energy, **options)
    assert lc.two_sample(lc.with_singular_values(below), lc.with_singular_values(expected)) < ALPHA


def test_chains_do_not_depend_on_the_others_nor_on_a_pool():
    widths = (3, 4, 3)
    space, start = DeepLinearNetwork(widths, 2), lc.frames_start(widths, 2)
    options = {
        "energy_gradient": lc.identity, "beta": 2.0, "kappa": 0.7, "duration": 0.1, "n_steps": 6,
        "save_every": 4, "rng": SEED,
    }  # fmt: skip
    alone = riemannian_langevin(space, start, n_chains=64, **options)
    many = riemannian_langevin(space, start, n_chains=2000, **options)
    with ThreadPoolExecutor(2) as pool:
        pooled = riemannian_langevin(space, start, n_chains=2000, pool=pool, **options)
    first = [x[:64] for x in lc.parts(many.points)]
    for x, y in zip(first, lc.parts(alone.points), strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(lc.parts(many.points), lc.parts(pooled.points), strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(many.observed["end_to_end"], pooled.observed["end_to_end"])
