import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import dlngeom
from dlngeom import LowRank, endtoend
from dlngeom.points import _covectors
from tests.helpers import reference as ref

KINDS = ("dense", "csr", "csc", "operator", "low rank")


def as_kind(G, kind):
    U, s, Vt = np.linalg.svd(G, full_matrices=False)
    return {
        "dense": lambda: G,
        "csr": lambda: sparse.csr_array(G),
        "csc": lambda: sparse.csc_matrix(G),
        "operator": lambda: aslinearoperator(G),
        "low rank": lambda: LowRank(U * s, np.eye(len(s)), Vt.T),
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_products_with_every_kind(kind, rng):
    G, x, y = (rng.standard_normal(shape) for shape in [(5, 4), (4, 2), (5, 2)])
    covector = _covectors.as_covector("egrad", as_kind(G, kind), 5, 4)
    ref.close(_covectors.apply(covector, x), G @ x, 1e-14)
    ref.close(_covectors.apply_transpose(covector, y), G.T @ y, 1e-14)
    ref.close(_covectors.to_dense(covector), G, 1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 4, 2), (5, 4, 4), (3, 6, 3), (4, 4, 4)])
def test_components_are_the_projection_on_the_tangent_space(kind, shape, rng):
    m, n, r = shape
    W = ref.random_svd(m, n, r, rng)
    G = rng.standard_normal((m, n))
    Z = _covectors.components(W, as_kind(G, kind))
    across_u, across_v = np.eye(m) - W.u @ W.u.T, np.eye(n) - W.vt.T @ W.vt
    ref.close(dlngeom.dense((W, Z)), G - across_u @ G @ across_v, 1e-13)
    assert np.max(np.abs(W.u.T @ Z.Up)) < 1e-14
    assert np.max(np.abs(W.vt @ Z.Vp)) < 1e-14


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_geometry_takes_every_kind(kind, depth, rng):
    W = ref.random_svd(5, 4, 2, rng)
    G, H = rng.standard_normal((2, 5, 4))
    Z = ref.random_tangent(W, rng)
    pairs = [
        [endtoend.gradient(W, f(G), depth), endtoend.hessian(W, f(G), f(H), Z, depth)]
        for f in (lambda x: x, lambda x: as_kind(x, kind))
    ]
    for expected, actual in zip(*pairs, strict=True):
        for x, y in zip(expected, actual, strict=True):
            ref.close(y, x, 1e-13)


def test_a_linear_operator_is_only_multiplied(rng):
    G = rng.standard_normal((5, 4))
    seen = []

    def multiply(matrix):
        def product(x):
            seen.append(x.shape)
            return matrix @ x

        return product

    operator = LinearOperator(
        (5, 4), matvec=multiply(G), matmat=multiply(G), rmatvec=multiply(G.T),
        rmatmat=multiply(G.T), dtype=G.dtype,
    )  # fmt: skip
    endtoend.gradient(ref.random_svd(5, 4, 2, rng), operator, 3)
    assert sorted(seen) == [(4, 2), (5, 2)]


def test_covectors_of_no_use_are_refused(rng):
    W = ref.random_svd(5, 4, 2, rng)
    U, S, V = (rng.standard_normal(shape) for shape in [(5, 3), (3, 2), (4, 2)])
    spoiled = sparse.csr_array(np.diag([1.0, np.nan, 2.0, 0.0]))
    bad = {
        r"egrad.U has shape \(4, 2\)": LowRank(V, S, U),
        r"egrad.S\[2, 1\] is inf": LowRank(
            U, np.where(np.arange(6).reshape(3, 2) == 5, np.inf, S), V
        ),
        r"egrad.S has shape \(2,\)": LowRank(U, np.ones(2), V),
        r"egrad has shape \(4, 4\)": spoiled,
        r"egrad has shape \(4, 5\)": aslinearoperator(np.ones((4, 5))),
        "egrad has dtype int64": np.ones((5, 4), dtype=int),
    }
    for words, covector in bad.items():
        with pytest.raises(ValueError, match=words):
            _covectors.as_covector("egrad", covector, 5, 4)
    with pytest.raises(ValueError, match=r"egrad.data\[1\] is nan"):
        _covectors.as_covector("egrad", spoiled, 4, 4)
    with pytest.raises(ValueError, match=r"Z has shape \(4, 4\)"):
        endtoend.cometric(W, np.ones((4, 4)), 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nested_lists_are_covectors_in_the_precision_of_the_point(dtype):
    like = np.eye(2, dtype=dtype)[None]
    for value in ([[1.0, 2.0], [3.0, 4.0]], [[[1, 2], [3, 4]]]):
        found = _covectors.checked_covector(value, 2, 2, like)
        assert found.dtype == dtype
        assert found.tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
    for bad in ([[1.0], [2.0, 3.0]], [["1", "2"], ["3", "4"]], [[1j, 0], [0, 1]], [[None]]):
        with pytest.raises(ValueError, match="energy_gradient"):
            _covectors.checked_covector(bad, 2, 2, like)
