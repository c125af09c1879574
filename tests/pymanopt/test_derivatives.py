"""Gradients and Hessians of the pymanopt adapter in every form that users have."""

import numpy as np
import pymanopt
import pytest

from dlngeom import SVD
from dlngeom.pymanopt import ambient_direction
from tests.helpers.parameters import crossed
from tests.helpers.pymanopt_problems import (
    AMBIENT,
    AUTODIFF,
    FORMS,
    Quartic,
    ambient,
    error,
    manifold_of,
    matrix,
    point_of,
    taylor_slopes,
)
from tests.helpers.reference import cometric

DEPTHS = [1, 2, 3, np.inf]


def setup(depth, form, rng, **options):
    manifold = manifold_of(depth, **options)
    x = point_of(manifold, rng)
    cost = Quartic(len(x.u), x.vt.shape[1], rng)
    return manifold, x, cost, cost.problem(manifold, form)


@pytest.mark.parametrize("form", ["dense", "autograd"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_gradient_is_the_cometric_of_the_ambient_gradient(depth, form, rng):
    _, x, cost, problem = setup(depth, form, rng)
    G = cost.gradient(matrix(x))
    if depth == 1:
        P, Q = x.u @ x.u.T, x.vt.T @ x.vt
        expected = P @ G + G @ Q - P @ G @ Q
    else:
        expected = cometric(SVD(*x), G, depth)
    assert error(ambient(x, problem.riemannian_gradient(x)), expected) < 1e-12


@pytest.mark.parametrize(("depth", "form"), crossed([3, 1, 2, np.inf], FORMS))
def test_derivatives_agree_in_all_forms(depth, form, rng):
    manifold, x, cost, problem = setup(depth, form, rng)
    Z = manifold.random_tangent_vector(x)
    dense = cost.problem(manifold, "dense")
    assert error(problem.riemannian_gradient(x), dense.riemannian_gradient(x)) < 1e-12
    assert error(problem.riemannian_hessian(x, Z), dense.riemannian_hessian(x, Z)) < 1e-12


@pytest.mark.parametrize(("depth", "form"), crossed([3, 1, 2, np.inf], FORMS))
def test_taylor_remainders_have_order_two_and_three(depth, form, rng):
    manifold, x, _, problem = setup(depth, form, rng)
    slopes = taylor_slopes(problem, x, manifold.random_tangent_vector(x))
    np.testing.assert_allclose(slopes, (2, 3), atol=0.1)


@pytest.mark.parametrize("depth", [2, 3])
def test_the_projection_retraction_is_of_first_order_only(depth, rng):
    manifold, x, _, problem = setup(depth, "dense", rng, retraction="projection")
    slopes = taylor_slopes(problem, x, manifold.random_tangent_vector(x))
    np.testing.assert_allclose(slopes, (2, 2), atol=0.1)


def test_the_projection_retraction_is_of_second_order_at_depth_one(rng):
    manifold, x, _, problem = setup(1, "dense", rng, retraction="projection")
    slopes = taylor_slopes(problem, x, manifold.random_tangent_vector(x))
    np.testing.assert_allclose(slopes, (2, 3), atol=0.1)


@pytest.mark.parametrize("form", ["autograd", "dense"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_hessian_is_linear_and_self_adjoint(depth, form, rng):
    manifold, x, _, problem = setup(depth, form, rng)
    a, b = (manifold.random_tangent_vector(x) for _ in range(2))
    Ha, Hb = (problem.riemannian_hessian(x, z) for z in (a, b))
    assert error(problem.riemannian_hessian(x, 3 * a - b), 3 * Ha - Hb) < 1e-12
    size = manifold.norm(x, Ha) + manifold.norm(x, Hb)
    gap = manifold.inner_product(x, Ha, b) - manifold.inner_product(x, a, Hb)
    assert abs(gap) < 1e-12 * size


@pytest.mark.parametrize("form", AMBIENT)
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_factor_hessian_goes_with_an_ambient_gradient(depth, form, rng):
    manifold, x, cost, problem = setup(depth, "autograd", rng)
    Z = manifold.random_tangent_vector(x)
    G = AMBIENT[form](cost.gradient(matrix(x)))
    H = problem.euclidean_hessian(x, Z)
    mixed = manifold.euclidean_to_riemannian_hessian(x, G, H, Z)
    assert error(mixed, problem.riemannian_hessian(x, Z)) < 1e-12


def test_an_ambient_hessian_needs_an_ambient_gradient(rng):
    manifold, x, cost, problem = setup(2, "autograd", rng)
    Z = manifold.random_tangent_vector(x)
    H = cost.hessian(matrix(x), ambient(x, Z))
    with pytest.raises(ValueError, match="needs an ambient Euclidean gradient"):
        manifold.euclidean_to_riemannian_hessian(x, problem.euclidean_gradient(x), H, Z)


@pytest.mark.parametrize("depth", DEPTHS)
def test_ambient_direction_undoes_the_embedding(depth, rng):
    manifold = manifold_of(depth)
    x = point_of(manifold, rng)
    Z = manifold.random_tangent_vector(x)
    U, S, V = ambient_direction(x, manifold.embedding(x, Z))
    assert error(U @ S @ V.T, ambient(x, Z)) < 1e-13


def test_ambient_direction_differentiates_the_product(rng):
    x = point_of(manifold_of(2), rng)
    direction = tuple(rng.standard_normal(a.shape) for a in x)
    U, S, V = ambient_direction(x, direction)
    forward, backward = (
        matrix([a + t * b for a, b in zip(x, direction, strict=True)]) for t in (1e-5, -1e-5)
    )
    assert error(U @ S @ V.T, (forward - backward) / 2e-5) < 1e-8


def test_ambient_direction_names_the_wrong_shape(rng):
    x = point_of(manifold_of(2), rng)
    with pytest.raises(ValueError, match=r"direction.vt has shape \(6, 3\): it must be \(3, 6\)"):
        ambient_direction(x, (x.u, x.s, x.vt.T))


def test_wrong_derivatives_are_named(rng):
    manifold = manifold_of(2)
    x = point_of(manifold, rng)
    convert = manifold.euclidean_to_riemannian_gradient
    with pytest.raises(ValueError, match="gradient has 2 parts"):
        convert(x, (x.u, x.s))
    with pytest.raises(ValueError, match=r"gradient.u has shape \(6, 3\)"):
        convert(x, (x.vt.T, x.s, x.vt))
    with pytest.raises(ValueError, match=r"gradient has shape \(6, 7\): it must be"):
        convert(x, np.zeros((6, 7)))
    with pytest.raises(ValueError, match=r"gradient.U has shape \(6, 3\)"):
        convert(x, (x.vt.T, np.eye(3), x.vt.T))


@pytest.mark.parametrize("name", AUTODIFF)
def test_a_factor_that_the_cost_ignores_has_derivative_zero(name, rng):
    manifold = manifold_of(2)
    x = point_of(manifold, rng)
    decorate, xp = AUTODIFF[name]
    problem = pymanopt.Problem(manifold, decorate(manifold)(lambda u, s, vt: xp.sum(s)))
    expected = cometric(SVD(*x), x.u @ x.vt, 2)
    assert error(ambient(x, problem.riemannian_gradient(x)), expected) < 1e-12
