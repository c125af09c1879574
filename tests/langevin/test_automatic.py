"""Laws of runs without tuning: automatic steps against a reference, adapted steps exactly."""

import numpy as np
import pytest
from scipy import stats

from dlngeom import DeepLinearNetwork, endtoend, thermodynamics
from dlngeom.langevin import riemannian_langevin
from tests.helpers import langevin_cases as cases
from tests.helpers.automatic import ENERGIES, LINE, accepted, coarsest, exact, sampled

LEVEL = 1e-5


def by_densities(name, count=30_000):
    """Means of the law by weights of matrices alone, from densities of the library."""
    energy = ENERGIES[name]
    spread = (energy.beta / energy.kappa * energy.stiffness) ** -0.5
    noise = np.random.default_rng(1).standard_normal((count, *energy.middle.shape))
    W = energy.middle + spread * noise
    W = W if energy.depth % 2 else W[np.linalg.det(W) > 0]
    log = thermodynamics.entropy(W, energy.widths) / energy.kappa
    log += endtoend.log_volume_density(W, energy.depth)
    weights = np.exp(log - np.max(log))
    values = [np.trace(W, axis1=-2, axis2=-1), np.sum(W**2, axis=(-2, -1))]
    return [np.average(x, weights=weights) for x in values]


@pytest.mark.parametrize("name", ["quadratic 3, N=3", "wide 2, N=2", "kappa 3, N=2"])
def test_reference_means_are_those_of_the_density(name):
    law = exact(name)
    np.testing.assert_allclose(law.means, by_densities(name), rtol=0.01)
    assert np.all(law.errors < 0.005 * law.means)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["quadratic 2, N=1", "quadratic 2, N=2", "kappa 3, N=2", "wells 2, N=2"]
)
def test_means_with_automatic_steps_are_those_of_the_law(name):
    run = {"chains": 512, "times": 8.0}
    law, found = exact(name), sampled(name, **run)
    # Two percent of bias, and what is left to chance at this level.
    chance = stats.norm.isf(LEVEL / 2) * np.hypot(found.errors, law.errors)
    assert np.all(np.abs(found.means - law.means) < LINE * law.means + chance)
    assert not found.warned
    assert coarsest(name, law, found.step, **run) < 4 * found.step


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quadratic 2, N=2", "completion 3, N=2"])
def test_adjusted_steps_are_accepted_as_often_as_aimed(name):
    assert 0.45 < accepted(name) < 0.7


@pytest.mark.slow
def test_adapted_steps_have_the_exact_law():
    space, beta, depth = DeepLinearNetwork((2, 2, 2)), 4.0, 2
    run = riemannian_langevin(
        space, space.random_point(0, (500,)), energy_gradient=cases.identity,
        energy=cases.half_squared, adjust=True, beta=beta, duration=1.0, n_steps=400, warmup=200,
        save_every=10, observe={"squared": lambda x: np.sum(x.lam ** (2 * depth), axis=-1)}, rng=5,
    )  # fmt: skip
    assert 0.45 < run.observed["acceptance"][:, -1].mean() < 0.7
    virial = beta / 2 * run.observed["squared"][:, 1:]
    assert virial.size == 20_000
    # The lifted energy is homogeneous of degree 2N: a gamma law, by the dimension upstairs.
    below = 4
    upstairs = below + (depth - 1)
    assert stats.kstest(virial.ravel(), stats.gamma(upstairs / (2 * depth)).cdf).pvalue > LEVEL
    # The law without the volume of the fibres, a circle.
    assert stats.kstest(virial.ravel(), stats.gamma(below / (2 * depth)).cdf).pvalue < LEVEL
