"""Eigenvalues of small symmetric matrices in closed form, against LAPACK."""

import numpy as np
import pytest

from dlngeom._lib import eigen
from tests.helpers.namespaces import NAMESPACES, Namespace


def cases(rng, size):
    """Symmetric matrices of all scales, with equal eigenvalues, diagonal ones and zero."""
    A = rng.standard_normal((400, size, size))
    A = A + A.mT
    A[::7] *= np.eye(size)
    A[::11] = np.eye(size)
    A[::13] *= 10.0 ** rng.uniform(-160, 150, (len(A[::13]), 1, 1))
    A[::17] *= 1 + (1e-12 - 1) * (1 - np.eye(size))
    A[5] = 0
    return A


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("library", NAMESPACES)
def test_all_libraries_agree_with_lapack(library, size, rng):
    ns, A = Namespace(library), cases(rng, size)
    values, vectors = (ns.numpy(x) for x in eigen.descending_eigh(ns.array(A), any_signs=True))
    scale = np.maximum(np.max(np.abs(A), axis=(1, 2)), np.finfo(float).tiny)
    exact = np.linalg.eigvalsh(A)[:, ::-1]
    assert np.max(np.abs(values - exact) / scale[:, None]) < 2e-15
    assert np.max(np.abs(vectors.mT @ vectors - np.eye(size))) < 2e-15
    rest = A @ vectors - vectors * values[:, None, :]
    assert np.max(np.abs(rest) / scale[:, None, None]) < 4e-15
    assert np.all(np.diff(values, axis=1) <= 0)


def test_derivatives_of_the_closed_form(rng):
    jax = pytest.importorskip("jax")
    for A in ([[2.0, 0.3], [0.3, 1.0]], [[1.0, 0.3], [0.3, 2.0]], [[2.0, 0.0], [0.0, 1.0]]):
        V = rng.standard_normal((2, 2))
        A, V = np.array(A), V + V.T

        def f(t, A=A, V=V):
            values, vectors = eigen.descending_eigh(jax.numpy.asarray(A) + t * V, any_signs=True)
            return (vectors * values**3) @ vectors.mT

        _, found = jax.jvp(f, (0.0,), (1.0,))
        h = 1e-5
        np.testing.assert_allclose(found, (f(h) - f(-h)) / (2 * h), atol=1e-7)


@pytest.mark.parametrize("size", [2, 3])
def test_derivatives_at_equal_eigenvalues_are_never_silently_wrong(size, rng):
    """There are none of vectors: NaN, through the closed form as through LAPACK."""
    jax = pytest.importorskip("jax")
    V = rng.standard_normal((size, size))

    def f(t):
        A = 2 * jax.numpy.eye(size) + t * (V + V.T)
        values, vectors = eigen.descending_eigh(A, any_signs=True)
        return (vectors * values**3) @ vectors.mT, vectors

    for found in jax.jvp(f, (0.0,), (1.0,))[1]:
        assert np.isnan(found).all()
