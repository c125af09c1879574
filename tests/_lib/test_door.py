"""Look-alikes of arrays: converted where their meaning is clear, else refused with the cure."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dlngeom import SVD, DeepLinearNetwork, balanced, endtoend, flow, network, points
from dlngeom._lib.door import plain, real_numbers, takes_arrays
from dlngeom.langevin import riemannian_langevin

RNG = np.random.default_rng(0)
W = np.eye(3) + 0.2 * RNG.standard_normal((3, 3))
S = sparse.random(3, 3, density=0.5, random_state=1, format="csr")


class Tagged(np.ndarray):
    """Subclass whose product is that of matrices."""

    def __mul__(self, other):
        return self @ other


LOOKALIKES = {
    "matrix": np.asmatrix,
    "subclass": lambda x: x.view(Tagged),
    "list": lambda x: x.tolist(),
    "rows": list,
    "byte order": lambda x: x.astype(">f8"),
    "mask": np.ma.array,
    "columns first": np.asfortranarray,
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("alike", LOOKALIKES.values(), ids=LOOKALIKES)
def test_lookalikes_give_the_same_value(alike):
    Z = W - np.eye(3)
    for function, more in [
        (endtoend.gradient, (3,)),
        (endtoend.retraction, (2,)),
        (endtoend.transport, (W.T, 2)),
        (endtoend.inner, (Z, 3)),
    ]:
        expected = function(W, Z, *more)
        found = function(alike(W), alike(Z), *more)
        assert type(found) is type(expected)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", sorted(LOOKALIKES.keys() - {"list", "rows"}))
def test_lookalikes_inside_points(name):
    alike, layers = LOOKALIKES[name], (W, W.T)
    np.testing.assert_array_equal(
        network.end_to_end([alike(x) for x in layers]), network.end_to_end(layers)
    )
    u, s, vt = points.svd(W)
    at, given = SVD(u, s, vt), SVD(alike(u), s.tolist(), alike(vt))
    np.testing.assert_array_equal(points.dense(given), points.dense(at))
    frames = points.nearest_balanced(layers)
    lists = frames._replace(q=[alike(q) for q in frames.q])
    for one, two in zip(
        balanced.tangent_projection(lists, layers),
        balanced.tangent_projection(frames, layers),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)


def test_a_sparse_difference_is_a_matrix():
    # Sparse minus dense is an np.matrix, whose * is a product of matrices.
    assert isinstance(S - W, np.matrix)
    np.testing.assert_array_equal(
        endtoend.gradient(W, S - W, 3), endtoend.gradient(W, np.asarray(S - W), 3)
    )
    for upstairs in (False, True):
        space = DeepLinearNetwork((3, 3, 3))
        start = space.random_point(0) if upstairs else W
        runs = [
            flow.gradient_flow(space, start, force, [0.0, 0.1], upstairs=upstairs)
            for force in (lambda X: X[0] - S, lambda X: np.asarray(X - S.toarray()))
        ]
        np.testing.assert_allclose(
            runs[0].observed["end_to_end"], runs[1].observed["end_to_end"], rtol=1e-12
        )


def test_integers_are_floats():
    X = np.array([[2, 1], [0, 1]])
    np.testing.assert_array_equal(
        endtoend.cometric(X, X, 2), endtoend.cometric(X.astype(float), X.astype(float), 2)
    )
    assert plain("x", X).dtype == np.float64
    assert plain("x", np.float32(X)).dtype == np.float32


REFUSED = {
    "masked": (np.ma.array(np.eye(2), mask=np.eye(2)), ValueError, "2 masked entries.*completion"),
    "half": (np.eye(2, dtype=np.float16), ValueError, r"float16.*np.asarray\(x, float\)"),
    "objects": (np.eye(2, dtype=object), ValueError, r"object.*np.asarray\(x, float\)"),
    "truths": (np.eye(2) > 0, ValueError, "bool"),
    "frame": (pd.DataFrame(np.eye(2)), TypeError, r"DataFrame.*np.asarray\(x, float\)"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "rows of equal length"),
    "words": ([["a", "b"]], ValueError, "must hold numbers"),
    "None": (None, TypeError, "x=None"),
    "function": (lambda: 0, TypeError, "x is a builtins.function"),
    "inside": ((np.eye(2), None), TypeError, r"x\[1\]=None"),
    "field": (SVD(np.eye(2), 1.0, np.eye(2)), TypeError, r"x\.s=1\.0"),
    "sparse layer": ((S, S), TypeError, r"x\[0\] is a csr_matrix.*toarray"),
    "levels": ([[[1.0]]], ValueError, "a list of arrays for layers"),
    "levels of rows": ([[np.ones(1)]], ValueError, "a list of arrays for layers"),
    "huge": (10**400, ValueError, "too large"),
}


@pytest.mark.parametrize(("value", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_meaning_is_refused(value, kind, words):
    with pytest.raises(kind, match=words):
        plain("x", value)


def test_sparse_points_are_refused():
    with pytest.raises(TypeError, match=r"sparse csr_matrix: it must be dense, pass x.toarray"):
        points.svd(S)


def test_numbers():
    np.testing.assert_array_equal(real_numbers("t", [0, 1]), [0.0, 1.0])
    assert real_numbers("t", np.float32(0.5)) == 0.5
    for bad in ("3", b"3", None, 1j, True, [1j], {}):
        with pytest.raises((TypeError, ValueError), match="t"):
            real_numbers("t", bad)


def test_positions_names_and_defaults():
    @takes_arrays("x", "z")
    def function(x, y, *, z=None):
        return x, y, z

    assert function([1], [1])[1] == [1]
    assert function([1], [1])[2] is None
    assert function(y=0, x=[1], z=[2])[2].dtype == np.float64
    with pytest.raises(TypeError, match="x=None"):
        function(None, 1)
    assert function.__name__ == "function"


def test_overflow_is_said():
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"retraction: .*rescale"):
        endtoend.retraction(np.eye(3), 1e300 * W, 3)


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr", "to_sparse_csc"])
def test_sparse_tensors_are_refused(layout):
    """Most of what torch can do with a dense tensor it cannot do with them."""
    torch = pytest.importorskip("torch")
    W = torch.eye(2, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some layouts are in beta state.
        tensor = getattr(W, layout)()
    with pytest.raises(TypeError, match=r"Z is a sparse tensor of torch: .* x.to_dense\(\)"):
        endtoend.cometric(W, tensor, 3)
    with pytest.raises(TypeError, match="energy_gradient is a sparse tensor of torch"):
        flow.gradient_flow(DeepLinearNetwork((2, 2, 2)), W, lambda _: tensor, [0.0, 0.1])
    with pytest.raises(TypeError, match="energy_gradient is a sparse tensor of torch"):
        riemannian_langevin(
            DeepLinearNetwork((2, 2, 2)).base, W, energy_gradient=lambda _: tensor, beta=1.0,
            duration=0.1, n_steps=1, rng=0,
        )  # fmt: skip


def test_tuples_of_vectors_are_points_and_lists_of_vectors_are_rows():
    rows = [np.ones(2), np.zeros(2, np.float32)]
    found = plain("x", tuple(rows))
    assert isinstance(found, tuple)
    assert found[0] is rows[0]
    assert found[1] is rows[1]
    assert plain("x", rows).shape == (2, 2)
    with pytest.raises(ValueError, match=r"x\[1\] has dtype complex256|x\[1\] has dtype object"):
        plain("x", (np.ones(2), np.ones(2, object)))
