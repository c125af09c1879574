"""Points and derivatives at the edge of what is allowed: either right or one clear error."""

import numpy as np
import pymanopt
import pytest
from autograd import numpy as anp
from pymanopt.optimizers import ConjugateGradient, NelderMead, ParticleSwarm, TrustRegions
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

import dlngeom
from dlngeom import endtoend
from dlngeom.pymanopt import EndToEnd, Point
from tests.helpers.parameters import slow


def orthogonal(rng, size):
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def least_squares(manifold, target):
    @pymanopt.function.autograd(manifold)
    def cost(u, s, vt):
        return 0.5 * anp.sum(((u * s) @ vt - target) ** 2)

    return pymanopt.Problem(manifold, cost)


@pytest.mark.parametrize("gap", [1e-6, 1e-9, 1e-12, 0.0])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradient_vanishes_at_the_best_approximation_with_tied_values(gap, depth):
    rng = np.random.default_rng(0)
    # E'(W) is of order one there although E'(W) v and E'(W)^T u are zero up to its rounding.
    target = orthogonal(rng, 5) * np.array([1 + gap, 1, 1 - gap, 0.9, 0.8]) @ orthogonal(rng, 5)
    manifold = EndToEnd(5, 5, 3, depth)
    point = Point(*dlngeom.svd(target, 3))
    gradient = least_squares(manifold, target).riemannian_gradient(point)
    assert manifold.norm(point, gradient) < 1e-13


@pytest.mark.parametrize("optimizer", [TrustRegions, ConjugateGradient])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seeds", [range(1), slow(range(1, 3))], ids=str)
def test_optimizers_reach_a_minimiser_whose_singular_values_are_tied(optimizer, depth, seeds):
    for seed in seeds:
        manifold = EndToEnd(5, 5, 3, depth, rng=seed)
        problem = least_squares(manifold, np.eye(5))
        result = optimizer(verbosity=0, max_iterations=300, min_gradient_norm=1e-13).run(problem)
        assert result.cost == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("size", "optimizer", "depth"),
    [(2, ParticleSwarm, np.inf), (2, NelderMead, 3)]
    + [slow(2, ParticleSwarm, depth) for depth in (1, 3, 1000)]
    + [slow(4, ParticleSwarm, np.inf), slow(4, NelderMead, np.inf)]
    + [slow(3, NelderMead, depth) for depth in (1, 1000)],
)
def test_absurd_steps_end_at_finite_points(optimizer, depth, size):
    manifold = EndToEnd(size, size, size, depth, rng=0)
    result = optimizer(verbosity=0, max_iterations=20).run(
        least_squares(manifold, np.diag(np.arange(1.0, size + 1)))
    )
    assert np.isfinite(result.cost)
    assert all(np.isfinite(x).all() for x in result.point)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_retraction_keeps_the_rank(depth):
    manifold = EndToEnd(6, 5, 3, depth, rng=0)
    x = manifold.random_point()
    tiny = Point(x.u, np.array([1, 0.5, 1e-100]), x.vt)
    moved = manifold.retraction(tiny, manifold.zero_vector(tiny))
    assert moved.s[-1] > 1e-33
    vector = manifold.random_tangent_vector(moved)
    assert manifold.norm(moved, vector) == pytest.approx(1)
    assert all(np.isfinite(part).all() for part in manifold.transport(moved, x, vector))


@pytest.mark.parametrize(("smallest", "depth"), [(0.0, 1), (0.0, 3), (-0.1, 2), (1e-300, 3)])
def test_points_off_the_manifold_are_named(smallest, depth):
    manifold = EndToEnd(6, 5, 3, depth, rng=0)
    u, _, vt = manifold.random_point()
    point = (u, np.array([1, 0.5, smallest]), vt)
    with pytest.raises(ValueError, match="s has an entry"):
        manifold.norm(point, manifold.zero_vector(point))
    with pytest.raises(ValueError, match="s has an entry"):
        manifold.retraction(point, manifold.zero_vector(point))


@pytest.mark.parametrize(
    "form", [np.asarray, sparse.csr_array, lambda G: (G, np.eye(5), np.eye(5))]
)
def test_gradients_with_nan_are_named(form):
    manifold = EndToEnd(6, 5, 3, 2, rng=0)
    gradient = np.ones((6, 5))
    gradient[2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        manifold.euclidean_to_riemannian_gradient(manifold.random_point(), form(gradient))


def test_batched_gradients_do_not_fit_one_point():
    manifold = EndToEnd(6, 5, 3, 2, rng=0)
    with pytest.raises(ValueError, match=r"\(7, 6, 5\)"):
        manifold.euclidean_to_riemannian_gradient(manifold.random_point(), np.ones((7, 6, 5)))


def test_scipy_covectors_keep_the_dtype_of_the_point():
    rng = np.random.default_rng(0)
    W = dlngeom.svd(rng.standard_normal((6, 5)).astype(np.float32), 3)
    for G in (sparse.eye_array(6, 5).tocsr(), sparse.linalg.aslinearoperator(np.eye(6, 5))):
        assert all(x.dtype == np.float32 for x in endtoend.cometric(W, G, 3))


def test_scipy_covectors_that_do_not_fit_are_named():
    rng = np.random.default_rng(0)
    W = dlngeom.svd(rng.standard_normal((6, 5)), 3)
    batch = dlngeom.svd(rng.standard_normal((2, 6, 5)), 3)
    one_way = LinearOperator((6, 5), matvec=lambda x: np.zeros(6), dtype=float)
    with pytest.raises(ValueError, match="rmatvec"):
        endtoend.cometric(W, one_way, 2)
    with pytest.raises(ValueError, match="batch"):
        endtoend.cometric(batch, sparse.eye_array(6, 5).tocsr(), 2)
    with pytest.raises(ValueError, match="complex"):
        endtoend.cometric(W, 1j * sparse.eye_array(6, 5).tocsr(), 2)
    with pytest.raises(ValueError, match=r"batch \(3,\)"):
        endtoend.cometric(batch, np.ones((3, 6, 5)), 2)


def test_transport_between_ranks_is_refused():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((6, 5))
    low, high = dlngeom.svd(W, 2), dlngeom.svd(W, 3)
    Z = endtoend.cometric(low, W, 2)
    with pytest.raises(ValueError, match="differ in shape or rank"):
        endtoend.transport(low, high, Z, 2)


@pytest.mark.parametrize("scale", [1e-85, 1.0, 1e100])
def test_balance_is_a_matter_of_ratios(scale):
    unit = np.eye(3) * scale
    frames = dlngeom.frames([unit, unit])
    np.testing.assert_allclose(frames.lam, scale, rtol=1e-15)
    with pytest.raises(ValueError, match="not balanced"):
        dlngeom.frames([unit, 3 * unit])


def test_weights_that_underflow_cannot_be_divided_by():
    u = np.eye(3)
    point = dlngeom.SVD(u, np.array([1, 1e-150, 1e-300]), u)
    with pytest.raises(ValueError, match="underflow"):
        endtoend.inner(point, np.eye(3), np.eye(3), 3)
    assert np.isfinite(endtoend.cometric(point, np.ones((3, 3)), 3).M).all()


def test_tangent_at_a_dense_point_is_refused():
    W = np.random.default_rng(0).standard_normal((4, 4))
    Z = endtoend.cometric(dlngeom.svd(W), W, 2)
    with pytest.raises(ValueError, match="pass an SVD"):
        endtoend.inner(W, Z, Z, 2)
