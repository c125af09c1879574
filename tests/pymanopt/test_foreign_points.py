"""Points that a manifold did not make are checked against it, once."""

import autograd.numpy as anp
import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import ConjugateGradient, SteepestDescent, TrustRegions

import dlngeom
from dlngeom.pymanopt import EndToEnd, Point, TangentVector, _end_to_end

A = np.random.default_rng(0).standard_normal((6, 5))


def space(depth=3):
    return EndToEnd(6, 5, 2, depth, rng=0)


def problem(manifold):
    @pymanopt.function.autograd(manifold)
    def cost(u, s, vt):
        return 0.5 * anp.sum(((u * s) @ vt - A) ** 2)

    return pymanopt.Problem(manifold, cost)


def full():
    return tuple(np.linalg.svd(A, full_matrices=False))


def truncated(**changes):
    point = dlngeom.svd(A, 2)._replace(**changes)
    return tuple(point)


FOREIGN = {
    r"shapes \(\(6, 5\), \(5,\), \(5, 5\)\).*svd\(W, 2\)": full,
    "u is not orthonormal": lambda: truncated(u=2 * dlngeom.svd(A, 2).u),
    r"vt\^T is not orthonormal": lambda: truncated(vt=dlngeom.svd(A, 2).vt / 2),
    "complex": lambda: tuple(x.astype(complex) for x in truncated()),
    "not finite|is nan": lambda: truncated(s=np.array([1.0, np.nan])),
    "must be >= 0|must be positive": lambda: truncated(s=np.array([1.0, -1.0])),
    r"shapes \(\(1, 6, 2\)": lambda: tuple(x[None] for x in truncated()),
    "float32": lambda: truncated(s=np.array([2.0, 1.0], dtype=np.float32)),
}


@pytest.mark.parametrize("make", [tuple, lambda x: Point(*x), list], ids=["tuple", "Point", "list"])
@pytest.mark.parametrize("message", FOREIGN)
def test_foreign_points_are_named(message, make):
    manifold, point = space(), make(FOREIGN[message]())
    zero = TangentVector(np.zeros((6, 2)), np.zeros((2, 2)), np.zeros((5, 2)))
    calls = [
        lambda: manifold.norm(point, zero),
        lambda: manifold.retraction(point, zero),
        lambda: manifold.projection(point, zero),
        lambda: manifold.euclidean_to_riemannian_gradient(point, A),
        lambda: manifold.transport(point, point, zero),
        lambda: manifold.log(point, point),
        lambda: manifold.random_tangent_vector(point),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("optimizer", [ConjugateGradient, SteepestDescent, TrustRegions])
def test_optimizers_refuse_starts_of_another_rank(optimizer):
    with pytest.raises(ValueError, match=r"svd\(W, 2\)"):
        optimizer(verbosity=0).run(problem(space()), initial_point=full())


@pytest.mark.parametrize("optimizer", [ConjugateGradient, TrustRegions])
def test_optimizers_start_from_foreign_points_of_the_manifold(optimizer):
    start = dlngeom.svd(A + 0.1, 2)
    result = optimizer(verbosity=0, min_gradient_norm=1e-9).run(
        problem(space()), initial_point=start
    )
    best = np.sum(np.linalg.svd(A)[1][2:] ** 2) / 2
    assert result.cost == pytest.approx(best, rel=1e-6)


def test_points_of_our_own_are_never_checked(monkeypatch):
    manifold = space()
    x = manifold.random_point()
    monkeypatch.setattr(_end_to_end, "check_svd", lambda point: pytest.fail("checked"))
    Z = manifold.random_tangent_vector(x)
    y = manifold.retraction(x, Z)
    manifold.transport(x, y, Z)
    manifold.norm(manifold.pair_mean(x, y), Z)
    manifold.euclidean_to_riemannian_gradient(y, A)


def test_points_of_another_manifold_are_refused():
    with pytest.raises(ValueError, match="the point has shapes"):
        space().norm(EndToEnd(6, 5, 3, 3, rng=0).random_point(), None)
