"""Laws of runs without tuning: automatic steps against a reference, adapted steps exactly."""

import numpy as np
import pytest
from scipy import stats

from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin
from tests.helpers import langevin_cases as cases
from tests.helpers.automatic import automatic, coarsest, reference

pytest.importorskip("arviz_stats")
LEVEL = 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quadratic 2, N=1", "quadratic 2, N=2"])
def test_means_with_automatic_steps_are_those_of_the_law(name):
    exact, found = reference(name, 30.0), automatic(name, 30.0)
    assert 0.45 < exact.accepted < 0.7
    pairs = zip(found.means, found.errors, exact.means, exact.errors, strict=True)
    for mean, error, true, own in pairs:
        # Two percent of bias, and what is left to chance at this level.
        chance = stats.norm.isf(LEVEL / 2) * np.hypot(error, own)
        assert abs(mean - true) < 0.02 * abs(true) + chance
    assert coarsest(name, 30.0, exact) < 4 * found.step


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
