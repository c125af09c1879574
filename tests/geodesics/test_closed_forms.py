"""Closed forms of geodesics and logarithms against the integrator and shots."""

import numpy as np
import pytest

import dlngeom
from dlngeom import Tangent
from dlngeom.dln import EndToEndGeometry
from dlngeom.dln._closed_forms import first_singular
from dlngeom.geodesics import GeodesicError, dist, exp, geodesic, log
from tests.helpers import reference as ref
from tests.helpers.geodesic_cases import space_of, vector


@pytest.fixture
def by_integration(monkeypatch):
    """A function that calls another with the closed forms switched off."""

    def called(function, *arguments, **named):
        with monkeypatch.context() as patch:
            patch.setattr(EndToEndGeometry, "_closed_form", lambda self: None)
            patch.setattr("dlngeom.dln._geodesics._symmetric_line", lambda point, Z: None)
            line = dlngeom.dln._geodesics._straight_line
            patch.setattr(
                "dlngeom.dln._geodesics._straight_line",
                lambda point, Z: line(point, Z)._replace(meets=None),
            )
            return function(*arguments, **named)

    return called


def positive(rng, *batch, d=3):
    X = rng.standard_normal((*batch, d, d))
    return 0.2 * X @ X.mT + 0.5 * np.eye(d)


def test_positive_definite_geodesics(by_integration, rng):
    A, Z = positive(rng, 4), rng.standard_normal((4, 3, 3))
    Z, space = 0.1 * (Z + Z.mT), EndToEndGeometry(3, 3, 3, 2)
    times = np.array([0.4, -1.0, 0.0, 1.0])
    found = geodesic(space, A, Z, times, velocity=True)
    for x, y in zip(
        found, by_integration(geodesic, space, A, Z, times, velocity=True), strict=True
    ):
        ref.close(x, y, 1e-11)
    W = dlngeom.svd(A[0])
    inside = Tangent(0 * W.u, W.u.T @ Z[0] @ W.vt.T, 0 * W.u)
    ref.close(dlngeom.dense(exp(space, W, inside)), exp(space, A[0], Z[0]), 1e-13)


def test_positive_definite_logarithms(by_integration, rng):
    A, B, space = positive(rng, 4), positive(rng, 4), EndToEndGeometry(3, 3, 3, 2)
    Z = log(space, A, B)
    ref.close(Z, by_integration(log, space, A, B), 1e-11)
    ref.close(dist(space, A, B), by_integration(dist, space, A, B), 1e-11)
    ref.close(exp(space, A, Z), B, 1e-13)
    for i in range(4):
        ref.close(log(space, A[i], B[i]), Z[i], 1e-14)
    a, b = dlngeom.svd(A), dlngeom.svd(B)
    ref.close(dlngeom.dense((a, log(space, a, b))), Z, 1e-12)


def test_only_positive_definite_pairs_of_a_batch_have_the_closed_form(by_integration, rng):
    A, B, space = positive(rng, 4), positive(rng, 4), EndToEndGeometry(3, 3, 3, 2)
    turn = ref.orthonormal(3, 3, rng)
    A[1], B[1] = A[1] @ turn, B[1] @ turn
    A[2], B[2] = -A[2], -B[2]
    B[3, 0, 1] += 0.1
    assert space.closed_log(A, B).found.tolist() == [True, False, False, False]
    ref.close(log(space, A, B), by_integration(log, space, A, B), 1e-11)
    ref.close(dist(space, A, B), by_integration(dist, space, A, B), 1e-11)


@pytest.mark.parametrize("pair", ["near", "small", "graded"])
def test_positive_definite_distances_keep_their_digits(pair, rng):
    """The usual formula with traces loses half of the digits of near matrices."""
    A, space = positive(rng), EndToEndGeometry(3, 3, 3, 2)
    if pair == "near":
        Z = 1e-9 * positive(rng)
        assert dist(space, A, A + Z) == pytest.approx(float(space.norm(A, Z)), rel=1e-6)
        return
    s = np.array([1.0, 0.1, 1e-8]) if pair == "graded" else np.full(3, 1e-12)
    D = np.diag(s)
    expected = np.sqrt(2) * np.linalg.norm(np.sqrt(s) - np.sqrt(np.diag(A)) * 2)
    assert dist(space, D, 4 * np.diag(np.diag(A))) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("dims", [(3, 3), (4, 2), (2, 5)])
def test_one_layer_of_full_rank(dims, by_integration, rng):
    A, Z = np.eye(*dims) + 0.1 * rng.standard_normal((2, 5, *dims))
    Z, space = 0.3 * (Z - np.eye(*dims)), EndToEndGeometry(*dims, min(dims), 1)
    ref.close(exp(space, A, Z), A + Z, 1e-13)
    ref.close(log(space, A, A + Z), Z, 1e-14)
    ref.close(dist(space, A, A + Z), np.linalg.norm(Z, axis=(-2, -1)), 1e-14)
    ref.close(by_integration(log, space, A, A + Z), Z, 1e-12)
    W = dlngeom.svd(A)
    ref.close(dlngeom.dense((W, log(space, W, dlngeom.svd(A + Z)))), Z, 1e-13)


@pytest.mark.parametrize("time", [1.0, -1.0])
def test_where_lines_lose_their_rank(time, rng):
    W, Z = rng.standard_normal((2, 40, 3, 3))
    for w, z in zip(W, Z, strict=True):
        roots = np.linalg.eigvals(-np.linalg.solve(w, z))
        roots = np.sign(time) / roots.real[np.abs(roots.imag) == 0]
        roots = roots[(roots > 0) & (roots < 1)]
        stop = first_singular(w, z, time)
        assert (stop is None) == (len(roots) == 0)
        if stop is not None:
            assert stop == pytest.approx(time * min(roots), rel=1e-5)


def test_lines_to_matrices_beyond_lower_rank_are_refused():
    space = EndToEndGeometry(2, 2, 2, 1)
    A, B = np.stack([np.eye(2)] * 2), np.stack([2 * np.eye(2), -np.eye(2)])
    with pytest.raises(GeodesicError, match="found no geodesic"):
        log(space, A, B)


@pytest.mark.parametrize("dims", [(3, 2), (4, 4), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_rank_one_is_a_cone(dims, depth, rng):
    W = ref.random_svd(*dims, 1, rng, batch=(20,))
    others = ref.random_svd(*dims, 1, rng, batch=(20,))
    if min(dims) == 1:
        sign = np.where(dims[0] == 1, W.u[:, 0, 0] * others.u[:, 0, 0], 1.0)
        sign = np.where(dims[1] == 1, sign * W.vt[:, 0, 0] * others.vt[:, 0, 0], sign)
        others = others._replace(u=others.u * sign[:, None, None])
    space = EndToEndGeometry(*dims, 1, depth)
    Z, lengths = log(space, W, others), dist(space, W, others)
    ref.close(space.norm(W, Z), lengths, 1e-13)
    ref.close(dlngeom.dense(exp(space, W, Z)), dlngeom.dense(others), 1e-10)
    ref.close(dist(space, others, W), lengths, 1e-12)
    A, B = dlngeom.dense(W), dlngeom.dense(others)
    ref.close(log(space, A, B), dlngeom.dense((W, Z)), 1e-12)
    for a, b, d in zip(A[:3], B[:3], lengths[:3], strict=True):
        assert dist(space, a, b) == pytest.approx(d, rel=1e-12)


@pytest.mark.parametrize("depth", [1, 3])
def test_logarithms_of_equal_points_of_rank_one_are_tangent(depth, rng):
    """What is left of them are rounding errors, which have a direction too."""
    W = ref.random_svd(3, 4, 1, rng, batch=(30,))
    space = EndToEndGeometry(3, 4, 1, depth)
    for other in (W, W._replace(s=W.s * (1 + 1e-13))):
        Z = log(space, W, other)
        ref.close(dlngeom.dense(exp(space, W, Z)), dlngeom.dense(other), 1e-13)


@pytest.mark.parametrize("depth", [1, 3])
def test_rank_one_by_shots(depth, by_integration, rng):
    W = ref.random_svd(3, 4, 1, rng)
    space, Z = space_of(W, depth), vector(W, depth, rng)
    X = exp(space, W, Z)
    ref.close(dlngeom.dense((W, log(space, W, X))), dlngeom.dense((W, Z)), 1e-11)
    assert dist(space, W, X) == pytest.approx(by_integration(dist, space, W, X), rel=1e-11)


def test_vectors_at_nearly_opposite_points_of_rank_one():
    """Supplements of both angles belong to the same matrix."""
    space = EndToEndGeometry(2, 2, 1, 2)
    c, s = np.cos(3.0), np.sin(3.0)
    A, B = np.outer([1.0, 0], [1.0, 0]), np.outer([c, s], [c, s])
    theta = (np.pi - 3.0) * np.sqrt(2) / np.sqrt(2)
    assert dist(space, A, B) == pytest.approx(2 * np.sqrt(2) * np.sin(theta / 2), rel=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_geodesics_of_rank_one_against_the_integrator(depth, monkeypatch, rng):
    W = ref.random_svd(4, 3, 1, rng, batch=(3,))
    space, times = EndToEndGeometry(4, 3, 1, depth), np.array([0.4, -1.0, 0.0, 1.0])
    Z = Tangent(*(0.1 * x for x in ref.random_tangent(W, rng)))
    Z = Tangent(*(np.concatenate([x[:2], 0 * x[2:]]) for x in Z[:1]), Z.M, 0 * Z.Vp)
    X, V = geodesic(space, W, Z, times, velocity=True)
    followed = dlngeom.dln._geodesics._framed_geodesic
    monkeypatch.setattr("dlngeom.dln._geodesics.rank_one_geodesic", followed)
    Y, U = geodesic(space, W, Z, times, velocity=True)
    ref.close(dlngeom.dense(X), dlngeom.dense(Y), 1e-11)
    ref.close(dlngeom.dense((X, V)), dlngeom.dense((Y, U)), 1e-10)


@pytest.mark.parametrize("depth", [1, 3])
def test_lines_of_rank_one_end_at_zero(depth, rng):
    W = ref.random_svd(4, 3, 1, rng)
    shrink = Tangent(0 * W.u, -depth * W.s[None], 0 * W.vt.mT)
    space = EndToEndGeometry(4, 3, 1, depth)
    ref.close(exp(space, W, Tangent(*(0.5 * x for x in shrink))).s, W.s / 2**depth, 1e-13)
    with pytest.raises(GeodesicError, match=r"stopped at t=0\.999.*lower rank"):
        exp(space, W, shrink)
