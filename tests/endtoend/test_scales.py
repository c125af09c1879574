"""Retractions at every scale that a dtype holds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dlngeom
from dlngeom import SVD, InfinitelyDeepNetwork, Tangent, endtoend
from dlngeom.pymanopt import EndToEnd
from tests.helpers import reference as ref

DEPTHS = (1, 2, 3, 7, math.inf)


def point(scale, dtype, ratio=1e-3):
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.standard_normal((size, 3)))[0] for size in (3, 3))
    return SVD(*(x.astype(dtype) for x in (u, scale * np.geomspace(1, ratio, 3), v.T)))


def zero(at):
    return Tangent(0 * at.u, np.zeros((3, 3), at.s.dtype), 0 * at.vt.T)


def close(moved, at, tolerance):
    assert moved.s.dtype == at.s.dtype
    np.testing.assert_allclose(moved.s, at.s, rtol=tolerance)
    ref.close(dlngeom.dense(moved) / at.s[0], dlngeom.dense(at) / at.s[0], tolerance)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("depth", DEPTHS)
@given(exponent=st.floats(-150, 150))
def test_the_zero_vector_moves_nothing_at_any_scale(depth, order, exponent):
    if depth == math.inf and exponent < -145:
        exponent = -145.0  # Weights are squares there, which underflow.
    at = point(10.0**exponent, np.float64)
    close(endtoend.retraction(at, zero(at), depth, order=order), at, 1e-10)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("depth", DEPTHS)
@given(exponent=st.floats(-14, 17))
def test_the_zero_vector_moves_nothing_in_single_precision(depth, order, exponent):
    at = point(10.0**exponent, np.float32)
    close(endtoend.retraction(at, zero(at), depth, order=order), at, 2e-3)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e10), (np.float64, 1e100)])
def test_large_identities_stay_where_they_are(dtype, scale):
    W = (scale * np.eye(2)).astype(dtype)
    moved = endtoend.retraction(W, 0 * W, 2)
    np.testing.assert_allclose(moved, W, rtol=1e-5)


@pytest.mark.parametrize("depth", [d for d in DEPTHS if d != math.inf])
@given(exponent=st.floats(-100, 100))
def test_retractions_are_homogeneous(depth, exponent):
    """The metric scales with the point, so a retraction commutes with multiplication."""
    W = np.random.default_rng(2).standard_normal((3, 3))
    Z = 0.1 * np.random.default_rng(3).standard_normal((3, 3))
    scale = 2.0 ** round(exponent / math.log10(2))
    moved = endtoend.retraction(W, Z, depth)
    ref.close(endtoend.retraction(scale * W, scale * Z, depth) / scale, moved, 1e-9)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", ["projection", "second-order"])
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_optimizers_start_at_any_scale(depth, kind, scale):
    space = EndToEnd(3, 3, 3, depth, retraction=kind)
    at = point(scale, np.float64)
    close(SVD(*space.retraction(at, space.zero_vector(at))), at, 1e-10)


def test_huge_steps_end_at_finite_points():
    at = point(1.0, np.float64, ratio=0.1)
    Z = Tangent(0 * at.u, 1e60 * np.ones((3, 3)), 0 * at.vt.T)
    for depth in DEPTHS:
        s = endtoend.retraction(at, Z, depth).s
        assert np.all(np.isfinite(s**2))


def test_a_long_way_down_is_not_stopped_in_single_precision():
    """At infinite depth singular values may fall below any fixed bound, step after step."""
    at = SVD(*(x[None].astype(np.float32) for x in (np.eye(2), np.array([1.0, 1e-12]), np.eye(2))))
    down = Tangent(0 * at.u, -np.diag([0.0, 1e-12])[None].astype(np.float32), 0 * at.u)
    moved = endtoend.retraction(at, down, math.inf)
    np.testing.assert_allclose(moved.s[0, 1], 1e-12 * np.exp(-1), rtol=1e-3)
    assert InfinitelyDeepNetwork(2).dim == 4


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_vectors_of_any_size_are_judged_by_their_directions(batch, dtype, rng):
    """One of a batch whose squares over- or underflow is neither refused nor let in unseen."""
    frames = np.linalg.qr(rng.standard_normal((2, *batch, 5, 2)))[0].astype(dtype)
    W = SVD(frames[0], np.ones((*batch, 2), dtype), frames[1].mT)
    limits = np.finfo(dtype)
    tiny = float(limits.smallest_normal)
    sizes = (1e-2 * tiny, tiny**0.55, 1.0, 0.1 * float(limits.max))
    for size in sizes:
        one = np.where(np.arange(3) == 1, size, 1.0)[:, None, None] if batch else size
        M, X = np.ones((2, *batch, 2, 2), dtype) / 8
        ends = [q - p @ (p.mT @ q) for p, q in zip(frames, frames[::-1], strict=True)]
        good = Tangent(*(np.asarray(one * x, dtype) for x in (ends[0] / 8, M, ends[1] / 8)))
        bad = good._replace(Up=good.Up + np.asarray(one * 0.01, dtype) * (W.u @ X))
        endtoend.inverse_cometric(W, good, 3)
        dense = W.u @ (good.M @ W.vt + good.Vp.mT) + good.Up @ W.vt
        endtoend.inverse_cometric(W, dense, 3)
        full = np.asarray(one * rng.standard_normal((*batch, 5, 5)) / 8, dtype)
        for vector in (bad, full) if size > tiny else ():
            with pytest.raises(ValueError, match="not tangent"):
                endtoend.inverse_cometric(W, vector, 3)
