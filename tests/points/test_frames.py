import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, Frames, LowRank
from dlngeom.points import _frames
from dlngeom.points._checks import check_factors, check_frames, check_svd
from tests.helpers import reference as ref

CASES = [
    ((4, 3, 5), 3),
    ((3, 3, 2, 3), 2),
    ((3, 3, 3, 3), 3),
    ((5, 4), 3),
    ((4, 5, 4), 2),
    ((2, 3, 2, 4, 3), 2),
    ((3, 2, 4), 1),
]


@pytest.mark.parametrize("rank", [None, 1, 3, 4])
def test_svd_is_the_best_approximation(rank, rng):
    W = rng.standard_normal((2, 5, 4))
    point = dlngeom.svd(W, rank)
    kept = rank or 4
    assert [x.shape for x in point] == [(2, 5, kept), (2, kept), (2, kept, 4)]
    tail = np.linalg.svd(W)[1][:, kept:]
    gap = np.linalg.norm(dlngeom.dense(point) - W, axis=(-2, -1))
    np.testing.assert_allclose(gap, np.linalg.norm(tail, axis=-1), atol=1e-13)
    check_svd(point)


def test_dense_of_every_kind(rng):
    W = ref.random_svd(5, 4, 2, rng)
    Z = ref.random_tangent(W, rng)
    ref.close(dlngeom.dense(W), ref.dense_svd(W), 1e-14)
    ref.close(dlngeom.dense((W, Z)), ref.dense_tangent(W, Z), 1e-14)
    U, S, V = (rng.standard_normal(x) for x in [(5, 3), (3, 2), (4, 2)])
    ref.close(dlngeom.dense(LowRank(U, S, V)), U @ S @ V.T, 1e-14)
    with pytest.raises(TypeError, match="ndarray"):
        dlngeom.dense(np.eye(3))


@pytest.mark.parametrize(("widths", "rank"), CASES)
@pytest.mark.parametrize("options", [{}, {"tie": True}, {"ratio": 1e-6}])
def test_frames_invert_factors(widths, rank, options, rng):
    point = ref.random_frames(widths, rank, rng, **options, batch=(2,))
    layers = dlngeom.factors(point)
    for p, layer in enumerate(layers):
        expected = point.q[p + 1] @ (point.lam[..., None] * point.q[p].mT)
        ref.close(layer, expected, 1e-14)
    again = dlngeom.frames(layers, rank)
    ref.close(again.lam, point.lam, 1e-13)
    for old, new in zip(layers, dlngeom.factors(again), strict=True):
        ref.close(new, old, 1e-13)
    check_frames(again)
    literal = np.stack([ref.product([x[i] for x in layers]) for i in range(2)])
    ref.close(dlngeom.dense(point), literal, 1e-13)


def test_default_rank_is_the_smallest_width(rng):
    layers = dlngeom.factors(ref.random_frames((4, 2, 3), 2, rng))
    assert dlngeom.frames(layers).lam.shape == (2,)


@pytest.mark.parametrize(
    ("size", "dtype", "fine"),
    [
        (1e-9, np.float64, True),
        (1e-7, np.float64, False),
        (1e-4, np.float32, True),
        (1e-2, np.float32, False),
    ],
)
def test_unbalanced_layers_are_refused(size, dtype, fine, rng):
    layers = [x.astype(dtype) for x in dlngeom.factors(ref.random_frames((3, 3, 3), 3, rng))]
    layers[1] = layers[1] * dtype(1 + size)
    if fine:
        point = dlngeom.frames(layers)
        assert point.lam.dtype == dtype
        ref.close(dlngeom.factors(point)[0], layers[0], 2 * size)
        return
    with pytest.raises(ValueError, match=r"layers 1 and 2 are not balanced: .*allowed"):
        dlngeom.frames(layers)


def test_frames_of_another_rank_are_refused(rng):
    layers = dlngeom.factors(ref.random_frames((4, 3, 4), 2, rng))
    with pytest.raises(ValueError, match="its rank is below 3"):
        dlngeom.frames(layers)
    with pytest.raises(ValueError, match=r"rank=1: layer 1 has a larger one"):
        dlngeom.frames(layers, 1)


@pytest.mark.parametrize("rank", [0, 4, -1, True, 1.5, "a"])
def test_bad_rank_is_named(rank, rng):
    layers = dlngeom.factors(ref.random_frames((4, 3, 5), 3, rng))
    for call in (lambda: dlngeom.svd(layers[0], rank), lambda: dlngeom.frames(layers, rank)):
        with pytest.raises(ValueError, match="integer from 1 to 3") as error:
            call()
        assert f"rank={rank!r}" in str(error.value)


def test_the_first_bad_entry_of_a_batch_is_named(rng):
    W = rng.standard_normal((2, 3, 4, 4))
    W[1, 2, 0, 3] = np.nan
    W[1, 2, 3, 3] = np.inf
    with pytest.raises(ValueError, match=r"W\[1, 2, 0, 3\] is nan"):
        dlngeom.svd(W)
    with pytest.raises(ValueError, match=r"W_2\[1, 2, 0, 3\] is nan"):
        dlngeom.frames([np.ones_like(W), W])
    W[1, 2, 0, 3] = 0.0
    with pytest.raises(ValueError, match=r"W\[1, 2, 3, 3\] is inf"):
        dlngeom.svd(W)


@pytest.mark.parametrize(
    ("W", "words"),
    [
        (np.eye(3, dtype=np.float16), "dtype float16"),
        (np.eye(3, dtype=complex), "dtype complex128"),
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((2, 0, 3)), r"shape \(2, 0, 3\)"),
    ],
)
def test_bad_matrices_are_named(W, words):
    with pytest.raises(ValueError, match=words):
        dlngeom.svd(W)
    with pytest.raises(ValueError, match=words):
        check_factors([W])


def test_checks_of_an_svd(rng):
    u, s, vt = ref.random_svd(4, 3, 2, rng)
    bad = {
        "u is not orthonormal": (2 * u, s, vt),
        "not orthonormal: off by": (u, s, vt + 1e-6),
        "singular values must be >= 0": (u, -s, vt),
        r"s has shape \(3,\)": (u, np.ones(3), vt),
        r"vt has shape \(3, 3\)": (u, s, np.eye(3)),
        "batch shapes": (u, np.stack([s, s]), vt),
        "dtypes .* must agree": (u, s.astype(np.float32), vt),
        r"s\[1\] is nan": (u, np.array([1.0, np.nan]), vt),
        "rank=4: it must be an integer from 1 to 3": (np.eye(5, 4), np.ones(4), np.eye(4, 3)),
    }
    for words, fields in bad.items():
        with pytest.raises(ValueError, match=words):
            check_svd(SVD(*fields))
    check_svd(SVD(u, s * 0, vt))


def test_checks_of_frames(rng):
    lam, q = ref.random_frames((4, 3, 5), 2, rng)
    bad = {
        "1 frames": (lam, q[:1]),
        "singular values must be >= 0": (-lam, q),
        "its rank is below 2": (np.array([1.0, 0.0]), q),
        "Q_1 is not orthonormal: off by": (lam, (q[0], q[1] + 1e-6, q[2])),
        r"Q_2\[4, 1\] is nan": (
            lam,
            (*q[:2], np.where(np.arange(10).reshape(5, 2) == 9, np.nan, q[2])),
        ),
        r"Q_2 has shape \(5, 3\)": (lam, (*q[:2], np.eye(5, 3))),
        "batch shapes": (np.stack([lam, lam]), q),
        "dtypes .* must agree": (lam, (q[0].astype(np.float32), *q[1:])),
        r"lam\[0\] is inf": (np.array([np.inf, 1.0]), q),
    }
    for words, fields in bad.items():
        with pytest.raises(ValueError, match=words):
            check_frames(Frames(*fields))
    with pytest.raises(ValueError, match="1 frames"):
        dlngeom.factors(Frames(lam, q[:1]))


def test_checks_of_factors():
    with pytest.raises(ValueError, match="at least one layer"):
        check_factors([])
    with pytest.raises(ValueError, match=r"W_2 W_1 is not defined: shapes \(3, 4\) and \(3, 3\)"):
        check_factors([np.ones((3, 3)), np.ones((3, 4))])
    with pytest.raises(ValueError, match="batch shapes"):
        check_factors([np.ones((2, 3, 3)), np.ones((3, 3))])
    with pytest.raises(ValueError, match=r"dtypes .* must agree"):
        check_factors([np.ones((3, 3)), np.ones((3, 3), dtype=np.float32)])


def test_libraries_do_not_mix():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"arrays of one library, got numpy.ndarray, torch.Tensor"):
        check_factors([np.eye(3), torch.eye(3)])


def test_public_names_of_the_frames():
    assert set(_frames.__all__) <= set(dir(_frames))
    for name in dlngeom.__all__:
        if name in _frames.__all__:
            assert getattr(dlngeom, name) is getattr(_frames, name)
