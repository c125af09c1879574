"""Checks stand at the door: what is called in a loop does not grow by checks of points."""

from collections import Counter

import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import SteepestDescent

from dlngeom.flow import gradient_flow
from dlngeom.langevin import kinetic_langevin, riemannian_langevin
from dlngeom.pymanopt import Quotient
from dlngeom.quotients import BuresWasserstein, Grassmann, HermitianSpectrum, Sphere

SPACES = [Sphere(3), BuresWasserstein(3, 2), HermitianSpectrum(2), Grassmann(4, 2)]
DOOR = ("random_point", "check_point", "check_start", "orbit_point")


def counted(space, monkeypatch):
    """Count the calls of the methods of a space."""
    counts = Counter()
    for name in (*DOOR, "tangent_projection", "vertical_projection", "retraction"):
        if (method := getattr(type(space), name, None)) is None:
            continue

        def wrapped(self, *args, _name=name, _method=method, **options):
            counts[_name] += 1
            return _method(self, *args, **options)

        monkeypatch.setattr(type(space), name, wrapped)
    return counts


def slope(x):
    return np.zeros_like(x)


def walk(space, count, kappa):
    riemannian_langevin(
        space, space.random_point(0), beta=10.0, kappa=kappa, duration=1e-3 * count,
        n_steps=count, save_every=count, rng=0, energy_gradient=slope,
    )  # fmt: skip


def kinetic(space, count, kappa):
    kinetic_langevin(
        space, space.random_point(0), beta=10.0, friction=1.0, duration=1e-3 * count,
        n_steps=count, save_every=count, rng=0, energy_gradient=slope,
    )  # fmt: skip


def descent(space, count, kappa):
    manifold = Quotient(space, rng=0)

    @pymanopt.function.numpy(manifold)
    def cost(x):
        return 0.25 * float(np.sum(x * x)) ** 2

    @pymanopt.function.numpy(manifold)
    def egrad(x):
        return np.sum(x * x) * x

    problem = pymanopt.Problem(manifold, cost, euclidean_gradient=egrad)
    optimizer = SteepestDescent(max_iterations=count, min_gradient_norm=0, verbosity=0)
    optimizer.run(problem, initial_point=manifold.random_point())


def flow(space, count, kappa):
    times = np.linspace(0, 0.01 * count, 3)
    gradient_flow(space, space.random_point(0), lambda x: x, times, upstairs=True)


CASES = [
    *((walk, space, kappa) for space in SPACES for kappa in (1.0, 0.5)),
    *((loop, space, 1.0) for space in SPACES for loop in (kinetic, flow)),
    *((descent, space, 1.0) for space in SPACES[:2]),
]


@pytest.mark.parametrize(
    ("loop", "space", "kappa"), CASES, ids=lambda x: getattr(x, "__name__", str(x))
)
def test_a_longer_loop_checks_no_more_points(loop, space, kappa, monkeypatch):
    counts, calls = counted(space, monkeypatch), []
    for steps in (4, 14):
        counts.clear()
        loop(space, steps, kappa)
        calls.append(Counter(counts))
    assert [calls[0][name] for name in DOOR] == [calls[1][name] for name in DOOR]
    if loop is walk:
        more = calls[1] - calls[0]
        assert more["retraction"] == 10
        assert more["vertical_projection"] == (0 if kappa == 1 else 10)
