"""Walks of submersions from a map against exact laws, each with a mutant that must not pass."""

import numpy as np
import pytest
from numpy.polynomial import legendre
from scipy import stats

from dlngeom import DeepLinearNetwork, Frames, factors, from_map, laws
from dlngeom.langevin import brownian_motion, riemannian_langevin
from dlngeom.quotients import BuresWasserstein
from tests.helpers.laws_cases import (
    ALPHA,
    SEED,
    frames_start,
    last,
    one_sample,
    two_sample,
    with_gaps,
)
from tests.helpers.map_cases import (
    balanced_equations,
    eigenvalues,
    gram,
    length,
    product,
    projective_line,
)

pytest.importorskip("jax")
pytestmark = pytest.mark.slow

CHAINS = 4000


def run(space, start, observe, *, kappa=1.0, time=0.1, beta=1.5, steps=50, seed=SEED):
    found = riemannian_langevin(
        space, start, beta=beta, kappa=kappa, duration=time, n_steps=steps, rng=seed,
        n_chains=CHAINS, save_every=steps, observe={"x": observe},
    )  # fmt: skip
    return last(found)


def heat_kernel(u, time, terms=200):
    """Distribution function of ``cos(angle)`` at a time of the Laplacian of the unit sphere."""
    l = np.arange(1, terms)  # noqa: E741
    decay = np.exp(-l * (l + 1) * time) / 2
    series = np.zeros(terms + 1)
    series[2:] += decay
    series[:-2] -= decay
    return (1 + u) / 2 + legendre.legval(u, series)


@pytest.mark.parametrize("upstairs", [True, False])
def test_brownian_motion_of_the_projective_line_is_that_of_a_small_sphere(upstairs):
    space, time, beta, steps = projective_line(), 0.15, 1.5, 60
    x = np.array([0.6, 0.0, 0.0, 0.8])
    y = space.project(x)
    start = x if upstairs else space.base_point(x)
    found = brownian_motion(
        space if upstairs else space.base, start, duration=time, n_steps=steps, beta=beta,
        rng=SEED, n_chains=CHAINS, save_every=steps, upstairs=upstairs,
    )  # fmt: skip
    value = space.project(found.points) if upstairs else found.points.value
    cosine = value[:, -1] @ y

    def p(speed):
        return stats.kstest(cosine, lambda u: heat_kernel(u, speed * time / beta)).pvalue

    assert p(4.0) > ALPHA  # A sphere of radius one half.
    assert p(1.0) < ALPHA
    assert p(3.5) < ALPHA


@pytest.mark.parametrize("widths", [(2, 2, 2, 2), (3, 2, 2), (3, 2, 3)], ids=str)
def test_balanced_layers_have_the_cone_law(widths):
    net = DeepLinearNetwork(widths)
    frames = frames_start(widths, net.rank)
    start = factors(frames)
    assert isinstance(frames, Frames)
    space = from_map(product, start, constraint=balanced_equations)

    def squared(layers):
        return sum(np.sum(W * W, axis=(-2, -1)) for W in layers)

    x = run(space, start, squared, kappa=0.5, steps=100)
    size = float(squared(start))
    assert one_sample(x, laws.cone_law(net, size, 0.1, 1.5, 0.5)) > ALPHA
    assert one_sample(x, laws.cone_law(net, size, 0.1, 1.5, 1.0)) < ALPHA


def test_lengths_have_the_law_of_a_bessel_process():
    start = np.eye(3)[0]
    x = run(from_map(length, start), start, lambda x: np.sum(x * x, axis=-1), kappa=0.5, time=0.3)
    assert one_sample(x, laws.sphere_law(3, 1.0, 0.3, 1.5, 0.5)) > ALPHA
    assert one_sample(x, laws.sphere_law(3, 1.0, 0.3, 1.5, 1.0)) < ALPHA


def test_eigenvalues_have_the_law_of_dyson():
    x0 = np.array([-1.0, 0.0, 1.0])
    start = np.diag(x0).astype(complex)
    space = from_map(eigenvalues, start)
    x = with_gaps(run(space, start, space.project, kappa=0.5, steps=200))
    for kappa, holds in ((0.5, True), (1.0, False)):
        exact = laws.dyson_law(x0, 0.1, 1.5, kappa, 5 * CHAINS, SEED + 1)
        assert (two_sample(x, with_gaps(exact)) > ALPHA) == holds


def test_gram_matrices_have_the_law_of_the_worked_quotient():
    start, known = np.array([[1.0, 0.2], [0.0, 0.7], [0.3, 0.0]]), BuresWasserstein(3, 2)
    space = from_map(gram, start)

    def entries(x):
        return (x @ x.mT)[..., *np.triu_indices(3)]

    x = run(space, start, entries, kappa=0.5)
    for kappa, holds in ((0.5, True), (1.0, False)):
        y = run(known, start, entries, kappa=kappa, seed=SEED + 1)
        assert (two_sample(x, y) > ALPHA) == holds
