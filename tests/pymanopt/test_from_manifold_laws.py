"""Walks on manifolds of pymanopt against laws known exactly, each with a mutant that must fail."""

import numpy as np
import pytest
from pymanopt import manifolds
from pymanopt.manifolds.manifold import Manifold

from dlngeom.langevin import brownian_motion
from dlngeom.pymanopt import from_manifold
from dlngeom.pymanopt._given_manifolds import EmbeddedManifold
from dlngeom.quotients import Grassmann
from tests.helpers.laws_cases import ALPHA, SEED, last, two_sample

pytestmark = pytest.mark.slow

CHAINS = 2000


class Nearest(manifolds.Stiefel):
    """Stiefel manifold by polar factors alone; its exponential map takes one chain at a time."""

    exp = Manifold.exp

    def retraction(self, point, tangent_vector):
        u, _, vt = np.linalg.svd(point + tangent_vector, full_matrices=False)
        return u @ vt


def ends(space, start, *, beta=1.5, upstairs=True, seed=SEED, observe=None):
    place = space if upstairs else space.base
    found = brownian_motion(
        place, start if upstairs else space.project(start), upstairs=upstairs, beta=beta,
        duration=0.3, n_steps=15, rng=seed, n_chains=CHAINS, save_every=15,
        observe={"x": observe or (space.project if upstairs else np.array)},
    )  # fmt: skip
    return last(found)


@pytest.mark.parametrize("upstairs", [True, False])
def test_subspaces_have_the_law_of_the_worked_grassmannian(upstairs):
    space, known = from_manifold(manifolds.Grassmann(3, 2)), Grassmann(3, 2)
    start = np.eye(3)[:, :2]
    exact = ends(known, start, upstairs=upstairs, seed=SEED + 1)
    assert two_sample(ends(space, start, upstairs=upstairs), exact) > ALPHA
    assert two_sample(ends(space, start, upstairs=upstairs, beta=1.0), exact) < 1e-8


def test_parts_of_a_product_have_their_own_laws(monkeypatch):
    parts = [from_manifold(x) for x in (manifolds.Sphere(3), Nearest(3, 2))]
    space = from_manifold(manifolds.Product([manifolds.Sphere(3), Nearest(3, 2)]))
    start = (np.eye(3)[0], np.eye(3)[:, :2])
    alone = [
        ends(s, x, seed=SEED + 1 + i) for i, (s, x) in enumerate(zip(parts, start, strict=True))
    ]

    def joint(point):
        flat = [x.reshape(*x.shape[: x.ndim - n], -1) for x, n in zip(point, (1, 2), strict=True)]
        return np.concatenate(flat, axis=-1)

    def p():
        x = ends(space, start, observe=joint)
        return [two_sample(x[:, :3], alone[0]), two_sample(x[:, 3:], alone[1].reshape(-1, 6)), x]

    *values, x = p()
    assert min(values) > ALPHA
    # Their noises are independent.
    crossed = np.corrcoef(x[:, 1], x[:, 6])[0, 1]
    assert abs(crossed) < 5 / CHAINS**0.5
    honest = EmbeddedManifold.retraction
    monkeypatch.setattr(
        EmbeddedManifold, "retraction",
        lambda self, x, V, *, order=2: honest(self, x, V * (2**0.5 if V.ndim > 2 else 1)),
    )  # fmt: skip
    sphere, frames, _ = p()
    assert sphere > ALPHA
    assert frames < 1e-8
