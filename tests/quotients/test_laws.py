"""Walks on worked quotients against laws known exactly, each with a mutant that must not pass."""

import numpy as np
import pytest
from numpy.polynomial import legendre
from scipy import stats

from dlngeom import DeepLinearNetwork, laws
from dlngeom.langevin import brownian_motion, riemannian_langevin
from dlngeom.quotients import ComplexProjective, FixedRank, KendallShapes
from tests.helpers.laws_cases import ALPHA, SEED, last, one_sample

pytestmark = pytest.mark.slow

CHAINS = 4000
BETA, TIME = 1.5, 0.15


def heat_kernel(u, time, terms=200):
    """Distribution function of ``cos(angle)`` at a time of the Laplacian of the unit sphere."""
    l = np.arange(1, terms)  # noqa: E741
    decay = np.exp(-l * (l + 1) * time) / 2
    series = np.zeros(terms + 1)
    series[2:] += decay
    series[:-2] -= decay
    return (1 + u) / 2 + legendre.legval(u, series)


def walked(space, start, observe, *, upstairs, steps=60, time=TIME):
    found = brownian_motion(
        space if upstairs else space.base, start if upstairs else space.project(start),
        duration=time, n_steps=steps, beta=BETA, rng=SEED, n_chains=CHAINS, save_every=steps,
        upstairs=upstairs, observe={"x": lambda x: observe(space.project(x) if upstairs else x)},
    )  # fmt: skip
    return last(found)


def line():
    """Cosine of the angle on the sphere of radius one half, by the overlap with the start."""
    space = ComplexProjective(1)
    z = np.array([0.6, 0.8j])
    return space, z, lambda p: 2 * np.real(np.sum(np.conj(space.project(z)) * p, axis=(-2, -1))) - 1


def triangles():
    """The same for triangles, whose overlap has a Gram matrix and an area."""
    space = KendallShapes(3, 2)
    x = space.random_point(3)
    gram, minors = space.project(x)

    def cosine(shape):
        # As a complex line z, the projector z z^* has the Gram matrix and the minors as its parts.
        dots = np.sum(gram * shape[0], axis=(-2, -1))
        return 2 * dots + 4 * np.sum(minors * shape[1], axis=-1) - 1

    return space, x, cosine


@pytest.mark.parametrize("upstairs", [True, False])
@pytest.mark.parametrize("case", [line, triangles])
def test_brownian_motion_is_that_of_a_sphere_of_radius_one_half(case, upstairs):
    space, start, cosine = case()
    assert cosine(space.project(start)) == pytest.approx(1, abs=1e-12)
    x = walked(space, start, cosine, upstairs=upstairs)

    def p(speed):
        return stats.kstest(x, lambda u: heat_kernel(u, speed * TIME / BETA)).pvalue

    assert p(4.0) > ALPHA
    assert p(3.5) < ALPHA


def test_balanced_pairs_have_the_cone_law_of_the_network():
    """Squared lengths under the RLE, and singular values downstairs."""
    space, net = FixedRank(2, 2, 2), DeepLinearNetwork((2, 2, 2))
    root = np.diag([1.2, 0.7])
    start = (root, root)
    found = riemannian_langevin(
        space, start, beta=BETA, kappa=0.5, duration=0.1, n_steps=100, rng=SEED, n_chains=CHAINS,
        save_every=100, observe={"x": lambda p: sum(np.sum(y * y, axis=(-2, -1)) for y in p)},
    )  # fmt: skip
    x, size = last(found), float(2 * np.sum(root**2))
    assert one_sample(x, laws.cone_law(net, size, 0.1, BETA, 0.5)) > ALPHA
    assert one_sample(x, laws.cone_law(net, size, 0.1, BETA, 1.0)) < ALPHA
