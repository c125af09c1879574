"""The linearised balance constraint, and the solve along depth that all projections share.

Its normal equations are one tridiagonal Toeplitz system per pair of singular values, which the
sine transform along depth solves for all pairs at once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dlngeom._lib.arrays import Array, constant, namespace

__all__ = [
    "Balance",
    "Rotations",
    "balance",
    "balance_defect",
    "correct",
    "multipliers",
    "pair",
    "rotations",
    "squares",
]


# Beyond this depth a fast Fourier transform beats the dense sine matrix.
_DENSE_TRANSFORM = 64


def pair(lam: Array) -> tuple[Array, Array]:
    """``lam_k`` and ``lam_l`` divided by the larger of the two, as ``r x r`` matrices."""
    xp = namespace(lam)
    row, column = lam[..., :, None], lam[..., None, :]
    largest = xp.maximum(row, column)
    return row / largest, column / largest


class Balance(NamedTuple):
    """The linearised balance constraint, scaled by the larger singular value of each pair.

    Attributes
    ----------
    row, column : array (..., 1, r, r)
        ``lam_k`` and ``lam_l``.
    inverse : array (..., N-1, r, r)
        Inverse eigenvalues of its normal equations.
    """

    row: Array
    column: Array
    inverse: Array


def balance(lam: Array, depth: int) -> Balance:
    r"""Factorise the normal equations of the balance constraint.

    The sine transform diagonalises them, with eigenvalues
    :math:`(\lambda_k - \lambda_l)^2 + 4 \lambda_k\lambda_l \sin^2(j\pi/2N)`, never zero.
    """
    row, column = pair(lam[..., None, :])
    sines = _sines(depth)
    product = (4 * (2 / depth) ** -1) * (row * column)
    gap = (row - column) ** 2 * (depth / 2)
    return Balance(row, column, 1 / (gap + product * constant(sines, lam)))


@lru_cache(maxsize=64)
def _sines(depth: int) -> np.ndarray:
    """Squared sines of the normal equations, one for each inner frame."""
    return np.sin(np.arange(1, depth) * math.pi / (2 * depth))[:, None, None] ** 2


@lru_cache(maxsize=64)
def _sine_matrix(depth: int) -> np.ndarray:
    p = np.arange(1, depth)
    # Reducing the product modulo the period keeps the sines exact to rounding.
    return np.sin(np.pi / depth * (np.outer(p, p) % (2 * depth)))


@lru_cache(maxsize=64)
def _sum_matrix(depth: int) -> np.ndarray:
    """Matrix of sums over the first ``0, 1, ..., N`` of ``N`` layers, minus their mean."""
    sums = np.tri(depth + 1, depth, -1)
    centred: np.ndarray = sums - sums.mean(axis=0)
    return centred


def balance_defect(at: Balance, core: Array) -> Array:
    """Defect ``b_p = C_{p+1} lam_k - C_p lam_l`` of ``N`` cores, per inner frame."""
    return core[..., 1:, :, :] * at.row - core[..., :-1, :, :] * at.column


def correct(at: Balance, S: Array) -> Array:
    """Cores ``lam_k S_{p-1} - S_p lam_l`` of multipliers ``S_1, ..., S_{N-1}``."""
    xp = namespace(S)
    if not S.shape[-3]:
        return xp.zeros_like(at.row * at.column)
    above, below = at.row * S, at.column * S
    middle = above[..., :-1, :, :] - below[..., 1:, :, :]
    return xp.concat([-below[..., :1, :, :], middle, above[..., -1:, :, :]], axis=-3)


def multipliers(at: Balance, b: Array) -> Array:
    r"""Solve ``(lam_k^2 + lam_l^2) S_p - lam_k lam_l (S_{p-1} + S_{p+1}) = b_p`` along depth.

    Parameters
    ----------
    at : Balance
    b : array (..., N-1, r, r)

    Returns
    -------
    array (..., N-1, r, r)
    """
    return b if b.shape[-3] == 0 else sine_transform(sine_transform(b) * at.inverse)


def sine_transform(x: Array) -> Array:
    r"""DST-I along the third axis from the end: ``sum_p sin(pi j p / N) x_p``."""
    depth = x.shape[-3] + 1
    if depth > _DENSE_TRANSFORM:
        return _fast_sine_transform(x)
    return _along_depth(constant(_sine_matrix(depth), x), x)


def _fast_sine_transform(x: Array) -> Array:
    xp = namespace(x)
    zero = xp.zeros_like(x[..., :1, :, :])
    odd = xp.concat([zero, x, zero, -xp.flip(x, axis=-3)], axis=-3)
    spectrum = xp.fft.rfft(odd, axis=-3)
    return -xp.imag(spectrum)[..., 1 : x.shape[-3] + 1, :, :] / 2


class Rotations(NamedTuple):
    """Velocity of a balanced network in its frames.

    Attributes
    ----------
    omega : array (..., N+1, r, r)
        Antisymmetric rotation rates of the frames.
    h : array (..., r, r)
        Symmetric velocity of ``Lam``.
    """

    omega: Array
    h: Array


def rotations(lam: Array, core: Array) -> Rotations:
    r"""Split tangent cores :math:`C_p = \Omega_p \Lambda + h - \Lambda \Omega_{p-1}`.

    Parameters
    ----------
    lam : array (..., r)
    core : array (..., N, r, r)

    Returns
    -------
    Rotations
        With ``omega`` of mean zero over the frames, a choice that is smooth at repeated ``lam``.
    """
    row, column = lam[..., :, None], lam[..., None, :]
    rate = (core - core.mT) / (row + column)[..., None, :, :]
    return _split(lam, _centred_sums(rate), namespace(lam, core).sum(core, axis=-3), core.shape[-3])


def _split(lam: Array, omega: Array, total: Array, depth: int) -> Rotations:
    """Rotations and the symmetric velocity that goes with them."""
    # The mean over layers of the rotations on both sides, since all of them add up to zero.
    middle = omega[..., 0, :, :] + omega[..., -1, :, :]
    gap = lam[..., None, :] - lam[..., :, None]
    return Rotations(omega, (total + total.mT + gap * middle) / (2 * depth))


def squares(core: Array) -> Array:
    """Sum of the squares of all cores."""
    return _product(core, core)


def _product(x: Array, y: Array) -> Array:
    """Inner product over the last three axes."""
    flat = (*x.shape[:-3], math.prod(x.shape[-3:]))
    xp = namespace(x)
    return xp.vecdot(xp.reshape(x, flat), xp.reshape(y, flat))


def _centred_sums(rate: Array) -> Array:
    """Return sums over the first ``0, 1, ..., N`` layers, minus their mean."""
    xp, depth = namespace(rate), rate.shape[-3]
    if depth > _DENSE_TRANSFORM:
        zero = xp.zeros_like(rate[..., :1, :, :])
        sums = xp.concat([zero, xp.cumulative_sum(rate, axis=-3)], axis=-3)
        return sums - xp.mean(sums, axis=-3, keepdims=True)
    return _along_depth(constant(_sum_matrix(depth), rate), rate)


def _along_depth(matrix: Array, x: Array) -> Array:
    """Apply a matrix along the third axis from the end."""
    xp = namespace(x)
    flat = xp.reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))
    return xp.reshape(matrix @ flat, (*x.shape[:-3], matrix.shape[0], *x.shape[-2:]))
