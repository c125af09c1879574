"""Steps of random walks downstairs."""

import numpy as np
import pytest

import dlngeom
from dlngeom import endtoend, spectral
from dlngeom.dln._walks import EndToEndWalk
from dlngeom.points import SVD, Tangent
from tests.helpers.reference import slope


@pytest.mark.parametrize(("m", "n", "rank", "depth"), [(3, 3, 3, 3), (4, 3, 2, 2), (3, 2, 2, 5)])
def test_a_step_is_the_second_order_retraction_up_to_third_order(rng, m, n, rank, depth):
    """Two maps, one for its price: they may differ no sooner than at third order."""
    point = dlngeom.svd(rng.standard_normal((1, m, n)), rank)
    noise = rng.standard_normal((1, m, n))
    u, s, v = point.u, point.s, point.vt.mT
    roots = np.sqrt(spectral.weights(s[..., :, None], s[..., None, :], depth))
    ends = np.sqrt(spectral.weights(s, 0 * s, depth))[..., None, :]
    left, right = noise @ v, noise.mT @ u
    Z = Tangent(
        ends * (left - u @ (u.mT @ left)),
        roots * (u.mT @ left),
        ends * (right - v @ (v.mT @ right)),
    )
    walk = EndToEndWalk(depth, rank, True)

    def gap(t):
        stepped = walk.point(walk.step(walk.start(point), noise, None, 0.0, t, t))
        moved = endtoend.retraction(point, Tangent(*(t * x for x in Z)), depth)
        assert isinstance(moved, SVD)
        return np.linalg.norm(dlngeom.dense(stepped) - dlngeom.dense(moved))

    steps = np.geomspace(3e-3, 3e-2, 5)
    assert slope(steps, [gap(t) for t in steps]) == pytest.approx(3, abs=0.1)
