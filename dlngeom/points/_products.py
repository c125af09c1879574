"""Singular values of products of layers, the small ones to the accuracy of the layers.

The SVD of a product that was formed first is accurate relative to the largest singular value only,
and those of deep networks span many orders of magnitude.  Here QR decompositions carry the column
space of the first layer up through the others, which leaves a small matrix with graded columns;
the Jacobi method finds its singular values one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import lapack

from dlngeom._lib.arrays import Array, constant, eps, identity, namespace, to_numpy
from dlngeom.points._tuples import SVD

__all__ = ["ScaledProduct", "singular_value_decomposition"]

# Ratio of singular values below which a backward stable SVD loses more than four digits.
_GRADED = 1e-4


class ScaledProduct:
    r"""A product of layers as ``c^N Q R S V^T``, without overflow.

    Attributes
    ----------
    frame : array (..., d_N, k)
        Orthonormal columns ``Q``.
    triangles : list of N-1 arrays
        Factors of ``R``, each divided by its largest entry.
    first : SVD
        Of the first layer, divided by its largest singular value.
    root : array (..., 1)
        ``c``, the N-th root of what was divided by.
    """

    def __init__(self, factors: Sequence[Array]) -> None:
        xp = namespace(*factors)
        u, s, vt = xp.linalg.svd(factors[0], full_matrices=False)
        unit, self.root = _unit(s), _unit(s) ** (1 / len(factors))
        self.first, self.frame = SVD(u, s / unit, vt), u
        self.triangles: list[Array] = []
        for factor in factors[1:]:
            self.frame, triangle = xp.linalg.qr(factor @ self.frame)
            size = _unit(xp.max(xp.abs(triangle), axis=-1))
            self.triangles.append(triangle / size[..., None])
            self.root = self.root * size ** (1 / len(factors))

    def svd(self) -> SVD:
        """Singular value decomposition of the product divided by ``c^N``."""
        xp = namespace(self.frame)
        core = self.first.s[..., None, :] * identity(self.first.s.shape[-1], self.first.s)
        for triangle in self.triangles:
            core = triangle @ core
        left, values, right = xp.linalg.svd(core, full_matrices=False)
        graded = values[..., -1] < _GRADED * values[..., 0]
        if bool(xp.any(graded)):
            left, values, right = _refined(core, (left, values, right), graded)
        return SVD(self.frame @ left, values, right @ self.first.vt)

    def rounding(self, rank: int) -> Array:
        """Ratio of singular values that may be rounding; zero if all layers have the rank."""
        xp = namespace(self.frame)
        limit = eps(self.frame) * max(self.frame.shape[-2], self.first.vt.shape[-1])
        regular = self.first.s[..., rank - 1] > limit
        for triangle in self.triangles:
            s = xp.linalg.svd(triangle[..., :rank, :rank], full_matrices=False)[1]
            regular = regular & (s[..., rank - 1] > limit * s[..., 0])
        return xp.where(regular, 0 * self.first.s[..., 0], limit + 0 * self.first.s[..., 0])


def singular_value_decomposition(factors: Sequence[Array]) -> SVD:
    """SVD of a product of layers, small singular values included.

    Numpy's arrays alone: elsewhere the product is formed first, since libraries differentiate and
    compile that.
    """
    if isinstance(factors[0], np.ndarray) and len(factors) > 1:
        product = ScaledProduct(factors)
        u, s, vt = product.svd()
        return SVD(u, s * product.root ** len(factors), vt)
    xp, W = namespace(*factors), factors[0]
    for factor in factors[1:]:
        W = factor @ W
    return SVD(*xp.linalg.svd(W, full_matrices=False))


def _unit(s: Array) -> Array:
    """Largest entry ``(..., 1)``, one where all are zero."""
    xp = namespace(s)
    size = xp.max(s, axis=-1, keepdims=True)
    return xp.where(size == 0, xp.ones_like(size), size)


def _refined(core: Array, found: tuple[Array, ...], graded: Array) -> tuple[Array, ...]:
    """Replace the decompositions of graded matrices by those of the Jacobi method."""
    arrays = [np.array(to_numpy(x)) for x in found]
    matrices, chosen = to_numpy(core), to_numpy(graded)
    for index in np.ndindex(chosen.shape):
        if chosen[index]:
            for array, x in zip(arrays, _jacobi(matrices[index]), strict=True):
                array[index] = x
    return tuple(constant(x, core) for x in arrays)


def _jacobi(core: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SVD of a matrix with graded columns, by the preconditioned Jacobi method of LAPACK."""
    m, n = core.shape
    tall = core if m >= n else core.T
    method = lapack.sgejsv if core.dtype == np.float32 else lapack.dgejsv
    # Columns are graded, and no singular value is too small to be kept.
    values, u, v, work, _, info = method(tall, joba=0, jobr=0)
    if info:
        raise np.linalg.LinAlgError("the Jacobi method for singular values did not converge")
    k = min(m, n)
    left, right = (u, v) if m >= n else (v, u)
    return left[:, :k], values[:k] * (work[0] / work[1]), right[:, :k].T
